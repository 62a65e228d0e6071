//! What each worker says, and to whom it is passed on. A role's message type is its allow-list.

use mainstay_core::name::CommandId;
use mainstay_sys::clock::boot_now;
use rustix::event::PollFlags;
use serde::de::DeserializeOwned;

use super::Supervisor;
use crate::ipc::{
    Asker, Closed, FromApi, FromExec, FromProbe, FromRegistry, FromVip, Outcome, Run, ToEdge, ToExec,
    ToProbe, ToRegistry, ToVip,
};
use crate::role::Role;
use crate::status::ProbeStatus;

/// Messages taken from one worker before the others are looked at.
const BATCH: usize = 256;

impl Supervisor {
    /// Reads what a worker has to say and sends what its full queue had left behind.
    pub(super) fn hear(&mut self, slot: usize, flags: PollFlags) {
        if flags.contains(PollFlags::OUT)
            && let Some(running) = self.workers[slot].running.as_mut()
            && let Err(error) = running.flush()
        {
            tracing::debug!("flush a worker's queue: {error:#}");
        }
        match self.workers[slot].role {
            Role::Vip => {
                self.hear_each(slot, Self::hear_vip);
                // Its descriptors go before its death is told: that may take the kernel long.
                if self.workers[slot].running.as_ref().is_some_and(|r| r.closed) {
                    self.deposits.redeem();
                }
            }
            Role::Probe => self.hear_each(slot, Self::hear_probe),
            Role::Registry => self.hear_each(slot, Self::hear_registry),
            Role::Exec => self.hear_each(slot, Self::hear_exec),
            Role::Edge => self.hear_each(slot, Self::hear_edge),
            Role::Agent => self.hear_each(slot, Self::hear_agent),
            Role::Api => self.hear_each(slot, Self::hear_api),
        }
    }

    fn hear_each<T: DeserializeOwned>(&mut self, slot: usize, take: fn(&mut Self, usize, T)) {
        for _ in 0..BATCH {
            self.breath.take();
            let Some(running) = self.workers[slot].running.as_mut() else { return };
            match running.channel.receive::<T>() {
                Ok(Some(received)) => {
                    running.alive = boot_now();
                    take(self, slot, received.message);
                }
                Ok(None) => return,
                Err(error) if error.is::<Closed>() => {
                    running.closed = true;
                    return;
                }
                Err(error) => {
                    let role = self.workers[slot].role;
                    tracing::error!(%role, "a worker said what it may not say: {error:#}; killing it");
                    if let Some(running) = &self.workers[slot].running {
                        running.kill();
                    }
                    return;
                }
            }
        }
    }

    fn hear_vip(&mut self, slot: usize, message: FromVip) {
        match message {
            FromVip::Ready => self.confirmed(slot),
            FromVip::Alive => self.feed_watchdog(),
            FromVip::Alone(alone) => self.alone = alone,
            FromVip::Deposit(deposits) => self.deposits.keep(deposits),
            FromVip::Withdraw(vips) => self.deposits.withdraw(&vips),
            FromVip::Event(event) => self.news.push_back(event),
            FromVip::Run(run) => self.forward_run(slot, run, Asker::Vip),
            FromVip::Notice(notice) => self.tell(Role::Probe, &ToProbe::Notice(notice)),
            FromVip::Status(status) => self.vip_answered(slot, *status),
            FromVip::Cluster { number, said } => self.cluster_answered(number, said),
            FromVip::Pinned { id, key } => {
                super::identity::pin(&self.options.dirs.state, id.clone(), key);
                if let Some(identity) = &mut self.identity {
                    identity.pins.insert(id, key);
                }
            }
            FromVip::Forgotten { id } => {
                if let Err(error) = super::identity::forget(&self.options.dirs.state, &id) {
                    tracing::error!("{error:#}: the key of {id} is forgotten until this node restarts only");
                }
                if let Some(key) = self.identity.as_mut().and_then(|identity| identity.pins.remove(&id)) {
                    self.identity.iter_mut().for_each(|identity| identity.forgotten.push(key));
                }
            }
            FromVip::Adopted(list) => {
                if let Err(error) =
                    super::identity::adopt(&self.options.dirs.state, self.plan.cluster.as_ref(), &list)
                {
                    tracing::error!("{error:#}; this node promises nothing until its voter list is kept");
                    return;
                }
                self.tell(Role::Vip, &ToVip::Kept { epoch: list.epoch });
                if let Some(identity) = &mut self.identity {
                    identity.list = Some(list);
                }
            }
            FromVip::Posted(posted) => self.tell(Role::Registry, &ToRegistry::Posted(posted)),
            FromVip::Duplicate(why) => self.end_unfit(why),
            FromVip::Stopped => self.vips_are_gone(),
            FromVip::Held(vips) => {
                self.tell(Role::Probe, &ToProbe::Held(vips.clone()));
                self.held = vips;
            }
        }
    }

    fn hear_probe(&mut self, slot: usize, message: FromProbe) {
        match message {
            FromProbe::Ready => self.confirmed(slot),
            FromProbe::Verdict(status) => self.pass_verdict(status),
            FromProbe::Run(run) => self.forward_run(slot, run, Asker::Probe),
            FromProbe::Event(event) => {
                // Webhooks and mails that failed for good; the vip role counts commands.
                self.deliveries_failed += u64::from(event.kind == "notify");
                self.news.push_back(event);
            }
        }
    }

