//! What a guard needs of the cluster and of the vip, and what it rules out.

use std::net::IpAddr;

use mainstay_core::election::Guard;

use super::Resolver;
use super::cluster::NEEDS_KEY;
use crate::plan::Vip;
use crate::raw;
use crate::source::{At, Span};
use crate::values::GuardWord;

/// The owner of an address has it on its interface at all times, and no gate before it.
const OWNER: u8 = 255;
/// Of two voters both are the majority: whoever is alone could do nothing.
const LEAST_VOTERS: usize = 3;
/// Of two nodes each can vouch for itself alone; a third voter makes a majority, and quorum does more.
const STRICT_NODES: usize = 2;

impl Resolver<'_> {
    pub(super) fn guard(&mut self, raw: &raw::Vip, unicast: &[IpAddr], priority: u8, who: &str) -> Guard {
        if let Some(at) = raw.name.as_ref().filter(|_| self.standing.witness) {
            let message = format!("{who}: this node is a witness, which holds no address");
            let help = "take the vip out of this node's files, or witness = true out of its entry in [cluster] peers";
            self.error(at.span, message, help);
        }
        let Some(at) = &raw.guard else { return Guard::BestEffort };
        match at.value {
            GuardWord::BestEffort => Guard::BestEffort,
            GuardWord::Strict => {
                self.strict(at.span, who);
                self.no_vrrp(raw, Guard::Strict, who);
                self.no_partner(raw, Guard::Strict, unicast, priority, who);
                Guard::Strict
            }
            GuardWord::Quorum => {
                self.quorum(at.span, who);
                self.no_vrrp(raw, Guard::Quorum, who);
                self.no_partner(raw, Guard::Quorum, unicast, priority, who);
                Guard::Quorum
            }
        }
    }

    /// A majority has to be possible without any one node.
    fn quorum(&mut self, span: Span, who: &str) {
        if !self.standing.keyed {
            let message = format!("{who}: guard \"quorum\" needs nodes that speak with each other");
            self.error(span, message, NEEDS_KEY);
        }
        let voters = self.standing.voters;
        if voters < LEAST_VOTERS {
            let has = if voters == 2 { "here are two" } else { "here is one" };
            let message = format!("{who}: guard \"quorum\" needs three voters, {has}");
            let help = "add a witness, a third machine that holds no address, to [cluster] peers: { id = \"witness\", \
                        addrs = [\"10.0.5.9\"], witness = true }";
            self.error(span, message, help);
        }
    }

    /// Two nodes that both hold vips, and nobody else: each is the other's only voter.
    fn strict(&mut self, span: Span, who: &str) {
        if !self.standing.keyed {
            let message = format!("{who}: guard \"strict\" needs nodes that speak with each other");
            self.error(span, message, NEEDS_KEY);
            return;
        }
        let (voters, holders) = (self.standing.voters, self.standing.holders);
        if (voters, holders) == (STRICT_NODES, STRICT_NODES) || self.standing.witness {
            return;
        }
        let (message, help) = if voters < STRICT_NODES {
            let message = format!("{who}: guard \"strict\" needs two nodes, here is one");
            (message, "add the other node to [cluster] peers: { id = \"web-2\", addrs = [\"10.0.4.21\"] }")
        } else {
            let message = format!(
                "{who}: guard \"strict\" is for two nodes alone, here are {voters} voters, {holders} of which hold vips"
            );
            (
                message,
                "write guard = \"quorum\": with a third voter a backup takes over by itself, and there are never two",
            )
        };
        self.error(span, message, help);
    }

    /// What is held under a lease is never on the wire of VRRP.
    fn no_vrrp(&mut self, raw: &raw::Vip, guard: Guard, who: &str) {
        let unused = [
            ("version", raw.version.as_ref().map(|at| at.span)),
            ("down_adverts", raw.down_adverts.as_ref().map(|at| at.span)),
            ("password", raw.password.as_ref().map(|at| at.span)),
            ("source", raw.source.as_ref().map(|at| at.span)),
            ("check_source", raw.check_source.as_ref().map(|at| at.span)),
            ("ttl_min", raw.ttl_min.as_ref().map(|at| at.span)),
            ("multicast", raw.multicast.as_ref().map(|at| at.span)),
            ("checksum", raw.checksum.as_ref().map(|at| at.span)),
            ("check_addrs", raw.check_addrs.as_ref().map(|at| at.span)),
        ];
        for (key, span) in unused {
            let Some(span) = span else { continue };
            let message = format!("{who}: `{key}` is VRRP's, and guard \"{}\" sends none", guard.word());
            let help = "take it out; a partner that speaks VRRP alone, such as keepalived, needs guard = \"best-effort\"";
            self.error(span, message, help);
        }
    }

    /// keepalived asks nobody before it takes an address, and an owner neither.
    fn no_partner(&mut self, raw: &raw::Vip, guard: Guard, unicast: &[IpAddr], priority: u8, who: &str) {
        let word = guard.word();
        if let Some(list) = &raw.unicast {
            let stranger = unicast.iter().find(|peer| !self.standing.addrs.contains(peer));
            let (message, help) = match stranger {
                Some(peer) => (
                    format!("{who}: {peer} is no node of [cluster], so guard \"{word}\" can't bind it"),
                    "add it to [cluster] peers, or write guard = \"best-effort\" beside a keepalived partner",
                ),
                None => (
                    format!("{who}: `unicast` is VRRP's, and guard \"{word}\" sends none"),
                    "take it out: nodes speak with each other over the addresses in [cluster] peers",
                ),
            };
            self.error(list.span, message, help);
        }
        if let Some(at) = raw.priority.as_ref().filter(|_| priority == OWNER) {
            let message = format!("{who}: the owner of an address (priority 255) holds it without asking");
            self.error(at.span, message, "write a priority up to 254, or guard = \"best-effort\"");
        }
    }

    /// What is held together is held under one promise.
    pub(super) fn one_guard(&mut self, names: &[At<String>], vips: &[Vip], who: &str) {
        let guard = |name: &str| vips.iter().find(|vip| vip.spec.name == name).map(|vip| vip.spec.guard);
        let Some((first, kept)) = names.iter().find_map(|name| Some((name, guard(&name.value)?))) else {
            return;
        };
        for name in names {
            let Some(other) = guard(&name.value).filter(|other| *other != kept) else { continue };
            let message = format!(
                "{who}: vip \"{}\" has guard \"{}\", vip \"{}\" has \"{}\"",
                name.value,
                other.word(),
                first.value,
                kept.word()
            );
            self.error(name.span, message, "give the vips of a group the same guard");
        }
    }
}
