//! Visits: where they dial, what they prove to be, what they reach and where.

use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::time::Duration;

use mainstay_core::tunnel::hello::{MESSAGE_MAX, OFFERS_MAX};

use super::agent::{OFFER_HEAD, REST, USUAL_DRAIN};
use super::servers::{Shown, is_gost};
use super::{HOUR, Resolver};
use crate::plan::visit::{Door, Visit};
use crate::raw;
use crate::source::{At, Span};

/// Where each place was written first; datagrams have ports of their own.
type Taken = HashMap<(SocketAddr, bool), Span>;

impl Resolver<'_> {
    /// All visits.
    pub(super) fn visits(&mut self, visits: &[At<raw::Visit>], node: &str) -> Vec<Visit> {
        let mut names: HashMap<String, Span> = HashMap::new();
        let mut taken = Taken::new();
        let mut resolved = Vec::new();
        for At { value: visit, span } in visits {
            let name = visit.name.clone().unwrap_or_else(|| At { value: node.to_owned(), span: *span });
            let name = self.unique(Some(name), &mut names, "visit").unwrap_or_default();
            resolved.push(self.visit(visit, name, &mut taken));
        }
        resolved
    }

    fn visit(&mut self, raw: &raw::Visit, name: String, taken: &mut Taken) -> Visit {
        let who = format!("visit \"{name}\"");
        let hubs = self.hubs(&raw.hubs, &raw.head, &who);
        self.no_quic_by_proxy(raw.proxy.as_ref(), &hubs, &who);
        let gost = hubs.iter().any(|hub| is_gost(hub));
        let shown = Shown { key: &raw.key, user: &raw.user, password: &raw.password };
        let (key, login) = self.shown(&shown, &hubs, &raw.head, &who);
        let verify = self.verified(raw.verify.as_ref(), raw.ca.as_ref(), &hubs, &who);
        Visit {
            hubs,
            key,
            login,
            verify,
            ca: raw.ca.as_ref().and_then(|ca| Some(self.authorities_of(ca, &who)?.1)),
            proxy: raw.proxy.as_ref().and_then(|proxy| self.way_out(proxy, &who)),
            drain: self.time(&raw.drain, USUAL_DRAIN, Duration::ZERO..=HOUR, &who, "drain"),
            doors: self.doors(raw, gost, &who, taken),
            name,
        }
    }

    fn doors(&mut self, raw: &raw::Visit, gost: bool, who: &str, taken: &mut Taken) -> Vec<Door> {
        let Some(At { value: list, span }) = &raw.tunnel else {
            if !raw.head.spoiled.iter().any(|spoiled| spoiled == "tunnel") {
                let help = "add [[visit.tunnel]] with id = \"ID\" and listen = \"127.0.0.1:8022\"";
                self.error(raw.head.span, format!("{who} reaches no tunnel"), help);
            }
            return Vec::new();
        };
        let mut doors = Vec::new();
        let mut known = HashSet::new();
        let mut bytes = 0;
        for At { value: door, span } in list {
            let Some(door) = self.door(door, gost, who, taken) else { continue };
            if gost {
                self.gost_offer(&door.tunnel, None, *span, who);
            }
            bytes += OFFER_HEAD + door.tunnel.len();
            if !known.insert((door.tunnel.clone(), door.udp, door.host.clone())) {
                let message = format!("{who} reaches tunnel \"{}\" twice in the same way", door.tunnel);
                self.error(*span, message, "one `listen` is enough");
            }
            doors.push(door);
        }
        if list.is_empty() || list.len() > OFFERS_MAX || bytes > MESSAGE_MAX - REST {
            let message = format!("{who}: {} tunnels, with ids of {bytes} bytes", list.len());
            let help = format!(
                "write 1 to {OFFERS_MAX} with ids of {} bytes together, and more [[visit]] for the others",
                MESSAGE_MAX - REST
            );
            self.error(*span, message, help);
        }
        doors
    }

    fn door(&mut self, raw: &raw::Door, gost: bool, who: &str, taken: &mut Taken) -> Option<Door> {
        let who = format!("{who}: tunnel");
        let id = self.required(&raw.id, &raw.head, &who, "id");
        let listen = self.required(&raw.listen, &raw.head, &who, "listen");
        let tunnel = self.id_elsewhere(id?, &who);
        let At { value: text, span } = listen?;
        let who = format!("{who} \"{tunnel}\"");
        let udp = raw.udp.as_ref().is_some_and(|udp| udp.value);
        let Some(listen) = text.parse::<SocketAddr>().ok().filter(|addr| addr.port() > 0) else {
            let message = format!("{who}: listen \"{}\" is no address with a port", text.escape_debug());
            self.error(span, message, "write listen = \"127.0.0.1:8022\"");
            return None;
        };
        if !listen.ip().is_loopback() {
            let message = format!("{who}: whoever reaches {listen} reaches the tunnel, without a key");
            self.findings.warn(
                span,
                message,
                "write listen = \"127.0.0.1:8022\", or keep others away from it",
            );
        }
        if let Some(first) = taken.insert((listen, udp), span) {
            let place = self.findings.line_of(first);
            self.error(span, format!("{who}: {listen} is taken, at {place}"), "write another port");
        }
        let host = self.host_behind(raw.host.as_ref(), gost, &who);
        Some(Door { tunnel, listen, udp, host })
    }
}
