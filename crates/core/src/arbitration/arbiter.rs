//! A node's arbitration as a whole: references, peers, the lock, isolation, and the ruling on each vip.

use std::collections::VecDeque;
use std::time::Duration;

use crate::arbitration::input::{Effect, Input, Notice, PeerAid, Setup, VipAids};
use crate::arbitration::isolation::{self, Isolation};
use crate::arbitration::lock::{DiskOp, Lock, Told, Want};
use crate::arbitration::reference::Reference;
use crate::arbitration::rule::{Facts, LockSays, rule};
use crate::election::Ruling;
use crate::lease::{Sight, Sights};
use crate::name::{NodeId, VipId};
use crate::time::Boot;

#[derive(Clone, Debug)]
pub(super) struct One {
    pub(super) aids: VipAids,
    active: bool,
    overdue: bool,
    able: bool,
    heard: Option<Boot>,
    excused: bool,
    pub(super) ruling: Ruling,
}

#[derive(Clone, Debug)]
pub(super) struct Peer {
    aid: PeerAid,
    heard: bool,
    /// It has said how it stands since it is heard.
    fresh: bool,
    lock_wanted: bool,
    lock_owned: bool,
    /// By vip of ours: active, and what it knows of its reference.
    sights: Vec<(bool, Option<bool>)>,
}

/// The whole.
#[derive(Clone, Debug)]
pub struct Arbiter {
    names: Vec<String>,
    pub(super) references: Vec<Reference>,
    pub(super) vips: Vec<One>,
    pub(super) peers: Option<Vec<Peer>>,
    pub(super) lock: Option<Lock>,
    pub(super) isolation: Isolation,
    beat: Duration,
    said: Option<Sights>,
    say_at: Boot,
    /// The first rulings are said whatever they are.
    begun: bool,
    now: Boot,
    effects: VecDeque<Effect>,
}

impl Arbiter {
    /// Begins with nobody heard.
    #[must_use]
    pub fn new(setup: Setup, now: Boot) -> Self {
        let Setup { references, vips, peers, lock, me, isolated, beat } = setup;
        let count = vips.len();
        let peer = |aid| Peer {
            aid,
            heard: false,
            fresh: false,
            lock_wanted: false,
            lock_owned: false,
            sights: vec![(false, None); count],
        };
        let one = |aids| One {
            aids,
            active: false,
            overdue: false,
            able: false,
            heard: None,
            excused: false,
            ruling: Ruling::Free,
        };
        Self {
            names: references.iter().map(|aid| aid.name.clone()).collect(),
            references: references.into_iter().map(|aid| Reference::new(aid.terms, now)).collect(),
            vips: vips.into_iter().map(one).collect(),
            peers: peers.map(|peers| peers.into_iter().map(peer).collect()),
            lock: lock.map(|terms| Lock::new(terms, beat, me)),
            isolation: Isolation::new(isolated),
            beat,
            said: None,
            say_at: now,
            begun: false,
            now,
            effects: VecDeque::new(),
        }
    }

    /// One change.
    pub fn handle(&mut self, input: Input<'_>, now: Boot) {
        self.now = now;
        match input {
            Input::Answered { reference } => self.answered(reference, now),
            Input::Stand { vip, active, overdue, able, heard } => {
                self.stand(vip, active);
                if let Some(one) = self.vips.get_mut(vip.index()) {
                    (one.active, one.overdue, one.able, one.heard) = (active, overdue, able, heard);
                }
            }
            Input::Peer { node, heard } => {
                if let Some(peer) = self.peer(node) {
                    peer.fresh &= heard;
                    peer.heard = heard;
                }
            }
            Input::Said { node, sights } => self.said(node, sights),
            Input::Disk { number, outcome } => {
                if let Some(lock) = &mut self.lock {
                    lock.answer(number, outcome, now);
                }
            }
            Input::Tick => self.ask(now),
        }
        self.settle(now);
    }

