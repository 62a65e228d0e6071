//! Who belongs and who votes. The file names the nodes that may belong, with their addresses and keys; the list in force,
//! which lies in the state directory, says who votes. Each has its own numbers: sessions have the file's, leases the list's.

use std::time::Duration;

use mainstay_config::plan::cluster::Cluster;
use mainstay_core::lease::{self, Letter, Message, Notice, VoterList};
use mainstay_core::name::{NodeId, RightId};
use mainstay_core::time::Boot;

use super::Node;
use super::quorum::Quorum;
use crate::ipc::Identity;
use crate::status::{ClusterStatus, Event, LeaseStatus, WireStatus};

/// A list that could not be written is written again after so long.
const AGAIN: Duration = Duration::from_secs(1);

/// Messages to one peer that wait for the disk; older ones are dropped, as a wire might.
const WAITING: usize = 64;

/// Whether the list in force lies on disk: before it does nothing is promised or held under it, so that a node that
/// loses its power comes back with the list that others have counted it by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kept {
    /// It is the file's, and nobody else is known to count by it.
    Loose,
    /// The supervisor has been asked to write it.
    Asked(Boot),
    /// It is there.
    Done,
}

impl Kept {
    /// When it is to be asked for again.
    pub(super) fn again(self) -> Boot {
        match self {
            Self::Asked(at) => at + AGAIN,
            Self::Loose | Self::Done => Boot::NEVER,
        }
    }
}

/// The list to begin with, and this node in it: the one that was in force last, else the file's.
pub(super) fn in_force(cluster: &Cluster, identity: &Identity) -> (VoterList, NodeId, Kept) {
    let own = cluster.list.name(cluster.me);
    if let Some(list) = identity.list.as_ref().filter(|list| list.flaw().is_none()) {
        if let Some(me) = list.find(own) {
            return (list.clone(), me, Kept::Done);
        }
        tracing::warn!(
            "the voter list in the state directory (epoch {}) does not name this node, {own}: it begins as a new one",
            list.epoch
        );
    }
    (cluster.list.clone(), cluster.me, Kept::Loose)
}

impl Quorum {
    /// A peer of the file in the list in force.
    fn in_list(&self, peer: NodeId) -> Option<NodeId> {
        self.leases.list().find(self.cluster.list.name(peer))
    }

    /// A member of the list in force in the file.
    fn in_file(&self, member: NodeId) -> Option<NodeId> {
        let id = &self.leases.list().members.get(member.index())?.id;
        self.cluster.list.find(id)
    }

    /// What a peer of the file says; nothing is heard of one that is not in the list.
    pub(super) fn hear(&mut self, from: NodeId, letter: &Letter, now: Boot) {
        let sights = letter.messages.iter().filter_map(|message| match message {
            Message::Sights(sights) => Some((from, sights.clone())),
            Message::Beat(_)
            | Message::Request(_)
            | Message::Reply(_)
            | Message::Free(_)
            | Message::List(_) => None,
        });
        self.sights.extend(sights);
        let Some(from) = self.in_list(from) else { return };
        if self.kept == Kept::Loose && letter.mark == self.leases.mark() {
            // Due at once: from here on this node's promises count for somebody.
            self.kept = Kept::Asked(now - AGAIN);
        }
        self.leases.handle(lease::Input::Heard { from, letter }, now);
    }

    /// Keeps what is to be said to a member; one that the file does not name has no address.
    pub(super) fn say(&mut self, to: NodeId, message: Message) {
        if let Some(to) = self.in_file(to)
            && !self.is_wasted(to, &message)
        {
            self.letters.entry(to).or_default().push(message);
        }
    }

    /// Hands what is to be said to the sessions, unless the list waits for the disk.
    pub(super) fn seal(&mut self, now: Boot) {
        if matches!(self.kept, Kept::Asked(_)) {
            for waiting in self.letters.values_mut() {
                waiting.drain(..waiting.len().saturating_sub(WAITING));
            }
            return;
        }
        for (to, messages) in std::mem::take(&mut self.letters) {
            if self.is_outside(to) {
                self.post(&messages);
                continue;
            }
            let letter = self.leases.letter(messages);
            self.sessions.send(to, &letter, now);
        }
    }

    /// Another list is in force.
    pub(super) fn adopted(&mut self, list: &VoterList, now: Boot) -> Event {
        self.letters.clear();
        self.kept = Kept::Asked(now);
        let own = self.cluster.list.name(self.cluster.me);
        let voters: Vec<&str> = list.voters().map(|node| list.name(node)).collect();
        let message = format!("the voter list has epoch {}: {} vote", list.epoch, voters.join(", "));
        crate::events::event(own, "cluster", &self.cluster.name, message)
    }

    /// The list, when it is time to ask for it to be written once more.
    pub(super) fn unkept(&mut self, now: Boot) -> Option<VoterList> {
        let due = self.kept.again() <= now;
        due.then(|| {
            self.kept = Kept::Asked(now);
            self.leases.list().clone()
        })
    }

    /// The names of the vips and groups that another node holds, as far as is known here.
    pub(super) fn held_by(&self, member: NodeId, now: Boot) -> Vec<String> {
        let rights = (0..self.vips).filter_map(|at| u32::try_from(at).ok()).map(RightId);
        let of = rights.filter(|right| self.leases.other_holder(*right) == Some(member));
        of.filter_map(|right| self.leases.view(right, now)).map(|view| view.name).collect()
    }
}

