//! Every VRRP packet on every interface, as the wire has it: before the firewall on its way in, after it on its way out.
//!
//! A packet socket for all protocols (packet(7)) sees what netfilter and a gate drop later, and what this host sends. A
//! filter in the kernel lets protocol 112 through and nothing else, so a busy interface costs nothing.

use std::io;
use std::mem;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::net::{AddressFamily, SocketType};

use super::batch::{Inbox, Received};
use super::filter::{self, Step};
use crate::error::{Doing, Result};
use crate::os;

/// Packets received in one call.
const INBOX: usize = 32;
/// 255 IPv6 addresses, the most that an advert holds, and the IP header.
const PACKET: usize = 4224;
/// A burst of a thousand adverts, at what the kernel accounts for each.
const RECEIVE_BUFFER: i32 = 4 * 1024 * 1024;
/// The IP protocol number of VRRP.
const VRRP: u32 = 112;
/// `SKF_AD_OFF + SKF_AD_PROTOCOL`: the Ethernet type, whatever header the packet begins with.
const AD_PROTOCOL: u32 = 0xffff_f000;
/// `SKF_AD_OFF + SKF_AD_PKTTYPE`: whom the packet is for.
const AD_PKTTYPE: u32 = 0xffff_f004;
/// `PACKET_OTHERHOST`: flooded by a switch, meant for another host.
const OTHER_HOST: u32 = 3;
/// `PACKET_OUTGOING`: sent by this host.
const OUTGOING: u8 = 4;
/// Ethernet types.
const IPV4: u32 = 0x0800;
const IPV6: u32 = 0x86dd;
/// Where the protocol stands in an IPv4 header, and the next header in an IPv6 one.
const PROTOCOL_AT: u32 = 9;
const NEXT_HEADER_AT: u32 = 6;
/// `TP_STATUS_VLAN_VALID`: the packet had a VLAN tag, which the kernel took off.
const VLAN_VALID: u32 = 1 << 4;
/// The twelve bits of a tag that name the VLAN.
const VLAN_ID: u16 = 0x0fff;

/// A packet that passed an interface. Nothing in it was checked but its lengths.
#[derive(Clone, Copy, Debug)]
pub struct Tapped<'a> {
    /// The interface's number.
    pub index: u32,
    /// This host sent it.
    pub outgoing: bool,
    /// The VLAN whose tag it carries on this interface.
    pub vlan: Option<u16>,
    /// The Ethernet source; zeros where there is none.
    pub mac: [u8; 6],
    /// The source.
    pub from: IpAddr,
    /// The group or address it was sent to.
    pub to: IpAddr,
    /// Its TTL or hop limit.
    pub ttl: u8,
    /// What follows the IP header, without the wire's padding.
    pub payload: &'a [u8],
}

/// The socket. Multicast is let through for as long as it is open.
pub struct Tap {
    fd: OwnedFd,
    inbox: Inbox,
}

impl Tap {
    /// Opens it on all interfaces; needs `CAP_NET_RAW`.
    ///
    /// # Errors
    /// When the privilege is missing.
    pub fn open() -> Result<Self> {
        let fd = open()
            .doing(|| "cannot listen to packets before the firewall (it takes CAP_NET_RAW: be root)")?;
        Ok(Self { fd, inbox: Inbox::new(INBOX, PACKET) })
    }

    /// Has an interface take every multicast frame, also of groups that nobody here joined.
    ///
    /// # Errors
    /// When the interface is gone.
    pub fn widen(&self, index: u32) -> Result<()> {
        let mut request: libc::packet_mreq = os::zeroed();
        request.mr_ifindex = index.cast_signed();
        request.mr_type = u16::try_from(libc::PACKET_MR_ALLMULTI).expect("a small number");
        os::set_option(&self.fd, libc::SOL_PACKET, libc::PACKET_ADD_MEMBERSHIP, &request)
            .doing(|| format!("cannot hear all multicast on interface {index}"))
    }

