//! The edge's tables as they are written: listeners, routes, pools, zones, maps, logs.

use super::List;
use crate::read::table;
use crate::values::{
    BalanceWord, ClientAuthWord, Codes, ConditionWord, FileWord, Headers, LogEntry, ProtocolWord, ProxyWord, Rate,
    RetryWord, Secret, Size, Status, Templated, ThenWord, Time, Words,
};

table! {
    /// The edge as a whole.
    Edge "[edge]" {
        /// Processes. Default 2.
        #[schemars(range(min = 1, max = 16))]
        instances: i64,
        /// Threads in each process; when absent, as many as fill the cores.
        #[schemars(range(min = 1, max = 64))]
        threads: i64,
        /// How long connections of an older configuration or program may go on. Default "30s".
        drain: Time,
        /// How often names of backends are looked up again. Default "10s".
        resolve: Time,
        /// File in the form of nginx's mime.types that adds to the built-in table of media types.
        types: String,
    }
}

table! {
    /// Where connections are taken.
    Listener "[[listener]]" {
        /// Unique name.
        #[schemars(required)]
        name: String,
        /// Address and port (`":80"` is every address of both families), or `unix:/path`; text or a list.
        #[schemars(required)]
        bind: Words,
        /// What is spoken. Default "http".
        protocol: ProtocolWord,
        /// Certificates; with them TLS ends here.
        tls: List<Certificate>,
        /// Whether TLS 1.2 is spoken beside 1.3. Default true.
        tls12: bool,
        /// Whether TLS sessions are resumed by ticket. Default true.
        tickets: bool,
        /// How long a TLS handshake may take. Default "10s".
        tls_timeout: Time,
        /// File of CA certificates that client certificates are checked against.
        client_ca: String,
        /// Whether clients must show a certificate. Default "required" when `client_ca` is there.
        client_auth: ClientAuthWord,
        /// Networks whose connections begin with a PROXY header, v1 or v2.
        proxy_from: List<String>,
        /// How the client's address is found.
        real_ip: RealIp,
        /// Whether HTTP/2 is spoken. Default true.
        http2: bool,
        /// Largest request head. Default "32KiB".
        head_max: Size,
        /// Header fields of a request at most. Default 100.
        #[schemars(range(min = 1, max = 1000))]
        fields_max: i64,
        /// How long a request's head may take. Default "30s".
        head_timeout: Time,
        /// How long a client may send nothing of a body. Default "60s".
        body_timeout: Time,
        /// How long a client may take nothing in. Default "60s".
        send_timeout: Time,
        /// How long a connection may wait for its next request; of tcp, be silent; of udp, a session lasts. Default "75s"; "10m" for tcp and passthrough, "30s" for udp.
        idle_timeout: Time,
        /// Requests on one connection; 0 is without bound. Default 0.
        requests_max: i64,
        /// HTTP/2 streams at once. Default 128.
        #[schemars(range(min = 1, max = 10000))]
        streams_max: i64,
        /// Whether names of request headers may have `_`; otherwise such headers are dropped. Default false.
        underscores: bool,
        /// Connections at once, for each instance. Default 20000.
        max_connections: i64,
        /// Who may connect to tcp, udp and passthrough: `"allow 10.0.0.0/8"`, `"deny all"`; the first match decides.
        access: List<String>,
        /// The pool of tcp and udp, and of passthrough when no server name matches.
        pool: String,
        /// Which pool takes which server name (passthrough).
        sni: List<Sni>,
        /// How long a connect to a backend may take (tcp, udp, passthrough). Default "5s".
        connect_timeout: Time,
        /// Datagrams that a backend answers before a UDP session ends.
        udp_responses: i64,
        /// Access logs of tcp, udp and passthrough.
        log: List<LogEntry>,
        /// Text that tcp connections get at once instead of a pool.
        answer: Templated,
    }
}

table! {
    /// A certificate chain and its key.
    Certificate "listener.tls" {
        /// File of the chain, PEM.
        #[schemars(required)]
        cert: String,
        /// File of the key, PEM.
        #[schemars(required)]
        key: String,
    }
}

table! {
    /// How the client's address is found: by `header` or by `proxy`.
    RealIp "real_ip" {
        /// Header that says it. Default "X-Forwarded-For".
        header: String,
        /// The PROXY header says it.
        proxy: bool,
        /// Networks whose word is believed; `unix:` for unix sockets.
        #[schemars(required)]
        trusted: List<String>,
        /// Whether the list is walked from the right past every trusted address. Default true.
        recursive: bool,
    }
}

