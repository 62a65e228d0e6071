//! What the edge does: listeners take connections, routes decide on requests, pools hold backends.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use mainstay_core::name::LogId;
use serde::{Deserialize, Serialize};

pub use super::action::{
    Action, Answer, ErrorPage, Expires, Fallback, Files, Forward, Gzip, HeaderChange, HeaderOp, Page, Retry,
    RetryOn, TextPattern, TextRewrite, Uri,
};
pub use super::gost::{Compat, Gost};
pub use super::guard::{Access, Auth, ConcurrencyUse, Jwt, JwtKey, RateUse, TokenSource, Zone};
pub use super::listener::{
    ClientAuth, HttpLimits, Listener, Place, Protocol, RealIp, RealIpSource, SniRule, TlsMaterial, TlsServer,
};
pub use super::parse::{Malformed, is_own};
pub use super::pattern::pattern;
pub use super::pool::{
    Backend, BackendHttp, BackendTls, Balance, Outlier, Pool, ProxyHeader, Queue, SharedKey, Sticky, Target,
};
pub use super::step::{Condition, FileKind, Step, Then};
pub use super::template::{Known, Piece, Template, Var};
pub use super::tunnel::{Hub, Tunnel};

/// Everything the edge role does.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Edge {
    /// Edge processes.
    pub instances: u16,
    /// Threads in each; each has a socket of its own for every listener.
    pub threads: u16,
    /// How long connections of an older configuration or program may go on.
    pub drain: Duration,
    /// How often names of backends are looked up again.
    pub resolve: Duration,
    /// Where connections are taken.
    pub listeners: Vec<Listener>,
    /// What is done with requests; `RouteId` is the index. The order is that of the file.
    pub routes: Vec<Route>,
    /// Sets of backends; `PoolId` is the index.
    pub pools: Vec<Pool>,
    /// Keys that are counted; `ZoneId` is the index.
    pub zones: Vec<Zone>,
    /// Variables computed from others.
    pub maps: Vec<Map>,
    /// Access logs; `LogId` is the index.
    pub logs: Vec<AccessLog>,
    /// Suffix to media type, for static files: `html` -> `text/html`.
    pub types: Vec<(String, String)>,
    /// What agents are told.
    pub hub: Hub,
    /// What they may offer.
    pub tunnels: Vec<Tunnel>,
    /// What holds for gost's clients and visitors; nothing when none come.
    #[serde(default)]
    pub gost: Option<Gost>,
}

/// What is done with the requests that match.
///
/// Which route takes a request is decided as nginx does: among the hosts an exact one, then the longest `*.suffix`,
/// then the longest `prefix.*`, then the first matching expression, then `Host::Any`; in that set of routes an exact path, then
/// the longest prefix if it is `last`, then the first matching expression in the order of the file, then the longest prefix. Of routes with equal
/// host and path those with methods, headers, queries or sources come first, the one with more of them before the one with fewer,
/// else the order of the file. When no route of the best host takes the request, the next best host is tried.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Route {
    /// The operator's name, or one made of host and path.
    pub name: String,
    /// Listeners by position; a route takes part in each.
    pub listeners: Vec<u32>,
    /// Hosts; empty is the same as `Host::Any`.
    pub hosts: Vec<Host>,
    /// Paths, percent-decoded, dot segments resolved, slashes merged.
    pub path: PathMatch,
    /// Methods; empty means every one.
    pub methods: Vec<String>,
    /// Request headers that must match, all of them.
    pub headers: Vec<FieldMatch>,
    /// Query parameters that must match, all of them.
    pub queries: Vec<FieldMatch>,
    /// Networks that the client must be in; empty means everywhere.
    pub from: Vec<Net>,
    /// Only internal redirects (try, error pages, rewrites) come here; a request from outside gets 404.
    pub internal: bool,
    /// How the client's address is found, instead of the listener's way.
    pub real_ip: Option<RealIp>,
    /// Rewrites, conditions and answers before anything else.
    pub steps: Vec<Step>,
    /// Who may come in; the first rule that matches decides, and nobody is refused when none does.
    pub access: Vec<Access>,
    /// One of access and auth is enough (`satisfy any`).
    pub satisfy_any: bool,
    /// Who must show credentials.
    pub auth: Option<Auth>,
    /// Rates that must not be exceeded.
    pub rates: Vec<RateUse>,
    /// Numbers of requests at once that must not be exceeded.
    pub concurrency: Vec<ConcurrencyUse>,
    /// Largest request body in bytes; a larger one gets 413. `None` is without bound.
    pub body_max: Option<u64>,
    /// What is changed of the response's headers, whoever made the response.
    pub response_headers: Vec<HeaderOp>,
    /// What answers.
    pub action: Action,
    /// Pages for statuses.
    pub errors: Vec<ErrorPage>,
    /// Compression.
    pub gzip: Option<Gzip>,
    /// Bytes per second of one response's body; 0 is without bound.
    pub rate_bytes: u64,
    /// Access logs.
    pub logs: Vec<LogUse>,
    /// `Expires` and `Cache-Control` of responses.
    pub expires: Option<Expires>,
    /// Media type of what has none.
    pub default_type: String,
    /// Whether a redirect to a path of the same host goes out as it is, without scheme, host and port.
    pub relative_redirects: bool,
}

