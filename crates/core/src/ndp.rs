//! Neighbour discovery for IPv6 (RFC 4861): whole Ethernet frames that announce, probe and answer, and what a received
//! one claims.

use std::net::Ipv6Addr;

use crate::arp::Mac;
use crate::checksum::Sum;

/// Length of a frame with one link-layer address in it.
pub const FRAME: usize = PROBE_FRAME + LLADDR;

/// Length of a frame without options, such as a probe's: headers of Ethernet and IPv6, message and target.
pub const PROBE_FRAME: usize = ICMP_AT + MESSAGE;

/// The EtherType of IPv6.
pub const ETHERTYPE: u16 = 0x86dd;

/// Every node of the link.
pub const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);

/// Where the IPv6 header starts.
const IPV6_AT: usize = 14;
/// Where the ICMPv6 message starts.
const ICMP_AT: usize = IPV6_AT + 40;
/// Type, code, checksum, flags and target.
const MESSAGE: usize = 24;
/// A link-layer address option: type, length and a hardware address.
const LLADDR: usize = 8;
/// Only a packet of this link arrives with this hop limit (RFC 4861 7.1).
const HOP_LIMIT: u8 = 255;
/// The next header of ICMPv6.
const ICMPV6: u8 = 58;
/// Options past these are not read; a kernel sends at most two.
const MAX_OPTIONS: usize = 16;

const SOLICITATION: u8 = 135;
const ADVERTISEMENT: u8 = 136;
const SOURCE_LLADDR: u8 = 1;
const TARGET_LLADDR: u8 = 2;

const ROUTER: u8 = 0x80;
const SOLICITED: u8 = 0x40;
const OVERRIDE: u8 = 0x20;

/// What a solicitation or an advertisement says; nothing in it has been proved.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct NdpView {
    /// Ethernet destination.
    pub to: Mac,
    /// Ethernet source.
    pub from: Mac,
    /// IPv6 source; unspecified in a probe.
    pub src: Ipv6Addr,
    /// IPv6 destination.
    pub dst: Ipv6Addr,
    /// Which message.
    pub kind: NdpKind,
    /// The address that it is about.
    pub target: Ipv6Addr,
    /// The hardware address of the sender of a solicitation, of the target in an advertisement.
    pub lladdr: Option<Mac>,
}

/// Which message of neighbour discovery.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum NdpKind {
    /// "Who has the target?" (RFC 4861 4.3)
    Solicitation,
    /// "The target is here." (RFC 4861 4.4)
    Advertisement {
        /// The sender routes.
        router: bool,
        /// It answers a solicitation.
        solicited: bool,
        /// It replaces what the hearer had stored.
        overrides: bool,
    },
}

/// The frame that tells every node of the link that `vip` is at `mac` and replaces what they knew.
#[must_use]
pub fn unsolicited(vip: Ipv6Addr, mac: Mac, router: bool) -> [u8; FRAME] {
    let kind = NdpKind::Advertisement { router, solicited: false, overrides: true };
    let to = multicast(ALL_NODES);
    NdpView { to, from: mac, src: vip, dst: ALL_NODES, kind, target: vip, lladdr: Some(mac) }.sized()
}

/// The frame that answers `asker_ip` that `vip` is at `mac`.
#[must_use]
pub fn reply(vip: Ipv6Addr, mac: Mac, asker_ip: Ipv6Addr, asker_mac: Mac, router: bool) -> [u8; FRAME] {
    let kind = NdpKind::Advertisement { router, solicited: true, overrides: true };
    let (to, dst) = (asker_mac, asker_ip);
    NdpView { to, from: mac, src: vip, dst, kind, target: vip, lladdr: Some(mac) }.sized()
}

/// The frame that asks, without claiming anything, whether somebody has `vip` (RFC 4862 5.4.2).
#[must_use]
pub fn probe(vip: Ipv6Addr, mac: Mac) -> [u8; PROBE_FRAME] {
    let (dst, kind) = (solicited_node(vip), NdpKind::Solicitation);
    let to = multicast(dst);
    NdpView { to, from: mac, src: Ipv6Addr::UNSPECIFIED, dst, kind, target: vip, lladdr: None }.sized()
}

