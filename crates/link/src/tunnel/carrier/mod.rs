//! What is under a session: TCP, TLS, WebSocket or QUIC, from an address to a stream of bytes.

mod believing;
mod proxy;
mod tcp;
mod tls;
mod websocket;

use std::io;
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::Duration;

use mainstay_core::tunnel::address::{Address, Way};
use socket2::SockRef;
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::net::{TcpStream, lookup_host};
use tokio::time::timeout;

pub use believing::believing;
pub use proxy::Proxy;
pub use tls::{ALPN, client_config, trusting};
pub use websocket::{WebSocket, accept_key};

use tcp::Tcp;

use super::{Carrier, quic};

/// How long a TCP connection may take.
const CONNECT: Duration = Duration::from_secs(3);

/// How long all of it may take, names and handshakes included.
const DEADLINE: Duration = Duration::from_secs(8);

/// What the kernel may keep of a session that it cannot send yet, in bytes: two turns.
const UNSENT: u32 = 32 * 1024;

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
    /// QUIC, and nothing leads out of here but a proxy for TCP.
    #[error("an HTTP proxy carries no QUIC")]
    Proxied,
    /// There is no connection of QUIC.
    #[error("{0}")]
    Quic(#[from] quic::Error),
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

/// A carrier, and where it leads.
pub struct Connected {
    /// The stream of bytes.
    pub carrier: Box<dyn Carrier>,
    /// Where it leads: of a proxy's, the proxy.
    pub to: SocketAddr,
    /// What a hello over it is tied to; empty where the two ends share nothing that others do not know.
    pub binding: Vec<u8>,
}

/// Dials a hub; of several addresses that a name stands for, `turn` says which.
///
/// # Errors
/// When there is no way to it within eight seconds.
pub async fn connect(address: &Address, turn: u32, dialing: &Dialing) -> Result<Connected, Error> {
    connect_among(address, turn, dialing, |_| {}).await
}

/// The same, and tells what the hub's name stands for, in order, once that is known. With a proxy it never is.
///
/// # Errors
/// When there is no way to it within eight seconds.
pub async fn connect_among(
    address: &Address,
    turn: u32,
    dialing: &Dialing,
    found: impl FnOnce(&[SocketAddr]),
) -> Result<Connected, Error> {
    let dialed = async {
        if address.way == Way::Quic {
            return by_quic(address, turn, dialing, found).await;
        }
        let (stream, to) = match &dialing.proxy {
            Some(proxy) => {
                let (mut stream, to) = tcp(&proxy.host, proxy.port, turn, |_| {}).await?;
                proxy::ask(&mut stream, proxy, address).await?;
                (stream, to)
            }
            None => tcp(&address.host, address.port, turn, found).await?,
        };
        shake(stream, to, address, dialing).await
    };
    timeout(DEADLINE, dialed).await.map_err(|_| Error::Late(DEADLINE))?
}

/// Dials one of those that [`find`] gave, whatever the name stands for by then. No proxy is asked.
///
/// # Errors
/// When there is no way to it within eight seconds.
pub async fn connect_at(address: &Address, to: SocketAddr, dialing: &Dialing) -> Result<Connected, Error> {
    let dialed = async {
        match address.way {
            Way::Quic => quic_to(to, address, dialing).await,
            Way::Tcp | Way::Tls | Way::Ws | Way::Wss => shake(tcp_to(to).await?, to, address, dialing).await,
        }
    };
    timeout(DEADLINE, dialed).await.map_err(|_| Error::Late(DEADLINE))?
}

/// What a hub's name stands for, in order.
///
/// # Errors
/// When it stands for nothing, or nobody knows within eight seconds.
pub async fn find(address: &Address) -> Result<Vec<SocketAddr>, Error> {
    let looked = look_up(&address.host, address.port);
    timeout(DEADLINE, looked).await.map_err(|_| Error::Late(DEADLINE))?
}

/// The handshakes of a carrier.
async fn shake(
    stream: Tcp,
    to: SocketAddr,
    address: &Address,
    dialing: &Dialing,
) -> Result<Connected, Error> {
    let carrier: Box<dyn Carrier> = match address.way {
        Way::Tcp => Box::new(stream),
        Way::Tls => Box::new(tls::connect(stream, address, &dialing.tls, true).await?),
        Way::Ws => Box::new(websocket::connect(stream, address).await?),
        Way::Wss => {
            let stream = tls::connect(stream, address, &dialing.tls, false).await?;
            Box::new(websocket::connect(stream, address).await?)
        }
        Way::Quic => return Err(Error::Proxied),
    };
    Ok(Connected { carrier, to, binding: Vec::new() })
}

async fn by_quic(
    address: &Address,
    turn: u32,
    dialing: &Dialing,
    found: impl FnOnce(&[SocketAddr]),
) -> Result<Connected, Error> {
    if dialing.proxy.is_some() {
        return Err(Error::Proxied);
    }
    let to = resolve(&address.host, address.port, turn, found).await?;
    quic_to(to, address, dialing).await
}

async fn quic_to(to: SocketAddr, address: &Address, dialing: &Dialing) -> Result<Connected, Error> {
    let connecting = quic::connect(to, &address.host, &dialing.tls);
    let carrier = timeout(CONNECT, connecting).await.map_err(|_| Error::Late(CONNECT))??;
    let binding = carrier.binding().to_vec();
    Ok(Connected { carrier: Box::new(carrier), to, binding })
}

/// A TCP connection and nothing on it yet; of several addresses that a name stands for, `turn` says which.
///
/// # Errors
/// When there is none within three seconds of an address being known.
pub async fn plain(host: &str, port: u16, turn: u32) -> Result<Connected, Error> {
    let (stream, to) = tcp(host, port, turn, |_| ()).await?;
    Ok(Connected { carrier: Box::new(stream), to, binding: Vec::new() })
}

/// Prepares a TCP socket for a session: what the network cannot take yet stays with us, where streams have their turns.
pub fn tune(socket: &impl AsFd) {
    // Where the kernel does not know it, messages wait longer behind bulk.
    let _ = SockRef::from(socket).set_tcp_notsent_lowat(UNSENT);
}

async fn tcp(
    host: &str,
    port: u16,
    turn: u32,
    told: impl FnOnce(&[SocketAddr]),
) -> Result<(Tcp, SocketAddr), Error> {
    let to = resolve(host, port, turn, told).await?;
    Ok((tcp_to(to).await?, to))
}

/// The address of a host whose turn it is.
async fn resolve(
    host: &str,
    port: u16,
    turn: u32,
    told: impl FnOnce(&[SocketAddr]),
) -> Result<SocketAddr, Error> {
    let found = look_up(host, port).await?;
    told(&found);
    Ok(found[turn as usize % found.len()])
}

/// The addresses of a name, of which there is one at least.
async fn look_up(host: &str, port: u16) -> Result<Vec<SocketAddr>, Error> {
    let unknown = || Error::Name(host.to_owned());
    let mut found: Vec<SocketAddr> = lookup_host((host, port)).await.map_err(|_| unknown())?.collect();
    // Resolvers shuffle what they give, and each is to have its turn.
    found.sort_unstable();
    found.dedup();
    if found.is_empty() { Err(unknown()) } else { Ok(found) }
}

async fn tcp_to(to: SocketAddr) -> Result<Tcp, Error> {
    let stream = timeout(CONNECT, TcpStream::connect(to)).await.map_err(|_| Error::Late(CONNECT))?;
    let stream = stream.map_err(|error| Error::Connect(to, error))?;
    stream.set_nodelay(true)?;
    tune(&stream);
    Ok(Tcp::new(stream))
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

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt;
    use tokio::net::TcpListener;

    use super::*;

    fn run<T>(future: impl Future<Output = T>) -> T {
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        runtime.enable_all().build().unwrap().block_on(future)
    }

    /// A proxy that answers so, and what it was asked.
    async fn proxied(answer: &str) -> (Result<u8, Error>, String) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let to = listener.local_addr().unwrap();
        let proxy = Some(format!("http://user:pass@{to}").parse().unwrap());
        let dialing = Dialing { tls: client_config(None).unwrap(), proxy };
        let address: Address = "tcp://hub.example.com:7000".parse().unwrap();
        let dialed = async {
            let mut connected = connect(&address, 0, &dialing).await?;
            Ok(connected.carrier.read_u8().await?)
        };
        let proxy = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            let asked = read_head(&mut stream).await.unwrap();
            stream.write_all(answer.as_bytes()).await.unwrap();
            asked
        };
        tokio::join!(dialed, proxy)
    }

    #[test]
    fn a_proxy_is_asked_for_the_way_and_what_it_refuses_is_quoted() {
        run(async {
            let (byte, asked) = proxied("HTTP/1.1 200 OK\r\nVia: x\r\n\r\nM").await;
            assert_eq!(byte.unwrap(), b'M', "what is behind the head belongs to the hub");
            assert!(asked.starts_with("CONNECT hub.example.com:7000 HTTP/1.1\r\n"), "{asked}");
            assert_eq!(field(&asked, "proxy-authorization"), Some("Basic dXNlcjpwYXNz"));
            let (byte, _) = proxied("HTTP/1.1 407 Proxy Authentication Required\r\n\r\n").await;
            assert!(byte.unwrap_err().to_string().contains("407 Proxy"));
            let (byte, _) = proxied(&"x".repeat(HEAD_MAX + 1)).await;
            assert!(matches!(byte, Err(Error::Broken(_))), "an answer without an end");
        });
    }
}
