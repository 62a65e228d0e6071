//! What is done with requests, as it is written.

use super::{BasicAuth, ConcurrencyUse, Forward, Gzip, HeaderOp, Jwt, List, RateUse, RealIp};
use crate::read::table;
use crate::values::{Codes, FileWord, LogEntry, Size, Templated, ThenWord, Words};

table! {
    /// What is done with requests: exactly one of `pool`, `files`, `redirect` and `answer`.
    Route "[[route]]" {
        /// Unique name; made of host and path when absent.
        name: String,
        /// Listeners; all that speak http when absent.
        listener: Words,
        /// Hosts: `example.com`, `*.example.com`, `www.*`, `~expression`, `*` for any. Any when absent.
        host: Words,
        /// Paths that start with this. Default "/".
        path: String,
        /// This path alone.
        path_exact: String,
        /// Paths in which this expression is found.
        path_regex: String,
        /// Whether case is ignored by `path_regex`. Default false.
        ignore_case: bool,
        /// Expressions are not tried when `path` is the longest prefix. Default false.
        last: bool,
        /// Only reached by name, from other routes. Default false.
        by_name: bool,
        /// Only reached by internal redirects. Default false.
        internal: bool,
        /// Methods.
        methods: List<String>,
        /// Request headers that must match.
        headers: List<FieldMatch>,
        /// Query parameters that must match.
        queries: List<FieldMatch>,
        /// Networks that the client must be in.
        from: List<String>,
        /// How the client's address is found, instead of the listener's way.
        real_ip: RealIp,
        /// Rewrites, conditions and answers before anything else.
        steps: List<Step>,
        /// Who may come in: `"allow 10.0.0.0/8"`, `"deny all"`; the first match decides.
        access: List<String>,
        /// Whether one of `access` and credentials is enough. Default false.
        satisfy_any: bool,
        /// User and password.
        basic_auth: BasicAuth,
        /// A signed token.
        jwt: Jwt,
        /// Rates that must not be exceeded.
        rates: List<RateUse>,
        /// Numbers of requests at once that must not be exceeded.
        concurrency: List<ConcurrencyUse>,
        /// Largest request body; without bound when absent or "0".
        body_max: Size,
        /// Changes of the response's headers.
        response_headers: List<HeaderOp>,
        /// The pool that answers.
        pool: String,
        /// How requests are passed to `pool`.
        forward: Forward,
        /// Files that answer.
        files: Files,
        /// A redirect that answers.
        redirect: Redirect,
        /// A fixed answer.
        answer: Answer,
        /// Pages for statuses.
        errors: List<ErrorPage>,
        /// Compression.
        gzip: Gzip,
        /// Bytes per second of one response.
        rate_bytes: Size,
        /// Access logs.
        log: List<LogEntry>,
        /// `Expires` and `Cache-Control`: "1h", "-1s", "modified 1h", "epoch", "max".
        expires: String,
        /// Media type of what has none. Default "application/octet-stream".
        default_type: String,
        /// Whether a redirect to a path of the same host goes out as it is. Default false.
        relative_redirects: bool,
    }
}

table! {
    /// A header or a query parameter that must match: present, or with `is` or `regex`.
    FieldMatch "a match" {
        /// Its name.
        #[schemars(required)]
        name: String,
        /// Its value.
        is: String,
        /// Expression that its value matches.
        regex: String,
        /// Turned round. Default false.
        not: bool,
    }
}

table! {
    /// One step: exactly one of `set`, `rewrite`, `answer`, `redirect`, `when`, `once` and `break`.
    Step "route.steps" {
        /// Variable that gets `value`.
        set: String,
        /// Value of `set`.
        value: Templated,
        /// Expression over the path.
        rewrite: String,
        /// Whether case is ignored by `rewrite`. Default false.
        ignore_case: bool,
        /// The new path of `rewrite`; the old query is appended unless it ends with `?`.
        to: Templated,
        /// What follows `rewrite`. Default "continue".
        then: ThenWord,
        /// Answers at once.
        answer: Answer,
        /// Redirects at once.
        redirect: Redirect,
        /// Condition of `steps`.
        when: Condition,
        /// Steps under `when`.
        steps: List<Step>,
        /// Route that goes on under `when`, by name.
        route: String,
        /// Steps that internal redirects skip.
        once: List<Step>,
        /// Ends the steps.
        r#break: bool,
    }
}

table! {
    /// A condition: `value` alone (neither empty nor "0"), with `is`, with `regex`, or `path` with `exists`.
    Condition "when" {
        /// What is looked at.
        value: Templated,
        /// Equal to this.
        is: Templated,
        /// Matched by this expression.
        regex: String,
        /// Whether case is ignored by `regex`. Default false.
        ignore_case: bool,
        /// A path in the file system.
        path: Templated,
        /// What `path` must be.
        exists: FileWord,
        /// Turned round. Default false.
        not: bool,
    }
}

table! {
    /// A fixed answer.
    Answer "answer" {
        /// Status; 444 closes the connection without a word. Default 200.
        #[schemars(range(min = 200, max = 999))]
        status: i64,
        /// Body.
        body: Templated,
        /// Media type. Default "text/plain"; the route's default type in imported files.
        media: String,
    }
}

table! {
    /// A redirect.
    Redirect "redirect" {
        /// URL, or a path of the same host.
        #[schemars(required)]
        to: Templated,
        /// Status. Default 302.
        #[schemars(range(min = 300, max = 399))]
        status: i64,
    }
}

table! {
    /// Files.
    Files "route.files" {
        /// The directory.
        #[schemars(required)]
        root: Templated,
        /// Whether the matched `path` is cut off before the file is looked up. Default false.
        alias: bool,
        /// Files that stand for a directory. Default ["index.html"].
        index: List<Templated>,
        /// Tried in order instead of the path; a trailing `/` asks for a directory.
        r#try: List<Templated>,
        /// Path, `@route`, or `=404`, when none of `try` is there.
        fallback: Templated,
        /// Pool that is asked when nothing is there, with the route's `forward`.
        fallback_pool: String,
        /// Whether a directory without index is listed. Default false.
        listing: bool,
        /// Whether an ETag is sent. Default true.
        etag: bool,
        /// Whether a `.gz` beside the file is sent to those who take it. Default false.
        precompressed: bool,
        /// Parts of a file that one request may ask for; 0 answers with the whole. Default 64.
        ranges_max: i64,
        /// Whether a date after the file's own in If-Modified-Since says that the client has it. Default false.
        later_dates: bool,
    }
}

table! {
    /// A page for statuses: exactly one of `path`, `route` and `url`.
    ErrorPage "route.errors" {
        /// Statuses.
        #[schemars(required)]
        codes: Codes,
        /// Path of the page on this host.
        path: Templated,
        /// Name of a route that goes on.
        route: String,
        /// URL that the client is sent to.
        url: Templated,
        /// Status that the client sees; 0 is the page's own; the original one when absent.
        status: i64,
    }
}
