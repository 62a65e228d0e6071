//! Two nodes whose promises last (guard `strict`): what their driver does besides, what an operator may do, what is promised.

use mainstay_core::lease::{Input, Stance};
use mainstay_core::time::Boot;

use crate::kernel::{Address, Time};
use crate::lease::drive::{node_id, right_id};
use crate::lease::mutant::Subject;
use crate::lease::node::Mail;
use crate::lease::scenario::JITTER;
use crate::lease::world::{Event, World};

impl World {
    /// As the election does: what was held past its gate is let go before anything else, now and then a little later.
    pub(crate) fn drop_late(&mut self, n: usize) -> bool {
        if !self.scenario.strict || self.rng.percent(20) {
            return true;
        }
        let local = self.local(n);
        for right in 0..self.scenario.rights.len() {
            let node = &mut self.nodes[n];
            if node.held[right].is_none() || node.leaving[right] || node.until[right] > local {
                continue;
            }
            node.kernel[right] = Address::default();
            (node.held[right], node.decided[right]) = (None, None);
            self.trace(|_| format!("n{n} was late and lets go of vip/{right}"));
            self.touched(right);
            self.give(n, Input::Gone { right: right_id(right) }, local);
        }
        self.carry_out(n)
    }

    /// The operator speaks for a node that is down, and only then: no task, and no address behind a gate.
    pub(crate) fn fence(&mut self, n: usize) {
        let node = &self.nodes[n];
        if node.task.is_some() || node.kernel.iter().any(|address| address.present) {
            return;
        }
        self.post(1 - n, Mail::Take(n));
    }

    pub(crate) fn take_all(&mut self, n: usize, other: usize, local: Boot) {
        // It has started again since the operator spoke: he would have seen it.
        if self.nodes[other].task.is_some() {
            return;
        }
        for right in 0..self.scenario.rights.len() {
            let Some(task) = &mut self.nodes[n].task else { return };
            let taken = task.leases.take(right_id(right), node_id(other), local);
            self.trace(|_| format!("n{n} is told that n{other} is dead, and takes vip/{right}: {taken:?}"));
            self.outcome.fenced += u64::from(taken.is_ok());
            self.drain(n, local);
        }
    }

    /// A task that has given everything up stays to answer its successor, for a term at most.
    pub(crate) fn lingers(&mut self, n: usize) -> bool {
        let local = self.local(n);
        let awaits = |task: &Subject| task.leases.awaits_follower();
        let waits = self.scenario.strict && self.nodes[n].task.as_ref().is_some_and(awaits);
        let since = *self.nodes[n].stopped_at.get_or_insert(local);
        if !waits || local.since(since) >= self.scenario.terms.term {
            return false;
        }
        let life = self.nodes[n].life;
        self.at(self.now + JITTER, Event::Exit { node: n, life });
        true
    }

    /// Promise 10: who has a right and could answer does.
    pub(crate) fn check_lone(&mut self) {
        if !self.scenario.strict {
            return;
        }
        let patience = self.grace() + self.scenario.beat() + self.scenario.removal;
        for n in 0..self.nodes.len() {
            for right in 0..self.scenario.rights.len() {
                let since =
                    self.silent(n, right).then(|| *self.nodes[n].silent_since[right].get_or_insert(self.now));
                self.nodes[n].silent_since[right] = since;
                if since.is_some_and(|since: Time| self.now > since + patience) {
                    self.fail(|| format!("promise 10: n{n} has vip/{right} and does not answer for it"));
                }
            }
        }
    }

    fn silent(&self, n: usize, right: usize) -> bool {
        let node = &self.nodes[n];
        let ready = matches!(node.stances[right], Stance::Ready { .. });
        let able = node.runs(self.now) && !node.stopping && ready && !node.leaving[right];
        let local = self.local(n);
        let has = node
            .task
            .as_ref()
            .is_some_and(|task| task.leases.held(local).any(|(id, ..)| id == right_id(right)));
        able && has && !node.answers(right, self.now)
    }
}
