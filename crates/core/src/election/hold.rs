//! Taking a vip and giving it up: the order of effects on which the promise rests.
//!
//! Taking is Arm, Take, Advertise, Announce; with services of its own Arm, Advertise, Start and, once they run, Arm,
//! Take, Advertise, Announce. Giving up is always Release before any advert that says so. A voluntary loss (move,
//! drain, stop, group in fault) lets the services stop first, for at most `STOP_BOUND`; an involuntary one (outranked,
//! link, probe, late) releases at once and stops them beside it.

use std::time::Duration;

use crate::election::announce::Announcer;
use crate::election::vip::{Phase, SERVICE_RETRY, Vip};
use crate::election::world::World;
use crate::election::{Effect, Reason, State};
use crate::time::Boot;

/// How long services may take to stop before the address leaves without them.
const STOP_BOUND: Duration = Duration::from_secs(30);

/// How long services may take to start before the vip is given up again.
const START_BOUND: Duration = Duration::from_secs(300);

/// A moved vip is taken part in again after so many adverts in which nobody took it: whoever is there takes it
/// within a skew, which is less than one.
const MOVE_ADVERTS: u32 = 2;

/// And this much longer, for the wire and a busy successor.
const MOVE_SLACK: Duration = Duration::from_millis(100);

/// What is said after the address has gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Farewell {
    /// Nothing yet; priority 0 follows when the link is back, or when every late address has gone.
    Owed,
    /// Priority 0: whoever comes next need not wait for silence.
    Resign,
    /// Our own, lower priority once: the winner notices and announces again.
    Yield,
}

impl Vip {
    /// Becomes active.
    pub(super) fn take(&mut self, w: &mut World, reason: Reason) {
        self.epoch = self.lease.filter(|_| self.is_leased()).map_or(self.epoch + 1, |lease| lease.epoch);
        self.owes_farewell = false;
        self.unheard = false;
        self.note_silence(w);
        self.down_at = None;
        self.overdue = false;
        self.resigned = None;
        self.lower_since = None;
        self.moved_until = None;
        self.courteous = false;
        if self.spec.owns {
            self.phase = Phase::Starting { until: w.now + START_BOUND };
            self.advertise(w);
            w.emit(Effect::Start { vip: self.id });
        } else {
            self.install(w);
        }
        self.change(w, State::Active, reason);
        if self.pinned {
            self.weigh(w);
        }
    }

    /// Adds the address and announces it.
    fn install(&mut self, w: &mut World) {
        self.phase = Phase::Holding;
        self.arm(w);
        w.emit(Effect::Take { vip: self.id });
        self.send(w, self.priority);
        self.advert_at = self.next_advert(w);
        self.lights_up(w.now);
        self.announce_first(w);
    }

    /// Gives the vip up of our own accord.
    pub(super) fn resign(&mut self, w: &mut World, to: State, reason: Reason) {
        match &mut self.phase {
            Phase::Out => {}
            Phase::Stopping { to: towards, reason: why, .. } => {
                *towards = to;
                *why = reason;
            }
            Phase::Holding if self.spec.owns => {
                self.stop_services(w);
                self.phase = Phase::Stopping { until: w.now + STOP_BOUND, to, reason };
            }
            Phase::Holding | Phase::Starting { .. } => self.release(w, to, reason, Farewell::Resign),
        }
    }

    /// Gives the vip up at once.
    pub(super) fn release(&mut self, w: &mut World, to: State, reason: Reason, farewell: Farewell) {
        w.emit(Effect::Release { vip: self.id });
        self.armed = None;
        self.lease = None;
        self.contest = None;
        self.unheard = farewell != Farewell::Yield;
        self.advert_at = Boot::NEVER;
        self.announcer = Announcer::default();
        let phase = std::mem::replace(&mut self.phase, Phase::Out);
        match farewell {
            Farewell::Owed => self.owes_farewell = true,
            Farewell::Resign => self.send(w, 0),
            Farewell::Yield => self.send(w, self.priority),
        }
        match phase {
            Phase::Starting { .. } | Phase::Holding if self.spec.owns => self.stop_services(w),
            Phase::Out | Phase::Starting { .. } | Phase::Holding | Phase::Stopping { .. } => {}
        }
        if farewell == Farewell::Yield {
            self.lights_up(w.now);
        } else {
            self.known = None;
            self.goes_dark(w.now);
        }
        self.change(w, to, reason);
        if self.pinned {
            self.weigh(w);
        }
        match to {
            State::Fault => self.down_at = None,
            State::Backup | State::Active => self.down_in(w, self.down_interval()),
        }
        if self.moved_until.is_some() {
            // Counted from here: what the vip owns may have taken its time to stop.
            self.moved_until = Some(w.now + self.move_wait());
            self.down_in(w, self.move_wait());
        }
    }

    /// How long somebody else is given to take a vip that was moved.
    pub(super) fn move_wait(&self) -> Duration {
        self.spec.advert * MOVE_ADVERTS + MOVE_SLACK
    }

    /// Says the priority 0 that could not be said when the address went.
    pub(super) fn pay_farewell(&mut self, w: &mut World) {
        if std::mem::take(&mut self.owes_farewell) {
            self.send(w, 0);
        }
    }

    fn stop_services(&mut self, w: &mut World) {
        self.stops += 1;
        self.stops_until = w.now + STOP_BOUND;
        w.emit(Effect::Stop { vip: self.id });
    }

    /// An answer about the services; says whether the vip's eligibility changed.
    pub(super) fn services(&mut self, w: &mut World, running: bool) -> bool {
        if w.now >= self.stops_until {
            self.stops = 0;
        }
        if self.stops > 0 {
            // The answer to an earlier Stop, or to a Start that a Stop has overtaken.
            if !running {
                self.stops -= 1;
            }
            return self.stops == 0 && self.finish_stopping(w);
        }
        match (&self.phase, running) {
            (Phase::Starting { .. }, true) => {
                self.install(w);
                false
            }
            (Phase::Starting { .. } | Phase::Holding, false) => {
                self.failed_until = Some(w.now + SERVICE_RETRY);
                true
            }
            (Phase::Stopping { .. }, false) => self.finish_stopping(w),
            (Phase::Out, _) | (Phase::Holding | Phase::Stopping { .. }, true) => false,
        }
    }

    /// The services have stopped, or had time enough.
    fn finish_stopping(&mut self, w: &mut World) -> bool {
        let Phase::Stopping { to, reason, .. } = &self.phase else { return false };
        let (to, reason) = (*to, reason.clone());
        self.release(w, to, reason, Farewell::Resign);
        true
    }

    /// Bounds of starting and stopping; says whether the vip's eligibility changed.
    pub(super) fn services_due(&mut self, w: &mut World) -> bool {
        match self.phase {
            Phase::Starting { until } if until <= w.now => {
                self.failed_until = Some(w.now + SERVICE_RETRY);
                true
            }
            Phase::Stopping { until, .. } if until <= w.now => self.finish_stopping(w),
            Phase::Out | Phase::Starting { .. } | Phase::Holding | Phase::Stopping { .. } => false,
        }
    }
}
