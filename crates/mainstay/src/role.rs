//! The kinds of worker process and what each may do.

use std::fmt;

use mainstay_config::plan::{NotifyHow, Plan};

/// A kind of worker, in the order in which they are started.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    clap::ValueEnum,
    serde::Serialize,
    serde::Deserialize,
)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Runs the Plan's commands; forked first, root.
    Exec,
    /// Probes, webhooks, e-mail; no privilege.
    Probe,
    /// Speaks for a voter that is no node (etcd); no privilege.
    Registry,
    /// Elections, gates, addresses.
    Vip,
    /// Listeners, routes, pools; no privilege.
    Edge,
    /// Offers services through hubs elsewhere; no privilege.
    Agent,
    /// Control socket, metrics; no privilege.
    Api,
}

impl Role {
    /// Every role, in starting order.
    pub const ALL: [Self; 7] =
        [Self::Exec, Self::Probe, Self::Registry, Self::Vip, Self::Edge, Self::Agent, Self::Api];

    /// The word on the command line, in status and in metrics.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Exec => "exec",
            Self::Probe => "probe",
            Self::Registry => "registry",
            Self::Vip => "vip",
            Self::Edge => "edge",
            Self::Agent => "agent",
            Self::Api => "api",
        }
    }

    /// How many processes share the work.
    #[must_use]
    pub fn instances(self, plan: &Plan) -> u16 {
        match self {
            Self::Exec | Self::Probe | Self::Registry | Self::Vip => 1,
            Self::Edge => plan.edge.instances,
            // One that has nothing left to offer ends.
            Self::Agent => u16::from(!plan.agents.is_empty() || !plan.visits.is_empty()),
            Self::Api => 2,
        }
    }

    /// Whether the Plan gives it something to do; a role with nothing to do is not started.
    #[must_use]
    pub fn wanted(self, plan: &Plan) -> bool {
        match self {
            Self::Exec => !plan.commands.is_empty(),
            Self::Probe => {
                let outward = |how: &NotifyHow| matches!(how, NotifyHow::Webhook { .. } | NotifyHow::Mail);
                let vips = plan.vips.iter().flat_map(|v| &v.notify);
                let groups = plan.groups.iter().flat_map(|g| &g.notify);
                // A probe that tells somebody is one.
                !plan.probes.is_empty() || vips.chain(groups).any(|n| outward(&n.how))
            }
            Self::Registry => plan.cluster.as_ref().is_some_and(|cluster| cluster.external().is_some()),
            // A witness has no vip and votes.
            Self::Vip => !plan.vips.is_empty() || plan.cluster.is_some(),
            Self::Edge => !plan.edge.is_empty(),
            Self::Agent => !plan.agents.is_empty() || !plan.visits.is_empty(),
            Self::Api => true,
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
