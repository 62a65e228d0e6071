//! A connection's streams and those who wait for them, and its bytes on their way from and to the socket.

use std::cell::{RefCell, RefMut};
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};

use mainstay_core::http2::{Connection, Event, Key};
use mainstay_core::time::Boot;
use tokio::io::AsyncWrite as _;

use crate::buffers;
use crate::exchange::FieldSink;
use crate::transport::Io;

/// The size of what is read at once (see [`buffers::SIZES`]): four frames of bodies.
const READ: usize = 1;

/// A connection's streams, for the connection's task and the requests'.
#[derive(Clone, Debug)]
pub(super) struct Shared(Rc<RefCell<Mux>>);

/// The streams and their waiters.
#[derive(Debug)]
pub(super) struct Mux {
    pub(super) h2: Connection,
    waiters: Vec<Waiters>,
    /// The connection's task, when others than itself have something to send.
    driver: Option<Waker>,
}

/// Who waits for a stream.
#[derive(Debug, Default)]
struct Waiters {
    read: Option<Waker>,
    write: Option<Waker>,
}

impl Shared {
    pub(super) fn new(h2: Connection) -> Self {
        Self(Rc::new(RefCell::new(Mux { h2, waiters: Vec::new(), driver: None })))
    }

    pub(super) fn borrow(&self) -> RefMut<'_, Mux> {
        self.0.borrow_mut()
    }
}

impl Mux {
    fn waiters(&mut self, key: Key) -> &mut Waiters {
        if self.waiters.len() <= key.index() {
            self.waiters.resize_with(key.index() + 1, Waiters::default);
        }
        &mut self.waiters[key.index()]
    }

    /// The task is woken when there is something to take from the stream.
    pub(super) fn wait_to_read(&mut self, key: Key, cx: &Context<'_>) {
        set(&mut self.waiters(key).read, cx);
    }

    /// The task is woken when there is room to send on the stream.
    pub(super) fn wait_to_write(&mut self, key: Key, cx: &Context<'_>) {
        set(&mut self.waiters(key).write, cx);
    }

    /// The task that moves the bytes is woken by [`Mux::flush`].
    pub(super) fn drive(&mut self, cx: &Context<'_>) {
        set(&mut self.driver, cx);
    }

    /// Something is to be sent.
    pub(super) fn flush(&mut self) {
        if let Some(driver) = self.driver.take() {
            driver.wake();
        }
    }

    /// Wakes whom the next events concern, and gives back the first that concerns nobody yet.
    pub(super) fn next_event(&mut self) -> Option<Event> {
        loop {
            let waker = match self.h2.poll_event()? {
                Event::Readable(key) => self.waiters(key).read.take(),
                Event::Writable(key) => self.waiters(key).write.take(),
                event @ (Event::Opened(_) | Event::Refused(_) | Event::Closed(_)) => return Some(event),
            };
            if let Some(waker) = waker {
                waker.wake();
            }
        }
    }
}

fn set(place: &mut Option<Waker>, cx: &Context<'_>) {
    if !place.as_ref().is_some_and(|known| known.will_wake(cx.waker())) {
        *place = Some(cx.waker().clone());
    }
}

/// The bytes of a connection.
#[derive(Debug)]
pub(super) struct Wire {
    io: Io,
    /// The beginning of a frame.
    partial: Vec<u8>,
    /// Whole frames are in `partial`: they wait until what is to be sent has gone.
    held: bool,
    /// The other end sends no more.
    pub(super) ended: bool,
    /// When bytes came last.
    pub(super) heard: Boot,
    /// When bytes went last, or there were none to send.
    pub(super) flowed: Boot,
}

impl Wire {
    /// `early` came before.
    pub(super) fn new(io: Io, early: Vec<u8>, now: Boot) -> Self {
        Self { io, partial: early, held: false, ended: false, heard: now, flowed: now }
    }

    /// Whether a frame has begun and is not whole.
    pub(super) fn is_midway(&self) -> bool {
        !self.partial.is_empty()
    }

    /// Has what came already received.
    pub(super) fn receive_kept(&mut self, h2: &mut Connection, now: Boot) {
        let taken = h2.receive(&self.partial, now);
        self.partial.drain(..taken);
        self.held = !self.partial.is_empty() && !h2.wants_input();
    }

