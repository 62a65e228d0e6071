//! References that are asked by ping: one socket for each address, bound to the vip's interface and to an address that is the
//! node's own, so that neither another way out nor a vip answers for the one that is meant.
//!
//! What can't be asked counts as not answered, and why it can't is kept for status.

use std::net::IpAddr;
use std::os::fd::{AsFd as _, BorrowedFd};

use mainstay_core::name::LinkId;
use mainstay_core::net::Networks;
use mainstay_sys::netlink::IfAddr;
use mainstay_sys::ping::{Ping, Way};

use super::links::{LinkState, Links};

/// Answers to this many of the last questions count: the way there and back may take longer than the time between two.
const WINDOW: u8 = 4;

/// Answers taken from one socket before the others are looked at.
const ANSWERS: usize = 16;

/// One address that is pinged.
pub(super) struct Echo {
    /// The set that it belongs to.
    pub(super) reference: usize,
    link: LinkId,
    addr: IpAddr,
    socket: Option<(Ping, Way)>,
    asked: Asked,
    /// Forged answers to sockets that are closed.
    refused: u64,
    /// Why the last question was not sent.
    unasked: Option<String>,
    /// What a router said since the last answer.
    unreachable: Option<String>,
}

impl Echo {
    pub(super) fn new(reference: usize, link: LinkId, addr: IpAddr) -> Self {
        let (asked, unasked, unreachable) = (Asked::default(), None, None);
        Self { reference, link, addr, socket: None, asked, refused: 0, unasked, unreachable }
    }

    /// Sends the next question.
    pub(super) fn ask(&mut self, links: &Links, of_vip: impl Fn(&IpAddr) -> bool) {
        let way = way(links, self.link, self.addr, of_vip);
        let sent = way.and_then(|way| self.send(way));
        if let Err(why) = &sent {
            if self.unasked.as_ref() != Some(why) {
                tracing::warn!(reference = %self.addr, "{why}");
            }
            self.close();
        }
        self.unasked = sent.err();
    }

    fn send(&mut self, way: Way) -> Result<(), String> {
        if self.socket.as_ref().is_none_or(|(_, known)| *known != way) {
            self.close();
            let ping = Ping::open(self.addr, &way).map_err(|error| format!("{error:#}"))?;
            self.socket = Some((ping, way));
        }
        let Some((ping, _)) = &self.socket else { return Ok(()) };
        let sequence = self.asked.next();
        // What an earlier request met is told by the next call, and nothing is sent then.
        ping.send(sequence).or_else(|_| ping.send(sequence)).map_err(|error| error.to_string())
    }

    fn close(&mut self) {
        let refused = self.socket.take().map_or(0, |(ping, _)| ping.refused());
        self.refused = self.refused.saturating_add(refused);
        self.asked = Asked::default();
    }

    /// Whether it has answered one of the last questions.
    pub(super) fn hear(&mut self) -> bool {
        let Some((ping, _)) = &mut self.socket else { return false };
        let mut heard = false;
        for _ in 0..ANSWERS {
            match ping.receive() {
                Ok(Some(sequence)) if self.asked.answer(sequence) => heard = true,
                // The same answer twice, or one that is too old.
                Ok(Some(_)) => self.refused = self.refused.saturating_add(1),
                Ok(None) => break,
                Err(error) => self.unreachable = Some(error.to_string()),
            }
        }
        if heard {
            self.unreachable = None;
        }
        heard
    }

    pub(super) fn fd(&self) -> Option<BorrowedFd<'_>> {
        self.socket.as_ref().map(|(ping, _)| ping.as_fd())
    }

    /// Packets that looked like answers and did not count.
    pub(super) fn refused(&self) -> u64 {
        self.refused.saturating_add(self.socket.as_ref().map_or(0, |(ping, _)| ping.refused()))
    }

    /// Why it is not asked; and when it is `lost`, what is known of why it does not answer.
    pub(super) fn trouble(&self, lost: bool) -> Option<String> {
        let told = self.unreachable.as_ref().filter(|_| lost).map(|why| format!("{}: {why}", self.addr));
        let unasked = self.unasked.as_ref().map(|why| format!("{} can't be asked: {why}", self.addr));
        unasked.or(told)
    }
}

/// The last questions.
#[derive(Debug, Default)]
struct Asked {
    last: u16,
    /// The lowest bit is the last question's, while its answer is waited for.
    waiting: u8,
}

impl Asked {
    /// The number of the next question.
    fn next(&mut self) -> u16 {
        self.last = self.last.wrapping_add(1);
        self.waiting = (self.waiting << 1 | 1) & ((1 << WINDOW) - 1);
        self.last
    }

    /// Whether this is the first answer to a question that is not too old.
    fn answer(&mut self, sequence: u16) -> bool {
        let bit = 1u8.checked_shl(u32::from(self.last.wrapping_sub(sequence))).unwrap_or(0);
        let waited = self.waiting & bit != 0;
        self.waiting &= !bit;
        waited
    }
}

