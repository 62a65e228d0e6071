//! The backend's side: connections that are kept between requests, and a request over one.

use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use mainstay_core::http1::{self, BodyLength, Decoder, Field, Framing, HeadLimits, Reject};
use mainstay_core::time::Boot;
use rustix::net::RecvFlags;
use smallvec::SmallVec;
use tokio::io::Interest;

use super::talk::{Incoming, Outgoing, Talk, broken, decimal, line};
use super::wire::Wire;
use crate::buffers;
use crate::exchange::FieldSink;
use crate::forward::{Ask, Backend, Broken, More, ResponseBody, Sink, Source, Trailer};
use crate::response::ResponseHead;
use crate::thread::Thread;
use crate::transport::{Io, Stream};

/// Bounds of a response's head: as large as backends are known to send.
const LIMITS: HeadLimits =
    HeadLimits { bytes: 64 << 10, fields: 256, drop_underscores: false, bare_lf: false };

/// Which requests may use a kept connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Key {
    /// The backend, by its number on this thread.
    pub backend: u32,
    /// The server name that its TLS was made for.
    pub name: Option<Rc<str>>,
}

/// How a connection is kept.
#[derive(Clone, Copy, Debug)]
pub struct Keep {
    /// Its pool.
    pub pool: u32,
    /// So many for the pool.
    pub most: u32,
    /// Requests over it; 0 is without bound.
    pub requests: u32,
    /// So long.
    pub time: Duration,
    /// Whether lines of its responses may end in LF alone.
    pub bare_lf: bool,
}

/// A connection to a backend.
#[derive(Debug)]
pub struct Connection {
    talk: Talk,
    head: Head,
    key: Key,
    /// Requests that went over it.
    requests: u32,
    /// Its pool, once it is kept.
    pool: u32,
    /// When it is not kept any longer.
    until: Boot,
}

/// The connections that a thread keeps, those used last first.
#[derive(Debug, Default)]
pub struct Kept {
    #[expect(
        clippy::vec_box,
        reason = "a connection goes in and out with each request: it is too large to be moved"
    )]
    by_backend: Vec<Vec<Box<Connection>>>,
    by_pool: Vec<u32>,
    /// Counts up when all are forgotten: those made before are not kept.
    epoch: u32,
}

impl Connection {
    /// A fresh one.
    #[must_use]
    pub fn new(io: Io, key: Key) -> Box<Self> {
        let talk = Talk::new(Wire::new(io));
        Box::new(Self { talk, head: Head::default(), key, requests: 0, pool: 0, until: Boot::NEVER })
    }

    /// Whether it can still be used, as far as is known: what waits has nothing to say.
    fn is_quiet(&mut self) -> bool {
        let wire = &mut self.talk.wire;
        let Some(socket) = wire.io().direct() else {
            let mut cx = Context::from_waker(std::task::Waker::noop());
            return wire.poll_peer(&mut cx).is_pending();
        };
        // Asks the socket only if there may be something: after a splice nobody knows that it is empty.
        let peeked = socket.try_io(Interest::READABLE, || {
            let flags = RecvFlags::PEEK | RecvFlags::DONTWAIT;
            rustix::net::recv(socket, &mut [0_u8; 1][..], flags).map_err(std::io::Error::from)
        });
        peeked.is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock)
    }
}

impl Kept {
    /// Takes one.
    pub fn take(&mut self, key: &Key, keep: Keep, now: Boot) -> Option<Box<Connection>> {
        let kept = self.by_backend.get_mut(key.backend as usize)?;
        while let Some(at) = kept.iter().rposition(|connection| connection.key == *key) {
            let mut connection = kept.remove(at);
            self.by_pool[keep.pool as usize] -= 1;
            if now < connection.until && connection.is_quiet() {
                return Some(connection);
            }
        }
        None
    }

    /// Closes all of them, for the sake of their descriptors; whether there were any.
    pub fn shed(&mut self) -> bool {
        self.by_pool.fill(0);
        let any = self.by_backend.iter().any(|kept| !kept.is_empty());
        self.by_backend.iter_mut().for_each(Vec::clear);
        any
    }

    fn put(&mut self, connection: Box<Connection>, keep: Keep) {
        let (backend, pool) = (connection.key.backend as usize, keep.pool as usize);
        if self.by_pool.len() <= pool {
            self.by_pool.resize(pool + 1, 0);
        }
        if self.by_backend.len() <= backend {
            self.by_backend.resize_with(backend + 1, Vec::new);
        }
        if self.by_pool[pool] < keep.most {
            self.by_pool[pool] += 1;
            self.by_backend[backend].push(connection);
        }
    }

