//! Sockets that send and hear VRRP (RFC 9568 5.1: protocol 112, TTL 255) on one interface.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::net::{AddressFamily, Protocol, SocketType};

use super::batch::{self, Control, Inbox, Name, Packet, Received, Sent};
use crate::error::{Doing, Result};
use crate::os;

/// The IP protocol number of VRRP.
const VRRP: u32 = 112;
/// The TTL that proves that a packet crossed no router (RFC 9568 5.1.1.3).
const TTL: i32 = 255;
/// Class selector 6, internetwork control, as a TOS byte.
const TOS: i32 = 0xc0;
/// `SO_PRIORITY` of control traffic: first out of a full queue.
const PRIORITY: i32 = 6;
/// A thousand adverts at once, at what the kernel accounts for each.
const RECEIVE_BUFFER: i32 = 4 * 1024 * 1024;
/// Packets received in one call.
const INBOX: usize = 32;
/// 255 IPv6 addresses, the most that an advert holds, and the IP header.
const PACKET: usize = 4224;
/// The shortest IPv4 header.
const IPV4_HEADER: usize = 20;

/// A packet to be sent.
#[derive(Clone, Copy, Debug)]
pub struct Outgoing<'a> {
    /// A group or a peer.
    pub to: IpAddr,
    /// The source; the kernel chooses where there is none.
    pub from: Option<IpAddr>,
    /// What follows the IP header, checksum included.
    pub payload: &'a [u8],
}

/// A packet that was heard. Nothing in it was checked but its lengths.
#[derive(Clone, Copy, Debug)]
pub struct Incoming<'a> {
    /// The source.
    pub from: IpAddr,
    /// The group or address it was sent to.
    pub to: IpAddr,
    /// Its TTL or hop limit.
    pub ttl: u8,
    /// What follows the IP header.
    pub payload: &'a [u8],
}

/// A raw socket for VRRP, of one interface and one address family.
pub struct VrrpSocket {
    fd: OwnedFd,
    index: u32,
    ipv6: bool,
    inbox: Inbox,
}

impl VrrpSocket {
    /// Opens the socket on an interface; needs `CAP_NET_RAW`.
    ///
    /// # Errors
    /// When the privilege or the interface is missing.
    pub fn open(ifname: &str, ifindex: u32, ipv6: bool) -> Result<Self> {
        let fd = open(ifname, ifindex, ipv6).doing(|| format!("cannot open a VRRP socket on {ifname:?}"))?;
        Ok(Self { fd, index: ifindex, ipv6, inbox: Inbox::new(INBOX, PACKET) })
    }

    /// Hears what is sent to a group; joining twice is no error.
    ///
    /// # Errors
    /// When the interface is down for multicast, or the family is the other one.
    pub fn join(&self, group: IpAddr) -> Result<()> {
        let joined = match group {
            IpAddr::V4(group) => {
                os::set_option(&self.fd, libc::IPPROTO_IP, libc::IP_ADD_MEMBERSHIP, &mreqn(group, self.index))
            }
            IpAddr::V6(group) => {
                let request = libc::ipv6_mreq {
                    ipv6mr_multiaddr: libc::in6_addr { s6_addr: group.octets() },
                    ipv6mr_interface: self.index,
                };
                os::set_option(&self.fd, libc::IPPROTO_IPV6, libc::IPV6_ADD_MEMBERSHIP, &request)
            }
        };
        match joined {
            Err(error) if error.raw_os_error() == Some(libc::EADDRINUSE) => Ok(()),
            joined => joined.doing(|| format!("cannot join the group {group}")),
        }
    }

