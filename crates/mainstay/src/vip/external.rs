//! The voter that is no node, as vip sees it: what is said to it goes to the registry role, and nobody waits for the answer.

use std::time::Duration;

use mainstay_core::election::Vips;
use mainstay_core::lease::external::{Heard, Post, Posted};
use mainstay_core::lease::{Freed, Message};
use mainstay_core::name::{NodeId, VipId};
use mainstay_core::time::Boot;
use mainstay_sys::clock::boot_now;

use super::Node;
use super::quorum::Quorum;
use crate::ipc::FromVip;
use crate::status::{ClusterStatus, ExternalStatus};

/// The registry role says every second how its store does; what is older says nothing.
const OLD: Duration = Duration::from_secs(5);

/// What is to be said to the voter, and how it does.
#[derive(Default)]
pub(super) struct Outside {
    posted: Vec<Posted>,
    state: Option<(ExternalStatus, Boot)>,
}

impl Outside {
    fn state(&self, now: Boot) -> ExternalStatus {
        let fresh = self.state.as_ref().filter(|(_, at)| now.since(*at) < OLD);
        fresh.map_or_else(
            || ExternalStatus {
                trouble: Some("the registry worker, which speaks with it, says nothing".into()),
                ..ExternalStatus::default()
            },
            |(state, _)| state.clone(),
        )
    }
}

impl Quorum {
    /// Whether a peer of the file is no node.
    pub(super) fn is_outside(&self, peer: NodeId) -> bool {
        self.cluster.external().is_some_and(|(external, _)| external.node == peer)
    }

    /// Whether a message means nothing to whom it is for.
    pub(super) fn is_wasted(&self, to: NodeId, message: &Message) -> bool {
        self.is_outside(to) && Post::of(message).is_none()
    }

    /// Keeps what is to be said to the voter that is no node.
    pub(super) fn post(&mut self, messages: &[Message]) {
        let posted = self.posted(messages.iter().filter_map(Post::of).collect());
        self.outside.posted.push(posted);
    }

    /// What is said to it for a vip whose process has died.
    pub(super) fn outside_will(&self, machine: &Vips, vip: VipId) -> Option<Posted> {
        self.cluster.external()?;
        let view = self.leases.view(machine.right_of(vip)?, boot_now())?;
        let epoch = machine.view(vip).map_or(view.epoch, |vip| vip.epoch);
        let freed = Freed { right: view.name, epoch, next: None };
        Some(self.posted(vec![Post::Free(vec![freed])]))
    }

    fn posted(&self, posts: Vec<Post>) -> Posted {
        Posted {
            instance: self.identity.instance,
            heir_of: self.identity.heir_of,
            list: self.leases.list().clone(),
            mark: self.leases.mark(),
            posts,
        }
    }

    /// Whether this is the voter that is no node, and it answers.
    pub(super) fn outside_answers(&self, peer: NodeId, now: Boot) -> bool {
        self.is_outside(peer) && self.outside.state(now).answers
    }

    pub(super) fn outside_status(&self, status: &mut ClusterStatus, now: Boot) {
        let Some((peer, _)) = self.cluster.external() else { return };
        if let Some(node) = status.nodes.iter_mut().find(|node| node.id == peer.id) {
            node.external = Some(self.outside.state(now));
        }
    }
}

impl Node {
    /// Hands over what is to be said.
    pub(super) fn post_outside(&mut self) {
        let posted = self.quorum.as_mut().map(|quorum| std::mem::take(&mut quorum.outside.posted));
        for posted in posted.unwrap_or_default() {
            self.say(&FromVip::Posted(posted));
        }
    }

    /// What the voter says, as a letter of a peer.
    pub(super) fn hear_external(&mut self, heard: Heard) {
        let now = boot_now();
        let Some(quorum) = &mut self.quorum else { return };
        let Some(from) = quorum.cluster.external().map(|(peer, _)| peer.node) else { return };
        quorum.hear(from, &heard.letter(), now);
        self.drain();
    }

    /// How it does.
    pub(super) fn external_does(&mut self, state: Option<ExternalStatus>) {
        if let Some(quorum) = &mut self.quorum {
            quorum.outside.state = state.map(|state| (state, boot_now()));
        }
    }
}
