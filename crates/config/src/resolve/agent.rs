//! Agents: where they dial, what they prove to be, what they offer.

use std::collections::{HashMap, HashSet};
use std::path::PathBuf;
use std::time::Duration;

use mainstay_core::tunnel::address::Address;
use mainstay_core::tunnel::hello::{LIST_MAX, MESSAGE_MAX, NAME_MAX, OFFERS_MAX, TEXT_MAX};

use super::secret::read_limited;
use super::servers::{Shown, is_gost};
use super::{HOUR, Resolver};
use crate::plan::agent::{Agent, Offer, Service};
use crate::plan::cluster::ClusterKey;
use crate::raw;
use crate::read::Header;
use crate::source::{At, Span};
use crate::values::Secret;

/// Streams end by themselves long before.
pub(super) const USUAL_DRAIN: Duration = Duration::from_secs(30);
/// More targets of one offer are a service of their own.
const MOST_TARGETS: usize = 64;
/// What a mux's route adds to the id of a tunnel.
const LONGEST_TUNNEL: usize = NAME_MAX - 4;
/// What an offer takes besides its texts, and what else is said with them.
pub(super) const OFFER_HEAD: usize = 16;
pub(super) const REST: usize = 512;

impl Resolver<'_> {
    /// All agents.
    pub(super) fn agents(&mut self, agents: &[At<raw::Agent>], node: &str) -> Vec<Agent> {
        let mut names: HashMap<String, Span> = HashMap::new();
        let mut resolved = Vec::new();
        for At { value: agent, span } in agents {
            let name = agent.name.clone().unwrap_or_else(|| At { value: node.to_owned(), span: *span });
            let name = self.unique(Some(name), &mut names, "agent").unwrap_or_default();
            resolved.push(self.agent(agent, name));
        }
        resolved
    }

    fn agent(&mut self, raw: &raw::Agent, name: String) -> Agent {
        let who = format!("agent \"{name}\"");
        let hubs = self.hubs(&raw.hubs, &raw.head, &who);
        let shown = Shown { key: &raw.key, user: &raw.user, password: &raw.password };
        let (key, login) = self.shown(&shown, &hubs, &raw.head, &who);
        let verify = self.verified(raw.verify.as_ref(), raw.ca.as_ref(), &hubs, &who);
        let key_file = raw.key.as_ref().and_then(|key| self.secret_place(&key.value).0);
        let ca = raw.ca.as_ref().and_then(|ca| self.authorities_of(ca, &who));
        let proxy = raw.proxy.as_ref().and_then(|proxy| self.way_out(proxy, &who));
        let drain = self.time(&raw.drain, USUAL_DRAIN, Duration::ZERO..=HOUR, &who, "drain");
        self.no_quic_by_proxy(raw.proxy.as_ref(), &hubs, &who);
        let offers = self.offers(raw, hubs.iter().any(|hub| is_gost(hub)), &who);
        Agent { hubs, key, key_file, login, verify, ca, proxy, drain, offers, name }
    }

    /// The hubs that are dialled.
    pub(super) fn hubs(
        &mut self,
        hubs: &Option<At<Vec<At<String>>>>,
        head: &Header,
        who: &str,
    ) -> Vec<String> {
        let Some(At { value: list, span }) = self.required(hubs, head, who, "hubs") else {
            return Vec::new();
        };
        if list.is_empty() || list.len() > LIST_MAX {
            let message = format!("{who}: `hubs` has {} addresses", list.len());
            self.error(
                span,
                message,
                format!("write hubs = [\"wss://edge.example.com\"], {LIST_MAX} at most"),
            );
        }
        let mut hubs: Vec<String> = Vec::new();
        for text in list {
            let wrong = match text.value.trim().parse::<Address>().map(|hub| hub.to_string()) {
                Ok(hub) if hubs.contains(&hub) => "it is listed twice".to_owned(),
                Ok(hub) => {
                    hubs.push(hub);
                    continue;
                }
                Err(wrong) => wrong.to_string(),
            };
            let message = format!("{who}: \"{}\" is no address of a hub: {wrong}", text.value.escape_debug());
            self.error(text.span, message, "write \"wss://edge.example.com\", or \"tls://10.0.0.1:7000\"");
        }
        hubs
    }

    /// The secret that proves who dials.
    pub(super) fn tunnel_key(&mut self, key: &Option<At<Secret>>, head: &Header, who: &str) -> ClusterKey {
        const HELP: &str =
            "make one with `mainstay tunnel key FILE` and write key = { file = \"/etc/mainstay/agent.key\" }";
        let nothing = ClusterKey::new(String::new());
        let Some(key) = key else {
            if !head.spoiled.iter().any(|spoiled| spoiled == "key") {
                self.error(head.span, format!("{who}: `key` is missing"), HELP);
            }
            return nothing;
        };
        let Some(text) = self.secret(key, who, "key") else { return nothing };
        let unread = !self.checks.files && matches!(key.value, Secret::File(_) | Secret::Credential(_));
        if !unread && !crate::material::is_tunnel_secret(text.trim()) {
            let message = format!("{who}: key is no secret of a tunnel key, which begins with mst1_");
            self.error(key.span, message, HELP);
        }
        ClusterKey::new(text.trim().to_owned())
    }

    /// The text itself: the role that uses it may not be able to read the file.
    pub(super) fn authorities_of(&mut self, path: &At<String>, who: &str) -> Option<(PathBuf, String)> {
        if !self.checks.files {
            return None;
        }
        let read = read_limited(&path.value).map_err(|error| error.to_string());
        let checked = read
            .and_then(|text| crate::material::authorities(&text).map(|_| text).map_err(|e| e.to_string()));
        match checked {
            Ok(text) => Some((PathBuf::from(&path.value), text)),
            Err(why) => {
                let message = format!("{who}: ca {} can't be used: {why}", path.value);
                self.error(path.span, message, "write the path of a PEM file that this user may read");
                None
            }
        }
    }

    /// An HTTP proxy leads to ports of TCP alone.
    pub(super) fn no_quic_by_proxy(&mut self, proxy: Option<&At<Secret>>, hubs: &[String], who: &str) {
        if let (Some(proxy), Some(hub)) = (proxy, hubs.iter().find(|hub| hub.starts_with("quic://"))) {
            let message = format!("{who}: {hub} cannot be reached: an HTTP proxy carries no QUIC");
            self.error(proxy.span, message, "take one of the two out, or write wss:// instead");
        }
    }

    pub(super) fn way_out(&mut self, proxy: &At<Secret>, who: &str) -> Option<ClusterKey> {
        let text = self.secret(proxy, who, "proxy")?;
        let unread = !self.checks.files && matches!(proxy.value, Secret::File(_) | Secret::Credential(_));
        let host = text.trim().strip_prefix("http://").map(|rest| {
            let rest = rest.trim_end_matches('/');
            rest.rsplit_once('@').map_or(rest, |(_, host)| host)
        });
        let fits = host.is_some_and(|host| format!("ws://{host}").parse::<Address>().is_ok());
        if !fits && !unread {
            // Not shown: there may be a password in it.
            let message = format!("{who}: `proxy` is not the address of an HTTP proxy");
            self.error(
                proxy.span,
                message,
                "write \"http://proxy:3128\" or \"http://user:password@proxy:3128\"",
            );
        }
        Some(ClusterKey::new(text.trim().to_owned()))
    }

    fn offers(&mut self, raw: &raw::Agent, gost: bool, who: &str) -> Vec<Offer> {
        let Some(At { value: list, span }) = &raw.offer else {
            if !raw.head.spoiled.iter().any(|spoiled| spoiled == "offer") {
                let help = "add [[agent.offer]] with tunnel = \"ID\" and to = [\"127.0.0.1:8000\"]";
                self.error(raw.head.span, format!("{who} offers nothing"), help);
            }
            return Vec::new();
        };
        let mut offers = Vec::new();
        let mut known = HashSet::new();
        let mut bytes = 0;
        for At { value: offer, span } in list {
            let Some(resolved) = self.offer(offer, *span, who) else { continue };
            if gost {
                self.gost_offer(&resolved.tunnel, offer.weight.as_ref(), *span, who);
            }
            bytes += OFFER_HEAD + resolved.tunnel.len() + resolved.host.as_ref().map_or(0, String::len);
            if !known.insert((resolved.tunnel.clone(), is_udp(&resolved.service))) {
                let message = format!("{who} offers tunnel \"{}\" twice in the same way", resolved.tunnel);
                self.error(*span, message, "write all its targets into one `to`");
            }
            offers.push(resolved);
        }
        if list.is_empty() || list.len() > OFFERS_MAX || bytes > MESSAGE_MAX - REST {
            let message = format!("{who}: {} offers, with texts of {bytes} bytes", list.len());
            let help = format!(
                "write 1 to {OFFERS_MAX} with texts of {} bytes together, and more [[agent]] for the others",
                MESSAGE_MAX - REST
            );
            self.error(*span, message, help);
        }
        offers
    }

    fn offer(&mut self, raw: &raw::Offer, span: Span, who: &str) -> Option<Offer> {
        let who = format!("{who}: offer");
        let tunnel = self.required(&raw.tunnel, &raw.head, &who, "tunnel")?;
        let id = self.id_elsewhere(tunnel, &who);
        let who = format!("{who} of tunnel \"{id}\"");
        let weight = self.number(&raw.weight, 1, 1..=i64::from(u16::MAX), &who, "weight");
        if let Some(host) = &raw.host
            && (host.value.is_empty()
                || host.value.len() > TEXT_MAX
                || host.value.contains(|c: char| c.is_whitespace() || c.is_control() || c == '/'))
        {
            let message = format!("{who}: \"{}\" is no host", host.value.escape_debug());
            self.error(host.span, message, "write host = \"app.example.com\"");
        }
        let service = self.service(raw, span, &who)?;
        Some(Offer {
            tunnel: id,
            service,
            weight: u16::try_from(weight).unwrap_or(1),
            host: raw.host.as_ref().map(|host| host.value.clone()),
        })
    }

    /// The id of a tunnel of hubs elsewhere.
    pub(super) fn id_elsewhere(&mut self, id: At<String>, who: &str) -> String {
        let At { value: id, span } = id;
        if id.is_empty() || id.len() > LONGEST_TUNNEL || id.chars().any(char::is_control) {
            let message = format!("{who}: \"{}\" can't be the id of a tunnel", id.escape_debug());
            self.error(span, message, format!("write 1 to {LONGEST_TUNNEL} bytes of text"));
        }
        id
    }

    fn service(&mut self, raw: &raw::Offer, span: Span, who: &str) -> Option<Service> {
        let udp = raw.udp.as_ref().is_some_and(|udp| udp.value);
        match (&raw.to, &raw.files) {
            (Some(to), None) if udp => {
                let header = raw.proxy_header.as_ref().map(|at| ("proxy_header", at.span));
                let probe = raw.probe.as_ref().map(|at| ("probe", at.span));
                self.meaningless([header, probe], "with `udp`", who);
                Some(Service::Udp { targets: self.targets(to, who) })
            }
            (Some(to), None) => {
                let header = raw.proxy_header.as_ref();
                let header = header.map(|_| self.byte_within(&raw.proxy_header, who));
                Some(Service::Tcp {
                    targets: self.targets(to, who),
                    look: self.look(raw, who).map(Box::new),
                    header,
                })
            }
            (None, Some(files)) => {
                let udp = raw.udp.as_ref().filter(|_| udp).map(|at| ("udp", at.span));
                let header = raw.proxy_header.as_ref().map(|at| ("proxy_header", at.span));
                let probe = raw.probe.as_ref().map(|at| ("probe", at.span));
                self.meaningless([udp, header, probe], "with `files`", who);
                self.folder(files, who)
            }
            (Some(to), Some(_)) => {
                self.error(to.span, format!("{who} has both `to` and `files`"), "take one of them out");
                None
            }
            (None, None) => {
                let spoiled = |key: &&str| raw.head.spoiled.iter().any(|spoiled| spoiled == key);
                if !["to", "files"].iter().any(spoiled) {
                    let help = "write to = [\"127.0.0.1:8000\"], or files = \"/srv/www\"";
                    self.error(span, format!("{who} leads nowhere"), help);
                }
                None
            }
        }
    }

    fn meaningless(
        &mut self,
        keys: impl IntoIterator<Item = Option<(&'static str, Span)>>,
        why: &str,
        who: &str,
    ) {
        for (key, span) in keys.into_iter().flatten() {
            let message = format!("{who}: `{key}` means nothing {why}");
            self.error(span, message, format!("take `{key}` out"));
        }
    }

    fn byte_within(&mut self, slot: &Option<At<i64>>, who: &str) -> u8 {
        u8::try_from(self.number(slot, 1, 1..=2, who, "proxy_header")).unwrap_or(1)
    }

    fn targets(&mut self, list: &At<Vec<At<String>>>, who: &str) -> Vec<String> {
        if list.value.is_empty() || list.value.len() > MOST_TARGETS {
            let message = format!("{who}: `to` has {} targets", list.value.len());
            self.error(list.span, message, format!("write 1 to {MOST_TARGETS} of them"));
        }
        let mut targets: Vec<String> = Vec::new();
        for target in &list.value {
            self.host_port(target, who);
            if targets.contains(&target.value) {
                let message = format!("{who}: target \"{}\" is listed twice", target.value);
                self.error(target.span, message, "take one of them out");
            }
            targets.push(target.value.clone());
        }
        targets
    }

    fn folder(&mut self, files: &At<String>, who: &str) -> Option<Service> {
        let root = PathBuf::from(&files.value);
        let wrong = if !root.is_absolute() {
            "it does not begin with /"
        } else if files.value.contains('$') {
            "a path with $ can't be served"
        } else if self.checks.files && !root.is_dir() {
            "it is no folder"
        } else {
            return Some(Service::Files { root });
        };
        let message = format!("{who}: files \"{}\": {wrong}", files.value.escape_debug());
        self.error(files.span, message, "write the path of a folder that everybody may read");
        None
    }
}

/// Offers of one tunnel that differ in this are told apart by hubs.
const fn is_udp(service: &Service) -> bool {
    matches!(service, Service::Udp { .. })
}
