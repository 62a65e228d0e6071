//! Where a hub is dialled, and over which carrier: `wss://edge.example.com`, `tls://10.0.0.1:7000`; `gost+ws://10.0.0.1:8421` is a
//! server of gost's.

use std::fmt;
use std::str::FromStr;

use thiserror::Error;

/// Where agents come in by WebSocket, when nobody says otherwise.
pub const PATH: &str = "/.mainstay/tunnel";

/// The port of a hub's own listener, when nobody says otherwise.
pub const PORT: u16 = 7000;

/// The port where hubs come in to hubs, when nobody says otherwise.
pub const PEERS_PORT: u16 = 7001;

/// What stands before the address of a gost server.
const GOST: &str = "gost+";

/// Where gost's servers have their WebSocket, when nobody says otherwise.
pub const GOST_PATH: &str = "/ws";

/// The port of a gost server without HTTP, when nobody says otherwise: gost has none, its own examples have this.
pub const GOST_PORT: u16 = 8421;

/// The longest address.
const MOST: usize = 255;

/// What is under a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Way {
    /// TCP as it is.
    Tcp,
    /// TLS over TCP.
    Tls,
    /// WebSocket over TCP.
    Ws,
    /// WebSocket over TLS.
    Wss,
    /// QUIC, over UDP.
    Quic,
}

impl Way {
    /// Whether nobody between the two can read or change what goes over it.
    #[must_use]
    pub const fn is_sealed(self) -> bool {
        matches!(self, Self::Tls | Self::Wss | Self::Quic)
    }

    const fn word(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Tls => "tls",
            Self::Ws => "ws",
            Self::Wss => "wss",
            Self::Quic => "quic",
        }
    }

    const fn port(self, gost: bool) -> u16 {
        match self {
            Self::Tcp | Self::Tls if gost => GOST_PORT,
            Self::Tcp | Self::Tls | Self::Quic => PORT,
            Self::Ws => 80,
            Self::Wss => 443,
        }
    }
}

/// Where a hub is dialled.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Address {
    /// It is a server of gost's, or speaks as one.
    pub gost: bool,
    /// Over which carrier.
    pub way: Way,
    /// A name or an address; of IPv6 without brackets.
    pub host: String,
    /// The port.
    pub port: u16,
    /// The path of a WebSocket; empty otherwise.
    pub path: String,
}

/// Why a text is no address of a hub.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Wrong {
    /// It does not begin as one does.
    #[error("write wss://HOST, ws://HOST, tls://HOST:PORT, quic://HOST:PORT or tcp://HOST:PORT")]
    Scheme,
    /// It is written as gost writes it.
    #[error("this is gost's own way of writing it: for a server of gost's write gost+{}://HOST:PORT", .0.word())]
    Gosts(Way),
    /// It has no host, or one that cannot be.
    #[error("there is no host in it that could be dialled")]
    Host,
    /// The port is none.
    #[error("\"{0}\" is no port")]
    Port(String),
    /// A path where there can be none, or one that cannot be sent.
    #[error("only ws:// and wss:// have a path, of printable ASCII")]
    Path,
    /// It is too long.
    #[error("it is longer than {MOST} bytes")]
    Long,
}

impl FromStr for Address {
    type Err = Wrong;