impl Node {
    /// The list of this epoch lies on disk: what has waited is said.
    pub(super) fn list_kept(&mut self, epoch: u32) {
        let Some(quorum) = &mut self.quorum else { return };
        if quorum.leases.list().epoch == epoch {
            quorum.kept = Kept::Done;
        }
        self.drain();
    }
}

impl Quorum {
    /// The cluster as it is seen from here.
    pub(super) fn status(&self, now: Boot) -> ClusterStatus {
        let mut status = ClusterStatus::of(&self.cluster, self.leases.list(), &self.leases.voters(now), now);
        status.unkept = matches!(self.kept, Kept::Asked(_));
        for peer in self.sessions.view(now).peers {
            let Some(node) = status.nodes.iter_mut().find(|node| node.id == peer.id) else { continue };
            node.session_s = peer.session.map(|session| session.age.as_secs_f64());
            let wires = peer.wires.iter().map(|wire| WireStatus {
                addr: wire.addr,
                lost: wire.lost,
                heard_ms_ago: wire.heard.map(|heard| u64::try_from(heard.as_millis()).unwrap_or(u64::MAX)),
                rtt_ms: wire.rtt.map(|rtt| rtt.as_secs_f64() * 1000.0),
                datagrams: wire.datagrams,
                bytes: wire.bytes,
                duplicates: wire.duplicates,
            });
            node.wires = wires.collect();
            node.refusal = self.refusals.get(&node.id).cloned();
        }
        self.outside_status(&mut status, now);
        status
    }

    /// The story of a right.
    pub(super) fn lease_status(&self, right: RightId, now: Boot) -> Option<LeaseStatus> {
        let view = self.leases.view(right, now)?;
        Some(LeaseStatus::of(&view, self.leases.list(), self.cluster.terms.hold(), now))
    }

    /// Which other node holds a right.
    pub(super) fn holder_name(&self, right: RightId) -> Option<String> {
        let node = self.leases.other_holder(right)?;
        Some(self.leases.list().name(node).to_owned())
    }

    /// Who follows when a right is given up, in words.
    pub(super) fn next_name(&self, right: RightId, now: Boot) -> String {
        let next = self.leases.view(right, now).and_then(|view| view.next);
        next.map_or_else(
            || "nobody who is heard could hold it".into(),
            |node| self.leases.list().name(node).to_owned(),
        )
    }
}

/// A notice as a sentence, and whom it is about; none for what only debugging needs. `counts`: votes decide about something.
pub(super) fn sentence(
    notice: &Notice,
    list: &VoterList,
    cluster: &Cluster,
    counts: bool,
) -> Option<(String, String)> {
    let name = |node: &NodeId| list.name(*node).to_owned();
    let own = || cluster.name.clone();
    Some(match notice {
        Notice::Reachable(node) => (name(node), format!("{} is heard", name(node))),
        Notice::Silent(node) => (name(node), format!("{} is not heard any more", name(node))),
        Notice::Restarted(node) => (name(node), format!("{} has started again", name(node))),
        Notice::Mismatch { node, mark } => (
            name(node),
            format!(
                "{} has another voter list or longest term, or guard strict on one side alone ({mark}): neither counts the other's votes",
                name(node)
            ),
        ),
        Notice::Mute(_) | Notice::Quorum | Notice::NoQuorum if !counts => return None,
        Notice::Mute(length) => (
            own(),
            format!("this node's voter says nothing for {} ms: it has just started", length.as_millis()),
        ),
        Notice::Quorum if cluster.strict => (own(), "both nodes answer".into()),
        Notice::NoQuorum if cluster.strict => {
            (own(), "the other node does not answer: this node keeps what it holds, and takes nothing".into())
        }
        Notice::Quorum => (own(), "a majority of voters answers".into()),
        Notice::NoQuorum => (
            own(),
            "no majority of voters answers: nothing is taken, and what is held ends with its lease".into(),
        ),
        Notice::Duplicate { .. } => return None,
    })
}

#[cfg(test)]
mod tests {
    use mainstay_config::{Checks, parse_str};

    use super::*;

    #[test]
    fn two_best_effort_nodes_hear_nothing_of_majorities() {
        let read = |vip: &str, peer: &str| {
            let text = format!(
                "[node]\nid = \"web-1\"\n[cluster]\nname = \"shop\"\nkey = \"0123456789abcdef\"\npeers = [{{ id = \"web-2\", \
                 addrs = [\"10.0.4.21\"]{peer} }}]\n[[vip]]\nname = \"front\"\naddrs = [\"10.0.4.99\"]\ninterface = \"eth0\"\nvrid = 7\n{vip}\n"
            );
            parse_str("t.toml", &text, &|_| None, Checks::NONE).unwrap().plan
        };
        let said = |plan: &mainstay_config::plan::Plan, notice| {
            let cluster = plan.cluster.as_ref().unwrap();
            sentence(&notice, &cluster.list, cluster, plan.counts_votes())
        };
        let plain = read("", "");
        assert!(!plain.counts_votes());
        assert_eq!(said(&plain, Notice::NoQuorum), None);
        assert_eq!(said(&plain, Notice::Quorum), None);
        assert!(said(&plain, Notice::Silent(NodeId(1))).unwrap().1.ends_with("is not heard any more"));
        for plan in [read("", ", witness = true"), read("guard = \"strict\"", "")] {
            assert!(plan.counts_votes());
            assert!(said(&plan, Notice::NoQuorum).is_some());
        }
    }
}
