//! References, the lock and what becomes of a node that is alone.

use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use mainstay_core::arbitration::{LockTerms, ReferenceTerms};
use mainstay_core::election::{Guard, VipSpec};
use mainstay_core::net::Networks;

use super::command::COMMAND_TIMEOUT;
use super::{HOUR, Resolver, SECOND};
use crate::plan::arbitration::{Isolated, IsolatedAction, Lock, Method, Reference};
use crate::plan::{Addr, Command, Vip};
use crate::raw;
use crate::source::{At, Span};
use crate::values::{MethodWord, written};

/// Three questions to an advert, so that a node in trouble knows it before its backup takes over.
const QUESTIONS: u32 = 3;
/// A gateway is nobody's stopwatch.
const SHORTEST_INTERVAL: Duration = Duration::from_millis(20);
const LONGEST_INTERVAL: Duration = Duration::from_secs(60);
const MOST_ADDRS: usize = 8;

const USUAL_STALE: Duration = Duration::from_secs(10);
const USUAL_TIMEOUT: Duration = Duration::from_millis(500);
const TIMEOUT: RangeInclusive<Duration> = Duration::from_millis(50)..=Duration::from_secs(30);
/// A renewal takes a read and a write, and three of the five in this time must be left to chance.
const STALE_TIMEOUTS: u32 = 10;
/// Two nodes settle between themselves who has it; three would have to know who is on whose side.
const LOCK_HOLDERS: usize = 2;

const LONE_TIMEOUT: Duration = Duration::from_secs(60);

/// The program that runs, whatever became of its file.
const SELF: &str = "/proc/self/exe";

/// Whether an address is on none of the networks that a vip was written with; not when it was written with none.
fn is_beyond(addr: IpAddr, near: &[Addr]) -> bool {
    let mut same = near.iter().filter(|of| of.addr.is_ipv6() == addr.is_ipv6()).peekable();
    let everywhere = matches!(addr, IpAddr::V6(addr) if addr.is_unicast_link_local());
    !everywhere && same.peek().is_some() && !Networks::new(same.map(|of| (of.addr, of.prefix))).contains(addr)
}

