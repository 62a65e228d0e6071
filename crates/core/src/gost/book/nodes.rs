//! What sd has told of where tunnels have clients.

use std::collections::{BTreeMap, BTreeSet};

use super::line::Line;
use super::{
    FRESH, IDLE, Job, KNOWN_MAX, Look, NEGATIVE, NODES_MAX, Node, PATIENCE, RETRY, Settings, TEXT_MAX,
};
use crate::time::Boot;

/// Tunnels, and the nodes that have clients of them.
#[derive(Clone, Debug, Default)]
pub(super) struct Nodes {
    known: BTreeMap<String, Known>,
    /// Tunnels that are asked for whether anybody needs them or not.
    wanted: BTreeSet<String>,
}

#[derive(Clone, Debug)]
struct Known {
    /// In sd's order, then those that it leaves out.
    nodes: Vec<(Node, Option<Boot>)>,
    fresh: Boot,
    asked: Boot,
    /// When it was last answered.
    told: Boot,
    used: Boot,
}

impl Nodes {
    /// Where a tunnel's clients are, not counting this node; asks when that is not known.
    pub(super) fn look(&mut self, tunnel: &str, line: &mut Line, now: Boot) -> Look<Vec<Node>> {
        if tunnel.is_empty() || tunnel.len() > TEXT_MAX || !line.there {
            return Look::Nobody;
        }
        let job = Job::Nodes(tunnel.to_owned());
        if let Some(known) = self.known.get_mut(tunnel) {
            known.used = now;
            let stale = now >= known.fresh;
            if !known.nodes.is_empty() {
                if stale {
                    line.schedule(job, now);
                }
                return Look::Known(known.list());
            }
            if !stale {
                return Look::Nobody;
            }
        }
        if line.ask(&job, now) { Look::Asked } else { Look::Nobody }
    }

    /// The same without asking.
    pub(super) fn peek(&self, tunnel: &str) -> Vec<Node> {
        self.known.get(tunnel).map(Known::list).unwrap_or_default()
    }

    pub(super) fn has(&self, tunnel: &str) -> bool {
        self.known.get(tunnel).is_some_and(|known| !known.nodes.is_empty())
    }

    /// What is known has failed somebody: it is asked for again, not more often than every [`RETRY`].
    pub(super) fn doubt(&mut self, tunnel: &str, line: &mut Line, now: Boot) {
        if let Some(known) = self.known.get(tunnel) {
            line.schedule(Job::Nodes(tunnel.to_owned()), now.max(known.asked + RETRY));
        }
    }

    /// Exactly these tunnels are asked for in any case.
    pub(super) fn want(&mut self, wanted: BTreeSet<String>, line: &mut Line, now: Boot) {
        for tunnel in wanted.difference(&self.wanted) {
            line.schedule(Job::Nodes(tunnel.clone()), now);
        }
        self.wanted = wanted;
    }

    pub(super) fn want_again(&self, line: &mut Line, now: Boot) {
        for tunnel in &self.wanted {
            line.schedule(Job::Nodes(tunnel.clone()), now);
        }
    }

    /// Takes in what sd says; whether other nodes are known than before.
    pub(super) fn answered(&mut self, tunnel: &str, told: Vec<Node>, settings: &Settings, now: Boot) -> bool {
        let patience = settings.renew.saturating_mul(PATIENCE);
        let known = self.entry(tunnel, now);
        let before = known.list();
        // Who is missing was seen to be missing again and again: sd may have been away in between, and nobody could tell it anything.
        if now.since(known.told) > settings.renew {
            known.forgive(now);
        }
        known.told = now;
        let mut nodes: Vec<(Node, Option<Boot>)> = Vec::new();
        for node in told.into_iter().filter(|node| is_sound(node) && !is_ours(node, settings)) {
            let twice = nodes.iter().any(|(one, _)| is_same(one, &node));
            if nodes.len() < NODES_MAX && !twice {
                nodes.push((node, None));
            }
        }
        for (node, missed) in known.nodes.drain(..) {
            let since = missed.unwrap_or(now);
            let told = nodes.iter().any(|(one, _)| is_same(one, &node));
            if !told && now.since(since) < patience && nodes.len() < NODES_MAX {
                nodes.push((node, Some(since)));
            }
        }
        known.nodes = nodes;
        let left_out = known.nodes.is_empty();
        known.fresh = now + if left_out { NEGATIVE } else { FRESH };
        known.list() != before
    }

