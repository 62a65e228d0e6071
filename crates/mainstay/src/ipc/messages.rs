//! Every sentence that may be said, by role and direction.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use mainstay_config::plan::{NotifyOn, Plan};
use mainstay_core::election::Operator;
use mainstay_core::lease::VoterList;
use mainstay_core::lease::external::{Heard, Posted};
use mainstay_core::name::{CommandId, VipId};
use mainstay_core::tunnel::record::Record;
use mainstay_proxy::route::Question;
use serde::{Deserialize, Serialize};

use super::edge::RouteExplained;
use crate::status::{Event, ExternalStatus, ProbeStatus, Status};

/// Supervisor to vip.
#[derive(Debug, Serialize, Deserialize)]
pub enum ToVip {
    /// Who this node is to its peers: before the first Plan that has a cluster.
    Identity(Box<Identity>),
    /// What to do from here on; the first message but for that, and again at each reload.
    Plan(Box<Plan>),
    /// A probe's verdict, with what status shows of it.
    Probe(ProbeStatus),
    /// A command that vip asked for has ended.
    Ran(Outcome),
    /// The operator's word.
    Operator(Operator),
    /// These vips (by name) were held by a vip role that died; their addresses have been removed.
    LeftBehind(Vec<String>),
    /// Answer with `FromVip::Status`.
    Status,
    /// An operator's word about the voter list; answered by `FromVip::Cluster`.
    Cluster {
        /// The word's number.
        number: u64,
        /// What is done.
        action: ClusterAction,
    },
    /// The voter list of `FromVip::Adopted` lies on disk.
    Kept {
        /// Its epoch.
        epoch: u32,
    },
    /// What the voter that is no node says.
    Heard(Heard),
    /// How it does; none when nobody speaks for it.
    External(Option<ExternalStatus>),
    /// Give everything up, then exit.
    Stop,
}

/// vip to supervisor.
#[derive(Debug, Serialize, Deserialize)]
pub enum FromVip {
    /// The Plan is in force.
    Ready,
    /// This task runs: sent every second, so that the supervisor can tell a frozen vip from a quiet one.
    Alive,
    /// This node has been alone for longer than the operator bears, or is no more: whether the watchdog starves.
    Alone(bool),
    /// Before addresses are added: what to take away, and what to send, if vip dies.
    Deposit(Vec<Deposit>),
    /// The addresses of these vips (by name) are gone: forget their deposits.
    Withdraw(Vec<String>),
    /// Something happened that status, events and notify should tell.
    Event(Event),
    /// Run a command of the Plan; answered by `ToVip::Ran`.
    Run(Run),
    /// Tell the outside (webhook, e-mail).
    Notice(Notice),
    /// The answer to `ToVip::Status`.
    Status(Box<Status>),
    /// The answer to `ToVip::Cluster`.
    Cluster {
        /// The word's number.
        number: u64,
        /// What is being done, or why it is not.
        said: Result<String, String>,
    },
    /// A peer has enrolled: keep its key.
    Pinned {
        /// The peer's id.
        id: String,
        /// Its public key.
        key: [u8; 32],
    },
    /// A peer's key is forgotten: keep it no more.
    Forgotten {
        /// The peer's id.
        id: String,
    },
    /// This voter list is in force: keep it, and say `ToVip::Kept` when it is on disk.
    Adopted(VoterList),
    /// For the voter that is no node.
    Posted(Posted),
    /// Another node has our id, which it held first: this node must not run.
    Duplicate(String),
    /// All vips were given up.
    Stopped,
    /// These vips (by name) are held here: nobody looks through them from here.
    Held(Vec<String>),
}

/// Who this node is to its peers, from its state directory.
#[derive(Clone, Serialize, Deserialize)]
pub struct Identity {
    /// The secret of its static key.
    pub secret: [u8; 32],
    /// Drawn for this process.
    pub instance: u64,
    /// The vip process before it on this host, which is dead, if it ran since the host booted.
    pub heir_of: Option<u64>,
    /// Public keys of peers that have enrolled.
    pub pins: BTreeMap<String, [u8; 32]>,
    /// The voter list that was in force last.
    pub list: Option<VoterList>,
    /// Keys that were forgotten: nobody's word brings them back.
    #[serde(default)]
    pub forgotten: Vec<[u8; 32]>,
    /// Milliseconds of the wall clock: epochs rise from there.
    pub epoch_floor: u64,
}

impl std::fmt::Debug for Identity {
    /// Without the secret.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { secret: _, instance, heir_of, pins, list, forgotten, epoch_floor } = self;
        f.debug_struct("Identity")
            .field("instance", instance)
            .field("heir_of", heir_of)
            .field("pins", &pins.len())
            .field("list", list)
            .field("forgotten", &forgotten.len())
            .field("epoch_floor", epoch_floor)
            .finish_non_exhaustive()
    }
}

