//! Arbitration, driven: what the election, the sessions, the references and the lock's place say goes in, rulings come out.
//!
//! References are asked over the vips' own interfaces, by ARP and neighbour discovery or by ping. The lock's place is read and written
//! by commands of the exec role: a disk that hangs holds nobody up here.

use std::net::IpAddr;
use std::os::fd::BorrowedFd;

use mainstay_config::plan::arbitration::{IsolatedAction, Method};
use mainstay_config::plan::{Plan, Vip};
use mainstay_core::arbitration::{
    Arbiter, Block, DiskOp, Effect, Input, LockState, Notice, Owner, PeerAid, ReferenceAid, Setup, VipAids,
};
use mainstay_core::election::{self, Guard, Holding, Reason, Ruling, State, View};
use mainstay_core::lease::{Message, Sights};
use mainstay_core::name::{CommandId, LinkId, NodeId, VipId};
use mainstay_core::time::Boot;
use mainstay_sys::clock::boot_now;

use super::Node;
use super::echo::{Echo, beyond};
use super::links::Links;
use crate::ipc::{Asker, FromVip, Outcome, Run};
use crate::status::{ArbitrationStatus, LockStatus, ReferenceStatus};

/// Runs for the lock are numbered from here to twice that: notifications stay below, sequences of services above.
const LOCK_RUNS: u64 = 1 << 62;

/// A ruling may change what it was made from so many times in a row before the others have their turn.
const ROUNDS: usize = 8;

/// Adverts as old as so many intervals are news of their sender.
const WINDOW_ADVERTS: u32 = 4;

/// Arbitration and what it stands on.
pub(super) struct Arbitration {
    pub(super) arbiter: Arbiter,
    setup: Setup,
    /// Each reference.
    sets: Vec<Set>,
    /// Those that are pinged.
    echoes: Vec<Echo>,
    /// Forged answers to those that an earlier configuration named.
    refused: u64,
    /// What is added to an operation's number, so that what a predecessor asked for is not taken for an answer to us.
    base: u64,
    /// The command of an isolated node that runs.
    acting: Option<u64>,
}

/// Where a reference is asked, whom, and by what.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Set {
    link: LinkId,
    addrs: Vec<IpAddr>,
    method: Method,
}

impl Arbitration {
    /// What answers to pings are heard by.
    pub(super) fn sockets(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.echoes.iter().filter_map(Echo::fd)
    }

    /// Packets that looked like answers of references and did not count.
    pub(super) fn refused(&self) -> u64 {
        self.echoes.iter().fold(self.refused, |sum, echo| sum.saturating_add(echo.refused()))
    }

    fn set_up(&mut self, setup: Setup, sets: Vec<Set>) {
        self.refused = self.refused();
        let pinged = sets.iter().enumerate().filter(|(_, set)| set.method == Method::Ping);
        let echoes = pinged
            .flat_map(|(reference, set)| set.addrs.iter().map(move |at| Echo::new(reference, set.link, *at)));
        self.echoes = echoes.collect();
        (self.setup, self.sets) = (setup, sets);
    }

    /// What is wrong with how a reference is asked, or known of why it is lost.
    fn trouble(&self, reference: usize, lost: bool, links: &Links) -> Option<String> {
        let set = self.sets.get(reference)?;
        match set.method {
            Method::Arp if lost => beyond(links.get(set.link), &set.addrs),
            Method::Arp => None,
            Method::Ping => {
                let of = self.echoes.iter().filter(|echo| echo.reference == reference);
                let all: Vec<String> = of.filter_map(|echo| echo.trouble(lost)).collect();
                (!all.is_empty()).then(|| all.join("; "))
            }
        }
    }
}

