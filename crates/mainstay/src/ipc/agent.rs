//! What the supervisor and the agent role say to each other.

use std::time::Duration;

use mainstay_config::plan::Plan;
use serde::{Deserialize, Serialize};

use crate::status::{AgentStatus, Event};

/// Supervisor to agent.
#[derive(Debug, Serialize, Deserialize)]
pub enum ToAgent {
    /// What to offer from here on, with the agents' keys.
    Plan(Box<Plan>),
    /// Take no new streams, and end within this.
    Leave(Duration),
}

/// agent to supervisor.
#[derive(Debug, Serialize, Deserialize)]
pub enum FromAgent {
    /// The Plan is in force: each agent has met its hubs, or they were waited for.
    Ready,
    /// How all agents do, every second.
    State(Vec<AgentStatus>),
    /// A service is served, a hub refuses, a target is out, ...
    Event(Event),
}
