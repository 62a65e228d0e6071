//! The promises, looked at after every step.
//!
//! *Calm* means: everything is connected, nothing is lost, no task is paused, and the last fault, with what it costs by
//! design (a gate that has to close, a start delay, three down intervals after a move), is over. Bounds count from
//! then. A is the longest advert interval, S the longest skew, D the longest delay of a frame.
//!
//! 1. Two nodes answer for one vip for at most A + 4 D. (While the cluster is cut, plain VRRP promises nothing.)
//! 2. What is taken is announced before the machine is given anything else.
//! 3. Somebody answers when somebody could: after the death of a calm holder within 3 A + S + D (S + D when its
//!    supervisor lives), A more for a sync group; after any other fault within two down intervals and 6 A.
//! 4. Clients' neighbour entries point at the one holder within A + 4 D. (Not those that were cut off from the last
//!    announcement, or know a node whose adverts were lost or passed one way only, so that its rival could not notice
//!    it, or is dead or without its link, or was restarted in a partition: a second series and a periodic refresh are for them.)
//! 5. Nobody takes a vip for silence while another answers.
//! 6. The vips of a sync group are held together: on one node always, in the cluster within the bound of 3.
//! 7. A node that was shut down holds nothing.
//! 8. The gate of a node whose task runs does not close; nothing is sent or armed once it has.
//! 9. Nobody says that it has let go while the address is there.

use crate::kernel::Time;
use crate::node::Node;
use crate::scenario::{JITTER, SERVICE, Scenario};
use crate::world::World;

/// Rounding, drift, and the time a task takes to wake.
const SLACK: Time = 5 * JITTER;

/// What the checkers remember.
#[derive(Clone, Debug)]
pub(crate) struct Checks {
    /// Everything has been calm since then.
    calm_since: Time,
    /// For each vip: since when two answer, nobody answers, a group is torn.
    two_since: Vec<Option<Time>>,
    none_since: Vec<Option<Time>>,
    torn_since: Option<Time>,
    /// For each vip: by when a successor must answer.
    successor_by: Vec<Option<Time>>,
    /// For each client and vip: since when its entry points elsewhere, and whether it missed the last announcement.
    astray_since: Vec<Vec<Option<Time>>>,
    missed: Vec<Vec<bool>>,
    /// Bounds 1 and 4, and the general one of 3.
    two: Time,
    none: Time,
    advert: Time,
    delay: Time,
    grouped: bool,
}

impl Checks {
    pub(crate) fn new(scenario: &Scenario) -> Self {
        let vips = scenario.specs[0].len();
        Self {
            calm_since: 0,
            two_since: vec![None; vips],
            none_since: vec![None; vips],
            torn_since: None,
            successor_by: vec![None; vips],
            astray_since: vec![vec![None; vips]; scenario.clients],
            missed: vec![vec![false; vips]; scenario.clients],
            advert: scenario.advert,
            delay: scenario.delay,
            grouped: !scenario.groups.is_empty(),
            two: scenario.advert + 4 * scenario.delay + SLACK,
            none: 2 * scenario.down() + 6 * scenario.advert + SLACK,
        }
    }

    pub(crate) fn announced_to(&mut self, client: usize, vip: usize, excused: bool) {
        self.missed[client][vip] = excused;
    }

    pub(crate) fn unannounced_to(&mut self, client: usize, vip: usize) {
        self.missed[client][vip] = true;
    }

    /// A node starts. It does not know what it gave up in an earlier life, unless it was by dying.
    pub(crate) fn restarted(&mut self, arp: &[Vec<Option<usize>>], n: usize, node: &Node) {
        for (entries, missed) in arp.iter().zip(&mut self.missed) {
            for (vip, missed) in missed.iter_mut().enumerate() {
                let known = node.kernel[vip].present || node.cleaned[vip];
                *missed |= !known && entries[vip] == Some(n);
            }
        }
    }

