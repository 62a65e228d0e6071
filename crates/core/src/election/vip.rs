//! One vip: where it stands, and the arithmetic of its timers (RFC 9568 6.1 to 6.3).

use std::net::IpAddr;
use std::time::Duration;

use crate::election::announce::Announcer;
use crate::election::leased::Lease;
use crate::election::view::{Counters, Peer};
use crate::election::world::World;
use crate::election::{Effect, Reason, Ruling, State, VipSpec};
use crate::name::VipId;
use crate::time::Boot;
use crate::vrrp::Version;

/// The shortest advert interval; a spec that says less is taken to mean this, so that no timer can spin.
const ADVERT_MIN: Duration = Duration::from_millis(1);

/// The shortest gate, for the same reason.
const GATE_MIN: Duration = Duration::from_millis(3);

/// The longest time between two answers to lower adverts.
const ANSWER_MAX: Duration = Duration::from_millis(100);

/// After a service could not be started this long passes before the vip is taken part in again.
pub(super) const SERVICE_RETRY: Duration = Duration::from_secs(30);

/// How far this node has gone in holding a vip.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// Not at all.
    Out,
    /// It sends adverts and waits for its services; the address has not been added.
    Starting {
        /// When it stops waiting.
        until: Boot,
    },
    /// It holds the address.
    Holding,
    /// It still holds the address and waits for its services to stop.
    Stopping {
        /// When it stops waiting.
        until: Boot,
        /// What it becomes.
        to: State,
        /// Why.
        reason: Reason,
    },
}

/// The active node that a backup knows of.
#[derive(Clone, Copy, Debug)]
pub(super) struct Known {
    pub(super) addr: IpAddr,
    pub(super) priority: u8,
    pub(super) at: Boot,
    pub(super) interval: Duration,
}

/// One vip on this node.
#[derive(Clone, Debug)]
pub(super) struct Vip {
    pub(super) id: VipId,
    pub(super) spec: VipSpec,
    /// The advertised addresses, sorted.
    pub(super) sorted: Vec<IpAddr>,
    /// Index of its sync group.
    pub(super) group: Option<usize>,
    /// Index of the right that it stands under.
    pub(super) right: Option<usize>,
    /// Under what it is held, when a right is needed for it.
    pub(super) lease: Option<Lease>,

    pub(super) state: State,
    pub(super) reason: Reason,
    pub(super) since: Boot,
    /// Whether the outside has been told where it stands.
    pub(super) told: bool,
    pub(super) phase: Phase,
    pub(super) epoch: u64,
    /// Effective priority: the spec's and the probes' weights.
    pub(super) priority: u8,

    /// As backup: when the active node is judged silent.
    pub(super) down_at: Option<Boot>,
    /// As backup: it was judged silent while this node could not take the vip.
    pub(super) overdue: bool,
    /// As backup: how often in a row a late tick put the verdict off.
    pub(super) graces: u8,
    pub(super) known: Option<Known>,
    /// Who gave the vip up with priority 0, until another is heard.
    pub(super) resigned: Option<IpAddr>,
    /// Since when a lower active node has been heard that will be preempted.
    pub(super) lower_since: Option<Boot>,
    /// No takeover before this (start delay).
    pub(super) not_before: Boot,

    /// As active: when the next advert is due.
    pub(super) advert_at: Boot,
    /// As active: when the gate closes.
    pub(super) armed: Option<Boot>,
    pub(super) announcer: Announcer,
    /// As active in a group that another vip leads: since when, and when last, a higher node was heard.
    pub(super) contest: Option<(Boot, Boot)>,
    /// No answer to a lower or resigning peer before this.
    pub(super) answer_after: Boot,

    /// The address went with the link: clients and peers have not been told.
    pub(super) owes_farewell: bool,
    /// Since it was given up no active node has been heard.
    pub(super) unheard: bool,
    pub(super) drained: bool,
    /// Moved away by the operator: out until then, or until another active is heard.
    pub(super) moved_until: Option<Boot>,
    /// Moved away by the operator: whoever took it is not preempted.
    pub(super) courteous: bool,
    /// Held where it is by the operator.
    pub(super) pinned: bool,
    /// What arbitration says of it.
    pub(super) ruling: Ruling,

