//! The machine: what becomes of dials and sessions goes in, dials come out.

use std::collections::VecDeque;
use std::net::SocketAddr;

use crate::time::Boot;
use crate::tunnel::hello::{Cause, Challenge};
use crate::tunnel::roam::hubs::{By, Came, Held, Hubs};
use crate::tunnel::roam::source::{Source, jitter};
use crate::tunnel::roam::{FULL_WAIT, MOST, REFUSED_WAIT, STEADY};

/// What happened. A session has the number of the dial that it came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// Time has passed.
    Tick,
    /// The name that a dial is for stands for these addresses, of which it takes one.
    Found(u64, Vec<SocketAddr>),
    /// A dial has come out nowhere: no address, no answer, no hub.
    Failed(u64),
    /// A dial was given up, because [`Roam::meets`] said that its place is known.
    Known(u64),
    /// A hub has sent a dial away.
    Refused(u64, Cause),
    /// A dial is a session now.
    Welcome {
        /// Which.
        dial: u64,
        /// The addresses of all hubs, as far as the hub tells.
        hubs: Vec<String>,
        /// Their names.
        names: Vec<String>,
    },
    /// The addresses that somebody else tells of: those that no longer are among them are forgotten.
    Told(Vec<String>),
    /// A session takes no new streams: its hub leaves.
    Leaving(u64),
    /// A session has ended.
    Lost(u64),
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// An address is to be dialled; each such dial ends with an input.
    Dial {
        /// Its number.
        dial: u64,
        /// The address.
        url: String,
        /// Counts the dials of this address: of several that a name stands for, take another each time.
        turn: u32,
    },
    /// A session is not needed: another has its place.
    Drain(u64),
}

/// An agent's policy.
#[derive(Clone, Debug)]
pub struct Roam {
    pub(super) sources: Vec<Source>,
    pub(super) hubs: Hubs,
    dials: u64,
    effects: VecDeque<Effect>,
    /// Chance that was given and not used yet.
    chance: u64,
}

