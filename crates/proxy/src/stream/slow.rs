//! What goes through tokio: sockets while their first bytes are read, relays with TLS at one end, and those through tunnels.

use std::cell::Cell;
use std::io;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use mainstay_config::plan::edge::{Pool, ProxyHeader};
use mainstay_core::name::PoolId;
use mainstay_core::time::Boot;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpStream, UnixStream};

use super::carry::{self, Carried, Joined, carry};
use super::open::connect;
use crate::clock::boot_now;
use crate::exchange::Connection;
use crate::pool::{Ask, Lease, Outcome};
use crate::road::{Ends, Freight, Goal};
use crate::snapshot::Snapshot;
use crate::thread::Thread;
use crate::transport::{Io, Socket, Stream};

/// Bytes that a relay moves at once in each direction.
const BUFFER: usize = 32 * 1024;

/// A non-blocking socket under tokio's eyes.
pub(super) fn watched(fd: OwnedFd) -> io::Result<Stream> {
    let unix = rustix::net::sockopt::socket_domain(&fd)? == rustix::net::AddressFamily::UNIX;
    Ok(if unix {
        Stream::Unix(UnixStream::from_std(fd.into())?)
    } else {
        Stream::Tcp(TcpStream::from_std(fd.into())?)
    })
}

/// The same without them.
pub(super) fn unwatched(stream: Stream) -> io::Result<OwnedFd> {
    Ok(match stream {
        Stream::Tcp(stream) => stream.into_std()?.into(),
        Stream::Unix(stream) => stream.into_std()?.into(),
    })
}

/// A client that a backend is looked for.
#[derive(Debug)]
pub(super) struct Client {
    pub(super) io: Io,
    /// What it has said already.
    pub(super) early: Vec<u8>,
    /// Backends that were asked, the one that is leased among them.
    pub(super) tried: Vec<u32>,
    /// The backend to ask first, when that is known.
    pub(super) lease: Option<Lease>,
}

impl Client {
    /// One that nobody was asked for, and that has said nothing.
    pub(super) const fn new(io: Io) -> Self {
        Self { io, early: Vec::new(), tried: Vec::new(), lease: None }
    }
}

/// What a backend gets first: the PROXY header where it is wanted.
fn greeting(pool: Option<&Pool>, ends: Option<Ends>) -> Vec<u8> {
    let mut first = Vec::new();
    match pool.map_or(ProxyHeader::Off, |pool| pool.proxy) {
        ProxyHeader::Off => {}
        ProxyHeader::V1 => mainstay_core::proxy_header::write_text(ends, &mut first),
        ProxyHeader::V2 => mainstay_core::proxy_header::write_binary(ends, false, &mut first),
    }
    first
}

/// What became of a client.
enum Served {
    /// No backend was found.
    Nobody,
    /// It was relayed.
    Relayed { received: u64, sent: u64 },
    /// It is joined to its road, which took so long; so many bytes passed before.
    Joined(Joined, Lease, Duration, Carried),
}

/// Relays between a client whose TLS has ended here, or whose backend is behind a tunnel, and a backend.
pub(super) async fn relay(
    thread: &Rc<Thread>,
    snapshot: &Arc<Snapshot>,
    connection: Connection,
    client: Client,
    pool: PoolId,
    started: Boot,
) {
    let index = connection.listener;
    let listener = &snapshot.edge.listeners[index as usize];
    // What looks for a backend and copies is large; one that is joined to its road keeps none of it.
    let serving = Box::pin(serve(thread, snapshot, &connection, client, pool));
    let (status, received, sent) = match serving.await {
        Served::Nobody => (502, 0, 0),
        Served::Relayed { received, sent } => (200, received, sent),
        Served::Joined(joined, lease, took, before) => {
            let after = joined.run(thread, listener.idle_timeout).await;
            lease.ended(Outcome::Answered(200), took);
            (200, before.received + after.received, before.sent + after.sent)
        }
    };
    thread.counters.stream_done(connection.counts, received, sent);
    thread.counters.closed(connection.counts);
    if !listener.logs.is_empty() {
        let mut exchange = crate::exchange::Exchange::of_stream(connection, started);
        (exchange.status, exchange.received, exchange.sent) = (status, received, sent);
        super::open::write_log(thread, snapshot, index, &exchange);
    }
}

