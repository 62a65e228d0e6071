//! Listening: the tap before the firewall, sockets behind it, questions to whoever holds an address, the node's status.

use std::net::IpAddr;
use std::os::fd::AsFd;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::Context as _;
use mainstay_config::plan::Plan;
use mainstay_core::arp::{self, ArpView};
use mainstay_core::ndp::{self, NdpView};
use mainstay_core::time::Boot;
use mainstay_core::vrrp;
use mainstay_sys::clock::boot_now;
use mainstay_sys::netlink::{Link, Route};
use mainstay_sys::packet::{FrameSocket, Tap, VrrpSocket};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::observed::{Claim, Daemon, Heard, Observed, Passed};
use crate::cli::{Unreachable, fetch_status};
use crate::dirs::Dirs;
use crate::status::Status;

/// Kinds of packets that are kept apart; a flood of different ones is no reason to grow.
const KINDS: usize = 1024;
/// Packets taken from one socket before the others are looked at.
const BATCH: usize = 256;
/// How often each address is asked for: one answer may be lost.
const QUESTIONS: u32 = 3;
/// Addresses that are asked for on one interface.
const ASKED: usize = 256;
/// More of a ruleset is not read.
const RULES: usize = 4 * 1024 * 1024;
/// What lists the packet filters' rules.
const LISTERS: [&[&str]; 5] = [
    &["nft", "list", "ruleset"],
    &["iptables-legacy-save"],
    &["ip6tables-legacy-save"],
    &["iptables-save"],
    &["ip6tables-save"],
];

/// Every socket that listens.
pub(super) struct Ears {
    tap: Tap,
    links: Vec<Ear>,
    seen: Observed,
}

/// One interface of the Plan.
struct Ear {
    link: Link,
    vrrp: Vec<VrrpSocket>,
    frames: Vec<FrameSocket>,
    asked: Vec<IpAddr>,
}

impl Ears {
    /// Opens the tap on all interfaces and the other sockets on those of the Plan.
    pub(super) fn open(plan: &Plan) -> anyhow::Result<Self> {
        let tap = Tap::open()?;
        let mut route = Route::open()?;
        let seen = Observed { links: route.links()?, addrs: route.addrs()?, ..Observed::default() };
        for link in seen.links.iter().filter(|link| link.up && !link.loopback) {
            // One that went away meanwhile is missed by nobody.
            let _ = tap.widen(link.index);
        }
        let mut ears = Self { tap, links: Vec::new(), seen };
        for name in &plan.links {
            if let Some(link) = ears.seen.link(name).cloned().filter(|link| link.up) {
                let ear = ears.ear(plan, link);
                ears.links.push(ear);
            }
        }
        Ok(ears)
    }

    fn ear(&mut self, plan: &Plan, link: Link) -> Ear {
        let name = link.name.clone();
        let here = |id: mainstay_core::name::LinkId| plan.links[id.index()] == name;
        let mut vrrp_sockets = Vec::new();
        for ipv6 in [false, true] {
            let vips: Vec<_> =
                plan.vips.iter().filter(|v| v.spec.ipv6 == ipv6 && here(v.spec.link)).collect();
            if vips.is_empty() {
                continue;
            }
            let opened = VrrpSocket::open(&link.name, link.index, ipv6).and_then(|socket| {
                let standard = if ipv6 { vrrp::GROUP_V6.into() } else { vrrp::GROUP_V4.into() };
                for vip in vips.iter().filter(|v| v.spec.unicast.is_empty()) {
                    socket.join(vip.multicast.unwrap_or(standard))?;
                }
                Ok(socket)
            });
            match opened {
                Ok(socket) => vrrp_sockets.push(socket),
                Err(error) => self.seen.blind.push(error.to_string()),
            }
        }
        let held = plan.vips.iter().flat_map(|v| &v.addrs).filter(|a| here(a.link)).map(|a| a.addr);
        let peers =
            plan.vips.iter().filter(|v| here(v.spec.link)).flat_map(|v| v.spec.unicast.iter().copied());
        let peers = peers.filter(|peer| self.is_near(&link, *peer));
        let mut asked: Vec<IpAddr> = held.chain(peers).take(ASKED).collect();
        asked.sort_unstable();
        asked.dedup();
        let frames = if link.ethernet { self.frames(&link, &asked) } else { Vec::new() };
        Ear { link, vrrp: vrrp_sockets, frames, asked }
    }

