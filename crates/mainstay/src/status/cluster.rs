//! What a node says of its cluster and of the leases of its vips.

use std::net::SocketAddr;
use std::time::Duration;

use mainstay_config::plan::cluster::Cluster;
use mainstay_core::lease::{RightView, Said, Stance, VoterList, VoterView};
use mainstay_core::time::Boot;
use serde::{Deserialize, Serialize};

/// The cluster as this node sees it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ClusterStatus {
    /// The operator's name.
    pub name: String,
    /// How often the voter list has changed, and its hash: the same on every node.
    pub list: String,
    /// The list's epoch.
    pub list_epoch: u32,
    /// How many votes there are.
    pub voters: u32,
    /// How many of them make a majority.
    pub majority: u32,
    /// How many answer and count, this node's own among them.
    pub answering: u32,
    /// Whether those are a majority: rights can be granted.
    pub quorum: bool,
    /// Two nodes whose promises last (guard `strict`).
    #[serde(default)]
    pub strict: bool,
    /// How long a voter promises a right, in milliseconds.
    pub term_ms: u64,
    /// How long a holder believes it, in milliseconds.
    pub hold_ms: u64,
    /// Every node, this one included, in the list's order.
    pub nodes: Vec<NodeStatus>,
    /// Nodes that the file names and the list does not.
    #[serde(default)]
    pub not_in_list: Vec<String>,
    /// Nodes that the list names and the file does not.
    #[serde(default)]
    pub not_in_file: Vec<String>,
    /// The list in force is not on this node's disk (yet): until it is, it promises and holds nothing under it.
    #[serde(default)]
    pub unkept: bool,
    /// Whether votes decide about anything known here; not where every vip is best effort and nobody is a witness.
    #[serde(default = "yes")]
    pub counts: bool,
}

const fn yes() -> bool {
    true
}

/// One node of the cluster.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct NodeStatus {
    /// Its `node.id`.
    pub id: String,
    /// `node`, `witness` or `etcd`.
    pub kind: String,
    /// Whether it is this one.
    pub me: bool,
    /// Whether its promise counts.
    pub votes: bool,
    /// Whether it is heard.
    pub reachable: bool,
    /// Milliseconds since it was last heard.
    pub heard_ms_ago: Option<u64>,
    /// How much longer it promises nothing, because it has just started, in milliseconds.
    pub mute_ms: u64,
    /// Its voter list, when it is another than ours.
    pub other_list: Option<String>,
    /// How old the session with it is, in seconds.
    pub session_s: Option<f64>,
    /// Each of its addresses.
    pub wires: Vec<WireStatus>,
    /// Why there is no session, as the two have said it: it refuses this node, or this node refuses it.
    #[serde(default)]
    pub refusal: Option<String>,
    /// How a voter that is no node does, as its own worker here says.
    #[serde(default)]
    pub external: Option<ExternalStatus>,
}

/// A voter that is no node, as the registry worker of this node sees it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ExternalStatus {
    /// The member that is spoken to.
    pub endpoint: Option<String>,
    /// How long its last answer took, in milliseconds.
    pub rtt_ms: Option<f64>,
    /// Whether the last call was answered.
    pub answers: bool,
    /// Milliseconds since a call was answered.
    pub answered_ms_ago: Option<u64>,
    /// Why the last call was not.
    pub trouble: Option<String>,
    /// Calls so far.
    pub calls: u64,
    /// Those that came to nothing.
    pub failures: u64,
}

/// One wire to a node.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct WireStatus {
    /// The node's address.
    pub addr: SocketAddr,
    /// Whether it counts as lost.
    pub lost: bool,
    /// Milliseconds since something came over it.
    pub heard_ms_ago: Option<u64>,
    /// The last round trip that was measured, in milliseconds.
    pub rtt_ms: Option<f64>,
    /// Authentic datagrams that came over it.
    pub datagrams: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Those that had come over another wire before.
    pub duplicates: u64,
}

