//! Texts with variables in them: `"https://{host}{request_uri}"`.

use serde::{Deserialize, Serialize};

/// A text in which variables are replaced for each request. `{{` and `}}` stand for braces.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Template(pub Vec<Piece>);

/// A piece of a template.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Piece {
    /// As it is.
    Text(String),
    /// The value of a variable.
    Var(Var),
}

/// A variable; nginx's names without the `$`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Var {
    /// One of the fixed ones.
    Known(Known),
    /// `{http_x_name}`: a request header, its name in lower case with dashes; several lines are joined by `, ` (Cookie by `; `).
    Header(String),
    /// `{sent_http_x_name}`: a header of the response as the client gets it.
    Sent(String),
    /// `{upstream_http_x_name}`: a header of the backend's response.
    Upstream(String),
    /// `{upstream_cookie_name}`: a cookie that the backend's response sets.
    BackendCookie(String),
    /// `{cookie_name}`.
    Cookie(String),
    /// `{arg_name}`: a query parameter, not decoded.
    Arg(String),
    /// `{jwt_claim}`: a claim of the token that was checked.
    Claim(String),
    /// `{1}` to `{9}`: a group of the expression that matched last.
    Group(u8),
    /// A variable that a step, a map or a named group of an expression gives its value.
    Own(String),
}

