//! An operator's word about keys: a one-time token for a newcomer, and a pinned key that is forgotten.

use std::net::SocketAddr;
use std::time::Duration;

use mainstay_config::plan::cluster::{External, Peer, place};
use mainstay_core::name::NodeId;
use mainstay_core::time::Boot;
use mainstay_link::{Entropy as _, Intrusion, Means, Secret, SystemEntropy};

use super::Node;
use super::quorum::Quorum;
use crate::ipc::FromVip;
use crate::token::{self, Token};

/// No token is good for longer.
const LONGEST: u64 = 24 * 60 * 60;

impl Node {
    /// Makes a token; the answer is its text.
    pub(super) fn enrol(
        &mut self,
        id: &str,
        seconds: u64,
        addrs: &[String],
        now: Boot,
    ) -> Result<String, String> {
        let Some(quorum) = &mut self.quorum else {
            return Err(self.alone.clone().unwrap_or_else(|| "this node speaks with no other".into()));
        };
        let token = quorum.token_for(id, addrs)?;
        let seconds = seconds.clamp(1, LONGEST);
        let offer = mainstay_link::Token {
            secret: token.secret.to_vec(),
            id: Some(id.to_owned()),
            until: now + Duration::from_secs(seconds),
        };
        if !quorum.sessions.offer(&offer, now) {
            return Err("too many tokens are out: wait until some are used or expire, or revoke them".into());
        }
        self.event("cluster", id, format!("a token for {id} was made, good once and for {seconds} s"));
        Ok(token.text())
    }

    /// Makes a token worthless.
    pub(super) fn revoke(&mut self, id: &str, now: Boot) -> Result<String, String> {
        let revoked = self.quorum.as_mut().is_some_and(|quorum| quorum.sessions.revoke(id, now));
        if !revoked {
            return Err(format!(
                "no token for {id} is out here: it was used, has expired, was lost when this node's vip process started anew, or \
                 another node made it"
            ));
        }
        let done = format!("the token for {id} is worth nothing any more");
        self.event("cluster", id, done.clone());
        Ok(done)
    }

    /// Forgets a pinned key.
    pub(super) fn forget(&mut self, id: &str, now: Boot) -> Result<String, String> {
        let Some(quorum) = &mut self.quorum else {
            return Err(self.alone.clone().unwrap_or_else(|| "this node speaks with no other".into()));
        };
        let done = quorum.forget(id, now)?;
        self.say(&FromVip::Forgotten { id: id.to_owned() });
        self.event("cluster", id, format!("the pinned key of {id} was forgotten"));
        self.drain();
        Ok(done)
    }
}

impl Quorum {
    /// What a newcomer has to know, with a fresh secret.
    fn token_for(&self, id: &str, addrs: &[String]) -> Result<Token, String> {
        let cluster = &self.cluster;
        let own = cluster.list.name(cluster.me);
        if id == own {
            return Err(format!("{id} is this node: a token is for another one"));
        }
        let newcomer = cluster.peers.iter().find(|peer| peer.id == id && peer.external.is_none());
        let newcomer = newcomer.ok_or_else(|| {
            format!(
                "{id} is not in [cluster] peers of this node's file: write it there on every node, with its addrs, `mainstay \
                 reload` each, and then say this again"
            )
        })?;
        if newcomer.key.is_some() {
            return Err(format!(
                "{id} has its `key` in [cluster] peers of this node's file: it needs no token; when it has another one now, write \
                 that there, or take the old one out, and `mainstay reload`"
            ));
        }
        if self.identity.pins.contains_key(id) {
            return Err(format!(
                "the key of {id} is pinned already; when it is another machine now: `mainstay node forget {id}` on every node, \
                 then say this again"
            ));
        }
        let mut secret = [0; 32];
        SystemEntropy.fill(&mut secret);
        let micros = |length: Duration| u64::try_from(length.as_micros()).unwrap_or(u64::MAX);
        let mut nodes: Vec<token::Node> = cluster.peers.iter().map(|peer| self.described(peer)).collect();
        nodes.push(token::Node {
            id: own.to_owned(),
            addrs: self.reached_at(addrs)?,
            key: Some(Secret::new(self.identity.secret).public()),
            witness: cluster.is_witness(),
            etcd: Vec::new(),
        });
        nodes.sort_by(|a, b| a.id.cmp(&b.id));
        Ok(Token {
            cluster: cluster.name.clone(),
            id: id.to_owned(),
            issuer: own.to_owned(),
            secret,
            term: micros(cluster.terms.term),
            term_max: micros(cluster.terms.term_max),
            drift_ppm: cluster.terms.drift_ppm,
            nodes,
        })
    }

