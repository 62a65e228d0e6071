//! Adverts that must change nothing but a counter, made from one that would be believed; for tests and rehearsals.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use super::encode::{covers, encode, seal};
use super::{Advert, Checksum, GROUP_V4, GROUP_V6, Reject, TTL, Version};

/// What the hostile adverts are made from.
#[derive(Clone, Debug)]
pub struct Attack {
    /// An advert that a vip with this version, id, interval, password and set of addresses would believe.
    pub good: Advert,
    /// Whom it seems to come from.
    pub src: IpAddr,
    /// Where it is sent: the group, or the address of the node under attack.
    pub dst: IpAddr,
    /// An address of the node under attack, of the same family.
    pub own: IpAddr,
    /// The checksum form that the good advert has.
    pub checksum: Checksum,
}

/// One hostile advert.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hostile {
    /// What is wrong with it.
    pub name: &'static str,
    /// The VRRP message.
    pub payload: Vec<u8>,
    /// TTL or hop limit to send it with.
    pub ttl: u8,
    /// Source address to send it from.
    pub src: IpAddr,
    /// Destination to send it to.
    pub dst: IpAddr,
    /// The reason that it must be rejected for.
    pub reject: Reject,
    /// Whether [`super::parse()`] rejects it; otherwise only a vip, by what it was told, can.
    pub by_parse: bool,
}

/// Every kind of hostile advert that the version and family allow, each with one thing wrong.
#[must_use]
pub fn hostile(attack: &Attack) -> Vec<Hostile> {
    let mut kinds = Kinds { attack, good: attack.bytes(&attack.good), out: Vec::new() };
    kinds.ends();
    kinds.truncated();
    kinds.too_long();
    kinds.header();
    kinds.counts();
    kinds.checksums();
    kinds.claims();
    match attack.good.version {
        Version::V2 => kinds.version_2(),
        Version::V3 => kinds.version_3(),
    }
    kinds.out
}

impl Attack {
    fn bytes(&self, advert: &Advert) -> Vec<u8> {
        let mut out = Vec::new();
        encode(advert, self.src, self.dst, self.checksum, &mut out);
        out
    }

    /// `payload` with the checksum that its version nibble asks for, so that nothing but the lie is wrong.
    fn sealed(&self, mut payload: Vec<u8>) -> Vec<u8> {
        let form = covers(self.good.version, self.src, self.checksum);
        seal(&mut payload, form, self.src, self.dst);
        payload
    }

    /// Octets of one address.
    const fn grain(&self) -> usize {
        if self.src.is_ipv4() { 4 } else { 16 }
    }
}

struct Kinds<'a> {
    attack: &'a Attack,
    good: Vec<u8>,
    out: Vec<Hostile>,
}