impl Node {
    /// Begins with what the Plan in force asks for, and goes on with what it has not changed.
    pub(super) fn arrange_aids(&mut self, now: Boot) {
        let (setup, sets) = setup(&self.plan, self.identity.as_ref().map_or(1, |identity| identity.instance));
        if !setup.is_needed() {
            if self.arbitration.take().is_some() {
                for vip in (0..).map(VipId).take(self.plan.vips.len()) {
                    self.machine.handle(election::Input::Ruling { vip, ruling: Ruling::Free }, now);
                }
            }
            return;
        }
        match &mut self.arbitration {
            Some(aided) if aided.setup == setup => aided.arbiter.repeat(),
            Some(aided) => aided.arbiter.reload(setup.clone(), now),
            None => {
                let base = LOCK_RUNS + (now.as_nanos() & (LOCK_RUNS - 1)) / 2;
                let arbiter = Arbiter::new(setup.clone(), now);
                let (setup, sets, echoes) = (setup.clone(), Vec::new(), Vec::new());
                let (refused, acting) = (0, None);
                self.arbitration = Some(Arbitration { arbiter, setup, sets, echoes, refused, base, acting });
            }
        }
        if let Some(aided) = &mut self.arbitration {
            aided.set_up(setup, sets);
        }
        self.arbitrate(now);
    }

    /// When arbitration has something to do.
    pub(super) fn next_ruling(&self) -> Boot {
        self.arbitration.as_ref().map_or(Boot::NEVER, |aided| aided.arbiter.poll_timeout())
    }

    /// Tells what has changed and carries out what follows.
    pub(super) fn arbitrate(&mut self, now: Boot) {
        for _ in 0..ROUNDS {
            self.look_round(now);
            let Some(aided) = &mut self.arbitration else { return };
            if aided.arbiter.poll_timeout() <= now {
                aided.arbiter.handle(Input::Tick, now);
            }
            if !self.carry_out_rulings(now) {
                return;
            }
        }
    }

    /// What the election and the sessions say.
    fn look_round(&mut self, now: Boot) {
        let Some(aided) = &mut self.arbitration else { return };
        for id in (0..).map(VipId).take(self.plan.vips.len()) {
            if let Some(view) = self.machine.view(id) {
                aided.arbiter.handle_if_new(stand(id, &view), now);
            }
        }
        let Some(quorum) = &mut self.quorum else { return };
        for peer in quorum.sessions.view(now).peers {
            let heard = peer.session.is_some() && peer.wires.iter().any(|wire| !wire.lost);
            aided.arbiter.handle_if_new(Input::Peer { node: peer.node, heard }, now);
        }
        for (node, sights) in std::mem::take(&mut quorum.sights) {
            aided.arbiter.handle(Input::Said { node, sights: &sights }, now);
        }
    }

    /// Whether the election was told something.
    fn carry_out_rulings(&mut self, now: Boot) -> bool {
        let mut ruled = false;
        while let Some(effect) = self.arbitration.as_mut().and_then(|aided| aided.arbiter.poll_effect()) {
            match effect {
                Effect::Ask { reference } => self.ask(reference),
                Effect::Ruling { vip, ruling } => {
                    self.machine.handle(election::Input::Ruling { vip, ruling }, now);
                    ruled = true;
                }
                Effect::Say(sights) => self.say_sights(&sights),
                Effect::Disk { number, op } => self.run_on_lock(number, op),
                Effect::Notice(notice) => self.noticed(&notice),
            }
        }
        if ruled {
            self.drain();
        } else {
            self.outbound.flush(&mut self.links);
            self.flush_peers();
        }
        ruled
    }

    /// Asks every address of a set.
    fn ask(&mut self, reference: usize) {
        let Some(aided) = &mut self.arbitration else { return };
        let Some(set) = aided.sets.get(reference) else { return };
        let of_vip =
            |addr: &IpAddr| self.plan.vips.iter().flat_map(|vip| &vip.addrs).any(|a| a.addr == *addr);
        match set.method {
            Method::Arp => {
                for addr in &set.addrs {
                    self.outbound.ask_from(set.link, *addr, &self.links, of_vip);
                }
            }
            Method::Ping => {
                for echo in aided.echoes.iter_mut().filter(|echo| echo.reference == reference) {
                    echo.ask(&self.links, of_vip);
                }
            }
        }
    }

