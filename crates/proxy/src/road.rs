//! Roads through tunnels: connections to backends that agents offer, and the connections that agents come in by.
//!
//! What lies behind (sessions, their frames, who may offer what) is not known here. The thread's owner gives it a [`Roads`] and a
//! [`Hub`], which live on the same thread; it says which agents there are by [`crate::pool::Pools::offers`].

use std::cell::Cell;
use std::fmt;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};

use mainstay_config::plan::edge::Place;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use crate::exchange::Connection;
use crate::metrics::Counters;
use crate::snapshot::Snapshot;
use crate::transport::Io;

/// Where a backend is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Goal {
    /// By a socket of ours.
    Place(Place),
    /// Through a tunnel.
    Agent(Agent),
}

/// One agent of a tunnel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Agent {
    /// The tunnel's id.
    pub tunnel: Rc<str>,
    /// The agent's name, unique among those of the tunnel on this thread.
    pub name: Rc<str>,
}

impl fmt::Display for Agent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "tunnel:{}/{}", self.tunnel, self.name)
    }
}

impl fmt::Display for Goal {
    /// As addresses are shown: `10.0.4.20:8080`, `unix:/path`, `tunnel:office/node-1`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Place(place) => f.write_str(&crate::pool::written(place)),
            Self::Agent(agent) => agent.fmt(f),
        }
    }
}

/// What an agent offers under a tunnel, as the thread's pools are told of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offer {
    /// The agent's name, unique among those of the tunnel on this thread.
    pub agent: String,
    /// Its share, 1 and more.
    pub weight: u32,
    /// Why its target cannot serve; nothing when it can.
    pub trouble: Option<String>,
    /// Why it is asked only when no other agent is left; nothing when it is one of those.
    pub behind: Option<Behind>,
    /// How busy others keep it.
    pub load: Load,
}

/// Why an agent is asked only when no other is left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Behind {
    /// The process of this node that has its session is about to leave.
    Leaving,
    /// It is at another hub.
    Hub,
    /// It is another node that gost's plugins name.
    Node,
}

impl Behind {
    /// Where it is, as people are told.
    #[must_use]
    pub const fn words(self) -> &'static str {
        match self {
            Self::Leaving => "at a process of this node that is about to leave",
            Self::Hub => "at another hub",
            Self::Node => "another node that gost's plugins name",
        }
    }
}

/// Connections that an agent has from elsewhere: other threads, processes, hubs. Its holders share it, so that it changes without
/// another list of offers; two are equal when they are the same.
#[derive(Clone, Debug, Default)]
pub struct Load(Rc<Cell<u32>>);

impl Load {
    /// So many.
    #[must_use]
    pub fn get(&self) -> u32 {
        self.0.get()
    }

    /// They are so many.
    pub fn set(&self, load: u32) {
        self.0.set(load);
    }
}

impl PartialEq for Load {
    fn eq(&self, other: &Self) -> bool {
        Rc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for Load {}

/// The two ends of a visitor's connection: the visitor's own, and ours.
pub type Ends = (SocketAddr, SocketAddr);

/// What a road is to carry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Freight {
    /// Bytes in order.
    Bytes,
    /// Datagrams: each write is one, and so is each read.
    Datagrams,
}

/// Why there is no road to an agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoRoad {
    /// It has no session with this thread, or none that takes more.
    #[error("the agent has no session here")]
    Gone,
    /// The tunnel has as many connections as it may have.
    #[error("the tunnel has as many connections as it may have")]
    Full,
    /// The tunnel opens connections faster than it may.
    #[error("the tunnel has had as many connections in this while as it may")]
    TooMany,
}

/// Where a host leads.
pub enum Lead {
    /// To the tunnel of this id.
    To(Rc<str>),
    /// To no tunnel that is known.
    Nowhere,
    /// To a tunnel that is for its visitors alone.
    Private,
    /// That is to be found out; it does not answer so itself.
    Wait(Pin<Box<dyn Future<Output = Self>>>),
}

