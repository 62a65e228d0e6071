//! Who may come in, how often and how it is compressed, as it is written.

use super::List;
use crate::read::table;
use crate::values::{Secret, Secrets, Size, Templated, Texts, Time};

table! {
    /// User and password.
    BasicAuth "basic_auth" {
        /// Shown to the user. Default "restricted".
        realm: Templated,
        /// File of `user:hash` lines as htpasswd writes them.
        file: String,
        /// Users and their hashes.
        users: Secrets,
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
        claims: Texts,
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
        /// HS256, HS384, HS512, RS256 ..., PS256 ..., ES256, ES384, ES512, EdDSA.
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
