//! ICMP and ICMPv6 echo (RFC 792, RFC 4443 4), one socket for each family, shared by all ping probes.
//!
//! The unprivileged datagram socket is tried first; where the sysctl net.ipv4.ping_group_range forbids it (the
//! default of a new network namespace) a raw one takes its place, which is why sockets are opened before privileges go.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::OwnedFd;
use std::rc::Rc;

use anyhow::Context;
use rustix::net::{
    AddressFamily, Protocol, RecvFlags, SendFlags, SocketFlags, SocketType, ipproto, recvfrom, sendto,
    socket_with,
};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::oneshot;

use crate::probe::{AbortOnDrop, watched};

/// Type, code, checksum, identifier, sequence number.
const HEADER: usize = 8;

/// Eight bytes follow, by which we know our own.
const TOKEN: usize = 8;

/// Room for an echo, an IP header with options, and what others send to a raw socket; the rest is cut off. In bytes.
const PACKET: usize = 512;

/// The sockets of both families.
pub(crate) struct Pinger {
    v4: Family,
    v6: Family,
}

struct Family {
    /// How it was opened, or why it was not.
    socket: RefCell<Option<io::Result<Opened>>>,
    /// Made when the first echo is sent: an unused raw socket need not be read.
    live: RefCell<Option<Rc<Live>>>,
}

struct Opened {
    fd: OwnedFd,
    raw: bool,
    ipv6: bool,
}

struct Live {
    socket: Rc<Socket>,
    _reader: AbortOnDrop,
}

struct Socket {
    fd: AsyncFd<OwnedFd>,
    raw: bool,
    ipv6: bool,
    identifier: u16,
    next: Cell<u16>,
    waiting: RefCell<HashMap<u16, Waiting>>,
}

struct Waiting {
    from: IpAddr,
    token: [u8; TOKEN],
    answered: oneshot::Sender<()>,
}

impl Pinger {
    /// Opens what the kernel allows.
    pub(crate) fn open() -> Self {
        Self { v4: Family::open(false), v6: Family::open(true) }
    }

    /// Waits for the answer to one echo. The caller sets the deadline.
    ///
    /// # Errors
    /// When the echo cannot be sent.
    pub(crate) async fn ping(&self, target: IpAddr) -> anyhow::Result<()> {
        let family = if target.is_ipv6() { &self.v6 } else { &self.v4 };
        let socket = family.live()?;
        let (sequence, answer) = socket.send(target)?;
        let forget = Forget { socket: &socket, sequence };
        answer.await.context("the ping socket failed")?;
        drop(forget);
        Ok(())
    }
}

/// Takes a waiting echo out of the table, also when its check is given up.
struct Forget<'a> {
    socket: &'a Socket,
    sequence: u16,
}

impl Drop for Forget<'_> {
    fn drop(&mut self) {
        self.socket.waiting.borrow_mut().remove(&self.sequence);
    }
}

impl Family {
    fn open(ipv6: bool) -> Self {
        let (family, protocol) =
            if ipv6 { (AddressFamily::INET6, ipproto::ICMPV6) } else { (AddressFamily::INET, ipproto::ICMP) };
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let open = |kind, protocol: Protocol| socket_with(family, kind, flags, Some(protocol));
        let opened = match open(SocketType::DGRAM, protocol) {
            Ok(fd) => Ok(Opened { fd, raw: false, ipv6 }),
            Err(refused) => open(SocketType::RAW, protocol)
                .map(|fd| Opened { fd, raw: true, ipv6 })
                .map_err(|_| io::Error::from(refused)),
        };
        Self { socket: RefCell::new(Some(opened)), live: RefCell::default() }
    }

    fn live(&self) -> anyhow::Result<Rc<Socket>> {
        if let Some(live) = &*self.live.borrow() {
            return Ok(Rc::clone(&live.socket));
        }
        let opened = self.socket.borrow_mut().take();
        let opened = match opened {
            Some(Ok(opened)) => opened,
            Some(Err(error)) => {
                let again = io::Error::new(error.kind(), error.to_string());
                *self.socket.borrow_mut() = Some(Err(again));
                return Err(error)
                    .context("no ping socket: this needs CAP_NET_RAW or net.ipv4.ping_group_range");
            }
            None => anyhow::bail!("the ping socket failed to start"),
        };
        let (raw, ipv6) = (opened.raw, opened.ipv6);
        let identifier = u16::try_from(random(1) & 0xffff).unwrap_or(1);
        let socket = Rc::new(Socket {
            fd: watched(opened.fd, Interest::READABLE).context("watch the ping socket")?,
            raw,
            ipv6,
            identifier,
            next: Cell::new(0),
            waiting: RefCell::default(),
        });
        let reader = AbortOnDrop::spawn(Rc::clone(&socket).read());
        *self.live.borrow_mut() = Some(Rc::new(Live { socket: Rc::clone(&socket), _reader: reader }));
        Ok(socket)
    }
}

impl Socket {
    fn send(&self, target: IpAddr) -> anyhow::Result<(u16, oneshot::Receiver<()>)> {
        let mut waiting = self.waiting.borrow_mut();
        let mut sequence = self.next.get();
        while waiting.contains_key(&sequence) {
            sequence = sequence.wrapping_add(1);
        }
        self.next.set(sequence.wrapping_add(1));
        let token = random(u64::from(sequence)).to_be_bytes();
        let packet = echo(self.ipv6, self.identifier, sequence, token);
        sendto(self.fd.get_ref(), &packet, SendFlags::empty(), &SocketAddr::new(target, 0))
            .with_context(|| format!("send an echo to {target}"))?;
        let (answered, answer) = oneshot::channel();
        waiting.insert(sequence, Waiting { from: target, token, answered });
        Ok((sequence, answer))
    }

