//! A dull driver: what waits is given to the machine, what the machine wants is done, in order.

use std::rc::Rc;

use mainstay_core::lease::{Effect, Ending, Input, Message, Stance, VoterList};
use mainstay_core::name::{NodeId, RightId};
use mainstay_core::time::Boot;

use crate::kernel::{Address, nanos};
use crate::lease::mutant::Mutant;
use crate::lease::node::Mail;
use crate::lease::world::{Event, World};

/// A node by the machine's name.
pub(crate) fn node_id(n: usize) -> NodeId {
    NodeId(u32::try_from(n).unwrap_or(u32::MAX))
}

/// The machine's name for a right.
pub(crate) fn right_id(right: usize) -> RightId {
    RightId(u32::try_from(right).unwrap_or(u32::MAX))
}

impl World {
    /// Everything that the machine asked for, in order; false when the task fell asleep before the end.
    pub(crate) fn carry_out(&mut self, n: usize) -> bool {
        loop {
            if self.outcome.failure.is_some() {
                return false;
            }
            if !self.nodes[n].effects.is_empty() && self.falls_asleep(n) {
                return false;
            }
            let Some(effect) = self.nodes[n].effects.pop_front() else { break };
            if let Effect::Send { to, message } = effect {
                self.collect(n, to, message);
                continue;
            }
            self.flush(n);
            self.perform(n, effect);
        }
        self.flush(n);
        self.check_drained(n);
        self.outcome.failure.is_none()
    }

    fn falls_asleep(&mut self, n: usize) -> bool {
        match &mut self.nodes[n].nap {
            None => false,
            Some((0, time)) => {
                let time = *time;
                self.nodes[n].nap = None;
                self.sleep(n, time);
                true
            }
            Some((effects, _)) => {
                *effects -= 1;
                false
            }
        }
    }

    /// Several messages in a row to one peer are one letter.
    fn collect(&mut self, n: usize, to: NodeId, message: Message) {
        self.check_said(n, &message);
        if self.nodes[n].outbox.as_ref().is_some_and(|(peer, _)| *peer != to) {
            self.flush(n);
        }
        self.nodes[n].outbox.get_or_insert_with(|| (to, Vec::new())).1.push(message);
    }

    fn flush(&mut self, n: usize) {
        let Some((to, messages)) = self.nodes[n].outbox.take() else { return };
        let count = messages.len();
        let Some(letter) = self.nodes[n].task.as_ref().map(|task| task.letter(messages)) else { return };
        let to = to.index();
        if to >= self.scenario.nodes || to == n {
            return self.fail(|| format!("promise 8: n{n} writes to n{to}"));
        }
        self.check_letter(n, count);
        self.transmit(n, to, letter);
    }

    fn perform(&mut self, n: usize, effect: Effect) {
        match effect {
            Effect::Send { .. } => {}
            Effect::Held { right, epoch, until } => self.take(n, right.index(), epoch, until),
            Effect::Yield { right, why } => {
                self.trace(|_| format!("n{n} yields {right:?}: {why:?}"));
                let fair = matches!(why, Ending::Preempted { .. });
                self.checks.cooperative[right.index()] &= fair;
                self.leave(n, right.index());
            }
            Effect::Adopted(list) => {
                self.trace(|_| format!("n{n} adopts list {}", list.mark(0)));
                self.nodes[n].disk.list = list;
            }
            Effect::Notice(notice) => self.trace(|_| format!("n{n} {notice:?}")),
        }
    }

    /// The gate first, to the moment that the machine names; then the address.
    fn take(&mut self, n: usize, right: usize, epoch: u64, until: Boot) {
        let late = std::time::Duration::from_nanos(self.rng.within(0..nanos(self.scenario.terms.gate_error)));
        let node = &mut self.nodes[n];
        let new = node.held[right] != Some(epoch);
        node.held[right] = Some(epoch);
        (node.taken[right], node.until[right]) = (epoch, until);
        let gate = node.task.as_ref().map_or(until, |task| task.bend(until));
        node.kernel[right] = Address { present: true, gate: gate + late, announced: true };
        if new {
            self.trace(|_| format!("n{n} TAKES vip/{right} under epoch {epoch} until {until}"));
        }
        self.touched(right);
    }

