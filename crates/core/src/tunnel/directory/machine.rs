//! The machine: sessions and what comes over them go in, tunnels whose offers have changed come out.

use std::collections::{BTreeMap, BTreeSet};

use super::{About, Agent, Gost, Message, Offers, SESSIONS_MAX, TOLD_MAX};
use crate::tunnel::hello::NAME_MAX;
use crate::tunnel::record::TUNNELS_MAX;

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// There is a session with a hub, by which it tells what it has.
    Began {
        /// The session's number, never used before.
        session: u64,
        /// The hub's name.
        hub: String,
        /// Its run: a later one has a higher number.
        epoch: u64,
    },
    /// The hub said something.
    Said(u64, Message),
    /// The session is over.
    Ended(u64),
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Other hubs offer this tunnel otherwise than before.
    Tunnel(String),
    /// Hubs that are known, or where agents reach them, are others than before.
    Hubs,
}

/// An agent of a tunnel at another hub.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Line<'a> {
    /// The hub.
    pub hub: &'a str,
    /// The session that leads there.
    pub session: u64,
    /// Who.
    pub agent: &'a Agent,
}

/// What one session has told.
#[derive(Clone, Debug)]
struct Told {
    hub: String,
    epoch: u64,
    /// A later run of the hub has shown itself: nothing of this one counts, whatever it says.
    outdated: bool,
    about: About,
    tunnels: BTreeMap<String, Offered>,
    agents: usize,
}

/// What one session has told of one tunnel.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Offered {
    agents: Vec<Agent>,
    gost: Option<Gost>,
}

/// What is known of other hubs.
#[derive(Clone, Debug, Default)]
pub struct Directory {
    sessions: BTreeMap<u64, Told>,
    changed: BTreeSet<String>,
    hubs_changed: bool,
    ignored: u64,
}

impl Directory {
    /// Takes what happened.
    pub fn handle(&mut self, input: Input) {
        match input {
            Input::Began { session, hub, epoch } => self.began(session, hub, epoch),
            Input::Said(session, Message::Hub(about)) => self.said_of_itself(session, about),
            Input::Said(session, Message::Tunnel(offers)) => self.said_of_tunnel(session, offers),
            Input::Ended(session) => {
                if let Some(told) = self.sessions.remove(&session) {
                    self.changes(&told);
                }
            }
        }
    }

    /// What is to be done next.
    pub fn poll_effect(&mut self) -> Option<Effect> {
        if std::mem::take(&mut self.hubs_changed) {
            return Some(Effect::Hubs);
        }
        self.changed.pop_first().map(Effect::Tunnel)
    }

    /// Who offers a tunnel elsewhere. Of several sessions with one hub the first speaks for it.
    pub fn offers<'a>(&'a self, tunnel: &'a str) -> impl Iterator<Item = Line<'a>> {
        self.in_force().flat_map(move |(session, told)| {
            let agents = told.tunnels.get(tunnel).filter(|_| !told.about.leaving);
            let agents = agents.into_iter().flat_map(|offered| &offered.agents);
            agents.map(move |agent| Line { hub: &told.hub, session, agent })
        })
    }

    /// What gost's clients at other hubs want of a tunnel, in the order in which those came.
    pub fn gost<'a>(&'a self, tunnel: &'a str) -> impl Iterator<Item = &'a Gost> {
        self.in_force().filter_map(move |(_, told)| {
            let offered = told.tunnels.get(tunnel).filter(|_| !told.about.leaving)?;
            offered.gost.as_ref()
        })
    }

    /// The hubs that there are sessions with, by name, and what they say of themselves.
    pub fn hubs(&self) -> impl Iterator<Item = (&str, &About)> {
        self.in_force().map(|(_, told)| (told.hub.as_str(), &told.about))
    }

    /// The tunnels that are told of, by one hub after the other.
    pub fn tunnels(&self) -> impl Iterator<Item = &str> {
        self.in_force().flat_map(|(_, told)| told.tunnels.keys().map(String::as_str))
    }