    /// Takes in answers to pings.
    pub(super) fn hear_echoes(&mut self) {
        let Some(aided) = &mut self.arbitration else { return };
        let now = boot_now();
        for echo in &mut aided.echoes {
            if echo.hear() {
                aided.arbiter.handle(Input::Answered { reference: echo.reference }, now);
            }
        }
    }

    /// An address has answered ARP or neighbour discovery on a link.
    pub(super) fn answered(&mut self, link: LinkId, addr: IpAddr, now: Boot) {
        let Some(aided) = &mut self.arbitration else { return };
        for (reference, set) in aided.sets.iter().enumerate() {
            if set.method == Method::Arp && set.link == link && set.addrs.contains(&addr) {
                aided.arbiter.handle(Input::Answered { reference }, now);
            }
        }
    }

    fn say_sights(&mut self, sights: &Sights) {
        let Some(quorum) = &mut self.quorum else { return };
        let peers: Vec<NodeId> = quorum
            .cluster
            .peers
            .iter()
            .filter(|peer| peer.external.is_none())
            .map(|peer| peer.node)
            .collect();
        for node in peers {
            quorum.letters.entry(node).or_default().push(Message::Sights(sights.clone()));
        }
    }

    fn run_on_lock(&mut self, number: u64, op: DiskOp) {
        let lock = self.plan.cluster.as_ref().and_then(|cluster| cluster.lock.as_ref());
        let (Some(lock), Some(aided)) = (lock, &self.arbitration) else { return };
        let args = match op {
            DiskOp::Read => vec!["read".to_owned()],
            DiskOp::Write(text) => vec!["write".to_owned(), text],
        };
        let run = plain_run(aided.base + number, lock.command, args);
        self.say(&FromVip::Run(run));
    }

    /// A command has ended: whether it was one of arbitration's.
    pub(super) fn arbitration_ran(&mut self, outcome: &Outcome, now: Boot) -> bool {
        let ours = (LOCK_RUNS..2 * LOCK_RUNS).contains(&outcome.id);
        let Some(aided) = &mut self.arbitration else { return ours };
        if aided.acting == Some(outcome.id) {
            aided.acting = None;
            let said = if outcome.ok() {
                "has ended".to_owned()
            } else {
                format!("failed: {}", outcome.output.trim())
            };
            self.event("arbitration", "isolated", format!("the command for an isolated node {said}"));
            return true;
        }
        let Some(number) = outcome.id.checked_sub(aided.base).filter(|_| ours) else { return ours };
        let read = if outcome.ok() {
            Ok(Block::parse(outcome.output.as_bytes()))
        } else if outcome.timed_out {
            Err("it took too long".to_owned())
        } else {
            let why = outcome.error.clone().unwrap_or_else(|| outcome.output.trim().to_owned());
            Err(why.lines().last().unwrap_or("it failed").to_owned())
        };
        aided.arbiter.handle(Input::Disk { number, outcome: read }, now);
        self.arbitrate(now);
        true
    }

    /// Gives the lock back on the way out, once every address is gone.
    pub(super) fn leave_lock(&mut self, now: Boot) {
        let op = self.arbitration.as_mut().and_then(|aided| aided.arbiter.last_word(now));
        if let Some((number, op)) = op {
            self.run_on_lock(number, op);
        }
    }