impl Kinds<'_> {
    fn push(&mut self, name: &'static str, reject: Reject, by_parse: bool, payload: Vec<u8>) {
        let Attack { src, dst, .. } = *self.attack;
        self.out.push(Hostile { name, payload, ttl: TTL, src, dst, reject, by_parse });
    }

    /// The good bytes with one of them changed, and the right checksum over that.
    fn byte(&mut self, name: &'static str, reject: Reject, by_parse: bool, at: usize, value: u8) {
        let mut payload = self.good.clone();
        payload[at] = value;
        let payload = self.attack.sealed(payload);
        self.push(name, reject, by_parse, payload);
    }

    /// A well-formed advert that says something else than the good one.
    fn said(&mut self, name: &'static str, reject: Reject, change: impl FnOnce(&mut Advert)) {
        let mut advert = self.attack.good.clone();
        change(&mut advert);
        let payload = self.attack.bytes(&advert);
        self.push(name, reject, false, payload);
    }

    /// Lies of the IP header.
    fn ends(&mut self) {
        let Attack { src, dst, own, .. } = *self.attack;
        let by_parse = dst.is_multicast();
        for (name, ttl) in [("ttl one too low", 254), ("ttl of a usual host", 64), ("ttl of one", 1)] {
            let payload = self.good.clone();
            self.out.push(Hostile { name, payload, ttl, src, dst, reject: Reject::Ttl, by_parse });
        }
        self.between("our own address as its source", Reject::OwnAddress, own, dst);
        // Such a pair of hosts is misconfigured: each of keepalived's two ways is deaf to the other.
        if dst.is_multicast() {
            self.between("sent to us alone", Reject::Destination, src, own);
        } else {
            self.between("sent to the group", Reject::Destination, src, group(src));
            self.between("a stranger among unicast peers", Reject::Source, stranger(src), dst);
        }
    }

    /// The good advert between other ends.
    fn between(&mut self, name: &'static str, reject: Reject, src: IpAddr, dst: IpAddr) {
        let elsewhere = Attack { src, dst, ..self.attack.clone() };
        let payload = elsewhere.bytes(&elsewhere.good);
        self.out.push(Hostile { name, payload, ttl: TTL, src, dst, reject, by_parse: false });
    }

    fn truncated(&mut self) {
        let whole = self.good.len();
        for (name, len, reject) in [
            ("empty", 0, Reject::Short),
            ("cut after the version", 1, Reject::Short),
            ("cut after the id", 2, Reject::Short),
            ("cut after the priority", 3, Reject::Short),
            ("cut after the count", 4, Reject::Short),
            ("cut within the interval", 5, Reject::Short),
            ("cut before the checksum", 6, Reject::Short),
            ("cut within the checksum", 7, Reject::Short),
            ("cut after the checksum", 8, Reject::Length),
            ("cut within an address", 10, Reject::Length),
            ("cut by one byte", whole - 1, Reject::Length),
        ] {
            let payload = self.attack.sealed(self.good[..len].to_vec());
            self.push(name, reject, true, payload);
        }
    }

    fn too_long(&mut self) {
        for (name, more) in [
            ("one byte behind it", 1),
            ("an address more than counted", self.attack.grain()),
            ("a page of bytes behind it", 1_200),
        ] {
            let mut payload = self.good.clone();
            payload.resize(self.good.len() + more, 0xa5);
            let payload = self.attack.sealed(payload);
            self.push(name, Reject::Length, true, payload);
        }
    }

    fn header(&mut self) {
        let version = self.good[0] & 0xf0;
        let other = self.attack.good.vrid % 255 + 1;
        self.byte("version 0", Reject::Version, true, 0, 0x01);
        self.byte("version 1", Reject::Version, true, 0, 0x11);
        self.byte("version 4", Reject::Version, true, 0, 0x41);
        self.byte("version 15", Reject::Version, true, 0, 0xf1);
        self.byte("type 0", Reject::Type, true, 0, version);
        self.byte("type 2", Reject::Type, true, 0, version | 2);
        self.byte("type 15", Reject::Type, true, 0, version | 15);
        self.byte("id 0", Reject::Vrid, true, 1, 0);
        self.byte("another id", Reject::Vrid, false, 1, other);
        let zeros = vec![0; self.good.len()];
        self.push("all zeros", Reject::Version, true, zeros);
        let ones = vec![0xff; self.good.len()];
        self.push("all ones", Reject::Version, true, ones);
    }

    fn counts(&mut self) {
        let count = self.good[3];
        self.byte("count 0", Reject::Count, true, 3, 0);
        self.byte("count one too high", Reject::Length, true, 3, count + 1);
        self.byte("count 255", Reject::Length, true, 3, 255);
        if count > 1 {
            self.byte("count one too low", Reject::Length, true, 3, count - 1);
        }
    }

    fn checksums(&mut self) {
        let mut wrong = self.good.clone();
        wrong[7] ^= 1;
        self.push("one bit of the checksum wrong", Reject::Checksum, true, wrong);
        let mut none = self.good.clone();
        none[6..8].fill(0);
        if none != self.good {
            self.push("no checksum", Reject::Checksum, true, none);
        }
        let mut changed = self.good.clone();
        changed[2] ^= 0x40;
        self.push("another priority under the old checksum", Reject::Checksum, true, changed);
    }

    /// Other addresses. Their order is nobody's business: keepalived sends them as written and compares sets.
    fn claims(&mut self) {
        let stranger = stranger(self.attack.src);
        self.said("another address", Reject::Addrs, |advert| advert.addrs[0] = stranger);
        self.said("an address more", Reject::Addrs, |advert| advert.addrs.push(stranger));
        self.said("255 addresses", Reject::Addrs, |advert| advert.addrs.resize(255, stranger));
        if self.attack.good.addrs.len() > 1 {
            let fewer = self.attack.good.addrs.len() - 1;
            self.said("an address fewer", Reject::Addrs, |advert| advert.addrs.truncate(fewer));
            self.said("one address twice", Reject::Addrs, |advert| advert.addrs[0] = advert.addrs[1]);
        }
    }

    fn version_2(&mut self) {
        self.byte("interval 0", Reject::Interval, true, 5, 0);
        self.byte("authentication of type AH", Reject::AuthType, true, 4, 2);
        self.byte("authentication of an unknown type", Reject::AuthType, true, 4, 255);
        let more = self.attack.good.interval + Duration::from_secs(1);
        self.said("another interval", Reject::Interval, |advert| advert.interval = more);
        self.said("the other version", Reject::VersionMismatch, |advert| advert.version = Version::V3);
        let relabelled = self.good[0] ^ 0x10;
        self.byte("version 3 on a body of version 2", Reject::Length, true, 0, relabelled);
        let data = self.good.len() - 8;
        let (none, half) = (self.good[..data].to_vec(), self.good[..data + 4].to_vec());
        let (none, half) = (self.attack.sealed(none), self.attack.sealed(half));
        self.push("no authentication data", Reject::Length, true, none);
        self.push("half the authentication data", Reject::Length, true, half);
        match self.attack.good.password {
            Some(right) => self.passwords(right),
            None => self.said("a password that nobody asked for", Reject::AuthType, |advert| {
                advert.password = Some(*b"intruder");
            }),
        }
    }

    fn passwords(&mut self, right: [u8; 8]) {
        self.said("no authentication", Reject::AuthType, |advert| advert.password = None);
        self.said("an empty password", Reject::Password, |advert| advert.password = Some([0; 8]));
        let (mut near, mut shouted) = (right, right);
        near[7] ^= 0x20;
        shouted.make_ascii_uppercase();
        self.said("a password that differs at its end", Reject::Password, |a| a.password = Some(near));
        if shouted != right {
            self.said("the password in capitals", Reject::Password, |a| a.password = Some(shouted));
        }
    }

    fn version_3(&mut self) {
        let mut frozen = self.good.clone();
        frozen[4..6].fill(0);
        let frozen = self.attack.sealed(frozen);
        self.push("interval 0", Reject::Interval, true, frozen);
        let relabelled = self.good[0] ^ 0x10;
        if self.attack.src.is_ipv4() {
            self.said("the other version", Reject::VersionMismatch, |advert| advert.version = Version::V2);
            self.byte("version 2 on a body of version 3", Reject::Length, true, 0, relabelled);
        } else {
            self.byte("version 2 over ipv6", Reject::Family, true, 0, relabelled);
            let mut bare = self.good.clone();
            seal(&mut bare, Checksum::Message, self.attack.src, self.attack.dst);
            self.push("a checksum without the pseudo-header", Reject::Checksum, true, bare);
        }
        let mut password = self.good.clone();
        password.extend(*b"intruder");
        let password = self.attack.sealed(password);
        self.push("authentication data of version 2", Reject::Length, true, password);
        let mut elsewhere = self.good.clone();
        seal(&mut elsewhere, Checksum::PseudoHeader, self.attack.own, self.attack.src);
        self.push("the checksum of another conversation", Reject::Checksum, true, elsewhere);
    }
}