impl Resolver<'_> {
    pub(super) fn reference(
        &mut self,
        vip: &raw::Vip,
        spec: &VipSpec,
        placed: impl Iterator<Item = Addr>,
        who: &str,
    ) -> Option<Reference> {
        let raw = &vip.reference.as_ref()?.value;
        let who = format!("{who}: reference");
        let list = self.required(&raw.addrs, &raw.head, &who, "addrs")?;
        if list.value.is_empty() || list.value.len() > MOST_ADDRS {
            let message = format!("{who}: {} addresses", list.value.len());
            self.error(list.span, message, "write addrs = [\"10.0.4.1\"], the gateway's, or up to 8 of them");
        }
        let method = match raw.method.as_ref().map(|at| at.value) {
            None | Some(MethodWord::Arp) => Method::Arp,
            Some(MethodWord::Ping) => Method::Ping,
        };
        let near: Vec<Addr> = placed
            .filter(|addr| addr.link == spec.link && addr.prefix < if addr.addr.is_ipv6() { 128 } else { 32 })
            .collect();
        let mut addrs = Vec::new();
        for text in &list.value {
            let Some(addr) = self.ip(text, &who) else { continue };
            let broadcast = matches!(addr, IpAddr::V4(addr) if addr.is_broadcast());
            let wrong = if broadcast || addr.is_unspecified() || addr.is_multicast() || addr.is_loopback() {
                Some("is not the address of another host")
            } else if spec.addrs.contains(&addr) || spec.source == Some(addr) {
                Some("is this node's own, and answers whatever is cut")
            } else if self.standing.addrs.contains(&addr) {
                Some("is a peer's: it falls silent with the peer")
            } else if addrs.contains(&addr) {
                Some("is listed twice")
            } else {
                None
            };
            match wrong {
                Some(wrong) => self.error(
                    text.span,
                    format!("{who}: {addr} {wrong}"),
                    "name a host that both nodes reach over this interface, such as the gateway",
                ),
                None => addrs.push(addr),
            }
            if method == Method::Arp && is_beyond(addr, &near) {
                let message =
                    format!("{who}: {addr} is outside the vip's network, and ARP does not pass a router");
                let help = "write method = \"ping\", unless the interface has another network that it is on";
                self.findings.warn(text.span, message, help);
            }
        }
        let pace = match spec.guard {
            Guard::Quorum | Guard::Strict => self.standing.terms.term,
            Guard::BestEffort => spec.advert,
        };
        let usual = (pace / QUESTIONS).clamp(SHORTEST_INTERVAL, SECOND);
        let range = SHORTEST_INTERVAL..=LONGEST_INTERVAL;
        let interval = self.time(&raw.interval, usual, range, &who, "interval");
        let missed = u32::try_from(self.number(&raw.missed, 3, 1..=100, &who, "missed")).unwrap_or(3);
        Some(Reference { addrs, method, terms: ReferenceTerms { interval, missed } })
    }

    pub(super) fn lock(&mut self, cluster: &raw::Cluster) -> Option<Lock> {
        let raw = &cluster.lock.as_ref()?.value;
        let who = "[cluster] lock";
        let path = self.required(&raw.path, &raw.head, who, "path")?;
        if !path.value.starts_with('/') {
            let help =
                "write the whole path, such as \"/mnt/shared/mainstay.lock\" or \"/dev/disk/by-id/...\"";
            self.error(path.span, format!("{who}: \"{}\" is not an absolute path", path.value), help);
        } else if self.checks.files && !std::path::Path::new(&path.value).exists() {
            let message = format!("{who}: {} does not exist, and is never created", path.value);
            let help = format!(
                "is its file system mounted? make the file there once: truncate -s 4096 {}",
                path.value
            );
            self.findings.warn(path.span, message, help);
        }
        if self.standing.holders != LOCK_HOLDERS {
            let message = format!(
                "{who}: it decides between two nodes that hold vips, here are {}",
                self.standing.holders
            );
            self.error(
                raw.head.span,
                message,
                "with three nodes or more write guard = \"quorum\" and take `lock` out",
            );
        }
        let timeout = self.time(&raw.timeout, USUAL_TIMEOUT, TIMEOUT, who, "timeout");
        let least = (timeout * STALE_TIMEOUTS).max(SECOND);
        let stale = self.time(&raw.stale, USUAL_STALE.max(least), SECOND..=HOUR, who, "stale");
        if let Some(at) = raw.stale.as_ref().filter(|_| stale < least) {
            let message = format!(
                "{who}: a stale time of {} is too short for reads of {}",
                written(stale),
                written(timeout)
            );
            self.error(at.span, message, format!("write {} or more, or a shorter timeout", written(least)));
        }
        let argv = [SELF, "lock", path.value.as_str()].map(str::to_owned).to_vec();
        let command = self.intern(Command { argv, user: Some("root".into()), timeout });
        Some(Lock { path: PathBuf::from(path.value), terms: LockTerms { stale, timeout }, command })
    }

    pub(super) fn isolated(&mut self, cluster: &raw::Cluster) -> Option<Isolated> {
        let At { value: raw, span } = cluster.isolated.as_ref()?;
        let who = "[cluster] isolated";
        self.required(&raw.after, &raw.head, who, "after")?;
        let after = self.time(&raw.after, SECOND * 30, SECOND..=HOUR, who, "after");
        let action = match (&raw.exec, &raw.watchdog) {
            (Some(exec), None) => {
                let timeout = self.time(&raw.timeout, LONE_TIMEOUT, COMMAND_TIMEOUT, who, "timeout");
                IsolatedAction::Exec(self.command(exec, "root".into(), timeout, who))
            }
            (None, Some(device)) => {
                self.only_for_exec(raw.timeout.as_ref().map(|at| at.span), who);
                if !device.value.starts_with('/') {
                    let message = format!("{who}: \"{}\" is not an absolute path", device.value);
                    self.error(device.span, message, "write \"/dev/watchdog\"");
                }
                IsolatedAction::Watchdog(PathBuf::from(&device.value))
            }
            (None, None) | (Some(_), Some(_)) => {
                let help = "write exactly one of exec = [\"/usr/sbin/reboot\", \"--force\"] and watchdog = \"/dev/watchdog\"";
                self.error(*span, format!("{who}: exactly one thing is done"), help);
                return None;
            }
        };
        Some(Isolated { after, action })
    }

    fn only_for_exec(&mut self, span: Option<Span>, who: &str) {
        if let Some(span) = span {
            let message = format!("{who}: `timeout` means nothing without `exec`");
            self.error(span, message, "take `timeout` out: a watchdog has a timeout of its own");
        }
    }

    /// What the aids of the cluster need of the vips.
    pub(super) fn aids(&mut self, vips: &[Vip]) {
        let leased = !vips.is_empty() && vips.iter().all(|vip| vip.spec.guard != Guard::BestEffort);
        if let Some(span) = self.standing.lock.filter(|_| self.standing.keyed && leased) {
            let help = "take `lock` out: a majority of voters decides already";
            self.error(span, "[cluster] lock: every vip has guard \"quorum\"", help);
        }
        if let Some(span) = self.standing.isolated.filter(|_| self.standing.keyed)
            && !vips.iter().any(|vip| vip.reference.is_some())
        {
            let message =
                "[cluster] isolated: no vip has a reference, so nobody can tell a dead peer from a cut wire";
            self.error(
                span,
                message,
                "write reference = { addrs = [\"10.0.4.1\"] } in a [[vip]], the gateway's address",
            );
        }
    }
}