    fn noticed(&mut self, notice: &Notice) {
        let (about, message) = match notice {
            Notice::Reference { reference, up } => {
                let Some(aided) = &self.arbitration else { return };
                let Some(set) = aided.sets.get(*reference) else { return };
                let list: Vec<String> = set.addrs.iter().map(ToString::to_string).collect();
                let (list, link) = (list.join(", "), &self.plan.links[set.link.index()]);
                let why = aided.trouble(*reference, !up, &self.links);
                let why = why.map_or_else(String::new, |why| format!(": {why}"));
                let message = match up {
                    true => format!("reference {list} answers on {link}{why}"),
                    false => format!("reference {list} does not answer on {link}{why}"),
                };
                ("reference", message)
            }
            Notice::LockOwned => ("lock", "this node has the lock: its peer is silent".to_owned()),
            Notice::LockLost => ("lock", "this node has lost the lock".to_owned()),
            Notice::LockBusy { node } => (
                "lock",
                format!(
                    "{node} has the lock: this node holds nothing until it is heard or the lock stands still"
                ),
            ),
            Notice::LockTrouble(why) => ("lock", format!("no lock: {why}")),
            Notice::LockReleased => {
                ("lock", "this node has given the lock back: its peer is heard".to_owned())
            }
            Notice::Isolated => ("isolated", "this node hears neither a peer nor a reference".to_owned()),
            Notice::IsolatedTooLong => ("isolated", self.words_of_action()),
            Notice::Joined => ("isolated", "over: this node hears somebody again".to_owned()),
        };
        match notice {
            Notice::Reference { up: true, .. } | Notice::LockReleased | Notice::Joined => {
                tracing::info!("{message}");
            }
            Notice::Reference { up: false, .. }
            | Notice::LockOwned
            | Notice::LockLost
            | Notice::LockBusy { .. }
            | Notice::LockTrouble(_)
            | Notice::Isolated
            | Notice::IsolatedTooLong => tracing::warn!("{message}"),
        }
        self.event("arbitration", about, message);
        match notice {
            Notice::IsolatedTooLong => self.act(),
            Notice::Joined => self.say(&FromVip::Alone(false)),
            Notice::Reference { .. }
            | Notice::LockOwned
            | Notice::LockLost
            | Notice::LockBusy { .. }
            | Notice::LockTrouble(_)
            | Notice::LockReleased
            | Notice::Isolated => {}
        }
    }

    fn isolated_action(&self) -> Option<IsolatedAction> {
        Some(self.plan.cluster.as_ref()?.isolated.as_ref()?.action.clone())
    }

    fn words_of_action(&self) -> String {
        let what = match self.isolated_action() {
            Some(IsolatedAction::Exec(command)) => {
                let argv = self.plan.commands.get(command.index()).map(|c| c.argv.join(" "));
                format!("it runs {}", argv.unwrap_or_default())
            }
            Some(IsolatedAction::Watchdog(path)) => format!("{} is fed no more", path.display()),
            None => "nothing is done".to_owned(),
        };
        format!("this node has heard neither a peer nor a reference for too long: {what}")
    }

    /// Told beforehand: the events are on their way to the supervisor.
    fn act(&mut self) {
        match self.isolated_action() {
            Some(IsolatedAction::Exec(command)) => {
                let Some(aided) = &mut self.arbitration else { return };
                // Far from the numbers of operations on the lock.
                let id = u64::MAX - (aided.base & u64::from(u32::MAX));
                aided.acting = Some(id);
                self.say(&FromVip::Run(plain_run(id, command, Vec::new())));
            }
            Some(IsolatedAction::Watchdog(_)) => self.say(&FromVip::Alone(true)),
            None => {}
        }
    }
}

fn plain_run(id: u64, command: CommandId, args: Vec<String>) -> Run {
    Run { id, command, args, env: Vec::new(), asker: Asker::Vip }
}

