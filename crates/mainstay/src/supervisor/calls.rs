//! What the api role asks for, on behalf of an operator.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use mainstay_core::election::Operator;
use mainstay_core::name::{CommandId, VipId};
use mainstay_core::time::Boot;
use mainstay_proxy::route::Question;
use mainstay_sys::clock::boot_now;

use super::Supervisor;
use crate::events::wall_ms;
use crate::ipc::{ApiCall, ApiReply, Asker, RouteExplained, ToApi, ToEdge, ToVip, VipAction};
use crate::role::Role;
use crate::status::{Counter, Status, WorkerStatus};

/// How long the vip role may take to answer a question for its status.
const ANSWER_MAX: Duration = Duration::from_secs(1);

/// How long edge processes may take to do what they are told before the asker hears that it is done.
const DONE_MAX: Duration = Duration::from_secs(3);

/// An api worker asks for the status once at a time; a status of thousands of vips takes long to encode.
const STATUS_MAX: usize = 4;

/// Those who wait for an answer.
#[derive(Default)]
pub(super) struct Calls {
    /// Slot and number of each call for the status; one question to each worker serves them all.
    status: Vec<(usize, u64)>,
    /// Slots of workers that were asked and have not answered.
    asked: HashSet<usize>,
    /// What the vip worker has answered.
    from_vip: Option<Status>,
    by: Option<Boot>,
    /// Questions about routes: number, the edge's slot, and the asker's slot and number.
    questions: Vec<(u64, usize, (usize, u64))>,
    next_question: u64,
    /// Words about the cluster that the vip worker has not answered.
    pub(super) asked_cluster: Vec<super::cluster::Asked>,
    /// Answers that are held back until edge processes have done what they tell of.
    held: Vec<Held>,
    /// Commands under way, so that their askers can be told when exec dies.
    /// and the slot of the exec worker that runs each.
    pub(super) runs: HashMap<(Asker, u64), (CommandId, usize)>,
}

/// An answer that waits.
struct Held {
    number: u64,
    /// Slots of edge workers that have not done it.
    waits_for: HashSet<usize>,
    by: Boot,
    asker: (usize, u64),
    reply: ApiReply,
}

impl Calls {
    pub(super) fn deadline(&self) -> Option<Boot> {
        let asked = self.asked_cluster.iter().map(super::cluster::Asked::by);
        self.held.iter().map(|held| held.by).chain(self.by).chain(asked).min()
    }

    /// The number of a question to a worker.
    pub(super) fn number(&mut self) -> u64 {
        self.next_question += 1;
        self.next_question - 1
    }
}

impl Supervisor {
    pub(super) fn take_call(&mut self, slot: usize, id: u64, call: ApiCall) {
        let reply = match call {
            ApiCall::Status => {
                self.ask_status(slot, id);
                return;
            }
            ApiCall::Reload => match self.reload() {
                Ok(message) => {
                    self.answer_when_done(slot, id, ApiReply::Done { message });
                    return;
                }
                Err(message) => ApiReply::Refused { message },
            },
            ApiCall::Upgrade => {
                self.begin_upgrade(Some((slot, id)));
                return;
            }
            ApiCall::Vip { name, action } => self.vip_action(&name, action),
            ApiCall::Cluster(action) => {
                self.ask_cluster(slot, id, action);
                return;
            }
            ApiCall::Route(question) => {
                self.ask_route(slot, id, question);
                return;
            }
            ApiCall::Pool { name, action } => {
                let reply = self.pool_action(&name, &action);
                self.answer_when_done(slot, id, reply);
                return;
            }
            ApiCall::Events { .. } => ApiReply::Events { events: self.events.all() },
        };
        self.workers[slot].send(&ToApi::Reply { id, reply });
    }

    fn vip_action(&mut self, name: &str, action: VipAction) -> ApiReply {
        let Some(index) = self.plan.vips.iter().position(|v| v.spec.name == name) else {
            let known: Vec<&str> = self.plan.vips.iter().map(|v| v.spec.name.as_str()).collect();
            return ApiReply::Refused { message: crate::words::unknown("vip", name, &known) };
        };
        if !self.workers.iter().any(|w| w.role == Role::Vip && w.running.is_some()) {
            return ApiReply::Refused {
                message: "the vip worker is being started again; try once more".into(),
            };
        }
        let here = match action {
            VipAction::Move => Some(("moved", "move it")),
            VipAction::Hold => Some(("put on hold", "hold it")),
            VipAction::Drain | VipAction::Ready => None,
        };
        if let Some((done, word)) = here.filter(|_| !self.deposits.holds(name)) {
            return ApiReply::Refused {
                message: format!(
                    "vip {name} is not held by this node, so nothing was {done}; {word} where it is active"
                ),
            };
        }
        let vip = VipId(u32::try_from(index).expect("a Plan has fewer than 2^32 vips"));
        let (word, message) = match action {
            VipAction::Move => (Operator::Move(vip), format!("vip {name} is handed to whoever comes next")),
            VipAction::Drain => (
                Operator::Drain(vip),
                format!("vip {name} stays away from this node until `vip ready {name}`"),
            ),
            VipAction::Hold => (
                Operator::Hold(vip),
                format!(
                    "vip {name} stays on this node until `vip ready {name}`: only a fault or a stop ends it"
                ),
            ),
            VipAction::Ready => (Operator::Ready(vip), format!("vip {name} may be held by this node again")),
        };
        self.tell(Role::Vip, &ToVip::Operator(word));
        ApiReply::Done { message }
    }

