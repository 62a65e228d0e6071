//! An etcd cluster as the external voter: where its members are, and who we are to each other.

use super::Resolver;
use super::cluster::PEERS;
use super::secret::read_limited;
use super::target::host_port_of;
use crate::plan::cluster::{Access, ClusterKey, External};
use crate::raw;
use crate::source::{At, Span};

const MOST_ENDPOINTS: usize = 16;

impl Resolver<'_> {
    /// The members of an etcd cluster and how they are spoken to.
    pub(super) fn etcd(&mut self, list: &At<Vec<At<String>>>, raw: &raw::Peer) -> External {
        let example = "write etcd = [\"http://10.0.5.1:2379\"], every member of the etcd cluster";
        if list.value.is_empty() || list.value.len() > MOST_ENDPOINTS {
            let message = format!("{PEERS}: `etcd` has {} URLs", list.value.len());
            self.error(list.span, message, example);
        }
        let mut endpoints: Vec<String> = Vec::new();
        for text in &list.value {
            let url = text.value.trim().trim_end_matches('/');
            let bare = url.strip_prefix("http://").or_else(|| url.strip_prefix("https://"));
            let wrong = match bare.map(host_port_of) {
                Some(Ok(_)) if endpoints.iter().any(|known| known == url) => "it is listed twice",
                Some(Ok(_)) => {
                    endpoints.push(url.to_owned());
                    continue;
                }
                Some(Err(wrong)) => wrong,
                None => "it does not start with http:// or https://",
            };
            let message =
                format!("{PEERS}: \"{}\" is not a member of etcd: {wrong}", text.value.escape_debug());
            self.error(text.span, message, example);
        }
        let plain = endpoints.iter().filter(|url| url.starts_with("http://")).count();
        if plain > 0 && plain < endpoints.len() {
            let message = format!("{PEERS}: some members of etcd are spoken to with TLS and others without");
            self.error(list.span, message, "write https:// for all of them");
        }
        External::Etcd { access: self.etcd_access(raw, plain > 0), endpoints }
    }

    fn etcd_access(&mut self, raw: &raw::Peer, plain: bool) -> Access {
        let tls = [span("ca", &raw.ca), span("cert", &raw.cert), span("cert_key", &raw.cert_key)];
        for (key, span) in tls.into_iter().flatten().filter(|_| plain) {
            let message = format!("{PEERS}: `{key}` means nothing with http://");
            self.error(span, message, "write https:// for every member of etcd, or take it out");
        }
        let client = match (&raw.cert, &raw.cert_key) {
            (Some(cert), Some(key)) => {
                self.pem(cert, "cert").zip(self.pem(key, "cert_key").map(ClusterKey::new))
            }
            (Some(one), None) | (None, Some(one)) => {
                let message = format!("{PEERS}: `cert` and `cert_key` belong together");
                self.error(one.span, message, "write both, or none");
                None
            }
            (None, None) => None,
        };
        let user = match (&raw.user, &raw.password) {
            (Some(user), Some(password)) => {
                let password = self.secret(password, PEERS, "password").map(ClusterKey::new);
                Some(user.value.clone()).zip(password)
            }
            (Some(At { span, .. }), None) | (None, Some(At { span, .. })) => {
                let message = format!("{PEERS}: `user` and `password` belong together");
                self.error(*span, message, "write both, or none");
                None
            }
            (None, None) => None,
        };
        if let Some(user) = raw.user.as_ref().filter(|_| plain) {
            let message = format!("{PEERS}: the password goes to etcd unencrypted");
            self.findings.warn(user.span, message, "write https:// for every member of etcd");
        }
        Access { ca: raw.ca.as_ref().and_then(|ca| self.pem(ca, "ca")), client, user }
    }

    /// What a PEM file holds: the role that uses it may not be able to read it.
    fn pem(&mut self, path: &At<String>, key: &str) -> Option<String> {
        if !self.checks.files {
            return Some(String::new());
        }
        let why = match read_limited(&path.value) {
            Ok(text) if text.contains("-----BEGIN ") => return Some(text),
            Ok(_) => "it holds nothing in PEM".to_owned(),
            Err(error) => error.to_string(),
        };
        let message = format!("{PEERS}: {key} {} can't be read: {why}", path.value);
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
