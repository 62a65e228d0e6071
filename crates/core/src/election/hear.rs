//! What an accepted advert does (RFC 9568 6.4.2 and 6.4.3).

use std::net::IpAddr;
use std::time::Duration;

use crate::election::hold::Farewell;
use crate::election::vip::{Known, Vip};
use crate::election::world::World;
use crate::election::{Reason, State};
use crate::vrrp::Advert;

impl Vip {
    /// An accepted advert; true when this node had to yield. `led`: an active sync group's first vip decides for this
    /// one, for a while.
    pub(super) fn hear(&mut self, w: &mut World, from: IpAddr, advert: &Advert, led: bool) -> bool {
        let interval = self.interval_of(advert.interval);
        self.note_peer(w, from, advert.priority);
        if advert.priority == 0 {
            self.counters.received_zero += 1;
        } else {
            self.counters.received += 1;
        }
        if self.is_leased() {
            // A stranger: nobody who may hold it sends adverts. Alarm and announce, never drop (rule 8).
            self.counters.conflicts += 1;
            self.note_stranger(w, from);
            if w.now >= self.answer_after {
                self.answer_after = w.now + self.answer_interval();
                self.announce_again(w);
            }
            return false;
        }
        match (self.is_active(), advert.priority) {
            (true, 0) => {
                self.answer(w);
                self.announce_over(w, interval);
                false
            }
            (true, theirs) if self.is_outranked(w, from, theirs) => {
                if led && self.is_contest_young(w, interval) {
                    return false;
                }
                self.yield_to(w, Known { addr: from, priority: theirs, at: w.now, interval });
                true
            }
            (true, _) => {
                self.counters.lower += 1;
                self.answer(w);
                self.announce_over(w, interval);
                false
            }
            (false, 0) => {
                self.hear_resignation(w, from);
                false
            }
            (false, priority) => {
                self.hear_as_backup(w, Known { addr: from, priority, at: w.now, interval });
                false
            }
        }
    }

    /// Of two active nodes the lower priority yields; of two with equal priority the lower address.
    fn is_outranked(&self, w: &World, from: IpAddr, theirs: u8) -> bool {
        theirs > self.priority || (theirs == self.priority && self.source(w).is_none_or(|ours| from > ours))
    }

    /// Two nodes with crossed priorities in one group would both yield, both take it again, and so on. So the group's
    /// first vip decides; the others yield by themselves only when that has not come about within a down interval.
    fn is_contest_young(&mut self, w: &World, interval: Duration) -> bool {
        let (since, last) = self.contest.unwrap_or((w.now, w.now));
        let since = if w.now.since(last) > interval * 2 { w.now } else { since };
        self.contest = Some((since, w.now));
        w.now.since(since) < self.down_interval()
    }

    fn yield_to(&mut self, w: &mut World, winner: Known) {
        self.known = Some(winner);
        let reason = Reason::Outranked { peer: winner.addr, theirs: winner.priority, ours: self.priority };
        self.moved_until = None;
        self.release(w, State::Backup, reason, Farewell::Yield);
    }

    /// Shows a lower or resigning node that somebody is here.
    fn answer(&mut self, w: &mut World) {
        if w.now >= self.answer_after {
            self.answer_after = w.now + self.answer_interval();
            self.advertise(w);
        }
    }

    /// Only the node that is known as active can end its own term.
    fn hear_resignation(&mut self, w: &mut World, from: IpAddr) {
        if self.known.is_some_and(|known| known.addr != from) {
            return;
        }
        self.resigned = Some(from);
        self.goes_dark(w.now);
        if self.state == State::Backup {
            // The skew is measured in the interval of the one who resigned, so it stays known until then.
            let skew = self.skew();
            self.down_in(w, skew);
        }
        self.known = None;
        self.lower_since = None;
    }

    fn hear_as_backup(&mut self, w: &mut World, active: Known) {
        self.lights_up_from(w, active);
        if self.supersedes(active) {
            self.known = Some(active);
        }
        self.resigned = None;
        self.repeat_farewell(w, active);
        if self.moved_until.take().is_some() {
            self.courteous = true;
        }
        if self.state != State::Backup {
            return;
        }
        if active.priority >= self.priority || !self.preempts() {
            self.lower_since = None;
            self.down_in(w, self.down_interval());
            return;
        }
        // A lower node is active and will be preempted: its adverts don't hold our timer back (RFC 9568 6.4.2),
        // except for as long as the operator wants it left alone.
        let delay = self.spec.preempt_delay;
        if delay.is_zero() {
            return;
        }
        let since = *self.lower_since.get_or_insert(w.now);
        if w.now.since(since) < delay {
            self.down_in(w, self.down_interval());
        } else if !self.overdue {
            self.down_in(w, Duration::ZERO);
        }
    }

    /// An active node is heard for the first time since this one let go. It may have been cut off when we said so, and
    /// clients that learned the vip from us are then still astray: a second word makes it announce again.
    ///
    /// The word is an advert of the lowest priority, to which keepalived announces too. A higher one, even below what
    /// was just heard, could make a third node yield to us, who hold nothing: what is read after a sleep is old.
    fn repeat_farewell(&mut self, w: &mut World, active: Known) {
        if std::mem::take(&mut self.unheard) && w.link(self.spec.link).up {
            self.send(w, u8::from(active.priority > 1));
        }
    }

    /// Whether an advert tells of a new active node. A loser that yields sends one advert too: while the better
    /// node is heard it stays the one that is known.
    fn supersedes(&self, active: Known) -> bool {
        self.known.is_none_or(|known| {
            known.addr == active.addr
                || (active.priority, active.addr) > (known.priority, known.addr)
                || active.at.since(known.at) > known.interval * 3 / 2
        })
    }

    /// The owner always preempts; a node from which the vip was moved away, or that was told to hold it, does not.
    pub(super) fn preempts(&self) -> bool {
        self.priority == 255 || (self.spec.preempt && !self.courteous && !self.pinned)
    }

    /// Somebody is heard again: a silence that outlasted the down interval was an outage.
    fn lights_up_from(&mut self, w: &World, active: Known) {
        if let Some(known) = self.known
            && active.at.since(known.at) > self.down_interval()
        {
            self.goes_dark(known.at);
        }
        self.lights_up(w.now);
    }
}