async fn serve(
    thread: &Rc<Thread>,
    snapshot: &Arc<Snapshot>,
    connection: &Connection,
    client: Client,
    pool: PoolId,
) -> Served {
    let Client { io: mut client, mut early, mut tried, lease: mut leased } = client;
    let listener = &snapshot.edge.listeners[connection.listener as usize];
    let source = connection.proxy.map(|(source, _)| source).or(connection.peer);
    let ends = connection.proxy.or(connection.peer.zip(connection.local));
    loop {
        let lease = match leased.take() {
            Some(lease) => lease,
            None => {
                let ask = Ask { client: source.map(|s| s.ip()), key: None, cookie: None, tried: &tried };
                let Ok(lease) = thread.pools.lease(snapshot, pool, &ask).await else {
                    client.refuse();
                    return Served::Nobody;
                };
                tried.push(lease.backend());
                lease
            }
        };
        let began = boot_now();
        let backend = dial(thread, &lease, ends, listener.connect_timeout).await;
        let mut first = greeting(snapshot.pool(pool), ends);
        let took = boot_now().since(began);
        match backend {
            Ok(Io::Road(mut road)) => {
                // What is said to the target before it answers costs nothing to say again.
                if !first.is_empty() && road.write_all(&first).await.is_err() {
                    lease.ended(Outcome::ConnectFailed, took);
                    continue;
                }
                let mut carried = carry(thread, client, road, &mut early, listener.idle_timeout).await;
                match std::mem::replace(&mut carried.end, carry::End::Whole) {
                    carry::End::Refused(again) => {
                        client = again;
                        lease.ended(Outcome::ConnectFailed, boot_now().since(began));
                    }
                    carry::End::Joined(joined) => return Served::Joined(joined, lease, took, carried),
                    carry::End::Whole | carry::End::Broken | carry::End::Idle | carry::End::Cut => {
                        lease.ended(Outcome::Answered(200), took);
                        return Served::Relayed { received: carried.received, sent: carried.sent };
                    }
                }
            }
            Ok(mut backend) => {
                first.append(&mut early);
                let (mut received, mut sent) = (0, 0);
                if backend.write_all(&first).await.is_ok() {
                    (received, sent) = copy(client, backend, listener.idle_timeout, thread).await;
                }
                lease.ended(Outcome::Answered(200), took);
                return Served::Relayed { received, sent };
            }
            Err(error) => {
                tracing::debug!(backend = &**lease.address(), %error, "connect");
                lease.ended(Outcome::ConnectFailed, boot_now().since(began));
            }
        }
    }
}

async fn dial(thread: &Thread, lease: &Lease, ends: Option<Ends>, patience: Duration) -> io::Result<Io> {
    let place = match lease.goal() {
        Goal::Place(place) => place,
        Goal::Agent(agent) => {
            let road = crate::dial::road(thread, agent, ends, Freight::Bytes);
            return road.map(Io::Road).map_err(io::Error::other);
        }
    };
    let socket = match watched(connect(place, false)?)? {
        Stream::Tcp(stream) => {
            tokio::time::timeout(patience, stream.writable()).await??;
            if let Some(error) = stream.take_error()? {
                return Err(error);
            }
            stream.set_nodelay(true)?;
            Socket::from(stream)
        }
        Stream::Unix(stream) => Socket::from(stream),
    };
    Ok(Io::Plain(socket))
}

/// Moves bytes both ways until both have ended, one broke, or nothing moved for `idle`; how many came and went.
async fn copy(
    client: impl AsyncRead + AsyncWrite + Unpin,
    backend: Io,
    idle: Duration,
    thread: &Rc<Thread>,
) -> (u64, u64) {
    let (received, sent) = (Cell::new(0_u64), Cell::new(0_u64));
    let (client_in, client_out) = tokio::io::split(client);
    let (backend_in, backend_out) = tokio::io::split(backend);
    let both = async {
        let inward = half(client_in, backend_out, &received);
        let outward = half(backend_in, client_out, &sent);
        // When one direction breaks the other has nothing to wait for.
        let _ = tokio::try_join!(inward, outward);
    };
    let silence = async {
        loop {
            let before = received.get() + sent.get();
            tokio::time::sleep(idle).await;
            if before == received.get() + sent.get() {
                return;
            }
        }
    };
    tokio::select! {
        () = both => {}
        () = silence => {}
        () = thread.is_cut() => {}
    }
    (received.get(), sent.get())
}

/// One direction, to its end, which is passed on.
async fn half(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    moved: &Cell<u64>,
) -> io::Result<()> {
    let mut buffer = vec![0; BUFFER];
    loop {
        let got = from.read(&mut buffer).await?;
        if got == 0 {
            return to.shutdown().await;
        }
        to.write_all(&buffer[..got]).await?;
        to.flush().await?;
        moved.set(moved.get() + got as u64);
    }
}
