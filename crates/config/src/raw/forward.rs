//! How requests are passed to a pool, as it is written.

use super::List;
use crate::read::table;
use crate::values::{RetryWord, Templated, Time};

table! {
    /// How requests are passed to a pool.
    Forward "route.forward" {
        /// Replaces the matched `path` or `path_exact` in the request target.
        prefix: String,
        /// The whole request target; excludes `prefix`.
        uri: Templated,
        /// Where it goes instead of a backend of the pool: a pool's name, `host:port` or `unix:/path:`, and a path if any.
        to: Templated,
        /// The method. The request's when absent.
        method: Templated,
        /// Host that the backend gets. Default "{http_host}", the client's own.
        host: Templated,
        /// Adds X-Forwarded-For, X-Forwarded-Proto, X-Forwarded-Host and X-Real-IP. Default true.
        forwarded: bool,
        /// Changes of the request's headers.
        headers: List<HeaderOp>,
        /// Whether the client's own headers are passed. Default true.
        pass_headers: bool,
        /// Whether the body is passed. Default true.
        pass_body: bool,
        /// Whether the whole body is taken in before a backend is asked. Default false.
        buffer_request: bool,
        /// Whether an upgrade (WebSocket) may pass. Default true.
        upgrade: bool,
        /// How long a connect may take. Default "5s".
        connect_timeout: Time,
        /// How long the backend may take nothing in. Default "60s".
        send_timeout: Time,
        /// How long the backend may say nothing. Default "60s".
        read_timeout: Time,
        /// When another backend is tried.
        retry: Retry,
        /// Response headers that are not passed.
        hide: List<String>,
        /// How `Location` and `Refresh` are rewritten.
        redirects: List<TextRewrite>,
        /// How the domains of cookies are rewritten.
        cookie_domains: List<TextRewrite>,
        /// How the paths of cookies are rewritten.
        cookie_paths: List<TextRewrite>,
        /// Whether error pages replace the backend's own of 300 and above. Default false.
        intercept_errors: bool,
        /// Whether the backend's X-Accel-Redirect and X-Accel-Limit-Rate are obeyed. Default false.
        accel: bool,
    }
}

table! {
    /// When another backend is tried.
    Retry "retry" {
        /// After what: "error", "timeout", "invalid-header", or a status. Default ["error", "timeout"].
        on: List<RetryWord>,
        /// Backends asked in all; 0 is without bound. Default 3.
        #[schemars(range(min = 0, max = 100))]
        tries: i64,
        /// No further try begins after this long; "0s" is without bound. Default "0s".
        within: Time,
        /// Whether requests that are not idempotent are sent again too. Default false.
        non_idempotent: bool,
    }
}

table! {
    /// A replacement: what begins with `from`, or what `regex` matches, becomes `to`.
    TextRewrite "a rewrite" {
        /// Beginning of the text.
        from: Templated,
        /// Expression.
        regex: String,
        /// Whether case is ignored by `regex`. Default false.
        ignore_case: bool,
        /// What stands there instead.
        #[schemars(required)]
        to: Templated,
    }
}

table! {
    /// A change of headers: exactly one of `set`, `add` and `remove`.
    HeaderOp "a header" {
        /// Header that becomes `value`; an empty value removes it.
        set: String,
        /// Header that is added with `value`.
        add: String,
        /// Header that is taken away.
        remove: String,
        /// The value.
        value: Templated,
        /// For responses: on every status, not only on those of success and redirect. Default false.
        always: bool,
    }
}
