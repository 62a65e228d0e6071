//! Where connections are taken, as it is written.

use super::List;
use crate::read::table;
use crate::values::{ClientAuthWord, CompatWord, LogEntry, ProtocolWord, Size, Templated, Time, Words};

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
        /// Whether a line of a request's head may end in LF alone. Default false.
        bare_lf: bool,
        /// Whether HTTP/1.1 clients are told that their connection stays. Default false.
        says_keep: bool,
        /// Seconds that `Keep-Alive: timeout=` promises; 0 leaves the header out. Default 0.
        keep_hint: i64,
        /// Whether a client that closes its sending side is still answered while a backend is waited for. Default true.
        half_close: bool,
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
        /// Path at which agents of tunnels come in, by WebSocket (http).
        agents: String,
        /// Whether agents come in by QUIC too, at the same port of UDP (hub; needs `tls`). Default false.
        quic: bool,
        /// Another protocol whose clients are served beside this one's: `"gost"` (http, hub).
        compat: CompatWord,
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