    fn ask_status(&mut self, slot: usize, id: u64) {
        if self.calls.status.iter().filter(|(asker, _)| *asker == slot).count() >= STATUS_MAX {
            let message = "too many questions for the status at once; try once more".into();
            self.workers[slot].send(&ToApi::Reply { id, reply: ApiReply::Refused { message } });
            return;
        }
        self.calls.status.push((slot, id));
        if self.calls.by.is_some() {
            return;
        }
        self.calls.by = Some(boot_now() + ANSWER_MAX);
        self.calls.from_vip = None;
        for (slot, worker) in self.workers.iter_mut().enumerate().filter(|(_, w)| w.running.is_some()) {
            match worker.role {
                Role::Vip => worker.send(&ToVip::Status),
                Role::Edge => worker.send(&ToEdge::Status),
                Role::Exec | Role::Probe | Role::Registry | Role::Agent | Role::Api => continue,
            }
            self.calls.asked.insert(slot);
        }
        self.answer_if_known();
    }

    /// The vip worker has answered.
    pub(super) fn vip_answered(&mut self, slot: usize, status: Status) {
        self.calls.asked.remove(&slot);
        self.calls.from_vip = Some(status);
        self.answer_if_known();
    }

    /// An edge worker has answered.
    pub(super) fn edge_answered(&mut self, slot: usize) {
        self.calls.asked.remove(&slot);
        self.answer_if_known();
    }

    /// A worker is dead: it neither waits nor answers.
    pub(super) fn forget_calls(&mut self, slot: usize) {
        self.calls.status.retain(|(asker, _)| *asker != slot);
        self.calls.questions.retain(|(_, _, (asker, _))| *asker != slot);
        self.calls.held.retain(|held| held.asker.0 != slot);
        self.calls.asked_cluster.retain(|asked| !asked.is_of(slot));
        for held in &mut self.calls.held {
            held.waits_for.remove(&slot);
        }
        self.let_go(boot_now());
        let lost: Vec<(usize, u64)> = self
            .calls
            .questions
            .extract_if(.., |(_, edge, _)| *edge == slot)
            .map(|(.., asker)| asker)
            .collect();
        for (slot, id) in lost {
            let message = "the edge worker that was asked has died; try once more".into();
            self.workers[slot].send(&ToApi::Reply { id, reply: ApiReply::Refused { message } });
        }
        self.calls.asked.remove(&slot);
        self.answer_if_known();
    }

    /// Answers once every edge process has done what it was told: whoever asked may count on it.
    fn answer_when_done(&mut self, slot: usize, id: u64, reply: ApiReply) {
        let number = self.calls.number();
        let mut waits_for = HashSet::new();
        for (slot, worker) in self.workers.iter_mut().enumerate() {
            if worker.role == Role::Edge && worker.is_current() && worker.running.is_some() {
                worker.send(&ToEdge::Sync(number));
                waits_for.insert(slot);
            }
        }
        let by = boot_now() + DONE_MAX;
        self.calls.held.push(Held { number, waits_for, by, asker: (slot, id), reply });
        self.let_go(boot_now());
    }

    /// An edge worker has done it.
    pub(super) fn synced(&mut self, slot: usize, number: u64) {
        for held in self.calls.held.iter_mut().filter(|held| held.number == number) {
            held.waits_for.remove(&slot);
        }
        self.let_go(boot_now());
    }

    /// Answers what has nothing to wait for any more.
    fn let_go(&mut self, now: Boot) {
        let done = |held: &mut Held| held.waits_for.is_empty() || held.by <= now;
        let done: Vec<Held> = self.calls.held.extract_if(.., done).collect();
        for Held { asker: (slot, id), reply, .. } in done {
            self.workers[slot].send(&ToApi::Reply { id, reply });
        }
    }

