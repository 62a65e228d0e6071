//! Connections to backends: connect, PROXY header, TLS.

use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use mainstay_config::plan::edge::{Place, Pool, ProxyHeader};
use mainstay_core::proxy_header;
use rustix::io::Errno;
use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpStream, UnixStream};

use crate::road::{Ends, Freight, Goal, NoRoad, Road};
use crate::thread::Thread;
use crate::tls::{self, HandshakeError};
use crate::transport::{Io, Socket};

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum DialError {
    /// The backend refuses, or cannot be reached.
    #[error("connect: {0}")]
    Connect(#[from] io::Error),
    /// It took too long.
    #[error("connect: no answer within {} ms", .0.as_millis())]
    Timeout(Duration),
    /// No TLS.
    #[error("tls: {0}")]
    Tls(#[from] HandshakeError),
    /// The tunnel lets no connection through.
    #[error("tunnel: {0}")]
    Road(#[from] NoRoad),
}

/// What a connection begins with.
#[derive(Debug)]
pub struct Dial<'a> {
    /// The pool that the backend is of.
    pub pool: &'a Pool,
    /// TLS, when the pool has it, and the name that is asked for.
    pub tls: Option<(Arc<rustls::ClientConfig>, Rc<str>)>,
    /// The client and where it connected to, for the PROXY header.
    pub ends: Option<(SocketAddr, SocketAddr)>,
    /// The client as it is known after proxies that are believed, and our end: what a tunnel tells its agent.
    pub visitor: Option<Ends>,
    /// Who has the roads through tunnels.
    pub thread: &'a Thread,
    /// How long all of it may take.
    pub timeout: Duration,
}

impl DialError {
    /// Whether it is our own want of descriptors or memory: the backend has no part in it.
    #[must_use]
    pub fn is_starved(&self) -> bool {
        match self {
            Self::Connect(error) => [Errno::MFILE, Errno::NFILE, Errno::NOBUFS, Errno::NOMEM]
                .iter()
                .any(|own| error.raw_os_error() == Some(own.raw_os_error())),
            Self::Timeout(_) | Self::Tls(_) | Self::Road(_) => false,
        }
    }
}

/// A connection to an agent's target.
pub(crate) fn road(
    thread: &Thread,
    agent: &crate::road::Agent,
    ends: Option<Ends>,
    freight: Freight,
) -> Result<Box<dyn Road>, NoRoad> {
    thread.roads().ok_or(NoRoad::Gone)?.open(agent, ends, freight)
}

impl Dial<'_> {
    /// Connects.
    ///
    /// # Errors
    ///
    /// When there is no connection within the time.
    pub async fn connect(&self, goal: &Goal) -> Result<Io, DialError> {
        let place = match goal {
            Goal::Place(place) => place,
            Goal::Agent(agent) => {
                let road = road(self.thread, agent, self.visitor, Freight::Bytes)?;
                if self.tls.is_none() && self.pool.proxy == ProxyHeader::Off {
                    return Ok(Io::Road(road));
                }
                let greeted = tokio::time::timeout(self.timeout, self.greet(road));
                return greeted.await.unwrap_or(Err(DialError::Timeout(self.timeout)));
            }
        };
        let connecting = tokio::time::timeout(self.timeout, self.attempt(place));
        connecting.await.unwrap_or(Err(DialError::Timeout(self.timeout)))
    }

    async fn attempt(&self, place: &Place) -> Result<Io, DialError> {
        let mut socket: Socket = match place {
            Place::Inet(addr) => {
                let stream = TcpStream::connect(addr).await?;
                stream.set_nodelay(true)?;
                stream.into()
            }
            Place::Unix(path) => UnixStream::connect(path).await?.into(),
        };
        let header = self.header();
        if !header.is_empty() {
            socket.write_all(&header).await?;
        }
        let Some((config, name)) = &self.tls else { return Ok(Io::Plain(socket)) };
        let verify = self.pool.tls.as_ref().is_none_or(|tls| tls.verify);
        let (stream, _) = tls::connect(socket, config, verify, name, self.timeout).await?;
        Ok(Io::Tls(Box::new(stream)))
    }

    /// The same through a tunnel, which takes at once what is written.
    async fn greet(&self, mut road: Box<dyn Road>) -> Result<Io, DialError> {
        let header = self.header();
        if !header.is_empty() {
            road.write_all(&header).await?;
        }
        let Some((config, name)) = &self.tls else { return Ok(Io::Road(road)) };
        let verify = self.pool.tls.as_ref().is_none_or(|tls| tls.verify);
        let (stream, _) = tls::connect(road, config, verify, name, self.timeout).await?;
        Ok(Io::TlsRoad(Box::new(stream)))
    }

    fn header(&self) -> Vec<u8> {
        let mut header = Vec::new();
        match self.pool.proxy {
            ProxyHeader::Off => {}
            ProxyHeader::V1 => proxy_header::write_text(self.ends, &mut header),
            ProxyHeader::V2 => proxy_header::write_binary(self.ends, false, &mut header),
        }
        header
    }
}