    /// Whether an address is asked for by ARP on this interface rather than sent to a router.
    fn is_near(&self, link: &Link, addr: IpAddr) -> bool {
        let own = self.seen.addrs.iter().filter(|a| a.index == link.index && !a.is_ours());
        own.into_iter().any(|own| super::place::same_subnet(own.addr, addr, own.prefix))
    }

    fn frames(&mut self, link: &Link, asked: &[IpAddr]) -> Vec<FrameSocket> {
        let mut sockets = Vec::new();
        for ipv6 in [false, true] {
            let wanted: Vec<IpAddr> = asked.iter().copied().filter(|a| a.is_ipv6() == ipv6).collect();
            if wanted.is_empty() {
                continue;
            }
            let opened = FrameSocket::open(link.index, ipv6).and_then(|s| s.watch(&wanted).map(|()| s));
            match opened {
                Ok(socket) => {
                    self.seen.asked.extend(wanted.into_iter().map(|addr| (link.index, addr)));
                    sockets.push(socket);
                }
                Err(error) => self.seen.blind.push(error.to_string()),
            }
        }
        sockets
    }

    /// Listens for a while and returns what was seen.
    pub(super) fn listen(&mut self, dirs: &Dirs, time: Duration) -> anyhow::Result<Observed> {
        let before = ask(dirs);
        let start = boot_now();
        let mut asked = 0;
        let passed = || boot_now().since(start);
        while passed() < time {
            if passed() >= time / QUESTIONS * asked && asked < QUESTIONS {
                asked += 1;
                self.links.iter_mut().for_each(Ear::ask);
            }
            let next = (time / QUESTIONS * asked).min(time);
            self.wait(next.saturating_sub(passed()))?;
            self.take(start)?;
        }
        self.seen.daemon = match (before, ask(dirs)) {
            (Asked::Status(before), Asked::Status(after)) => Daemon::Runs(Box::new((*before, *after))),
            (Asked::Nobody, _) | (_, Asked::Nobody) => Daemon::Absent,
            (Asked::Dumb(why), _) | (_, Asked::Dumb(why)) => Daemon::Dumb(why),
        };
        self.seen.rules = rules();
        // Addresses that came or went meanwhile: the last word counts.
        self.seen.addrs = Route::open()?.addrs()?;
        Ok(std::mem::take(&mut self.seen))
    }

    fn wait(&self, time: Duration) -> anyhow::Result<()> {
        let sockets = self.links.iter().flat_map(|ear| {
            let vrrp = ear.vrrp.iter().map(AsFd::as_fd);
            vrrp.chain(ear.frames.iter().map(AsFd::as_fd))
        });
        let fds = std::iter::once(self.tap.as_fd()).chain(sockets);
        let mut fds: Vec<PollFd<'_>> = fds.map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN)).collect();
        let time = Timespec::try_from(time).unwrap_or(Timespec { tv_sec: 1, tv_nsec: 0 });
        match poll(&mut fds, Some(&time)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
            Err(error) => Err(error).context("wait for packets"),
        }
    }