/// The right under which a vip is held.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LeaseStatus {
    /// Its name: `vip/NAME` or `group/NAME`.
    pub right: String,
    /// Whether this node could hold it.
    pub ready: bool,
    /// The highest epoch known.
    pub epoch: u64,
    /// Who holds it, as far as is known here.
    pub holder: Option<String>,
    /// The holder's epoch.
    pub holder_epoch: Option<u64>,
    /// Milliseconds until our right ends unless it is renewed; absent while it is not ours.
    pub left_ms: Option<u64>,
    /// Milliseconds since the request that it counts from was stamped.
    pub stamped_ms_ago: Option<u64>,
    /// What each voter last said of it to this node.
    pub voters: Vec<SayingStatus>,
    /// Who follows when it is given up.
    pub next: Option<String>,
    /// Milliseconds until this node asks, while it waits its turn.
    pub asks_in_ms: Option<u64>,
    /// Times that it came here.
    pub acquired: u64,
    /// Requests of ours that a majority did not grant.
    pub refused: u64,
    /// Times that it ended here because no majority renewed it.
    pub unrenewed: u64,
    /// It ends only when it is given back (guard `strict`); `left_ms` is when the gate closes unless it is told again.
    #[serde(default)]
    pub lasting: bool,
    /// It is ours, its address is not here, and it is given back when the other node is heard.
    #[serde(default)]
    pub laid: bool,
    /// The other node is not heard, and nothing is taken without it.
    #[serde(default)]
    pub apart: bool,
}

/// What a voter last said of a right.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SayingStatus {
    /// The voter's id.
    pub voter: String,
    /// `granted`, `over` (it was granted, and has run out or was given back), `held`, `stale`, `mute`, `mismatch`, `full`, or `nothing`.
    pub said: String,
    /// To whom it has promised the right, when that is another.
    pub by: Option<String>,
    /// For how much longer, in milliseconds, when it said so.
    pub left_ms: Option<u64>,
    /// Milliseconds since it said so.
    pub ms_ago: Option<u64>,
}

impl ClusterStatus {
    /// What the voters' views say; sessions and wires are added by who has them.
    #[must_use]
    pub fn of(cluster: &Cluster, list: &VoterList, views: &[VoterView], now: Boot) -> Self {
        let mark = list.mark(cluster.salt);
        let me = list.find(cluster.list.name(cluster.me));
        let is_me = |view: &VoterView| me == Some(view.node);
        let other = |view: &VoterView| view.mark.filter(|theirs| *theirs != mark);
        let counts = |view: &&VoterView| {
            let heard = is_me(view) || view.reachable;
            view.votes && heard && view.mute.is_zero() && other(view).is_none()
        };
        let answering = views.iter().filter(counts).count();
        let node = |view: &VoterView| NodeStatus {
            id: list.name(view.node).to_owned(),
            kind: kind(cluster, list, view).to_owned(),
            me: is_me(view),
            votes: view.votes,
            reachable: is_me(view) || view.reachable,
            heard_ms_ago: view.heard.filter(|_| !is_me(view)).map(|at| millis(now.since(at))),
            mute_ms: millis(view.mute),
            other_list: other(view).map(|mark| mark.to_string()),
            session_s: None,
            wires: Vec::new(),
            refusal: None,
            external: None,
        };
        Self {
            name: cluster.name.clone(),
            list: mark.to_string(),
            list_epoch: list.epoch,
            voters: number(list.voters().count()),
            majority: number(list.majority()),
            answering: number(answering),
            quorum: answering >= list.majority(),
            strict: cluster.strict,
            term_ms: millis(cluster.terms.term),
            hold_ms: millis(cluster.terms.hold()),
            nodes: views.iter().map(node).collect(),
            not_in_list: missing(&cluster.list, list),
            not_in_file: missing(list, &cluster.list),
            unkept: false,
            counts: true,
        }
    }

    /// Where the file and the list in force differ, as sentences.
    #[must_use]
    pub fn differences(&self) -> Vec<String> {
        let added = self.not_in_list.iter().map(|id| {
            format!("{id} is in the file and not in the voter list: run `mainstay cluster add {id}`")
        });
        let gone = self.not_in_file.iter().map(|id| {
            format!(
                "{id} is in the voter list and not in the file, so nobody here speaks with it: run `mainstay cluster remove \
                 {id}`, or write it in [cluster] peers"
            )
        });
        added.chain(gone).collect()
    }

