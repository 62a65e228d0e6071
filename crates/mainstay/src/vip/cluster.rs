//! What an operator says of the voter list, and of who follows.

use mainstay_core::election::{Input, Operator};
use mainstay_core::lease::{self, NotTaken, Refused, VoterList};
use mainstay_core::name::VipId;
use mainstay_core::time::Boot;
use mainstay_sys::clock::boot_now;

use super::Node;
use super::quorum::Quorum;
use crate::ipc::ClusterAction;

impl Node {
    /// Begins what is asked for, or says why not.
    pub(super) fn obey_cluster(&mut self, action: &ClusterAction) -> Result<String, String> {
        let now = boot_now();
        match action {
            ClusterAction::Add { id } => {
                self.change_list(|quorum| quorum.with(id, now), &format!("{id} votes from here on"), now)
            }
            ClusterAction::Remove { id } => {
                let done = format!("{id} votes no more: stop it and take it out of [cluster] peers");
                self.change_list(|quorum| quorum.without(id, now), &done, now)
            }
            ClusterAction::Enrol { id, seconds, addrs } => self.enrol(id, *seconds, addrs, now),
            ClusterAction::Revoke { id } => self.revoke(id, now),
            ClusterAction::Forget { id } => self.forget(id, now),
            ClusterAction::Move { vip, to } => self.move_to(vip, to, now),
            ClusterAction::Take { vip, fenced } => self.take_from(vip, fenced, now),
        }
    }

    /// Takes a vip of guard strict without the other node, of which the operator says that it is dead.
    fn take_from(&mut self, name: &str, fenced: &str, now: Boot) -> Result<String, String> {
        let vips = (0..).map(VipId).zip(&self.plan.vips);
        let Some((vip, _)) = vips.into_iter().find(|(_, vip)| vip.spec.name == name) else {
            return Err(format!("no vip is called \"{name}\""));
        };
        let right = self.machine.right_of(vip);
        let (Some(right), Some(quorum)) = (right, &mut self.quorum) else {
            return Err(format!("vip {name} is not of guard strict: its backups take over by themselves"));
        };
        let list = quorum.leases.list();
        let Some(node) = list.find(fenced).filter(|_| fenced != self.plan.node) else {
            let others =
                list.members.iter().map(|member| member.id.as_str()).filter(|id| *id != self.plan.node);
            return Err(format!("the other node is {}, not {fenced}", others.collect::<Vec<_>>().join(", ")));
        };
        let epoch = quorum.leases.take(right, node, now).map_err(|why| match why {
            NotTaken::NotLasting => {
                format!("vip {name} is not of guard strict: its backups take over by themselves")
            }
            NotTaken::Unknown => format!("vip {name} stands under no right that {fenced} could have"),
            NotTaken::Heard => format!(
                "{fenced} is heard, so it is not fenced: `mainstay vip move {name}` there hands it over"
            ),
            NotTaken::Held => format!("vip {name} is held by this node already"),
            NotTaken::Unable => {
                format!("this node can't hold vip {name} just now: `mainstay explain vip {name}` says why")
            }
        })?;
        if let Some(name) = self.machine.rights().nth(right.index()) {
            quorum.vouched.insert(name.to_owned(), (epoch, fenced.to_owned()));
        }
        let node = self.plan.node.clone();
        let message = format!(
            "an operator says that {fenced} is dead and fenced: {node} takes it without {fenced}'s consent, under epoch {epoch}"
        );
        tracing::warn!(vip = name, "{message}");
        self.event("cluster", name, message);
        self.drain();
        Ok(format!(
            "vip {name} is taken by {node} under epoch {epoch}, on your word that {fenced} is dead. If {fenced} still runs, \
             there are two holders until they hear each other: cut its power or its ports before anything else. After a \
             restart of {node} while {fenced} is away, say this again"
        ))
    }