impl fmt::Debug for Lead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::To(tunnel) => f.debug_tuple("To").field(tunnel).finish(),
            Self::Nowhere => f.write_str("Nowhere"),
            Self::Private => f.write_str("Private"),
            Self::Wait(_) => f.write_str("Wait"),
        }
    }
}

/// The agents of one thread.
pub trait Roads: fmt::Debug {
    /// Where a host leads that no route of the file has: lower case, without its port and without a point at its end.
    fn lead(&self, host: &str, port: u16) -> Lead {
        let _ = (host, port);
        Lead::Nowhere
    }

    /// Opens a connection to an agent's target. Nothing is waited for: what is written goes along at once, and a target that
    /// cannot be reached is an error of kind `ConnectionRefused` at the first read.
    ///
    /// # Errors
    /// When none can be opened.
    fn open(&self, agent: &Agent, ends: Option<Ends>, freight: Freight) -> Result<Box<dyn Road>, NoRoad>;
}

/// A connection through a tunnel.
pub trait Road: AsyncRead + AsyncWrite + Unpin + fmt::Debug {
    /// Waits until there is something to read, or the end, without holding a buffer.
    fn poll_readable(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>>;

    /// Tells whoever opened it that nobody serves it and that not a byte of it was handed on. One that we have opened ourselves needs
    /// no such word.
    fn refuse(&mut self) {}

    /// Whether [`Self::join`] may be called: not where every byte has to be looked at.
    fn joins(&self) -> bool {
        false
    }

    /// Waits until the target has answered something, or has ended.
    fn poll_answered(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_readable(cx)
    }

    /// Joins it to a client's socket for good: bytes go straight from one to the other. One that cannot be joined ends both.
    fn join(self: Box<Self>, client: TcpStream) -> Option<Box<dyn Joint>> {
        drop(client);
        None
    }
}

/// A client's socket and a road that are joined.
pub trait Joint: fmt::Debug {
    /// Moves what can be moved; ready when both directions have ended, or either end broke.
    fn poll_moving(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>>;

    /// Bytes from the client and to it so far. They grow without the task that polls being woken.
    fn moved(&self) -> (u64, u64);
}

/// A socket of datagrams that agents come in by. Dropped, the socket is left to others who hold it too.
pub trait Door {
    /// Nobody new is to come in here, and perhaps nobody else takes what comes; who is in stays.
    fn finish(self: Box<Self>);
}

/// Takes the connections of agents.
pub trait Hub: fmt::Debug {
    /// An agent may be at the other end; whoever takes the connection ends it in its own time.
    fn take(&self, arrival: Arrival);

    /// Agents come in by QUIC at this socket, which has this number among those of its place, for the listener at this position.
    ///
    /// # Errors
    /// When the socket cannot be used.
    fn listen(&self, socket: OwnedFd, number: u16, listener: Rc<Cell<u32>>) -> io::Result<Box<dyn Door>>;

    /// Another configuration is in force: who may no longer offer what it offers is cut.
    fn adopt(&self, snapshot: &Arc<Snapshot>);

    /// Has agents leave as soon as they can.
    fn drain(&self);

    /// Ends what still runs.
    fn cut(&self);

    /// The sessions that there are.
    fn sessions(&self) -> Vec<SessionStatus>;

    /// What is counted of QUIC.
    fn quic(&self) -> crate::quic::Counts;

