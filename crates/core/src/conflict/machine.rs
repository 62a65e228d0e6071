//! One vip's claims, judged.

use std::collections::VecDeque;

use crate::arp::Mac;
use crate::conflict::episode::{Episode, Part};
use crate::conflict::{Claimant, Effect, LATE, LATE_ANYBODY, PATIENCE, Place, Whose};
use crate::time::Boot;

/// What was seen of one vip.
#[derive(Clone, Debug, Default)]
pub struct Conflict {
    episode: Episode,
    /// The station that the address was last seen at while another node held it.
    current: Option<Mac>,
    /// The one before the last hand-off.
    before: Option<Mac>,
    /// When the address last went from one node to another.
    moved: Option<Boot>,
    suspect: Option<Suspect>,
    counts: Counts,
    effects: VecDeque<Effect>,
}

/// Another station than the holder's: the next holder, or a stranger.
#[derive(Clone, Copy, Debug)]
struct Suspect {
    mac: Mac,
    since: Boot,
    claims: u64,
}

/// What was counted since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Claims that were conflicts.
    pub conflicts: u64,
    /// Conflicts that began.
    pub episodes: u64,
    /// Claims that came from before a hand-off.
    pub late: u64,
    /// Claims of another interface of this host.
    pub own: u64,
}

/// The conflict in hand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing<'a> {
    /// Since when.
    pub began: Boot,
    /// When something was last seen.
    pub seen: Boot,
    /// Frames and adverts.
    pub claims: u64,
    /// Those that are named.
    pub by: &'a [Claimant],
}

impl Conflict {
    /// A station says that it has the address.
    pub fn claimed(&mut self, mac: Mac, whose: Whose, place: Place, now: Boot) {
        let who = Claimant::Station(mac);
        if whose == Whose::Own {
            self.counts.own += 1;
        } else if self.episode.names(who) {
            self.conflict(who, 1, now, place, now);
        } else {
            match place {
                Place::Here => self.claimed_from_us(mac, whose, now),
                Place::There => self.claimed_elsewhere(mac, whose, now),
                // Whoever takes it announces it, perhaps before we hear that it has taken it.
                Place::Nowhere => self.current = Some(mac),
            }
        }
    }

    /// Somebody who is none of us sends adverts for it.
    pub fn advertised(&mut self, who: Claimant, count: u64, place: Place, now: Boot) {
        self.conflict(who, count, now, place, now);
    }

    /// Who held the address, this node or another, holds it no longer; somebody else may.
    pub fn moved(&mut self, now: Boot) {
        let next = self.suspect.take().map(|suspect| suspect.mac);
        self.before = std::mem::replace(&mut self.current, next).or(self.before);
        self.moved = Some(now);
    }

    /// A node has taken the address, which nobody was known to hold.
    pub fn taken(&mut self, now: Boot) {
        self.moved = Some(now);
    }

    /// Time has passed.
    pub fn tick(&mut self, now: Boot) {
        if let Some(suspect) = self.suspect.take_if(|suspect| suspect.since + PATIENCE <= now) {
            self.conflict(Claimant::Station(suspect.mac), suspect.claims, suspect.since, Place::There, now);
        }
        if let Some((claims, lasted)) = self.episode.end(now) {
            self.effects.push_back(Effect::Over { claims, lasted });
        }
    }

    /// When [`Self::tick`] is due.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Boot> {
        let judged = self.suspect.map(|suspect| suspect.since + PATIENCE);
        judged.into_iter().chain(self.episode.ends()).min()
    }

    /// The next thing to be said or done.
    #[must_use]
    pub fn poll_effect(&mut self) -> Option<Effect> {
        self.effects.pop_front()
    }

    /// The conflict in hand, if there is one.
    #[must_use]
    pub fn standing(&self) -> Option<Standing<'_>> {
        let (began, seen, claims) = self.episode.figures()?;
        Some(Standing { began, seen, claims, by: self.episode.named() })
    }

    /// What was counted.
    #[must_use]
    pub const fn counts(&self) -> Counts {
        self.counts
    }

    /// Where the address was last seen while another node held it.
    #[must_use]
    pub const fn seen_at(&self) -> Option<Mac> {
        self.current
    }

    fn claimed_from_us(&mut self, mac: Mac, whose: Whose, now: Boot) {
        let since = self.moved.map(|moved| now.since(moved));
        let known = self.before == Some(mac) || whose != Whose::Unknown;
        if since.is_some_and(|since| since < LATE_ANYBODY || (known && since < LATE)) {
            self.counts.late += 1;
            self.effects.push_back(Effect::Answer);
            return;
        }
        self.conflict(Claimant::Station(mac), 1, now, Place::Here, now);
    }

    fn claimed_elsewhere(&mut self, mac: Mac, whose: Whose, now: Boot) {
        if whose == (Whose::Peer { holds: true }) || self.current.is_none() {
            self.current = Some(mac);
        }
        if self.current == Some(mac) {
            self.suspect.take_if(|suspect| suspect.mac == mac);
            return;
        }
        if self.before == Some(mac) && self.moved.is_some_and(|moved| now.since(moved) < LATE) {
            self.counts.late += 1;
            return;
        }
        // One at a time: what is a conflict without doubt names the others by their next frame.
        let suspect = self.suspect.get_or_insert(Suspect { mac, since: now, claims: 0 });
        suspect.claims += 1;
    }

    fn conflict(&mut self, who: Claimant, count: u64, since: Boot, place: Place, now: Boot) {
        self.counts.conflicts += count;
        match self.episode.claim(who, count, since, now) {
            Part::First => {
                self.counts.episodes += 1;
                self.effects.push_back(Effect::Began { who });
            }
            Part::Another => self.effects.push_back(Effect::Joined { who }),
            Part::More => {}
        }
        if place == Place::Here {
            self.effects.push_back(Effect::Answer);
        }
    }
}