    /// Reads once and has the frames received.
    pub(super) fn poll_receive(
        &mut self,
        cx: &mut Context<'_>,
        h2: &mut Connection,
        now: Boot,
    ) -> Poll<io::Result<()>> {
        if self.ended || !h2.wants_input() {
            return Poll::Pending;
        }
        if self.held {
            self.receive_kept(h2, now);
            return Poll::Ready(Ok(()));
        }
        let mut block = buffers::block(READ);
        let kept = self.partial.len();
        debug_assert!(kept < block.len(), "a frame that is not whole is shorter than a block");
        let filled = self.io.poll_fill(cx, &mut block[kept..]);
        if let Poll::Ready(Ok(count)) = filled {
            self.ended = count == 0;
            self.heard = now;
            block[..kept].copy_from_slice(&self.partial);
            let end = kept + count;
            let taken = h2.receive(&block[..end], now);
            self.keep(&block[taken..end]);
            self.held = taken < end && !h2.wants_input();
        }
        filled.map_ok(|_| ())
    }

    fn keep(&mut self, rest: &[u8]) {
        if rest.is_empty() {
            self.partial = Vec::new();
        } else {
            self.partial.clear();
            self.partial.extend_from_slice(rest);
        }
    }

    /// Sends what waits; pending while the socket takes none.
    pub(super) fn poll_send(
        &mut self,
        cx: &mut Context<'_>,
        h2: &mut Connection,
        now: Boot,
    ) -> Poll<io::Result<()>> {
        while !h2.output().is_empty() {
            let sent = ready!(Pin::new(&mut self.io).poll_write(cx, h2.output()))?;
            if sent == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            h2.sent(sent);
            self.flowed = now;
        }
        ready!(Pin::new(&mut self.io).poll_flush(cx))?;
        self.flowed = now;
        Poll::Ready(Ok(()))
    }

    pub(super) fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }

    /// Reads and throws away; zero at the end.
    pub(super) fn poll_discard(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let mut block = buffers::block(0);
        self.io.poll_fill(cx, &mut block)
    }
}

/// Fields of a head that is being written.
#[derive(Debug)]
pub(super) struct Fields {
    text: Vec<u8>,
    /// Where each name and each value ends.
    ends: Vec<(u32, u32)>,
}

impl Fields {
    pub(super) fn new() -> Self {
        Self { text: buffers::text(), ends: Vec::with_capacity(16) }
    }

    pub(super) fn clear(&mut self) {
        self.text.clear();
        self.ends.clear();
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        let mut start = 0;
        self.ends.iter().map(move |(name, value)| {
            let from = std::mem::replace(&mut start, *value as usize);
            (&self.text[from..*name as usize], &self.text[*name as usize..*value as usize])
        })
    }

    /// Bytes of names and values.
    pub(super) fn len(&self) -> usize {
        self.text.len()
    }

    pub(super) fn number(&mut self, name: &[u8], mut value: u64) {
        let mut digits = [0; 20];
        let mut at = digits.len();
        loop {
            at -= 1;
            digits[at] = b'0' + (value % 10) as u8;
            value /= 10;
            if value == 0 {
                break;
            }
        }
        self.field(name, &digits[at..]);
    }
}

impl FieldSink for Fields {
    fn field(&mut self, name: &[u8], value: &[u8]) {
        // What is of one connection means nothing here, and peers take it for a fault (RFC 9113 section 8.2.2).
        const OF_CONNECTION: [&[u8]; 6] =
            [b"connection", b"keep-alive", b"proxy-connection", b"transfer-encoding", b"upgrade", b"te"];
        if OF_CONNECTION.iter().any(|known| name.eq_ignore_ascii_case(known)) {
            return;
        }
        self.text.extend_from_slice(name);
        let name = self.text.len() as u32;
        self.text.extend_from_slice(value);
        self.ends.push((name, self.text.len() as u32));
    }
}

impl Drop for Fields {
    fn drop(&mut self) {
        buffers::give_back_text(std::mem::take(&mut self.text));
    }
}
