//! Echo requests to one address over one interface, and their answers (RFC 792, RFC 4443 4.1): for reference addresses.
//!
//! An ICMP datagram socket needs no privilege where `net.ipv4.ping_group_range` allows our group; else a raw socket is
//! tried. Nothing here waits: the caller polls the descriptor.

use std::hash::{BuildHasher as _, RandomState};
use std::io;
use std::net::{IpAddr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketType, ipproto};

use crate::error::{Doing, Error, Result};
use crate::os;

/// Type, code, checksum, identifier, sequence.
const HEADER: usize = 8;
/// What nobody knows who does not see our requests.
const TOKEN: usize = 8;
/// Echo request and echo reply of ICMP and of ICMPv6.
const ICMP: (u8, u8) = (8, 0);
const ICMPV6: (u8, u8) = (128, 129);

/// Packets looked at before the caller has its turn, whatever others send.
const BATCH: usize = 32;

/// Which types a raw socket is not to hear: `ICMP_FILTER` of `linux/icmp.h`, `ICMPV6_FILTER` of `linux/icmpv6.h`.
const FILTER: i32 = 1;

/// Over which interface, and from which address, requests go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Way {
    /// The interface's name.
    pub name: String,
    /// Its number.
    pub index: u32,
    /// An address of this host.
    pub from: IpAddr,
}

/// A socket that pings one address.
#[derive(Debug)]
pub struct Ping {
    fd: OwnedFd,
    to: IpAddr,
    raw: bool,
    id: u16,
    token: [u8; TOKEN],
    refused: u64,
}

impl Ping {
    /// Opens a socket towards an address, bound to an interface and to the address that requests come from.
    ///
    /// # Errors
    /// When neither kind of socket is allowed (the sentence says what to set), the interface or its address is gone, or there is no
    /// route over the interface (IPv6; an IPv4 address without a route is taken for one on the interface's own wire).
    pub fn open(to: IpAddr, way: &Way) -> Result<Self> {
        let (family, protocol) = match to {
            IpAddr::V4(_) => (AddressFamily::INET, ipproto::ICMP),
            IpAddr::V6(_) => (AddressFamily::INET6, ipproto::ICMPV6),
        };
        let (fd, raw) = match os::socket(family, SocketType::DGRAM, Some(protocol)) {
            Ok(fd) => (fd, false),
            Err(_) => match os::socket(family, SocketType::RAW, Some(protocol)) {
                Ok(fd) => (fd, true),
                Err(error) => {
                    return Err(Error::Unsupported(format!(
                        "no ping socket: {error}; allow it with sysctl net.ipv4.ping_group_range=\"0 2147483647\", or give \
                         CAP_NET_RAW"
                    )));
                }
            },
        };
        // Before anything can be heard.
        if raw {
            filter(&fd, to.is_ipv6()).doing(|| format!("cannot ping {to}"))?;
        }
        let name = way.name.as_bytes();
        os::set_option_bytes(&fd, libc::SOL_SOCKET, libc::SO_BINDTODEVICE, name)
            .doing(|| format!("cannot ping over {}", way.name))?;
        let scoped = |addr: IpAddr| match addr {
            IpAddr::V4(addr) => SocketAddr::V4(SocketAddrV4::new(addr, 0)),
            IpAddr::V6(addr) => {
                let scope = if addr.is_unicast_link_local() { way.index } else { 0 };
                SocketAddr::V6(SocketAddrV6::new(addr, 0, 0, scope))
            }
        };
        rustix::net::bind(&fd, &scoped(way.from))
            .map_err(io::Error::from)
            .doing(|| format!("cannot ping from {}", way.from))?;
        rustix::net::connect(&fd, &scoped(to))
            .map_err(io::Error::from)
            .doing(|| format!("cannot ping {to} over {}", way.name))?;
        let chance = RandomState::new();
        let [high, low, ..] = chance.hash_one(1).to_ne_bytes();
        let (id, token) = (u16::from_ne_bytes([high, low]), chance.hash_one(2).to_ne_bytes());
        Ok(Self { fd, to, raw, id, token, refused: 0 })
    }

