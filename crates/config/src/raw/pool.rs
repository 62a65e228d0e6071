//! Sets of backends, as they are written.

use super::List;
use crate::read::table;
use crate::values::{BackendEntry, BalanceWord, ProxyWord, SameSiteWord, Secret, Status, Templated, Time};

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
        backends: List<BackendEntry>,
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
        /// Idle connections that each thread keeps. Default 256.
        keep: i64,
        /// How long an idle connection is kept. Default "60s".
        keep_timeout: Time,
        /// Requests over one connection; 0 is without bound. Default 0.
        keep_requests: i64,
        /// Whether a line of a response's head may end in LF alone. Default false.
        bare_lf: bool,
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
        /// What it is called when the address stands in the pool twice. Default `addr`.
        name: String,
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
        /// "Strict", "Lax" or "None"; the last needs `secure`.
        same_site: SameSiteWord,
        /// What the cookie's values are made with: nodes with the same key bind clients alike. At least 16 bytes.
        key: Secret,
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