/// What the supervisor does for one vip when the vip role dies.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Deposit {
    /// The vip's name.
    pub vip: String,
    /// The addresses to remove: kernel interface index, address, prefix length.
    pub addrs: Vec<(u32, IpAddr, u8)>,
    /// Adverts of priority 0 to send then.
    pub farewells: Vec<Farewell>,
    /// Datagrams to peers that give the vip's right back, sealed ahead, to send then.
    #[serde(default)]
    pub wills: Vec<(SocketAddr, Vec<u8>)>,
    /// The same for the voter that is no node.
    #[serde(default)]
    pub posted: Option<Posted>,
}

/// A packet that the supervisor sends when vip dies.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Farewell {
    /// Destination.
    pub to: IpAddr,
    /// Source.
    pub from: IpAddr,
    /// The kernel's interface index to send by.
    pub ifindex: u32,
    /// The interface's name.
    pub interface: String,
    /// The VRRP message.
    pub payload: Vec<u8>,
}

/// Supervisor to probe.
#[derive(Debug, Serialize, Deserialize)]
pub enum ToProbe {
    /// What to probe from here on; a probe that did not change keeps its verdict.
    Plan(Box<Plan>),
    /// A command that probe asked for has ended.
    Ran(Outcome),
    /// Deliver this (webhook, e-mail).
    Notice(Notice),
    /// These vips are held here.
    Held(Vec<String>),
}

/// probe to supervisor.
#[derive(Debug, Serialize, Deserialize)]
pub enum FromProbe {
    /// The Plan is in force.
    Ready,
    /// A verdict changed, or its age was renewed (at least once in an interval or a second, whichever is longer).
    Verdict(ProbeStatus),
    /// Run a command of the Plan; answered by `ToProbe::Ran`.
    Run(Run),
    /// A restart was tried, a delivery failed for good, ...
    Event(Event),
}

/// Supervisor to registry.
#[derive(Debug, Serialize, Deserialize)]
pub enum ToRegistry {
    /// For whom to speak from here on.
    Plan(Box<Plan>),
    /// What the vip role says to the voter.
    Posted(Posted),
    /// This hub, as others are to know it.
    Own(Record),
}

/// registry to supervisor.
#[derive(Debug, Serialize, Deserialize)]
pub enum FromRegistry {
    /// The Plan is in force.
    Ready,
    /// What the voter says.
    Heard(Heard),
    /// How it does, every second; none when the Plan has no such voter.
    State(Option<ExternalStatus>),
    /// The hubs that the registry knows, all of them; said when they are others than before.
    Hubs(Vec<Record>),
    /// It fell silent, came back, has forgotten, ...
    Event(Event),
}

/// Supervisor to exec.
#[derive(Debug, Serialize, Deserialize)]
pub enum ToExec {
    /// The commands that may be run, by index.
    Plan(Box<Plan>),
    /// Run one.
    Run(Run),
}

/// exec to supervisor.
#[derive(Debug, Serialize, Deserialize)]
pub enum FromExec {
    /// The Plan is in force.
    Ready,
    /// A command has ended.
    Ran(Outcome),
}

/// Asks the exec role to run a command.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Run {
    /// Chosen by the asker, unique for it; the outcome carries it. The supervisor keeps askers apart by their role.
    pub id: u64,
    /// Which command.
    pub command: CommandId,
    /// keepalived's TYPE NAME STATE PRIORITY where the Plan says so, else empty.
    pub args: Vec<String>,
    /// Reason, epoch and the like as MAINSTAY_* variables.
    pub env: Vec<(String, String)>,
    /// Filled in by the supervisor: who asked.
    pub asker: Asker,
}

/// Who asked for a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Asker {
    /// The vip role.
    Vip,
    /// The probe role.
    Probe,
}

/// How a command ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outcome {
    /// The asker's number.
    pub id: u64,
    /// Who asked.
    pub asker: Asker,
    /// Which command.
    pub command: CommandId,
    /// Its exit code, when it exited.
    pub code: Option<i32>,
    /// The signal that ended it.
    pub signal: Option<i32>,
    /// Whether it was killed at its timeout.
    pub timed_out: bool,
    /// Why it could not even be started.
    pub error: Option<String>,
    /// Nobody could run it, or nobody knows how it ended: that says nothing of the command.
    #[serde(default)]
    pub lost: bool,
    /// The last 2 KiB of its standard output and error, lossy UTF-8.
    pub output: String,
    /// How long it ran, in milliseconds.
    pub took_ms: u64,
}

impl Outcome {
    /// Exit code 0, in time.
    #[must_use]
    pub fn ok(&self) -> bool {
        self.code == Some(0) && !self.timed_out && self.error.is_none()
    }
}