    /// Sends one request.
    ///
    /// # Errors
    /// When there is no route, or an earlier request was answered by an ICMP error.
    pub fn send(&self, sequence: u16) -> io::Result<()> {
        let (request, _) = self.types();
        let mut packet = [0u8; HEADER + TOKEN];
        packet[0] = request;
        packet[4..6].copy_from_slice(&self.id.to_be_bytes());
        packet[6..8].copy_from_slice(&sequence.to_be_bytes());
        packet[HEADER..].copy_from_slice(&self.token);
        if self.raw && self.to.is_ipv4() {
            let sum = checksum(&packet);
            packet[2..4].copy_from_slice(&sum.to_be_bytes());
        }
        rustix::net::send(&self.fd, &packet, SendFlags::DONTWAIT | SendFlags::NOSIGNAL)?;
        Ok(())
    }

    /// The sequence number of the next answer to one of our requests, or `None` when none is there yet, or a flood of others'
    /// packets stands before it: then the descriptor is readable still.
    ///
    /// # Errors
    /// When the kernel reports that the address cannot be reached.
    pub fn receive(&mut self) -> io::Result<Option<u16>> {
        let mut buffer = [0u8; 256];
        for _ in 0..BATCH {
            match rustix::net::recvfrom(&self.fd, &mut buffer, RecvFlags::DONTWAIT) {
                Ok((len, _, from)) => {
                    let from = from.and_then(|from| SocketAddr::try_from(from).ok());
                    let from = from.map(|from| from.ip());
                    match self.answer(&buffer[..len], from) {
                        Heard::Answer(sequence) => return Ok(Some(sequence)),
                        Heard::Forged => self.refused = self.refused.saturating_add(1),
                        Heard::Others => {}
                    }
                }
                Err(Errno::AGAIN) => return Ok(None),
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(None)
    }

    /// How many packets looked like answers to us and were none.
    #[must_use]
    pub const fn refused(&self) -> u64 {
        self.refused
    }

    const fn types(&self) -> (u8, u8) {
        if self.to.is_ipv6() { ICMPV6 } else { ICMP }
    }

    fn answer(&self, bytes: &[u8], from: Option<IpAddr>) -> Heard {
        // A raw IPv4 socket hears the IP header too.
        let header = self.raw && self.to.is_ipv4();
        let skip = if header { usize::from(bytes.first().map_or(0, |first| first & 0x0f)) * 4 } else { 0 };
        let Some([kind, _, _, _, id @ .., high, low]) =
            bytes.get(skip..).and_then(|p| p.first_chunk::<HEADER>())
        else {
            return Heard::Forged;
        };
        // A datagram socket has a number of the kernel's own, and hears answers to that alone.
        if *kind != self.types().1 || self.raw && *id != self.id.to_be_bytes() {
            return Heard::Others;
        }
        let token = bytes.get(skip + HEADER..);
        if token != Some(self.token.as_slice()) || from != Some(self.to) {
            return Heard::Forged;
        }
        Heard::Answer(u16::from_be_bytes([*high, *low]))
    }
}

impl AsFd for Ping {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// What a packet is.
#[derive(Debug, PartialEq, Eq)]
enum Heard {
    /// An answer to the request of this number.
    Answer(u16),
    /// Something that calls itself one.
    Forged,
    /// Somebody else's business.
    Others,
}

/// Keeps all but echo replies from a raw socket.
fn filter(fd: &OwnedFd, ipv6: bool) -> io::Result<()> {
    if !ipv6 {
        return os::set_option(fd, libc::SOL_RAW, FILTER, &!(1u32 << ICMP.1));
    }
    let mut types = [u32::MAX; 8];
    types[usize::from(ICMPV6.1 / 32)] &= !(1 << (ICMPV6.1 % 32));
    os::set_option(fd, libc::IPPROTO_ICMPV6, FILTER, &types)
}

/// The Internet checksum (RFC 1071) of an even number of bytes.
fn checksum(bytes: &[u8]) -> u16 {
    let mut sum: u32 =
        bytes.chunks_exact(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]]))).sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !u16::try_from(sum).expect("folded above")
}

#[cfg(test)]
mod tests {
    use rustix::event::{PollFd, PollFlags, poll};

    use super::*;
    use crate::testnet::{in_namespace, sh};