    /// It could not be asked: what was known stands.
    pub(super) fn failed(&mut self, tunnel: &str, now: Boot) {
        self.entry(tunnel, now).fresh = now + NEGATIVE;
    }

    /// sd was silent: who is missing could not say that it is there.
    pub(super) fn forgive(&mut self, now: Boot) {
        self.known.values_mut().for_each(|known| known.forgive(now));
    }

    /// After a call, however it ended: those that are wanted are asked for again, a moment later than they are stale.
    pub(super) fn again(&self, tunnel: &str, line: &mut Line, now: Boot) {
        if self.wanted.contains(tunnel) {
            line.schedule(Job::Nodes(tunnel.to_owned()), now + FRESH);
        }
    }

    pub(super) fn asks(&mut self, tunnel: &str, now: Boot) {
        if let Some(known) = self.known.get_mut(tunnel) {
            known.asked = now;
        }
    }

    /// Forgets what nobody asks for; the tunnels of which nodes were known.
    pub(super) fn sweep(&mut self, now: Boot) -> Vec<String> {
        let mut gone = Vec::new();
        let wanted = &self.wanted;
        self.known.retain(|tunnel, known| {
            let stays = wanted.contains(tunnel)
                || now.since(known.used) < if known.nodes.is_empty() { FRESH } else { IDLE };
            if !stays && !known.nodes.is_empty() {
                gone.push(tunnel.clone());
            }
            stays
        });
        gone
    }

    /// Forgets everything; the tunnels of which nodes were known.
    pub(super) fn clear(&mut self) -> Vec<String> {
        let known = std::mem::take(&mut self.known);
        known.into_iter().filter(|(_, known)| !known.nodes.is_empty()).map(|(tunnel, _)| tunnel).collect()
    }

    /// Every address that is known, of any tunnel.
    pub(super) fn addresses(&self) -> impl Iterator<Item = &str> {
        self.known.values().flat_map(|known| known.nodes.iter().map(|(node, _)| node.address.as_str()))
    }

    pub(super) fn tunnels(&self) -> Vec<String> {
        let known = self.known.iter().filter(|(_, known)| !known.nodes.is_empty());
        known.map(|(tunnel, _)| tunnel.clone()).collect()
    }

    pub(super) fn len(&self) -> usize {
        self.known.values().filter(|known| !known.nodes.is_empty()).count()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.known.is_empty()
    }

    fn entry(&mut self, tunnel: &str, now: Boot) -> &mut Known {
        if self.known.len() >= KNOWN_MAX && !self.known.contains_key(tunnel) {
            let oldest = self.known.iter().min_by_key(|(_, known)| (!known.nodes.is_empty(), known.used));
            let oldest = oldest.map(|(tunnel, _)| tunnel.clone());
            oldest.and_then(|tunnel| self.known.remove(&tunnel));
        }
        let fresh = || Known { nodes: Vec::new(), fresh: now, asked: now, told: now, used: now };
        self.known.entry(tunnel.to_owned()).or_insert_with(fresh)
    }
}

impl Known {
    fn forgive(&mut self, now: Boot) {
        self.nodes.iter_mut().for_each(|(_, missed)| *missed = missed.map(|_| now));
    }

    fn list(&self) -> Vec<Node> {
        self.nodes.iter().map(|(node, _)| node.clone()).collect()
    }
}

/// Many clients of one node are one place to go to.
fn is_same(one: &Node, other: &Node) -> bool {
    one.address == other.address && one.datagrams == other.datagrams
}

/// Whether it can be dialled: a host and a port.
fn is_sound(node: &Node) -> bool {
    let Some((host, port)) = node.address.rsplit_once(':') else { return false };
    let plain = node.address.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'/' && byte != b'@');
    let unspecified = matches!(host, "0.0.0.0" | "[::]");
    !host.is_empty()
        && !unspecified
        && plain
        && node.address.len() <= TEXT_MAX
        && node.node.len() <= TEXT_MAX
        && port.parse::<u16>().is_ok_and(|port| port > 0)
}

/// Entries of ours, of this run or an earlier one.
fn is_ours(node: &Node, settings: &Settings) -> bool {
    node.node == settings.node || node.address == settings.address
}