    /// Sends packets in as few system calls as possible, never waiting; one that is refused is passed over.
    pub fn send(&mut self, packets: &[Outgoing<'_>]) -> Sent {
        let index = self.index;
        let refused = packets.iter().any(|packet| packet.to.is_ipv6() != self.ipv6);
        let packets = packets.iter().filter(|packet| packet.to.is_ipv6() == self.ipv6);
        let mut sent = batch::send(&self.fd, packets.map(|packet| outgoing(packet, index)));
        if refused {
            sent.error.get_or_insert_with(|| io::Error::from_raw_os_error(libc::EAFNOSUPPORT));
        }
        sent
    }

    /// Hands up to `max` waiting packets to `each` and returns how many were read; never waits.
    ///
    /// # Errors
    /// When the socket fails, for example `ENETDOWN` once after its interface went down.
    pub fn receive(&mut self, max: usize, each: &mut impl FnMut(Incoming<'_>)) -> io::Result<usize> {
        let mut total = 0;
        while total < max {
            let want = (max - total).min(self.inbox.room());
            let parse = if self.ipv6 { ipv6 } else { ipv4 };
            let got = self.inbox.receive(&self.fd, want, |packet| {
                if let Some(incoming) = parse(&packet) {
                    each(incoming);
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

impl AsFd for VrrpSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

fn open(ifname: &str, index: u32, ipv6: bool) -> io::Result<OwnedFd> {
    let family = if ipv6 { AddressFamily::INET6 } else { AddressFamily::INET };
    let protocol = std::num::NonZeroU32::new(VRRP).map(Protocol::from_raw);
    let fd = os::socket(family, SocketType::RAW, protocol)?;
    os::set_option_bytes(&fd, libc::SOL_SOCKET, libc::SO_BINDTODEVICE, ifname.as_bytes())?;
    os::set_option(&fd, libc::SOL_SOCKET, libc::SO_PRIORITY, &PRIORITY)?;
    os::receive_buffer(&fd, RECEIVE_BUFFER)?;
    if ipv6 {
        let set = |name, value: i32| os::set_option(&fd, libc::IPPROTO_IPV6, name, &value);
        set(libc::IPV6_MULTICAST_HOPS, TTL)?;
        set(libc::IPV6_UNICAST_HOPS, TTL)?;
        set(libc::IPV6_MULTICAST_LOOP, 0)?;
        set(libc::IPV6_TCLASS, TOS)?;
        set(libc::IPV6_RECVPKTINFO, 1)?;
        set(libc::IPV6_RECVHOPLIMIT, 1)?;
        set(libc::IPV6_MULTICAST_IF, index.cast_signed())?;
    } else {
        let set = |name, value: i32| os::set_option(&fd, libc::IPPROTO_IP, name, &value);
        set(libc::IP_TTL, TTL)?;
        set(libc::IP_MULTICAST_TTL, TTL)?;
        set(libc::IP_MULTICAST_LOOP, 0)?;
        set(libc::IP_MULTICAST_ALL, 0)?;
        set(libc::IP_TOS, TOS)?;
        let interface = mreqn(Ipv4Addr::UNSPECIFIED, index);
        os::set_option(&fd, libc::IPPROTO_IP, libc::IP_MULTICAST_IF, &interface)?;
    }
    Ok(fd)
}

fn mreqn(group: Ipv4Addr, index: u32) -> libc::ip_mreqn {
    let mut request: libc::ip_mreqn = os::zeroed();
    request.imr_multiaddr.s_addr = u32::from_ne_bytes(group.octets());
    request.imr_ifindex = index.cast_signed();
    request
}

fn outgoing<'a>(packet: &Outgoing<'a>, index: u32) -> Packet<'a> {
    let name = match packet.to {
        IpAddr::V4(to) => {
            let mut name: libc::sockaddr_in = os::zeroed();
            name.sin_family = libc::sa_family_t::try_from(libc::AF_INET).expect("a small number");
            name.sin_addr.s_addr = u32::from_ne_bytes(to.octets());
            Name::V4(name)
        }
        IpAddr::V6(to) => {
            let mut name: libc::sockaddr_in6 = os::zeroed();
            name.sin6_family = libc::sa_family_t::try_from(libc::AF_INET6).expect("a small number");
            name.sin6_addr.s6_addr = to.octets();
            name.sin6_scope_id = index;
            Name::V6(name)
        }
    };
    let control = match packet.from {
        // struct in_pktinfo: interface, source, destination (unused when sending).
        Some(IpAddr::V4(from)) => {
            let mut info = [0u8; 12];
            info[..4].copy_from_slice(&index.to_ne_bytes());
            info[4..8].copy_from_slice(&from.octets());
            Control::one(libc::IPPROTO_IP, libc::IP_PKTINFO, &info)
        }
        // struct in6_pktinfo: source, interface.
        Some(IpAddr::V6(from)) => {
            let mut info = [0u8; 20];
            info[..16].copy_from_slice(&from.octets());
            info[16..].copy_from_slice(&index.to_ne_bytes());
            Control::one(libc::IPPROTO_IPV6, libc::IPV6_PKTINFO, &info)
        }
        None => Control::EMPTY,
    };
    Packet { name, control, payload: packet.payload }
}

/// A raw IPv4 socket hears the IP header too.
fn ipv4<'a>(packet: &Received<'a>) -> Option<Incoming<'a>> {
    let bytes = packet.bytes;
    let header = usize::from(bytes.first()? & 0x0f) * 4;
    if header < IPV4_HEADER {
        return None;
    }
    let address = |at: usize| <[u8; 4]>::try_from(bytes.get(at..at + 4)?).ok().map(Ipv4Addr::from);
    Some(Incoming {
        from: address(12)?.into(),
        to: address(16)?.into(),
        ttl: *bytes.get(8)?,
        payload: bytes.get(header..)?,
    })
}

/// A raw IPv6 socket hears no header; hop limit and destination come as control messages.
fn ipv6<'a>(packet: &Received<'a>) -> Option<Incoming<'a>> {
    let info = packet.control.find(libc::IPPROTO_IPV6, libc::IPV6_PKTINFO)?;
    let hops = packet.control.find(libc::IPPROTO_IPV6, libc::IPV6_HOPLIMIT)?;
    let hops = i32::from_ne_bytes(hops.get(..4)?.try_into().ok()?);
    let to = <[u8; 16]>::try_from(info.get(..16)?).ok()?;
    Some(Incoming {
        from: Ipv6Addr::from(packet.name.sin6_addr.s6_addr).into(),
        to: Ipv6Addr::from(to).into(),
        ttl: u8::try_from(hops).ok()?,
        payload: packet.bytes,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::netlink::Route;
    use crate::testnet::{Host, in_namespace, sh, until, wire};

    const GROUPS: [&str; 2] = ["224.0.0.18", "ff02::12"];

    /// What was heard: source, destination, TTL, payload.
    type Heard = (IpAddr, IpAddr, u8, Vec<u8>);

    fn addr(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    fn socket(name: &str, ipv6: bool) -> VrrpSocket {
        let links = Route::open().and_then(|mut route| route.links()).expect("links");
        let index = links.iter().find(|link| link.name == name).expect("the interface").index;
        let socket = VrrpSocket::open(name, index, ipv6).expect("a VRRP socket");
        socket.join(addr(GROUPS[usize::from(ipv6)])).expect("join");
        socket.join(addr(GROUPS[usize::from(ipv6)])).expect("joining twice is no error");
        socket
    }

    fn hear(socket: &mut VrrpSocket, count: usize) -> Vec<Heard> {
        let mut heard = Vec::new();
        until("the packets", || {
            let mut each = |p: Incoming<'_>| heard.push((p.from, p.to, p.ttl, p.payload.to_vec()));
            socket.receive(1000, &mut each).expect("receive");
            heard.len() >= count
        });
        heard
    }

    fn pair(ipv6: bool) -> (Host, VrrpSocket, VrrpSocket) {
        let host = Host::start();
        wire(
            &host,
            "a0",
            "b0",
            &["10.3.0.1/24", "10.3.0.11/24", "fd03::1/64"],
            &["10.3.0.2/24", "fd03::2/64"],
        );
        let far = host.run(move || socket("b0", ipv6));
        (host, socket("a0", ipv6), far)
    }

    #[test]
    fn adverts_over_ipv4_arrive_with_ttl_255_from_the_chosen_source() {
        in_namespace(
            "packet::vrrp::tests::adverts_over_ipv4_arrive_with_ttl_255_from_the_chosen_source",
            || {
                let (_host, mut near, mut far) = pair(false);
                let from = Some(addr("10.3.0.11"));
                let sent = near.send(&[
                    Outgoing { to: addr(GROUPS[0]), from, payload: b"one" },
                    Outgoing { to: addr("10.3.0.2"), from, payload: b"two" },
                    Outgoing { to: addr("10.3.0.2"), from: None, payload: b"three" },
                ]);
                assert_eq!((sent.count, sent.error.is_none()), (3, true), "{sent:?}");
                let heard = hear(&mut far, 3);
                assert_eq!(heard[0], (addr("10.3.0.11"), addr(GROUPS[0]), 255, b"one".to_vec()));
                assert_eq!(heard[1], (addr("10.3.0.11"), addr("10.3.0.2"), 255, b"two".to_vec()));
                assert_eq!(heard[2], (addr("10.3.0.1"), addr("10.3.0.2"), 255, b"three".to_vec()));
                assert_eq!(
                    near.receive(10, &mut |_| ()).expect("receive"),
                    0,
                    "a sender doesn't hear itself"
                );
            },
        );
    }

    #[test]
    fn adverts_over_ipv6_arrive_with_hop_limit_255_from_the_chosen_source() {
        in_namespace(
            "packet::vrrp::tests::adverts_over_ipv6_arrive_with_hop_limit_255_from_the_chosen_source",
            || {
                let (_host, mut near, mut far) = pair(true);
                let text = sh("ip -6 -o addr show dev a0 scope link");
                let local =
                    text.split_whitespace().find(|word| word.starts_with("fe80")).expect("link-local");
                let local = addr(local.split('/').next().expect("the address"));
                let sent = near.send(&[
                    Outgoing { to: addr(GROUPS[1]), from: Some(local), payload: b"one" },
                    Outgoing { to: addr("fd03::2"), from: Some(addr("fd03::1")), payload: b"two" },
                ]);
                assert_eq!((sent.count, sent.error.is_none()), (2, true), "{sent:?}");
                let heard = hear(&mut far, 2);
                assert_eq!(heard[0], (local, addr(GROUPS[1]), 255, b"one".to_vec()));
                assert_eq!(heard[1], (addr("fd03::1"), addr("fd03::2"), 255, b"two".to_vec()));
                assert_eq!(
                    near.receive(10, &mut |_| ()).expect("receive"),
                    0,
                    "a sender doesn't hear itself"
                );
            },
        );
    }

    #[test]
    fn a_burst_of_a_thousand_adverts_is_heard_whole() {
        in_namespace("packet::vrrp::tests::a_burst_of_a_thousand_adverts_is_heard_whole", || {
            let (_host, mut near, mut far) = pair(false);
            let payloads: Vec<[u8; 20]> = (0..1000u16).map(|n| [n.to_be_bytes()[1]; 20]).collect();
            let packets: Vec<_> = payloads
                .iter()
                .map(|payload| Outgoing { to: addr(GROUPS[0]), from: Some(addr("10.3.0.1")), payload })
                .collect();
            let start = std::time::Instant::now();
            assert_eq!(near.send(&packets).count, 1000);
            let sent = start.elapsed();
            assert_eq!(hear(&mut far, 1000).len(), 1000);
            eprintln!("1000 adverts: sent in {sent:?}, sent and heard in {:?}", start.elapsed());
        });
    }

    #[test]
    fn a_refused_packet_is_passed_over_and_the_others_are_sent() {
        in_namespace("packet::vrrp::tests::a_refused_packet_is_passed_over_and_the_others_are_sent", || {
            let (_host, mut near, mut far) = pair(false);
            let packet = |from: &str| Outgoing { to: addr(GROUPS[0]), from: Some(addr(from)), payload: b"x" };
            let sent = near.send(&[packet("10.3.0.1"), packet("10.99.0.1"), packet("10.3.0.11")]);
            assert_eq!((sent.count, sent.error.is_some()), (2, true), "{sent:?}");
            assert_eq!(hear(&mut far, 2).len(), 2);
            let other = near.send(&[Outgoing { to: addr("fd03::2"), from: None, payload: b"x" }]);
            assert_eq!((other.count, other.error.is_some()), (0, true));
        });
    }

    #[test]
    fn lengths_that_lie_are_not_believed() {
        let received = |bytes| Received { name: os::zeroed(), control: Control::EMPTY, bytes };
        assert!(ipv4(&received(&[])).is_none());
        assert!(ipv4(&received(&[0x44; 60])).is_none());
        assert!(ipv4(&received(&[0x4f; 59])).is_none());
        assert!(ipv4(&received(&[0x45; 20])).is_some_and(|packet| packet.payload.is_empty()));
        assert!(ipv6(&received(&[0; 40])).is_none());
    }
}
