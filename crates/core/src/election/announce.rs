//! When gratuitous ARP and unsolicited neighbour advertisements are sent: at once, in series, periodically, and
//! whenever another node may have told the clients something else.

use std::time::Duration;

use crate::election::Effect;
use crate::election::vip::Vip;
use crate::election::world::World;
use crate::time::Boot;

/// So many announcements may answer lower adverts in a row: the first, the loser's own word that it has let go, and
/// two to spare; one more is earned in each answer interval.
const TOKENS: u32 = 4;

/// The schedule of one active vip.
#[derive(Clone, Debug, Default)]
pub(super) struct Announcer {
    /// Bursts left in the running series and when the next is due.
    left: u32,
    burst_at: Option<Boot>,
    /// The second series after taking the vip.
    second_at: Option<Boot>,
    /// The periodic series.
    refresh_at: Option<Boot>,
    /// Once more after a lower advert was heard.
    again_at: Option<Boot>,
    /// When the lower node counts as silent.
    quiet_at: Option<Boot>,
    /// Until when the right to answer has been used up.
    spent_until: Boot,
}

impl Announcer {
    /// The next moment at which something is due.
    pub(super) fn next(&self) -> Boot {
        [self.burst_at, self.second_at, self.refresh_at, self.again_at, self.quiet_at]
            .into_iter()
            .flatten()
            .min()
            .unwrap_or(Boot::NEVER)
    }
}

impl Vip {
    /// The address has just been added.
    pub(super) fn announce_first(&mut self, w: &mut World) {
        let spec = self.spec.announce;
        self.announcer = Announcer {
            second_at: (!spec.delay.is_zero()).then(|| w.now + spec.delay),
            refresh_at: (!spec.refresh.is_zero()).then(|| w.now + spec.refresh),
            ..Announcer::default()
        };
        self.announce(w, spec.repeat);
    }

    /// Starts a series: the first burst at once (always one, whatever is configured), the others in step.
    fn announce(&mut self, w: &mut World, bursts: u8) {
        if !self.holds() {
            return;
        }
        let bursts = u32::from(bursts.max(1));
        let interval = self.spec.announce.interval;
        if interval.is_zero() {
            for _ in 0..bursts {
                self.burst(w);
            }
            return;
        }
        self.burst(w);
        self.announcer.left = self.announcer.left.max(bursts - 1);
        self.announcer.burst_at = (self.announcer.left > 0).then(|| w.now + interval);
    }

    fn burst(&mut self, w: &mut World) {
        self.counters.announced += 1;
        w.emit(Effect::Announce { vip: self.id });
    }

    /// A lower node still thinks that it is active, or has just let go: the clients may point at it.
    pub(super) fn announce_over(&mut self, w: &mut World, its_interval: Duration) {
        if !self.holds() {
            return;
        }
        let interval = self.interval().max(its_interval);
        self.announcer.again_at.get_or_insert(w.now + interval);
        self.announcer.quiet_at = Some(w.now + interval * 3 / 2);
        self.announce_again(w);
    }

    /// Announces; when that was just done too often, as soon as it may be done again, for the last word counts.
    pub(super) fn announce_again(&mut self, w: &mut World) {
        let each = self.answer_interval();
        let spent = self.announcer.spent_until.max(w.now) + each;
        if spent <= w.now + each * TOKENS {
            self.announcer.spent_until = spent;
            self.announce(w, self.spec.announce.lower_repeat);
        } else if self.holds() && self.announcer.again_at.is_none() {
            // Spent now, so that the last word adds none to the rate.
            self.announcer.again_at = Some(self.announcer.spent_until);
            self.announcer.spent_until = spent;
        }
    }

    /// Does what is due.
    pub(super) fn announce_due(&mut self, w: &mut World) {
        let now = w.now;
        let due = |at: &mut Option<Boot>| at.take_if(|at| *at <= now).is_some();
        let spec = self.spec.announce;
        if due(&mut self.announcer.burst_at) {
            self.announcer.left = self.announcer.left.saturating_sub(1);
            self.announcer.burst_at = (self.announcer.left > 0).then(|| now + spec.interval);
            self.burst(w);
        }
        if due(&mut self.announcer.second_at) {
            self.announce(w, spec.delay_repeat);
        }
        if due(&mut self.announcer.refresh_at) {
            self.announcer.refresh_at = Some(now + spec.refresh);
            self.announce(w, spec.refresh_repeat);
        }
        let again = due(&mut self.announcer.again_at);
        let quiet = due(&mut self.announcer.quiet_at);
        if again || quiet {
            self.announce(w, spec.lower_repeat);
        }
    }
}
