//! Who may come in with a password, how often, and what is compressed.

use mainstay_core::name::ZoneId;

use super::names::Kind;
use super::{flag, span_of};
use crate::material;
use crate::plan::edge::{Auth, ConcurrencyUse, Edge, Gzip, RateUse, Template};
use crate::raw;
use crate::resolve::Resolver;
use crate::source::At;
use crate::values::Secret;

/// Text that shrinks; images and archives are compressed already.
const GZIP_TYPES: &[&str] = &[
    "text/html",
    "text/css",
    "text/plain",
    "text/xml",
    "text/javascript",
    "text/csv",
    "text/markdown",
    "application/json",
    "application/ld+json",
    "application/manifest+json",
    "application/javascript",
    "application/xml",
    "application/rss+xml",
    "application/atom+xml",
    "application/wasm",
    "image/svg+xml",
];
const MOST_BURST: i64 = 1_000_000;

impl Resolver<'_> {
    pub(super) fn auth(&mut self, raw: &raw::Route, who: &str) -> Option<Auth> {
        let (basic, jwt) = (("basic_auth", span_of(&raw.basic_auth)), ("jwt", span_of(&raw.jwt)));
        self.not_both(basic, jwt, who);
        if let Some(jwt) = &raw.jwt {
            return Some(Auth::Jwt(Box::new(self.jwt(&jwt.value, &format!("{who}: jwt")))));
        }
        raw.basic_auth.as_ref().map(|basic| self.basic_auth(&basic.value, &format!("{who}: basic_auth")))
    }

    fn basic_auth(&mut self, raw: &raw::BasicAuth, who: &str) -> Auth {
        self.exactly_one(&[("file", span_of(&raw.file)), ("users", span_of(&raw.users))], &raw.head, who);
        if let Some(realm) = &raw.realm {
            self.one_line(realm, who);
        }
        let realm = raw.realm.as_ref().map(|realm| self.template(realm, who));
        let realm = realm.unwrap_or_else(|| Template::text("restricted"));
        if let Some(at) = &raw.file {
            let file = self.absolute(at, who, "\"/etc/mainstay/users\"");
            let text = self.secret_file(at, who, "file", "a file that htpasswd wrote").unwrap_or_default();
            let users = match material::users(&text) {
                Ok(users) => users,
                Err(line) => {
                    let message = format!("{who}: line {line} of {} is not user:hash", at.value);
                    self.error(at.span, message, "write it with `htpasswd -B FILE USER`");
                    Vec::new()
                }
            };
            if let Some((name, _)) = users.iter().find(|(_, hash)| !material::is_hash(hash)) {
                let message =
                    format!("{who}: what {} has for user \"{name}\" is no hash that is known", at.value);
                let help = "nobody comes in by that name; write it with `htpasswd -B FILE USER`";
                self.findings.warn(at.span, message, help);
            }
            return Auth::Basic { realm, file: Some(file), users };
        }
        let mut users: Vec<(String, String)> = Vec::new();
        for (name, secret) in raw.users.iter().flat_map(|users| &users.value.0) {
            let odd = |c: char| c == ':' || c.is_control();
            if name.value.is_empty() || name.value.contains(odd) {
                let message = format!("{who}: \"{}\" can't be the name of a user", name.value.escape_debug());
                self.error(name.span, message, "write a name without colons");
            }
            let Some(hash) = self.secret(secret, who, &name.value) else { continue };
            if (self.checks.files || matches!(secret.value, Secret::Text(_) | Secret::Env(_)))
                && !material::is_hash(&hash)
            {
                let message = format!("{who}: what user \"{}\" has is no hash that is known", name.value);
                self.error(secret.span, message, "write what `htpasswd -nB USER` prints behind the colon");
            }
            users.push((name.value.clone(), hash));
        }
        Auth::Basic { realm, file: None, users }
    }

    pub(super) fn rates(
        &mut self,
        list: Option<&At<Vec<At<raw::RateUse>>>>,
        edge: &Edge,
        who: &str,
    ) -> Vec<RateUse> {
        let who = &format!("{who}: rates");
        let mut uses = Vec::new();
        for At { value: raw, .. } in list.into_iter().flat_map(|list| &list.value) {
            let burst = self.count(&raw.burst, 0, 0..=MOST_BURST, who, "burst");
            let undelayed = raw
                .undelayed
                .as_ref()
                .map_or(u32::MAX, |_| self.count(&raw.undelayed, 0, 0..=MOST_BURST, who, "undelayed"));
            if let (Some(at), true) = (&raw.undelayed, undelayed > burst) {
                let message = format!("{who}: undelayed {undelayed} is more than burst {burst}");
                self.error(
                    at.span,
                    message,
                    "take `undelayed` out when the whole burst is let through at once",
                );
            }
            let status = self.refusal_status(&raw.status, 429, who);
            let Some(name) = self.required(&raw.zone, &raw.head, who, "zone") else { continue };
            let Some(zone) = self.named(Kind::Zone, &name, who) else { continue };
            if edge.zones.get(zone as usize).is_some_and(|zone| zone.rate_millis == 0) {
                let message = format!("{who}: zone \"{}\" has no rate", name.value);
                self.error(
                    name.span,
                    message,
                    "write rate = \"10/s\" in the [[zone]], or name it in `concurrency`",
                );
            }
            uses.push(RateUse { zone: ZoneId(zone), burst, undelayed, status });
        }
        uses
    }

    pub(super) fn concurrency(
        &mut self,
        list: Option<&At<Vec<At<raw::ConcurrencyUse>>>>,
        edge: &Edge,
        who: &str,
    ) -> Vec<ConcurrencyUse> {
        let who = &format!("{who}: concurrency");
        let mut uses = Vec::new();
        for At { value: raw, .. } in list.into_iter().flat_map(|list| &list.value) {
            let max = self.required(&raw.max, &raw.head, who, "max");
            let max = self.count(&max, 1, 1..=MOST_BURST, who, "max");
            let status = self.refusal_status(&raw.status, 429, who);
            let Some(name) = self.required(&raw.zone, &raw.head, who, "zone") else { continue };
            let Some(zone) = self.named(Kind::Zone, &name, who) else { continue };
            if edge.zones.get(zone as usize).is_some_and(|zone| zone.rate_millis != 0) {
                let message = format!("{who}: zone \"{}\" counts a rate", name.value);
                self.error(
                    name.span,
                    message,
                    "write a [[zone]] without `rate` for it, or name this one in `rates`",
                );
            }
            uses.push(ConcurrencyUse { zone: ZoneId(zone), max, status });
        }
        uses
    }

    pub(super) fn gzip(&mut self, raw: &raw::Gzip, who: &str) -> Gzip {
        let who = &format!("{who}: gzip");
        let types = match &raw.types {
            None => GZIP_TYPES.iter().map(|media| (*media).to_owned()).collect(),
            Some(list) => list
                .value
                .iter()
                .map(|media| if media.value == "*" { "*".to_owned() } else { self.media(media, who) })
                .collect(),
        };
        Gzip {
            types,
            min_length: self.bytes(&raw.min_length, 1 << 10, 0..=1 << 40, who, "min_length"),
            level: u8::try_from(self.number(&raw.level, 1, 1..=9, who, "level")).unwrap_or(1),
            vary: flag(&raw.vary, true),
            proxied: flag(&raw.proxied, true),
            http10: flag(&raw.http10, false),
        }
    }
}
