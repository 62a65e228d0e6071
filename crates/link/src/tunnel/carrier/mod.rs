//! What is under a session: TCP, TLS or WebSocket, from an address to a stream of bytes.

mod proxy;
mod tls;
mod websocket;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use mainstay_core::tunnel::address::{Address, Way};
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::net::{TcpStream, lookup_host};
use tokio::time::timeout;

pub use proxy::Proxy;
pub use tls::{ALPN, BINDING, client_config};
pub use websocket::{WebSocket, accept_key};

use super::Carrier;

/// How long a TCP connection may take.
const CONNECT: Duration = Duration::from_secs(3);

/// How long all of it may take, names and handshakes included.
const DEADLINE: Duration = Duration::from_secs(8);

/// The longest answer of a proxy or a server to what asks for bytes.
const HEAD_MAX: usize = 8 * 1024;

/// Why there is no carrier.
#[derive(Debug, Error)]
pub enum Error {
    /// The name stands for no address.
    #[error("{0} stands for no address")]
    Name(String),
    /// No connection.
    #[error("{0}: {1}")]
    Connect(SocketAddr, io::Error),
    /// It takes too long.
    #[error("no answer within {} s", .0.as_secs())]
    Late(Duration),
    /// The certificate is not good, or TLS fails otherwise.
    #[error("TLS: {0}")]
    Tls(String),
    /// The proxy or the server refuses.
    #[error("{who} answers \"{says}\"")]
    Http {
        /// Who.
        who: String,
        /// Its first line.
        says: String,
    },
    /// The connection breaks.
    #[error("{0}")]
    Broken(#[from] io::Error),
}

/// How hubs are dialled.
#[derive(Clone, Debug)]
pub struct Dialing {
    /// Whom a TLS server has to be certified by.
    pub tls: Arc<rustls::ClientConfig>,
    /// The HTTP proxy that leads out of here.
    pub proxy: Option<Proxy>,
}

/// A carrier, and what ties a signature to it.
pub struct Connected {
    /// The stream of bytes.
    pub carrier: Box<dyn Carrier>,
    /// The exporter of its TLS; empty where somebody else may end the TLS, or nobody does.
    pub binding: Vec<u8>,
    /// Where it leads: of a proxy's, the proxy.
    pub to: SocketAddr,
}

/// Dials a hub; of several addresses that a name stands for, `turn` says which.
///
/// # Errors
/// When there is no way to it within eight seconds.
pub async fn connect(address: &Address, turn: u32, dialing: &Dialing) -> Result<Connected, Error> {
    timeout(DEADLINE, run(address, turn, dialing)).await.map_err(|_| Error::Late(DEADLINE))?
}

async fn run(address: &Address, turn: u32, dialing: &Dialing) -> Result<Connected, Error> {
    let (stream, to) = match &dialing.proxy {
        Some(proxy) => {
            let (mut stream, to) = tcp(&proxy.host, proxy.port, turn).await?;
            proxy::ask(&mut stream, proxy, address).await?;
            (stream, to)
        }
        None => tcp(&address.host, address.port, turn).await?,
    };
    let (carrier, binding): (Box<dyn Carrier>, Vec<u8>) = match address.way {
        Way::Tcp => (Box::new(stream), Vec::new()),
        Way::Tls => {
            // The hub's end of TLS cannot tell its exporter yet: the certificate alone ties the signature to the hub.
            let (stream, _) = tls::connect(stream, address, &dialing.tls, true).await?;
            (Box::new(stream), Vec::new())
        }
        Way::Ws => (Box::new(websocket::connect(stream, address).await?), Vec::new()),
        Way::Wss => {
            let (stream, _) = tls::connect(stream, address, &dialing.tls, false).await?;
            // No binding: what ends the TLS may be an Ingress and not the hub.
            (Box::new(websocket::connect(stream, address).await?), Vec::new())
        }
    };
    Ok(Connected { carrier, binding, to })
}

async fn tcp(host: &str, port: u16, turn: u32) -> Result<(TcpStream, SocketAddr), Error> {
    let unknown = || Error::Name(host.to_owned());
    let found: Vec<SocketAddr> = lookup_host((host, port)).await.map_err(|_| unknown())?.collect();
    let at = (turn as usize).checked_rem(found.len()).ok_or_else(unknown)?;
    let to = found[at];
    let stream = timeout(CONNECT, TcpStream::connect(to)).await.map_err(|_| Error::Late(CONNECT))?;
    let stream = stream.map_err(|error| Error::Connect(to, error))?;
    stream.set_nodelay(true)?;
    Ok((stream, to))
}

/// Reads an HTTP head, up to the empty line and nothing behind it.
async fn read_head<C: AsyncRead + Unpin>(carrier: &mut C) -> Result<String, Error> {
    let mut head = Vec::with_capacity(512);
    // Byte by byte: what follows belongs to somebody else, and it is once for each session.
    while !head.ends_with(b"\r\n\r\n") {
        if head.len() == HEAD_MAX {
            return Err(io::Error::from(io::ErrorKind::InvalidData).into());
        }
        head.push(carrier.read_u8().await?);
    }
    Ok(String::from_utf8_lossy(&head).into_owned())
}

/// The value of a field of a head.
fn field<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    let mut lines = head.lines().skip(1).filter_map(|line| line.split_once(':'));
    lines.find(|(field, _)| field.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim())
}

/// The status of a head, or what it says instead.
fn status(head: &str, who: &str) -> Result<u16, Error> {
    let line = head.lines().next().unwrap_or_default();
    let code = line.starts_with("HTTP/1.").then(|| line.split(' ').nth(1)).flatten();
    code.and_then(|code| code.parse().ok()).ok_or_else(|| refused(head, who))
}

fn refused(head: &str, who: &str) -> Error {
    let line = head.lines().next().unwrap_or_default();
    let says = line.chars().filter(|c| !c.is_control()).take(120).collect();
    Error::Http { who: who.to_owned(), says }
}