    /// Closes those that were kept long enough, or that the backend has closed.
    pub(crate) fn sweep(&mut self, now: Boot) {
        for kept in &mut self.by_backend {
            let by_pool = &mut self.by_pool;
            kept.retain_mut(|connection| {
                let stays = now < connection.until && connection.is_quiet();
                if !stays {
                    by_pool[connection.pool as usize] -= 1;
                }
                stays
            });
        }
    }

    /// Forgets all of them.
    pub fn clear(&mut self) {
        self.by_backend.clear();
        self.by_pool.clear();
        self.epoch += 1;
    }
}

/// A response's head.
#[derive(Debug, Default)]
pub struct Head {
    raw: Vec<u8>,
    status: u16,
    reason: http1::Span,
    fields: SmallVec<[Field; 24]>,
}

impl ResponseHead for Head {
    fn status(&self) -> u16 {
        self.status
    }

    fn each(&self, visit: &mut dyn FnMut(&[u8], &[u8])) {
        for field in &self.fields {
            visit(field.name.of(&self.raw), field.value.of(&self.raw));
        }
    }

    fn field(&self, name: &str) -> Option<&[u8]> {
        let raw = &self.raw;
        let named = |f: &&Field| f.name.of(raw).eq_ignore_ascii_case(name.as_bytes());
        self.fields.iter().find(named).map(|f| f.value.of(raw))
    }
}

/// A request over a connection.
#[derive(Debug)]
pub struct Exchange {
    thread: Rc<Thread>,
    connection: Box<Connection>,
    keep: Keep,
    epoch: u32,
    body: ResponseBody,
    to_head: bool,
    /// The request asks for an upgrade.
    upgrades: bool,
    /// The connection may serve another request.
    reusable: bool,
    /// Bytes of a head that were looked at and were not all of it.
    seen: usize,
    received_before: u64,
    /// How the request's body is framed, once its head is written.
    framing: BodyLength,
}

impl Exchange {
    /// A request over `connection`.
    #[must_use]
    pub fn new(thread: Rc<Thread>, connection: Box<Connection>, keep: Keep) -> Self {
        let received_before = connection.talk.wire.received;
        let epoch = thread.kept.borrow().epoch;
        Self {
            epoch,
            thread,
            connection,
            keep,
            body: ResponseBody::None(None),
            to_head: false,
            upgrades: false,
            reusable: true,
            seen: 0,
            received_before,
            framing: BodyLength::None,
        }
    }

    /// The head that is here, if it is whole.
    fn parse(&mut self) -> Result<Option<http1::ResponseHead>, Reject> {
        let Connection { talk, head: into, .. } = &mut *self.connection;
        let bytes = talk.wire.unread();
        if bytes.is_empty() || (self.seen > 0 && !http1::head_may_be_whole(bytes, self.seen)) {
            if bytes.len() >= LIMITS.bytes as usize {
                return Err(Reject::HeadTooLarge);
            }
            self.seen = bytes.len();
            return Ok(None);
        }
        into.fields.clear();
        let limits = HeadLimits { bare_lf: self.keep.bare_lf, ..LIMITS };
        let head = http1::response(bytes, &limits, self.to_head, |field| into.fields.push(field))?;
        match &head {
            Some(head) => {
                if into.raw.capacity() == 0 {
                    into.raw = buffers::text();
                }
                into.raw.clear();
                into.raw.extend_from_slice(&bytes[..head.length]);
                self.seen = 0;
            }
            None => self.seen = bytes.len(),
        }
        Ok(head)
    }

    /// Takes a final head.
    fn accept(&mut self, head: &http1::ResponseHead) {
        self.reusable &= !head.close;
        let (incoming, body) = match head.framing {
            Framing::None => (Incoming::Over, ResponseBody::None(head.content_length)),
            Framing::Known(count) => (Incoming::Known(count), ResponseBody::Known(count)),
            Framing::Chunked => (Incoming::Chunked(Decoder::default()), ResponseBody::Open),
            Framing::Close => (Incoming::UntilEnd, ResponseBody::Open),
        };
        self.connection.talk.incoming = incoming;
        self.body = body;
    }
}

impl Source for Exchange {
    fn poll_data(&mut self, cx: &mut Context<'_>) -> Poll<Result<More, Broken>> {
        self.connection.talk.poll_data(cx)
    }

    fn data(&self) -> &[u8] {
        self.connection.talk.data()
    }

    fn consume(&mut self, count: usize) {
        self.connection.talk.consume(count);
    }

    fn trailers(&mut self) -> Vec<Trailer> {
        self.connection.talk.trailers()
    }

    fn direct(&self) -> Option<(&Stream, u64)> {
        self.connection.talk.direct_in()
    }

    fn took_direct(&mut self, count: u64) {
        self.connection.talk.took_direct(count);
    }
}