/// A host that a route is for; lower case, without port.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Host {
    /// This name.
    Exact(String),
    /// Names that end with this (`.example.com`, from `*.example.com`).
    Suffix(String),
    /// Names that start with this (`www.example.`, from `www.example.*`).
    Prefix(String),
    /// Names that this expression matches; its named groups become variables.
    Regex(String),
    /// Any name, or none.
    Any,
}

/// A path that a route is for.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PathMatch {
    /// This path.
    Exact(String),
    /// Paths that start with this, byte by byte (`/` takes every one).
    Prefix {
        /// The prefix.
        path: String,
        /// Expressions are not tried when this is the longest prefix (nginx's `^~`).
        last: bool,
    },
    /// Paths in which this expression is found.
    Regex {
        /// The expression; its groups become `{1}` ... and its named groups variables.
        pattern: String,
        /// Whether case is ignored.
        ignore_case: bool,
    },
    /// No path: only reached by name (nginx's `@name`).
    Never,
}

/// A header or a query parameter.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FieldMatch {
    /// Its name; headers in lower case.
    pub name: String,
    /// What it must be.
    pub value: ValueMatch,
    /// Turned round.
    pub not: bool,
}

/// What a value must be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ValueMatch {
    /// There.
    Present,
    /// Equal to this.
    Exact(String),
    /// Matched by this expression.
    Regex(String),
}

/// A network, its host bits zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Net {
    /// Its first address.
    pub addr: IpAddr,
    /// Its prefix length.
    pub prefix: u8,
}

impl Net {
    /// Whether an address is in it; one of IPv4 that is written inside IPv6 is taken for what it is, and no family holds the other.
    #[must_use]
    pub fn holds(&self, addr: IpAddr) -> bool {
        match (self.addr, addr.to_canonical()) {
            (IpAddr::V4(net), IpAddr::V4(addr)) => {
                let away = net.to_bits() ^ addr.to_bits();
                away.checked_shr(32_u32.saturating_sub(u32::from(self.prefix))).unwrap_or(0) == 0
            }
            (IpAddr::V6(net), IpAddr::V6(addr)) => {
                let away = net.to_bits() ^ addr.to_bits();
                away.checked_shr(128_u32.saturating_sub(u32::from(self.prefix))).unwrap_or(0) == 0
            }
            (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => false,
        }
    }
}

/// A variable computed from others.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Map {
    /// The variable.
    pub name: String,
    /// What is looked at.
    pub source: Template,
    /// How.
    pub rules: MapRules,
    /// The value when nothing matches.
    pub default: Template,
}

/// How a map finds its value.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MapRules {
    /// Texts without regard to case first, then, with `hostnames`, wildcards as in hosts, then expressions in order.
    Values {
        /// Text (or host) and value.
        values: Vec<(String, Template)>,
        /// Whether `*.suffix` and `prefix.*` are wildcards.
        hostnames: bool,
        /// Expression, whether case is ignored, value.
        patterns: Vec<(String, bool, Template)>,
    },
    /// The longest network that holds the source, an address.
    Networks(Vec<(Net, Template)>),
    /// Shares of the hash of the source: upper bounds out of 2^32, ascending, and values.
    Shares(Vec<(u32, Template)>),
}

/// Where requests are written down.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AccessLog {
    /// The operator's name.
    pub name: String,
    /// Where to.
    pub to: LogTarget,
    /// How a line looks.
    pub format: LogFormat,
}

/// Where an access log goes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LogTarget {
    /// A file; opened by the supervisor, again at SIGUSR1 and at each reload.
    File(PathBuf),
    /// Standard output.
    Stdout,
}

/// How a line of an access log looks.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LogFormat {
    /// The combined format of nginx and Apache.
    Combined,
    /// One JSON object, its fields in docs/reference/access-log.md.
    Json,
    /// A text of one's own, values escaped as nginx does (`\xXX`).
    Text {
        /// The text.
        line: Template,
        /// Values are escaped for JSON strings instead.
        json_escape: bool,
    },
}

/// A log that a route writes to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LogUse {
    /// Which.
    pub log: LogId,
    /// Only when this is neither empty nor `0`.
    pub when: Option<Template>,
}

impl Edge {
    /// Whether there is anything to do.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.listeners.is_empty()
    }
}