    /// Stops that have not been answered.
    pub(super) stops: u32,
    /// When unanswered stops are forgotten.
    pub(super) stops_until: Boot,
    /// A service failed: in fault until then.
    pub(super) failed_until: Option<Boot>,
    /// In a late fault: when punctuality is tested again.
    pub(super) recheck_at: Option<Boot>,

    pub(super) peers: Vec<Peer>,
    pub(super) counters: Counters,
    /// Since when nobody is known to hold it.
    pub(super) dark_since: Option<Boot>,
    pub(super) dark: Duration,
}

impl Vip {
    pub(super) fn new(id: VipId, spec: VipSpec, start: Boot) -> Self {
        let not_before = start + spec.start_delay;
        let mut vip = Self {
            id,
            sorted: Vec::new(),
            group: None,
            right: None,
            lease: None,
            state: State::Fault,
            reason: Reason::Started,
            since: start,
            told: false,
            phase: Phase::Out,
            epoch: 0,
            priority: spec.priority,
            down_at: None,
            overdue: false,
            graces: 0,
            known: None,
            resigned: None,
            lower_since: None,
            not_before,
            advert_at: Boot::NEVER,
            armed: None,
            announcer: Announcer::default(),
            contest: None,
            answer_after: Boot::ZERO,
            owes_farewell: false,
            unheard: false,
            drained: false,
            moved_until: None,
            courteous: false,
            pinned: false,
            ruling: Ruling::Free,
            stops: 0,
            stops_until: Boot::ZERO,
            failed_until: None,
            recheck_at: None,
            peers: Vec::new(),
            counters: Counters::default(),
            dark_since: None,
            dark: Duration::ZERO,
            spec,
        };
        vip.sort_addrs();
        vip
    }

    pub(super) fn sort_addrs(&mut self) {
        self.sorted.clone_from(&self.spec.addrs);
        self.sorted.sort_unstable();
        self.sorted.dedup();
    }

    /// Whether it takes part as the active node: sends adverts, and holds or is about to hold the address.
    pub(super) fn is_active(&self) -> bool {
        self.phase != Phase::Out
    }

    /// Whether the address is there.
    pub(super) fn holds(&self) -> bool {
        match self.phase {
            Phase::Holding | Phase::Stopping { .. } => true,
            Phase::Out | Phase::Starting { .. } => false,
        }
    }

    /// Where its adverts come from.
    pub(super) fn source(&self, w: &World) -> Option<IpAddr> {
        let link = w.link(self.spec.link);
        self.spec.source.or(if self.spec.ipv6 { link.v6 } else { link.v4 })
    }

    /// Our own advert interval.
    pub(super) fn interval(&self) -> Duration {
        self.spec.advert.max(ADVERT_MIN)
    }

    /// The interval by which the active node is judged: its own in version 3, ours in version 2.
    pub(super) fn active_interval(&self) -> Duration {
        self.known.map_or_else(|| self.interval(), |known| known.interval)
    }

    /// The interval that an advert announces, made safe.
    pub(super) fn interval_of(&self, said: Duration) -> Duration {
        match self.spec.version {
            Version::V2 => self.interval(),
            Version::V3 if said < ADVERT_MIN => self.interval(),
            Version::V3 => said,
        }
    }

    /// How much longer than its betters a backup waits: (256 - priority)/256 of a second in version 2 (RFC 3768
    /// 6.1), of the active node's interval in version 3 (RFC 9568 6.1).
    pub(super) fn skew(&self) -> Duration {
        if self.spec.sole_successor {
            return Duration::ZERO;
        }
        let whole = match self.spec.version {
            Version::V2 => Duration::from_secs(1),
            Version::V3 => self.active_interval(),
        };
        whole * u32::from(256 - u16::from(self.priority)) / 256
    }

