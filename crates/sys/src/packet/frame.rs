//! Ethernet frames on one interface: announcing an address (ARP, unsolicited NA) and hearing others claim it.
//!
//! A socket hears the claims of one family only, and of watched addresses only, so that other traffic wakes nobody.

use std::io;
use std::net::IpAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::net::{AddressFamily, SocketType};

use super::batch::{self, Control, Inbox, Name, Packet, Sent};
use super::filter::{self, Step};
use crate::error::{Doing, Result};
use crate::os;

/// `PACKET_IGNORE_OUTGOING`: what this host sends is not heard (Linux 4.20).
const IGNORE_OUTGOING: i32 = 23;
/// Frames received in one call.
const INBOX: usize = 16;
/// ARP and NA are short; longer frames aren't claims.
const FRAME: usize = 256;
/// A classic program holds 4096 steps; two for each address, a few besides. With more addresses all claims are heard.
const WATCHED: usize = 2000;

/// Where ARP's sender address stands in a frame (RFC 826, after 14 bytes of Ethernet).
const ARP_SENDER: u32 = 28;
/// Where IPv6's next header stands in a frame.
const NEXT_HEADER: u32 = 20;
/// Where ICMPv6's type stands in a frame without extension headers (RFC 4861 4.4).
const ICMP_TYPE: u32 = 54;
/// Where the last four bytes of a neighbour advertisement's target stand.
const NA_TARGET_END: u32 = 74;
/// ICMPv6 as a next header.
const ICMPV6: u32 = 58;
/// Neighbour advertisement.
const ADVERTISEMENT: u32 = 136;

/// A packet socket bound to one interface.
pub struct FrameSocket {
    fd: OwnedFd,
    ipv6: bool,
    inbox: Inbox,
}

impl FrameSocket {
    /// Opens the socket on an interface; needs `CAP_NET_RAW`. It hears nothing until [`watch`](Self::watch).
    ///
    /// # Errors
    /// When the privilege or the interface is missing.
    pub fn open(ifindex: u32, ipv6: bool) -> Result<Self> {
        let fd =
            open(ifindex, ipv6).doing(|| format!("cannot open a packet socket on interface {ifindex}"))?;
        Ok(Self { fd, ipv6, inbox: Inbox::new(INBOX, FRAME) })
    }

    /// Hears claims of these addresses from here on: ARP whose sender, or NA whose target, is one of them. The other
    /// family's are left out. For IPv6 only the last four bytes are compared; look at the frame.
    ///
    /// # Errors
    /// When the kernel refuses the filter.
    pub fn watch(&self, addrs: &[IpAddr]) -> Result<()> {
        os::socket_filter(&self.fd, &program(addrs, self.ipv6)).doing(|| "cannot choose the claims to hear")
    }

    /// Sends whole frames, Ethernet header first, in as few system calls as possible, never waiting.
    pub fn send<T: AsRef<[u8]>>(&mut self, frames: &[T]) -> Sent {
        let packets = frames.iter().map(|frame| Packet {
            name: Name::Bound,
            control: Control::EMPTY,
            payload: frame.as_ref(),
        });
        batch::send(&self.fd, packets)
    }

    /// Hands up to `max` waiting frames to `each` and returns how many were read; never waits.
    ///
    /// # Errors
    /// When the socket fails, for example `ENETDOWN` once after its interface went down.
    pub fn receive(&mut self, max: usize, each: &mut impl FnMut(&[u8])) -> io::Result<usize> {
        let mut total = 0;
        while total < max {
            let want = (max - total).min(self.inbox.room());
            let got = self.inbox.receive(&self.fd, want, |frame| each(frame.bytes))?;
            total += got;
            if got < want {
                break;
            }
        }
        Ok(total)
    }
}

impl AsFd for FrameSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

fn open(index: u32, ipv6: bool) -> io::Result<OwnedFd> {
    // Protocol 0: the socket hears nothing before it is bound, so the filter is in place first.
    let fd = os::socket(AddressFamily::PACKET, SocketType::RAW, None)?;
    os::socket_filter(&fd, &program(&[], ipv6))?;
    // Older kernels let us hear ourselves; the caller knows its own claims.
    let _ = os::set_option(&fd, libc::SOL_PACKET, IGNORE_OUTGOING, &1i32);
    let protocol = if ipv6 { libc::ETH_P_IPV6 } else { libc::ETH_P_ARP };
    let mut name: libc::sockaddr_ll = os::zeroed();
    name.sll_family = libc::sa_family_t::try_from(libc::AF_PACKET).expect("a small number");
    name.sll_protocol = u16::try_from(protocol).expect("Ethernet types are 16 bits").to_be();
    name.sll_ifindex = index.cast_signed();
    os::bind(&fd, &name)?;
    Ok(fd)
}

fn program(addrs: &[IpAddr], ipv6: bool) -> Vec<libc::sock_filter> {
    let mut steps = if ipv6 {
        vec![
            Step::LoadByte(NEXT_HEADER),
            Step::SkipUnless(ICMPV6, 2),
            Step::LoadByte(ICMP_TYPE),
            Step::SkipIf(ADVERTISEMENT, 1),
            Step::Drop,
            Step::LoadWord(NA_TARGET_END),
        ]
    } else {
        vec![Step::LoadWord(ARP_SENDER)]
    };
    if addrs.len() > WATCHED {
        steps.push(Step::Pass);
    }
    for value in addrs.iter().filter_map(|addr| tail(*addr, ipv6)).take(WATCHED) {
        steps.extend([Step::SkipUnless(value, 1), Step::Pass]);
    }
    steps.push(Step::Drop);
    filter::program(&steps)
}

