//! Address resolution for IPv4 (RFC 826): whole Ethernet frames that announce, probe and answer (RFC 5227), and what a
//! received one claims.

use std::net::Ipv4Addr;

/// A hardware address.
pub type Mac = [u8; 6];

/// Length of an ARP frame before the wire pads it.
pub const FRAME: usize = 42;

/// The EtherType of ARP.
pub const ETHERTYPE: u16 = 0x0806;

/// Every station of the link.
pub const BROADCAST: Mac = [0xff; 6];

/// Hardware type Ethernet, protocol type IPv4 and their address lengths.
const ETHERNET_IPV4: [u8; 6] = [0, 1, 8, 0, 6, 4];
/// The target's hardware address where nobody can know it yet.
const UNKNOWN: Mac = [0; 6];
/// "Who has it?"
const REQUEST: u16 = 1;
/// "I do."
const REPLY: u16 = 2;

/// What an ARP frame says; nothing in it has been proved.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ArpView {
    /// Ethernet destination.
    pub to: Mac,
    /// Ethernet source.
    pub from: Mac,
    /// Whether it is a reply; a request otherwise.
    pub reply: bool,
    /// Who says so.
    pub sender_mac: Mac,
    /// The address that the sender claims; unspecified in a probe.
    pub sender_ip: Ipv4Addr,
    /// Whom it is meant for.
    pub target_mac: Mac,
    /// The address that is asked for, or the asker's in a reply.
    pub target_ip: Ipv4Addr,
}

/// The frame that tells the link that `vip` is at `mac`: a request for itself, byte for byte as keepalived sends it.
#[must_use]
pub fn gratuitous(vip: Ipv4Addr, mac: Mac) -> [u8; FRAME] {
    let (to, from) = (BROADCAST, mac);
    let view =
        ArpView { to, from, reply: false, sender_mac: mac, sender_ip: vip, target_mac: to, target_ip: vip };
    view.encode()
}

/// The frame that asks, without claiming anything, whether somebody has `vip` (RFC 5227 2.1.1).
#[must_use]
pub fn probe(vip: Ipv4Addr, mac: Mac) -> [u8; FRAME] {
    let (to, from, sender_ip) = (BROADCAST, mac, Ipv4Addr::UNSPECIFIED);
    let view =
        ArpView { to, from, reply: false, sender_mac: mac, sender_ip, target_mac: UNKNOWN, target_ip: vip };
    view.encode()
}

/// The frame by which the host `own_ip` at `mac` asks who has `target`.
#[must_use]
pub fn request(target: Ipv4Addr, own_ip: Ipv4Addr, mac: Mac) -> [u8; FRAME] {
    ArpView {
        to: BROADCAST,
        from: mac,
        reply: false,
        sender_mac: mac,
        sender_ip: own_ip,
        target_mac: UNKNOWN,
        target_ip: target,
    }
    .encode()
}

/// The frame that answers `asker` that `vip` is at `mac`.
#[must_use]
pub fn reply(vip: Ipv4Addr, mac: Mac, asker_ip: Ipv4Addr, asker_mac: Mac) -> [u8; FRAME] {
    let view = ArpView {
        to: asker_mac,
        from: mac,
        reply: true,
        sender_mac: mac,
        sender_ip: vip,
        target_mac: asker_mac,
        target_ip: asker_ip,
    };
    view.encode()
}

impl ArpView {
    /// Reads an Ethernet frame; `None` unless it is a whole ARP request or reply for IPv4 over Ethernet. What
    /// follows, the wire's padding, is not looked at.
    #[must_use]
    pub fn parse(frame: &[u8]) -> Option<Self> {
        let (to, rest) = frame.split_first_chunk::<6>()?;
        let (from, rest) = rest.split_first_chunk::<6>()?;
        let (ethertype, rest) = rest.split_first_chunk::<2>()?;
        let (kinds, rest) = rest.split_first_chunk::<6>()?;
        let (operation, rest) = rest.split_first_chunk::<2>()?;
        let (sender_mac, rest) = rest.split_first_chunk::<6>()?;
        let (sender_ip, rest) = rest.split_first_chunk::<4>()?;
        let (target_mac, rest) = rest.split_first_chunk::<6>()?;
        let (target_ip, _padding) = rest.split_first_chunk::<4>()?;
        if u16::from_be_bytes(*ethertype) != ETHERTYPE || *kinds != ETHERNET_IPV4 {
            return None;
        }
        let reply = match u16::from_be_bytes(*operation) {
            REQUEST => false,
            REPLY => true,
            _ => return None,
        };
        let (sender_ip, target_ip) = (Ipv4Addr::from(*sender_ip), Ipv4Addr::from(*target_ip));
        let (to, from, sender_mac, target_mac) = (*to, *from, *sender_mac, *target_mac);
        Some(Self { to, from, reply, sender_mac, sender_ip, target_mac, target_ip })
    }