    fn described(&self, peer: &Peer) -> token::Node {
        let etcd = match &peer.external {
            Some(External::Etcd { endpoints, .. }) => endpoints.clone(),
            None => Vec::new(),
        };
        token::Node {
            id: peer.id.clone(),
            addrs: peer.addrs.clone(),
            key: peer.key.or_else(|| self.identity.pins.get(&peer.id).copied()),
            witness: peer.witness,
            etcd,
        }
    }

    /// Where others find this node: as it was said, else as its own file says.
    fn reached_at(&self, addrs: &[String]) -> Result<Vec<SocketAddr>, String> {
        let own = self.cluster.list.name(self.cluster.me);
        let read = |text: &String| place(text).ok_or_else(|| format!("\"{text}\" is no address"));
        let given: Vec<SocketAddr> = addrs.iter().map(read).collect::<Result<_, _>>()?;
        let addrs = if given.is_empty() { self.cluster.own_addrs.clone() } else { given };
        if addrs.is_empty() {
            return Err(format!(
                "this node's file does not say where {own} is found: say --addr ADDRESS for each wire, or write an entry for {own} \
                 itself in [cluster] peers, as the other files have it"
            ));
        }
        Ok(addrs)
    }

    fn forget(&mut self, id: &str, now: Boot) -> Result<String, String> {
        let own = self.cluster.list.name(self.cluster.me);
        if id == own {
            return Err(format!(
                "{id} is this node: its own key is node.key in its state directory, and the others' pins are forgotten on them"
            ));
        }
        let peer = self.cluster.peers.iter().find(|peer| peer.id == id);
        if peer.is_some_and(|peer| peer.key.is_some()) {
            return Err(format!(
                "the `key` of {id} stands in [cluster] peers of this node's file: change it or take it out there, and `mainstay \
                 reload`"
            ));
        }
        let Some(key) = self.identity.pins.remove(id) else {
            let all: Vec<&str> = self.identity.pins.keys().map(String::as_str).collect();
            return Err(format!("no key of {id} is pinned; pinned are those of: {}", all.join(", ")));
        };
        self.identity.forgotten.push(key);
        let Some(node) = peer.map(|peer| peer.node) else {
            return Ok(format!("the key of {id}, which [cluster] peers does not name, is forgotten"));
        };
        self.sessions.forget(node, now);
        let again = if self.cluster.key.is_some() {
            "whoever next proves the cluster key as it is pinned, the old machine included while it runs"
        } else {
            "it needs a token"
        };
        Ok(format!(
            "the key of {id} is forgotten on this node, and its session has ended: it counts as silent here until it has enrolled \
             again ({again}: `mainstay node enrol {id}`). Other nodes have pins of their own; to keep {id} out, `mainstay cluster \
             remove {id}` and take it out of [cluster] peers"
        ))
    }
}

/// How a node's key came to be pinned.
pub(super) fn enrolled(id: &str, means: Means, name: impl Fn(NodeId) -> String) -> String {
    let means = match means {
        Means::ClusterKey => "with the cluster key".to_owned(),
        Means::Token => "with a token of this node".to_owned(),
        Means::Voucher(by) => format!("at the word of {}", name(by)),
    };
    format!("{id} has enrolled {means}: its own key is pinned from here on")
}

/// Two nodes know different keys of a third.
pub(super) fn disputed(id: &str, by: &str) -> String {
    format!(
        "somebody says it is {id} with a key that {by} does not know as {id}'s: refused; when {id} is another machine now, `mainstay \
         node forget {id}` on {by}"
    )
}

/// Somebody wants to enrol.
pub(super) fn intruder(addr: SocketAddr, why: &Intrusion) -> String {
    match why {
        Intrusion::Unproven => format!(
            "somebody at {addr} wants to enrol and proves neither the cluster key nor a token that is good: another cluster key, or \
             a token that has expired, was revoked, or was made by another process"
        ),
        Intrusion::Misused { id } => {
            format!(
                "somebody at {addr} wants to enrol as {id} with a token that was made for another node: refused"
            )
        }
        Intrusion::Used { id } => format!(
            "somebody at {addr} wants to enrol as {id} with a token that another key has used: refused; if that was not {id} itself, \
             the token was stolen before it was used: `mainstay node forget {id}` on every node"
        ),
    }
}