    fn from_str(text: &str) -> Result<Self, Wrong> {
        if text.len() > MOST {
            return Err(Wrong::Long);
        }
        let (gost, text) = text.strip_prefix(GOST).map_or((false, text), |rest| (true, rest));
        let (scheme, rest) = text.split_once("://").ok_or(Wrong::Scheme)?;
        if let (false, Some(way)) = (gost, written_by_gost(scheme)) {
            return Err(Wrong::Gosts(way));
        }
        let ways = [Way::Tcp, Way::Tls, Way::Ws, Way::Wss, Way::Quic];
        let way = ways.into_iter().find(|way| way.word() == scheme).ok_or(Wrong::Scheme)?;
        if gost && way == Way::Quic {
            // gost's is another.
            return Err(Wrong::Scheme);
        }
        let at = rest.find('/').unwrap_or(rest.len());
        let (authority, path) = rest.split_at(at);
        let (host, port) = split(authority, way.port(gost))?;
        let path = match way {
            Way::Tcp | Way::Tls | Way::Quic if matches!(path, "" | "/") => "",
            Way::Tcp | Way::Tls | Way::Quic => return Err(Wrong::Path),
            Way::Ws | Way::Wss if matches!(path, "" | "/") => usual_path(gost),
            Way::Ws | Way::Wss if path.bytes().all(|b| b.is_ascii_graphic() && b != b'#') => path,
            Way::Ws | Way::Wss => return Err(Wrong::Path),
        };
        Ok(Self { gost, way, host: host.to_owned(), port, path: path.to_owned() })
    }
}

/// The carrier in the scheme of gost's `-F`.
fn written_by_gost(scheme: &str) -> Option<Way> {
    match scheme {
        "tunnel" | "tunnel+tcp" => Some(Way::Tcp),
        "tunnel+tls" => Some(Way::Tls),
        "tunnel+ws" => Some(Way::Ws),
        "tunnel+wss" => Some(Way::Wss),
        _ => None,
    }
}

const fn usual_path(gost: bool) -> &'static str {
    if gost { GOST_PATH } else { PATH }
}

/// The host and the port of `HOST:PORT`, or of `HOST` alone: of IPv6 without brackets.
///
/// # Errors
/// When there is none that could be dialled.
pub fn authority(text: &str, usual: u16) -> Result<(&str, u16), Wrong> {
    if text.len() > MOST {
        return Err(Wrong::Long);
    }
    split(text, usual)
}

/// A host and a port as one text, IPv6 in brackets.
#[must_use]
pub fn joined(host: &str, port: u16) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

fn split(authority: &str, usual: u16) -> Result<(&str, u16), Wrong> {
    let (host, port) = match authority.strip_prefix('[') {
        Some(rest) => {
            let (host, port) = rest.split_once(']').ok_or(Wrong::Host)?;
            host.parse::<std::net::Ipv6Addr>().map_err(|_| Wrong::Host)?;
            (host, port.strip_prefix(':').or(port.is_empty().then_some("")).ok_or(Wrong::Host)?)
        }
        None => {
            let (host, port) = authority.split_once(':').unwrap_or((authority, ""));
            let may_be = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_');
            if host.is_empty() || !host.bytes().all(may_be) {
                return Err(Wrong::Host);
            }
            (host, port)
        }
    };
    match port {
        "" => Ok((host, usual)),
        port => match port.parse() {
            Ok(number) if number > 0 => Ok((host, number)),
            _ => Err(Wrong::Port(port.to_owned())),
        },
    }
}

