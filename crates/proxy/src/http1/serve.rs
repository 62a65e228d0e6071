//! A client's connection: one request after the other.

use std::net::SocketAddr;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use mainstay_config::plan::edge::{HttpLimits, Protocol};
use mainstay_core::http1::{HeadLimits, Reject, head_may_be_whole};
use mainstay_core::http2::PREFACE;

use super::agents;
use super::client::Side;
use super::head;
use super::parked::{DRAIN_IDLE, Idle, Who};
use crate::clock::recent;
use crate::deadline::Watch;
use crate::exchange::{Connection, Exchange};
use crate::forward;
use crate::http2;
use crate::request::Request;
use crate::road::{Arrival, Counted, Way};
use crate::route;
use crate::serve::socket_of;
use crate::snapshot::Snapshot;
use crate::stream;
use crate::thread::{Current, Thread};
use crate::transport::Io;

/// How long a connection that is closed while its client still sends is read from, so that the client sees the response
/// and not a reset; and for how long at most when nothing comes.
const LINGER: (Duration, Duration) = (Duration::from_secs(15), Duration::from_secs(3));

/// Bytes that are read while lingering.
const LINGER_BYTES: u64 = 64 << 20;

/// How long a connection without a request keeps its task.
const TASK_IDLE: Duration = Duration::from_millis(500);

/// Serves a client's requests until its connection ends, or is parked between two of them.
pub async fn serve(thread: Rc<Thread>, io: Io, connection: Rc<Connection>, name: Rc<str>) {
    let watch = thread.deadlines.watch();
    let side = Side::new(io);
    let open = Open { watch, side, thread, connection, name, earlier: 0, pipelined: false, generation: 0 };
    open.run().await;
}

/// Goes on with a connection of a listener of the hub that has begun as HTTP does: one upgrade, at whatever path, and the hub has it
/// back. What it has said so far is in `early`.
pub fn upgrade(thread: Rc<Thread>, arrival: Arrival) -> impl Future<Output = ()> {
    let Arrival { io, early, connection, listener: name, open, .. } = arrival;
    let mut side = Side::new(io);
    side.talk.wire.preload(&early);
    open.hand_on();
    let watch = thread.deadlines.watch();
    Open { watch, side, thread, connection, name, earlier: 0, pipelined: false, generation: 0 }.run()
}

/// Goes on with a client that was parked.
pub(super) fn resume(thread: &Rc<Thread>, idle: Idle) {
    let Idle { socket, who, name, earlier, generation, .. } = idle;
    let connection = Rc::new(Connection::from(who));
    let Ok(socket) = socket_of(socket, connection.peer.is_some()) else {
        return thread.counters.closed(connection.counts);
    };
    let open = Open {
        watch: thread.deadlines.watch(),
        side: Side::new(Io::Plain(socket)),
        thread: Rc::clone(thread),
        connection,
        name,
        earlier,
        pipelined: false,
        generation,
    };
    tokio::task::spawn_local(open.run());
}

/// The first byte of gost's relay protocol: its version.
const RELAY: u8 = 1;

/// The first byte of TLS: a record of its handshake (RFC 8446 section 5.1).
const HANDSHAKE: u8 = 22;

/// Whether a connection begins as HTTP/2 does (RFC 9113 section 3.4); no method of HTTP/1.1 is called so.
fn is_preface(bytes: &[u8]) -> bool {
    bytes.starts_with(&PREFACE[..4]) && PREFACE.iter().zip(bytes).all(|(known, byte)| known == byte)
}

/// What follows a request.
enum Next {
    Again,
    /// It has said nothing for a while.
    Idle,
    End,
    /// The client speaks HTTP/2, by prior knowledge.
    Http2,
    /// The client is an agent of a tunnel, known by this address.
    Agent(Option<SocketAddr>),
    /// It speaks gost's relay protocol.
    Relay,
    /// It speaks TLS, which does not end here.
    Tls,
}

/// A head, or why there is none.
enum Came {
    Request,
    Refused(Reject),
    /// The preface of HTTP/2.
    Http2,
    /// The first byte of gost's relay protocol.
    Relay,
    /// The first byte of TLS.
    Tls,
    /// Not all of it.
    Late,
    /// Nothing.
    Nothing,
    End,
}

