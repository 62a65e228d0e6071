//! The hub among others: where they come in, where they are, and what they all know.

use std::net::{IpAddr, SocketAddr};

use mainstay_core::tunnel::address::{self, PEERS_PORT};

use super::Tables;
use crate::plan::tunnel::{Among, PEERS_LISTENER};
use crate::raw;
use crate::read::Header;
use crate::resolve::Resolver;
use crate::source::{At, Span};
use crate::values::ProtocolWord;

const WHO: &str = "[hub]";

/// More are found by names.
const MOST_PEERS: usize = 64;

impl Resolver<'_> {
    /// Writes the listener of other hubs beside what the operator wrote.
    pub(super) fn hub_listener(&mut self, tables: &mut Tables) {
        let Some(At { value: hub, span }) = &tables.hub else { return };
        let Some(bind) = hub.bind.clone() else { return };
        let listener = raw::Listener {
            head: Header { span: *span, spoiled: Vec::new() },
            name: Some(At::new(PEERS_LISTENER.to_owned(), bind.span)),
            bind: Some(bind.clone()),
            protocol: Some(At::new(ProtocolWord::Hub, bind.span)),
            ..raw::Listener::default()
        };
        tables.listeners.push(At::new(listener, bind.span));
    }

    /// How this hub speaks to others; nothing when nothing is written of it.
    pub(super) fn among(&mut self, raw: &raw::Hub) -> Option<Among> {
        let wants = raw.bind.as_ref().map(|at| at.span).or(raw.peers.as_ref().map(|at| at.span));
        let own = raw.key.as_ref().and_then(|key| self.common_key(key, WHO, "the hubs' key"));
        let cluster = self.standing.key.clone().filter(|_| raw.key.is_none());
        let peers = self.hub_peers(raw);
        if let (Some(span), None, false) = (wants, &cluster, raw.key.is_some()) {
            let help = "write key = { file = \"/etc/mainstay/hub.key\" }, the same secret on every hub, or a key in [cluster]";
            self.error(
                span,
                format!("{WHO}: hubs speak to each other with a `key`, and there is none"),
                help,
            );
        }
        if let (Some(list), None) = (&raw.peers, &raw.bind) {
            let message = format!("{WHO}: without `bind` no other hub reaches the agents of this one");
            self.findings.warn(list.span, message, "write bind = \"ADDRESS:7001\"");
        }
        let key = own.or(cluster).filter(|_| wants.is_some() || raw.key.is_some())?;
        Some(Among { peers, key })
    }

    fn hub_peers(&mut self, raw: &raw::Hub) -> Vec<String> {
        let Some(list) = &raw.peers else { return Vec::new() };
        if let Some(extra) = list.value.get(MOST_PEERS) {
            let help = "write a name that stands for several";
            self.error(extra.span, format!("{WHO}: more than {MOST_PEERS} peers"), help);
        }
        let mut peers = Vec::new();
        for text in &list.value {
            let Some(peer) = self.hub_address(text, "peers") else { continue };
            if peers.contains(&peer) {
                self.error(text.span, format!("{WHO}: peers: {peer} stands there twice"), "write it once");
                continue;
            }
            peers.push(peer);
        }
        peers
    }

    fn hub_address(&mut self, text: &At<String>, key: &str) -> Option<String> {
        match address::authority(text.value.trim(), PEERS_PORT) {
            Ok((host, _)) if is_nowhere(host) => {
                let message = format!("{WHO}: {key}: no other host is reached at {host}");
                self.error(text.span, message, "write the address of one interface, or a name");
                None
            }
            Ok((host, port)) => Some(address::joined(host, port)),
            Err(why) => {
                let text_of = text.value.escape_debug();
                let message = format!("{WHO}: {key}: \"{text_of}\" is not where a hub is: {why}");
                self.error(text.span, message, "write \"10.0.4.21:7001\" or \"hubs.internal:7001\"");
                None
            }
        }
    }

    /// Where other hubs are told to reach this one.
    pub(super) fn advertise(&mut self, raw: &raw::Hub) -> Vec<String> {
        if let Some(text) = &raw.advertise {
            if raw.bind.is_none() {
                let message = format!("{WHO}: `advertise` means nothing without `bind`");
                self.error(text.span, message, "write bind = \":7001\" too, or take `advertise` out");
            }
            return self.hub_address(text, "advertise").into_iter().collect();
        }
        let Some(bind) = &raw.bind else { return Vec::new() };
        let [text] = bind.value.0.as_slice() else {
            return self.own_place(None, bind.span);
        };
        match text.value.parse::<SocketAddr>() {
            Ok(at) if !at.ip().is_unspecified() => vec![at.to_string()],
            Ok(at) => self.own_place(Some(at.port()), bind.span),
            Err(_) => {
                let port = text.value.rsplit(':').next().and_then(|port| port.parse().ok());
                self.own_place(port, bind.span)
            }
        }
    }

    /// The node's own address in its cluster.
    fn own_place(&mut self, port: Option<u16>, span: Span) -> Vec<String> {
        let found = self.standing.own.zip(port).map(|(ip, port): (IpAddr, u16)| SocketAddr::new(ip, port));
        if found.is_none() {
            let message = format!(
                "{WHO}: `bind` does not say where other hubs reach this one, so no registry tells them"
            );
            self.findings.warn(span, message, "write advertise = \"ADDRESS:7001\"");
        }
        found.iter().map(ToString::to_string).collect()
    }
}

/// Whether a host is the address that stands for all of a machine's own.
pub(super) fn is_nowhere(host: &str) -> bool {
    host.trim_matches(['[', ']']).parse::<IpAddr>().is_ok_and(|ip| ip.is_unspecified())
}
