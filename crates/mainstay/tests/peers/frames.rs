//! Packets with any source, destination and TTL, as whole Ethernet frames from a host that means no good.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use anyhow::Result;
use mainstay_core::vrrp::PROTOCOL;
use mainstay_lab::Host;
use mainstay_sys::labsock::{ALL, PacketSocket};

type Mac = [u8; 6];

/// A socket that sends such frames.
pub(crate) struct Injector {
    host: Host,
    interface: String,
    mac: Mac,
    socket: PacketSocket,
}

impl Injector {
    /// On an interface of `host`.
    pub(crate) fn new(host: &Host, interface: &str) -> Result<Self> {
        let socket = host.run(|| PacketSocket::open(interface, ALL))??;
        let mac = host.mac(interface)?;
        Ok(Self { host: host.clone(), interface: interface.to_owned(), mac, socket })
    }

    /// Another one, for another thread.
    pub(crate) fn again(&self) -> Result<Self> {
        Self::new(&self.host, &self.interface)
    }

    /// Its own Ethernet address.
    pub(crate) const fn mac(&self) -> Mac {
        self.mac
    }

    /// Sends a VRRP message to the host with Ethernet address `to`, to whatever address it says.
    pub(crate) fn send(&self, to: Mac, src: IpAddr, dst: IpAddr, ttl: u8, payload: &[u8]) -> Result<()> {
        self.send_frame(&Self::frame(self.mac, to, src, dst, ttl, payload))
    }

    /// Sends a whole frame.
    pub(crate) fn send_frame(&self, frame: &[u8]) -> Result<()> {
        Ok(self.socket.send(frame)?)
    }

    /// The frame that carries a VRRP message.
    pub(crate) fn frame(from: Mac, to: Mac, src: IpAddr, dst: IpAddr, ttl: u8, payload: &[u8]) -> Vec<u8> {
        let header = match (src, dst) {
            (IpAddr::V4(src), IpAddr::V4(dst)) => ipv4(src, dst, ttl, payload.len()),
            (IpAddr::V6(src), IpAddr::V6(dst)) => ipv6(src, dst, ttl, payload.len()),
            (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => unreachable!("one family"),
        };
        let kind = if src.is_ipv4() { [0x08, 0x00] } else { [0x86, 0xdd] };
        [&to[..], &from, &kind, &header, payload].concat()
    }
}

fn ipv4(src: Ipv4Addr, dst: Ipv4Addr, ttl: u8, payload: usize) -> Vec<u8> {
    let length = u16::try_from(20 + payload).expect("a packet fits").to_be_bytes();
    let mut header = vec![0x45, 0xc0, length[0], length[1], 0, 1, 0, 0, ttl, PROTOCOL, 0, 0];
    header.extend(src.octets());
    header.extend(dst.octets());
    let sum: u32 = header.chunks(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]]))).sum();
    let folded = (sum & 0xffff) + (sum >> 16);
    let folded = u16::try_from((folded & 0xffff) + (folded >> 16)).expect("it was folded");
    header[10..12].copy_from_slice(&(!folded).to_be_bytes());
    header
}

fn ipv6(src: Ipv6Addr, dst: Ipv6Addr, hops: u8, payload: usize) -> Vec<u8> {
    let length = u16::try_from(payload).expect("a packet fits").to_be_bytes();
    let mut header = vec![0x6c, 0, 0, 0, length[0], length[1], PROTOCOL, hops];
    header.extend(src.octets());
    header.extend(dst.octets());
    header
}