/// The last four bytes of an address of the socket's family.
fn tail(addr: IpAddr, ipv6: bool) -> Option<u32> {
    match addr {
        IpAddr::V4(addr) => (!ipv6).then_some(addr.to_bits()),
        IpAddr::V6(addr) => ipv6.then(|| u32::try_from(addr.to_bits() & u128::from(u32::MAX)).unwrap_or(0)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::netlink::Route;
    use crate::testnet::{Host, in_namespace, until, wire};

    fn socket(name: &str, ipv6: bool) -> FrameSocket {
        let links = Route::open().and_then(|mut route| route.links()).expect("links");
        let index = links.iter().find(|link| link.name == name).expect("the interface").index;
        FrameSocket::open(index, ipv6).expect("a packet socket")
    }

    fn arp(sender: [u8; 4], target: [u8; 4]) -> Vec<u8> {
        let mut frame = vec![0xff; 6];
        frame.extend([2, 0, 0, 0, 0, 9, 0x08, 0x06, 0, 1, 0x08, 0, 6, 4, 0, 1, 2, 0, 0, 0, 0, 9]);
        frame.extend(sender);
        frame.extend([0; 6]);
        frame.extend(target);
        frame
    }

    fn advertisement(kind: u8, target_end: u8) -> Vec<u8> {
        let mut frame =
            vec![0x33, 0x33, 0, 0, 0, 1, 2, 0, 0, 0, 0, 9, 0x86, 0xdd, 0x60, 0, 0, 0, 0, 24, 58, 255];
        frame.extend([0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 9]);
        frame.extend([0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
        frame.extend([kind, 0, 0, 0, 0x20, 0, 0, 0]);
        frame.extend([0xfd, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, target_end]);
        frame
    }

    /// Sends all and returns what was heard up to and including `last`.
    fn heard(near: &mut FrameSocket, far: &mut FrameSocket, frames: &[Vec<u8>], last: &[u8]) -> Vec<Vec<u8>> {
        assert_eq!(near.send(frames).count, frames.len());
        let mut heard: Vec<Vec<u8>> = Vec::new();
        until("the last claim", || {
            far.receive(100, &mut |frame| heard.push(frame.to_vec())).expect("receive");
            heard.last().is_some_and(|frame| frame == last)
        });
        heard
    }

    #[test]
    fn only_claims_of_watched_addresses_are_heard() {
        in_namespace("packet::frame::tests::only_claims_of_watched_addresses_are_heard", || {
            let host = Host::start();
            wire(&host, "a0", "b0", &["10.4.0.1/24"], &["10.4.0.2/24"]);
            let (mut near, mut far) = (socket("a0", false), host.run(|| socket("b0", false)));
            far.watch(&["10.4.0.99".parse().expect("v4"), "fd04::1".parse().expect("v6")]).expect("watch");
            near.watch(&["10.4.0.99".parse().expect("v4")]).expect("watch");
            let ours = arp([10, 4, 0, 99], [10, 4, 0, 99]);
            let frames =
                [arp([10, 4, 0, 1], [10, 4, 0, 99]), arp([10, 4, 0, 98], [10, 4, 0, 98]), ours.clone()];
            assert_eq!(heard(&mut near, &mut far, &frames, &ours), std::slice::from_ref(&ours));
            assert_eq!(near.receive(10, &mut |_| ()).expect("receive"), 0, "our own claim is not heard");

            let (mut near, mut far) = (socket("a0", true), host.run(|| socket("b0", true)));
            far.watch(&["10.4.0.99".parse().expect("v4"), "fd04::1".parse().expect("v6")]).expect("watch");
            let ours = advertisement(136, 1);
            let frames = [advertisement(135, 1), advertisement(136, 2), ours.clone()];
            assert_eq!(heard(&mut near, &mut far, &frames, &ours), [ours]);
        });
    }

    #[test]
    fn a_thousand_announcements_go_in_one_breath_and_many_can_be_watched() {
        in_namespace(
            "packet::frame::tests::a_thousand_announcements_go_in_one_breath_and_many_can_be_watched",
            || {
                let host = Host::start();
                wire(&host, "a0", "b0", &["10.4.0.1/24"], &["10.4.0.2/24"]);
                let (mut near, far) = (socket("a0", false), host.run(|| socket("b0", false)));
                for count in [0, 1, 2000, 5000] {
                    let addrs: Vec<IpAddr> = (0..count).map(|n: u32| IpAddr::V4(n.into())).collect();
                    far.watch(&addrs).expect("watch");
                }
                let frames = vec![arp([10, 4, 0, 99], [10, 4, 0, 99]); 1000];
                let start = std::time::Instant::now();
                assert_eq!(near.send(&frames).count, 1000);
                eprintln!("1000 announcements: {:?}", start.elapsed());
            },
        );
    }
}