    /// A node dies in the calm: whoever can follow has so long to do it.
    pub(crate) fn expect_successor(&mut self, nodes: &[Node], dead: usize, now: Time, wait: Time) {
        for vip in 0..self.successor_by.len() {
            let spec = &nodes[dead].specs[vip];
            let heir = (0..nodes.len())
                .any(|n| n != dead && self.group_of(vip).iter().all(|m| nodes[n].is_fit(*m, now)));
            if heir && nodes[dead].answers(vip, now) && !spec.owns {
                let group = if self.group_of(vip).len() > 1 { self.advert } else { 0 };
                self.successor_by[vip] = Some(now + wait + group + self.delay + SLACK);
            }
        }
    }

    /// A vip and those that move with it, by number in the scenario.
    pub(crate) fn group_of(&self, vip: usize) -> Vec<usize> {
        if self.grouped && vip < 2 { vec![0, 1] } else { vec![vip] }
    }
}

impl World {
    /// Something happened that may cost time, and up to `cost` more.
    pub(crate) fn disturb(&mut self, cost: Time) {
        self.checks.calm_since = self.checks.calm_since.max(self.now + cost);
        self.checks.successor_by.fill(None);
    }

    /// Everything has settled after the last fault.
    pub(crate) fn is_calm(&self) -> bool {
        !self.is_cut() && self.lasted(0) > self.checks.none
    }

    fn is_cut(&self) -> bool {
        self.loss > 0
            || self.cut.iter().flatten().any(|cut| *cut)
            || self.nodes.iter().any(|node| node.task.is_some() && !node.runs(self.now))
    }

    /// Looks at everything.
    pub(crate) fn look(&mut self) {
        if self.is_cut() {
            self.checks.calm_since = self.checks.calm_since.max(self.now);
        }
        let mut holders_of_all = Vec::new();
        for vip in 0..self.checks.two_since.len() {
            let holders: Vec<usize> =
                (0..self.nodes.len()).filter(|n| self.nodes[*n].answers(vip, self.now)).collect();
            self.check_two(vip, &holders);
            self.check_none(vip, &holders);
            self.check_clients(vip, &holders);
            holders_of_all.push(holders);
        }
        self.check_groups(&holders_of_all);
        self.check_shut_down();
    }

    /// How long a state that began at `since` has lasted in the calm.
    fn lasted(&self, since: Time) -> Time {
        self.now.saturating_sub(since.max(self.checks.calm_since))
    }

    fn check_two(&mut self, vip: usize, holders: &[usize]) {
        if holders.len() < 2 {
            self.checks.two_since[vip] = None;
            return;
        }
        let since = *self.checks.two_since[vip].get_or_insert(self.now);
        if self.lasted(since) > self.checks.two {
            self.fail(|| format!("promise 1: nodes {holders:?} all answer for v{vip}"));
        }
    }

    fn check_none(&mut self, vip: usize, holders: &[usize]) {
        if holders.iter().any(|holder| self.nodes[*holder].task.is_some()) {
            self.checks.successor_by[vip] = None;
        }
        if self.checks.successor_by[vip].is_some_and(|by| self.now > by) {
            self.fail(|| format!("promise 3: nobody has followed the dead holder of v{vip}"));
        }
        if !holders.is_empty() {
            self.checks.none_since[vip] = None;
            return;
        }
        let since = *self.checks.none_since[vip].get_or_insert(self.now);
        let group = self.checks.group_of(vip);
        let fit = |node: &Node| group.iter().all(|member| node.is_fit(*member, self.now));
        let could: Vec<usize> = (0..self.nodes.len()).filter(|n| fit(&self.nodes[*n])).collect();
        let failed = self.nodes.iter().flat_map(|node| &node.unfit_until).max().copied().unwrap_or(0);
        if !could.is_empty() && self.lasted(since.max(failed)) > self.checks.none {
            self.fail(|| format!("promise 3: nobody answers for v{vip}, and nodes {could:?} could"));
        }
    }