    /// How many tunnels a session has told of.
    #[must_use]
    pub fn tunnels_of(&self, session: u64) -> usize {
        self.sessions.get(&session).map_or(0, |told| told.tunnels.len())
    }

    /// Whether a later run of the hub has shown itself.
    #[must_use]
    pub fn is_outdated(&self, session: u64) -> bool {
        self.sessions.get(&session).is_some_and(|told| told.outdated)
    }

    /// What was said beyond the bounds and is not known.
    #[must_use]
    pub const fn ignored(&self) -> u64 {
        self.ignored
    }

    /// The sessions that count: of each hub the first of its latest run.
    fn in_force(&self) -> impl Iterator<Item = (u64, &Told)> {
        let first = |session: u64, told: &Told| {
            let earlier = self.sessions.range(..session);
            !earlier.into_iter().any(|(_, other)| !other.outdated && other.hub == told.hub)
        };
        let current = self.sessions.iter().filter(|(_, told)| !told.outdated);
        current.filter(move |(session, told)| first(**session, told)).map(|(session, told)| (*session, told))
    }

    fn began(&mut self, session: u64, hub: String, epoch: u64) {
        let sound = (1..=NAME_MAX).contains(&hub.len());
        if !sound || self.sessions.len() >= SESSIONS_MAX || self.sessions.contains_key(&session) {
            self.ignored += 1;
            return;
        }
        let same = |told: &&mut Told| told.hub == hub;
        let mut outdated = false;
        let mut lost = Vec::new();
        for told in self.sessions.values_mut().filter(same) {
            outdated |= told.epoch > epoch;
            if told.epoch < epoch && !told.outdated {
                told.outdated = true;
                lost.push(std::mem::take(&mut told.tunnels));
                told.agents = 0;
            }
        }
        for tunnels in lost {
            self.changed.extend(tunnels.into_keys());
        }
        let about = About::default();
        let told = Told { hub, epoch, outdated, about, tunnels: BTreeMap::new(), agents: 0 };
        self.sessions.insert(session, told);
        self.hubs_changed = true;
    }

    fn said_of_itself(&mut self, session: u64, about: About) {
        let Some(told) = self.sessions.get_mut(&session).filter(|told| !told.outdated) else { return };
        if told.about.leaving != about.leaving {
            self.changed.extend(told.tunnels.keys().cloned());
        }
        self.hubs_changed |= told.about != about;
        told.about = about;
    }

    fn said_of_tunnel(&mut self, session: u64, offers: Offers) {
        let Some(told) = self.sessions.get_mut(&session).filter(|told| !told.outdated) else { return };
        let Offers { tunnel, mut agents, gost } = offers;
        let mut names = BTreeSet::new();
        agents.retain(|agent| names.insert(agent.name.clone()));
        let before = told.tunnels.get(&tunnel).map_or(0, |known| known.agents.len());
        let fits = told.agents - before + agents.len() <= TOLD_MAX
            && (told.tunnels.contains_key(&tunnel) || told.tunnels.len() < TUNNELS_MAX);
        if !fits {
            self.ignored += 1;
            // What it said before holds no longer either.
            agents.clear();
        }
        told.agents = told.agents - before + agents.len();
        let now = Offered { gost: gost.filter(|_| !agents.is_empty()), agents };
        let known = if now.agents.is_empty() {
            told.tunnels.remove(&tunnel).unwrap_or_default()
        } else {
            told.tunnels.insert(tunnel.clone(), now.clone()).unwrap_or_default()
        };
        if known != now {
            self.changed.insert(tunnel);
        }
    }

    /// Everything that a session told is to be looked at again, and what its place lets another say.
    fn changes(&mut self, gone: &Told) {
        self.hubs_changed = true;
        let heirs = self.sessions.values().filter(|told| told.hub == gone.hub);
        let all: BTreeSet<String> =
            heirs.chain([gone]).flat_map(|told| told.tunnels.keys().cloned()).collect();
        self.changed.extend(all);
    }
}
