//! UDP: a session for each client address, with a socket of its own towards its backend.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use mainstay_config::plan::edge::{Place, ProxyHeader};
use mainstay_core::name::PoolId;
use rustix::net::SendFlags;
use tokio::io::unix::AsyncFd;
use tokio::io::{Interest, ReadBuf};
use tokio::net::UdpSocket;

use super::datagram::{Came, DATAGRAM_MAX, Datagrams};
use super::open::admits;
use crate::clock::boot_now;
use crate::exchange::Connection;
use crate::pool::{Ask, Lease, Outcome};
use crate::road::{Freight, Goal, Road};
use crate::snapshot::Snapshot;
use crate::thread::Thread;

/// Datagrams taken before others get their turn.
const BATCH: usize = 64;

/// Who asks, and which of our addresses.
type Key = (SocketAddr, SocketAddr);

/// A UDP listener on one thread.
struct Udp {
    thread: Rc<Thread>,
    /// Position of the listener in the snapshot in force.
    listener: Rc<Cell<u32>>,
    socket: Rc<AsyncFd<Datagrams>>,
    sessions: RefCell<HashMap<Key, Rc<Session>>>,
    /// Where an answer is while it is passed on.
    answers: RefCell<Vec<u8>>,
}

/// The way to a backend.
enum Far {
    Socket(UdpSocket),
    /// Through a tunnel: each read and each write is a datagram.
    Road(RefCell<Box<dyn Road>>),
}

struct Session {
    backend: Far,
    /// What the first datagram begins with.
    header: RefCell<Vec<u8>>,
    /// Counts up with each datagram from the client.
    asked: Cell<u64>,
    received: Cell<u64>,
}

/// Serves a bound UDP socket until the thread ends or the listener is taken away.
///
/// # Errors
/// When the socket cannot be used.
pub async fn udp(thread: Rc<Thread>, listener: Rc<Cell<u32>>, socket: OwnedFd) -> io::Result<()> {
    #[expect(
        deprecated,
        reason = "its successor is unsafe for types whose descriptor may change; ours does not"
    )]
    let socket = AsyncFd::with_interest(Datagrams::new(socket)?, Interest::READABLE)?;
    let answers = RefCell::new(vec![0; DATAGRAM_MAX]);
    let udp =
        Rc::new(Udp { thread, listener, socket: Rc::new(socket), sessions: RefCell::default(), answers });
    let mut buffer = vec![0; DATAGRAM_MAX];
    loop {
        let mut ready = udp.socket.readable().await?;
        for _ in 0..BATCH {
            match udp.socket.get_ref().receive(&mut buffer) {
                Ok(came) => udp.take(&buffer[..came.length], came),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    ready.clear_ready();
                    break;
                }
                // An answer that could not be delivered is told here (ICMP): that is no fault of this socket.
                Err(error) => tracing::trace!(%error, "receive a datagram"),
            }
        }
        tokio::task::yield_now().await;
    }
}

impl Udp {
    fn take(self: &Rc<Self>, bytes: &[u8], came: Came) {
        let key = (came.from, came.to);
        let known = self.sessions.borrow().get(&key).map(Rc::clone);
        if let Some(session) = known {
            session.send(bytes);
            return;
        }
        let snapshot = self.thread.snapshot();
        let listener = self.listener.get();
        let Some(settings) = snapshot.edge.listeners.get(listener as usize) else { return };
        let Some(pool) = settings.pool else { return };
        let counts = snapshot.places.listener(listener);
        if !admits(&settings.access, Some(came.from)) {
            self.thread.counters.refused(counts, "access");
            return;
        }
        if self.sessions.borrow().len() >= settings.max_connections as usize {
            self.thread.counters.refused(counts, "sessions");
            return;
        }
        self.thread.counters.accepted(counts);
        match self.begin(&snapshot, pool, came) {
            Some((session, lease)) => {
                session.send(bytes);
                self.sessions.borrow_mut().insert(key, Rc::clone(&session));
                tokio::task::spawn_local(Rc::clone(self).serve(snapshot, listener, session, lease, key));
            }
            None => {
                self.thread.counters.refused(counts, "no-backend");
                self.thread.counters.closed(counts);
            }
        }
    }

