//! A TCP connection from accept on: who may come in, what its first bytes say, which backend gets it.

use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use mainstay_config::plan::edge::{Access, Listener, Place, Protocol, ProxyHeader, Template};
use mainstay_core::name::PoolId;
use mainstay_core::time::Boot;
use rustix::buffer::spare_capacity;
use rustix::io::Errno;
use rustix::net::{AddressFamily, RecvFlags, SocketAddrUnix, SocketFlags, SocketType};

use super::relay::{End, Ended, Opening};
use crate::clock::boot_now;
use crate::exchange::{Attempt, Connection};
use crate::policy::access;
use crate::pool::{Ask, Lease, Outcome, Refused};
use crate::road::Goal;
use crate::snapshot::Snapshot;
use crate::thread::Thread;
use crate::transport::{Io, Socket, Stream};

/// A connection that is to be relayed.
pub(super) struct Job {
    pub(super) thread: Rc<Thread>,
    pub(super) snapshot: Arc<Snapshot>,
    pub(super) connection: Connection,
    pub(super) client: OwnedFd,
    /// What was read of it already, for the backend.
    pub(super) first: Vec<u8>,
    /// It has said no more than that so far.
    pub(super) drained: bool,
    pub(super) pool: PoolId,
    pub(super) tried: Vec<u32>,
    pub(super) attempts: Vec<Attempt>,
    pub(super) started: Boot,
}

/// Whether a source may come in: the first rule that matches decides.
pub(crate) fn admits(rules: &[Access], peer: Option<SocketAddr>) -> bool {
    access::verdict(rules, peer.map(|peer| peer.ip())).unwrap_or(true)
}

/// The client as the balance sees it: what the PROXY header says, else the other end.
fn source(connection: &Connection) -> Option<SocketAddr> {
    connection.proxy.map(|(source, _)| source).or(connection.peer)
}

impl Job {
    /// Leases a backend, at once as a rule.
    pub(super) fn start(self) {
        let snapshot = Arc::clone(&self.snapshot);
        let thread = Rc::clone(&self.thread);
        let client = source(&self.connection).map(|source| source.ip());
        let key = self.key();
        let ask = Ask { client, key: key.as_deref(), cookie: None, tried: &self.tried };
        let mut lease = Box::pin(thread.pools.lease(&snapshot, self.pool, &ask));
        let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
        match lease.as_mut().poll(&mut cx) {
            std::task::Poll::Ready(answer) => {
                drop(lease);
                self.leased(answer);
            }
            std::task::Poll::Pending => {
                drop(lease);
                tokio::task::spawn_local(self.queue(key));
            }
        }
    }

    /// Waits in the pool's queue.
    async fn queue(self, key: Option<Vec<u8>>) {
        let client = source(&self.connection).map(|source| source.ip());
        let tried = self.tried.clone();
        let ask = Ask { client, key: key.as_deref(), cookie: None, tried: &tried };
        let answer = self.thread.pools.lease(&self.snapshot, self.pool, &ask).await;
        self.leased(answer);
    }

    /// What `balance = "hash"` goes by: of a stream only its ends are known.
    fn key(&self) -> Option<Vec<u8>> {
        let pool = self.snapshot.pool(self.pool)?;
        let mainstay_config::plan::edge::Balance::Hash(template) = &pool.balance else { return None };
        let mut key = Vec::new();
        let exchange = crate::exchange::Exchange::of_stream(self.connection.clone(), self.started);
        crate::route::render(template, &self.snapshot, &exchange, &mut key);
        Some(key)
    }

    fn leased(mut self, answer: Result<Lease, Refused>) {
        match answer {
            Ok(lease) => self.dial(lease),
            Err(refused) => {
                tracing::debug!(pool = self.pool.0, "no backend for a connection: {refused}");
                self.attempts.push(Attempt {
                    addr: "-".into(),
                    status: None,
                    connect: None,
                    header: None,
                    total: Some(Duration::ZERO),
                });
                self.finish(502, 0, 0);
            }
        }
    }

    fn dial(mut self, lease: Lease) {
        self.tried.push(lease.backend());
        let began = if self.attempts.is_empty() { self.started } else { boot_now() };
        let first = self.greeting();
        let place = match lease.goal() {
            Goal::Place(place) => place,
            Goal::Agent(_) => return self.through_tunnel(lease),
        };
        let backend = match connect(place, !first.is_empty()) {
            Ok(backend) => backend,
            Err(Errno::MFILE | Errno::NFILE | Errno::NOBUFS | Errno::NOMEM) => {
                // The backend has no part in it.
                self.thread.starved(self.connection.counts);
                lease.ended(Outcome::Cancelled, boot_now().since(began));
                return self.finish(503, 0, 0);
            }
            Err(error) => {
                self.refused(lease, began, error);
                return;
            }
        };
        self.relay(lease, backend, &first, began);
    }

