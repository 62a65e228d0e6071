//! The HTTP proxy that leads out of a network: CONNECT (RFC 9110 9.3.6).

use std::str::FromStr;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use mainstay_core::tunnel::address::Address;
use tokio::io::AsyncWriteExt;

use super::{Error, Tcp, read_head, refused, status};

/// An HTTP proxy.
#[derive(Clone, PartialEq, Eq)]
pub struct Proxy {
    /// Its name or address.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// What it wants to be shown: `Basic ...`.
    credentials: Option<String>,
}

impl std::fmt::Debug for Proxy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Proxy({}:{})", self.host, self.port)
    }
}

impl FromStr for Proxy {
    type Err = &'static str;

    /// Reads `http://[user:password@]host:port`.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const SHAPE: &str = "write http://HOST:PORT or http://USER:PASSWORD@HOST:PORT";
        let rest = text.strip_prefix("http://").ok_or(SHAPE)?.trim_end_matches('/');
        let (user, authority) = match rest.rsplit_once('@') {
            Some((user, authority)) => (Some(user), authority),
            None => (None, rest),
        };
        // The same rules for host and port as those of a hub.
        let address: Address = format!("ws://{authority}").parse().map_err(|_| SHAPE)?;
        let credentials = user.map(|user| format!("Basic {}", STANDARD.encode(user)));
        Ok(Self { host: address.host, port: address.port, credentials })
    }
}

/// Asks for a way to a hub.
pub(super) async fn ask(stream: &mut Tcp, proxy: &Proxy, address: &Address) -> Result<(), Error> {
    let to = address.authority();
    let credentials =
        proxy.credentials.as_ref().map_or(String::new(), |shown| format!("Proxy-Authorization: {shown}\r\n"));
    let head = format!("CONNECT {to} HTTP/1.1\r\nHost: {to}\r\n{credentials}\r\n");
    stream.write_all(head.as_bytes()).await?;
    let answer = read_head(stream).await?;
    let who = format!("the proxy {}:{}", proxy.host, proxy.port);
    match status(&answer, &who)? {
        200..=299 => Ok(()),
        _ => Err(refused(&answer, &who)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proxy_is_read_and_its_password_never_shown() {
        let proxy: Proxy = "http://user:secret@proxy.lan:3128/".parse().unwrap();
        assert_eq!((proxy.host.as_str(), proxy.port), ("proxy.lan", 3128));
        assert_eq!(proxy.credentials.as_deref(), Some("Basic dXNlcjpzZWNyZXQ="));
        assert_eq!(format!("{proxy:?}"), "Proxy(proxy.lan:3128)");
        assert_eq!("http://10.0.0.1".parse::<Proxy>().unwrap().port, 80);
        for text in ["https://a", "proxy.lan:3128", "http://", "http://a:b:c"] {
            assert!(text.parse::<Proxy>().is_err(), "{text}");
        }
    }
}