    fn check_clients(&mut self, vip: usize, holders: &[usize]) {
        for client in 0..self.scenario.clients {
            let astray = match (holders, self.arp[client][vip]) {
                ([holder], Some(entry)) => {
                    entry != *holder && self.nodes[entry].can_speak(vip) && !self.checks.missed[client][vip]
                }
                _ => false,
            };
            if !astray {
                self.checks.astray_since[client][vip] = None;
                continue;
            }
            let since = *self.checks.astray_since[client][vip].get_or_insert(self.now);
            if self.lasted(since) > self.checks.two {
                let entry = self.arp[client][vip];
                self.fail(|| {
                    format!("promise 4: client {client} sends v{vip} to {entry:?}, not {holders:?}")
                });
            }
        }
    }

    fn check_groups(&mut self, holders: &[Vec<usize>]) {
        if self.scenario.groups.is_empty() || holders[0] == holders[1] {
            self.checks.torn_since = None;
            return;
        }
        let since = *self.checks.torn_since.get_or_insert(self.now);
        if self.lasted(since) > self.checks.none {
            self.fail(|| format!("promise 6: the group is held by {:?} and {:?}", holders[0], holders[1]));
        }
    }

    fn check_shut_down(&mut self) {
        for n in 0..self.nodes.len() {
            let Some(since) = self.nodes[n].shutting.filter(|_| self.nodes[n].runs(self.now)) else {
                continue;
            };
            let idle = self.nodes[n].task.as_ref().is_some_and(|task| task.vips.is_idle());
            let holds = self.nodes[n].kernel.iter().any(|address| address.present);
            if idle && holds {
                self.fail(|| format!("promise 7: node {n} says that it is done and holds an address"));
            }
            let since = since.max(self.nodes[n].paused_until);
            if !idle && self.now.saturating_sub(since) > 2 * SERVICE + SLACK {
                self.fail(|| format!("promise 7: node {n} does not come to an end"));
            }
        }
    }

    /// After all effects of one input.
    pub(crate) fn check_drained(&mut self, n: usize) {
        for v in 0..self.nodes[n].kernel.len() {
            let address = self.nodes[n].kernel[v];
            if address.present && !address.announced {
                self.fail(|| format!("promise 2: node {n} took v{v} and did not announce it"));
            }
        }
        let grouped = !self.scenario.groups.is_empty() && !self.nodes[n].specs[0].owns;
        if grouped && self.nodes[n].kernel[0].present != self.nodes[n].kernel[1].present {
            self.fail(|| format!("promise 6: node {n} holds one vip of the group"));
        }
    }

    /// Before a task does anything: if it was not paused its gates are open.
    pub(crate) fn check_gates(&mut self, n: usize) {
        let node = &self.nodes[n];
        let local = node.clock.read(self.now);
        let rested = node.paused_until > 0 && self.now < node.paused_until + 2 * JITTER;
        let closed = node.kernel.iter().position(|address| address.present && address.gate <= local);
        if let Some(v) = closed.filter(|_| !rested) {
            self.fail(|| format!("promise 8: the gate of v{v} closed while node {n} was running"));
        }
    }

    /// A node that still has an address behind a closed gate has no right to say anything.
    pub(crate) fn check_right(&mut self, n: usize, v: usize, does: &str) {
        let local = self.nodes[n].clock.read(self.now);
        let address = self.nodes[n].kernel[v];
        if address.present && address.gate <= local {
            self.fail(|| format!("promise 8: node {n} {does} v{v} after its gate has closed"));
        }
    }

    /// A vip was taken for silence.
    pub(crate) fn check_need(&mut self, n: usize, v: usize) {
        let other = (0..self.nodes.len()).find(|other| {
            *other != n && self.nodes[*other].runs(self.now) && self.nodes[*other].answers(v, self.now)
        });
        let Some(other) = other else { return };
        self.outcome.needless += 1;
        let down = self.scenario.down() + self.scenario.advert;
        if !self.is_cut() && self.now.saturating_sub(self.checks.calm_since) > down {
            self.fail(|| format!("promise 5: node {n} takes v{v} for silence while node {other} answers"));
        }
    }
}