/// Something to tell the outside by webhook or e-mail.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Notice {
    /// Position in the vip's (or group's) notify list, which says how.
    pub vip: Option<VipId>,
    /// The group, when it is a group's notify list.
    pub group: Option<u32>,
    /// The probe, when it is a probe's notify list.
    #[serde(default)]
    pub probe: Option<u32>,
    /// Position in that list.
    pub notify: u32,
    /// What happened.
    pub on: NotifyOn,
    /// The event, as webhook bodies carry it.
    pub event: Event,
}

/// Supervisor to api.
#[derive(Debug, Serialize, Deserialize)]
pub enum ToApi {
    /// What to serve: node name, metrics address. Sockets come with it: control socket first, then metrics.
    Plan(Box<Plan>),
    /// The answer to a call.
    Reply {
        /// The call's number.
        id: u64,
        /// The answer.
        reply: ApiReply,
    },
    /// For those who follow events.
    Event(Event),
    /// Another serves from here on: answer what was asked, then exit.
    Leave,
}

/// api to supervisor.
#[derive(Debug, Serialize, Deserialize)]
pub enum FromApi {
    /// The Plan is in force.
    Ready,
    /// Somebody on the control socket or over HTTP wants something.
    Call {
        /// Chosen by api.
        id: u64,
        /// What.
        call: ApiCall,
    },
}

/// What can be asked of a running node; also the JSON on the control socket, one object a line.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "call", rename_all = "kebab-case")]
pub enum ApiCall {
    /// The whole status.
    Status,
    /// Read the configuration again.
    Reload,
    /// Become the program that stands in our place in the file system.
    Upgrade,
    /// An operator's word about a vip, by name.
    Vip {
        /// Its name.
        name: String,
        /// move, drain, hold or ready.
        action: VipAction,
    },
    /// An operator's word about a pool, by name.
    Pool {
        /// Its name.
        name: String,
        /// What is done.
        #[serde(flatten)]
        action: PoolAction,
    },
    /// An operator's word about the voter list.
    Cluster(ClusterAction),
    /// What would become of a request?
    Route(Question),
    /// The events kept so far; on the control socket, `follow` goes on with one event a line.
    Events {
        /// Whether to go on.
        follow: bool,
    },
}

/// What an operator does to a vip.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum VipAction {
    /// Hand it to whoever comes next.
    Move,
    /// Give it up and stay out.
    Drain,
    /// Keep it here: nobody preempts it.
    Hold,
    /// Take part again.
    Ready,
}

/// What an operator asks of the cluster: changes of the voter list, one node at a time (rule 5 of the leases), and moves.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "action", rename_all = "lowercase")]
pub enum ClusterAction {
    /// One more voter, which the file names.
    Add {
        /// Its `node.id`.
        id: String,
    },
    /// One voter less.
    Remove {
        /// Its `node.id`.
        id: String,
    },
    /// Make a one-time token with which a node of the file enrols; the answer is the token.
    Enrol {
        /// Its `node.id`.
        id: String,
        /// How long it is good, in seconds.
        seconds: u64,
        /// Where the newcomer reaches this node, when its file does not say.
        addrs: Vec<String>,
    },
    /// Make the token of a node worthless.
    Revoke {
        /// Its `node.id`.
        id: String,
    },
    /// Forget a node's pinned key.
    Forget {
        /// Its `node.id`.
        id: String,
    },
    /// Hand a vip under a lease to a node.
    Move {
        /// The vip's name.
        vip: String,
        /// The node's id.
        to: String,
    },
    /// Take a vip of guard strict without the other node, which is dead and fenced.
    Take {
        /// The vip's name.
        vip: String,
        /// The dead node's id.
        fenced: String,
    },
}

/// What an operator does to a pool.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "action", rename_all = "lowercase")]
pub enum PoolAction {
    /// One more backend.
    Add {
        /// As the configuration would name it.
        backend: String,
        /// Its share; 1 when absent, and for one that the configuration has what that says.
        weight: Option<u32>,
    },
    /// A backend away.
    Remove {
        /// Which.
        backend: String,
    },
    /// Nothing new for a backend, but from clients bound to it.
    Drain {
        /// Which.
        backend: String,
    },
    /// In use again.
    Ready {
        /// Which.
        backend: String,
    },
    /// Another share.
    Weight {
        /// Which.
        backend: String,
        /// The share; 0 drains.
        weight: u32,
    },
}

/// Answers to `ApiCall`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "reply", rename_all = "kebab-case")]
pub enum ApiReply {
    /// The whole status.
    Status(Box<Status>),
    /// What happened lately, oldest first.
    Events {
        /// At most 256.
        events: Vec<Event>,
    },
    /// What would become of a request.
    Route(Box<RouteExplained>),
    /// Done; what was done.
    Done {
        /// A sentence.
        message: String,
    },
    /// Not done.
    Refused {
        /// Why: the whole report, several lines for a bad configuration.
        message: String,
    },
}