impl FieldSink for Exchange {
    fn field(&mut self, name: &[u8], value: &[u8]) {
        line(self.connection.talk.wire.stage(), name, value);
    }
}

impl Sink for Exchange {
    fn end_head(&mut self) {
        let framing = self.framing;
        let stage = self.connection.talk.wire.stage();
        self.connection.talk.outgoing = match framing {
            BodyLength::None => Outgoing::Over,
            BodyLength::Known(count) => Outgoing::Known(count),
            BodyLength::Open => Outgoing::Chunked(0),
        };
        match framing {
            BodyLength::None => {}
            BodyLength::Known(count) => {
                stage.extend_from_slice(b"Content-Length: ");
                decimal(stage, count);
                stage.extend_from_slice(b"\r\n");
            }
            BodyLength::Open => stage.extend_from_slice(b"Transfer-Encoding: chunked\r\n"),
        }
        stage.extend_from_slice(b"\r\n");
    }

    fn poll_send(&mut self, cx: &mut Context<'_>, data: &[u8]) -> Poll<Result<usize, Broken>> {
        self.connection.talk.poll_send(cx, data)
    }

    fn finish(&mut self, trailers: Vec<Trailer>) {
        self.connection.talk.finish(&trailers);
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Broken>> {
        self.connection.talk.poll_flush(cx)
    }

    fn direct(&self) -> Option<&Stream> {
        self.connection.talk.direct_out()
    }

    fn gave_direct(&mut self, count: u64) {
        self.connection.talk.gave_direct(count);
    }
}

impl Backend for Exchange {
    type Head = Head;

    fn start_head(&mut self, ask: &Ask<'_>) {
        self.to_head = ask.method == b"HEAD";
        self.framing = match ask.body {
            // A length of zero tells that there is no body where one is usual.
            BodyLength::None if matches!(ask.method, b"POST" | b"PUT" | b"PATCH") => BodyLength::Known(0),
            other => other,
        };
        self.upgrades = ask.upgrade.is_some();
        let stage = self.connection.talk.wire.stage();
        stage.extend_from_slice(ask.method);
        stage.push(b' ');
        stage.extend_from_slice(ask.target);
        stage.extend_from_slice(b" HTTP/1.1\r\n");
        match ask.upgrade {
            Some(protocols) => {
                line(stage, b"Upgrade", protocols);
                stage.extend_from_slice(b"Connection: upgrade\r\n");
            }
            None if self.keep.most == 0 => stage.extend_from_slice(b"Connection: close\r\n"),
            None => {}
        }
    }

    fn poll_head(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Broken>> {
        loop {
            if let Some(head) = self.parse()? {
                self.connection.talk.wire.consume(head.length);
                self.connection.head.status = head.status;
                self.connection.head.reason = head.reason;
                match head.status {
                    100 => continue,
                    101 if !self.upgrades => return Poll::Ready(Err(Broken::Malformed(Reject::StatusLine))),
                    101 => self.reusable = false,
                    102..=199 => {}
                    _ => self.accept(&head),
                }
                return Poll::Ready(Ok(()));
            }
            let wire = &mut self.connection.talk.wire;
            if wire.ended || (wire.is_full() && !wire.grow()) {
                return Poll::Ready(Err(Broken::Gone));
            }
            if ready!(wire.poll_fill(cx)).map_err(broken)? == 0 {
                return Poll::Ready(Err(Broken::Gone));
            }
        }
    }

    fn head(&self) -> &Head {
        &self.connection.head
    }

    fn reason(&self) -> &[u8] {
        self.connection.head.reason.of(&self.connection.head.raw)
    }

    fn body(&self) -> ResponseBody {
        self.body
    }

    fn is_stale(&self) -> bool {
        self.connection.requests > 0 && self.connection.talk.wire.received == self.received_before
    }

    fn tunnel(&mut self) {
        self.connection.talk.tunnel();
    }

    fn release(self) {
        let Self { thread, mut connection, keep, epoch, reusable, .. } = self;
        let wire = &connection.talk.wire;
        connection.requests += 1;
        let worn = keep.requests > 0 && connection.requests >= keep.requests;
        let usable =
            reusable && !worn && !wire.ended && wire.unread().is_empty() && connection.talk.is_clean();
        if keep.most > 0 && usable && !thread.draining() {
            connection.talk.wire.rest();
            buffers::give_back_text(std::mem::take(&mut connection.head.raw));
            connection.pool = keep.pool;
            connection.until = thread.deadlines.now() + keep.time;
            let mut kept = thread.kept.borrow_mut();
            if kept.epoch == epoch {
                kept.put(connection, keep);
            }
        }
    }
}