    /// The same, unless it says what is known.
    pub fn handle_if_new(&mut self, input: Input<'_>, now: Boot) {
        let known = match &input {
            Input::Stand { vip, active, overdue, able, heard } => {
                self.vips.get(vip.index()).is_none_or(|one| {
                    (one.active, one.overdue, one.able, one.heard) == (*active, *overdue, *able, *heard)
                })
            }
            Input::Peer { node, heard } => {
                let mut peers = self.peers.iter().flatten();
                peers.all(|peer| peer.aid.node != *node || peer.heard == *heard)
            }
            Input::Answered { .. } | Input::Said { .. } | Input::Disk { .. } | Input::Tick => false,
        };
        if !known {
            self.handle(input, now);
        }
    }

    /// Says every ruling once more: the election was made anew.
    pub fn repeat(&mut self) {
        self.begun = false;
        self.say_at = self.now;
    }

    /// Another configuration: what is the same in both goes on as it is.
    pub fn reload(&mut self, setup: Setup, now: Boot) {
        let mut next = Self::new(setup, now);
        for (name, reference) in next.names.iter().zip(&mut next.references) {
            let same = self.names.iter().position(|known| known == name);
            let same = same.and_then(|at| self.references.get(at));
            if let Some(same) = same.filter(|same| same.terms == reference.terms) {
                reference.clone_from(same);
            }
        }
        for one in &mut next.vips {
            if let Some(same) = self.vips.iter().find(|same| same.aids.name == one.aids.name) {
                *one = One { aids: one.aids.clone(), ..same.clone() };
            }
        }
        let names: Vec<Option<usize>> = next
            .vips
            .iter()
            .map(|one| self.vips.iter().position(|same| same.aids.name == one.aids.name))
            .collect();
        for peer in next.peers.iter_mut().flatten() {
            let Some(same) = self.peers.iter().flatten().find(|same| same.aid.id == peer.aid.id) else {
                continue;
            };
            let sights = names.iter().map(|at| at.and_then(|at| same.sights.get(at).copied()));
            let sights = sights.map(Option::unwrap_or_default).collect();
            *peer = Peer { aid: peer.aid.clone(), sights, ..same.clone() };
        }
        if let (Some(lock), Some(same)) = (&mut next.lock, &self.lock)
            && lock.is_like(same)
        {
            lock.clone_from(same);
        }
        let after = next.isolation.after;
        next.isolation = Isolation { after, ..self.isolation.clone() };
        next.effects.clone_from(&self.effects);
        *self = next;
    }

    /// On the way out, when every address is gone: what gives the lock back, if it is this node's.
    pub fn last_word(&mut self, now: Boot) -> Option<(u64, DiskOp)> {
        self.lock.as_mut()?.last_word(now)
    }

    /// When the next `Input::Tick` is due.
    #[must_use]
    pub fn poll_timeout(&self) -> Boot {
        let references = self.references.iter().map(Reference::due).min().unwrap_or(Boot::NEVER);
        let windows = self.vips.iter().filter_map(|one| Some((one.heard?, one.aids.window)));
        let windows = windows.flat_map(|(heard, window)| [heard + window / 2, heard + window]);
        let windows = windows.filter(|end| *end > self.now).min().unwrap_or(Boot::NEVER);
        let others = self.references.iter().map(|known| self.others_know_at(known));
        let references = others.filter(|at| *at > self.now).min().unwrap_or(Boot::NEVER).min(references);
        let lock = self.lock.as_ref().map_or(Boot::NEVER, |lock| lock.due(self.now));
        let say = if self.peers.is_some() { self.say_at } else { Boot::NEVER };
        references.min(windows).min(lock).min(say).min(self.isolation.due())
    }

    /// The next thing to be done.
    #[must_use]
    pub fn poll_effect(&mut self) -> Option<Effect> {
        self.effects.pop_front()
    }

    /// Whether this node has been isolated for longer than the operator bears.
    #[must_use]
    pub const fn is_isolated_too_long(&self) -> bool {
        self.isolation.has_acted()
    }

    fn peer(&mut self, node: NodeId) -> Option<&mut Peer> {
        self.peers.iter_mut().flatten().find(|peer| peer.aid.node == node)
    }

    fn answered(&mut self, reference: usize, now: Boot) {
        if self.references.get_mut(reference).is_some_and(|known| known.hear(now)) {
            self.turned(reference);
        }
    }

    /// A reference's verdict has changed.
    fn turned(&mut self, reference: usize) {
        let Some(up) = self.references.get(reference).and_then(|known| known.up) else { return };
        if up {
            let of = self.vips.iter_mut().filter(|one| one.aids.reference == Some(reference));
            of.for_each(|one| one.excused = false);
        }
        self.effects.push_back(Effect::Notice(Notice::Reference { reference, up }));
    }