    /// Gives the client to a task of its own.
    fn through_tunnel(self, lease: Lease) {
        let Ok(stream) = super::slow::watched(self.client) else {
            self.thread.counters.closed(self.connection.counts);
            return self.thread.starved(self.connection.counts);
        };
        let socket = match stream {
            Stream::Tcp(stream) => Socket::from(stream),
            Stream::Unix(stream) => Socket::from(stream),
        };
        let Self { thread, snapshot, connection, first, pool, tried, started, .. } = self;
        tokio::task::spawn_local(async move {
            let client =
                super::slow::Client { io: Io::Plain(socket), early: first, tried, lease: Some(lease) };
            super::slow::relay(&thread, &snapshot, connection, client, pool, started).await;
        });
    }

    /// Hands both sockets to the relay of this thread.
    fn relay(self, lease: Lease, backend: OwnedFd, first: &[u8], began: Boot) {
        let thread = Rc::clone(&self.thread);
        let relays = match thread.relays() {
            Ok(relays) => relays,
            Err(error) => {
                tracing::warn!(%error, "no epoll instance for relays");
                return self.finish(503, 0, 0);
            }
        };
        let listener = &self.snapshot.edge.listeners[self.connection.listener as usize];
        let (connect, idle) = (listener.connect_timeout, listener.idle_timeout);
        // The client's socket is the relay's until the end is told.
        let Self {
            thread: t,
            snapshot,
            connection,
            client,
            first: early,
            drained,
            pool,
            tried,
            attempts,
            started,
        } = self;
        let near = match lease.goal() {
            Goal::Place(Place::Inet(addr)) => addr.ip().is_loopback(),
            Goal::Place(Place::Unix(_)) => true,
            Goal::Agent(_) => false,
        };
        let on_end = move |ended: Ended| {
            let Ended { end, client, received, sent, connected } = ended;
            let job = Self {
                thread: t,
                snapshot,
                connection,
                client,
                first: early,
                drained,
                pool,
                tried,
                attempts,
                started,
            };
            job.ended(lease, began, end, received, sent, connected);
        };
        relays.open(Opening {
            client,
            backend,
            first,
            drained,
            near,
            began,
            connect_by: began + connect,
            idle,
            on_end: Box::new(on_end),
        });
    }

    /// What the backend gets first: the PROXY header where it is wanted, then what the client has said.
    fn greeting(&self) -> Vec<u8> {
        let proxy = self.snapshot.pool(self.pool).map_or(ProxyHeader::Off, |pool| pool.proxy);
        let ends = self.connection.proxy.or(self.connection.peer.zip(self.connection.local));
        let mut first = Vec::new();
        match proxy {
            ProxyHeader::Off => {}
            ProxyHeader::V1 => mainstay_core::proxy_header::write_text(ends, &mut first),
            ProxyHeader::V2 => mainstay_core::proxy_header::write_binary(ends, false, &mut first),
        }
        first.extend_from_slice(&self.first);
        first
    }

    fn refused(mut self, lease: Lease, began: Boot, error: Errno) {
        tracing::debug!(backend = &**lease.address(), %error, "connect");
        let total = boot_now().since(began);
        self.attempt(&lease, None, total);
        lease.ended(Outcome::ConnectFailed, total);
        // Whoever has not been asked yet is asked now; `tried` ends this.
        self.start();
    }

    fn ended(
        mut self,
        lease: Lease,
        began: Boot,
        end: End,
        received: u64,
        sent: u64,
        connected: Option<Duration>,
    ) {
        let total = boot_now().since(began);
        match end {
            End::Unreachable(error) => return self.refused(lease, began, error),
            End::ConnectTimeout => return self.refused(lease, began, Errno::TIMEDOUT),
            End::Whole | End::Broken(_) | End::Idle | End::Cut => {}
        }
        self.attempt(&lease, connected, total);
        lease.ended(Outcome::Answered(200), connected.unwrap_or(total));
        self.finish(200, received, sent);
    }

    fn attempt(&mut self, lease: &Lease, connect: Option<Duration>, total: Duration) {
        let addr = Rc::clone(lease.address());
        self.attempts.push(Attempt { addr, status: None, connect, header: None, total: Some(total) });
    }

    fn finish(self, status: u16, received: u64, sent: u64) {
        let (listener, counts) = (self.connection.listener, self.connection.counts);
        self.thread.counters.stream_done(counts, received, sent);
        self.thread.counters.closed(counts);
        let logs = &self.snapshot.edge.listeners[listener as usize].logs;
        if logs.is_empty() {
            return;
        }
        let mut exchange = crate::exchange::Exchange::of_stream(self.connection, self.started);
        exchange.attempts = self.attempts;
        (exchange.status, exchange.received, exchange.sent) = (status, received, sent);
        exchange.complete = status == 200;
        write_log(&self.thread, &self.snapshot, listener, &exchange);
    }
}