/// The frame by which the host `own_ip` at `mac` asks who has `target`.
#[must_use]
pub fn request(target: Ipv6Addr, own_ip: Ipv6Addr, mac: Mac) -> [u8; FRAME] {
    let (dst, kind) = (solicited_node(target), NdpKind::Solicitation);
    NdpView { to: multicast(dst), from: mac, src: own_ip, dst, kind, target, lladdr: Some(mac) }.sized()
}

/// The group in which the holder of `addr` listens for solicitations (RFC 4291 2.7.1).
#[must_use]
pub fn solicited_node(addr: Ipv6Addr) -> Ipv6Addr {
    let [.., a, b, c] = addr.octets();
    Ipv6Addr::from([0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0xff, a, b, c])
}

/// The Ethernet address of a multicast group (RFC 2464 7).
#[must_use]
pub fn multicast(group: Ipv6Addr) -> Mac {
    let [.., a, b, c, d] = group.octets();
    [0x33, 0x33, a, b, c, d]
}

impl NdpView {
    /// Reads an Ethernet frame; `None` unless it is a neighbour solicitation or advertisement that passes the checks of
    /// RFC 4861 7.1. What follows the IPv6 packet, the wire's padding, is not looked at, nor are unknown options.
    #[must_use]
    pub fn parse(frame: &[u8]) -> Option<Self> {
        let (to, rest) = frame.split_first_chunk::<6>()?;
        let (from, rest) = rest.split_first_chunk::<6>()?;
        let (ethertype, rest) = rest.split_first_chunk::<2>()?;
        let (head, rest) = rest.split_first_chunk::<8>()?;
        let (src, rest) = rest.split_first_chunk::<16>()?;
        let (dst, rest) = rest.split_first_chunk::<16>()?;
        let [version, _, _, _, high, low, next, hops] = *head;
        if u16::from_be_bytes(*ethertype) != ETHERTYPE
            || version >> 4 != 6
            || (next, hops) != (ICMPV6, HOP_LIMIT)
        {
            return None;
        }
        let message = rest.get(..usize::from(u16::from_be_bytes([high, low])))?;
        let (src, dst) = (Ipv6Addr::from(*src), Ipv6Addr::from(*dst));
        let sum = Sum::pseudo_header(src.into(), dst.into(), ICMPV6, message.len()).bytes(message);
        if sum.fold() != 0xffff {
            return None;
        }
        let (fixed, rest) = message.split_first_chunk::<8>()?;
        let (target, options) = rest.split_first_chunk::<16>()?;
        let [kind, 0, _, _, flags, _, _, _] = *fixed else { return None };
        let (kind, wanted) = match kind {
            SOLICITATION => (NdpKind::Solicitation, SOURCE_LLADDR),
            ADVERTISEMENT => (NdpKind::from_flags(flags), TARGET_LLADDR),
            _ => return None,
        };
        let lladdr = lladdr(options, wanted)?;
        let target = Ipv6Addr::from(*target);
        let view = Self { to: *to, from: *from, src, dst, kind, target, lladdr };
        view.is_sound().then_some(view)
    }

