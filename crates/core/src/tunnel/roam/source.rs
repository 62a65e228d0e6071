//! One address that is dialled, and how patient we are with it.

use std::net::SocketAddr;
use std::time::Duration;

use crate::time::Boot;
use crate::tunnel::roam::{
    AT_ONCE, AT_ONCE_SLOW, DROPS, FIRST_WAIT, MET_WAIT, OLD_WAIT, PREFERRED, SCOUT, SLOW, STEADY, YOUNG,
    YOUNG_WAIT,
};

#[derive(Clone, Debug)]
pub(super) struct Source {
    pub(super) url: String,
    /// A hub told of it: it goes when no hub does any more.
    pub(super) told: bool,
    /// It is taken rather than others that lead to the same hub.
    pub(super) preferred: bool,
    /// Its last dial has led to a hub, and what came of that lasts.
    good: bool,
    /// Names of hubs that it has led to.
    pub(super) leads: Vec<String>,
    /// Dials under way, and when each began.
    pub(super) flying: Vec<(u64, Boot)>,
    /// Counts its dials: whoever resolves the name takes another address each time.
    pub(super) turn: u32,
    /// What its name stands for; empty when nobody looked it up here.
    addrs: Vec<SocketAddr>,
    /// Dials that are due until each of those had its turn, since there was a new one among them.
    owed: usize,
    /// Times in a row that sessions were lost before they had lasted, and the last of them.
    drops: u32,
    dropped: Boot,
    /// Dials in a row that came to nothing.
    streak: u32,
    /// Since when.
    since: Option<Boot>,
    /// Dials in a row that led to what we have.
    pub(super) barren: usize,
    /// Not before then.
    next: Boot,
    /// When nothing is missing, not before then.
    scout: Boot,
}

impl Source {
    pub(super) fn new(url: &str, told: bool, now: Boot) -> Self {
        Self {
            url: url.to_owned(),
            told,
            preferred: url.starts_with(PREFERRED),
            good: false,
            leads: Vec::new(),
            flying: Vec::new(),
            turn: 0,
            addrs: Vec::new(),
            owed: 0,
            drops: 0,
            dropped: Boot::ZERO,
            streak: 0,
            since: None,
            barren: 0,
            next: now,
            scout: now,
        }
    }

    /// When it may be dialled again; `lacking` places can be found through it, `all` says that nobody else can be there.
    pub(super) fn due(&self, lacking: usize, all: bool, now: Boot) -> Boot {
        let explores = self.owed > 0 || !all && self.barren < 3 * self.leads.len().max(1);
        let room = lacking.clamp(1, AT_ONCE);
        let quick = self.flying.iter().filter(|(_, begun)| now.since(*begun) < SLOW).count();
        if self.flying.len() >= AT_ONCE_SLOW {
            return Boot::NEVER;
        }
        let slow = self.flying.iter().map(|(_, begun)| *begun + SLOW).filter(|slow| *slow > now).min();
        let free = if quick < room { Boot::ZERO } else { slow.unwrap_or(Boot::NEVER) };
        let due = if lacking > 0 || explores { self.next } else { self.scout };
        due.max(free)
    }

    /// Others that may lead to the same hubs are not needed.
    pub(super) fn leads_well(&self, hub: &str, now: Boot) -> bool {
        let slow = self.flying.iter().any(|(_, begun)| now.since(*begun) >= SLOW);
        self.preferred && self.good && !slow && self.leads.iter().any(|name| name == hub)
    }

    /// Until when others wait for what comes of it: it has not been tried yet, or is just being.
    pub(super) fn hope(&self, now: Boot) -> Option<Boot> {
        if !self.preferred || self.streak > 0 || !self.leads.is_empty() {
            return None;
        }
        let begun = self.flying.iter().map(|(_, begun)| *begun).min().unwrap_or(now);
        Some(begun + SLOW).filter(|until| *until > now)
    }

