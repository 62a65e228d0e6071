//! A UDP socket that knows to which of its addresses a datagram came, so that the answer leaves from there.

use std::io::{self, IoSlice, IoSliceMut};
use std::net::{IpAddr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::os::fd::{AsRawFd, OwnedFd};

use nix::sys::socket::{
    ControlMessage, ControlMessageOwned, MsgFlags, SockaddrIn, SockaddrIn6, SockaddrLike as _,
    SockaddrStorage, recvmsg, sendmsg, setsockopt, sockopt,
};

/// The largest payload of a UDP datagram over IPv4 or IPv6 without jumbograms.
pub(super) const DATAGRAM_MAX: usize = 65_535;

/// A bound UDP socket.
#[derive(Debug)]
pub(super) struct Datagrams {
    fd: OwnedFd,
    /// Its own address; the wildcard when it is bound to every one.
    local: SocketAddr,
}

/// A datagram that came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Came {
    pub(super) length: usize,
    pub(super) from: SocketAddr,
    /// Our address that it came to.
    pub(super) to: SocketAddr,
}

impl Datagrams {
    /// Takes a bound socket over.
    pub(super) fn new(fd: OwnedFd) -> io::Result<Self> {
        let local = rustix::net::getsockname(&fd)?;
        let local = SocketAddr::try_from(local).map_err(|_| io::Error::other("the socket is none of UDP"))?;
        rustix::io::ioctl_fionbio(&fd, true)?;
        match local {
            SocketAddr::V4(_) => setsockopt(&fd, sockopt::Ipv4PacketInfo, &true)?,
            SocketAddr::V6(_) => setsockopt(&fd, sockopt::Ipv6RecvPacketInfo, &true)?,
        }
        Ok(Self { fd, local })
    }

    /// The next datagram; `WouldBlock` when there is none.
    pub(super) fn receive(&self, buffer: &mut [u8]) -> io::Result<Came> {
        let mut space = nix::cmsg_space!(libc::in6_pktinfo);
        let mut slices = [IoSliceMut::new(buffer)];
        let flags = MsgFlags::MSG_DONTWAIT;
        let got = recvmsg::<SockaddrStorage>(self.fd.as_raw_fd(), &mut slices, Some(&mut space), flags)?;
        let mut to = self.local;
        for message in got.cmsgs()? {
            match message {
                ControlMessageOwned::Ipv4PacketInfo(info) => {
                    to.set_ip(IpAddr::from(u32::from_be(info.ipi_addr.s_addr).to_be_bytes()));
                }
                ControlMessageOwned::Ipv6PacketInfo(info) => to.set_ip(IpAddr::from(info.ipi6_addr.s6_addr)),
                _ => {}
            }
        }
        let from = got
            .address
            .as_ref()
            .and_then(address)
            .ok_or_else(|| io::Error::other("a datagram from nowhere"))?;
        Ok(Came { length: got.bytes, from, to })
    }

    /// Sends an answer from the address that was asked.
    pub(super) fn send(&self, bytes: &[u8], from: SocketAddr, to: SocketAddr) -> io::Result<()> {
        let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
        let (fd, slices) = (self.fd.as_raw_fd(), [IoSlice::new(bytes)]);
        match (from, to) {
            (SocketAddr::V4(from), SocketAddr::V4(to)) => {
                let info = libc::in_pktinfo {
                    ipi_ifindex: 0,
                    ipi_spec_dst: libc::in_addr { s_addr: u32::from(*from.ip()).to_be() },
                    ipi_addr: libc::in_addr { s_addr: 0 },
                };
                sendmsg(
                    fd,
                    &slices,
                    &[ControlMessage::Ipv4PacketInfo(&info)],
                    flags,
                    Some(&SockaddrIn::from(to)),
                )?;
            }
            (SocketAddr::V6(from), SocketAddr::V6(to)) => {
                let info = libc::in6_pktinfo {
                    ipi6_addr: libc::in6_addr { s6_addr: from.ip().octets() },
                    ipi6_ifindex: 0,
                };
                sendmsg(
                    fd,
                    &slices,
                    &[ControlMessage::Ipv6PacketInfo(&info)],
                    flags,
                    Some(&SockaddrIn6::from(to)),
                )?;
            }
            (SocketAddr::V4(_), SocketAddr::V6(_)) | (SocketAddr::V6(_), SocketAddr::V4(_)) => {
                return Err(io::Error::other("an answer from one family to the other"));
            }
        }
        Ok(())
    }
}

impl std::os::fd::AsRawFd for Datagrams {
    fn as_raw_fd(&self) -> std::os::fd::RawFd {
        self.fd.as_raw_fd()
    }
}

fn address(storage: &SockaddrStorage) -> Option<SocketAddr> {
    match storage.family()? {
        nix::sys::socket::AddressFamily::Inet => {
            storage.as_sockaddr_in().map(|addr| SocketAddr::V4(SocketAddrV4::from(*addr)))
        }
        nix::sys::socket::AddressFamily::Inet6 => {
            storage.as_sockaddr_in6().map(|addr| SocketAddr::V6(SocketAddrV6::from(*addr)))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::UdpSocket;

    #[test]
    fn an_answer_leaves_from_the_address_that_was_asked() {
        for (wildcard, ours, client) in [
            ("0.0.0.0:0", "127.0.0.7", "127.0.0.1:0"),
            ("[::]:0", "::1", "[::1]:0"),
            ("[::]:0", "127.0.0.9", "127.0.0.1:0"),
        ] {
            let bound = UdpSocket::bind(wildcard).unwrap();
            let port = bound.local_addr().unwrap().port();
            let datagrams = Datagrams::new(bound.into()).unwrap();
            let client = UdpSocket::bind(client).unwrap();
            client.send_to(b"question", (ours, port)).unwrap();
            let mut buffer = [0; 100];
            let came = loop {
                match datagrams.receive(&mut buffer) {
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                    came => break came.unwrap(),
                }
            };
            assert_eq!(&buffer[..came.length], b"question");
            assert_eq!(came.from.ip().to_canonical(), client.local_addr().unwrap().ip());
            datagrams.send(b"answer", came.to, came.from).unwrap();
            let (length, from) = client.recv_from(&mut buffer).unwrap();
            assert_eq!(
                (&buffer[..length], from),
                (&b"answer"[..], SocketAddr::new(ours.parse().unwrap(), port))
            );
        }
    }
}
