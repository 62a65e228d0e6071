//! Whether a vip may be held here, with which priority, and what follows when that changes.

use std::time::Duration;

use crate::election::hold::Farewell;
use crate::election::vip::Vip;
use crate::election::world::World;
use crate::election::{Doubt, Reason, Ruling, State};

impl Vip {
    /// Why it cannot be held at all, by its own lights.
    pub(super) fn fault(&self, w: &World) -> Option<Reason> {
        if let Some(by) = w.tardy {
            return Some(Reason::Late { nanos: u64::try_from(by.as_nanos()).unwrap_or(u64::MAX) });
        }
        if self.is_leased() && w.gateless {
            return Some(Reason::NoGate);
        }
        if !w.link(self.spec.link).up || self.source(w).is_none() {
            return Some(Reason::LinkDown);
        }
        if let Some(probe) = self.spec.requires.iter().find(|p| w.probe(**p) == Some(false)) {
            return Some(Reason::ProbeDown { probe: probe.0 });
        }
        if let Ruling::Leave(doubt) = self.ruling {
            return Some(doubt.into());
        }
        self.failed_until.is_some().then_some(Reason::ServiceFailed)
    }

    /// Why it may not be taken just now, though nothing is wrong.
    pub(super) fn wait(&self, w: &World) -> Option<Reason> {
        if w.stopping {
            return Some(Reason::Stopping);
        }
        if self.drained {
            return Some(Reason::Drained);
        }
        if self.moved_until.is_some() {
            return Some(Reason::Moved);
        }
        match self.ruling {
            // Whoever resigned was heard: that is no silence.
            Ruling::Wait(Doubt::NoReference | Doubt::HeldByPeer) if self.resigned.is_some() => {}
            Ruling::Wait(doubt) => return Some(doubt.into()),
            Ruling::Free | Ruling::Leave(_) => {}
        }
        let pending = self.spec.requires.iter().find(|p| w.probe(**p).is_none());
        pending.map(|probe| Reason::ProbePending { probe: probe.0 })
    }

    /// Sums the weights up; an active node says so at once. The owner's 255 is not moved (RFC 9568 5.2.4).
    pub(super) fn weigh(&mut self, w: &mut World) {
        let mut sum = i32::from(self.spec.priority);
        for weight in &self.spec.weights {
            let counts = match w.probe(weight.probe) {
                Some(up) => up == (weight.weight > 0),
                None => false,
            };
            if counts {
                let by = i32::from(weight.weight);
                sum = sum.saturating_add(if weight.reverse { -by } else { by });
            }
        }
        let priority = match self.spec.priority {
            255 => 255,
            // The highest that is no owner's: no other candidate preempts it, not even one that knows no word for this.
            _ if self.pinned && self.is_active() => 254,
            _ => u8::try_from(sum.clamp(1, 254)).unwrap_or(1),
        };
        if std::mem::replace(&mut self.priority, priority) != priority && self.is_active() {
            self.advertise(w);
        }
    }

    /// Something is wrong: the vip cannot be held.
    pub(super) fn fail(&mut self, w: &mut World, reason: Reason) {
        if self.is_active() {
            if matches!(reason, Reason::Group { .. }) {
                self.resign(w, State::Fault, reason);
            } else if reason == Reason::LinkDown {
                self.release(w, State::Fault, reason, Farewell::Owed);
            } else {
                self.release(w, State::Fault, reason, Farewell::Resign);
            }
        } else if self.state != State::Fault || self.reason != reason || !self.told {
            self.change(w, State::Fault, reason);
        }
        if !self.is_active() {
            self.down_at = None;
            self.overdue = false;
            self.lower_since = None;
        }
        self.recheck_at = w.tardy.map(|_| w.now + self.interval());
    }

    /// Nothing is wrong: a vip in fault becomes a backup, and waits as one that has just started.
    pub(super) fn recover(&mut self, w: &mut World) {
        self.recheck_at = None;
        if self.state != State::Fault || self.is_active() {
            return;
        }
        let reason = if self.told { Reason::Recovered } else { Reason::Started };
        self.pay_farewell(w);
        self.change(w, State::Backup, reason);
        if self.priority == 255 {
            // The owner waits for nobody (RFC 9568 6.4.1).
            self.down_in(w, Duration::ZERO);
        } else {
            self.down_in(w, self.down_interval());
        }
    }

    /// What kept an overdue vip from being taken may have gone: the skew keeps several such nodes apart.
    pub(super) fn try_again(&mut self, w: &World) {
        if self.state == State::Backup && self.overdue && !self.is_active() {
            self.down_in(w, self.skew());
        }
    }

    /// Why it is being taken.
    pub(super) fn claim_reason(&self, w: &World) -> Reason {
        if self.priority == 255 {
            return Reason::Owner;
        }
        if let Some(peer) = self.resigned {
            return Reason::Resigned { peer };
        }
        match self.known {
            Some(known)
                if w.now.since(known.at) <= self.down_interval() && known.priority < self.priority =>
            {
                Reason::Preempting { peer: known.addr, theirs: known.priority, ours: self.priority }
            }
            Some(known) => Reason::Silence { last: Some(known.addr) },
            None => Reason::Silence { last: None },
        }
    }

    /// Whether the vip's sync group must wait for it: it may still hear an active node.
    pub(super) fn objects(&self, w: &World) -> bool {
        match self.down_at {
            Some(at) => !self.overdue && at > w.now + self.interval(),
            None => !self.overdue && !self.is_active(),
        }
    }
}