    /// The address is going to be removed; the machine hears of it when that is done.
    pub(crate) fn leave(&mut self, n: usize, right: usize) {
        let Some(epoch) = self.nodes[n].held[right].filter(|_| !self.nodes[n].leaving[right]) else { return };
        self.nodes[n].leaving[right] = true;
        let life = self.nodes[n].life;
        let mut after =
            if self.scenario.removal == 0 { 0 } else { self.rng.within(0..self.scenario.removal) };
        if self.mutant == Mutant::HastyFree {
            let local = self.nodes[n].clock.read(self.now);
            self.give(n, Input::Gone { right: right_id(right) }, local);
            after += 4 * self.scenario.delay();
        }
        let mail = Mail::Remove(right, epoch);
        if after == 0 {
            self.nodes[n].inbox.push_front(mail);
        } else {
            self.at(self.now + after, Event::Mail { node: n, life, mail });
        }
    }

    pub(crate) fn deliver(&mut self, n: usize, mail: &Mail, local: Boot) {
        match mail {
            Mail::Letter(from, letter) => {
                let letter = Rc::clone(letter);
                self.give(n, Input::Heard { from: node_id(*from), letter: &letter }, local);
            }
            Mail::Stance(right, stance) => {
                self.nodes[n].stances[*right] = *stance;
                self.give(n, Input::Stance { right: right_id(*right), stance: *stance }, local);
                if *stance == Stance::Unable {
                    self.leave(n, *right);
                }
            }
            Mail::Remove(right, epoch) => self.remove(n, *right, *epoch, local),
            Mail::Move(right, to) => {
                let next = node_id(*to);
                self.give(n, Input::Successor { right: right_id(*right), next }, local);
                self.leave(n, *right);
            }
            Mail::List(list) => self.change(n, list, local),
            Mail::Take(other) => self.take_all(n, *other, local),
            Mail::Stop => {
                self.nodes[n].stopping = true;
                for right in 0..self.scenario.rights.len() {
                    let stance = Stance::Unable;
                    self.give(n, Input::Stance { right: right_id(right), stance }, local);
                    self.leave(n, right);
                }
                let life = self.nodes[n].life;
                self.at(self.now + self.scenario.removal + 2_000_000, Event::Exit { node: n, life });
            }
        }
    }

    /// The operator's word is done or refused; what is done is the newest list from now on.
    fn change(&mut self, n: usize, list: &VoterList, local: Boot) {
        let Some(task) = &mut self.nodes[n].task else { return };
        match task.change(list, local) {
            Ok(()) => {
                self.trace(|_| format!("n{n} is given list {}: {list:?}", list.epoch));
                self.outcome.lists += 1;
                self.checks.list = list.clone();
                self.disturb(self.scenario.mute());
                self.drain(n, local);
            }
            Err(refused) => self.trace(|_| format!("n{n} refuses list {}: {refused}", list.epoch)),
        }
    }

    fn remove(&mut self, n: usize, right: usize, epoch: u64, local: Boot) {
        let node = &mut self.nodes[n];
        if node.held[right] != Some(epoch) {
            return;
        }
        node.kernel[right] = Address::default();
        (node.held[right], node.decided[right]) = (None, None);
        node.leaving[right] = false;
        self.trace(|_| format!("n{n} has removed vip/{right}"));
        self.touched(right);
        self.expect_next(n, right);
        if self.mutant != Mutant::HastyFree {
            self.give(n, Input::Gone { right: right_id(right) }, local);
        }
    }

    /// A task that was told to stop ends; its supervisor removes whatever is left.
    pub(crate) fn exit(&mut self, n: usize, life: u32) {
        if self.nodes[n].life != life || !self.nodes[n].stopping || self.lingers(n) {
            return;
        }
        self.trace(|_| format!("n{n} has stopped"));
        self.nodes[n].die();
        self.nodes[n].sweep();
        (0..self.scenario.rights.len()).for_each(|right| self.touched(right));
    }
}