    /// The frame that says this; without the option when there is no hardware address.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut frame = vec![0; PROBE_FRAME + self.lladdr.map_or(0, |_| LLADDR)];
        self.write(&mut frame);
        frame
    }

    /// Whether somebody whose hardware address is not among `own` says that `vip` is theirs. An advertisement without
    /// a hardware address is judged by its Ethernet source.
    #[must_use]
    pub fn claims(&self, vip: Ipv6Addr, own: &[Mac]) -> bool {
        let claimed = match self.kind {
            NdpKind::Solicitation => self.src,
            NdpKind::Advertisement { .. } => self.target,
        };
        claimed == vip && !own.contains(&self.lladdr.unwrap_or(self.from))
    }

    /// Whether somebody whose hardware address is not among `own` probes for `vip` and is about to take it (RFC 4862
    /// 5.4.3).
    #[must_use]
    pub fn wants(&self, vip: Ipv6Addr, own: &[Mac]) -> bool {
        let probe = self.kind == NdpKind::Solicitation && self.src.is_unspecified();
        probe && self.target == vip && !own.contains(&self.from)
    }

    /// The rules of RFC 4861 7.1 for what has been read.
    fn is_sound(&self) -> bool {
        let probe = self.src.is_unspecified();
        let by_kind = match self.kind {
            NdpKind::Solicitation => {
                !probe || (self.lladdr.is_none() && self.dst == solicited_node(self.target))
            }
            NdpKind::Advertisement { solicited, .. } => !(probe || (solicited && self.dst.is_multicast())),
        };
        by_kind && !self.src.is_multicast() && !self.target.is_multicast() && !self.target.is_unspecified()
    }

    /// The frame in an array, whose length must be that of a frame with or without the option.
    fn sized<const LEN: usize>(&self) -> [u8; LEN] {
        let mut frame = [0; LEN];
        self.write(&mut frame);
        frame
    }

    fn write(&self, frame: &mut [u8]) {
        frame[..6].copy_from_slice(&self.to);
        frame[6..12].copy_from_slice(&self.from);
        frame[12..14].copy_from_slice(&ETHERTYPE.to_be_bytes());
        let len = u8::try_from(frame.len() - ICMP_AT).expect("a message of 24 or 32 bytes");
        frame[IPV6_AT..IPV6_AT + 8].copy_from_slice(&[0x60, 0, 0, 0, 0, len, ICMPV6, HOP_LIMIT]);
        frame[22..38].copy_from_slice(&self.src.octets());
        frame[38..54].copy_from_slice(&self.dst.octets());
        let (kind, option, flags) = match self.kind {
            NdpKind::Solicitation => (SOLICITATION, SOURCE_LLADDR, 0),
            NdpKind::Advertisement { .. } => (ADVERTISEMENT, TARGET_LLADDR, self.kind.flags()),
        };
        let message = &mut frame[ICMP_AT..];
        message[..8].copy_from_slice(&[kind, 0, 0, 0, flags, 0, 0, 0]);
        message[8..MESSAGE].copy_from_slice(&self.target.octets());
        if let Some(mac) = self.lladdr {
            message[MESSAGE..MESSAGE + 2].copy_from_slice(&[option, 1]);
            message[MESSAGE + 2..].copy_from_slice(&mac);
        }
        let sum = Sum::pseudo_header(self.src.into(), self.dst.into(), ICMPV6, message.len()).bytes(message);
        message[2..4].copy_from_slice(&sum.finish());
    }
}

impl NdpKind {
    const fn from_flags(flags: u8) -> Self {
        Self::Advertisement {
            router: flags & ROUTER != 0,
            solicited: flags & SOLICITED != 0,
            overrides: flags & OVERRIDE != 0,
        }
    }

    const fn flags(self) -> u8 {
        match self {
            Self::Solicitation => 0,
            Self::Advertisement { router, solicited, overrides } => {
                (if router { ROUTER } else { 0 })
                    | (if solicited { SOLICITED } else { 0 })
                    | (if overrides { OVERRIDE } else { 0 })
            }
        }
    }
}

