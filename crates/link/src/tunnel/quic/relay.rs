//! Datagrams that came in at another thread's socket, or another process', handed over on this host.
//!
//! Each endpoint listens on an abstract unix socket that its tag names. What comes there is believed as much as a datagram from the
//! network, which is not at all: any process of this host could send it, and the machine authenticates each packet.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr as Name, UnixDatagram as Plain};

use quinn_proto::EcnCodepoint;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::place::Tag;
use super::socket::Came;

/// The longest datagram that a path of this world brings, and what is told of it.
const ROOM: usize = (64 << 10) + HEAD;

/// From whom (address 16, port 2), to which of ours (address 16), ECN 1.
const HEAD: usize = 35;

/// An endpoint's end.
#[derive(Debug)]
pub(super) struct Relay {
    socket: AsyncFd<Plain>,
}

fn name(tag: Tag) -> io::Result<Name> {
    Name::from_abstract_name(format!("mainstay-quic-{:08x}", u32::from_be_bytes(tag)))
}

impl Relay {
    /// Listens for what is for this tag; an error of kind `AddrInUse` says that somebody else has it.
    pub(super) fn new(tag: Tag) -> io::Result<Self> {
        let socket = Plain::bind_addr(&name(tag)?)?;
        socket.set_nonblocking(true)?;
        #[expect(
            deprecated,
            reason = "its successor is unsafe for types whose descriptor may change; ours does not"
        )]
        let socket = AsyncFd::with_interest(socket, Interest::READABLE)?;
        Ok(Self { socket })
    }

    /// Hands a datagram to another endpoint; false when there is none of this tag. One that is busy loses it, as the network would.
    pub(super) fn hand_over(&self, tag: Tag, came: Came, bytes: &[u8]) -> bool {
        let Ok(name) = name(tag) else { return false };
        match self.socket.get_ref().send_to_addr(&message(came, bytes), &name) {
            Ok(_) => true,
            Err(error) => !matches!(error.kind(), io::ErrorKind::ConnectionRefused | io::ErrorKind::NotFound),
        }
    }

    /// Waits for what others hand over, and takes one.
    pub(super) async fn receive(&self, room: &mut Vec<u8>) -> io::Result<Option<Came>> {
        room.resize(ROOM, 0);
        loop {
            let mut ready = self.socket.readable().await?;
            let Ok(came) = ready.try_io(|socket| socket.get_ref().recv(room)) else { continue };
            let length = came?;
            let came = read(&room[..length]);
            room.truncate(length);
            room.drain(..HEAD.min(length));
            return Ok(came);
        }
    }
}

fn message(came: Came, bytes: &[u8]) -> Vec<u8> {
    let mut message = Vec::with_capacity(HEAD + bytes.len());
    message.extend_from_slice(&wide(came.from.ip()));
    message.extend_from_slice(&came.from.port().to_be_bytes());
    message.extend_from_slice(&came.to.map_or([0; 16], wide));
    message.push(came.ecn.map_or(0, |ecn| ecn as u8));
    message.extend_from_slice(bytes);
    message
}

fn read(message: &[u8]) -> Option<Came> {
    let from = narrow(message.get(..16)?);
    let port = u16::from_be_bytes([*message.get(16)?, *message.get(17)?]);
    let to = message.get(18..34)?;
    let to = (to != [0; 16]).then(|| narrow(to));
    let ecn = EcnCodepoint::from_bits(*message.get(34)?);
    Some(Came { from: SocketAddr::new(from, port), to, ecn })
}

fn wide(ip: IpAddr) -> [u8; 16] {
    match ip {
        IpAddr::V4(ip) => ip.to_ipv6_mapped().octets(),
        IpAddr::V6(ip) => ip.octets(),
    }
}

fn narrow(bytes: &[u8]) -> IpAddr {
    let octets: [u8; 16] = bytes.try_into().expect("sixteen were cut out");
    IpAddr::from(octets).to_canonical()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run<T>(future: impl Future<Output = T>) -> T {
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        runtime.enable_all().build().unwrap().block_on(future)
    }

    #[test]
    fn what_comes_to_the_wrong_socket_reaches_the_endpoint_that_it_names() {
        run(async {
            let tag = |low: u32| (std::process::id() << 12 | low).to_be_bytes();
            let (near, far) = (Relay::new(tag(1)).unwrap(), Relay::new(tag(2)).unwrap());
            assert_eq!(Relay::new(tag(2)).unwrap_err().kind(), io::ErrorKind::AddrInUse);
            let came = [
                ("192.0.2.7:4711", Some("10.0.0.1"), Some(EcnCodepoint::Ce)),
                ("[2001:db8::1]:9", Some("2001:db8::2"), None),
                ("10.1.1.1:1", None, Some(EcnCodepoint::Ect0)),
            ];
            for (from, to, ecn) in came {
                let came =
                    Came { from: from.parse().unwrap(), to: to.map(|to: &str| to.parse().unwrap()), ecn };
                assert!(near.hand_over(tag(2), came, b"a packet"));
                let mut room = Vec::new();
                let got = far.receive(&mut room).await.unwrap().unwrap();
                assert_eq!((got.from, got.to, got.ecn), (came.from, came.to, came.ecn));
                assert_eq!(room, b"a packet");
            }
            let nobody = Came { from: "10.1.1.1:1".parse().unwrap(), to: None, ecn: None };
            assert!(!near.hand_over(tag(3), nobody, b"a packet"), "nobody has that tag");
            drop(far);
            assert!(!near.hand_over(tag(2), nobody, b"a packet"), "it is gone");
            assert!(read(&[0; HEAD - 1]).is_none(), "what is cut short says nothing");
        });
    }
}