    /// The frame that says this.
    #[must_use]
    pub fn encode(&self) -> [u8; FRAME] {
        let mut frame = [0; FRAME];
        frame[..6].copy_from_slice(&self.to);
        frame[6..12].copy_from_slice(&self.from);
        frame[12..14].copy_from_slice(&ETHERTYPE.to_be_bytes());
        frame[14..20].copy_from_slice(&ETHERNET_IPV4);
        frame[20..22].copy_from_slice(&if self.reply { REPLY } else { REQUEST }.to_be_bytes());
        frame[22..28].copy_from_slice(&self.sender_mac);
        frame[28..32].copy_from_slice(&self.sender_ip.octets());
        frame[32..38].copy_from_slice(&self.target_mac);
        frame[38..42].copy_from_slice(&self.target_ip.octets());
        frame
    }

    /// Whether somebody whose hardware address is not among `own` says that `vip` is theirs.
    #[must_use]
    pub fn claims(&self, vip: Ipv4Addr, own: &[Mac]) -> bool {
        self.sender_ip == vip && !own.contains(&self.sender_mac)
    }

    /// Whether somebody whose hardware address is not among `own` probes for `vip` and is about to take it (RFC 5227
    /// 2.1.1).
    #[must_use]
    pub fn wants(&self, vip: Ipv4Addr, own: &[Mac]) -> bool {
        let probe = !self.reply && self.sender_ip.is_unspecified();
        probe && self.target_ip == vip && !own.contains(&self.sender_mac)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const VIP: Ipv4Addr = Ipv4Addr::new(10, 0, 4, 99);
    const OURS: Mac = [2, 0, 0, 0, 0, 0x0a];
    const THEIRS: Mac = [2, 0, 0, 0, 0, 0x0b];

    /// As keepalived 2.2.7 announced its vip.
    const ANNOUNCED: [u8; FRAME] = [
        0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2, 0, 0, 0, 0, 0x0a, 8, 6, 0, 1, 8, 0, 6, 4, 0, 1, //
        2, 0, 0, 0, 0, 0x0a, 10, 0, 4, 99, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 10, 0, 4, 99,
    ];
    /// As a Linux kernel asked for its peer 10.0.4.2, and as that answered.
    const ASKED: [u8; FRAME] = [
        0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2, 0, 0, 0, 0, 0x0a, 8, 6, 0, 1, 8, 0, 6, 4, 0, 1, //
        2, 0, 0, 0, 0, 0x0a, 10, 0, 4, 1, 0, 0, 0, 0, 0, 0, 10, 0, 4, 2,
    ];
    const ANSWERED: [u8; FRAME] = [
        2, 0, 0, 0, 0, 0x0a, 2, 0, 0, 0, 0, 0x0b, 8, 6, 0, 1, 8, 0, 6, 4, 0, 2, //
        2, 0, 0, 0, 0, 0x0b, 10, 0, 4, 2, 2, 0, 0, 0, 0, 0x0a, 10, 0, 4, 1,
    ];

    #[test]
    fn we_announce_a_vip_as_keepalived_does() {
        assert_eq!(gratuitous(VIP, OURS), ANNOUNCED);
    }

    #[test]
    fn we_answer_as_a_kernel_does() {
        let asked = ArpView::parse(&ASKED).unwrap();
        assert_eq!(reply(asked.target_ip, THEIRS, asked.sender_ip, asked.sender_mac), ANSWERED);
    }

    #[test]
    fn what_is_read_is_written_the_same() {
        for frame in [ANNOUNCED, ASKED, ANSWERED, probe(VIP, OURS)] {
            assert_eq!(ArpView::parse(&frame).unwrap().encode(), frame);
        }
    }

    #[test]
    fn a_probe_claims_nothing_and_wants_the_vip() {
        let probe = ArpView::parse(&probe(VIP, THEIRS)).unwrap();
        assert!(!probe.claims(VIP, &[OURS]));
        assert!(probe.wants(VIP, &[OURS]));
        assert!(!probe.wants(VIP, &[OURS, THEIRS]), "our own probe is none of theirs");
    }

    #[test]
    fn an_announcement_or_answer_of_a_foreign_hardware_address_is_a_claim() {
        let asker = (Ipv4Addr::new(10, 0, 4, 1), OURS);
        for frame in [gratuitous(VIP, THEIRS), reply(VIP, THEIRS, asker.0, asker.1)] {
            let view = ArpView::parse(&frame).unwrap();
            assert!(view.claims(VIP, &[OURS]));
            assert!(!view.claims(VIP, &[OURS, THEIRS]));
            assert!(!view.claims(asker.0, &[OURS]), "another address is another matter");
            assert!(!view.wants(VIP, &[OURS]));
        }
    }

    #[test]
    fn the_padding_of_the_wire_is_not_read_and_a_shorter_frame_is_nothing() {
        let mut padded = ANNOUNCED.to_vec();
        padded.resize(60, 0xa5);
        assert_eq!(ArpView::parse(&padded), ArpView::parse(&ANNOUNCED));
        for len in 0..FRAME {
            assert_eq!(ArpView::parse(&ANNOUNCED[..len]), None, "{len} bytes");
        }
    }

    #[test]
    fn other_protocols_address_lengths_and_operations_are_not_read() {
        for (at, value) in [(12, 0x86), (15, 6), (16, 0x86), (18, 8), (19, 16), (21, 0), (21, 3), (20, 1)] {
            let mut frame = ANNOUNCED;
            frame[at] = value;
            assert_eq!(ArpView::parse(&frame), None, "byte {at} is {value}");
        }
    }
}