    /// The way to a leased backend.
    fn reach(&self, lease: &Lease, came: Came) -> io::Result<Far> {
        match lease.goal() {
            Goal::Place(place) => Ok(Far::Socket(connected(place)?)),
            Goal::Agent(agent) => {
                let from = SocketAddr::new(came.from.ip().to_canonical(), came.from.port());
                let road = crate::dial::road(&self.thread, agent, Some((from, came.to)), Freight::Datagrams);
                Ok(Far::Road(RefCell::new(road.map_err(io::Error::other)?)))
            }
        }
    }

    /// A session for a client, when a backend can be had at once.
    fn begin(&self, snapshot: &Snapshot, pool: PoolId, came: Came) -> Option<(Rc<Session>, Lease)> {
        let mut tried = Vec::new();
        loop {
            let ask =
                Ask { client: Some(came.from.ip().to_canonical()), key: None, cookie: None, tried: &tried };
            let lease = {
                let mut lease = std::pin::pin!(self.thread.pools.lease(snapshot, pool, &ask));
                let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
                match lease.as_mut().poll(&mut cx) {
                    std::task::Poll::Ready(lease) => lease.ok()?,
                    std::task::Poll::Pending => return None,
                }
            };
            tried.push(lease.backend());
            match self.reach(&lease, came) {
                Ok(backend) => {
                    let mut header = Vec::new();
                    let ends = Some((came.from, came.to));
                    match snapshot.pool(pool).map_or(ProxyHeader::Off, |pool| pool.proxy) {
                        ProxyHeader::Off => {}
                        ProxyHeader::V1 => mainstay_core::proxy_header::write_text(ends, &mut header),
                        ProxyHeader::V2 => mainstay_core::proxy_header::write_binary(ends, true, &mut header),
                    }
                    let session = Session {
                        backend,
                        header: RefCell::new(header),
                        asked: Cell::new(0),
                        received: Cell::new(0),
                    };
                    return Some((Rc::new(session), lease));
                }
                Err(error) => {
                    tracing::debug!(backend = &**lease.address(), %error, "no UDP socket");
                    lease.ended(Outcome::ConnectFailed, Duration::ZERO);
                }
            }
        }
    }

    /// Brings answers back until the session ends.
    async fn serve(
        self: Rc<Self>,
        snapshot: Arc<Snapshot>,
        listener: u32,
        session: Rc<Session>,
        lease: Lease,
        key: Key,
    ) {
        let settings = &snapshot.edge.listeners[listener as usize];
        let began = boot_now();
        let (mut answers, mut sent) = (0, 0);
        let mut outcome = Outcome::Cancelled;
        loop {
            let asked = session.asked.get();
            if settings.udp_responses == Some(answers) {
                break;
            }
            let Ok(ready) = tokio::time::timeout(settings.idle_timeout, session.backend.readable()).await
            else {
                if session.asked.get() == asked {
                    if answers == 0 && settings.udp_responses != Some(0) {
                        outcome = Outcome::Timeout;
                    }
                    break;
                }
                continue;
            };
            if ready.is_err() {
                break;
            }
            match self.bring(&session.backend, key) {
                Ok(length) => {
                    outcome = Outcome::Answered(200);
                    (answers, sent) = (answers + 1, sent + length as u64);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => {
                    tracing::debug!(backend = &**lease.address(), %error, "a UDP backend is not there");
                    outcome = Outcome::ConnectFailed;
                    break;
                }
            }
        }
        self.sessions.borrow_mut().remove(&key);
        let address = Rc::clone(lease.address());
        lease.ended(outcome, boot_now().since(began));
        let received = session.received.get();
        let counts = snapshot.places.listener(listener);
        self.thread.counters.stream_done(counts, received, sent);
        self.thread.counters.closed(counts);
        if !settings.logs.is_empty() {
            let connection = connection(&self.thread, listener, counts, key);
            let mut exchange = crate::exchange::Exchange::of_stream(connection, began);
            let total = boot_now().since(began);
            let attempt = crate::exchange::Attempt {
                addr: address,
                status: None,
                connect: None,
                header: None,
                total: Some(total),
            };
            exchange.attempts.push(attempt);
            (exchange.status, exchange.received, exchange.sent) = (200, received, sent);
            super::open::write_log(&self.thread, &snapshot, listener, &exchange);
        }
    }

    /// Brings one answer to its client.
    fn bring(&self, backend: &Far, (client, ours): Key) -> io::Result<usize> {
        let mut buffer = self.answers.borrow_mut();
        let length = backend.receive(&mut buffer)?;
        if let Err(error) = self.socket.get_ref().send(&buffer[..length], ours, client) {
            tracing::trace!(%error, "answer a datagram");
        }
        Ok(length)
    }
}

impl Far {
    /// Waits for a datagram.
    async fn readable(&self) -> io::Result<()> {
        match self {
            Self::Socket(socket) => socket.readable().await,
            Self::Road(road) => poll_fn(|cx| road.borrow_mut().poll_readable(cx)).await,
        }
    }