/// Over which interface and from which address of our own an address is asked.
fn way(links: &Links, link: LinkId, to: IpAddr, of_vip: impl Fn(&IpAddr) -> bool) -> Result<Way, String> {
    let state = links.get(link);
    if of_vip(&to) || links.iter().any(|(_, link)| link.addrs.iter().any(|a| a.addr == to)) {
        return Err("it is an address of this node, or a vip".into());
    }
    let Some(index) = state.ifindex() else {
        return Err(format!("there is no interface {}", state.name));
    };
    let from = source(&state.addrs, to, of_vip);
    let from = from.ok_or_else(|| {
        let kind = match to {
            IpAddr::V4(_) => "IPv4",
            IpAddr::V6(to) if to.is_unicast_link_local() => "link-local",
            IpAddr::V6(_) => "global IPv6",
        };
        format!("{} has no {kind} address of its own to ask from", state.name)
    })?;
    Ok(Way { name: state.name.clone(), index, from })
}

/// The address that is on the target's network, else one that answers find back to; never a vip.
fn source(addrs: &[IfAddr], to: IpAddr, of_vip: impl Fn(&IpAddr) -> bool) -> Option<IpAddr> {
    let local = |addr: IpAddr| matches!(addr, IpAddr::V6(addr) if addr.is_unicast_link_local());
    let fits = |a: &&IfAddr| {
        a.addr.is_ipv6() == to.is_ipv6()
            && local(a.addr) == local(to)
            && !(a.is_ours() || a.tentative || a.duplicate || of_vip(&a.addr))
    };
    let rank = |a: &&IfAddr| {
        let deprecated = a.preferred.is_some_and(|left| left.is_zero());
        (!Networks::new([(a.addr, a.prefix)]).contains(to), deprecated, a.link_local)
    };
    addrs.iter().filter(fits).min_by_key(rank).map(|a| a.addr)
}

/// Why ARP and neighbour discovery have little hope, when an address is on none of an interface's networks.
pub(super) fn beyond(link: &LinkState, addrs: &[IpAddr]) -> Option<String> {
    let near = Networks::new(link.addrs.iter().filter(|a| !a.is_ours()).map(|a| (a.addr, a.prefix)));
    let far = addrs.iter().find(|addr| !near.contains(**addr))?;
    Some(format!(
        "{far} is on no network of {}, and ARP does not pass a router: method = \"ping\" does",
        link.name
    ))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn standing(addr: &str, prefix: u8) -> IfAddr {
        IfAddr {
            index: 2,
            addr: addr.parse().expect("an address"),
            prefix,
            valid: None,
            preferred: None,
            proto: None,
            tentative: false,
            duplicate: false,
            link_local: addr.starts_with("fe80"),
        }
    }

    fn chosen(addrs: &[IfAddr], to: &str) -> Option<String> {
        let vip: IpAddr = "10.0.4.99".parse().expect("an address");
        let found = source(addrs, to.parse().expect("an address"), |addr| *addr == vip);
        found.map(|addr| addr.to_string())
    }

    #[test]
    fn questions_come_from_the_targets_network_else_from_an_address_that_is_no_vip() {
        let mut addrs = [
            standing("10.0.4.99", 24),
            standing("10.9.0.1", 24),
            standing("10.0.4.1", 24),
            standing("fe80::1", 64),
            standing("fd00:4::1", 64),
        ];
        let said = |addrs: &[IfAddr], to| chosen(addrs, to).unwrap_or_default();
        assert_eq!(said(&addrs, "10.0.4.254"), "10.0.4.1");
        assert_eq!(said(&addrs, "192.0.2.1"), "10.9.0.1", "not the vip, though it stands first");
        assert_eq!(said(&addrs, "fe80::9"), "fe80::1");
        assert_eq!(said(&addrs, "2001:db8::1"), "fd00:4::1");
        addrs[1].preferred = Some(Duration::ZERO);
        assert_eq!(said(&addrs, "192.0.2.1"), "10.0.4.1");
        addrs[4].tentative = true;
        assert_eq!(chosen(&addrs, "2001:db8::1"), None, "nothing can be sent from it yet");
        assert_eq!(chosen(&addrs[..1], "10.0.4.254"), None, "a vip alone is nobody to ask from");
    }

    #[test]
    fn each_of_the_last_questions_is_answered_once() {
        let mut asked = Asked::default();
        assert!(!asked.answer(0), "nothing was asked");
        let first = asked.next();
        assert!(!asked.answer(first.wrapping_add(1)), "of the future");
        assert!(asked.answer(first) && !asked.answer(first), "once");
        let numbers: Vec<u16> = (0..=WINDOW).map(|_| asked.next()).collect();
        assert!(!asked.answer(numbers[0]), "too old");
        assert!(numbers[1..].iter().rev().all(|number| asked.answer(*number)));
        for sequence in 0..=u16::MAX {
            assert!(!asked.answer(sequence), "{sequence}");
        }
    }

    #[test]
    fn numbers_go_round() {
        let mut asked = Asked { last: u16::MAX, waiting: 1 };
        assert_eq!(asked.next(), 0);
        assert!(asked.answer(u16::MAX) && asked.answer(0));
    }
}