    /// What is wrong but not fatal, as sentences; `wanting` are the vips under a lease that this node doesn't hold.
    #[must_use]
    pub fn degraded(&self, wanting: &[&str]) -> Vec<String> {
        let mut out = self.differences();
        if self.unkept {
            out.push(format!(
                "the voter list (epoch {}) is not on disk: this node promises and holds nothing under it until its state directory \
                 takes it",
                self.list_epoch
            ));
        }
        if !self.quorum && self.strict {
            let other = self.nodes.iter().find(|node| !node.me).map_or("?", |node| node.id.as_str());
            let said = format!("{other} does not answer: this node keeps what it holds, and takes nothing");
            out.push(said + &advice(other, wanting));
        } else if !self.quorum && self.counts {
            out.push(format!(
                "{} of {} voters answer, {} are needed: no vip of guard quorum can be taken, and what is held ends",
                self.answering, self.voters, self.majority
            ));
        }
        for node in self.nodes.iter().filter(|node| !node.me) {
            let id = &node.id;
            if !node.reachable {
                let trouble = || node.external.as_ref().and_then(|external| external.trouble.as_ref());
                let why = node.refusal.as_ref().or_else(trouble);
                let why = why.map_or_else(String::new, |why| format!(": {why}"));
                out.push(match node.heard_ms_ago {
                    Some(ms) => format!("{} has not been heard for {ms} ms{why}", node.called()),
                    None => format!("{} has not been heard yet{why}", node.called()),
                });
                continue;
            }
            if let Some(theirs) = &node.other_list {
                out.push(format!(
                    "{} has another voter list or longest term, or guard strict on one side alone ({theirs}, ours is {}): its promises \
                     don't count",
                    node.called(),
                    self.list
                ));
            }
            for wire in node.wires.iter().filter(|wire| wire.lost) {
                out.push(format!("the wire to {id} over {} is lost; others carry on", wire.addr));
            }
        }
        out
    }
}

impl NodeStatus {
    /// What it is and its id: `node web-2`; a witness that is called so is not called twice.
    fn called(&self) -> String {
        if self.id == self.kind { format!("the {}", self.kind) } else { format!("{} {}", self.kind, self.id) }
    }
}

impl LeaseStatus {
    /// The right as the leases of this node see it; a promise is counted on for `hold`.
    #[must_use]
    pub fn of(view: &RightView, list: &VoterList, hold: Duration, now: Boot) -> Self {
        let name = |node| list.name(node).to_owned();
        let saying = |saying: &mainstay_core::lease::Saying| {
            let (by, left) = match saying.said {
                Some(Said::Held { by, left }) => (by.map(name), (!view.lasting).then(|| millis(left))),
                Some(Said::Granted | Said::Stale | Said::Mute | Said::Mismatch | Said::Full) | None => {
                    (None, None)
                }
            };
            let elsewhere = view.until.is_none() && view.holder.is_some();
            let over = saying.said == Some(Said::Granted)
                && (elsewhere
                    || !view.lasting && saying.at + hold <= now
                    || view.lasting && view.until.is_none());
            SayingStatus {
                voter: name(saying.voter),
                said: if over { OVER } else { word(saying.said) }.to_owned(),
                by,
                left_ms: left,
                ms_ago: saying.said.map(|_| millis(now.since(saying.at))),
            }
        };
        Self {
            right: view.name.clone(),
            ready: matches!(view.stance, Stance::Ready { .. }),
            epoch: view.epoch,
            holder: view.holder.map(|holder| name(holder.node)),
            holder_epoch: view.holder.map(|holder| holder.epoch),
            left_ms: view.until.map(|until| millis(until.since(now))),
            stamped_ms_ago: view.stamped.map(|at| millis(now.since(at))),
            voters: view.voters.iter().map(saying).collect(),
            next: view.next.map(name),
            asks_in_ms: view.asks_at.map(|at| millis(at.since(now))),
            acquired: view.acquired,
            refused: view.refused,
            unrenewed: view.unrenewed,
            lasting: view.lasting,
            laid: view.laid,
            apart: view.apart,
        }
    }

    /// How many voters have promised it to this node, as far as it has heard.
    #[must_use]
    pub fn granted(&self) -> usize {
        self.voters.iter().filter(|saying| saying.said == word(Some(Said::Granted))).count()
    }
}

impl SayingStatus {
    /// As a sentence without its subject.
    #[must_use]
    pub fn sentence(&self) -> String {
        let said = match self.said.as_str() {
            "granted" => "has promised it to this node".to_owned(),
            "over" => "has promised it to this node, which is over".to_owned(),
            "held" => {
                let by = self.by.as_deref().unwrap_or("a node that is not in our list");
                let left = self.left_ms.map_or_else(String::new, |ms| format!(" for another {ms} ms"));
                format!("has promised it to {by}{left}")
            }
            "stale" => "knows a higher epoch than was asked for".to_owned(),
            "mute" => "has just started and promises nothing yet".to_owned(),
            "mismatch" => "has another voter list or longest term".to_owned(),
            "full" => "has no room for one more right".to_owned(),
            "nothing" => "has said nothing".to_owned(),
            other => format!("has said {other}"),
        };
        let ago = self.ms_ago.map_or_else(String::new, |ms| format!(", {ms} ms ago"));
        said + &ago
    }
}

