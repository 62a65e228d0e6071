//! Vips: what the election needs, what sys and notify need beside it, and what must not stand together.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Duration;

use mainstay_core::election::{Announce, Guard, VipSpec};
use mainstay_core::name::{LinkId, ProbeId};
use mainstay_core::vrrp::{Checksum, Version};

use super::weight::Stand;
use super::{HOUR, MOST_VIPS, Resolver, SECOND};
use crate::plan::Vip;
use crate::raw;
use crate::source::{At, Span};
use crate::values::{ChecksumWord, written};

const CENTISECOND: Duration = Duration::from_millis(10);
/// Twelve bits of centiseconds (RFC 9568 5.2.7).
const LONGEST_V3_ADVERT: Duration = Duration::from_millis(40_950);
const LONGEST_PREEMPT_DELAY: Duration = Duration::from_secs(1000);
/// The gate closes after this many adverts, and no sooner than a scheduler's hiccup allows.
const GATE_ADVERTS: u32 = 3;
const SHORTEST_GATE: Duration = Duration::from_millis(300);
/// The password field of version 2 (RFC 2338 5.3.10).
const PASSWORD: usize = 8;
const OWNER: u8 = 255;
/// Adverts go to each peer one by one.
const MOST_PEERS: usize = 255;

/// What no two vips may share.
#[derive(Default)]
struct Taken {
    names: HashMap<String, Span>,
    vrids: HashMap<(LinkId, bool, u8), (String, Span)>,
    addrs: HashMap<(IpAddr, Option<LinkId>), (String, Span)>,
}