    /// Other hubs: sessions with them, and addresses that lead to none.
    fn hubs(&self) -> Vec<HubSession>;
}

/// A session with another hub, or an address that leads to none, as people are told of it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct HubSession {
    /// The hub's name; empty when nobody knows it.
    pub hub: String,
    /// Where it is, or where it comes from.
    pub address: String,
    /// It has dialled us.
    pub incoming: bool,
    /// The process and the thread of this hub that it is with.
    pub place: (u16, u16),
    /// Seconds since it began.
    pub seconds: u64,
    /// Round trip in milliseconds; 0 before the first.
    pub rtt_ms: f64,
    /// It takes no further connections.
    pub leaving: bool,
    /// Tunnels of this hub that it has agents of.
    pub tunnels: Vec<String>,
    /// Connections that are open.
    pub streams: u64,
    /// Connections so far.
    pub opened: u64,
    /// Bytes towards the hub.
    pub sent: u64,
    /// Bytes from it.
    pub received: u64,
    /// Why there is no session.
    pub trouble: Option<String>,
    /// It is one of gost's plugins, and connections are calls: those of them that came to nothing.
    #[serde(default)]
    pub failed: Option<u64>,
}

/// One session of an agent, or of a visitor, as people are told of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SessionStatus {
    /// The agent's name.
    pub agent: String,
    /// It is no agent, but reaches the tunnels of `offers`.
    #[serde(default)]
    pub visitor: bool,
    /// Its address.
    pub from: String,
    /// Its carrier: `tcp`, `tls`, `ws`, `wss`.
    pub carrier: String,
    /// The process and the thread of this hub that it is with.
    pub place: (u16, u16),
    /// Seconds since it began.
    pub seconds: u64,
    /// Round trip in milliseconds; 0 before the first.
    pub rtt_ms: f64,
    /// Connections that its targets have, of all hubs, as it last said.
    #[serde(default)]
    pub load: u32,
    /// It takes no further connections.
    pub leaving: bool,
    /// What it offers.
    pub offers: Vec<OfferStatus>,
}

/// What an agent offers, as people are told of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct OfferStatus {
    /// The tunnel's id.
    pub tunnel: String,
    /// Datagrams instead of bytes.
    pub udp: bool,
    /// Its share.
    pub weight: u32,
    /// Why its target cannot serve; nothing when it can.
    pub trouble: Option<String>,
    /// Connections that are open.
    pub streams: u64,
    /// Connections so far.
    pub opened: u64,
    /// Bytes towards the agent.
    pub sent: u64,
    /// Bytes from it.
    pub received: u64,
    /// The hosts of its own that lead to the tunnel, when the file does not name it; nothing when it does.
    #[serde(default)]
    pub open: Option<Vec<String>>,
}

/// How an agent came in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// By a listener of the hub: its bytes begin at once.
    Straight,
    /// By an upgrade of an HTTP listener, which was answered: frames of RFC 6455 begin.
    WebSocket,
}

/// A connection for the hub.
#[derive(Debug)]
pub struct Arrival {
    /// The connection.
    pub io: Io,
    /// What came already.
    pub early: Vec<u8>,
    /// The agent's address, as those who are believed tell it.
    pub from: Option<SocketAddr>,
    /// What is known of the connection.
    pub connection: Rc<Connection>,
    /// Its listener's name.
    pub listener: Rc<str>,
    /// How it came in.
    pub way: Way,
    /// Counts as open until this is dropped.
    pub open: Counted,
}

/// A connection that its listener counts as open.
#[derive(Debug)]
pub struct Counted {
    counters: Option<Arc<Counters>>,
    counts: u32,
}

impl Counted {
    /// One that was counted as accepted.
    #[must_use]
    pub(crate) const fn new(counters: Arc<Counters>, counts: u32) -> Self {
        Self { counters: Some(counters), counts }
    }

    /// Whoever takes the connection over counts it from here on.
    pub(crate) fn hand_on(mut self) {
        self.counters = None;
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        if let Some(counters) = &self.counters {
            counters.closed(self.counts);
        }
    }
}

/// Bytes that were read ahead, then those of the connection itself.
#[derive(Debug)]
pub struct Ahead<S> {
    early: Vec<u8>,
    at: usize,
    inner: S,
}

impl<S> Ahead<S> {
    /// `early` comes before what `inner` gives.
    pub const fn new(early: Vec<u8>, inner: S) -> Self {
        Self { early, at: 0, inner }
    }

    /// The connection itself.
    pub const fn get_ref(&self) -> &S {
        &self.inner
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Ahead<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.at < this.early.len() {
            let count = buf.remaining().min(this.early.len() - this.at);
            buf.put_slice(&this.early[this.at..this.at + count]);
            this.at += count;
            if this.at == this.early.len() {
                (this.early, this.at) = (Vec::new(), 0);
            }
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut this.inner).poll_read(cx, buf)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Ahead<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}
