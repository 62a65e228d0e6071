//! What the edge does: listeners take connections, routes decide on requests, pools hold backends.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use mainstay_core::name::{LogId, PoolId, RouteId, ZoneId};
use serde::{Deserialize, Serialize};

pub use super::listener::{
    ClientAuth, HttpLimits, Listener, Place, Protocol, RealIp, RealIpSource, SniRule, TlsMaterial, TlsServer,
};
pub use super::pool::{
    Backend, BackendTls, Balance, Outlier, Pool, ProxyHeader, Queue, Sticky, Target, UpstreamHttp,
};
pub use super::template::{Known, Piece, Template, Var};

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

/// What answers a request.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Action {
    /// A backend.
    Forward(Box<Forward>),
    /// Files.
    Files(Box<Files>),
    /// A fixed answer or a redirect.
    Answer(Answer),
}

/// A fixed answer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Answer {
    /// Status; 444 closes the connection without a word.
    pub status: u16,
    /// Where a redirect goes: a URL, or a path that is completed with scheme, host and port.
    pub location: Option<Template>,
    /// Body; for an error status without one, the error pages and then a short page of our own are asked.
    pub body: Option<Template>,
    /// Media type of the body; the route's default type when absent.
    pub media: Option<String>,
}

/// To a backend.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Forward {
    /// Which pool.
    pub pool: PoolId,
    /// The request target.
    pub uri: Uri,
    /// The method, when not the request's.
    pub method: Option<Template>,
    /// The Host header (`:authority`) that the backend gets.
    pub host: Template,
    /// Adds X-Forwarded-For, X-Forwarded-Proto, X-Forwarded-Host and X-Real-IP; `headers` come after.
    pub forwarded: bool,
    /// What is changed of the request's headers.
    pub headers: Vec<HeaderOp>,
    /// Whether the client's own headers are passed.
    pub pass_headers: bool,
    /// Whether the request's body is passed.
    pub pass_body: bool,
    /// Whether the whole request body is taken in (in memory up to 64 KiB, then in an unlinked file) before a backend is asked.
    pub buffer_request: bool,
    /// Whether an upgrade (WebSocket) may pass.
    pub upgrade: bool,
    /// How long a connect may take.
    pub connect_timeout: Duration,
    /// How long the backend may take nothing in.
    pub send_timeout: Duration,
    /// How long the backend may say nothing.
    pub read_timeout: Duration,
    /// When another backend is tried.
    pub retry: Retry,
    /// Response headers that are not passed, lower case.
    pub hide: Vec<String>,
    /// How `Location` and `Refresh` of a response are rewritten; the first that matches.
    pub redirects: Vec<TextRewrite>,
    /// How the domain of a cookie is rewritten.
    pub cookie_domains: Vec<TextRewrite>,
    /// How the path of a cookie is rewritten.
    pub cookie_paths: Vec<TextRewrite>,
    /// Whether the route's error pages replace the backend's own statuses of 300 and above.
    pub intercept_errors: bool,
    /// Whether the backend's `X-Accel-*` headers are obeyed (`X-Accel-Redirect`, `X-Accel-Limit-Rate`).
    pub accel: bool,
}

/// The request target that the backend gets.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Uri {
    /// As it came, or as the steps have rewritten it.
    Same,
    /// The matched prefix (the text of `PathMatch::Prefix` or `Exact`) is replaced by this; the rest is percent-encoded anew.
    Prefix(String),
    /// This text; the query is appended only where the text says so.
    Text(Template),
}

/// When another backend is tried. Never after the first byte of a response went to the client.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Retry {
    /// After what.
    pub on: Vec<RetryOn>,
    /// Backends that are asked in all; 0 is without bound.
    pub tries: u32,
    /// No further try begins after this long; zero is without bound.
    pub within: Duration,
    /// Whether requests that are not idempotent are sent again once bytes of them went out.
    pub non_idempotent: bool,
}

/// What a try may have ended with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RetryOn {
    /// The connection could not be made or broke.
    Error,
    /// No answer in time.
    Timeout,
    /// What came back is no HTTP.
    InvalidHeader,
    /// This status.
    Status(u16),
}

/// A replacement in a text.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TextRewrite {
    /// What is replaced: the beginning of the text, or what an expression matches.
    pub from: TextPattern,
    /// By what.
    pub to: Template,
}

/// What a replacement looks for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TextPattern {
    /// The text begins with this.
    Prefix(Template),
    /// This expression.
    Regex {
        /// The expression.
        pattern: String,
        /// Whether case is ignored.
        ignore_case: bool,
    },
}

/// A change of headers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct HeaderOp {
    /// Name, as it is to be written.
    pub name: String,
    /// What is done.
    pub op: HeaderChange,
    /// For responses: on every status, instead of 200, 201, 204, 206, 301, 302, 303, 304, 307 and 308 alone.
    pub always: bool,
}

/// What is done to a header.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum HeaderChange {
    /// Replaces what is there; an empty value removes it.
    Set(Template),
    /// One more; an empty value adds nothing.
    Add(Template),
    /// Away.
    Remove,
}