/// A client's connection.
struct Open {
    thread: Rc<Thread>,
    side: Side,
    watch: Watch,
    connection: Rc<Connection>,
    /// The listener's name.
    name: Rc<str>,
    /// Requests so far.
    earlier: u32,
    /// The request that is served next was here before the last one was done.
    pipelined: bool,
    /// Of the snapshot that `connection` has its listener's position of.
    generation: u64,
}

impl Open {
    /// Serves requests. What a request needs is there only while there are some: what waits is small.
    async fn run(mut self) {
        let mut patience = TASK_IDLE;
        while let Some(limits) = self.limits() {
            let idle =
                limits.idle_timeout.max(if self.earlier == 0 { limits.head_timeout } else { Duration::ZERO });
            if self.is_readable(patience.min(idle)).await.is_none() {
                self = match self.park(idle) {
                    None => return,
                    Some(open) => open,
                };
                if self.waits_long(idle.saturating_sub(TASK_IDLE)).await.is_none() {
                    break;
                }
            }
            match Box::pin(self.requests()).await {
                Next::Again | Next::Idle => {}
                Next::Http2 => return Box::pin(self.speak_http2()).await,
                Next::Agent(from) => return self.hand_over(from, Way::WebSocket),
                Next::Relay => {
                    let from = self.connection.proxy.map(|(source, _)| source).or(self.connection.peer);
                    return self.hand_over(from, Way::Straight);
                }
                Next::Tls => return Box::pin(self.pass_through()).await,
                Next::End => break,
            }
            patience = Duration::ZERO;
        }
        self.thread.counters.closed(self.connection.counts);
    }

    /// Waits for the first byte of a request, or the end.
    async fn is_readable(&mut self, patience: Duration) -> Option<()> {
        if !self.side.talk.wire.unread().is_empty() {
            return Some(());
        }
        if patience.is_zero() {
            return None;
        }
        let wire = &mut self.side.talk.wire;
        self.watch.within(patience, |cx| wire.poll_peer(cx).map(|_| ())).await
    }

    /// The same for long; while the thread drains nobody waits longer than a slice of it.
    async fn waits_long(&mut self, patience: Duration) -> Option<()> {
        let until = self.watch.now() + patience;
        loop {
            let left = until.since(self.watch.now());
            if self.is_readable(left.min(DRAIN_IDLE)).await.is_some() {
                return Some(());
            }
            if left <= DRAIN_IDLE || self.thread.draining() {
                return None;
            }
        }
    }

    /// Leaves the connection to those who wait without a task, where that can be done.
    fn park(mut self, idle: Duration) -> Option<Self> {
        let wire = &mut self.side.talk.wire;
        if wire.io().direct().is_none() || !wire.unread().is_empty() || wire.has_staged() {
            return Some(self);
        }
        let Some(parked) = self.thread.parked() else { return Some(self) };
        let Self { thread, side, connection, name, earlier, generation, .. } = self;
        let since = thread.deadlines.now();
        let until = since + idle.saturating_sub(TASK_IDLE);
        let Ok(socket) = side.talk.wire.into_io().into_descriptor() else {
            thread.counters.closed(connection.counts);
            return None;
        };
        let who = Who::from(&*connection);
        drop(connection);
        let idle = Idle { socket, who, name, earlier, generation, since, until };
        if let Err(idle) = parked.park(idle) {
            resume(&thread, *idle);
        }
        None
    }

    /// Serves requests as long as they come.
    async fn requests(&mut self) -> Next {
        let mut slot = None;
        loop {
            let came = pin!(self.one(&mut slot)).await;
            match came {
                Next::Again => {}
                next @ (Next::Idle | Next::Http2 | Next::Agent(_) | Next::Relay | Next::Tls | Next::End) => {
                    return next;
                }
            }
        }
    }

    fn limits(&mut self) -> Option<HttpLimits> {
        let snapshot = self.snapshot()?;
        Some(snapshot.0.edge.listeners[self.connection.listener as usize].http)
    }

    /// The snapshot that the next request follows; without its listener the connection has no future.
    fn snapshot(&mut self) -> Option<Rc<Current>> {
        let snapshot = self.thread.current();
        if snapshot.0.generation != self.generation {
            let listener = self.thread.listener_of(&self.name)?;
            if listener != self.connection.listener {
                self.connection = Rc::new(Connection { listener, ..(*self.connection).clone() });
            }
            self.generation = snapshot.0.generation;
        }
        Some(snapshot)
    }

