//! The agent worker as the supervisor sees it.

use std::time::Duration;

use mainstay_config::plan::Plan;

use super::Supervisor;
use crate::ipc::FromAgent;
use crate::role::Role;
use crate::status::Status;

/// How long streams of any of the Plan's agents may go on.
pub(super) fn longest_drain(plan: &Plan) -> Duration {
    let visits = plan.visits.iter().map(|visit| visit.drain);
    plan.agents.iter().map(|agent| agent.drain).chain(visits).max().unwrap_or_default()
}

impl Supervisor {
    pub(super) fn hear_agent(&mut self, slot: usize, message: FromAgent) {
        match message {
            FromAgent::Ready => self.confirmed(slot),
            // One that leaves has nothing to say of how things are.
            FromAgent::State(agents) if self.workers[slot].is_current() => self.agents = agents,
            FromAgent::State(_) => {}
            FromAgent::Event(event) => self.news.push_back(event),
        }
    }

    /// What is known of agents; of a worker that died, nothing.
    pub(super) fn agent_status(&self, status: &mut Status) {
        if !Role::Agent.wanted(&self.plan) {
            return;
        }
        let runs = |w: &super::Worker| w.role == Role::Agent && w.is_current() && w.running.is_some();
        if self.workers.iter().any(runs) {
            status.degraded.extend(self.agents.iter().flat_map(crate::status::AgentStatus::degraded));
            status.agents.clone_from(&self.agents);
        }
    }
}