    /// Has an edge process say what would become of a request.
    fn ask_route(&mut self, slot: usize, id: u64, question: Question) {
        let ready = |w: &super::Worker| {
            w.role == Role::Edge && w.is_current() && w.running.as_ref().is_some_and(|r| r.ready)
        };
        let Some(edge) = self.workers.iter().position(ready) else {
            let message = if self.plan.edge.is_empty() {
                "the configuration has no listener".into()
            } else {
                "no edge worker is ready; try once more".into()
            };
            self.workers[slot].send(&ToApi::Reply { id, reply: ApiReply::Refused { message } });
            return;
        };
        let number = self.calls.number();
        self.calls.questions.push((number, edge, (slot, id)));
        self.workers[edge].send(&ToEdge::Explain { id: number, question: Box::new(question) });
    }

    /// An edge worker has said it.
    pub(super) fn route_explained(&mut self, number: u64, explained: Box<RouteExplained>) {
        let Some(at) = self.calls.questions.iter().position(|(n, ..)| *n == number) else { return };
        let (_, _, (slot, id)) = self.calls.questions.swap_remove(at);
        self.workers[slot].send(&ToApi::Reply { id, reply: ApiReply::Route(explained) });
    }

    fn answer_if_known(&mut self) {
        if self.calls.by.is_some() && self.calls.asked.is_empty() {
            self.answer_status();
        }
    }

    pub(super) fn expire_calls(&mut self, now: Boot) {
        self.let_go(now);
        self.expire_cluster(now);
        if self.calls.by.is_some_and(|by| now >= by) {
            self.answer_status();
        }
    }

    /// Completes what the vip role said with what the supervisor knows, and answers all who wait.
    fn answer_status(&mut self) {
        self.calls.by = None;
        self.calls.asked.clear();
        let from_vip = self.calls.from_vip.take();
        let waiting = std::mem::take(&mut self.calls.status);
        if waiting.is_empty() {
            return;
        }
        let status = self.status(from_vip);
        for (slot, id) in waiting {
            let reply = ApiReply::Status(Box::new(status.clone()));
            self.workers[slot].send(&ToApi::Reply { id, reply });
        }
        // A status of a thousand vips is a megabyte of text that nobody needs a moment later.
        mainstay_sys::process::trim_memory();
    }

    fn status(&self, from_vip: Option<Status>) -> Status {
        let silent = from_vip.is_none() && Role::Vip.wanted(&self.plan);
        let mut status = from_vip.unwrap_or_else(|| Status::empty(&self.plan.node));
        if silent {
            status.degraded.push("the vip worker does not answer".into());
        }
        status.node.clone_from(&self.plan.node);
        status.version = env!("CARGO_PKG_VERSION").into();
        status.uptime_s = boot_now().since(self.started).as_secs();
        status.at_ms = wall_ms();
        status.probes = self.plan.probes.iter().filter_map(|p| self.probes.get(&p.name).cloned()).collect();
        let wanted = |w: &&super::Worker| w.is_current() && w.role.wanted(&self.plan);
        let mut workers: Vec<&super::Worker> = self.workers.iter().filter(wanted).collect();
        workers.sort_by_key(|w| (w.role, w.instance));
        let shown = |w: &&super::Worker| WorkerStatus {
            role: w.role.name().into(),
            pid: w.pid(),
            restarts: w.restarts,
        };
        status.workers = workers.iter().map(shown).collect();
        for worker in status.workers.iter().filter(|w| w.pid.is_none()) {
            status.degraded.push(format!("the {} worker is down and being started again", worker.role));
        }
        let leased = status.vips.iter().filter_map(|vip| Some((vip, vip.lease.as_ref()?)));
        let wanting: Vec<&str> =
            leased.filter(|(_, lease)| lease.left_ms.is_none()).map(|(vip, _)| vip.name.as_str()).collect();
        let cluster = status.cluster.as_ref().map(|cluster| cluster.degraded(&wanting));
        status.degraded.extend(cluster.unwrap_or_default());
        self.edge_status(&mut status);
        self.agent_status(&mut status);
        self.registry_status(&mut status);
        let counter = |name: &str, value| Counter { name: name.into(), labels: Vec::new(), value };
        match status.counters.iter_mut().find(|c| c.name == "notify_failures_total") {
            Some(known) => known.value += self.deliveries_failed,
            None => status.counters.push(counter("notify_failures_total", self.deliveries_failed)),
        }
        status.counters.push(counter("upgrades_total", self.upgrades));
        status.counters.push(counter("reloads_total", self.reloads));
        status.counters.push(counter("reload_failures_total", self.reload_failures));
        status
    }
}