    fn open(to: &str, from: &str, name: &str) -> Result<Ping> {
        let index = std::fs::read_to_string(format!("/sys/class/net/{name}/ifindex")).unwrap_or_default();
        let way = Way {
            name: name.into(),
            index: index.trim().parse().unwrap_or(0),
            from: from.parse().expect("an address"),
        };
        Ping::open(to.parse().expect("an address"), &way)
    }

    fn round(to: &str) -> (bool, u16) {
        let mut ping = open(to, to, "lo").expect("a ping socket");
        for sequence in [7, 8] {
            ping.send(sequence).expect("send");
        }
        let mut last = None;
        while last != Some(8) {
            poll(&mut [PollFd::new(&ping, PollFlags::IN)], None).expect("poll");
            last = ping.receive().expect("receive").or(last);
        }
        assert_eq!(
            ping.refused(),
            0,
            "our own requests, which loopback shows to raw sockets, are nobody's forgery"
        );
        (ping.raw, last.expect("set above"))
    }

    #[test]
    fn an_echo_comes_back_over_datagram_and_raw_sockets_of_both_families() {
        in_namespace(
            "ping::tests::an_echo_comes_back_over_datagram_and_raw_sockets_of_both_families",
            || {
                // A new namespace allows no group to open datagram sockets.
                for raw in [true, false] {
                    assert_eq!(round("127.0.0.1"), (raw, 8));
                    assert_eq!(round("::1"), (raw, 8));
                    sh("sysctl -qw net.ipv4.ping_group_range='0 0'");
                }
            },
        );
    }

    #[test]
    fn what_cannot_be_asked_is_an_error_and_no_answer_is_none() {
        in_namespace("ping::tests::what_cannot_be_asked_is_an_error_and_no_answer_is_none", || {
            sh(
                "ip link add d0 type veth peer name d1 && ip addr add 10.0.4.1/24 dev d0 && ip link set d0 up",
            );
            for (to, from, name, why) in [
                ("10.0.4.2", "10.0.4.9", "d0", "from 10.0.4.9"),
                ("10.0.4.2", "10.0.4.1", "gone", "over gone"),
                ("255.255.255.255", "10.0.4.1", "d0", "cannot ping"),
            ] {
                let error = open(to, from, name).expect_err("nothing to ask").to_string();
                assert!(error.contains(why), "{error}");
            }
            let mut ping = open("10.0.4.2", "10.0.4.1", "d0").expect("a ping socket");
            ping.send(1).expect("send");
            assert_eq!(ping.receive().expect("receive"), None);
        });
    }

    #[test]
    fn an_answer_has_our_number_our_token_and_the_address_that_was_asked() {
        in_namespace(
            "ping::tests::an_answer_has_our_number_our_token_and_the_address_that_was_asked",
            || {
                let ping = open("127.0.0.1", "127.0.0.1", "lo").expect("a ping socket");
                let (to, other) = (Some(ping.to), "127.0.0.2".parse().ok());
                let packet = |kind: u8, id: u16, token: [u8; TOKEN]| {
                    let mut packet = vec![0x45; 20];
                    packet.extend([kind, 0, 0, 0]);
                    packet.extend(id.to_be_bytes());
                    packet.extend(258u16.to_be_bytes());
                    packet.extend(token);
                    packet
                };
                let good = packet(0, ping.id, ping.token);
                assert!(ping.raw);
                assert_eq!(ping.answer(&good, to), Heard::Answer(258));
                assert_eq!(ping.answer(&good, other), Heard::Forged);
                assert_eq!(ping.answer(&good, None), Heard::Forged);
                assert_eq!(ping.answer(&packet(0, ping.id, [0; TOKEN]), to), Heard::Forged);
                assert_eq!(ping.answer(&packet(0, ping.id ^ 1, ping.token), to), Heard::Others);
                assert_eq!(ping.answer(&packet(8, ping.id, ping.token), to), Heard::Others);
                for len in 0..good.len() {
                    assert!(!matches!(ping.answer(&good[..len], to), Heard::Answer(_)), "{len} bytes");
                }
                assert_eq!(ping.answer(&[0x4f; 30], to), Heard::Forged);
            },
        );
    }
}
