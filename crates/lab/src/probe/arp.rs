//! Asks every millisecond who has an address and notes which Ethernet addresses claim it (RFC 826).
//!
//! The answers also teach the asking host: run it on another host than the client whose outage is measured, or it
//! mends the client's stale neighbour entry.

use std::net::Ipv4Addr;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use mainstay_sys::labsock::{ARP, PacketSocket};

use crate::Host;
use crate::probe::{Task, readable};

/// A running ARP prober.
#[derive(Debug)]
pub struct ArpProbe {
    task: Task<()>,
    claims: Arc<Mutex<Vec<Claim>>>,
    interval: Duration,
}

/// One answer: somebody says that the address is his.
#[derive(Clone, Copy, Debug)]
pub struct Claim {
    /// When it came.
    pub at: Instant,
    /// Whose.
    pub mac: [u8; 6],
}

/// All answers of a run.
#[derive(Clone, Debug)]
pub struct Answers {
    /// In the order in which they came.
    pub claims: Vec<Claim>,
    interval: Duration,
}

impl ArpProbe {
    /// Asks for `target` on `interface` of `host`, every `interval`.
    pub fn start(host: &Host, interface: &str, target: Ipv4Addr, interval: Duration) -> Result<Self> {
        let own = host.addresses()?.into_iter().find_map(|addr| match addr {
            std::net::IpAddr::V4(addr) => Some(addr),
            std::net::IpAddr::V6(_) => None,
        });
        let Some(own) = own else { bail!("host {}: no IPv4 address to ask from", host.name()) };
        let question = question(host.mac(interface)?, own, target);
        let socket = host.run(|| PacketSocket::open(interface, ARP))?;
        let socket = socket.with_context(|| format!("host {}: cannot ask on {interface}", host.name()))?;
        let claims = Arc::new(Mutex::new(Vec::new()));
        let shared = Arc::clone(&claims);
        let task =
            Task::start("lab-arp", move |stop| ask(&socket, &question, target, interval, &shared, stop))?;
        Ok(Self { task, claims, interval })
    }

    /// The answers so far.
    pub fn answers(&self) -> Answers {
        let claims = self.claims.lock().unwrap_or_else(PoisonError::into_inner).clone();
        Answers { claims, interval: self.interval }
    }

    /// Ends it and returns all answers.
    pub fn stop(self) -> Answers {
        let Self { task, claims, interval } = self;
        task.finish();
        let claims = std::mem::take(&mut *claims.lock().unwrap_or_else(PoisonError::into_inner));
        Answers { claims, interval }
    }
}

/// A broadcast request, Ethernet header included.
fn question(mac: [u8; 6], own: Ipv4Addr, target: Ipv4Addr) -> [u8; 42] {
    let mut frame = [0_u8; 42];
    frame[..6].fill(0xff);
    frame[6..12].copy_from_slice(&mac);
    // EtherType ARP; Ethernet and IPv4, 6 and 4 bytes long; a request.
    frame[12..22].copy_from_slice(&[8, 6, 0, 1, 8, 0, 6, 4, 0, 1]);
    frame[22..28].copy_from_slice(&mac);
    frame[28..32].copy_from_slice(&own.octets());
    frame[38..42].copy_from_slice(&target.octets());
    frame
}

fn ask(
    socket: &PacketSocket,
    question: &[u8],
    target: Ipv4Addr,
    interval: Duration,
    claims: &Mutex<Vec<Claim>>,
    stop: &AtomicBool,
) {
    let mut planned = Instant::now();
    let mut buffer = [0_u8; 128];
    let mut news = Vec::new();
    while !stop.load(Ordering::Relaxed) {
        let _ = socket.send(question);
        planned = (planned + interval).max(Instant::now());
        loop {
            while let Ok(Some(length)) = socket.receive(&mut buffer) {
                if let Some(mac) = claimant(&buffer[..length], target) {
                    news.push(Claim { at: Instant::now(), mac });
                }
            }
            let now = Instant::now();
            if now >= planned {
                break;
            }
            readable(socket, planned - now);
        }
        // A reader of the list may be less urgent than this thread: it doesn't wait for one.
        if let Ok(mut claims) = claims.try_lock() {
            claims.append(&mut news);
        }
    }
    claims.lock().unwrap_or_else(PoisonError::into_inner).append(&mut news);
}

/// Whose reply this is; announcements (replies to everybody) don't count, they answer no question.
fn claimant(frame: &[u8], target: Ipv4Addr) -> Option<[u8; 6]> {
    let is_reply = frame.get(20..22)? == [0, 2] && frame.first()? & 1 == 0;
    let ours = frame.get(28..32)? == target.octets();
    if is_reply && ours { frame.get(22..28)?.try_into().ok() } else { None }
}

impl Answers {
    /// Times in which two hosts answered in turns: between two answers of one, close together, came another's.
    pub fn dual(&self, window: &Range<Instant>) -> Vec<Range<Instant>> {
        let close = self.interval * 10;
        let mut found: Vec<Range<Instant>> = Vec::new();
        let claims: Vec<Claim> =
            self.claims.iter().copied().filter(|claim| window.contains(&claim.at)).collect();
        for (index, claim) in claims.iter().enumerate() {
            let before = claims[..index].iter().rev().take_while(|earlier| claim.at - earlier.at <= close);
            let before: Vec<&Claim> = before.collect();
            let Some(own) = before.iter().position(|earlier| earlier.mac == claim.mac) else { continue };
            if own == 0 {
                continue;
            }
            let span = before[own].at..claim.at;
            match found.last_mut() {
                Some(last) if span.start <= last.end => last.end = span.end,
                _ => found.push(span),
            }
        }
        found
    }

    /// How long two hosts answered, summed up.
    pub fn dual_time(&self, window: &Range<Instant>) -> Duration {
        self.dual(window).iter().map(|span| span.end - span.start).sum()
    }

    /// When two hosts last answered.
    pub fn last_dual(&self, window: &Range<Instant>) -> Option<Instant> {
        self.dual(window).last().map(|span| span.end)
    }

    /// Who answered within the window.
    pub fn holders(&self, window: &Range<Instant>) -> std::collections::BTreeSet<[u8; 6]> {
        self.claims.iter().filter(|claim| window.contains(&claim.at)).map(|claim| claim.mac).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answers(start: Instant, order: &[u8]) -> Answers {
        let claims = (0..)
            .zip(order)
            .map(|(number, host)| Claim { at: start + Duration::from_millis(number), mac: [*host; 6] });
        Answers { claims: claims.collect(), interval: Duration::from_millis(1) }
    }

    #[test]
    fn a_plain_move_is_not_a_time_with_two_holders() {
        let start = Instant::now();
        let window = start..start + Duration::from_secs(1);
        assert_eq!(answers(start, &[1, 1, 1, 2, 2, 2]).dual_time(&window), Duration::ZERO);
    }

    #[test]
    fn answers_in_turns_are() {
        let start = Instant::now();
        let window = start..start + Duration::from_secs(1);
        let answers = answers(start, &[1, 1, 2, 1, 2, 1, 2, 2]);
        assert_eq!(answers.dual_time(&window), Duration::from_millis(5));
        assert_eq!(answers.last_dual(&window), Some(start + Duration::from_millis(6)));
    }
}
