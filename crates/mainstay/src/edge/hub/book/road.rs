//! A connection to the entrypoint of another node that has clients of a tunnel.
//!
//! gost's nodes send each other what came to them as plain TCP to the other's entrypoint. We ask there for a stream to the tunnel (relay CONNECT),
//! whatever it carries: the visitor's address goes along, and a refusal is told apart from what a target answers. Until the other
//! has granted it nothing of the visitor's is sent, so that a node that fails before has seen nothing and the next one is tried.

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::pin::Pin;
use std::rc::{Rc, Weak};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use mainstay_config::plan::edge::Place;
use mainstay_config::plan::tunnel::label;
use mainstay_core::gost::ask::{Ask, Connect};
use mainstay_core::gost::relay::{Addr, Host, Id, Reader, Status};
use mainstay_core::tunnel::Kind;
use mainstay_proxy::policy::tunnel::Held;
use mainstay_proxy::road::{Agent, Ends, Freight, Road};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::super::Desk;

/// A node that has not granted a stream in this time is passed over. gost waits for 15 s, and tries no other.
const PATIENCE: Duration = Duration::from_secs(3);

/// What a visitor may say before the node has granted it: then it waits.
const EARLY_MAX: usize = 64 << 10;

type Dial = Pin<Box<dyn Future<Output = io::Result<(TcpStream, Vec<u8>)>>>>;

/// A connection to another node.
pub(super) struct Onward {
    desk: Weak<Desk>,
    tunnel: Rc<str>,
    address: String,
    datagrams: bool,
    state: State,
    /// What was said before it was granted.
    early: Vec<u8>,
    /// What the node has said and nobody has read.
    heard: Vec<u8>,
    ended: bool,
    held: Held,
}

enum State {
    Dialling(Dial),
    Open(TcpStream),
    Failed(io::ErrorKind),
}

impl fmt::Debug for Onward {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Onward")
            .field("tunnel", &self.tunnel)
            .field("node", &self.address)
            .finish_non_exhaustive()
    }
}

/// The address of a node that is no name.
pub(super) fn ip_of(address: &str) -> Option<IpAddr> {
    let (host, _) = address.rsplit_once(':')?;
    let host = host.trim_start_matches('[').trim_end_matches(']');
    host.parse::<IpAddr>().ok().map(|ip| ip.to_canonical())
}

impl Onward {
    pub(super) fn new(
        desk: &Rc<Desk>,
        agent: &Agent,
        address: String,
        (ends, freight): (Option<Ends>, Freight),
        held: Held,
    ) -> Self {
        let datagrams = freight == Freight::Datagrams;
        let port = ends.map_or(80, |(_, ours)| ours.port());
        let dial: Dial = match agent.tunnel.parse::<Id>() {
            Ok(tunnel) => {
                let connect = Connect {
                    tunnel,
                    kind: if datagrams { Kind::Datagrams } else { Kind::Bytes },
                    source: ends.map(|(visitor, _)| Addr::from(visitor)),
                    target: Addr { host: Host::Name(host(desk, &agent.tunnel)), port },
                    login: None,
                };
                let request = Ask::Connect(connect).message().bytes();
                Box::pin(dial(Rc::downgrade(desk), address.clone(), request))
            }
            Err(_) => Box::pin(std::future::ready(Err(io::ErrorKind::InvalidInput.into()))),
        };
        Self {
            desk: Rc::downgrade(desk),
            tunnel: Rc::clone(&agent.tunnel),
            address,
            datagrams,
            state: State::Dialling(dial),
            early: Vec::new(),
            heard: Vec::new(),
            ended: false,
            held,
        }
    }

