//! Faults as they strike.

use std::rc::Rc;

use mainstay_core::lease::{Input, Member, Setup, Stance, VoterList};
use mainstay_core::time::Boot;

use crate::kernel::{Clock, Time};
use crate::lease::drive::{node_id, right_id};
use crate::lease::fault::Fault;
use crate::lease::mutant::{Mutant, Subject};
use crate::lease::node::Mail;
use crate::lease::scenario::Scenario;
use crate::lease::world::{Event, World};

/// What all nodes have to agree on beside the list.
pub(crate) const SALT: u64 = 0x5a17;

/// What every wall clock shows at the beginning, in nanoseconds.
pub(crate) const WALL: Time = 1_700_000_000_000_000_000;

impl World {
    pub(crate) fn suffer(&mut self, fault: Fault) {
        let calm = self.is_calm();
        self.disturb(0);
        match fault {
            // A store that is down, or paused, says nothing; one that was reset has lost everything.
            Fault::Kill(n) | Fault::Stop(n) if self.is_store(n) => self.stop_store(false),
            Fault::Reboot(n) if self.is_store(n) => self.stop_store(true),
            Fault::Start(n) if self.is_store(n) => self.start_store(),
            Fault::Pause(n, ..) | Fault::Suspend(n, _) if self.is_store(n) => {}
            Fault::Cut(pairs, wires) => {
                self.net.cut(&pairs, wires);
                self.expect_heirs_of_isolated(calm);
            }
            Fault::Heal => self.net.heal(),
            Fault::Weather(weather) => {
                let under_way = self.net.weather.held_up;
                self.net.weather = weather;
                self.disturb(under_way);
            }
            Fault::Pause(n, time, middle) => self.pause(n, time, middle, calm),
            Fault::Suspend(n, time) => self.suspend(n, time, calm),
            // Nothing happens inside a guest that stands still.
            Fault::Kill(n) if self.nodes[n].suspended => {}
            Fault::Kill(n) => {
                self.expect_heir(n, calm);
                self.nodes[n].die();
            }
            Fault::Reboot(n) => {
                self.expect_heir(n, calm);
                self.end_suspension(n);
                self.nodes[n].die();
                self.nodes[n].sweep();
                self.nodes[n].clock = Clock { offset: 1_000_000_000, since: self.now, ..self.nodes[n].clock };
                self.touched_all();
            }
            Fault::Stop(n) => {
                self.checks.cooperative.fill(calm);
                self.post(n, Mail::Stop);
            }
            Fault::Start(n) => self.start(n),
            Fault::Stance(n, right, stance) => {
                self.checks.cooperative[right] = calm;
                self.stand(n, right, stance);
            }
            Fault::Move(right, to) => self.hand_over(right, to, calm),
            Fault::Fence(n) => self.fence(n),
            Fault::List(at, member) => self.change_list(at, member),
            Fault::Rates => {
                for n in 0..self.nodes.len() {
                    self.turn(n);
                }
            }
            Fault::Step(n, by) => {
                self.nodes[n].wall += by;
                self.checks.stepped = true;
                self.reschedule(n);
            }
        }
    }

    fn pause(&mut self, n: usize, time: Time, middle: Option<u32>, calm: bool) {
        if !self.nodes[n].runs(self.now) {
            return;
        }
        if middle.is_some() {
            // The nap comes with its next work, which is soon; what it costs counts from then.
            self.nodes[n].nap = middle.map(|effects| (effects, time));
            self.disturb(self.scenario.beat() + time);
            return;
        }
        if time > 2 * self.scenario.term() {
            self.expect_heir(n, calm);
        }
        self.sleep(n, time);
    }

    fn suspend(&mut self, n: usize, time: Time, calm: bool) {
        if self.nodes[n].suspended {
            return;
        }
        if time > 2 * self.scenario.term() {
            self.expect_heir(n, calm);
        }
        self.nodes[n].suspended = true;
        self.nodes[n].clock.turn(self.now, Clock::STILL);
        self.nodes[n].due = None;
        self.nodes[n].wake += 1;
        self.touched_all();
        self.at(self.now + time, Event::Resume(n));
    }

