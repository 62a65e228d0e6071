//! An operator's word about the cluster: asked of the vip role, which has the voter list, and answered in its words.

use std::time::Duration;

use mainstay_core::time::Boot;
use mainstay_sys::clock::boot_now;

use super::Supervisor;
use crate::ipc::{ApiReply, ClusterAction, ToApi, ToVip};
use crate::role::Role;

/// The vip role says at once whether it begins.
const ANSWER_MAX: Duration = Duration::from_secs(3);

/// A word that has not been answered.
pub(super) struct Asked {
    number: u64,
    by: Boot,
    asker: (usize, u64),
}

impl Supervisor {
    pub(super) fn ask_cluster(&mut self, slot: usize, id: u64, action: ClusterAction) {
        let refusal = if self.plan.cluster.is_none() {
            let node = &self.plan.node;
            Some(format!("node {node} speaks with no other: write key and peers in [cluster]"))
        } else if !self.workers.iter().any(|w| w.role == Role::Vip && w.running.is_some()) {
            Some("the vip worker is being started again; try once more".into())
        } else {
            None
        };
        if let Some(message) = refusal {
            self.workers[slot].send(&ToApi::Reply { id, reply: ApiReply::Refused { message } });
            return;
        }
        let number = self.calls.number();
        self.calls.asked_cluster.push(Asked { number, by: boot_now() + ANSWER_MAX, asker: (slot, id) });
        self.tell(Role::Vip, &ToVip::Cluster { number, action });
    }

    /// The vip role has said what it does.
    pub(super) fn cluster_answered(&mut self, number: u64, said: Result<String, String>) {
        let Some(at) = self.calls.asked_cluster.iter().position(|asked| asked.number == number) else {
            return;
        };
        let (slot, id) = self.calls.asked_cluster.swap_remove(at).asker;
        let reply = match said {
            Ok(message) => ApiReply::Done { message },
            Err(message) => ApiReply::Refused { message },
        };
        self.workers[slot].send(&ToApi::Reply { id, reply });
    }

    /// Nobody waits for ever, and nobody answers an asker that is gone.
    pub(super) fn expire_cluster(&mut self, now: Boot) {
        let late: Vec<Asked> = self.calls.asked_cluster.extract_if(.., |asked| asked.by <= now).collect();
        for Asked { asker: (slot, id), .. } in late {
            let message = "the vip worker does not answer; try once more".into();
            self.workers[slot].send(&ToApi::Reply { id, reply: ApiReply::Refused { message } });
        }
    }
}

impl Asked {
    pub(super) const fn by(&self) -> Boot {
        self.by
    }

    pub(super) const fn is_of(&self, slot: usize) -> bool {
        self.asker.0 == slot
    }
}