/// Files from a directory.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Files {
    /// The directory.
    pub root: Template,
    /// The matched prefix is cut off the path before it is looked up in `root` (nginx's alias).
    pub alias: bool,
    /// Tried in a directory, in order.
    pub index: Vec<Template>,
    /// Tried in order instead of the path itself; a trailing `/` asks for a directory.
    pub tries: Vec<Template>,
    /// What follows when none of `tries` is there.
    pub fallback: Option<Fallback>,
    /// Whether a directory without index is listed.
    pub listing: bool,
    /// Whether an `ETag` is sent.
    pub etag: bool,
    /// Whether a ready-made `.gz` beside the file is sent to those who take it.
    pub precompressed: bool,
}

/// What follows when nothing was found.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fallback {
    /// An internal redirect to this path.
    Path(Template),
    /// This route goes on.
    Route(RouteId),
    /// This status.
    Status(u16),
    /// The request goes on to this action.
    Action(Box<Action>),
}

/// A page for statuses.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ErrorPage {
    /// Statuses.
    pub codes: Vec<u16>,
    /// Where the page is.
    pub page: Page,
    /// The status that the client sees: `None` is the original one, 0 is that of the page.
    pub status: Option<u16>,
}

/// Where an error page comes from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Page {
    /// An internal redirect to this path, with method GET.
    Path(Template),
    /// This route goes on, method and path unchanged.
    Route(RouteId),
    /// A redirect of the client to this URL.
    Url(Template),
}

/// Who must show credentials.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Auth {
    /// User and password (RFC 7617).
    Basic {
        /// Shown to the user.
        realm: Template,
        /// The file that the users come from.
        file: Option<PathBuf>,
        /// User and hash as htpasswd writes them: `$apr1$`, `{SHA}`, `{SSHA}`, `{PLAIN}`, `$2y$`, `$5$`, `$6$`, or crypt.
        users: Vec<(String, String)>,
    },
    /// A signed token (RFC 7519).
    Jwt(Box<Jwt>),
}

impl std::fmt::Debug for Auth {
    /// Without the hashes.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Basic { realm, file, users } => {
                let names: Vec<&str> = users.iter().map(|(name, _)| name.as_str()).collect();
                let mut shown = f.debug_struct("Basic");
                shown.field("realm", realm).field("file", file).field("users", &names).finish()
            }
            Self::Jwt(jwt) => f.debug_tuple("Jwt").field(jwt).finish(),
        }
    }
}

/// How a token is checked.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Jwt {
    /// Keys; a token's `kid` chooses among them, without one each that fits its algorithm is tried.
    pub keys: Vec<JwtKey>,
    /// Where the token is looked for, in order.
    pub sources: Vec<TokenSource>,
    /// Allowed `iss`; empty allows any.
    pub issuers: Vec<String>,
    /// Allowed `aud`; empty allows any.
    pub audiences: Vec<String>,
    /// Claims that must have this value.
    pub claims: Vec<(String, String)>,
    /// Tolerated difference of clocks for `exp` and `nbf`.
    pub leeway: Duration,
    /// Whether a token without `exp` is refused.
    pub need_exp: bool,
    /// Shown in WWW-Authenticate.
    pub realm: String,
    /// Whether the token is kept from the backend.
    pub strip: bool,
}

/// A key that tokens are signed with.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub struct JwtKey {
    /// Its id, when tokens name it.
    pub id: Option<String>,
    /// The only algorithm that it may be used with: HS256 ... EdDSA.
    pub algorithm: String,
    /// The file it comes from.
    pub file: Option<PathBuf>,
    /// The secret as it is (HS), or the public key as PEM.
    pub key: String,
}

impl std::fmt::Debug for JwtKey {
    /// Without the key.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut shown = f.debug_struct("JwtKey");
        shown.field("id", &self.id).field("algorithm", &self.algorithm).field("file", &self.file).finish()
    }
}

/// Where a token is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TokenSource {
    /// `Authorization: Bearer`.
    Bearer,
    /// A header that holds nothing else.
    Header(String),
    /// A cookie.
    Cookie(String),
    /// A query parameter.
    Query(String),
}

/// Something counted by key, for all instances together.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Zone {
    /// The operator's name.
    pub name: String,
    /// What is counted; requests with an empty key are not.
    pub key: Template,
    /// Requests per second, in thousandths; 0 for a zone that counts requests at once.
    pub rate_millis: u64,
}

/// A rate that a route obeys.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RateUse {
    /// Which zone.
    pub zone: ZoneId,
    /// Requests that may come at once.
    pub burst: u32,
    /// Requests of the burst that are not held back; `u32::MAX` holds none back.
    pub undelayed: u32,
    /// Status of those beyond.
    pub status: u16,
}

/// A number of requests at once that a route obeys.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConcurrencyUse {
    /// Which zone.
    pub zone: ZoneId,
    /// So many.
    pub max: u32,
    /// Status of those beyond.
    pub status: u16,
}

/// Compression of responses.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gzip {
    /// Media types; `*` is every one.
    pub types: Vec<String>,
    /// Bodies known to be shorter are left alone.
    pub min_length: u64,
    /// 1 to 9.
    pub level: u8,
    /// Whether `Vary: Accept-Encoding` is added.
    pub vary: bool,
    /// Whether responses to requests that came through another proxy (`Via`) are compressed.
    pub proxied: bool,
    /// Whether HTTP/1.0 clients get it.
    pub http10: bool,
}

/// `Expires` and `Cache-Control`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Expires {
    /// So many seconds from now; negative is in the past, with `no-cache`.
    After(i64),
    /// So many seconds from the file's last change.
    Modified(i64),
    /// 1970, with `no-cache`.
    Epoch,
    /// 2037, with ten years.
    Max,
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