    /// Serves one request, which is kept in `slot`: it is too large to be moved about, and its memory serves the next.
    async fn one(&mut self, slot: &mut Option<Exchange>) -> Next {
        let Some(limits) = self.limits() else { return Next::End };
        let came = pin!(self.head(&limits, slot)).await;
        match came {
            Came::Request => {
                // What is in force when the request came counts, not what was when the wait for it began.
                let (Some(snapshot), Some(exchange)) = (self.snapshot(), slot.as_mut()) else {
                    return Next::End;
                };
                if !Rc::ptr_eq(&exchange.connection, &self.connection) {
                    exchange.connection = Rc::clone(&self.connection);
                }
                let next = pin!(self.request(&snapshot.0, exchange)).await;
                exchange.forget();
                next
            }
            Came::Refused(reject) => self.refuse(&limits, reject.name(), reject.status()).await,
            Came::Late => self.refuse(&limits, "head-timeout", 408).await,
            Came::Nothing => Next::Idle,
            Came::Http2 => Next::Http2,
            Came::Relay => Next::Relay,
            Came::Tls => Next::Tls,
            Came::End => Next::End,
        }
    }

    /// Hands the connection over, with what came of the preface.
    async fn speak_http2(self) {
        let wire = self.side.talk.wire;
        let early = wire.unread().to_vec();
        drop(self.watch);
        http2::serve(self.thread, wire.into_io(), self.connection, self.name, early).await;
    }

    /// Hands TLS that does not end here over, with what came of it.
    async fn pass_through(mut self) {
        let Some(current) = self.snapshot() else {
            return self.thread.counters.closed(self.connection.counts);
        };
        let wire = self.side.talk.wire;
        let early = wire.unread().to_vec();
        let connection = Connection::clone(&self.connection);
        let Io::Plain(mut socket) = wire.into_io() else {
            return self.thread.counters.closed(connection.counts);
        };
        socket.unread(&early);
        drop(self.watch);
        stream::pass_through(self.thread, Arc::clone(&current.0), socket, connection).await;
    }

    /// What a first byte that begins no request begins instead.
    fn otherwise(&mut self, first: u8) -> Option<Came> {
        if first != RELAY && first != HANDSHAKE {
            return None;
        }
        let tls = self.connection.tls.is_some();
        let current = self.snapshot()?;
        current.0.edge.listeners[self.connection.listener as usize].compat?;
        match first {
            RELAY => Some(Came::Relay),
            _ => (!tls).then_some(Came::Tls),
        }
    }

    /// Answers an agent that comes in by an upgrade.
    async fn admit(&mut self, snapshot: &Snapshot, exchange: &mut Exchange) -> Next {
        let limits = snapshot.edge.listeners[self.connection.listener as usize].http;
        let answer = match route::comes_in(snapshot, exchange).and_then(|()| agents::accept(exchange)) {
            Ok(_) if self.thread.draining() || self.thread.hub().is_none() => Err(503),
            answer => answer,
        };
        match answer {
            Ok(answer) => {
                let wire = &mut self.side.talk.wire;
                wire.stage().extend_from_slice(answer.as_bytes());
                match self.watch.within(limits.send_timeout, |cx| wire.poll_drain(cx)).await {
                    Some(Ok(())) => {
                        Next::Agent(exchange.client.map(|ip| SocketAddr::new(ip, exchange.client_port)))
                    }
                    Some(Err(_)) | None => Next::End,
                }
            }
            Err(status) => self.refuse(&limits, "agent-upgrade", status).await,
        }
    }

    /// Hands the connection of an agent over, with what came already.
    fn hand_over(self, from: Option<SocketAddr>, way: Way) {
        let wire = self.side.talk.wire;
        let early = wire.unread().to_vec();
        let open = Counted::new(Arc::clone(&self.thread.counters), self.connection.counts);
        let gone = way == Way::Straight && self.thread.draining();
        let Some(hub) = self.thread.hub().filter(|_| !gone) else { return };
        hub.take(Arrival {
            io: wire.into_io(),
            early,
            from,
            connection: self.connection,
            listener: self.name,
            way,
            open,
        });
    }

