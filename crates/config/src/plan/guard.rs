//! Who may come in and how often: sources, credentials, rates.

use std::path::PathBuf;
use std::time::Duration;

use mainstay_core::name::ZoneId;
use serde::{Deserialize, Serialize};

use super::edge::Net;
use super::template::Template;

/// A rule about sources.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Access {
    /// Let in, or keep out with 403.
    pub allow: bool,
    /// Whom; `None` is everybody, unix sockets among them.
    pub net: Option<Net>,
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