impl Roam {
    /// A policy for these addresses, which are dialled with the first input.
    #[must_use]
    pub fn new<'a>(urls: impl IntoIterator<Item = &'a str>, now: Boot) -> Self {
        let mut sources: Vec<Source> = Vec::new();
        for url in urls {
            if sources.len() < MOST && !sources.iter().any(|source| source.url == url) {
                sources.push(Source::new(url, false, now));
            }
        }
        Self { sources, hubs: Hubs::default(), dials: 0, effects: VecDeque::new(), chance: 0 }
    }

    /// The same for who is content with one session at each hub, wherever in it.
    #[must_use]
    pub fn one_each<'a>(urls: impl IntoIterator<Item = &'a str>, now: Boot) -> Self {
        let mut roam = Self::new(urls, now);
        roam.hubs.one_each = true;
        roam
    }

    /// A dial has come out at this place: whether it is wanted. The place is kept for the dial until an input ends it.
    pub fn meets(&mut self, dial: u64, challenge: &Challenge, now: Boot) -> bool {
        let name = &challenge.hub;
        let flies = |source: &&mut Source| source.flying.iter().any(|(flying, _)| *flying == dial);
        let Some(source) = self.sources.iter_mut().find(flies) else { return false };
        if !source.leads.contains(name) && source.leads.len() < MOST {
            source.leads.push(name.clone());
        }
        let by = match (source.preferred, source.may_replace(now)) {
            (true, true) => By::Better,
            (true, false) => By::Equal,
            (false, _) => By::Lesser,
        };
        if by == By::Lesser && self.sources.iter().any(|other| other.leads_well(name, now)) {
            return false;
        }
        match self.hubs.meets(dial, (name, challenge.instance, challenge.place), by, now) {
            Came::Wanted => true,
            Came::Instead(old) => {
                self.effects.push_back(Effect::Drain(old));
                true
            }
            Came::Known => false,
        }
    }

    /// Takes what happened. `chance` is a random word: it spreads what would otherwise happen everywhere at once.
    pub fn handle(&mut self, input: Input, chance: u64, now: Boot) {
        self.chance = chance;
        match input {
            Input::Tick => {}
            Input::Found(dial, mut addrs) => {
                addrs.truncate(MOST);
                let flies = |source: &&mut Source| source.flying.iter().any(|(flying, _)| *flying == dial);
                if let Some(source) = self.sources.iter_mut().find(flies) {
                    source.found(addrs, now);
                }
            }
            Input::Failed(dial) => {
                self.free(dial);
                self.land(dial, now, Source::failed);
            }
            Input::Known(dial) => self.land(dial, now, Source::met),
            Input::Refused(dial, cause) => self.refused(dial, cause, now),
            Input::Welcome { dial, hubs, names } => self.welcome(dial, hubs, names, now),
            Input::Told(hubs) => self.told(&hubs, now),
            Input::Leaving(session) => self.ended(session, now, true),
            Input::Lost(session) => self.ended(session, now, false),
        }
        self.hubs.forget(now);
        self.dial(now);
    }

    /// When the next [`Input::Tick`] is due.
    #[must_use]
    pub fn poll_timeout(&self, now: Boot) -> Option<Boot> {
        let dials = self.sources.iter().map(|source| self.due(source, now));
        let refused = self.hubs.all.iter().map(|hub| hub.refused_until).filter(|until| *until > now);
        dials.chain(refused).min().filter(|at| *at < Boot::NEVER)
    }

    /// What is to be done next.
    pub fn poll_effect(&mut self) -> Option<Effect> {
        self.effects.pop_front()
    }

    /// A new word of chance, from the last.
    fn draw(&mut self) -> u64 {
        // SplitMix64: one word given spreads over all that one input causes.
        self.chance = self.chance.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = self.chance;
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        word ^ (word >> 31)
    }

    /// The place of a dial or a session becomes free.
    fn free(&mut self, id: u64) -> Option<(String, Held)> {
        let (hub, at) = self.hubs.of(id)?;
        let held = std::mem::replace(&mut hub.slots[at].held, Held::Free);
        Some((hub.name.clone(), held))
    }

    fn land(&mut self, dial: u64, now: Boot, then: impl FnOnce(&mut Source, u64, Boot)) {
        let chance = self.draw();
        if let Some(source) = self.sources.iter_mut().find_map(|source| source.land(dial).then_some(source)) {
            then(source, chance, now);
        }
    }

    fn refused(&mut self, dial: u64, cause: Cause, now: Boot) {
        let wait = match cause {
            Cause::Leaving => {
                self.free(dial);
                return self.land(dial, now, Source::failed);
            }
            Cause::Full => FULL_WAIT,
            Cause::Version | Cause::Key | Cause::Signature => REFUSED_WAIT,
            Cause::Forbidden | Cause::Garbled | Cause::Other(_) => REFUSED_WAIT,
        };
        let chance = self.draw();
        let Some((name, _)) = self.free(dial) else {
            // It did not even say who it is.
            return self.land(dial, now, |source, chance, now| source.hold_off(wait, chance, now));
        };
        if let Some(hub) = self.hubs.all.iter_mut().find(|hub| hub.name == name) {
            hub.refused_until = now + jitter(wait, chance);
        }
        self.land(dial, now, Source::met);
    }

    fn welcome(&mut self, dial: u64, hubs: Vec<String>, names: Vec<String>, now: Boot) {
        match self.hubs.of(dial) {
            Some((hub, at)) => {
                hub.slots[at].held = Held::Session(dial, now);
                hub.refused_until = Boot::ZERO;
            }
            // A dial that never asked whether it is wanted.
            None => self.effects.push_back(Effect::Drain(dial)),
        }
        self.land(dial, now, |source, _, now| source.bore_fruit(now));
        if !names.is_empty() {
            self.hubs.named = names;
            self.hubs.named.truncate(MOST);
        }
        if !hubs.is_empty() {
            self.told(&hubs, now);
        }
    }

    /// The list of addresses that hubs tell of is this one.
    fn told(&mut self, hubs: &[String], now: Boot) {
        self.sources.retain(|source| !source.told || hubs.contains(&source.url) || !source.flying.is_empty());
        for url in hubs {
            if self.sources.len() < MOST && !self.sources.iter().any(|source| source.url == *url) {
                self.sources.push(Source::new(url, true, now));
            }
        }
    }

    fn ended(&mut self, session: u64, now: Boot, leaving: bool) {
        // Its place may have gone to another already, or it was told to be leaving.
        let Some((name, held)) = self.free(session) else { return };
        let Held::Session(_, since) = held else { return };
        let steady = leaving || now.since(since) >= STEADY;
        for at in 0..self.sources.len() {
            let chance = self.draw();
            let source = &mut self.sources[at];
            if !source.leads.contains(&name) {
                continue;
            }
            if steady {
                source.hurry(chance, now);
            } else {
                source.dropped(since, chance, now);
            }
        }
    }

    /// Places that can be found through an address.
    fn lacking(&self, source: &Source, now: Boot) -> usize {
        if source.leads.is_empty() {
            return 1;
        }
        let well = |name: &String| self.sources.iter().any(|other| other.leads_well(name, now));
        let led = source.leads.iter().filter(|name| source.preferred || !well(name));
        let led = led.filter_map(|name| self.hubs.get(name));
        let better = source.may_replace(now);
        led.map(|hub| self.hubs.lacks(hub, better, now)).sum::<usize>() + self.hubs.unmet()
    }

    fn due(&self, source: &Source, now: Boot) -> Boot {
        let due = source.due(self.lacking(source, now), !self.hubs.named.is_empty(), now);
        // One that is better may be about to answer.
        let hope = self.sources.iter().filter_map(|other| other.hope(now)).max();
        match hope {
            Some(until) if !source.preferred => due.max(until),
            Some(_) | None => due,
        }
    }

    fn dial(&mut self, now: Boot) {
        for at in 0..self.sources.len() {
            while self.due(&self.sources[at], now) <= now {
                self.dials += 1;
                let source = &mut self.sources[at];
                let turn = source.fly(self.dials, now);
                let (dial, url) = (self.dials, source.url.clone());
                self.effects.push_back(Effect::Dial { dial, url, turn });
            }
        }
    }
}