    /// Takes in what has arrived. A socket whose interface went down says so once and hears nothing more.
    fn take(&mut self, start: Boot) -> anyhow::Result<()> {
        let at = boot_now().since(start);
        let Self { tap, links, seen } = self;
        let _ = tap.receive(BATCH, &mut |p| {
            note_heard(
                &mut seen.heard,
                Heard {
                    index: p.index,
                    outgoing: p.outgoing,
                    vlan: p.vlan,
                    mac: p.mac,
                    from: p.from,
                    to: p.to,
                    ttl: p.ttl,
                    payload: p.payload.to_vec(),
                    count: 1,
                    first: at,
                    last: at,
                },
            );
        });
        for ear in links {
            let index = ear.link.index;
            for socket in &mut ear.vrrp {
                let _ = socket.receive(BATCH, &mut |p| {
                    note_passed(&mut seen.passed, Passed { index, from: p.from, to: p.to, count: 1 });
                });
            }
            for socket in &mut ear.frames {
                let _ = socket.receive(BATCH, &mut |frame| {
                    let new = claim(index, frame).filter(|c| !seen.claims.contains(c));
                    if let Some(claim) = new.filter(|_| seen.claims.len() < KINDS) {
                        seen.claims.push(claim);
                    }
                });
            }
        }
        Ok(())
    }
}

impl Ear {
    /// Asks for each address without claiming anything.
    fn ask(&mut self) {
        let Some(mac) = self.link.mac else { return };
        let frame = |addr: &IpAddr| match addr {
            IpAddr::V4(ip) => arp::probe(*ip, mac).to_vec(),
            IpAddr::V6(ip) => ndp::probe(*ip, mac).to_vec(),
        };
        let questions: Vec<Vec<u8>> = self.asked.iter().map(frame).collect();
        if let Some(socket) = self.frames.first_mut() {
            socket.send(&questions);
        }
    }
}

fn note_heard(all: &mut Vec<Heard>, new: Heard) {
    let alike = |h: &&mut Heard| {
        (h.index, h.outgoing, h.vlan, h.mac, h.from, h.to, h.ttl)
            == (new.index, new.outgoing, new.vlan, new.mac, new.from, new.to, new.ttl)
            && h.payload == new.payload
    };
    if let Some(known) = all.iter_mut().find(alike) {
        known.count += 1;
        known.last = new.last;
    } else if all.len() < KINDS {
        all.push(new);
    }
}

fn note_passed(all: &mut Vec<Passed>, new: Passed) {
    let alike = |p: &&mut Passed| (p.index, p.from, p.to) == (new.index, new.from, new.to);
    if let Some(known) = all.iter_mut().find(alike) {
        known.count += 1;
    } else if all.len() < KINDS {
        all.push(new);
    }
}

fn claim(index: u32, frame: &[u8]) -> Option<Claim> {
    if let Some(arp) = ArpView::parse(frame) {
        return Some(Claim { index, addr: arp.sender_ip.into(), mac: arp.sender_mac });
    }
    let ndp = NdpView::parse(frame)?;
    Some(Claim { index, addr: ndp.target.into(), mac: ndp.lladdr.unwrap_or(ndp.from) })
}

/// The node's answer.
enum Asked {
    Status(Box<Status>),
    Nobody,
    Dumb(String),
}

fn ask(dirs: &Dirs) -> Asked {
    match fetch_status(dirs) {
        Ok(status) => Asked::Status(Box::new(status)),
        Err(error) if matches!(error.downcast_ref(), Some(Unreachable::Absent(_))) => Asked::Nobody,
        Err(error) => Asked::Dumb(format!("{error:#}")),
    }
}

/// What the packet filters' own tools print; nothing where there are none. nft prints the rules of iptables-nft too.
fn rules() -> String {
    let mut all = String::new();
    for (place, words) in LISTERS.iter().enumerate() {
        if place >= 3 && !all.is_empty() {
            break;
        }
        let mut command = Command::new(words[0]);
        command.args(&words[1..]).stdin(Stdio::null());
        if let Ok(output) = command.output() {
            let text = String::from_utf8_lossy(&output.stdout);
            all.extend(text.chars().take(RULES));
            all.push('\n');
        }
    }
    all
}
