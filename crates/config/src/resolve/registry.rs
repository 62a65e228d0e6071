//! Where hubs find each other: exactly one store.

use std::time::Duration;

use mainstay_core::tunnel::keeper::TTL_MIN;

use super::Resolver;
use super::store::{Keys, Table, etcd};
use super::target::host_port_of;
use crate::plan::registry::{Redis, Registry, Store};
use crate::raw;
use crate::source::At;

const WHO: &str = "[registry]";

/// Where a redis listens unless its URL says otherwise.
const REDIS_PORT: u16 = 6379;

const TTL: Duration = Duration::from_secs(10);
const TTL_MAX: Duration = Duration::from_secs(600);

const PREFIX: &str = "mainstay";
const LONGEST_PREFIX: usize = 64;

const REDIS: Table = Table {
    who: WHO,
    store: "redis",
    schemes: ["rediss://", "redis://"],
    one: "a redis",
    example: "write redis = [\"redis://10.0.4.30:6379/0\"]",
    lone_password: true,
};

impl Resolver<'_> {
    /// The store, when there is one that can be used.
    pub(super) fn registry(&mut self, at: &At<raw::Registry>) -> Option<Registry> {
        let raw = &at.value;
        let ttl = self.time(&raw.ttl, TTL, TTL_MIN..=TTL_MAX, WHO, "ttl");
        let prefix = self.prefix(raw);
        let raw::Registry { ca, cert, cert_key, user, password, .. } = raw;
        let keys = Keys { ca, cert, cert_key, user, password };
        let (store, access) = match (&raw.redis, &raw.etcd) {
            (Some(list), None) => {
                let (places, plain) = self.endpoints(list, REDIS, redis);
                let tls =
                    |(url, place): (String, Redis)| Redis { tls: url.starts_with(REDIS.schemes[0]), ..place };
                (Store::Redis(places.into_iter().map(tls).collect()), self.store_access(&keys, plain, REDIS))
            }
            (None, Some(list)) => {
                let read = |bare: &str| host_port_of(bare).map(|_| ());
                let (members, plain) = self.endpoints(list, etcd(WHO), read);
                let urls = members.into_iter().map(|(url, ())| url).collect();
                (Store::Etcd(urls), self.store_access(&keys, plain, etcd(WHO)))
            }
            (Some(_), Some(etcd)) => {
                let message = format!("{WHO}: `redis` and `etcd` are both there");
                self.error(etcd.span, message, "write one of them: hubs find each other in one place");
                return None;
            }
            (None, None) => {
                let message = format!("{WHO}: neither `redis` nor `etcd` says where it is");
                self.error(raw.head.span, message, "write redis = [\"redis://10.0.4.30:6379/0\"], or etcd");
                return None;
            }
        };
        Some(Registry { store, access, prefix, ttl })
    }

    fn prefix(&mut self, raw: &raw::Registry) -> String {
        let Some(prefix) = &raw.prefix else { return PREFIX.into() };
        let text = &prefix.value;
        let odd = |c: char| c.is_whitespace() || c.is_control();
        if text.is_empty() || text.len() > LONGEST_PREFIX || text.contains(odd) {
            let message = format!("{WHO}: \"{}\" can't begin a key", text.escape_debug());
            self.error(prefix.span, message, "write 1 to 64 characters without blanks, such as \"mainstay\"");
        }
        text.clone()
    }
}

/// Host, port and database of what follows `redis://`.
fn redis(bare: &str) -> Result<Redis, &'static str> {
    if bare.contains('@') {
        return Err("who we are stands in `user` and `password`");
    }
    let (place, database) = bare.split_once('/').unwrap_or((bare, "0"));
    let digits = !database.is_empty() && database.bytes().all(|b| b.is_ascii_digit());
    let database = database.parse().ok().filter(|_| digits).ok_or("a database is a number")?;
    let has_port = place.rsplit_once(':').is_some_and(|(_, port)| !port.ends_with(']'));
    let (host, port) = if has_port {
        host_port_of(place)?
    } else {
        let with_port = format!("{place}:{REDIS_PORT}");
        host_port_of(&with_port)?;
        (place, REDIS_PORT)
    };
    Ok(Redis { host: host.to_owned(), port, database, tls: false })
}