    async fn read(self: Rc<Self>) {
        let mut buffer = [0; PACKET];
        loop {
            let Ok(mut guard) = self.fd.readable().await else { return };
            match recvfrom(self.fd.get_ref(), &mut buffer, RecvFlags::empty()) {
                Ok((length, _, from)) => {
                    let from = from.and_then(|from| SocketAddr::try_from(from).ok());
                    if let Some(from) = from {
                        self.hear(&buffer[..length], from.ip());
                    }
                }
                Err(rustix::io::Errno::AGAIN) => guard.clear_ready(),
                // An error that an earlier echo met; its check runs into its deadline.
                Err(_) => {}
            }
        }
    }

    fn hear(&self, packet: &[u8], from: IpAddr) {
        let Some((sequence, token)) = reply(packet, self.ipv6, self.raw) else { return };
        let mut waiting = self.waiting.borrow_mut();
        let ours = waiting.get(&sequence).is_some_and(|one| one.from == from && one.token == token);
        if ours && let Some(one) = waiting.remove(&sequence) {
            // The check may have been given up in between.
            let _ = one.answered.send(());
        }
    }
}

/// An echo request. The kernel fills in the checksum of ICMPv6, and both fields for a datagram socket.
fn echo(ipv6: bool, identifier: u16, sequence: u16, token: [u8; TOKEN]) -> [u8; HEADER + TOKEN] {
    let mut packet = [0; HEADER + TOKEN];
    packet[0] = if ipv6 { 128 } else { 8 };
    packet[4..6].copy_from_slice(&identifier.to_be_bytes());
    packet[6..8].copy_from_slice(&sequence.to_be_bytes());
    packet[HEADER..].copy_from_slice(&token);
    if !ipv6 {
        let sum = checksum(&packet);
        packet[2..4].copy_from_slice(&sum.to_be_bytes());
    }
    packet
}

/// Sequence number and token of an echo reply; `None` for everything else.
fn reply(packet: &[u8], ipv6: bool, raw: bool) -> Option<(u16, [u8; TOKEN])> {
    let with_ip_header = raw && !ipv6;
    let start = if with_ip_header { usize::from(packet.first()? & 0xf) * 4 } else { 0 };
    let message = packet.get(start..)?;
    let kind = if ipv6 { 129 } else { 0 };
    if *message.first()? != kind {
        return None;
    }
    let sequence = u16::from_be_bytes(message.get(6..8)?.try_into().ok()?);
    let token = message.get(HEADER..HEADER + TOKEN)?.try_into().ok()?;
    Some((sequence, token))
}

/// RFC 1071.
fn checksum(bytes: &[u8]) -> u16 {
    let words = bytes.chunks(2).map(|pair| u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0)));
    let mut sum: u32 = words.sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !u16::try_from(sum).unwrap_or(0)
}

fn random(salt: u64) -> u64 {
    RandomState::new().hash_one(salt)
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr};
    use std::time::Duration;

    use tokio::time::timeout;

    use super::*;

    #[test]
    fn an_echo_over_ipv4_carries_a_checksum_that_sums_to_nothing() {
        assert_eq!(checksum(&echo(false, 7, 1, [9; TOKEN])), 0);
    }

    #[test]
    fn only_replies_are_heard_with_or_without_an_ip_header() {
        let mut packet = echo(false, 7, 258, [9; TOKEN]).to_vec();
        assert_eq!(reply(&packet, false, false), None, "our own request, looped back");
        packet[0] = 0;
        assert_eq!(reply(&packet, false, false), Some((258, [9; TOKEN])));
        let mut with_header = vec![0x46; 24];
        with_header.extend_from_slice(&packet);
        assert_eq!(reply(&with_header, false, true), Some((258, [9; TOKEN])));
        assert_eq!(reply(&packet[..12], false, false), None);
        assert_eq!(reply(&[], true, true), None);
    }

    #[test]
    fn this_host_answers_in_every_family_it_has_and_broadcast_is_refused() {
        on_a_runtime(async {
            let pinger = Pinger::open();
            let allowed = pinger.v4.socket.borrow().as_ref().is_some_and(Result::is_ok);
            let limit = Duration::from_secs(5);
            let ipv6 = std::fs::read_to_string("/proc/net/if_inet6").is_ok_and(|lines| !lines.is_empty());
            let mut targets = vec![IpAddr::V4(Ipv4Addr::LOCALHOST)];
            targets.extend(ipv6.then_some(IpAddr::V6(Ipv6Addr::LOCALHOST)));
            for target in targets {
                assert_eq!(timeout(limit, pinger.ping(target)).await.unwrap().is_ok(), allowed, "{target}");
            }
            let broadcast = IpAddr::V4(Ipv4Addr::BROADCAST);
            assert!(timeout(limit, pinger.ping(broadcast)).await.unwrap().is_err());
        });
    }

    #[test]
    fn without_the_right_to_a_socket_each_ping_says_what_is_missing() {
        on_a_runtime(async {
            let refused = || Family {
                socket: RefCell::new(Some(Err(io::ErrorKind::PermissionDenied.into()))),
                live: RefCell::default(),
            };
            let pinger = Pinger { v4: refused(), v6: refused() };
            for _ in 0..2 {
                let error = pinger.ping(IpAddr::V4(Ipv4Addr::LOCALHOST)).await.unwrap_err();
                assert!(format!("{error:#}").contains("ping_group_range"), "{error:#}");
            }
        });
    }

    fn on_a_runtime(test: impl Future<Output = ()>) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        tokio::task::LocalSet::new().block_on(&runtime, test);
    }
}