/// A connection's line in the logs of its listener.
pub(super) fn write_log(
    thread: &Thread,
    snapshot: &Snapshot,
    listener: u32,
    exchange: &crate::exchange::Exchange,
) {
    let render = |template: &Template, exchange: &crate::exchange::Exchange, out: &mut Vec<u8>| {
        crate::route::render(template, snapshot, exchange, out);
    };
    let logs = &snapshot.edge.listeners[listener as usize].logs;
    thread.logs.write_to(logs, snapshot, exchange, &render);
}

/// Begins to connect; `speaks` says that there is something to be sent as soon as that is done.
pub(crate) fn connect(target: &Place, speaks: bool) -> Result<OwnedFd, Errno> {
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let family = match target {
        Place::Inet(SocketAddr::V4(_)) => AddressFamily::INET,
        Place::Inet(SocketAddr::V6(_)) => AddressFamily::INET6,
        Place::Unix(_) => AddressFamily::UNIX,
    };
    let socket = rustix::net::socket_with(family, SocketType::STREAM, flags, None)?;
    if speaks && family != AddressFamily::UNIX {
        // The handshake's last segment goes with the first bytes and not by itself. Where that cannot be had nothing is lost.
        let _ = rustix::net::sockopt::set_tcp_quickack(&socket, false);
    }
    let begun = match target {
        Place::Inet(addr) => rustix::net::connect(&socket, addr),
        Place::Unix(path) => rustix::net::connect(&socket, &SocketAddrUnix::new(path)?),
    };
    match begun {
        Ok(()) | Err(Errno::INPROGRESS) => Ok(socket),
        Err(error) => Err(error),
    }
}

/// Our end of a connection; asked of the kernel only where the listener's own address does not say it.
fn local(listener: &Listener, client: &OwnedFd) -> Option<SocketAddr> {
    if let [Place::Inet(addr)] = listener.places.as_slice()
        && !addr.ip().is_unspecified()
    {
        return Some(*addr);
    }
    let local = SocketAddr::try_from(rustix::net::getsockname(client).ok()?).ok()?;
    Some(SocketAddr::new(local.ip().to_canonical(), local.port()))
}

/// Bytes of a client that are read ahead of its backend.
const AHEAD: usize = 2 << 10;

/// What a client has said already, and whether that was all.
fn said(client: &OwnedFd) -> (Vec<u8>, bool) {
    let mut first = Vec::with_capacity(AHEAD);
    match rustix::net::recv(client, spare_capacity(&mut first), RecvFlags::DONTWAIT) {
        // Its end, or an error, is found again by whoever relays.
        Ok((_, count)) => (first, count > 0 && count < AHEAD),
        Err(Errno::AGAIN) => (Vec::new(), true),
        Err(_) => (Vec::new(), false),
    }
}

/// Takes an accepted connection of a tcp or passthrough listener over.
pub fn open(
    thread: &Rc<Thread>,
    snapshot: &Arc<Snapshot>,
    listener: u32,
    client: OwnedFd,
    peer: Option<SocketAddr>,
) {
    let settings = &snapshot.edge.listeners[listener as usize];
    let counts = snapshot.places.listener(listener);
    let connection = Connection {
        number: thread.number_connection(),
        listener,
        counts,
        peer: peer.map(|peer| SocketAddr::new(peer.ip().to_canonical(), peer.port())),
        local: local(settings, &client),
        proxy: None,
        tls: None,
    };
    let started = boot_now();
    thread.counters.accepted(counts);
    if !admits(&settings.access, connection.peer) {
        thread.counters.refused(counts, "access");
        thread.counters.closed(counts);
        return;
    }
    let believed = |peer: SocketAddr| settings.proxy_from.iter().any(|net| net.holds(peer.ip()));
    let header = connection.peer.is_some_and(believed);
    let speaks_first =
        settings.tls.is_some() || settings.answer.is_some() || settings.protocol == Protocol::Passthrough;
    let Some(pool) = settings.pool.filter(|_| !header && !speaks_first) else {
        let prepare = super::prepare::prepare(
            Rc::clone(thread),
            Arc::clone(snapshot),
            connection,
            client,
            header,
            started,
        );
        tokio::task::spawn_local(prepare);
        return;
    };
    let (first, drained) = said(&client);
    let job = Job {
        thread: Rc::clone(thread),
        snapshot: Arc::clone(snapshot),
        connection,
        client,
        first,
        drained,
        pool,
        tried: Vec::new(),
        attempts: Vec::new(),
        started,
    };
    job.start();
}