impl Address {
    /// The host and the port as a Host field or CONNECT has them.
    #[must_use]
    pub fn authority(&self) -> String {
        joined(&self.host, self.port)
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let authority = self.authority();
        let authority = match authority.strip_suffix(&format!(":{}", self.way.port(self.gost))) {
            Some(host) if matches!(self.way, Way::Ws | Way::Wss) => host,
            Some(_) | None => authority.as_str(),
        };
        let path = if self.path == usual_path(self.gost) { "" } else { &self.path };
        let gost = if self.gost { GOST } else { "" };
        write!(f, "{gost}{}://{authority}{path}", self.way.word())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_read_and_shown_as_short_as_it_can_be() {
        let parts = |text: &str| {
            let address: Address = text.parse().unwrap();
            (address.to_string(), address.host.clone(), address.port, address.path)
        };
        let owned = |a: &str, b: &str, port, c: &str| (a.to_owned(), b.to_owned(), port, c.to_owned());
        assert_eq!(
            parts("wss://edge.example.com"),
            owned("wss://edge.example.com", "edge.example.com", 443, PATH)
        );
        assert_eq!(parts("ws://[::1]:8080/in"), owned("ws://[::1]:8080/in", "::1", 8080, "/in"));
        assert_eq!(parts("tls://10.0.0.1/"), owned("tls://10.0.0.1:7000", "10.0.0.1", 7000, ""));
        assert_eq!(parts("tcp://[fe80::1]"), owned("tcp://[fe80::1]:7000", "fe80::1", 7000, ""));
        assert_eq!(parts("quic://hub.lan:443"), owned("quic://hub.lan:443", "hub.lan", 443, ""));
        assert!("quic://hub.lan".parse::<Address>().unwrap().way.is_sealed());
    }

    #[test]
    fn a_server_of_gosts_has_its_own_port_and_path() {
        for (text, shown, port, path) in [
            ("gost+ws://gost.local:80", "gost+ws://gost.local", 80, "/ws"),
            ("gost+wss://a/in", "gost+wss://a/in", 443, "/in"),
            ("gost+ws://a/.mainstay/tunnel", "gost+ws://a/.mainstay/tunnel", 80, PATH),
            ("gost+tcp://10.0.0.1", "gost+tcp://10.0.0.1:8421", 8421, ""),
            ("gost+tls://[::1]:9", "gost+tls://[::1]:9", 9, ""),
        ] {
            let address: Address = text.parse().unwrap();
            assert!(address.gost);
            assert_eq!((address.to_string().as_str(), address.port, &*address.path), (shown, port, path));
        }
        for wrong in ["gost+http://a", "gost+quic://a", "gost://a"] {
            assert_eq!(wrong.parse::<Address>(), Err(Wrong::Scheme));
        }
        let said = "tunnel+ws://gost.local:80?tunnel.id=1".parse::<Address>().unwrap_err().to_string();
        assert!(said.contains("write gost+ws://HOST:PORT"), "{said}");
        assert_eq!("tunnel://a:1".parse::<Address>(), Err(Wrong::Gosts(Way::Tcp)));
    }

    #[test]
    fn a_host_and_a_port_are_split_and_joined() {
        for (text, host, port) in [("a.b:1", "a.b", 1), ("a.b", "a.b", 7001), ("[::1]:9", "::1", 9)] {
            assert_eq!(authority(text, PEERS_PORT), Ok((host, port)));
        }
        assert_eq!(joined("::1", 9), "[::1]:9");
        assert_eq!(authority("a:b:c", 1), Err(Wrong::Port("b:c".into())));
        assert_eq!(authority(&"a".repeat(300), 1), Err(Wrong::Long));
    }

    #[test]
    fn what_cannot_be_dialled_is_refused() {
        let wrong = |text: &str| text.parse::<Address>().unwrap_err();
        assert_eq!(wrong("edge.example.com"), Wrong::Scheme);
        assert_eq!(wrong("http://edge"), Wrong::Scheme);
        assert_eq!(wrong("tcp://"), Wrong::Host);
        assert_eq!(wrong("tcp://a b:1"), Wrong::Host);
        assert_eq!(wrong("tcp://user@host:1"), Wrong::Host);
        assert_eq!(wrong("tcp://[::1"), Wrong::Host);
        assert_eq!(wrong("tcp://a:0"), Wrong::Port("0".into()));
        assert_eq!(wrong("tcp://a:70000"), Wrong::Port("70000".into()));
        assert_eq!(wrong("tcp://a:1/path"), Wrong::Path);
        assert_eq!(wrong("quic://a:1/path"), Wrong::Path);
        assert_eq!(wrong("ws://a/b c"), Wrong::Path);
        assert_eq!(wrong("ws://a/b\r\nX: y"), Wrong::Path);
        assert_eq!(wrong(&format!("tcp://{}", "a".repeat(300))), Wrong::Long);
    }
}
