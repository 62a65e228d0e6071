//! Where connections are taken, and how their client's address is found.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use mainstay_core::name::PoolId;
use serde::{Deserialize, Serialize};

use super::edge::{Access, LogUse, Net, Template};
use super::gost::Compat;

/// Where connections are taken.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Listener {
    /// The operator's name.
    pub name: String,
    /// Addresses; bound before they exist on this host (freebind).
    pub places: Vec<Place>,
    /// What is spoken.
    pub protocol: Protocol,
    /// TLS that ends here.
    pub tls: Option<TlsServer>,
    /// Networks whose connections begin with a PROXY header (v1 or v2); empty for none.
    pub proxy_from: Vec<Net>,
    /// How the client's address is found behind further proxies.
    pub real_ip: Option<RealIp>,
    /// Bounds for HTTP.
    pub http: HttpLimits,
    /// Connections of this listener at once, for one instance.
    pub max_connections: u32,
    /// Who may connect (tcp, udp, passthrough).
    pub access: Vec<Access>,
    /// The pool of tcp and udp, and of passthrough when no rule matches.
    pub pool: Option<PoolId>,
    /// Which pool takes which server name (passthrough).
    pub sni: Vec<SniRule>,
    /// How long a connect to a backend may take (tcp, udp, passthrough).
    pub connect_timeout: Duration,
    /// A connection over which nothing went for this long is closed; a UDP session is forgotten.
    pub idle_timeout: Duration,
    /// Datagrams that a UDP backend answers before the session ends; `None` is without bound.
    pub udp_responses: Option<u32>,
    /// Logs of tcp, udp and passthrough; a line each connection.
    pub logs: Vec<LogUse>,
    /// What is answered at once instead (`return` of nginx's stream).
    pub answer: Option<Template>,
    /// Path at which agents of tunnels come in, by WebSocket.
    pub agents: Option<String>,
    /// What is spoken beside `protocol`.
    #[serde(default)]
    pub compat: Option<Compat>,
    /// Agents come in by QUIC too: each place is one of UDP as well.
    #[serde(default)]
    pub quic: bool,
}

impl Listener {
    /// Its sockets: each place, and whether it is one of UDP; with `quic` it is both.
    pub fn sockets(&self) -> impl Iterator<Item = (&Place, bool)> {
        let flows: &[bool] = match (self.protocol, self.quic) {
            (Protocol::Udp, _) => &[true],
            (Protocol::Hub, true) => &[false, true],
            (Protocol::Http | Protocol::Tcp | Protocol::Passthrough | Protocol::Hub, _) => &[false],
        };
        self.places.iter().flat_map(move |place| flows.iter().map(move |udp| (place, *udp)))
    }
}

/// An address.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Place {
    /// IPv4 or IPv6.
    Inet(SocketAddr),
    /// A unix socket.
    Unix(PathBuf),
}

/// What a listener speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Protocol {
    /// HTTP/1.1, and HTTP/2 with prior knowledge or by ALPN.
    Http,
    /// Bytes, TLS ended first when `tls` is there.
    Tcp,
    /// Datagrams.
    Udp,
    /// TLS that is not ended here, sorted by server name.
    Passthrough,
    /// Agents of tunnels come in.
    Hub,
}

/// TLS that ends here.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TlsServer {
    /// Certificates: the one whose names hold the server name that the client asks for, else the first.
    pub certificates: Vec<TlsMaterial>,
    /// Whether TLS 1.2 is spoken beside 1.3.
    pub tls12: bool,
    /// How clients are asked for certificates.
    pub client: ClientAuth,
    /// CA certificates (PEM) that client certificates are checked against, and the file they come from.
    pub client_ca: Option<(PathBuf, String)>,
    /// Whether sessions are resumed by ticket.
    pub tickets: bool,
    /// How long a handshake may take.
    pub timeout: Duration,
}

/// A certificate chain and its key.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub struct TlsMaterial {
    /// Where the chain is from.
    pub cert_file: PathBuf,
    /// Where the key is from.
    pub key_file: PathBuf,
    /// The chain, PEM.
    pub cert: String,
    /// The key, PEM.
    pub key: String,
}

impl std::fmt::Debug for TlsMaterial {
    /// Without the key.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut shown = f.debug_struct("TlsMaterial");
        shown.field("cert_file", &self.cert_file).field("key_file", &self.key_file).finish()
    }
}

/// How clients are asked for certificates.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ClientAuth {
    /// Not at all.
    Off,
    /// Asked for, may be absent; one that does not verify gets 400.
    Optional,
    /// Asked for; without one 400.
    Required,
}

/// How the client's address is found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RealIp {
    /// Where it is said.
    pub source: RealIpSource,
    /// Who is believed; unix sockets only with `unix`.
    pub trusted: Vec<Net>,
    /// Whether unix peers are believed.
    pub unix: bool,
    /// Whether the list is walked from the right past every trusted address; else its last entry is taken.
    pub recursive: bool,
}

/// Where the client's address is said.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RealIpSource {
    /// A list in this header (lower case), `x-forwarded-for` as a rule; `x-real-ip` is a list of one.
    Header(String),
    /// The PROXY header.
    Proxy,
}

/// Bounds for HTTP connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HttpLimits {
    /// Whether HTTP/2 is spoken.
    pub http2: bool,
    /// Bytes of a request's head; 431 beyond, 414 when the line alone is longer.
    pub head_max: u32,
    /// Header fields of a request.
    pub fields_max: u32,
    /// How long a head may take, from its first byte.
    pub head_timeout: Duration,
    /// How long the client may send nothing of a body.
    pub body_timeout: Duration,
    /// How long the client may take nothing in.
    pub send_timeout: Duration,
    /// How long a connection may wait for its next request; zero closes after each response.
    pub idle_timeout: Duration,
    /// Requests on one connection; 0 is without bound.
    pub requests_max: u32,
    /// HTTP/2 streams at once.
    pub streams_max: u32,
    /// Whether request headers with `_` in their names are passed; otherwise they are left out, as nginx does.
    pub underscores: bool,
    /// Whether a line of a request's head may end in LF alone.
    pub bare_lf: bool,
    /// Whether responses to HTTP/1.1 say that the connection stays; to HTTP/1.0 they always do.
    pub says_keep: bool,
    /// Seconds that `Keep-Alive: timeout=` promises; 0 leaves the header out.
    pub keep_hint: u32,
    /// Whether a client that closes its sending side is still answered while a backend is waited for.
    pub half_close: bool,
}

/// Which pool takes which server name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SniRule {
    /// The name, as in routes.
    pub host: super::edge::Host,
    /// Which pool.
    pub pool: PoolId,
}
