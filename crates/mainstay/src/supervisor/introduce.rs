//! Who the vip worker is to its peers: the state directory is claimed and looked at once, and its worker is told.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use mainstay_config::plan::Plan;
use mainstay_core::time::Boot;

use super::worker::Worker;
use super::{Supervisor, identity};
use crate::ipc::ToVip;
use crate::role::Role;

/// A state directory that cannot be used is tried again after so long.
const INTRODUCE: Duration = Duration::from_secs(2);

/// Makes the state directory ours, for a command that changes what lies there.
///
/// # Errors
/// When a node runs with it.
pub(crate) fn lock_state(state: &std::path::Path) -> anyhow::Result<std::fs::File> {
    identity::lock(state)
}

/// Claims the state directory of a node that has peers, and makes sure that what it says of voters can be right.
///
/// # Errors
/// When another node runs with it, it cannot be used, or this node must not start with it.
pub(super) fn claim(state: &Path, plan: &Plan) -> anyhow::Result<Option<File>> {
    let Some(cluster) = &plan.cluster else { return Ok(None) };
    let lock = identity::lock(state)?;
    identity::fit(state, cluster)?;
    Ok(Some(lock))
}

impl Supervisor {
    /// Tells the vip worker who it is to the peers of this Plan.
    pub(super) fn introduce(&mut self, slot: usize, plan: &Plan) {
        if plan.cluster.is_none() {
            return;
        }
        if self.state_lock.is_none() {
            match identity::lock(&self.options.dirs.state) {
                Ok(lock) => self.state_lock = Some(lock),
                Err(error) => {
                    self.end_unfit(format!("{error:#}"));
                    return;
                }
            }
        }
        if self.identity.is_none() {
            match identity::next(&self.options.dirs.state, self.known_list.take()) {
                Ok(identity) => self.identity = Some(identity),
                Err(error) => {
                    tracing::error!("this node cannot speak with its peers: {error:#}");
                    return;
                }
            }
        }
        if let Some(identity) = &self.identity {
            self.workers[slot].send(&ToVip::Identity(Box::new(identity.clone())));
        }
    }

    /// A state directory that could not be used may have room by now.
    pub(super) fn introduce_again(&mut self, now: Boot) {
        if self.plan.cluster.is_none() || self.identity.is_some() || now < self.introduce_at {
            return;
        }
        self.introduce_at = now + INTRODUCE;
        let alive = |w: &Worker| w.role == Role::Vip && w.is_current() && w.running.is_some();
        if let Some(slot) = self.workers.iter().position(alive) {
            let plan = Arc::clone(&self.plan);
            self.introduce(slot, &plan);
        }
    }

    /// This node must not run.
    pub(super) fn end_unfit(&mut self, why: String) {
        tracing::error!("{why}: this node ends, so that the one that came first is not disturbed");
        self.unfit.get_or_insert(why);
        self.begin_stop_hurriedly();
    }
}
