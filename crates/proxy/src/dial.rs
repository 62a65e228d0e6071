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
            Self::Timeout(_) | Self::Tls(_) => false,
        }
    }
}

impl Dial<'_> {
    /// Connects.
    ///
    /// # Errors
    ///
    /// When there is no connection within the time.
    pub async fn connect(&self, place: &Place) -> Result<Io, DialError> {
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
        let mut header = Vec::new();
        match self.pool.proxy {
            ProxyHeader::Off => {}
            ProxyHeader::V1 => proxy_header::write_text(self.ends, &mut header),
            ProxyHeader::V2 => proxy_header::write_binary(self.ends, false, &mut header),
        }
        if !header.is_empty() {
            socket.write_all(&header).await?;
        }
        let Some((config, name)) = &self.tls else { return Ok(Io::Plain(socket)) };
        let verify = self.pool.tls.as_ref().is_none_or(|tls| tls.verify);
        let (stream, _) = tls::connect(socket, config, verify, name, self.timeout).await?;
        Ok(Io::Tls(Box::new(stream)))
    }
}
