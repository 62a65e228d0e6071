//! What all vips of a node share: the moment, the links, the probes, and the effects that wait to be carried out.

use std::collections::{BTreeMap, VecDeque};
use std::net::IpAddr;
use std::time::Duration;

use crate::election::stranger::Strangers;
use crate::election::{Effect, Verdict};
use crate::name::{LinkId, ProbeId};
use crate::time::Boot;

/// The node around its vips.
#[derive(Clone, Debug, Default)]
pub(super) struct World {
    /// The moment of the input in hand.
    pub(super) now: Boot,
    /// How late the tick in hand is.
    pub(super) lateness: Duration,
    /// What has been asked for and not yet fetched.
    pub(super) effects: VecDeque<Effect>,
    pub(super) links: Vec<Link>,
    /// The last verdict that said up or down, none while pending, of each probe that a vip names.
    pub(super) probes: BTreeMap<ProbeId, Option<bool>>,
    /// The daemon stops: nothing is taken any more.
    pub(super) stopping: bool,
    /// No gate can be armed.
    pub(super) gateless: bool,
    /// Three late ticks running: by how much the last one was late, while it is a fault.
    pub(super) tardy: Option<Duration>,
    /// Whose adverts are none of ours.
    pub(super) strangers: Strangers,
}

/// What is known of a link.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Link {
    /// Whether anything has been said of it yet.
    pub(super) known: bool,
    pub(super) up: bool,
    pub(super) v4: Option<IpAddr>,
    pub(super) v6: Option<IpAddr>,
}

impl World {
    pub(super) fn emit(&mut self, effect: Effect) {
        self.effects.push_back(effect);
    }

    pub(super) fn link(&self, link: LinkId) -> Link {
        self.links.get(link.index()).copied().unwrap_or_default()
    }

    pub(super) fn probe(&self, probe: ProbeId) -> Option<bool> {
        self.probes.get(&probe).copied().flatten()
    }

    /// Notes a verdict; says whether anything changed.
    pub(super) fn note_probe(&mut self, probe: ProbeId, verdict: Verdict) -> bool {
        let Some(known) = self.probes.get_mut(&probe) else { return false };
        let said = match verdict {
            Verdict::Pending => None,
            Verdict::Up => Some(true),
            Verdict::Down => Some(false),
            Verdict::Unknown => return false,
        };
        std::mem::replace(known, said) != said
    }
}
