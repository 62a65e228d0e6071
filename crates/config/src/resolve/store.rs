//! Stores of somebody else's, an etcd cluster or a redis: where they are, and who we are to each other.

use super::Resolver;
use super::cluster::PEERS;
use super::secret::read_limited;
use super::target::host_port_of;
use crate::plan::cluster::{Access, ClusterKey, External};
use crate::raw;
use crate::source::{At, Span};
use crate::values::Secret;

const MOST_ENDPOINTS: usize = 16;

/// The keys that say who we are to a store, and who it is to us.
pub(super) struct Keys<'a> {
    pub(super) ca: &'a Option<At<String>>,
    pub(super) cert: &'a Option<At<String>>,
    pub(super) cert_key: &'a Option<At<String>>,
    pub(super) user: &'a Option<At<String>>,
    pub(super) password: &'a Option<At<Secret>>,
}

/// A table that names a store.
#[derive(Clone, Copy)]
pub(super) struct Table {
    /// As sentences begin.
    pub(super) who: &'static str,
    /// The store as people call it.
    pub(super) store: &'static str,
    /// What URLs of it with and without TLS begin with.
    pub(super) schemes: [&'static str; 2],
    /// One in the list, and what it is one of.
    pub(super) one: &'static str,
    pub(super) example: &'static str,
    /// Whether a password may stand without a user.
    pub(super) lone_password: bool,
}

/// Words about etcd.
pub(super) const fn etcd(who: &'static str) -> Table {
    Table {
        who,
        store: "etcd",
        schemes: ["https://", "http://"],
        one: "a member of etcd",
        example: "write etcd = [\"http://10.0.5.1:2379\"], every member of the etcd cluster",
        lone_password: false,
    }
}

impl Resolver<'_> {
    /// The members of an etcd cluster that votes, and how they are spoken to.
    pub(super) fn etcd(&mut self, list: &At<Vec<At<String>>>, raw: &raw::Peer) -> External {
        let raw::Peer { ca, cert, cert_key, user, password, .. } = raw;
        let table = etcd(PEERS);
        let read = |url: &str| host_port_of(url).map(|_| url.to_owned());
        let (endpoints, plain) = self.endpoints(list, table, read);
        let endpoints = endpoints.into_iter().map(|(url, _)| url).collect();
        External::Etcd {
            access: self.store_access(&Keys { ca, cert, cert_key, user, password }, plain, table),
            endpoints,
        }
    }

    /// What the URLs of a store lead to, each with its URL, and whether any of them is without TLS. What follows the
    /// scheme is read by `read`.
    pub(super) fn endpoints<T>(
        &mut self,
        list: &At<Vec<At<String>>>,
        table: Table,
        read: impl Fn(&str) -> Result<T, &'static str>,
    ) -> (Vec<(String, T)>, bool) {
        let Table { who, store, schemes: [secure, open], one, example, .. } = table;
        if list.value.is_empty() || list.value.len() > MOST_ENDPOINTS {
            let message = format!("{who}: `{store}` has {} URLs", list.value.len());
            self.error(list.span, message, example);
        }
        let mut endpoints: Vec<(String, T)> = Vec::new();
        for text in &list.value {
            let url = text.value.trim().trim_end_matches('/');
            let bare = url.strip_prefix(open).or_else(|| url.strip_prefix(secure));
            let wrong = match bare.map(&read) {
                Some(Ok(_)) if endpoints.iter().any(|(known, _)| known == url) => "it is listed twice",
                Some(Ok(read)) => {
                    endpoints.push((url.to_owned(), read));
                    continue;
                }
                Some(Err(wrong)) => wrong,
                None => &format!("it does not start with {open} or {secure}"),
            };
            let message = format!("{who}: \"{}\" is not {one}: {wrong}", text.value.escape_debug());
            self.error(text.span, message, example);
        }
        let plain = endpoints.iter().filter(|(url, _)| url.starts_with(open)).count();
        if plain > 0 && plain < endpoints.len() {
            let message = format!("{who}: some URLs of {store} are with TLS and others without");
            self.error(list.span, message, format!("write {secure} for all of them"));
        }
        (endpoints, plain > 0)
    }

    /// How we and a store know each other.
    pub(super) fn store_access(&mut self, keys: &Keys<'_>, plain: bool, table: Table) -> Access {
        let Table { who, store, schemes: [secure, open], lone_password, .. } = table;
        let tls = [span("ca", keys.ca), span("cert", keys.cert), span("cert_key", keys.cert_key)];
        for (key, span) in tls.into_iter().flatten().filter(|_| plain) {
            let message = format!("{who}: `{key}` means nothing with {open}");
            self.error(span, message, format!("write {secure} for every URL of {store}, or take it out"));
        }
        let client = match (keys.cert, keys.cert_key) {
            (Some(cert), Some(key)) => {
                self.pem(cert, who, "cert").zip(self.pem(key, who, "cert_key").map(ClusterKey::new))
            }
            (Some(one), None) | (None, Some(one)) => {
                let message = format!("{who}: `cert` and `cert_key` belong together");
                self.error(one.span, message, "write both, or none");
                None
            }
            (None, None) => None,
        };
        let user = match (keys.user, keys.password) {
            (Some(user), Some(password)) => {
                let password = self.secret(password, who, "password").map(ClusterKey::new);
                Some(user.value.clone()).zip(password)
            }
            (None, Some(password)) if lone_password => {
                let password = self.secret(password, who, "password").map(ClusterKey::new);
                Some(String::new()).zip(password)
            }
            (Some(At { span, .. }), None) | (None, Some(At { span, .. })) => {
                let message = format!("{who}: `user` and `password` belong together");
                self.error(*span, message, "write both, or none");
                None
            }
            (None, None) => None,
        };
        let told = keys.user.as_ref().map(|at| at.span).or(keys.password.as_ref().map(|at| at.span));
        if let Some(span) = told.filter(|_| plain) {
            let message = format!("{who}: the password goes to {store} unencrypted");
            self.findings.warn(span, message, format!("write {secure} for every URL of {store}"));
        }
        Access { ca: keys.ca.as_ref().and_then(|ca| self.pem(ca, who, "ca")), client, user }
    }

    /// What a PEM file holds: the role that uses it may not be able to read it.
    fn pem(&mut self, path: &At<String>, who: &str, key: &str) -> Option<String> {
        if !self.checks.files {
            return Some(String::new());
        }
        let why = match read_limited(&path.value) {
            Ok(text) if text.contains("-----BEGIN ") => return Some(text),
            Ok(_) => "it holds nothing in PEM".to_owned(),
            Err(error) => error.to_string(),
        };
        let message = format!("{who}: {key} {} can't be read: {why}", path.value);
        self.error(path.span, message, "write the path of a PEM file that this user may read");
        None
    }

    /// Keys that only etcd has a use for.
    pub(super) fn only_with_etcd(&mut self, raw: &raw::Peer) {
        let password = raw.password.as_ref().map(|at| ("password", at.span));
        let keys = [
            span("ca", &raw.ca),
            span("cert", &raw.cert),
            span("cert_key", &raw.cert_key),
            span("user", &raw.user),
            password,
        ];
        for (key, span) in keys.into_iter().flatten() {
            let message = format!("{PEERS}: `{key}` means nothing without `etcd`");
            self.error(span, message, format!("take `{key}` out: nodes know each other by their keys"));
        }
    }
}

fn span<T>(key: &'static str, value: &Option<At<T>>) -> Option<(&'static str, Span)> {
    value.as_ref().map(|at| (key, at.span))
}