/// What an operator can say of the other node for vips that are not here.
fn advice(other: &str, vips: &[&str]) -> String {
    let Some((vip, rest)) = vips.split_first() else { return String::new() };
    let rest = if rest.is_empty() { String::new() } else { format!("; {} too", rest.join(", ")) };
    format!(
        "; when you have made sure that {other} is dead, `mainstay vip take {vip} --fenced {other}` says so{rest}"
    )
}

/// A promise that has run out, or was given back.
const OVER: &str = "over";

/// The word for what a voter said.
const fn word(said: Option<Said>) -> &'static str {
    match said {
        Some(Said::Granted) => "granted",
        Some(Said::Held { .. }) => "held",
        Some(Said::Stale) => "stale",
        Some(Said::Mute) => "mute",
        Some(Said::Mismatch) => "mismatch",
        Some(Said::Full) => "full",
        None => "nothing",
    }
}

fn kind(cluster: &Cluster, list: &VoterList, view: &VoterView) -> &'static str {
    let id = list.name(view.node);
    let external = cluster.peers.iter().any(|peer| peer.id == id && peer.external.is_some());
    let holds = list.members.get(view.node.index()).is_some_and(|member| member.holds);
    match (external, holds) {
        (true, _) => "etcd",
        (false, true) => "node",
        (false, false) => "witness",
    }
}

/// The names in one list that are not in the other.
fn missing(from: &VoterList, in_list: &VoterList) -> Vec<String> {
    let missing = from.members.iter().filter(|member| in_list.find(&member.id).is_none());
    missing.map(|member| member.id.clone()).collect()
}