table! {
    /// Which pool takes which server name.
    Sni "listener.sni" {
        /// Server names, with wildcards as in routes.
        #[schemars(required)]
        host: Words,
        /// The pool.
        #[schemars(required)]
        pool: String,
    }
}

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
    /// How requests are passed to a pool.
    Forward "route.forward" {
        /// Replaces the matched `path` or `path_exact` in the request target.
        prefix: String,
        /// The whole request target; excludes `prefix`.
        uri: Templated,
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

table! {
    /// User and password.
    BasicAuth "basic_auth" {
        /// Shown to the user. Default "restricted".
        realm: Templated,
        /// File of `user:hash` lines as htpasswd writes them.
        file: String,
        /// Users and their hashes.
        users: Headers,
    }
}

table! {
    /// A signed token.
    Jwt "jwt" {
        /// The keys.
        #[schemars(required)]
        keys: List<JwtKey>,
        /// Where the token is: "bearer", "header:Name", "cookie:name", "query:name". Default ["bearer"].
        from: List<String>,
        /// Allowed issuers.
        issuers: List<String>,
        /// Allowed audiences.
        audiences: List<String>,
        /// Claims that must have this value.
        claims: Headers,
        /// Tolerated difference of clocks. Default "30s".
        leeway: Time,
        /// Whether a token without `exp` is refused. Default true.
        need_exp: bool,
        /// Shown in WWW-Authenticate. Default "restricted".
        realm: String,
        /// Whether the token is kept from the backend. Default false.
        strip: bool,
    }
}

table! {
    /// A key that tokens are signed with.
    JwtKey "jwt.keys" {
        /// Its id (`kid`).
        id: String,
        /// HS256, HS384, HS512, RS256 ..., PS256 ..., ES256, ES384, EdDSA.
        #[schemars(required)]
        algorithm: String,
        /// The secret (HS), or the public key or certificate as PEM.
        #[schemars(required)]
        key: Secret,
    }
}

table! {
    /// A rate that is obeyed.
    RateUse "route.rates" {
        /// Which zone.
        #[schemars(required)]
        zone: String,
        /// Requests that may come at once. Default 0.
        burst: i64,
        /// Requests of the burst that are not held back; all when absent.
        undelayed: i64,
        /// Status of those beyond. Default 429.
        status: i64,
    }
}

table! {
    /// A number of requests at once that is obeyed.
    ConcurrencyUse "route.concurrency" {
        /// Which zone.
        #[schemars(required)]
        zone: String,
        /// So many.
        #[schemars(required)]
        max: i64,
        /// Status of those beyond. Default 429.
        status: i64,
    }
}

table! {
    /// Compression.
    Gzip "route.gzip" {
        /// Media types; "*" is every one. Default text/html, text/css, text/plain, application/json, application/javascript and their like.
        types: List<String>,
        /// Shorter bodies are left alone. Default "1KiB".
        min_length: Size,
        /// 1 to 9. Default 1.
        #[schemars(range(min = 1, max = 9))]
        level: i64,
        /// Whether `Vary: Accept-Encoding` is added. Default true.
        vary: bool,
        /// Whether responses to requests with `Via` are compressed. Default true.
        proxied: bool,
        /// Whether HTTP/1.0 clients get it. Default false.
        http10: bool,
    }
}

table! {
    /// A set of backends.
    Pool "[[pool]]" {
        /// Unique name.
        #[schemars(required)]
        name: String,
        /// How a backend is chosen. Default "round-robin".
        balance: BalanceWord,
        /// Key of `balance = "hash"`.
        key: Templated,
        /// Backends: `"host:port"`, `"unix:/path"`, or a table.
        #[schemars(required)]
        backends: List<super::super::values::BackendEntry>,
        /// TLS towards them; `{}` is enough.
        tls: PoolTls,
        /// HTTP/2 towards them. Default false.
        http2: bool,
        /// The PROXY header that connections begin with. Default "off".
        proxy: ProxyWord,
        /// Clients keep their backend by a cookie.
        sticky: Sticky,
        /// Active check of each backend.
        probe: PoolProbe,
        /// Health from real traffic.
        outlier: Outlier,
        /// Where requests wait when every backend is full.
        queue: Queue,
        /// A backend that comes back takes this long to get its full share. Default "0s".
        slow_start: Time,
        /// Idle connections that each thread keeps. Default 64.
        keep: i64,
        /// How long an idle connection is kept. Default "60s".
        keep_timeout: Time,
        /// Requests over one connection; 0 is without bound. Default 0.
        keep_requests: i64,
        /// Retries as a share of the requests, in percent. Default 20.
        #[schemars(range(min = 0, max = 1000))]
        retry_budget: i64,
    }
}

table! {
    /// One backend.
    BackendTable "pool.backends" {
        /// `host:port` or `unix:/path`.
        #[schemars(required)]
        addr: String,
        /// Its share. Default 1.
        #[schemars(range(min = 1, max = 65535))]
        weight: i64,
        /// Only asked when no other is usable. Default false.
        backup: bool,
        /// Never asked. Default false.
        down: bool,
        /// Requests or connections at once over all instances; 0 is without bound. Default 0.
        max_connections: i64,
        /// Its own bound of failures.
        outlier: Outlier,
    }
}

table! {
    /// TLS towards backends.
    PoolTls "pool.tls" {
        /// Name that is asked for and verified; the backend's host when absent.
        name: Templated,
        /// Whether the certificate is verified. Default true.
        verify: bool,
        /// File of CA certificates; the system's when absent.
        ca: String,
        /// File of our certificate chain.
        cert: String,
        /// File of its key.
        key: String,
    }
}

table! {
    /// Clients keep their backend.
    Sticky "pool.sticky" {
        /// Name of the cookie.
        #[schemars(required)]
        cookie: String,
        /// How long it lasts; a session when absent.
        max_age: Time,
        /// Its path. Default "/".
        path: String,
        /// Its domain.
        domain: String,
        /// Default true.
        http_only: bool,
        /// Default false.
        secure: bool,
        /// "Strict", "Lax" or "None".
        same_site: String,
    }
}

table! {
    /// Active check of each backend of a pool: exactly one of `http`, `tcp`, `grpc` and `exec`.
    PoolProbe "pool.probe" {
        /// Path that must answer; over TLS when the pool uses it.
        http: String,
        /// A connect is enough.
        tcp: bool,
        /// gRPC service that must be serving; "" is the whole server.
        grpc: String,
        /// Program and arguments; MAINSTAY_BACKEND_HOST and MAINSTAY_BACKEND_PORT are appended as two arguments.
        exec: List<String>,
        /// User that `exec` runs as.
        user: String,
        /// Port, when not the backend's.
        #[schemars(range(min = 1, max = 65535))]
        port: i64,
        /// Method of `http`. Default "GET".
        method: String,
        /// Host header of `http`; the backend's when absent.
        host: String,
        /// Accepted status codes of `http`. Default ["200-399"].
        status: List<Status>,
        /// Expression that the first 64 KiB of the body of `http` must match.
        body: String,
        /// Time between the starts of two checks. Default "2s".
        interval: Time,
        /// A check that takes longer has failed; the interval when absent, 5s at most.
        timeout: Time,
        /// Failures in a row before a backend is down. Default 2.
        #[schemars(range(min = 1, max = 1000))]
        fall: i64,
        /// Successes in a row before it is up. Default 2.
        #[schemars(range(min = 1, max = 1000))]
        rise: i64,
    }
}

table! {
    /// Health from real traffic.
    Outlier "outlier" {
        /// Failures within `window` that put a backend aside; 0 never does. Default 5.
        failures: i64,
        /// Within this long. Default "10s".
        window: Time,
        /// For this long, doubled each time in a row. Default "10s".
        aside: Time,
        /// Share of the pool that may be aside, in percent. Default 50.
        #[schemars(range(min = 0, max = 100))]
        share_max: i64,
    }
}

table! {
    /// Where requests wait.
    Queue "pool.queue" {
        /// So many for each thread; 0 answers 503 at once. Default 1000.
        max: i64,
        /// So long. Default "5s".
        timeout: Time,
    }
}

table! {
    /// Something counted by key.
    Zone "[[zone]]" {
        /// Unique name.
        #[schemars(required)]
        name: String,
        /// What is counted: `"{remote_addr}"`.
        #[schemars(required)]
        key: Templated,
        /// "10/s" or "30/m"; without it the zone counts requests at once.
        rate: Rate,
    }
}

table! {
    /// A variable computed from others: by `values`, `networks` or `shares`.
    Map "[[map]]" {
        /// The variable's name.
        #[schemars(required)]
        name: String,
        /// What is looked at.
        #[schemars(required)]
        from: Templated,
        /// Its value when nothing matches. Default "".
        default: Templated,
        /// Texts and expressions, in order.
        values: List<MapValue>,
        /// Whether `*.suffix` and `prefix.*` in `is` are wildcards. Default false.
        hostnames: bool,
        /// Networks.
        networks: List<MapNetwork>,
        /// Shares of the hash of `from`.
        shares: List<MapShare>,
    }
}

table! {
    /// A value of a map: `is` or `regex`.
    MapValue "map.values" {
        /// Text, case ignored.
        is: String,
        /// Expression.
        regex: String,
        /// Whether case is ignored by `regex`. Default false.
        ignore_case: bool,
        /// The value.
        #[schemars(required)]
        to: Templated,
    }
}

table! {
    /// A network of a map.
    MapNetwork "map.networks" {
        /// The network.
        #[schemars(required)]
        net: String,
        /// The value.
        #[schemars(required)]
        to: Templated,
    }
}

table! {
    /// A share of a map.
    MapShare "map.shares" {
        /// Percent with up to two digits behind the point, in quotes; "*" is the rest.
        #[schemars(required)]
        percent: String,
        /// The value.
        #[schemars(required)]
        to: Templated,
    }
}

table! {
    /// Where requests are written down.
    Log "[[log]]" {
        /// Unique name.
        #[schemars(required)]
        name: String,
        /// Path of a file, or "stdout".
        #[schemars(required)]
        to: String,
        /// "combined", "json", or a text with variables. Default "combined".
        format: String,
        /// Whether values in a text of one's own are escaped for JSON. Default false.
        json_escape: bool,
    }
}

table! {
    /// A log that a route writes to.
    LogTable "log" {
        /// Name of the log.
        #[schemars(required)]
        name: String,
        /// Only when this is neither empty nor "0".
        when: Templated,
    }
}
