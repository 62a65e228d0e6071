//! Agents and visits at gost's servers: who they are there, and what those servers cannot be told.

use mainstay_core::gost::relay::Id;
use mainstay_core::tunnel::address::{Address, authority};

use super::Resolver;
use crate::plan::agent::Login;
use crate::plan::cluster::ClusterKey;
use crate::read::Header;
use crate::source::{At, Span};
use crate::values::Secret;

/// The length of a text of a login stands in one byte.
const LONGEST: usize = 255;

/// The most that a weight can be at gost's servers, where it stands for all.
const HEAVIEST: i64 = 255;

/// How an agent or a visit shows who it is.
pub(super) struct Shown<'a> {
    pub(super) key: &'a Option<At<Secret>>,
    pub(super) user: &'a Option<At<String>>,
    pub(super) password: &'a Option<At<Secret>>,
}

impl Resolver<'_> {
    /// Whether the hubs are gost's servers, which all of them are or none is.
    pub(super) fn are_gost(&mut self, hubs: &[String], span: Span, who: &str) -> bool {
        let gost = hubs.iter().filter(|hub| is_gost(hub)).count();
        if gost > 0 && gost < hubs.len() {
            let message = format!("{who}: {gost} of {} hubs are gost's servers", hubs.len());
            self.error(
                span,
                message,
                "write those into a table of their own: either all hubs are gost's or none is",
            );
        }
        gost > 0
    }

    /// What it shows: a key to our own hubs, a user to gost's servers.
    pub(super) fn shown(
        &mut self,
        shown: &Shown<'_>,
        hubs: &[String],
        head: &Header,
        who: &str,
    ) -> (ClusterKey, Option<Login>) {
        let gost = self.are_gost(hubs, head.span, who);
        let user = shown.user.as_ref().map(|at| ("user", at.span));
        let password = shown.password.as_ref().map(|at| ("password", at.span));
        if !gost {
            self.not_told([user, password], "hubs that are not gost's", who);
            return (self.tunnel_key(shown.key, head, who), None);
        }
        self.not_told([shown.key.as_ref().map(|at| ("key", at.span)), None], "gost's servers", who);
        let nothing = ClusterKey::new(String::new());
        let Some(user) = shown.user else {
            if let Some((_, span)) = password {
                self.error(
                    span,
                    format!("{who}: `password` without `user`"),
                    "write user = \"NAME\" as well",
                );
            }
            return (nothing, None);
        };
        let text = shown.password.as_ref().and_then(|at| self.secret(at, who, "password"));
        let text = text.unwrap_or_default().trim_end_matches(['\r', '\n']).to_owned();
        if user.value.len() > LONGEST || text.len() > LONGEST || user.value.chars().any(char::is_control) {
            let message = format!("{who}: `user` and `password` can't be sent");
            self.error(user.span, message, format!("each has {LONGEST} bytes of text at most"));
        }
        let open = hubs.iter().find(|hub| hub.parse().is_ok_and(|hub: Address| !hub.way.is_sealed()));
        if let Some(open) = open {
            let message = format!("{who}: whoever listens on the way to {open} reads the password");
            self.findings.warn(user.span, message, "use gost+tls:// or gost+wss://");
        }
        (nothing, Some(Login { user: user.value.clone(), password: ClusterKey::new(text) }))
    }

    /// Whether certificates are checked.
    pub(super) fn verified(
        &mut self,
        verify: Option<&At<bool>>,
        ca: Option<&At<String>>,
        hubs: &[String],
        who: &str,
    ) -> bool {
        let Some(At { span, .. }) = verify.filter(|verify| !verify.value) else { return true };
        if !hubs.iter().any(|hub| is_gost(hub)) {
            let message = format!("{who}: who is not checked may be anybody, and hubs have certificates");
            self.error(*span, message, "take `verify` out, or write ca = \"/path/to/authorities.pem\"");
        } else if let Some(ca) = ca {
            let message = format!("{who}: `ca` means nothing when nothing is checked");
            self.error(ca.span, message, "take `ca` or `verify` out");
        } else {
            let message = format!("{who}: whoever stands on the way to a hub can be it");
            self.findings.warn(*span, message, "give gost's servers certificates, and write `ca` instead");
        }
        false
    }

    fn not_told(&mut self, keys: [Option<(&'static str, Span)>; 2], to: &str, who: &str) {
        for (key, span) in keys.into_iter().flatten() {
            self.error(span, format!("{who}: `{key}` means nothing to {to}"), format!("take `{key}` out"));
        }
    }

    /// A tunnel's id, and its weight, as gost's servers take them.
    pub(super) fn gost_offer(&mut self, id: &str, weight: Option<&At<i64>>, span: Span, who: &str) {
        if !id.parse::<Id>().is_ok_and(|id| !id.is_zero()) {
            let message = format!("{who}: at gost's servers the id of a tunnel is a UUID, not 0");
            self.error(span, message, "write such as 381433e1-7980-11ee-bbdb-60f262c1e32d");
        }
        if let Some(weight) = weight.filter(|weight| weight.value > HEAVIEST) {
            let message = format!("{who}: weight {} is more than gost's servers know", weight.value);
            self.error(weight.span, message, format!("write 1 to {HEAVIEST}, which takes all"));
        }
    }

    /// The host that is wanted behind a tunnel.
    pub(super) fn host_behind(&mut self, host: Option<&At<String>>, gost: bool, who: &str) -> Option<String> {
        let At { value: host, span } = host?;
        if !gost {
            self.not_told([Some(("host", *span)), None], "hubs that are not gost's", who);
        } else if let Err(wrong) = authority(host, 0) {
            let message = format!("{who}: host \"{}\": {wrong}", host.escape_debug());
            self.error(*span, message, "write host = \"app.example.com\", or with a port");
        }
        Some(host.clone())
    }
}

/// Whether the address of a hub is that of a gost server.
pub(super) fn is_gost(hub: &str) -> bool {
    hub.parse().is_ok_and(|hub: Address| hub.gost)
}