fn number(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

fn millis(length: Duration) -> u64 {
    u64::try_from(length.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
pub(crate) mod tests {
    use mainstay_config::{Checks, parse_str};
    use mainstay_core::lease::{HolderView, Mark, Saying};
    use mainstay_core::name::NodeId;

    use super::*;

    const SHOP: &str = r#"
        [node]
        id = "web-1"
        [cluster]
        name = "shop"
        key = "0123456789abcdef"
        peers = [
            { id = "web-2", addrs = ["10.0.4.21", "10.1.4.21"] },
            { id = "witness", addrs = ["10.0.5.9"], witness = true },
        ]
    "#;

    fn shop() -> Cluster {
        let loaded = parse_str("t.toml", SHOP, &|_| None, Checks::NONE).unwrap();
        loaded.plan.cluster.unwrap()
    }

    const NOW: Boot = Boot::from_nanos(10_000_000_000);

    fn ago(ms: u64) -> Boot {
        NOW - Duration::from_millis(ms)
    }

    fn views(cluster: &Cluster) -> Vec<VoterView> {
        let view = |node| VoterView {
            node,
            votes: true,
            heard: Some(ago(40)),
            reachable: true,
            mark: Some(cluster.list.mark(cluster.salt)),
            instance: Some(1),
            mute: Duration::ZERO,
        };
        (0..3).map(NodeId).map(view).collect()
    }

    /// web-1 holds, web-2 is heard over one of two wires, the witness has fallen silent.
    pub(crate) fn cluster() -> ClusterStatus {
        let cluster = shop();
        let mut views = views(&cluster);
        views[2].reachable = false;
        views[2].heard = Some(ago(4000));
        let mut status = ClusterStatus::of(&cluster, &cluster.list, &views, NOW);
        status.nodes[1].session_s = Some(182.5);
        status.nodes[1].wires = cluster.peers[0]
            .addrs
            .iter()
            .zip([false, true])
            .map(|(addr, lost)| WireStatus {
                addr: *addr,
                lost,
                heard_ms_ago: Some(if lost { 900 } else { 40 }),
                rtt_ms: Some(0.25),
                datagrams: 10,
                bytes: 1200,
                duplicates: 5,
            })
            .collect();
        status
    }

    #[test]
    fn two_nodes_alone_say_what_one_of_them_does_and_what_an_operator_may_say() {
        let mut cluster = cluster();
        (cluster.strict, cluster.quorum) = (true, false);
        cluster.nodes.remove(2);
        let said = cluster.degraded(&["front", "back"]).remove(0);
        assert!(
            said.starts_with("web-2 does not answer: this node keeps what it holds, and takes nothing"),
            "{said}"
        );
        assert!(said.ends_with("`mainstay vip take front --fenced web-2` says so; back too"), "{said}");
        let said = cluster.degraded(&[]).remove(0);
        assert_eq!(said, "web-2 does not answer: this node keeps what it holds, and takes nothing");
        cluster.quorum = true;
        assert!(!cluster.degraded(&[]).iter().any(|said| said.contains("takes nothing")));
    }

    #[test]
    fn where_nothing_is_under_a_lease_nobody_is_told_of_votes() {
        let mut cluster = cluster();
        (cluster.quorum, cluster.counts) = (false, false);
        cluster.nodes.remove(2);
        cluster.nodes[1].reachable = false;
        assert_eq!(cluster.degraded(&[]), ["node web-2 has not been heard for 40 ms"]);
    }

    #[test]
    fn a_peer_that_refuses_this_node_says_why_beside_its_silence() {
        let mut cluster = cluster();
        (cluster.nodes[1].reachable, cluster.nodes[1].heard_ms_ago) = (false, None);
        let why = "it refuses this node: web-3 is not in its list of members";
        cluster.nodes[1].refusal = Some(why.into());
        assert!(cluster.degraded(&[]).contains(&format!("node web-2 has not been heard yet: {why}")));
    }

    /// The right of web-1 to its vip `front`.
    pub(crate) fn lease() -> LeaseStatus {
        let cluster = shop();
        let saying = |voter, said| Saying { voter: NodeId(voter), said, at: ago(20) };
        let held = Said::Held { by: Some(NodeId(1)), left: Duration::from_millis(300) };
        let view = RightView {
            name: "vip/front".into(),
            stance: Stance::Ready { priority: 100, preempts: false },
            epoch: 7,
            until: Some(NOW + Duration::from_millis(800)),
            stamped: Some(ago(120)),
            holder: Some(HolderView { node: NodeId(0), epoch: 7, heard: NOW }),
            voters: vec![saying(0, Some(Said::Granted)), saying(1, Some(held)), saying(2, None)],
            next: Some(NodeId(1)),
            asks_at: None,
            acquired: 3,
            refused: 2,
            unrenewed: 1,
            lasting: false,
            laid: false,
            apart: false,
        };
        LeaseStatus::of(&view, &cluster.list, Duration::from_secs(1), NOW)
    }

    #[test]
    fn a_majority_of_those_that_answer_is_told_and_what_is_lost_is_named() {
        let status = cluster();
        assert_eq!((status.voters, status.majority, status.answering, status.quorum), (3, 2, 2, true));
        let kinds: Vec<&str> = status.nodes.iter().map(|node| node.kind.as_str()).collect();
        assert_eq!(kinds, ["node", "node", "witness"]);
        assert_eq!(status.nodes[0].heard_ms_ago, None);
        assert_eq!(status.nodes[1].heard_ms_ago, Some(40));
        let expected = [
            "the wire to web-2 over 10.1.4.21:5112 is lost; others carry on",
            "the witness has not been heard for 4000 ms",
        ];
        assert_eq!(status.degraded(&[]), expected);
    }

    #[test]
    fn a_voter_that_is_mute_or_has_another_list_does_not_count() {
        let cluster = shop();
        let mut all = views(&cluster);
        all[1].mute = Duration::from_millis(700);
        all[2].mark = Some(Mark { epoch: 2, hash: 9 });
        let status = ClusterStatus::of(&cluster, &cluster.list, &all, NOW);
        assert_eq!((status.answering, status.quorum, status.nodes[1].mute_ms), (1, false, 700));
        let said = status.degraded(&[]);
        assert!(said[0].starts_with("1 of 3 voters answer, 2 are needed"), "{said:?}");
        assert!(
            said[1].contains("the witness has another voter list") && said[1].contains("2/0000"),
            "{said:?}"
        );
        assert_eq!(said.len(), 2, "a voter that starts is no trouble: {said:?}");
    }

    #[test]
    fn a_lease_says_who_said_what_and_when_it_ends() {
        let lease = lease();
        assert_eq!(
            (lease.holder.as_deref(), lease.left_ms, lease.stamped_ms_ago),
            (Some("web-1"), Some(800), Some(120))
        );
        assert_eq!(lease.granted(), 1);
        let said: Vec<String> = lease.voters.iter().map(SayingStatus::sentence).collect();
        let expected = [
            "has promised it to this node, 20 ms ago",
            "has promised it to web-2 for another 300 ms, 20 ms ago",
            "has said nothing",
        ];
        assert_eq!(said, expected);
    }
}
