//! One echo request and its answer (RFC 792, RFC 4443 4.1): for probes, and for the reference address.
//!
//! An ICMP datagram socket needs no privilege where `net.ipv4.ping_group_range` allows our group; else a raw socket is
//! tried. Nothing here waits: the caller polls the descriptor.

use std::io;
use std::net::IpAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicU16, Ordering};

use rustix::io::Errno;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketType, ipproto};

use crate::clock::boot_now;
use crate::error::{Doing, Error, Result};
use crate::os;

/// Type, code, checksum, identifier, sequence.
const HEADER: usize = 8;
/// Tells our answers from other raw sockets' answers.
const TOKEN: usize = 8;
/// Echo request and echo reply of ICMP and of ICMPv6.
const ICMP: (u8, u8) = (8, 0);
const ICMPV6: (u8, u8) = (128, 129);

/// A socket that pings one address.
#[derive(Debug)]
pub struct Ping {
    fd: OwnedFd,
    ipv6: bool,
    raw: bool,
    id: u16,
    token: [u8; TOKEN],
}

impl Ping {
    /// Opens a socket towards an address; `interface` is needed for link-local addresses only.
    ///
    /// # Errors
    /// When neither kind of socket is allowed (the sentence says what to set), or there is no route.
    pub fn open(to: IpAddr, interface: u32) -> Result<Self> {
        let ipv6 = to.is_ipv6();
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
                        "cannot ping: {error}; allow it with sysctl net.ipv4.ping_group_range=\"0 2147483647\", or give \
                         CAP_NET_RAW"
                    )));
                }
            },
        };
        connect(&fd, to, interface).doing(|| format!("cannot ping {to}"))?;
        /// Sockets opened by this process so far.
        static COUNT: AtomicU16 = AtomicU16::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let process = rustix::process::getpid().as_raw_nonzero().get().to_ne_bytes();
        let id = u16::from_ne_bytes([process[0], process[1]]).wrapping_add(count);
        let token = (boot_now().as_nanos() ^ u64::from(id) << 48).to_ne_bytes();
        Ok(Self { fd, ipv6, raw, id, token })
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
        if self.raw && !self.ipv6 {
            let sum = checksum(&packet);
            packet[2..4].copy_from_slice(&sum.to_be_bytes());
        }
        rustix::net::send(&self.fd, &packet, SendFlags::DONTWAIT | SendFlags::NOSIGNAL)?;
        Ok(())
    }

    /// The sequence number of the next answer to one of our requests, or `None` when none is there yet.
    ///
    /// # Errors
    /// When the kernel reports that the address cannot be reached.
    pub fn receive(&self) -> io::Result<Option<u16>> {
        let mut buffer = [0u8; 256];
        loop {
            match rustix::net::recv(&self.fd, &mut buffer, RecvFlags::DONTWAIT) {
                Ok((len, _)) => {
                    if let Some(sequence) = self.answer(&buffer[..len]) {
                        return Ok(Some(sequence));
                    }
                }
                Err(Errno::AGAIN) => return Ok(None),
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn types(&self) -> (u8, u8) {
        if self.ipv6 { ICMPV6 } else { ICMP }
    }

    /// The sequence number, if these bytes are an answer to us.
    fn answer(&self, bytes: &[u8]) -> Option<u16> {
        // A raw IPv4 socket hears the IP header too.
        let skip = if self.raw && !self.ipv6 { usize::from(bytes.first()? & 0x0f) * 4 } else { 0 };
        let packet = bytes.get(skip..)?;
        let (_, reply) = self.types();
        let ours = *packet.first()? == reply && packet.get(HEADER..HEADER + TOKEN)? == self.token;
        ours.then(|| u16::from_be_bytes([packet[6], packet[7]]))
    }
}

impl AsFd for Ping {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

fn connect(fd: &OwnedFd, to: IpAddr, interface: u32) -> io::Result<()> {
    match to {
        IpAddr::V4(to) => rustix::net::connect(fd, &std::net::SocketAddrV4::new(to, 0))?,
        IpAddr::V6(to) => {
            let scope = if to.is_unicast_link_local() { interface } else { 0 };
            rustix::net::connect(fd, &std::net::SocketAddrV6::new(to, 0, 0, scope))?;
        }
    }
    Ok(())
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

    fn round(to: &str) -> (bool, u16) {
        let ping = Ping::open(to.parse().expect("an address"), 0).expect("a ping socket");
        for sequence in [7, 8] {
            ping.send(sequence).expect("send");
        }
        let mut last = None;
        while last != Some(8) {
            poll(&mut [PollFd::new(&ping, PollFlags::IN)], None).expect("poll");
            last = ping.receive().expect("receive").or(last);
        }
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
    fn no_route_is_an_error_and_no_answer_is_none() {
        in_namespace("ping::tests::no_route_is_an_error_and_no_answer_is_none", || {
            assert!(Ping::open("192.0.2.1".parse().expect("an address"), 0).is_err());
            let ping = Ping::open("127.0.0.1".parse().expect("an address"), 0).expect("a ping socket");
            assert_eq!(ping.receive().expect("receive"), None);
            assert_eq!(ping.answer(&[]), None);
            assert_eq!(ping.answer(&[0x4f; 30]), None);
        });
    }
}