    /// Hands up to `max` waiting packets to `each` and returns how many were read; never waits.
    ///
    /// # Errors
    /// When the socket fails, for example `ENETDOWN` once after an interface went down.
    pub fn receive(&mut self, max: usize, each: &mut impl FnMut(Tapped<'_>)) -> io::Result<usize> {
        let mut total = 0;
        while total < max {
            let want = (max - total).min(self.inbox.room());
            let got = self.inbox.receive(&self.fd, want, |packet| {
                if let Some(tapped) = read(&packet) {
                    each(tapped);
                }
            })?;
            total += got;
            if got < want {
                break;
            }
        }
        Ok(total)
    }
}

impl AsFd for Tap {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

fn open() -> io::Result<OwnedFd> {
    // Protocol 0: it hears nothing before it is bound, so the filter is in place first.
    let fd = os::socket(AddressFamily::PACKET, SocketType::DGRAM, None)?;
    os::socket_filter(&fd, &program())?;
    os::set_option(&fd, libc::SOL_PACKET, libc::PACKET_AUXDATA, &1i32)?;
    os::receive_buffer(&fd, RECEIVE_BUFFER)?;
    let mut name: libc::sockaddr_ll = os::zeroed();
    name.sll_family = libc::sa_family_t::try_from(libc::AF_PACKET).expect("a small number");
    name.sll_protocol = u16::try_from(libc::ETH_P_ALL).expect("Ethernet types are 16 bits").to_be();
    os::bind(&fd, &name)?;
    Ok(fd)
}

/// VRRP over either family that is not meant for another host.
fn program() -> Vec<libc::sock_filter> {
    filter::program(&[
        Step::LoadWord(AD_PKTTYPE),
        Step::SkipIf(OTHER_HOST, 8),
        Step::LoadWord(AD_PROTOCOL),
        Step::SkipUnless(IPV4, 2),
        Step::LoadByte(PROTOCOL_AT),
        Step::SkipIf(VRRP, 3),
        Step::SkipUnless(IPV6, 3),
        Step::LoadByte(NEXT_HEADER_AT),
        Step::SkipUnless(VRRP, 1),
        Step::Pass,
        Step::Drop,
    ])
}

fn read<'a>(packet: &Received<'a>) -> Option<Tapped<'a>> {
    // struct sockaddr_ll in the room of a sockaddr_in6: family, protocol, interface, hardware type, packet type, length of
    // the hardware address, hardware address.
    let name = &packet.name;
    let rest = name.sin6_addr.s6_addr;
    let mac = <[u8; 6]>::try_from(rest.get(4..10)?).ok()?;
    let head = header(packet.bytes)?;
    Some(Tapped {
        index: name.sin6_flowinfo,
        outgoing: rest[2] == OUTGOING,
        vlan: packet.control.find(libc::SOL_PACKET, libc::PACKET_AUXDATA).and_then(|aux| vlan(&aux)),
        mac: if rest[3] == 6 { mac } else { [0; 6] },
        from: head.from,
        to: head.to,
        ttl: head.ttl,
        payload: head.payload,
    })
}

/// `struct tpacket_auxdata`: status, length, captured length, two offsets, VLAN tag and its protocol.
fn vlan(aux: &[u8]) -> Option<u16> {
    let status = u32::from_ne_bytes(aux.get(..4)?.try_into().ok()?);
    let tag = u16::from_ne_bytes(aux.get(16..18)?.try_into().ok()?);
    (status & VLAN_VALID != 0).then_some(tag & VLAN_ID)
}

/// What an IP header says.
struct Header<'a> {
    from: IpAddr,
    to: IpAddr,
    ttl: u8,
    payload: &'a [u8],
}