macro_rules! known {
    ($($(#[$doc:meta])* $name:ident $word:literal,)*) => {
        /// The fixed variables.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
        #[serde(rename_all = "kebab-case")]
        pub enum Known {
            $($(#[$doc])* $name,)*
        }

        impl Known {
            /// Each, with its name.
            pub const ALL: &'static [(&'static str, Self)] = &[$(($word, Self::$name),)*];

            /// Its name.
            #[must_use]
            pub const fn word(self) -> &'static str {
                match self {
                    $(Self::$name => $word,)*
                }
            }
        }
    };
}

known! {
    /// The request's method.
    RequestMethod "request_method",
    /// The request line.
    Request "request",
    /// The target as it came, with its query.
    RequestUri "request_uri",
    /// The path at this moment: decoded, normalised, perhaps rewritten.
    Uri "uri",
    /// The same, as nginx's second name for it.
    DocumentUri "document_uri",
    /// The query at this moment, without `?`.
    Args "args",
    /// The same.
    QueryString "query_string",
    /// `?` when there is a query, else empty.
    IsArgs "is_args",
    /// The host in lower case without port: of the request line, else of the Host header, else the route's first.
    Host "host",
    /// The route's first host.
    ServerName "server_name",
    /// The name of this machine.
    Hostname "hostname",
    /// `http` or `https`.
    Scheme "scheme",
    /// `on` with TLS, else empty.
    Https "https",
    /// The client's address.
    RemoteAddr "remote_addr",
    /// The same in 4 or 16 bytes.
    BinaryRemoteAddr "binary_remote_addr",
    /// The client's port.
    RemotePort "remote_port",
    /// The user of basic authentication.
    RemoteUser "remote_user",
    /// The address of the connection's other end, whatever it forwards.
    PeerAddr "realip_remote_addr",
    /// Its port.
    PeerPort "realip_remote_port",
    /// The client's address as the PROXY header gave it.
    ProxyProtocolAddr "proxy_protocol_addr",
    /// Its port.
    ProxyProtocolPort "proxy_protocol_port",
    /// The address that the client connected to as the PROXY header gave it.
    ProxyProtocolServerAddr "proxy_protocol_server_addr",
    /// Its port.
    ProxyProtocolServerPort "proxy_protocol_server_port",
    /// The address that the connection came to.
    ServerAddr "server_addr",
    /// Its port.
    ServerPort "server_port",
    /// `HTTP/1.0`, `HTTP/1.1` or `HTTP/2.0`.
    ServerProtocol "server_protocol",
    /// `h2` on HTTP/2 over TLS, `h2c` without, else empty.
    Http2 "http2",
    /// 32 hex digits, unique for the request.
    RequestId "request_id",
    /// Bytes of the request, head included.
    RequestLength "request_length",
    /// Seconds since the request's first byte, with milliseconds.
    RequestTime "request_time",
    /// Content-Length of the request.
    ContentLength "content_length",
    /// Content-Type of the request.
    ContentType "content_type",
    /// Number of the connection.
    Connection "connection",
    /// Requests so far on this connection.
    ConnectionRequests "connection_requests",
    /// `OK` when the response went out whole, else empty.
    RequestCompletion "request_completion",
    /// Status of the response.
    Status "status",
    /// Bytes of the response's body.
    BodyBytesSent "body_bytes_sent",
    /// Bytes of the response.
    BytesSent "bytes_sent",
    /// Seconds since 1970 with milliseconds.
    Msec "msec",
    /// `2026-11-20T12:00:00+00:00`.
    TimeIso8601 "time_iso8601",
    /// `20/Nov/2026:12:00:00 +0000`.
    TimeLocal "time_local",
    /// `p` when the request was pipelined, else `.`.
    Pipe "pipe",
    /// X-Forwarded-For of the request with the client's address appended.
    ProxyAddXForwardedFor "proxy_add_x_forwarded_for",
    /// The pool's name, or the backend's host and port as the configuration has them.
    ProxyHost "proxy_host",
    /// Its port.
    ProxyPort "proxy_port",
    /// Backends asked, as `address:port`, `, ` between them.
    UpstreamAddr "upstream_addr",
    /// Their statuses.
    UpstreamStatus "upstream_status",
    /// Their times to the end of the response, in seconds.
    UpstreamResponseTime "upstream_response_time",
    /// Their times to connect.
    UpstreamConnectTime "upstream_connect_time",
    /// Their times to the head of the response.
    UpstreamHeaderTime "upstream_header_time",
    /// The root of the route's files.
    DocumentRoot "document_root",
    /// The file that the path stands for.
    RequestFilename "request_filename",
    /// Version of TLS, `TLSv1.3`.
    SslProtocol "ssl_protocol",
    /// Cipher suite.
    SslCipher "ssl_cipher",
    /// Server name that the client asked for.
    SslServerName "ssl_server_name",
    /// `r` when the session was resumed, else `.`.
    SslSessionReused "ssl_session_reused",
    /// `SUCCESS`, `FAILED:reason` or `NONE`.
    SslClientVerify "ssl_client_verify",
    /// Subject of the client's certificate (RFC 2253).
    SslClientSDn "ssl_client_s_dn",
    /// Its issuer.
    SslClientIDn "ssl_client_i_dn",
    /// Its serial number, hex.
    SslClientSerial "ssl_client_serial",
    /// SHA-1 of it, hex.
    SslClientFingerprint "ssl_client_fingerprint",
    /// The certificate as PEM, percent-encoded.
    SslClientEscapedCert "ssl_client_escaped_cert",
    /// Process id.
    Pid "pid",
    /// Our version.
    Version "nginx_version",
    /// How a stream connection ended, for its log.
    SessionTime "session_time",
    /// Bytes from the client of a stream connection.
    BytesReceived "bytes_received",
    /// `TCP` or `UDP`, for streams.
    StreamProtocol "protocol",
    /// Name of the route that took the request.
    Route "route",
}

impl Template {
    /// A text without variables.
    #[must_use]
    pub fn text(text: &str) -> Self {
        if text.is_empty() { Self::default() } else { Self(vec![Piece::Text(text.to_owned())]) }
    }

    /// The text itself when no variable is in it.
    #[must_use]
    pub fn literal(&self) -> Option<&str> {
        match self.0.as_slice() {
            [] => Some(""),
            [Piece::Text(text)] => Some(text),
            _ => None,
        }
    }

    /// A text that is one variable.
    #[must_use]
    pub fn known(known: Known) -> Self {
        Self(vec![Piece::Var(Var::Known(known))])
    }
}