    /// A paused guest goes on as if nothing had been.
    pub(crate) fn resume(&mut self, n: usize) {
        if !self.nodes[n].suspended {
            return;
        }
        self.trace(|_| format!("n{n} goes on"));
        self.end_suspension(n);
        self.checks.resumed[n] = self.now;
        self.disturb(0);
        let asleep = self.nodes[n].paused_until.saturating_sub(self.now);
        if asleep > 0 {
            self.sleep(n, asleep);
        }
        self.touched_all();
        self.serve(n);
    }

    fn end_suspension(&mut self, n: usize) {
        if std::mem::take(&mut self.nodes[n].suspended) {
            self.turn(n);
        }
    }

    fn turn(&mut self, n: usize) {
        if self.nodes[n].suspended {
            return;
        }
        let ppm = Scenario::rate(&mut self.rng, self.scenario.terms);
        self.nodes[n].clock.turn(self.now, ppm);
        self.reschedule(n);
    }

    /// A task starts: what an earlier one left behind is removed first.
    fn start(&mut self, n: usize) {
        if self.nodes[n].task.is_some() {
            return;
        }
        self.disturb(self.scenario.mute());
        let instance = self.rng.next();
        let local = self.nodes[n].clock.read(self.now);
        let now = if self.mutant == Mutant::WallClock {
            Boot::from_nanos(local.as_nanos().saturating_add_signed(self.nodes[n].wall))
        } else {
            local
        };
        let node = &mut self.nodes[n];
        node.die();
        node.sweep();
        node.life += 1;
        node.started = self.now;
        node.mute_until = if self.scenario.strict { self.now } else { self.now + self.scenario.mute() };
        let setup = Setup {
            me: node_id(n),
            list: node.disk.list.clone(),
            terms: self.scenario.terms,
            salt: SALT,
            instance,
            heir_of: node.disk.instance.replace(instance),
            epoch_floor: (WALL + self.now).saturating_add_signed(node.wall) / 1_000_000,
            remembers: false,
            lasting: self.scenario.strict,
        };
        let rights = if node.disk.list.members[n].holds { self.scenario.rights.clone() } else { Vec::new() };
        let holds = !rights.is_empty();
        node.task = Some(Subject::new(setup, rights, now, self.mutant));
        self.start_deputy(n);
        self.touched_all();
        for right in 0..if holds { self.scenario.rights.len() } else { 0 } {
            let stance = self.nodes[n].stances[right];
            self.give(n, Input::Stance { right: right_id(right), stance }, now);
        }
        self.serve(n);
    }

    fn stand(&mut self, n: usize, right: usize, stance: Stance) {
        if self.nodes[n].task.is_none() || !self.scenario.list.members[n].holds {
            self.nodes[n].stances[right] = stance;
            return;
        }
        self.post(n, Mail::Stance(right, stance));
    }

    fn hand_over(&mut self, right: usize, to: usize, calm: bool) {
        let Some(holder) = (0..self.nodes.len()).find(|n| self.nodes[*n].held[right].is_some()) else {
            return;
        };
        if holder == to || !self.nodes[to].is_fit(right, self.now) {
            return;
        }
        self.checks.cooperative[right] = calm;
        self.post(holder, Mail::Move(right, to));
    }

    /// The operator adds or removes a voter, on some node that knows the newest list: the node may refuse.
    fn change_list(&mut self, at: Option<usize>, member: usize) {
        let newest = self.checks.list.clone();
        let knows = |n: &usize| self.nodes[*n].runs(self.now) && self.nodes[*n].disk.list == newest;
        let knowing: Vec<usize> = (0..self.nodes.len()).filter(knows).collect();
        if knowing.is_empty() {
            return;
        }
        let at = at.unwrap_or_else(|| self.rng.pick(&knowing));
        let mut next = VoterList { epoch: newest.epoch + 1, members: newest.members };
        let Member { votes, .. } = &mut next.members[member];
        *votes = !*votes;
        if next.voters().count() < 2 {
            return;
        }
        self.post(at, Mail::List(Rc::new(next)));
    }
}
