//! A connection from accept on: PROXY header, TLS, then the protocol that it speaks.

use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use mainstay_config::plan::edge::Protocol;
use mainstay_core::proxy_header::Header;
use tokio::net::{TcpStream, UnixStream};

use crate::exchange::Connection;
use crate::proxied;
use crate::road::{Arrival, Counted, Way};
use crate::snapshot::Snapshot;
use crate::thread::Thread;
use crate::transport::{Io, Socket};
use crate::{http1, http2, stream};

/// How long a PROXY header may take where there is no TLS whose bound holds for it too.
const PROXY_TIMEOUT: Duration = Duration::from_secs(10);

/// An accepted connection.
#[derive(Debug)]
pub enum Accepted {
    /// With its peer.
    Tcp(TcpStream, SocketAddr),
    /// By a unix socket.
    Unix(UnixStream),
}

/// Serves a connection until it ends. Connections of tcp and passthrough listeners are not for this. It counts from the call
/// on, and not from the first poll: a process that drains must not end before what it has accepted was looked at.
pub fn connection(
    thread: Rc<Thread>,
    snapshot: Arc<Snapshot>,
    listener: u32,
    socket: Accepted,
) -> impl Future<Output = ()> {
    let counts = snapshot.places.listener(listener);
    thread.counters.accepted(counts);
    async move {
        thread.keep_house();
        let (socket, peer, local) = match socket {
            Accepted::Tcp(stream, peer) => {
                let local = stream.local_addr().ok();
                (Socket::from(stream), Some(peer), local)
            }
            Accepted::Unix(stream) => (Socket::from(stream), None, None),
        };
        let number = thread.number_connection();
        let connection = Connection { number, listener, counts, peer, local, proxy: None, tls: None };
        let name = thread.listener_name(&snapshot.edge.listeners[listener as usize].name);
        begin(thread, snapshot, socket, connection, name).await;
    }
}

/// A socket of the runtime's.
pub(crate) fn socket_of(fd: OwnedFd, inet: bool) -> io::Result<Socket> {
    Ok(if inet { TcpStream::from_std(fd.into())?.into() } else { UnixStream::from_std(fd.into())?.into() })
}

async fn begin(
    thread: Rc<Thread>,
    snapshot: Arc<Snapshot>,
    socket: Socket,
    connection: Connection,
    name: Rc<str>,
) {
    let settings = &snapshot.edge.listeners[connection.listener as usize];
    debug_assert!(matches!(settings.protocol, Protocol::Http | Protocol::Hub), "bytes are relayed elsewhere");
    let hub = settings.protocol == Protocol::Hub;
    if hub && !stream::admits(&settings.access, connection.peer) {
        thread.counters.refused(connection.counts, "access");
        return thread.counters.closed(connection.counts);
    }
    let says_proxy =
        connection.peer.is_some_and(|peer| settings.proxy_from.iter().any(|net| net.holds(peer.ip())));
    let tls = snapshot.tls.get(connection.listener as usize).and_then(Option::as_ref);
    if !says_proxy && tls.is_none() {
        if hub {
            return hand_over(&thread, Io::Plain(socket), connection, name);
        }
        return http1::serve(thread, Io::Plain(socket), Rc::new(connection), name).await;
    }
    let tls = tls.map(Arc::clone);
    drop(snapshot);
    Box::pin(greet(thread, socket, connection, name, Greeting { says_proxy, tls, hub })).await;
}

/// What a connection begins with.
struct Greeting {
    says_proxy: bool,
    tls: Option<Arc<crate::tls::Server>>,
    /// It is an agent's.
    hub: bool,
}

/// Gives a connection of a hub's listener to the hub.
fn hand_over(thread: &Rc<Thread>, io: Io, connection: Connection, listener: Rc<str>) {
    let open = Counted::new(Arc::clone(&thread.counters), connection.counts);
    let Some(hub) = thread.hub().filter(|_| !thread.draining()) else { return };
    let from = connection.proxy.map(|(source, _)| source).or(connection.peer);
    let (connection, early) = (Rc::new(connection), Vec::new());
    hub.take(Arrival { io, early, from, connection, listener, way: Way::Straight, open });
}

/// PROXY header and TLS, then the requests.
async fn greet(
    thread: Rc<Thread>,
    mut socket: Socket,
    mut connection: Connection,
    name: Rc<str>,
    greeting: Greeting,
) {
    let Greeting { says_proxy, tls, hub } = greeting;
    let refused = |why| {
        thread.counters.handshake_failed(connection.counts, why);
        thread.counters.closed(connection.counts);
    };
    if says_proxy {
        let mut first = Vec::new();
        let header = proxied::read(&mut socket, &mut first);
        match tokio::time::timeout(PROXY_TIMEOUT, header).await {
            Ok(Ok(Header::Relayed { source, destination })) => connection.proxy = Some((source, destination)),
            Ok(Ok(Header::Unknown | Header::Local)) => {}
            Ok(Err(why)) => return refused(why),
            Err(_) => return refused("proxy:timeout"),
        }
        socket.unread(&first);
    }
    let Some(tls) = tls else {
        if hub {
            return hand_over(&thread, Io::Plain(socket), connection, name);
        }
        return Box::pin(http1::serve(thread, Io::Plain(socket), Rc::new(connection), name)).await;
    };
    match crate::tls::accept(socket, &tls).await {
        Ok((stream, info)) => {
            let h2 = info.h2;
            let refused_by = crate::tls::refusal(tls.client_auth(), &info).filter(|_| hub);
            connection.tls = Some(info);
            if refused_by.is_some() {
                return refused("tls:client-certificate");
            }
            if hub {
                return hand_over(&thread, Io::Tls(Box::new(stream)), connection, name);
            }
            if h2 {
                let io = Io::Tls(Box::new(stream));
                return Box::pin(http2::serve(thread, io, Rc::new(connection), name, Vec::new())).await;
            }
            Box::pin(http1::serve(thread, Io::Tls(Box::new(stream)), Rc::new(connection), name)).await;
        }
        Err(error) => {
            tracing::debug!(peer = ?connection.peer, "{error}");
            refused(error.why());
        }
    }
}
