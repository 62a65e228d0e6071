//! Signed tokens: their keys, where they are and what they must say.

use std::time::Duration;

use super::{flag, text_of};
use crate::material;
use crate::plan::edge::{Jwt, JwtKey, TokenSource};
use crate::raw;
use crate::resolve::{HOUR, Resolver, SECOND};
use crate::source::At;
use crate::suggest;

/// Algorithms and, for shared secrets, the length below which they are guessed (RFC 7518 3.2).
const ALGORITHMS: &[(&str, Option<usize>)] = &[
    ("HS256", Some(32)),
    ("HS384", Some(48)),
    ("HS512", Some(64)),
    ("RS256", None),
    ("RS384", None),
    ("RS512", None),
    ("PS256", None),
    ("PS384", None),
    ("PS512", None),
    ("ES256", None),
    ("ES384", None),
    ("ES512", None),
    ("EdDSA", None),
];

impl Resolver<'_> {
    pub(super) fn jwt(&mut self, raw: &raw::Jwt, who: &str) -> Jwt {
        let list = self.required(&raw.keys, &raw.head, who, "keys");
        if let Some(At { span, .. }) = list.as_ref().filter(|list| list.value.is_empty()) {
            let help = "write keys = [{ algorithm = \"RS256\", key = { file = \"/path.pem\" } }]";
            self.error(*span, format!("{who}: no token is good without a key"), help);
        }
        let entries = list.iter().flat_map(|list| &list.value);
        let keys = entries.filter_map(|key| self.jwt_key(&key.value, &format!("{who}: keys"))).collect();
        let mut sources: Vec<TokenSource> = Vec::new();
        for text in raw.from.iter().flat_map(|from| &from.value) {
            sources.extend(self.token_source(text, who));
        }
        if sources.is_empty() {
            sources.push(TokenSource::Bearer);
        }
        let texts = |list: &Option<At<Vec<At<String>>>>| -> Vec<String> {
            list.iter().flat_map(|list| &list.value).map(|text| text.value.clone()).collect()
        };
        let claims = raw.claims.iter().flat_map(|claims| &claims.value.0);
        let realm = if raw.realm.is_some() { text_of(&raw.realm) } else { "restricted".to_owned() };
        if let Some(at) =
            raw.realm.as_ref().filter(|at| at.value.contains(|c: char| c.is_control() || c == '"'))
        {
            self.error(
                at.span,
                format!("{who}: a realm has neither quotes nor line ends"),
                "write words alone",
            );
        }
        Jwt {
            keys,
            sources,
            issuers: texts(&raw.issuers),
            audiences: texts(&raw.audiences),
            claims: claims.map(|(name, value)| (name.clone(), value.value.clone())).collect(),
            leeway: self.time(&raw.leeway, SECOND * 30, Duration::ZERO..=HOUR, who, "leeway"),
            need_exp: flag(&raw.need_exp, true),
            realm,
            strip: flag(&raw.strip, false),
        }
    }

    fn jwt_key(&mut self, raw: &raw::JwtKey, who: &str) -> Option<JwtKey> {
        let algorithm = self.required(&raw.algorithm, &raw.head, who, "algorithm");
        let secret = self.required(&raw.key, &raw.head, who, "key");
        let algorithm = algorithm?;
        let known = ALGORITHMS.iter().find(|(name, _)| *name == algorithm.value);
        if known.is_none() {
            let message = format!("{who}: \"{}\" is not an algorithm", algorithm.value.escape_debug());
            let names: Vec<&str> = ALGORITHMS.iter().map(|(name, _)| *name).collect();
            let help = if algorithm.value == "none" {
                "a token that nobody signed proves nothing: name the algorithm of its key".to_owned()
            } else {
                suggest::advice(&algorithm.value, "algorithm", &names)
            };
            self.error(algorithm.span, message, help);
        }
        let secret = secret?;
        let (file, unread) = self.secret_place(&secret.value);
        let key = self.secret(&secret, who, "key")?;
        match known {
            _ if unread => {}
            Some((name, Some(_))) if material::is_pem(&key) => {
                let message =
                    format!("{who}: the key of {name} is PEM, not a secret that only we and the issuer know");
                let help = "write the shared secret, or the algorithm of this key: RS256, ES256, EdDSA ...";
                self.error(secret.span, message, help);
            }
            Some((name, Some(least))) if key.len() < *least => {
                let message = format!("{who}: a key of {} bytes is too short for {name}", key.len());
                let help =
                    format!("use {least} random bytes and more, such as from `openssl rand -hex {least}`");
                self.findings.warn(secret.span, message, help);
            }
            Some((name, None)) => {
                if let Err(why) = material::public_key(&key, name) {
                    let message = format!("{who}: the key of {name} {why}");
                    self.error(
                        secret.span,
                        message,
                        "write key = { file = \"/path.pem\" } with the issuer's public key",
                    );
                }
            }
            Some((_, Some(_))) | None => {}
        }
        Some(JwtKey { id: raw.id.as_ref().map(|id| id.value.clone()), algorithm: algorithm.value, file, key })
    }

    fn token_source(&mut self, text: &At<String>, who: &str) -> Option<TokenSource> {
        let (kind, name) = text.value.split_once(':').unwrap_or((&text.value, ""));
        let good = super::kinds::is_token(name);
        let source = match kind {
            "bearer" if name.is_empty() => Some(TokenSource::Bearer),
            "header" if good => Some(TokenSource::Header(name.to_ascii_lowercase())),
            "cookie" if good => Some(TokenSource::Cookie(name.to_owned())),
            "query" if good => Some(TokenSource::Query(name.to_owned())),
            _ => None,
        };
        if source.is_none() {
            let message = format!("{who}: \"{}\" is no place of a token", text.value.escape_debug());
            self.error(
                text.span,
                message,
                "write \"bearer\", \"header:Name\", \"cookie:name\" or \"query:name\"",
            );
        }
        source
    }
}
