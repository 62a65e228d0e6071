//! What a vip does when one of its moments has come.

use crate::election::vip::Vip;
use crate::election::world::World;

/// So many late ticks in a row may put off the verdict that the active node is silent; then it is given all the same,
/// or a host that is always late would never take over.
const GRACES: u8 = 3;

/// What a vip cannot decide without its sync group.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Due {
    /// The active node is silent, or may be preempted.
    pub(super) claim: bool,
    /// What kept the vip in fault or waiting may have gone, or has come.
    pub(super) reconsider: bool,
}

impl Vip {
    /// Does everything that is due by `w.now`; afterwards `next` lies ahead.
    pub(super) fn tick(&mut self, w: &mut World) -> Due {
        self.tick_active(w);
        let now = w.now;
        let mut due = Due { claim: false, reconsider: self.services_due(w) };
        due.reconsider |= self.moved_until.take_if(|at| *at <= now).is_some();
        due.reconsider |= self.failed_until.take_if(|at| *at <= now).is_some();
        if self.recheck_at.take_if(|at| *at <= now).is_some() {
            self.recheck_at = w.tardy.map(|_| now + self.interval());
        }
        if self.down_at.take_if(|at| *at <= now).is_some() {
            due.claim = self.judge_silence(w);
        }
        due
    }

    fn tick_active(&mut self, w: &mut World) {
        let Some(armed) = self.armed else { return };
        if self.advert_at <= w.now {
            // The beat is kept: a tick that is a little late does not make the next advert later.
            let beat = self.advert_at + self.interval();
            self.advertise(w);
            self.advert_at = beat.max(w.now + self.interval() / 2);
        } else if self.rearm_at(armed) <= w.now {
            self.arm(w);
        }
        self.announce_due(w);
    }

    /// The down timer has run out. In a tick that came late it gets one more interval: the active node's adverts may
    /// lie unread in our own socket.
    fn judge_silence(&mut self, w: &World) -> bool {
        if w.lateness > self.lateness_borne() && self.graces < GRACES {
            self.down_at = Some(w.now + self.active_interval());
            self.graces += 1;
            self.counters.graced += 1;
            return false;
        }
        self.graces = 0;
        self.overdue = true;
        self.note_silence(w);
        true
    }

    /// A known active node that missed more than one advert was last there when it was last heard.
    pub(super) fn note_silence(&mut self, w: &World) {
        if let Some(known) = self.known
            && w.now.since(known.at) > known.interval * 3 / 2
        {
            self.goes_dark(known.at);
        }
    }
}
