//! What answers a request: a backend, files, a fixed answer; and what becomes of the response.

use std::time::Duration;

use mainstay_core::name::{PoolId, RouteId};
use serde::{Deserialize, Serialize};

use super::template::Template;

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
    /// Where the request goes instead of a backend of `pool`: the name of a pool, `host:port` or `unix:/path:`, and the
    /// target if a `/` or `?` follows.
    pub to: Option<Template>,
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
    /// What is replaced: the beginning of the text (of a cookie's domain the whole), or the whole text when an expression is found in it.
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
    /// Parts of a file that one request may ask for; 0 answers with the whole.
    pub ranges_max: u32,
    /// Whether a date after the file's own in If-Modified-Since says that the client has it.
    pub later_dates: bool,
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
