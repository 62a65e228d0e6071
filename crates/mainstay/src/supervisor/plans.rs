//! What each role gets of the Plan: no more than it needs, and no secret of another.

use mainstay_config::plan::Plan;
use mainstay_config::plan::cluster::Cluster;
use mainstay_config::plan::edge::{Edge, Gost, Hub, Pool};
use mainstay_config::plan::gost::Serves;

use crate::role::Role;

/// The part of the Plan that a role may see. An edge process gets the edge in a message of its own.
pub(super) fn part(plan: &Plan, role: Role) -> Plan {
    let edge = match role {
        // A probe of a pool counts its backends.
        Role::Probe => Edge { pools: plan.edge.pools.iter().map(without_keys).collect(), ..Edge::default() },
        Role::Api => plugins(plan),
        Role::Exec | Role::Registry | Role::Vip | Role::Edge | Role::Agent => Edge::default(),
    };
    let cluster = match role {
        Role::Vip => plan.cluster.as_ref().map(Cluster::without_access),
        Role::Registry => plan.cluster.as_ref().map(Cluster::without_secrets),
        // Whose lock it may read and write.
        Role::Exec => plan.cluster.as_ref().map(|cluster| cluster.without_secrets().without_access()),
        Role::Probe | Role::Edge | Role::Agent | Role::Api => None,
    };
    Plan {
        node: plan.node.clone(),
        cluster,
        links: plan.links.clone(),
        vips: plan.vips.clone(),
        groups: plan.groups.clone(),
        probes: plan.probes.clone(),
        commands: plan.commands.clone(),
        mail: plan.mail.clone(),
        metrics: plan.metrics,
        // Their keys are for nobody else.
        agents: if role == Role::Agent { plan.agents.clone() } else { Vec::new() },
        // What it knows us by is for nobody else, but for plugins that keep all there.
        registry: plan.registry.clone().filter(|_| role == Role::Registry || edge.gost.is_some()),
        visits: if role == Role::Agent { plan.visits.clone() } else { Vec::new() },
        edge,
    }
}

/// What plugins that the node is itself are made of; nothing when it is none.
fn plugins(plan: &Plan) -> Edge {
    let gost = plan.edge.gost.clone().filter(|gost| gost.serves != Serves::default());
    let Some(gost) = gost else { return Edge::default() };
    let hub = Hub { domain: plan.edge.hub.domain.clone(), ..Hub::default() };
    Edge { gost: Some(Gost { users: Vec::new(), ..gost }), hub, ..Edge::default() }
}

fn without_keys(pool: &Pool) -> Pool {
    Pool { tls: None, ..pool.clone() }
}