    /// The datagram that is there.
    fn receive(&self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Socket(socket) => socket.try_recv(buffer),
            Self::Road(road) => {
                let mut buffer = ReadBuf::new(buffer);
                match Pin::new(&mut **road.borrow_mut()).poll_read(&mut noop(), &mut buffer) {
                    Poll::Ready(Ok(())) if buffer.filled().is_empty() => {
                        Err(io::ErrorKind::UnexpectedEof.into())
                    }
                    Poll::Ready(read) => read.map(|()| buffer.filled().len()),
                    Poll::Pending => Err(io::ErrorKind::WouldBlock.into()),
                }
            }
        }
    }

    /// Sends a datagram, or loses it.
    fn send(&self, bytes: &[u8]) -> io::Result<()> {
        match self {
            // Straight to the socket: the runtime takes a fresh one for busy and would lose the session's first datagram.
            Self::Socket(socket) => {
                rustix::net::send(socket, bytes, SendFlags::DONTWAIT | SendFlags::NOSIGNAL)?;
                Ok(())
            }
            Self::Road(road) => match Pin::new(&mut **road.borrow_mut()).poll_write(&mut noop(), bytes) {
                Poll::Ready(written) => written.map(|_| ()),
                Poll::Pending => Err(io::ErrorKind::WouldBlock.into()),
            },
        }
    }
}

fn noop() -> Context<'static> {
    Context::from_waker(Waker::noop())
}

impl Session {
    fn send(&self, bytes: &[u8]) {
        self.asked.set(self.asked.get() + 1);
        self.received.set(self.received.get() + bytes.len() as u64);
        let mut header = self.header.borrow_mut();
        let sent = if header.is_empty() {
            self.backend.send(bytes)
        } else {
            header.extend_from_slice(bytes);
            self.backend.send(&std::mem::take(&mut *header))
        };
        if let Err(error) = sent {
            // UDP promises nothing; the receiving side learns of a backend that is not there.
            tracing::trace!(%error, "pass a datagram on");
        }
    }
}

fn connection(thread: &Thread, listener: u32, counts: u32, (client, ours): Key) -> Connection {
    Connection {
        number: thread.number_connection(),
        listener,
        counts,
        peer: Some(SocketAddr::new(client.ip().to_canonical(), client.port())),
        local: Some(ours),
        proxy: None,
        tls: None,
    }
}

/// A socket that only hears its backend.
fn connected(target: &Place) -> io::Result<UdpSocket> {
    let Place::Inet(addr) = target else { return Err(io::Error::other("a unix socket takes no UDP")) };
    let any: SocketAddr = match addr {
        SocketAddr::V4(_) => (std::net::Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (std::net::Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    let socket = std::net::UdpSocket::bind(any)?;
    socket.connect(addr)?;
    socket.set_nonblocking(true)?;
    UdpSocket::from_std(socket)
}