    /// Waits until it is granted and what was said early is sent.
    fn poll_open(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<&mut TcpStream>> {
        if let State::Dialling(dial) = &mut self.state {
            self.state = match ready!(dial.as_mut().poll(cx)) {
                Ok((stream, heard)) => {
                    self.heard = heard;
                    State::Open(stream)
                }
                Err(why) => {
                    tracing::debug!(tunnel = %self.tunnel, node = self.address, "a node does not serve a tunnel: {why}");
                    if let Some(desk) = self.desk.upgrade() {
                        desk.book.doubt(&self.tunnel);
                    }
                    // Not a byte of the visitor's was sent.
                    State::Failed(io::ErrorKind::ConnectionRefused)
                }
            };
        }
        let stream = match &mut self.state {
            State::Open(stream) => stream,
            State::Failed(kind) => return Poll::Ready(Err((*kind).into())),
            State::Dialling(_) => return Poll::Pending,
        };
        while !self.early.is_empty() {
            let count = ready!(Pin::new(&mut *stream).poll_write(cx, &self.early))?;
            if count == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.early.drain(..count);
        }
        Poll::Ready(Ok(stream))
    }

    /// Waits until there is a datagram in what was heard, something of bytes, or the end.
    fn poll_heard(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            let whole = if self.datagrams { datagram(&self.heard).is_some() } else { !self.heard.is_empty() };
            if whole || self.ended {
                return Poll::Ready(Ok(()));
            }
            let dialled = matches!(self.state, State::Dialling(_));
            ready!(self.poll_open(cx))?;
            if dialled && !self.heard.is_empty() {
                // It came with the answer.
                continue;
            }
            let State::Open(stream) = &mut self.state else { return Poll::Pending };
            let mut space = [0; 16 << 10];
            let mut buffer = ReadBuf::new(&mut space);
            ready!(Pin::new(stream).poll_read(cx, &mut buffer))?;
            self.ended = buffer.filled().is_empty();
            self.heard.extend_from_slice(buffer.filled());
        }
    }
}

/// The host that is made for a tunnel. A node that does not know this one by sd, as it has no clients, takes it for a visitor, and lets it
/// through by a host of the tunnel alone; gost's nodes do so with all.
fn host(desk: &Desk, tunnel: &str) -> String {
    let domain = desk.thread.upgrade().and_then(|thread| thread.snapshot().edge.hub.domain.clone());
    let made = label(tunnel);
    domain.map_or_else(|| made.clone(), |domain| format!("{made}.{domain}"))
}

/// The datagram at the beginning, behind its length.
fn datagram(heard: &[u8]) -> Option<&[u8]> {
    let (length, rest) = heard.split_first_chunk::<2>()?;
    rest.get(..usize::from(u16::from_be_bytes(*length)))
}

/// Whether an address is one of this machine's. Where programs may bind addresses that are none, only those that stand for it
/// everywhere are known.
pub(super) fn is_here(ip: IpAddr) -> bool {
    let ip = ip.to_canonical();
    let binds = |ip: IpAddr| UdpSocket::bind((ip, 0)).is_ok();
    // For examples in books: no machine has them.
    let nobodys: IpAddr = match ip {
        IpAddr::V4(_) => Ipv4Addr::new(192, 0, 2, 1).into(),
        IpAddr::V6(_) => Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1).into(),
    };
    ip.is_loopback() || ip.is_unspecified() || (binds(ip) && !binds(nobodys))
}

/// Whether what is dialled there comes out at a listener of this node.
fn is_own(places: &[SocketAddr], at: SocketAddr) -> bool {
    let ip = at.ip().to_canonical();
    let takes = |place: &SocketAddr| {
        let own = place.ip().to_canonical();
        place.port() == at.port() && (own.is_unspecified() || own == ip)
    };
    places.iter().any(takes) && is_here(ip)
}

/// Where a node is, this one left out: sd may name a shared address of this machine, or one that was another's.
async fn places(desk: &Weak<Desk>, address: &str) -> io::Result<Vec<SocketAddr>> {
    let found: Vec<SocketAddr> = tokio::net::lookup_host(address).await?.collect();
    let Some(desk) = desk.upgrade() else { return Err(io::ErrorKind::NotConnected.into()) };
    let Some(thread) = desk.thread.upgrade() else { return Err(io::ErrorKind::NotConnected.into()) };
    let snapshot = thread.snapshot();
    let own = snapshot.edge.listeners.iter().flat_map(|listener| &listener.places);
    let own = own.filter_map(|place| match place {
        Place::Inet(at) => Some(*at),
        Place::Unix(_) => None,
    });
    let own: Vec<SocketAddr> = own.collect();
    let (selves, others): (Vec<_>, Vec<_>) = found.into_iter().partition(|at| is_own(&own, *at));
    if others.is_empty() && !selves.is_empty() {
        desk.book.is_self(address);
        return Err(io::Error::other("it is this node itself"));
    }
    Ok(others)
}

