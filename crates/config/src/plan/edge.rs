//! What the edge does: listeners take connections, routes decide on requests, pools hold backends.

use std::net::IpAddr;
use std::time::Duration;

use mainstay_core::name::RouteId;
use serde::{Deserialize, Serialize};

pub use super::action::{
    Action, Answer, ErrorPage, Fallback, Files, Forward, HeaderChange, HeaderOp, Page, Retry, RetryOn,
    TextPattern, TextRewrite, Uri,
};
pub use super::listener::{
    ClientAuth, HttpLimits, Listener, Place, Protocol, RealIp, RealIpSource, SniRule, TlsMaterial, TlsServer,
};
pub use super::parse::{Malformed, is_own};
pub use super::pattern::pattern;
pub use super::policy::{Auth, ConcurrencyUse, Expires, Gzip, Jwt, JwtKey, RateUse, TokenSource, Zone};
pub use super::pool::{
    Backend, BackendTls, Balance, Outlier, Pool, ProxyHeader, Queue, Sticky, Target, UpstreamHttp,
};
pub use super::template::{Known, Piece, Template, Var};
pub use super::variable::{AccessLog, LogFormat, LogTarget, LogUse, Map, MapRules};

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

/// A rule about sources.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Access {
    /// Let in, or keep out with 403.
    pub allow: bool,
    /// Whom; `None` is everybody, unix sockets among them.
    pub net: Option<Net>,
}

/// What is done before a route acts; nginx's rewrite module.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Step {
    /// Gives a variable a value.
    Set {
        /// The variable.
        name: String,
        /// Its value.
        value: Template,
    },
    /// Changes the path where the expression matches it.
    Rewrite {
        /// Expression over the path.
        pattern: String,
        /// Whether case is ignored.
        ignore_case: bool,
        /// The new path, with a query after `?`; the old query is appended unless it ends with `?`.
        to: Template,
        /// What then.
        then: Then,
    },
    /// Answers at once.
    Answer(Answer),
    /// Further steps under a condition.
    If {
        /// The condition.
        when: Condition,
        /// What is done.
        steps: Vec<Step>,
        /// Afterwards this route goes on in place of the present one, without steps of its own being run.
        route: Option<RouteId>,
    },
    /// Ends the steps.
    Break,
    /// Steps that are skipped when an internal redirect comes by again (those of an nginx server block).
    Once(Vec<Step>),
}

/// What follows a rewrite.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Then {
    /// The next step; a route is chosen anew after the last one, since the path has changed.
    Continue,
    /// A route is chosen anew, ten times at most.
    Again,
    /// This route acts on the new path.
    Break,
    /// A redirect with this status (301, 302).
    Redirect(u16),
}

/// A condition of a step.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Condition {
    /// Neither empty nor `0`.
    True(Template),
    /// Equal.
    Equal {
        /// One side.
        value: Template,
        /// The other.
        to: Template,
        /// Turned round.
        not: bool,
    },
    /// Matched by an expression.
    Match {
        /// What is looked at.
        value: Template,
        /// The expression; its groups become `{1}` ...
        pattern: String,
        /// Whether case is ignored.
        ignore_case: bool,
        /// Turned round.
        not: bool,
    },
    /// Something is in the file system.
    File {
        /// Where.
        path: Template,
        /// What.
        kind: FileKind,
        /// Turned round.
        not: bool,
    },
}

/// What a path in the file system is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FileKind {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// Anything.
    Any,
    /// Something executable.
    Executable,
}

impl Edge {
    /// Whether there is anything to do.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.listeners.is_empty()
    }
}