    fn stand(&mut self, vip: VipId, active: bool) {
        let Some(one) = self.vips.get_mut(vip.index()) else { return };
        if active && !one.active {
            let up = one.aids.reference.and_then(|at| self.references.get(at)).and_then(|known| known.up);
            // Whoever takes it without a reference was asked to: it is not taken on silence.
            one.excused = up != Some(true);
        }
    }

    fn said(&mut self, node: NodeId, sights: &Sights) {
        let names: Vec<Option<usize>> = sights
            .vips
            .iter()
            .map(|sight| self.vips.iter().position(|one| one.aids.name == sight.vip))
            .collect();
        let Some(peer) = self.peer(node) else { return };
        peer.fresh |= peer.heard;
        (peer.lock_wanted, peer.lock_owned) = (sights.lock_wanted, sights.lock_owned);
        for (sight, at) in sights.vips.iter().zip(names) {
            if let Some(known) = at.and_then(|at| peer.sights.get_mut(at)) {
                *known = (sight.active, sight.reference);
            }
        }
    }

    fn ask(&mut self, now: Boot) {
        for at in 0..self.references.len() {
            let (ask, changed) = self.references[at].tick(now);
            if changed {
                self.lost(at, now);
                self.turned(at);
            }
            if ask {
                self.effects.push_back(Effect::Ask { reference: at });
            }
        }
        if let Some(lock) = &mut self.lock {
            lock.tick(now);
        }
    }

    /// Where no session tells, an advert of late tells that this node is not the only one in trouble.
    fn lost(&mut self, reference: usize, now: Boot) {
        if self.references[reference].up == Some(false) {
            let of = self.vips.iter_mut().filter(|one| one.aids.reference == Some(reference));
            of.for_each(|one| one.excused |= one.lately(now));
        }
    }

    /// Everything that follows from what is known now.
    fn settle(&mut self, now: Boot) {
        self.settle_lock(now);
        self.settle_isolation(now);
        for at in 0..self.vips.len() {
            let ruling = rule(&self.facts(at, now));
            let one = &mut self.vips[at];
            if std::mem::replace(&mut one.ruling, ruling) != ruling || !self.begun {
                let vip = VipId(u32::try_from(at).unwrap_or(u32::MAX));
                self.effects.push_back(Effect::Ruling { vip, ruling });
            }
        }
        self.begun = true;
        self.say(now);
    }

    fn facts(&self, at: usize, now: Boot) -> Facts {
        let one = &self.vips[at];
        let heard = || self.holders().filter(|peer| peer.is_heard());
        Facts {
            active: one.active,
            reference: one.aids.reference.and_then(|at| self.references.get(at)).map(|known| known.up),
            company: self.holders().any(|peer| peer.heard) || one.lately(now),
            excused: one.excused && self.peers.is_none(),
            peer_has: one.aids.reference.is_some_and(|at| self.is_lost_here(at, now))
                && heard().any(|peer| peer.sights[at].1 == Some(true)),
            peer_holds: !one.within(one.aids.window / 2, now) && heard().any(|peer| peer.sights[at].0),
            locked: one.aids.locked && self.lock.is_some(),
            lock: self.lock_says(one, now),
        }
    }

    /// A reference was lost so long ago that a peer that lost it at the same time has said so.
    fn is_lost_here(&self, reference: usize, now: Boot) -> bool {
        self.references.get(reference).is_some_and(|known| now >= self.others_know_at(known))
    }

    fn others_know_at(&self, known: &Reference) -> Boot {
        if known.is_silent() { known.since + known.terms.bound() + self.beat * 2 } else { Boot::NEVER }
    }

    /// The peers that may hold a vip.
    fn holders(&self) -> impl Iterator<Item = &Peer> {
        self.peers.iter().flatten().filter(|peer| peer.aid.holds)
    }