/// Connects to a node and has it grant a stream; what it said behind its answer comes along.
async fn dial(desk: Weak<Desk>, address: String, request: Vec<u8>) -> io::Result<(TcpStream, Vec<u8>)> {
    let dialled = async {
        let mut stream = TcpStream::connect(places(&desk, &address).await?.as_slice()).await?;
        stream.set_nodelay(true)?;
        stream.write_all(&request).await?;
        let mut reader = Reader::default();
        loop {
            let mut heard = Vec::with_capacity(4 << 10);
            if stream.read_buf(&mut heard).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            let mut rest = heard.as_slice();
            let message =
                reader.receive(&mut rest).map_err(|why| io::Error::new(io::ErrorKind::InvalidData, why))?;
            if let Some(message) = message {
                return match Status::of(message.word) {
                    Status::Ok => Ok((stream, rest.to_vec())),
                    status => Err(io::Error::other(status)),
                };
            }
        }
    };
    timeout(PATIENCE, dialled).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

impl AsyncRead for Onward {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        ready!(this.held.poll_turn(cx));
        if !this.datagrams {
            ready!(this.poll_open(cx))?;
            if let State::Open(stream) = &mut this.state
                && this.heard.is_empty()
            {
                let before = buf.filled().len();
                ready!(Pin::new(stream).poll_read(cx, buf))?;
                this.held.spend(buf.filled().len() - before);
                return Poll::Ready(Ok(()));
            }
        }
        ready!(this.poll_heard(cx))?;
        let (skip, count) = match datagram(&this.heard).filter(|_| this.datagrams) {
            Some(datagram) => (2, datagram.len()),
            None if this.datagrams => return Poll::Ready(Ok(())),
            None => (0, this.heard.len().min(buf.remaining())),
        };
        buf.put_slice(&this.heard[skip..skip + count.min(buf.remaining())]);
        this.held.spend(count);
        this.heard.drain(..skip + count);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Onward {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        ready!(this.held.poll_turn(cx));
        if this.datagrams {
            this.held.spend(bytes.len());
            let Ok(length) = u16::try_from(bytes.len()) else { return Poll::Ready(Ok(bytes.len())) };
            // One that finds no room is lost, as datagrams are.
            if this.early.len() + bytes.len() < EARLY_MAX {
                this.early.extend(length.to_be_bytes());
                this.early.extend_from_slice(bytes);
            }
            return match this.poll_open(cx) {
                Poll::Ready(Err(why)) => Poll::Ready(Err(why)),
                Poll::Ready(Ok(_)) | Poll::Pending => Poll::Ready(Ok(bytes.len())),
            };
        }
        let wrote = match this.poll_open(cx)? {
            Poll::Ready(stream) => Pin::new(stream).poll_write(cx, bytes),
            Poll::Pending => {
                let count = bytes.len().min(EARLY_MAX.saturating_sub(this.early.len()));
                if count == 0 {
                    return Poll::Pending;
                }
                this.early.extend_from_slice(&bytes[..count]);
                Poll::Ready(Ok(count))
            }
        };
        if let Poll::Ready(Ok(count)) = wrote {
            this.held.spend(count);
        }
        wrote
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // What waits for the grant goes with the reads that follow: whoever flushes is about to read.
        match self.poll_open(cx) {
            Poll::Ready(Ok(stream)) => Pin::new(stream).poll_flush(cx),
            Poll::Ready(Err(why)) => Poll::Ready(Err(why)),
            Poll::Pending => Poll::Ready(Ok(())),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let stream = ready!(self.poll_open(cx))?;
        Pin::new(stream).poll_shutdown(cx)
    }
}

impl Road for Onward {
    fn poll_readable(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_heard(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_is_this_one_where_a_listener_of_this_machine_takes_what_is_dialled() {
        let places = |all: &[&str]| -> Vec<SocketAddr> {
            all.iter().map(|at| at.parse().expect("an address")).collect()
        };
        let all = places(&["0.0.0.0:80", "[::]:81", "127.0.0.1:8421"]);
        for (at, own) in [
            ("127.0.0.1:80", true),
            ("127.0.0.9:80", true),
            ("127.0.0.1:81", true),
            ("[::1]:81", true),
            ("[::ffff:127.0.0.1]:80", true),
            ("127.0.0.1:8421", true),
            ("127.0.0.9:8421", false),
            ("127.0.0.1:82", false),
            ("192.0.2.1:80", false),
            ("[2001:db8::1]:81", false),
        ] {
            assert_eq!(is_own(&all, at.parse().expect("an address")), own, "{at}");
        }
    }
}