    /// Silence for this long means that the active node is gone.
    pub(super) fn down_interval(&self) -> Duration {
        self.active_interval() * u32::from(self.spec.down_adverts.max(1)) + self.skew()
    }

    /// A lower or resigning peer is answered at most once in this time.
    pub(super) fn answer_interval(&self) -> Duration {
        self.interval().min(ANSWER_MAX)
    }

    /// A tick later than this judges nobody: the adverts of others may wait unread.
    pub(super) fn lateness_borne(&self) -> Duration {
        (self.interval() / 2).clamp(Duration::from_millis(5), Duration::from_millis(500))
    }

    /// Lets the down timer run out in `after`, but not before the start delay has passed.
    pub(super) fn down_in(&mut self, w: &World, after: Duration) {
        if self.is_leased() {
            return;
        }
        self.down_at = Some((w.now + after).max(self.not_before));
        self.overdue = false;
        self.graces = 0;
    }

    /// The next moment at which something is due.
    pub(super) fn next(&self, now: Boot) -> Boot {
        let mut next = self.down_at.unwrap_or(Boot::NEVER).min(self.stance_due(now));
        if let Some(armed) = self.armed {
            next = next.min(self.advert_at).min(self.rearm_at(armed)).min(self.announcer.next());
        }
        match self.phase {
            Phase::Starting { until } | Phase::Stopping { until, .. } => next = next.min(until),
            Phase::Out | Phase::Holding => {}
        }
        for at in [self.moved_until, self.failed_until, self.recheck_at].into_iter().flatten() {
            next = next.min(at);
        }
        next
    }

    /// The gate is armed again when a third of its time has passed.
    pub(super) fn rearm_at(&self, armed: Boot) -> Boot {
        if self.is_leased() {
            // Only a majority moves it on.
            return Boot::NEVER;
        }
        armed - self.gate() * 2 / 3
    }

    /// How long the gate stays open.
    pub(super) fn gate(&self) -> Duration {
        self.spec.gate.max(GATE_MIN)
    }

    pub(super) fn arm(&mut self, w: &mut World) {
        let until = self.right_until(w);
        self.armed = Some(until);
        self.counters.armed += 1;
        w.emit(Effect::Arm { vip: self.id, until });
    }

    /// Sends an advert as the active node: the gate goes with it, and the next one is due an interval later.
    pub(super) fn advertise(&mut self, w: &mut World) {
        self.arm(w);
        self.send(w, self.priority);
        self.advert_at = self.next_advert(w);
    }

    /// When the advert after this one is due.
    pub(super) fn next_advert(&self, w: &World) -> Boot {
        if self.is_leased() { Boot::NEVER } else { w.now + self.interval() }
    }

    /// Sends one advert.
    pub(super) fn send(&mut self, w: &mut World, priority: u8) {
        if self.is_leased() {
            // A node of the other kind must not take it for a peer.
            return;
        }
        if priority == 0 {
            self.counters.sent_zero += 1;
        } else {
            self.counters.sent += 1;
        }
        w.emit(Effect::Advertise { vip: self.id, priority });
    }

    /// Enters a state and tells the outside.
    pub(super) fn change(&mut self, w: &mut World, to: State, reason: Reason) {
        let from = std::mem::replace(&mut self.state, to);
        let stops = reason == Reason::Stopping && self.reason != Reason::Stopping;
        self.reason = reason.clone();
        if from == to && self.told && !stops {
            return;
        }
        if from != to {
            self.since = w.now;
        }
        self.told = true;
        w.emit(Effect::Changed { vip: self.id, from, to, reason, epoch: self.epoch });
    }

    /// From `at` on nobody is known to hold the vip.
    pub(super) fn goes_dark(&mut self, at: Boot) {
        self.dark_since = Some(self.dark_since.map_or(at, |since| since.min(at)));
    }

    /// Somebody holds it again.
    pub(super) fn lights_up(&mut self, now: Boot) {
        if let Some(since) = self.dark_since.take() {
            self.dark += now.since(since);
        }
    }
}
