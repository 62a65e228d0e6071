//! Sets of backends and how one is chosen.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use mainstay_core::name::ProbeId;
use serde::{Deserialize, Serialize};

use super::edge::Template;

/// A set of backends.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Pool {
    /// The operator's name.
    pub name: String,
    /// How one is chosen.
    pub balance: Balance,
    /// The backends; a pool may be empty.
    pub backends: Vec<Backend>,
    /// TLS towards them.
    pub tls: Option<BackendTls>,
    /// HTTP towards them.
    pub http: BackendHttp,
    /// The PROXY header that connections begin with.
    pub proxy: ProxyHeader,
    /// Clients keep their backend by a cookie.
    pub sticky: Option<Sticky>,
    /// Health from real traffic.
    pub outlier: Outlier,
    /// Where requests wait when every backend is full.
    pub queue: Queue,
    /// A backend that comes back takes this long to get its full share.
    pub slow_start: Duration,
    /// Idle connections that each thread keeps to the pool; 0 closes each after its request.
    pub keep: u32,
    /// How long an idle connection is kept.
    pub keep_timeout: Duration,
    /// Requests over one connection; 0 is without bound.
    pub keep_requests: u32,
    /// Whether a line of a response's head may end in LF alone.
    pub bare_lf: bool,
    /// Retries may be this share of the requests, in percent, beside a floor of ten a second.
    pub retry_budget: u32,
}

/// How a backend is chosen.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Balance {
    /// In turn, by weight (smooth).
    RoundRobin,
    /// Fewest requests under way for its weight, over all instances.
    Least,
    /// Of two drawn at random the one with less latency (EWMA) times load.
    TwoChoices,
    /// By the client's address: with `prefix24`, IPv4 by its first three bytes as nginx's ip_hash.
    Source,
    /// Consistent (Maglev) by this key: few keys move when a backend goes.
    Hash(Template),
    /// At random, by weight.
    Random,
}

/// One target.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Backend {
    /// As the operator wrote it, unique in its pool: `10.0.4.20:8080`.
    pub name: String,
    /// Where it is.
    pub target: Target,
    /// Its share, 1 and more.
    pub weight: u32,
    /// Only asked when no other is usable.
    pub backup: bool,
    /// Never asked.
    pub down: bool,
    /// Connections (or requests under way) over all instances; 0 is without bound.
    pub max_connections: u32,
    /// Its active probe, one of the Plan's.
    pub probe: Option<ProbeId>,
    /// The pool's bound of failures when it has its own.
    pub outlier: Option<Outlier>,
}

/// Where a backend is.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Target {
    /// An address.
    Inet(SocketAddr),
    /// A name that is looked up again and again; each of its addresses is a backend.
    Name {
        /// The host.
        host: String,
        /// The port.
        port: u16,
    },
    /// A unix socket.
    Unix(PathBuf),
    /// Each request says it: `forward.to`.
    Asked,
    /// The tunnel of this id; each agent that offers it is a backend.
    Tunnel(String),
}

/// TLS towards backends.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub struct BackendTls {
    /// The name that is asked for and verified; the backend's host when absent.
    pub name: Option<Template>,
    /// Whether the certificate is verified.
    pub verify: bool,
    /// CA certificates (PEM) and the file they come from; the system's when absent.
    pub ca: Option<(PathBuf, String)>,
    /// Our certificate, for backends that ask for one.
    pub cert: Option<super::listener::TlsMaterial>,
}

impl std::fmt::Debug for BackendTls {
    /// Without the key.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut shown = f.debug_struct("BackendTls");
        shown.field("name", &self.name).field("verify", &self.verify).field("cert", &self.cert).finish()
    }
}

/// HTTP towards backends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum BackendHttp {
    /// HTTP/1.1 with kept connections.
    Http1,
    /// HTTP/2: by ALPN over TLS, with prior knowledge without.
    Http2,
}

/// The PROXY header towards backends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ProxyHeader {
    /// None.
    Off,
    /// The text form.
    V1,
    /// The binary form.
    V2,
}

/// Clients keep their backend.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sticky {
    /// Name of the cookie that we set.
    pub cookie: String,
    /// How long it lasts; a session's cookie when zero.
    pub max_age: Duration,
    /// Its path.
    pub path: String,
    /// Its domain.
    pub domain: Option<String>,
    /// Its flags.
    pub http_only: bool,
    /// Only over https.
    pub secure: bool,
    /// `Strict`, `Lax` or `None`.
    pub same_site: Option<String>,
    /// What its values are made with; one of the node's own when absent.
    pub key: Option<SharedKey>,
}

/// A secret that several nodes have in common.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SharedKey {
    /// The file it comes from.
    pub file: Option<PathBuf>,
    /// The secret.
    pub text: String,
}

impl std::fmt::Debug for SharedKey {
    /// Without the secret.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SharedKey").field("file", &self.file).finish_non_exhaustive()
    }
}

/// Health from real traffic.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outlier {
    /// Failures within `window` that put a backend aside; 0 never does.
    pub failures: u32,
    /// Within this long.
    pub window: Duration,
    /// For this long; doubled each time in a row, up to ten times.
    pub aside: Duration,
    /// No more than this share of the pool is put aside, in percent.
    pub share_max: u32,
}

/// Where requests wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Queue {
    /// So many for each thread; 0 answers 503 at once.
    pub max: u32,
    /// So long; then 503 (504 would blame the backend).
    pub timeout: Duration,
}