/// Reads an IPv4 header (RFC 791 3.1) or an IPv6 one (RFC 8200 3) without extensions.
fn header(bytes: &[u8]) -> Option<Header<'_>> {
    let length = |at: usize| {
        let length = <[u8; mem::size_of::<u16>()]>::try_from(bytes.get(at..at + 2)?).ok()?;
        Some(usize::from(u16::from_be_bytes(length)))
    };
    match bytes.first()? >> 4 {
        4 => {
            let addr = |at: usize| <[u8; 4]>::try_from(bytes.get(at..at + 4)?).ok().map(Ipv4Addr::from);
            let start = usize::from(bytes[0] & 0x0f) * 4;
            Some(Header {
                from: addr(12)?.into(),
                to: addr(16)?.into(),
                ttl: *bytes.get(8)?,
                payload: bytes.get(start.max(20)..length(2)?)?,
            })
        }
        6 => {
            let addr = |at: usize| <[u8; 16]>::try_from(bytes.get(at..at + 16)?).ok().map(Ipv6Addr::from);
            Some(Header {
                from: addr(8)?.into(),
                to: addr(24)?.into(),
                ttl: *bytes.get(7)?,
                payload: bytes.get(40..40 + length(4)?)?,
            })
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::netlink::Route;
    use crate::packet::{FrameSocket, Outgoing, VrrpSocket};
    use crate::testnet::{Host, in_namespace, sh, until, wire};

    /// Interface, outgoing, VLAN, source, payload.
    type Seen = (String, bool, Option<u16>, IpAddr, Vec<u8>);

    fn index(name: &str) -> u32 {
        let links = Route::open().and_then(|mut route| route.links()).expect("links");
        links.iter().find(|link| link.name == name).expect("the interface").index
    }

    fn say(name: &str, to: &str, payload: &'static [u8]) {
        let to: IpAddr = to.parse().expect("an address");
        let mut socket = VrrpSocket::open(name, index(name), to.is_ipv6()).expect("a VRRP socket");
        socket.send(&[Outgoing { to, from: None, payload }]);
    }

    fn drain(tap: &mut Tap, seen: &mut Vec<Seen>) {
        let links = Route::open().and_then(|mut route| route.links()).expect("links");
        tap.receive(100, &mut |p| {
            let name = links.iter().find(|link| link.index == p.index).map(|link| link.name.clone());
            seen.push((name.unwrap_or_default(), p.outgoing, p.vlan, p.from, p.payload.to_vec()));
        })
        .expect("receive");
    }

    #[test]
    fn what_a_firewall_drops_on_its_way_in_is_seen_and_what_it_drops_on_its_way_out_is_not() {
        in_namespace(
            "packet::tap::tests::what_a_firewall_drops_on_its_way_in_is_seen_and_what_it_drops_on_its_way_out_is_not",
            || {
                let host = Host::start();
                wire(&host, "a0", "b0", &["10.4.0.1/24", "fd04::1/64"], &["10.4.0.2/24"]);
                sh(
                    "nft 'add table inet f; add chain inet f i { type filter hook input priority 0; policy drop; }'",
                );
                let mut tap = Tap::open().expect("a tap");
                tap.widen(index("a0")).expect("all multicast");
                host.run(|| say("b0", "224.0.0.18", b"four"));
                host.run(|| say("b0", "ff02::12", b"six"));
                say("a0", "224.0.0.18", b"ours");
                sh("nft 'add chain inet f o { type filter hook output priority 0; policy drop; }'");
                say("a0", "224.0.0.18", b"dropped");
                sh("nft flush ruleset");
                say("a0", "224.0.0.18", b"last");
                let mut seen = Vec::new();
                until("the last packet", || {
                    drain(&mut tap, &mut seen);
                    seen.iter().any(|packet| packet.4 == b"last")
                });
                let said: Vec<(bool, &[u8])> = seen.iter().map(|p| (p.1, p.4.as_slice())).collect();
                assert_eq!(said, [(false, &b"four"[..]), (false, b"six"), (true, b"ours"), (true, b"last")]);
                assert!(seen.iter().all(|p| p.0 == "a0" && p.2.is_none()), "{seen:?}");
            },
        );
    }

    #[test]
    fn the_tag_of_a_vlan_is_told() {
        in_namespace("packet::tap::tests::the_tag_of_a_vlan_is_told", || {
            let host = Host::start();
            wire(&host, "a0", "b0", &["10.4.0.1/24"], &["10.4.0.2/24"]);
            let mut tap = Tap::open().expect("a tap");
            tap.widen(index("a0")).expect("all multicast");
            host.run(|| {
                let mut frame = vec![1, 0, 0x5e, 0, 0, 18, 2, 0, 0, 0, 0, 9, 0x81, 0, 0xe0, 7, 8, 0];
                frame.extend([0x45, 0, 0, 26, 0, 0, 0, 0, 255, 112, 0, 0, 10, 7, 0, 2, 224, 0, 0, 18]);
                frame.extend(b"tagged");
                let mut socket = FrameSocket::open(index("b0"), false).expect("a packet socket");
                assert_eq!(socket.send(&[frame]).count, 1);
            });
            let mut seen = Vec::new();
            until("the tagged packet", || {
                drain(&mut tap, &mut seen);
                !seen.is_empty()
            });
            assert_eq!(
                seen,
                [("a0".into(), false, Some(7), "10.7.0.2".parse().unwrap(), b"tagged".to_vec())]
            );
        });
    }

    #[test]
    fn padding_is_cut_off_and_a_lie_about_the_length_is_nothing() {
        let mut packet = vec![0x45, 0, 0, 24, 0, 0, 0, 0, 255, 112, 0, 0, 10, 4, 0, 1, 224, 0, 0, 18];
        packet.extend([1, 2, 3, 4, 0, 0]);
        assert_eq!(header(&packet).map(|h| h.payload.to_vec()), Some(vec![1, 2, 3, 4]));
        packet[3] = 200;
        assert!(header(&packet).is_none());
        packet[3] = 10;
        assert!(header(&packet).is_none());
        for len in 0..20 {
            assert!(header(&packet[..len]).is_none(), "{len} bytes");
        }
    }
}