    /// Hands a vip over to a node that can hold it.
    fn move_to(&mut self, name: &str, to: &str, now: Boot) -> Result<String, String> {
        let vips = (0..).map(VipId).zip(&self.plan.vips);
        let Some((vip, _)) = vips.into_iter().find(|(_, vip)| vip.spec.name == name) else {
            return Err(format!("no vip is called \"{name}\""));
        };
        let right = self.machine.right_of(vip);
        let (Some(right), Some(quorum)) = (right, &mut self.quorum) else {
            return Err(format!(
                "vip {name} is not of guard quorum or strict, so its backups settle by priority who follows: `mainstay vip move \
                 {name}` without --to"
            ));
        };
        if !quorum.leases.held(now).any(|(held, ..)| held == right) {
            return Err(format!(
                "vip {name} is not held by this node, so nothing was moved; move it where it is active"
            ));
        }
        let Some(node) = quorum.leases.list().find(to) else {
            let all: Vec<&str> =
                quorum.leases.list().members.iter().map(|member| member.id.as_str()).collect();
            return Err(format!("{to} is not in the voter list; there are: {}", all.join(", ")));
        };
        if to == self.plan.node {
            return Err(format!("{to} is this node, which holds vip {name} already"));
        }
        if !quorum.leases.may_follow(right, node) {
            return Err(format!(
                "{to} cannot follow: it is a witness, or is not heard, or says that it could not hold vip {name}; ask \
                 `mainstay explain vip {name}` there"
            ));
        }
        quorum.leases.handle(lease::Input::Successor { right, next: node }, now);
        self.feed(Input::Operator(Operator::Move(vip)), now);
        Ok(format!("vip {name} is handed to {to}"))
    }

    /// Begins a change of the list, or says why not.
    fn change_list(
        &mut self,
        next: impl FnOnce(&Quorum) -> Result<VoterList, String>,
        done: &str,
        now: Boot,
    ) -> Result<String, String> {
        let node = &self.plan.node;
        let Some(quorum) = &mut self.quorum else {
            return Err(format!("node {node} speaks with no other"));
        };
        let list = next(quorum)?;
        quorum.leases.change(&list, now).map_err(|refused| quorum.refusal(&refused))?;
        let (voters, majority) = (list.voters().count(), list.majority());
        let wait = quorum.leases.terms().mute().as_millis();
        self.drain();
        Ok(format!(
            "{done}; epoch {}: {voters} voters, {majority} are a majority; the next change may follow {wait} ms after \
             a majority has this one",
            list.epoch
        ))
    }
}

impl Quorum {
    /// The list with one node more. The others must be able to speak with it: the file says where it is.
    fn with(&self, id: &str, now: Boot) -> Result<VoterList, String> {
        let mut list = self.leases.list().clone();
        if list.find(id).is_some() {
            return Err(format!("{id} is in the voter list already"));
        }
        let Some(node) = self.cluster.list.find(id) else {
            return Err(format!(
                "{id} is not in [cluster] peers of this node's file: write it there on every node, with its addrs, \
                 `mainstay reload` each, and then say this again"
            ));
        };
        let view = self.sessions.view(now);
        let heard = self.outside_answers(node, now)
            || view
                .peers
                .iter()
                .find(|peer| peer.id == id)
                .is_some_and(|peer| peer.session.is_some() && peer.wires.iter().any(|wire| !wire.lost));
        if !heard {
            return Err(format!(
                "{id} is not heard, and a voter that is silent makes majorities harder: start it, with all nodes in its \
                 file, and then say this again"
            ));
        }
        list.epoch = list.epoch.saturating_add(1);
        list.members.push(self.cluster.list.members[node.index()].clone());
        list.members.sort_by(|a, b| a.id.cmp(&b.id));
        Ok(list)
    }

    /// The list with one node less.
    fn without(&self, id: &str, now: Boot) -> Result<VoterList, String> {
        let mut list = self.leases.list().clone();
        let Some(node) = list.find(id) else {
            let all: Vec<&str> = list.members.iter().map(|member| member.id.as_str()).collect();
            return Err(format!("{id} is not in the voter list; there are: {}", all.join(", ")));
        };
        let held = self.held_by(node, now);
        if !held.is_empty() {
            return Err(format!(
                "{id} holds {}: `mainstay vip drain` there first, so that nobody has to wait for its lease",
                held.join(", ")
            ));
        }
        list.epoch = list.epoch.saturating_add(1);
        list.members.remove(node.index());
        Ok(list)
    }

    fn refusal(&self, refused: &Refused) -> String {
        match refused {
            Refused::Myself => format!(
                "this node is {}: take it out of the list from a node that stays",
                self.cluster.list.name(self.cluster.me)
            ),
            Refused::NoMajority => {
                "no majority of the voters is heard with the list in force: nothing can be changed until one is".into()
            }
            Refused::TooSoon(left) => format!(
                "the last change, or this node's start, is too young: rights may still be held by the list before; \
                 wait {} ms",
                left.as_millis()
            ),
            Refused::Lasting => "the two nodes of guard strict are all voters there can be: to replace one, stop both, \
                                 write the other into [cluster] peers, and start both"
                .into(),
            Refused::Flaw(_) | Refused::Epoch { .. } | Refused::TooMany(_) => refused.to_string(),
        }
    }
}