/// The first hardware address among the options under this type; the outer `None` where one of them is broken.
#[expect(clippy::option_option, reason = "broken, absent and present are three answers")]
fn lladdr(mut options: &[u8], wanted: u8) -> Option<Option<Mac>> {
    let mut found = None;
    for _ in 0..MAX_OPTIONS {
        let [kind, units, ..] = *options else { break };
        let (option, rest) = options.split_at_checked(usize::from(units) * 8)?;
        let [_, _, body @ ..] = option else { return None };
        if kind == wanted && found.is_none() {
            found = Some(Mac::try_from(body).ok()?);
        }
        options = rest;
    }
    // A single byte is no option, and neither is what lies past the last one read.
    options.is_empty().then_some(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    const VIP: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0x99);
    const PEER: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 2);
    const OURS: Mac = [2, 0, 0, 0, 0, 0x0a];
    const THEIRS: Mac = [2, 0, 0, 0, 0, 0x0b];

    /// As keepalived 2.2.7 announced its vips fe80::99 and fd00:4::99.
    const ANNOUNCED: [[u8; FRAME]; 2] = [
        [
            0x33, 0x33, 0, 0, 0, 1, 2, 0, 0, 0, 0, 0x0a, 0x86, 0xdd, 0x60, 0, 0, 0, 0, 32, 58, 255, //
            0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x99, //
            0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, //
            136, 0, 0x56, 0x62, 0x20, 0, 0, 0, 0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
            0x99, //
            2, 1, 2, 0, 0, 0, 0, 0x0a,
        ],
        [
            0x33, 0x33, 0, 0, 0, 1, 2, 0, 0, 0, 0, 0x0a, 0x86, 0xdd, 0x60, 0, 0, 0, 0, 32, 58, 255, //
            0xfd, 0, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x99, //
            0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, //
            136, 0, 0x59, 0x5a, 0x20, 0, 0, 0, 0xfd, 0, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x99, //
            2, 1, 2, 0, 0, 0, 0, 0x0a,
        ],
    ];

    #[test]
    fn we_announce_a_vip_as_keepalived_does() {
        let vips = [VIP, Ipv6Addr::new(0xfd00, 4, 0, 0, 0, 0, 0, 0x99)];
        assert_eq!(vips.map(|vip| unsolicited(vip, OURS, false)), ANNOUNCED);
    }

    #[test]
    fn a_router_says_so() {
        let view = NdpView::parse(&unsolicited(VIP, OURS, true)).unwrap();
        assert_eq!(view.kind, NdpKind::Advertisement { router: true, solicited: false, overrides: true });
    }

    #[test]
    fn what_is_read_is_written_the_same() {
        let [announced, _] = ANNOUNCED;
        for frame in [&announced[..], &reply(VIP, OURS, PEER, THEIRS, false), &probe(VIP, OURS)] {
            assert_eq!(NdpView::parse(frame).unwrap().encode(), frame);
        }
    }

    #[test]
    fn a_probe_goes_to_the_group_of_its_target_and_claims_nothing() {
        let view = NdpView::parse(&probe(VIP, THEIRS)).unwrap();
        assert_eq!(view.dst, "ff02::1:ff00:99".parse::<Ipv6Addr>().unwrap());
        assert_eq!(view.to, [0x33, 0x33, 0xff, 0, 0, 0x99]);
        assert!(!view.claims(VIP, &[OURS]));
        assert!(view.wants(VIP, &[OURS]));
        assert!(!view.wants(VIP, &[OURS, THEIRS]), "our own probe is none of theirs");
    }

    #[test]
    fn an_advertisement_of_a_foreign_hardware_address_is_a_claim() {
        for frame in [unsolicited(VIP, THEIRS, false), reply(VIP, THEIRS, PEER, OURS, false)] {
            let view = NdpView::parse(&frame).unwrap();
            assert!(view.claims(VIP, &[OURS]));
            assert!(!view.claims(VIP, &[OURS, THEIRS]));
            assert!(!view.claims(PEER, &[OURS]), "another address is another matter");
            assert!(!view.wants(VIP, &[OURS]));
        }
    }

    #[test]
    fn a_solicitation_sent_from_the_vip_is_a_claim_and_one_for_it_is_not() {
        let (kind, lladdr) = (NdpKind::Solicitation, Some(THEIRS));
        let asks = |src, target| {
            let dst = solicited_node(target);
            let view = NdpView { to: multicast(dst), from: THEIRS, src, dst, kind, target, lladdr };
            NdpView::parse(&view.encode()).unwrap()
        };
        assert!(asks(VIP, PEER).claims(VIP, &[OURS]));
        assert!(!asks(PEER, VIP).claims(VIP, &[OURS]));
        assert!(!asks(PEER, VIP).wants(VIP, &[OURS]));
    }

    #[test]
    fn without_an_option_the_ethernet_source_tells_whose_claim_it_is() {
        let mut view = NdpView::parse(&ANNOUNCED[0]).unwrap();
        view.lladdr = None;
        let view = NdpView::parse(&view.encode()).unwrap();
        assert_eq!(view.lladdr, None);
        assert!(view.claims(VIP, &[THEIRS]) && !view.claims(VIP, &[OURS]));
    }

    #[test]
    fn no_bit_of_the_packet_can_flip_unnoticed() {
        for bit in IPV6_AT * 8..FRAME * 8 {
            let mut frame = ANNOUNCED[0];
            frame[bit / 8] ^= 0x80 >> (bit % 8);
            // The traffic class and the flow label mean nothing here and no checksum covers them.
            let ignored = (IPV6_AT * 8 + 4..IPV6_AT * 8 + 32).contains(&bit);
            assert_eq!(NdpView::parse(&frame).is_some(), ignored, "bit {bit}");
        }
    }

    #[test]
    fn the_padding_of_the_wire_is_not_read_and_a_shorter_frame_is_nothing() {
        let mut padded = ANNOUNCED[0].to_vec();
        padded.resize(200, 0xa5);
        assert_eq!(NdpView::parse(&padded), NdpView::parse(&ANNOUNCED[0]));
        for len in 0..FRAME {
            assert_eq!(NdpView::parse(&ANNOUNCED[0][..len]), None, "{len} bytes");
        }
    }

    #[test]
    fn a_packet_from_behind_a_router_or_against_the_rules_is_nothing() {
        let good = NdpView::parse(&ANNOUNCED[0]).unwrap();
        let asked = NdpView::parse(&probe(VIP, OURS)).unwrap();
        let group = solicited_node(VIP);
        let solicited = NdpKind::Advertisement { router: false, solicited: true, overrides: true };
        for (what, view) in [
            ("an answer to a whole group", NdpView { kind: solicited, ..good }),
            ("an advertisement from nobody", NdpView { src: Ipv6Addr::UNSPECIFIED, ..good }),
            ("a group as source", NdpView { src: ALL_NODES, ..good }),
            ("a group as target", NdpView { target: group, ..good }),
            ("nothing as target", NdpView { target: Ipv6Addr::UNSPECIFIED, ..good }),
            ("a probe that tells an address", NdpView { lladdr: Some(OURS), ..asked }),
            ("a probe to everybody", NdpView { dst: ALL_NODES, ..asked }),
        ] {
            assert_eq!(NdpView::parse(&view.encode()), None, "{what}");
        }
        let mut routed = ANNOUNCED[0];
        routed[IPV6_AT + 7] = 254;
        assert_eq!(NdpView::parse(&routed), None);
    }

    #[test]
    fn options_are_read_within_their_bounds() {
        let mine = [2, 1, 2, 0, 0, 0, 0, 0x0b];
        let nonce = [14, 1, 1, 2, 3, 4, 5, 6];
        let cases = [
            ("none", Vec::new(), Some(None)),
            ("an unknown one before it", [nonce, mine].concat(), Some(Some(THEIRS))),
            ("the other kind", [[1, 1], [2, 0], [0, 0], [0, 9]].concat(), Some(None)),
            ("the first of two", [mine, [2, 1, 9, 9, 9, 9, 9, 9]].concat(), Some(Some(THEIRS))),
            ("length zero", vec![2, 0, 2, 0, 0, 0, 0, 0x0b], None),
            ("longer than the packet", vec![2, 2, 2, 0, 0, 0, 0, 0x0b], None),
            ("too long for Ethernet", [[2, 2, 0, 0, 0, 0, 0, 0], [0; 8]].concat(), None),
            ("a lone byte", [&mine[..], &[14]].concat(), None),
            ("more than anybody needs", [nonce; MAX_OPTIONS + 1].concat(), None),
        ];
        for (what, options, expected) in cases {
            let read = NdpView::parse(&with_options(&options)).map(|view| view.lladdr);
            assert_eq!(read, expected, "{what}");
        }
    }

    /// The first announcement with other options and the right checksum.
    fn with_options(options: &[u8]) -> Vec<u8> {
        let mut frame = [&ANNOUNCED[0][..PROBE_FRAME], options].concat();
        let len = frame.len() - ICMP_AT;
        frame[IPV6_AT + 4..IPV6_AT + 6].copy_from_slice(&u16::try_from(len).unwrap().to_be_bytes());
        frame[ICMP_AT + 2..ICMP_AT + 4].fill(0);
        let sum = Sum::pseudo_header(VIP.into(), ALL_NODES.into(), ICMPV6, len).bytes(&frame[ICMP_AT..]);
        frame[ICMP_AT + 2..ICMP_AT + 4].copy_from_slice(&sum.finish());
        frame
    }
}