    /// Whether it may take the place of a session that came otherwise: not when its own were lost of late.
    pub(super) fn may_replace(&self, now: Boot) -> bool {
        self.preferred && (self.drops == 0 || now.since(self.dropped) > YOUNG)
    }

    /// A dial begins.
    pub(super) fn fly(&mut self, dial: u64, now: Boot) -> u32 {
        self.flying.push((dial, now));
        self.turn = self.turn.wrapping_add(1);
        self.owed = self.owed.saturating_sub(1);
        self.turn
    }

    /// The name stands for these: each has its turn when one of them is new.
    pub(super) fn found(&mut self, addrs: Vec<SocketAddr>, now: Boot) {
        if addrs.len() > 1 && addrs.iter().any(|addr| !self.addrs.contains(addr)) {
            self.owed = addrs.len();
            self.next = self.next.min(now + FIRST_WAIT);
        }
        self.addrs = addrs;
    }

    /// Whether that dial is of this address; it is over.
    pub(super) fn land(&mut self, dial: u64) -> bool {
        let before = self.flying.len();
        self.flying.retain(|(flying, _)| *flying != dial);
        self.flying.len() < before
    }

    /// A dial has given us a session: the next may follow at once, unless such sessions do not last.
    pub(super) fn bore_fruit(&mut self, now: Boot) {
        if self.drops >= DROPS && now.since(self.dropped) < STEADY {
            return;
        }
        self.good = true;
        self.streak = self.streak.min(2);
        self.since = None;
        self.barren = 0;
        self.next = now;
        self.scout = now;
    }

    /// A dial has failed.
    pub(super) fn failed(&mut self, chance: u64, now: Boot) {
        self.good = false;
        let young = now.since(*self.since.get_or_insert(now)) < YOUNG;
        let longest = if young { YOUNG_WAIT } else { OLD_WAIT };
        // Each of its addresses is dialled as often as if it were the only one.
        let turns = u32::try_from(self.addrs.len()).unwrap_or(u32::MAX).max(1);
        self.wait(longest / turns, chance, now);
    }

    /// A session that began then is lost before it has lasted.
    pub(super) fn dropped(&mut self, since: Boot, chance: u64, now: Boot) {
        // Those that are lost together count once.
        if since >= self.dropped {
            self.drops = if now.since(self.dropped) < 2 * STEADY { self.drops + 1 } else { 1 };
            self.dropped = now;
        }
        self.failed(chance, now);
    }

    /// A dial has led to a place that we have.
    pub(super) fn met(&mut self, chance: u64, now: Boot) {
        self.barren += 1;
        let young = now.since(*self.since.get_or_insert(now)) < YOUNG;
        self.wait(if young { MET_WAIT } else { OLD_WAIT }, chance, now);
    }

    fn wait(&mut self, longest: Duration, chance: u64, now: Boot) {
        let wait = FIRST_WAIT.saturating_mul(1 << self.streak.min(16)).min(longest);
        self.streak += 1;
        self.next = now + jitter(wait, chance);
        self.scout = now + jitter(SCOUT, chance);
    }

    /// A place that it leads to has become free: it is dialled at once, but not by all agents at the same moment.
    pub(super) fn hurry(&mut self, chance: u64, now: Boot) {
        if self.since.is_none() {
            self.streak = 0;
        }
        self.barren = 0;
        self.next = self.next.min(now + jitter(FIRST_WAIT, chance) - FIRST_WAIT / 2);
    }

    /// Nobody behind it wants us: not before then.
    pub(super) fn hold_off(&mut self, wait: Duration, chance: u64, now: Boot) {
        self.next = now + jitter(wait, chance);
        self.scout = self.next;
    }
}

/// Between half of a wait and all of it.
pub(super) fn jitter(wait: Duration, chance: u64) -> Duration {
    let nanos = u64::try_from(wait.as_nanos()).unwrap_or(u64::MAX) / 2;
    Duration::from_nanos(nanos + chance % (nanos + 1))
}