/// How the election stands with a vip.
fn stand(vip: VipId, view: &View<'_>) -> Input<'static> {
    let able = match view.state {
        State::Backup | State::Active => matches!(view.waiting, None | Some(Reason::NoLock)),
        State::Fault => *view.reason == Reason::NoLock,
    };
    Input::Stand {
        vip,
        active: view.holding != Holding::No,
        overdue: view.overdue,
        able,
        heard: view.peers.iter().map(|peer| peer.heard).max(),
    }
}

/// What the Plan asks for; with each reference where and whom.
fn setup(plan: &Plan, instance: u64) -> (Setup, Vec<Set>) {
    let mut references: Vec<ReferenceAid> = Vec::new();
    let mut sets: Vec<Set> = Vec::new();
    let mut vips = Vec::new();
    for vip in &plan.vips {
        let reference = vip.reference.as_ref().map(|of| {
            let set = Set { link: vip.spec.link, addrs: of.addrs.clone(), method: of.method };
            let same = |at: &usize| sets[*at] == set && references[*at].terms == of.terms;
            (0..sets.len()).find(same).unwrap_or_else(|| {
                let link = &plan.links[vip.spec.link.index()];
                let name = format!("{link} {} {:?}", of.method.word(), of.addrs);
                references.push(ReferenceAid { name, terms: of.terms });
                sets.push(set);
                sets.len() - 1
            })
        });
        let window = match vip.spec.guard {
            Guard::Quorum | Guard::Strict => std::time::Duration::ZERO,
            Guard::BestEffort => vip.spec.advert * WINDOW_ADVERTS,
        };
        vips.push(VipAids { name: vip.spec.name.clone(), reference, locked: plan.is_locked(vip), window });
    }
    let cluster = plan.cluster.as_ref();
    let peers = cluster.map(|cluster| {
        let nodes = cluster.peers.iter().filter(|peer| peer.external.is_none());
        nodes.map(|peer| PeerAid { node: peer.node, id: peer.id.clone(), holds: !peer.witness }).collect()
    });
    let setup = Setup {
        references,
        vips,
        peers,
        lock: cluster.and_then(|cluster| cluster.lock.as_ref()).map(|lock| lock.terms),
        me: Owner { node: plan.node.clone(), instance },
        isolated: cluster.and_then(|cluster| cluster.isolated.as_ref()).map(|isolated| isolated.after),
        beat: cluster.map_or(std::time::Duration::from_secs(1), |cluster| cluster.terms.beat()),
    };
    (setup, sets)
}

impl Node {
    /// The lock and isolation, as they stand.
    pub(super) fn arbitration_status(&self, now: Boot) -> Option<ArbitrationStatus> {
        let view = self.arbitration.as_ref()?.arbiter.view(now);
        let path = self.plan.cluster.as_ref().and_then(|cluster| cluster.lock.as_ref());
        let lock = view.lock.zip(path).map(|(lock, plan)| {
            let other = lock.other.filter(|_| lock.state == LockState::Wanted);
            LockStatus {
                path: plan.path.display().to_string(),
                state: match lock.state {
                    LockState::Idle => "idle",
                    LockState::Wanted => "wanted",
                    LockState::Owned => "owned",
                }
                .to_owned(),
                owner: match lock.state {
                    LockState::Owned => Some(self.plan.node.clone()),
                    LockState::Idle | LockState::Wanted => other.as_ref().map(|(node, _)| node.clone()),
                },
                still_s: other.map(|(_, since)| now.since(since).as_secs_f64()),
                trouble: lock.trouble,
            }
        });
        Some(ArbitrationStatus {
            lock,
            isolated_s: view.isolated.map(|since| now.since(since).as_secs_f64()),
            action_in_s: view.act_at.map(|at| at.since(now).as_secs_f64()),
        })
    }

    /// A vip's reference, as it stands.
    pub(super) fn reference_status(&self, id: VipId, vip: &Vip, now: Boot) -> Option<ReferenceStatus> {
        let aided = self.arbitration.as_ref()?;
        let (answers, since) = aided.arbiter.reference(id)?;
        let of = vip.reference.as_ref()?;
        let at = aided.setup.vips.get(id.index())?.reference?;
        Some(ReferenceStatus {
            addrs: of.addrs.clone(),
            method: of.method.word().to_owned(),
            trouble: aided.trouble(at, answers == Some(false), &self.links),
            answers,
            for_s: now.since(since).as_secs_f64(),
            bound_ms: u64::try_from(of.terms.bound().as_millis()).unwrap_or(u64::MAX),
        })
    }
}
