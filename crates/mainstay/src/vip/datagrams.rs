//! The sockets that peers' datagrams come by.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

use anyhow::Context as _;
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, sockopt};

/// What may wait to be read: some thousand datagrams.
const BUFFER: usize = 4 << 20;

/// A socket for each address; one that the kernel does not know (IPv6 switched off) is done without while there is another.
pub(super) fn listen_all(addrs: &[SocketAddr]) -> anyhow::Result<Vec<UdpSocket>> {
    let (mut sockets, mut errors) = (Vec::new(), Vec::new());
    // Every address of both families: a socket for each.
    let both = addrs.iter().filter(|addr| addr.ip() == Ipv6Addr::UNSPECIFIED);
    let both = both.map(|addr| SocketAddr::from((Ipv4Addr::UNSPECIFIED, addr.port())));
    let mut all: Vec<SocketAddr> = addrs.iter().copied().chain(both).collect();
    all.sort_unstable();
    all.dedup();
    for addr in all {
        match listen(addr) {
            Ok(socket) => sockets.push(socket),
            Err(error) => errors.push((addr, error)),
        }
    }
    // A port that somebody else has is not a family that the kernel lacks: a node that hears half of its peers is no help.
    let lacks = |error: &anyhow::Error| {
        let errno = error.downcast_ref::<Errno>();
        errno.is_some_and(|errno| matches!(*errno, Errno::AFNOSUPPORT | Errno::ADDRNOTAVAIL))
    };
    let fatal = |(addr, error): &&(SocketAddr, anyhow::Error)| {
        !addr.ip().is_unspecified() || sockets.is_empty() || !lacks(error)
    };
    if let Some((_, error)) = errors.iter().find(fatal) {
        anyhow::bail!("{error:#}");
    }
    for (_, error) in errors {
        tracing::info!("{error:#}");
    }
    Ok(sockets)
}

fn listen(addr: SocketAddr) -> anyhow::Result<UdpSocket> {
    let open = || -> rustix::io::Result<UdpSocket> {
        let family = if addr.is_ipv6() { AddressFamily::INET6 } else { AddressFamily::INET };
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        let socket = rustix::net::socket_with(family, SocketType::DGRAM, flags, None)?;
        if addr.is_ipv6() {
            // IPv4 has a socket of its own.
            sockopt::set_ipv6_v6only(&socket, true)?;
        }
        // Letters wait here while the kernel has us wait, and behind what strangers send. Less is no reason to do without.
        let _ = sockopt::set_socket_recv_buffer_size_force(&socket, BUFFER)
            .or_else(|_| sockopt::set_socket_recv_buffer_size(&socket, BUFFER));
        rustix::net::bind(&socket, &addr)?;
        Ok(UdpSocket::from(socket))
    };
    open().with_context(|| format!("[cluster] listen: UDP {addr}"))
}

/// An IPv4 address that came through an IPv6 socket as what it is.
pub(super) fn plain(addr: SocketAddr) -> SocketAddr {
    SocketAddr::new(addr.ip().to_canonical(), addr.port())
}