impl Resolver<'_> {
    pub(super) fn all_vips(&mut self, vips: &[At<raw::Vip>]) -> Vec<Vip> {
        if let Some(extra) = vips.get(MOST_VIPS) {
            self.error(
                extra.span,
                format!("more than {MOST_VIPS} vips"),
                "put several addresses into one vip",
            );
            return Vec::new();
        }
        // Interfaces first: a name in `requires` that is one of them gets its own advice.
        for name in vips.iter().filter_map(|vip| vip.value.interface.as_ref()) {
            if !self.link_ids.contains_key(&name.value) {
                self.link(name, "[[vip]]");
            }
        }
        let mut taken = Taken::default();
        vips.iter().map(|vip| self.vip(&vip.value, &mut taken)).collect()
    }

    fn vip(&mut self, raw: &raw::Vip, taken: &mut Taken) -> Vip {
        let name = self.required(&raw.name, &raw.head, "[[vip]]", "name");
        let name = self.unique(name, &mut taken.names, "vip").unwrap_or_default();
        let who = format!("vip \"{name}\"");
        let interface = self.required(&raw.interface, &raw.head, &who, "interface");
        let link = interface.and_then(|name| self.link_ids.get(&name.value).copied()).unwrap_or(LinkId(0));
        let install = raw.install.as_ref().is_none_or(|install| install.value);
        let (advertised, ipv6) = self.advertised(&raw.addrs, &raw.head, link, &who);
        let unadvertised = self.unadvertised(&raw.unadvertised, link, install, &who);
        self.twice(&advertised, &mut taken.addrs, &name);
        self.twice(&unadvertised, &mut taken.addrs, &name);
        let addrs: Vec<IpAddr> = advertised.iter().map(|placed| placed.addr.addr).collect();
        let mut spec = self.spec(raw, &Frame { name: &name, who: &who, link, ipv6, addrs: &addrs }, taken);
        spec.source = self.source(raw, &spec, &who);
        let placed = advertised.iter().chain(&unadvertised).map(|placed| placed.addr);
        let reference = self.reference(raw, &spec, placed.clone(), &who);
        Vip {
            addrs: if install { placed.collect() } else { Vec::new() },
            multicast: self.multicast(raw, &spec, &who),
            notify: self.notify(raw.notify.as_ref(), &who),
            owns: self.owns(raw.owns.as_ref(), &who),
            reference,
            spec,
        }
    }

    fn spec(&mut self, raw: &raw::Vip, frame: &Frame<'_>, taken: &mut Taken) -> VipSpec {
        let Frame { who, link, ipv6, .. } = *frame;
        let version = self.version(raw, ipv6, who);
        let advert = self.advert(raw, version, who);
        let (priority, preempt, preempt_delay) = self.rank(raw, who);
        let unicast = self.unicast(raw, ipv6, who);
        let requires = self.requires(raw, who);
        let stand = Stand { who, priority, preempt, requires: &requires };
        let weights = self.weights(raw.weights.as_ref(), &stand);
        let guard = self.guard(raw, &unicast, priority, who);
        VipSpec {
            name: frame.name.to_owned(),
            link,
            source: None,
            version,
            vrid: self.vrid(raw, guard, frame, taken),
            priority,
            advert,
            preempt,
            preempt_delay,
            start_delay: self.start_delay,
            down_adverts: u8::try_from(self.number(&raw.down_adverts, 3, 1..=100, who, "down_adverts"))
                .unwrap_or(3),
            addrs: frame.addrs.to_vec(),
            ipv6,
            password: self.password(raw, version, who),
            checksum: self.checksum(raw, version, ipv6, who),
            checksum_any: true,
            check_source: self.check_source(raw, &unicast, who),
            ttl_min: self.ttl_min(raw, &unicast, who),
            check_addrs: raw.check_addrs.as_ref().is_none_or(|check| check.value),
            sole_successor: self.standing.holders == 2 || unicast.len() == 1,
            unicast,
            guard,
            gate: match guard {
                Guard::Quorum | Guard::Strict => self.standing.terms.hold(),
                Guard::BestEffort => (advert * GATE_ADVERTS).max(SHORTEST_GATE),
            },
            owns: raw.owns.as_ref().is_some_and(|owns| !owns.value.is_empty()),
            requires,
            weights,
            announce: self.announce(raw.announce.as_ref(), who),
        }
    }

    fn version(&mut self, raw: &raw::Vip, ipv6: bool, who: &str) -> Version {
        let Some(at) = &raw.version else { return Version::V3 };
        match at.value {
            3 => Version::V3,
            2 if ipv6 => {
                let message = format!("{who}: VRRP version 2 has no IPv6");
                self.error(at.span, message, "leave out `version`: version 3 speaks IPv6");
                Version::V3
            }
            2 => Version::V2,
            other => {
                let message = format!("{who}: there is no VRRP version {other}");
                self.error(at.span, message, "write version = 2 or version = 3");
                Version::V3
            }
        }
    }

    fn advert(&mut self, raw: &raw::Vip, version: Version, who: &str) -> Duration {
        let Some(at) = &raw.advert else { return SECOND };
        let advert = at.value.0;
        let nanos = advert.as_nanos();
        let (fits, help) = match version {
            Version::V2 => {
                let whole = nanos.is_multiple_of(SECOND.as_nanos());
                let fits = whole && (SECOND..=SECOND * 255).contains(&advert);
                (fits, "write whole seconds from \"1s\" to \"255s\", or version = 3 for faster adverts")
            }
            Version::V3 => {
                let whole = nanos.is_multiple_of(CENTISECOND.as_nanos());
                let fits = whole && (CENTISECOND..=LONGEST_V3_ADVERT).contains(&advert);
                (fits, "write \"10ms\" to \"40950ms\" in steps of 10ms")
            }
        };
        if fits {
            return advert;
        }
        let number = match version {
            Version::V2 => 2,
            Version::V3 => 3,
        };
        let message = format!("{who}: version {number} can't send an advert every {}", written(advert));
        self.error(at.span, message, help);
        SECOND
    }

    /// Priority and preemption.
    fn rank(&mut self, raw: &raw::Vip, who: &str) -> (u8, bool, Duration) {
        let priority = raw.priority.as_ref().map_or(100, |at| at.value);
        if let Some(at) = &raw.priority
            && !(1..=255).contains(&priority)
        {
            let help = "write a number from 1 to 254; 255 only on the node that owns the address";
            self.error(at.span, format!("{who}: priority {priority} is out of range"), help);
        }
        let priority = u8::try_from(priority).unwrap_or(100);
        let preempt = raw.preempt.as_ref().is_none_or(|preempt| preempt.value);
        if let (false, OWNER, Some(at)) = (preempt, priority, &raw.preempt) {
            let message = format!("{who}: the owner of an address (priority 255) always takes it back");
            self.error(at.span, message, "take `preempt` out, or write a priority up to 254");
        }
        let range = Duration::ZERO..=LONGEST_PREEMPT_DELAY;
        let delay = self.time(&raw.preempt_delay, Duration::ZERO, range, who, "preempt_delay");
        if let (false, Some(at)) = (preempt || delay.is_zero(), &raw.preempt_delay) {
            let message = format!("{who}: `preempt_delay` means nothing with preempt = false");
            self.error(at.span, message, "take one of the two out");
        }
        (priority, preempt, delay)
    }

    fn vrid(&mut self, raw: &raw::Vip, guard: Guard, frame: &Frame<'_>, taken: &mut Taken) -> u8 {
        if guard.is_leased() && raw.vrid.is_none() && !raw.head.spoiled.iter().any(|key| key == "vrid") {
            return 0;
        }
        let Some(at) = self.required(&raw.vrid, &raw.head, frame.who, "vrid") else { return 1 };
        let vrid = self.byte(&Some(at.clone()), 1, 1, frame.who, "vrid");
        if raw.interface.is_none() || i64::from(vrid) != at.value {
            return vrid;
        }
        let key = (frame.link, frame.ipv6, vrid);
        if let Some((other, first)) = taken.vrids.get(&key) {
            let family = if frame.ipv6 { "IPv6" } else { "IPv4" };
            let place = self.findings.line_of(*first);
            let message = format!(
                "{}: vrid {vrid} is already used for {family} on {} by vip \"{other}\" at {place}",
                frame.who,
                self.links[frame.link.index()]
            );
            self.error(
                at.span,
                message,
                "give each vip of an interface its own number, the same on every node",
            );
        } else {
            taken.vrids.insert(key, (frame.name.to_owned(), at.span));
        }
        vrid
    }

    fn password(&mut self, raw: &raw::Vip, version: Version, who: &str) -> Option<[u8; PASSWORD]> {
        let at = raw.password.as_ref()?;
        match version {
            Version::V2 => {}
            Version::V3 => {
                let message = format!("{who}: VRRP version 3 has no password");
                self.error(
                    at.span,
                    message,
                    "write version = 2 if the partner uses PASS, else take `password` out",
                );
            }
        }
        let secret = self.secret(at, who, "password")?;
        if secret.is_empty() || secret.len() > PASSWORD {
            let message = format!("{who}: the password has {} bytes", secret.len());
            let help = "version 2 carries 1 to 8 bytes: keepalived cuts a longer one, so write its first 8";
            self.error(at.span, message, help);
            return None;
        }
        let mut password = [0; PASSWORD];
        password[..secret.len()].copy_from_slice(secret.as_bytes());
        Some(password)
    }

    fn checksum(&mut self, raw: &raw::Vip, version: Version, ipv6: bool, who: &str) -> Checksum {
        let Some(at) = &raw.checksum else { return Checksum::PseudoHeader };
        if version == Version::V2 || ipv6 {
            let message = format!("{who}: `checksum` is a choice for version 3 over IPv4 alone");
            self.error(at.span, message, "take `checksum` out");
        }
        match at.value {
            ChecksumWord::PseudoHeader => Checksum::PseudoHeader,
            ChecksumWord::Message => Checksum::Message,
        }
    }

    fn unicast(&mut self, raw: &raw::Vip, ipv6: bool, who: &str) -> Vec<IpAddr> {
        let mut peers = Vec::new();
        let source = raw.source.as_ref().and_then(|source| source.value.parse::<IpAddr>().ok());
        if let Some(list) = raw.unicast.as_ref().filter(|list| list.value.len() > MOST_PEERS) {
            self.error(list.span, format!("{who}: more than {MOST_PEERS} unicast peers"), "use multicast");
            return peers;
        }
        for text in raw.unicast.iter().flat_map(|list| &list.value) {
            let Some(peer) = self.ip(text, who) else { continue };
            let wrong = if peer.is_ipv6() != ipv6 {
                Some(("is of another family than the addresses", "write peers of the family of `addrs`"))
            } else if peers.contains(&peer) {
                Some(("is listed twice", "list each peer once"))
            } else if Some(peer) == source {
                Some(("is this node's own `source`", "list the other nodes only"))
            } else if peer.is_multicast() || peer.is_unspecified() || peer.is_loopback() {
                Some(("is not the address of another host", "write the address of each other node"))
            } else {
                None
            };
            match wrong {
                Some((why, help)) => self.error(text.span, format!("{who}: unicast peer {peer} {why}"), help),
                None => peers.push(peer),
            }
        }
        peers
    }

    fn check_source(&mut self, raw: &raw::Vip, unicast: &[IpAddr], who: &str) -> bool {
        let Some(At { value: true, span }) = raw.check_source else { return false };
        if unicast.is_empty() {
            let message =
                format!("{who}: `check_source` needs `unicast`, else there is no list to check against");
            self.error(span, message, "write unicast = [\"10.0.4.21\"], or take `check_source` out");
        }
        true
    }

    fn ttl_min(&mut self, raw: &raw::Vip, unicast: &[IpAddr], who: &str) -> u8 {
        let ttl = self.byte(&raw.ttl_min, u8::MAX, 1, who, "ttl_min");
        if let Some(at) = &raw.ttl_min
            && ttl < u8::MAX
            && unicast.is_empty()
        {
            let message =
                format!("{who}: `ttl_min` below 255 lets adverts in from beyond the link, without `unicast`");
            self.error(at.span, message, "name the peers in `unicast`, or take `ttl_min` out");
        }
        ttl
    }

    fn multicast(&mut self, raw: &raw::Vip, spec: &VipSpec, who: &str) -> Option<IpAddr> {
        let text = raw.multicast.as_ref()?;
        let group = self.ip(text, who)?;
        if !group.is_multicast() || group.is_ipv6() != spec.ipv6 {
            let standard = if spec.ipv6 { "ff02::12" } else { "224.0.0.18" };
            let message = format!("{who}: {group} is not a multicast group of the family of `addrs`");
            self.error(text.span, message, format!("write such as \"{standard}\", the same on every node"));
        }
        if !spec.unicast.is_empty() {
            let message = format!("{who}: `multicast` means nothing with `unicast`");
            self.error(text.span, message, "take one of the two out");
        }
        Some(group)
    }

    fn source(&mut self, raw: &raw::Vip, spec: &VipSpec, who: &str) -> Option<IpAddr> {
        let text = raw.source.as_ref()?;
        let source = self.ip(text, who)?;
        if source.is_ipv6() != spec.ipv6 || source.is_multicast() || source.is_unspecified() {
            let message = format!("{who}: source {source} is not a host's address of the family of `addrs`");
            self.error(text.span, message, "write this node's own address, or take `source` out");
        } else if spec.addrs.contains(&source) && spec.priority != OWNER {
            let message = format!("{who}: source {source} is one of the vip's own addresses");
            self.error(text.span, message, "write the address that this node always has");
        }
        Some(source)
    }

    fn requires(&mut self, raw: &raw::Vip, who: &str) -> Vec<ProbeId> {
        let mut requires = Vec::new();
        for name in raw.requires.iter().flat_map(|list| &list.value) {
            let Some(probe) = self.probe_id(name, &format!("{who}: requires")) else { continue };
            if requires.contains(&probe) {
                self.error(name.span, format!("{who} requires \"{}\" twice", name.value), "name it once");
            } else {
                requires.push(probe);
            }
        }
        requires
    }

    fn announce(&mut self, raw: Option<&At<raw::Announce>>, who: &str) -> Announce {
        let who = format!("{who}: announce");
        let raw = raw.map(|at| at.value.clone()).unwrap_or_default();
        let minute = Duration::ZERO..=Duration::from_secs(60);
        let long = Duration::ZERO..=HOUR * 24;
        Announce {
            repeat: self.byte(&raw.repeat, 5, 0, &who, "repeat"),
            interval: self.time(&raw.interval, Duration::ZERO, minute, &who, "interval"),
            delay: self.time(&raw.delay, SECOND * 5, Duration::ZERO..=HOUR, &who, "delay"),
            delay_repeat: self.byte(&raw.delay_repeat, 5, 0, &who, "delay_repeat"),
            refresh: self.time(&raw.refresh, Duration::ZERO, long, &who, "refresh"),
            refresh_repeat: self.byte(&raw.refresh_repeat, 1, 0, &who, "refresh_repeat"),
            lower_repeat: self.byte(&raw.lower_repeat, 5, 0, &who, "lower_repeat"),
        }
    }
}

/// What of a vip is known before its spec.
struct Frame<'a> {
    name: &'a str,
    who: &'a str,
    link: LinkId,
    ipv6: bool,
    addrs: &'a [IpAddr],
}