/// An address of the family of `like` that nobody on the link has.
const fn stranger(like: IpAddr) -> IpAddr {
    match like {
        IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::new(192, 0, 2, 77)),
        IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0x77)),
    }
}

const fn group(like: IpAddr) -> IpAddr {
    match like {
        IpAddr::V4(_) => IpAddr::V4(GROUP_V4),
        IpAddr::V6(_) => IpAddr::V6(GROUP_V6),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::super::parse;
    use super::*;

    fn attack(version: Version, password: Option<[u8; 8]>) -> Attack {
        let addrs = vec!["10.0.4.99".parse().unwrap(), "10.0.4.98".parse().unwrap()];
        let interval = Duration::from_secs(1);
        Attack {
            good: Advert { version, vrid: 51, priority: 254, interval, addrs, password },
            src: "10.0.4.9".parse().unwrap(),
            dst: GROUP_V4.into(),
            own: "10.0.4.1".parse().unwrap(),
            checksum: Checksum::PseudoHeader,
        }
    }

    fn ipv6() -> Attack {
        let mut attack = attack(Version::V3, None);
        attack.good.addrs = vec!["fe80::99".parse().unwrap(), "fd00::99".parse().unwrap()];
        attack.src = "fe80::9".parse().unwrap();
        attack.dst = GROUP_V6.into();
        attack.own = "fe80::1".parse().unwrap();
        attack
    }

    fn attacks() -> Vec<Attack> {
        let mut unicast = attack(Version::V2, None);
        unicast.dst = unicast.own;
        let mut bare = attack(Version::V3, None);
        bare.checksum = Checksum::Message;
        bare.good.addrs.truncate(1);
        let secret = attack(Version::V2, Some(*b"s3cret\0\0"));
        vec![secret, unicast, bare, attack(Version::V3, None), ipv6()]
    }

    /// What a vip that expects `attack.good` finds wrong with an advert that parsed.
    fn judge(attack: &Attack, case: &Hostile, heard: &Advert) -> Option<Reject> {
        let good = &attack.good;
        let set = |advert: &Advert| advert.addrs.iter().copied().collect::<BTreeSet<_>>();
        let wrong = [
            (case.ttl != TTL, Reject::Ttl),
            (case.src == attack.own, Reject::OwnAddress),
            (case.dst != attack.dst, Reject::Destination),
            (!attack.dst.is_multicast() && case.src != attack.src, Reject::Source),
            (heard.vrid != good.vrid, Reject::Vrid),
            (heard.version != good.version, Reject::VersionMismatch),
            (heard.password.is_some() != good.password.is_some(), Reject::AuthType),
            (heard.password != good.password, Reject::Password),
            (heard.interval != good.interval, Reject::Interval),
            (set(heard) != set(good), Reject::Addrs),
        ];
        wrong.into_iter().find(|(wrong, _)| *wrong).map(|(_, reject)| reject)
    }

    #[test]
    fn the_advert_that_they_are_made_from_is_believed() {
        for attack in attacks() {
            let Attack { src, dst, .. } = attack;
            let payload = attack.bytes(&attack.good);
            let (heard, _) = parse(&payload, src, dst, TTL).expect("it is good");
            let (name, reject) = ("good", Reject::Link);
            let good = Hostile { name, payload, ttl: TTL, src, dst, reject, by_parse: false };
            assert_eq!(judge(&attack, &good, &heard), None);
        }
    }

    #[test]
    fn each_is_rejected_for_its_reason() {
        for attack in attacks() {
            for case in hostile(&attack) {
                let name = format!("{} ({:?} to {})", case.name, attack.good.version, attack.dst);
                let judged = match parse(&case.payload, case.src, case.dst, case.ttl) {
                    Err(reject) => (Some(reject), true),
                    Ok((heard, _)) => (judge(&attack, &case, &heard), false),
                };
                assert_eq!(judged, (Some(case.reject), case.by_parse), "{name}");
            }
        }
    }

    #[test]
    fn there_are_more_than_twenty_three_kinds_for_each_version_and_family() {
        for attack in attacks() {
            let cases = hostile(&attack);
            let names: BTreeSet<_> = cases.iter().map(|case| case.name).collect();
            assert_eq!(names.len(), cases.len(), "no name twice");
            assert!(cases.len() > 23, "{} kinds", cases.len());
        }
    }
}