    async fn request(&mut self, snapshot: &Arc<Snapshot>, exchange: &mut Exchange) -> Next {
        let listener = &snapshot.edge.listeners[self.connection.listener as usize];
        let hub = listener.protocol == Protocol::Hub;
        if hub || listener.agents.as_ref().is_some_and(|path| agents::is_for(path, exchange)) {
            return Box::pin(self.admit(snapshot, exchange)).await;
        }
        let limits = snapshot.edge.listeners[self.connection.listener as usize].http;
        exchange.earlier = self.earlier;
        self.earlier = self.earlier.saturating_add(1);
        exchange.pipelined = self.pipelined;
        let worn = limits.requests_max > 0 && self.earlier >= limits.requests_max;
        if worn || limits.idle_timeout.is_zero() || self.thread.draining() {
            self.side.keep = false;
        }
        pin!(forward::serve(&self.thread, snapshot, &self.watch, exchange, &mut self.side)).await;
        if self.side.is_ready_for_next() {
            self.pipelined = !self.side.talk.wire.unread().is_empty();
            return Next::Again;
        }
        self.linger().await;
        Next::End
    }

    /// Waits for a request's head.
    async fn head(&mut self, limits: &HttpLimits, slot: &mut Option<Exchange>) -> Came {
        let bounds = HeadLimits {
            bytes: limits.head_max,
            fields: limits.fields_max,
            drop_underscores: !limits.underscores,
            bare_lf: limits.bare_lf,
        };
        let mut seen = 0;
        let mut started = None;
        loop {
            let bytes = self.side.talk.wire.unread();
            if !bytes.is_empty() {
                let began = *started.get_or_insert_with(recent);
                let first = bytes[0];
                if seen == 0
                    && self.earlier == 0
                    && let Some(came) = self.otherwise(first)
                {
                    return came;
                }
                let bytes = self.side.talk.wire.unread();
                if self.earlier == 0 && limits.http2 && self.connection.tls.is_none() && is_preface(bytes) {
                    return Came::Http2;
                }
                if seen == 0 || bytes.len() >= bounds.bytes as usize || head_may_be_whole(bytes, seen) {
                    let blank = || Exchange::new(Request::none(), Rc::clone(&self.connection), began);
                    let exchange = slot.get_or_insert_with(blank);
                    exchange.started = began;
                    let request = &mut exchange.request;
                    match head::parse(bytes, &bounds, request) {
                        Ok(Some(length)) => {
                            self.side.begin(request, length, limits);
                            self.watch.disarm();
                            return Came::Request;
                        }
                        Ok(None) => {}
                        Err(reject) => return Came::Refused(reject),
                    }
                }
                seen = self.side.talk.wire.unread().len();
            }
            let wire = &mut self.side.talk.wire;
            if wire.is_full() && !wire.grow() {
                return Came::Refused(Reject::HeadTooLarge);
            }
            let due = match started {
                None => self.watch.now() + TASK_IDLE.min(limits.idle_timeout),
                Some(began) => began + limits.head_timeout,
            };
            self.watch.arm(due);
            let watch = &self.watch;
            let filled = std::future::poll_fn(|cx| match wire.poll_fill(cx) {
                std::task::Poll::Ready(filled) => std::task::Poll::Ready(Some(filled)),
                std::task::Poll::Pending => watch.poll(cx).map(|()| None),
            });
            match filled.await {
                None if started.is_some() => return Came::Late,
                None => return Came::Nothing,
                Some(Ok(0) | Err(_)) => return Came::End,
                Some(Ok(_)) => {}
            }
        }
    }

    async fn refuse(&mut self, limits: &HttpLimits, why: &'static str, status: u16) -> Next {
        self.thread.counters.refused(self.connection.counts, why);
        self.side.refuse();
        forward::refuse(&self.watch, limits.send_timeout, &mut self.side, status).await;
        self.linger().await;
        Next::End
    }

    /// Closes the connection so that the client sees all of the response.
    async fn linger(&mut self) {
        let wire = &mut self.side.talk.wire;
        if self.side.aborted || wire.ended {
            return;
        }
        let watch = &self.watch;
        let whole = self.side.answered && matches!(self.side.talk.incoming, super::talk::Incoming::Over);
        if watch.within(LINGER.1, |cx| wire.poll_shutdown(cx)).await.is_none() {
            return;
        }
        if whole && wire.unread().is_empty() {
            return;
        }
        let until = watch.now() + LINGER.0;
        let mut left = LINGER_BYTES;
        while watch.now() < until && left > 0 {
            wire.consume(wire.unread().len());
            match watch.within(LINGER.1, |cx| wire.poll_fill(cx)).await {
                Some(Ok(count)) if count > 0 => left = left.saturating_sub(count as u64),
                Some(_) | None => return,
            }
        }
    }
}