    fn lock_says(&self, one: &One, now: Boot) -> LockSays {
        let Some(lock) = self.lock.as_ref().filter(|_| one.aids.locked) else { return LockSays::Nothing };
        if self.is_lock_idle() {
            return LockSays::Nothing;
        }
        let owned_by_peer = self.holders().any(|peer| peer.is_heard() && peer.lock_owned);
        let ours = if one.active { lock.lets_hold(now) } else { lock.is_owned(now) };
        if ours && !owned_by_peer { LockSays::Yes } else { LockSays::No }
    }

    /// Every peer that could hold a vip is heard, and hears this node: it asks for no lock.
    pub(super) fn is_lock_idle(&self) -> bool {
        self.holders().all(|peer| peer.is_heard() && !peer.lock_wanted && !peer.lock_owned)
    }

    fn settle_lock(&mut self, now: Boot) {
        let idle = self.is_lock_idle();
        let locked = || self.vips.iter().filter(|one| one.aids.locked);
        let active = locked().any(|one| one.active);
        let (able, overdue) = (locked().any(|one| one.able), locked().any(|one| one.able && one.overdue));
        let Some(lock) = &mut self.lock else { return };
        let want = match (idle, active, overdue) {
            (true, _, _) => Want::No,
            (false, true, _) => Want::Holder,
            (false, false, true) => Want::Backup,
            // It may be about to take what it has the lock for.
            (false, false, false) if able && lock.is_wanted() => Want::Backup,
            (false, false, false) => Want::No,
        };
        lock.want(want, now);
        lock.tick(now);
        while let Some((number, op)) = lock.poll_op() {
            self.effects.push_back(Effect::Disk { number, op });
        }
        while let Some(told) = lock.poll_told() {
            self.effects.push_back(Effect::Notice(match told {
                Told::Owned => Notice::LockOwned,
                Told::Lost => Notice::LockLost,
                Told::Busy(node) => Notice::LockBusy { node },
                Told::Trouble(why) => Notice::LockTrouble(why),
                Told::Released => Notice::LockReleased,
            }));
        }
    }

    fn settle_isolation(&mut self, now: Boot) {
        let lost = !self.references.is_empty() && self.references.iter().all(|known| known.up == Some(false));
        let adverts = self.vips.iter().any(|one| one.lately(now));
        let heard = self.peers.iter().flatten().any(|peer| peer.heard);
        let alone = self.peers.is_some() && lost && !heard && !adverts;
        let met = heard || self.references.iter().any(|known| known.up == Some(true));
        let notice = match self.isolation.look(alone, met, now) {
            None => return,
            Some(isolation::Step::Began) => Notice::Isolated,
            Some(isolation::Step::Act) => Notice::IsolatedTooLong,
            Some(isolation::Step::Ended) => Notice::Joined,
        };
        self.effects.push_back(Effect::Notice(notice));
    }

    /// Tells peers how this node stands: at once when something has changed, else with each beat.
    fn say(&mut self, now: Boot) {
        if self.peers.is_none() {
            return;
        }
        let sight = |one: &One| Sight {
            vip: one.aids.name.clone(),
            active: one.active,
            reference: one.aids.reference.and_then(|at| self.references.get(at)).and_then(|known| known.up),
        };
        let aided = self.vips.iter().filter(|one| one.aids.reference.is_some() || one.aids.locked);
        let sights = Sights {
            lock_wanted: self.lock.as_ref().is_some_and(Lock::is_wanted) && !self.hears_holders(),
            lock_owned: self.lock.as_ref().is_some_and(|lock| lock.is_owned(now)),
            vips: aided.map(sight).collect(),
        };
        if self.said.as_ref() == Some(&sights) && now < self.say_at {
            return;
        }
        self.say_at = now + self.beat;
        self.said = Some(sights.clone());
        self.effects.push_back(Effect::Say(sights));
    }

    fn hears_holders(&self) -> bool {
        self.holders().all(Peer::is_heard)
    }
}

impl One {
    /// Another node was heard for it not long ago.
    fn lately(&self, now: Boot) -> bool {
        self.within(self.aids.window, now)
    }

    fn within(&self, window: Duration, now: Boot) -> bool {
        self.heard.is_some_and(|at| now < at + window)
    }
}

impl Peer {
    /// Its session carries, and it has said how it stands since that is so.
    const fn is_heard(&self) -> bool {
        self.heard && self.fresh
    }
}

#[cfg(test)]
#[path = "arbiter_tests.rs"]
mod tests;