    fn hear_registry(&mut self, slot: usize, message: FromRegistry) {
        match message {
            FromRegistry::Ready => self.confirmed(slot),
            FromRegistry::Heard(heard) => self.tell(Role::Vip, &ToVip::Heard(heard)),
            FromRegistry::State(state) => self.tell(Role::Vip, &ToVip::External(state)),
            FromRegistry::Hubs(hubs) => self.hubs_told(hubs),
            FromRegistry::Event(event) => self.news.push_back(event),
        }
    }

    /// Nobody speaks for the external voter; what vip has left for it is said; while the node stops, nothing more is posted to it either once vip is gone.
    pub(super) fn bury_registry(&mut self, dead: Role) {
        match dead {
            Role::Registry => self.tell(Role::Vip, &ToVip::External(None)),
            Role::Vip => {
                for posted in self.deposits.take_posted() {
                    self.tell(Role::Registry, &ToRegistry::Posted(posted));
                }
                self.dismiss_registry();
            }
            // Its successor tells.
            Role::Agent => self.agents.clear(),
            Role::Exec | Role::Probe | Role::Edge | Role::Api => {}
        }
    }

    fn hear_exec(&mut self, slot: usize, message: FromExec) {
        match message {
            FromExec::Ready => self.confirmed(slot),
            FromExec::Ran(outcome) => self.pass_outcome(outcome),
        }
    }

    fn hear_api(&mut self, slot: usize, message: FromApi) {
        match message {
            FromApi::Ready => self.confirmed(slot),
            FromApi::Call { id, call } => self.take_call(slot, id, call),
        }
    }

    /// The worker's indices are those of the next Plan it was sent.
    pub(super) fn confirmed(&mut self, slot: usize) {
        let Some(running) = self.workers[slot].running.as_mut() else { return };
        running.ready = true;
        if let Some(plan) = running.sent.pop_front() {
            running.plan = plan;
        }
        let role = self.workers[slot].role;
        if self.upgraded.is_none() {
            self.retire_replaced(role);
        }
    }

    fn pass_verdict(&mut self, status: ProbeStatus) {
        self.heard.insert(status.name.clone(), boot_now());
        self.tell(Role::Vip, &ToVip::Probe(status.clone()));
        self.tell(Role::Edge, &ToEdge::Health(status.clone()));
        self.probes.insert(status.name.clone(), status);
    }

    /// Hands a command to exec, its index translated from the asker's Plan to exec's.
    fn forward_run(&mut self, slot: usize, mut run: Run, asker: Asker) {
        run.asker = asker;
        let theirs =
            self.workers[slot].running.as_ref().and_then(|r| r.plan.commands.get(run.command.index()));
        let index = theirs.and_then(|c| self.exec_plan.commands.iter().position(|known| known == c));
        let exec = |w: &super::Worker| w.role == Role::Exec && w.is_current() && w.running.is_some();
        match (index, self.workers.iter().position(exec)) {
            (Some(index), Some(exec)) => {
                run.command = CommandId(u32::try_from(index).expect("a Plan has fewer than 2^32 commands"));
                self.calls.runs.insert((run.asker, run.id), (run.command, exec));
                self.workers[exec].send(&ToExec::Run(run));
            }
            (Some(_), None) => self.pass_outcome(not_run(&run, "the exec worker is being started again")),
            (None, _) => self.pass_outcome(not_run(&run, "the configuration has no such command any more")),
        }
    }

    fn pass_outcome(&mut self, outcome: Outcome) {
        self.calls.runs.remove(&(outcome.asker, outcome.id));
        match outcome.asker {
            Asker::Vip => self.tell(Role::Vip, &ToVip::Ran(outcome)),
            Asker::Probe => self.tell(Role::Probe, &ToProbe::Ran(outcome)),
        }
    }

    /// exec has died: whoever waits for a command is told so.
    pub(super) fn fail_runs(&mut self, slot: usize) {
        let lost: Vec<_> = self
            .calls
            .runs
            .iter()
            .filter(|(_, (_, at))| *at == slot)
            .map(|(run, (c, _))| (*run, *c))
            .collect();
        for ((asker, id), command) in lost {
            let run = Run { id, command, args: Vec::new(), env: Vec::new(), asker };
            self.pass_outcome(not_run(&run, "the exec worker died while it ran"));
        }
    }

    /// Sends a message to every worker of a role; of those that are to end only to the ones that still have use for it.
    pub(super) fn tell<T: serde::Serialize>(&mut self, role: Role, message: &T) {
        let all = matches!(role, Role::Vip | Role::Edge | Role::Api);
        for worker in self.workers.iter_mut().filter(|w| w.role == role && (all || w.is_current())) {
            worker.send(message);
        }
    }
}

fn not_run(run: &Run, why: &str) -> Outcome {
    Outcome {
        id: run.id,
        asker: run.asker,
        command: run.command,
        code: None,
        signal: None,
        timed_out: false,
        error: Some(why.into()),
        lost: true,
        output: String::new(),
        took_ms: 0,
    }
}
