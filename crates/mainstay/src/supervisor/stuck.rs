//! Workers that live and do nothing: a silent vip role, a probe role whose results are overdue.

use std::time::Duration;

use mainstay_config::plan::Probe;
use mainstay_core::election::Verdict;
use mainstay_core::time::Boot;

use super::Supervisor;
use crate::ipc::ToVip;
use crate::role::Role;

/// A vip role that says nothing for this long, while its process lives, is stuck and is killed; its gate has
/// closed long before.
pub(super) const VIP_SILENCE: Duration = Duration::from_secs(5);

/// An edge process whose threads do not come round for this long is stuck and is killed; a large configuration takes seconds.
const EDGE_SILENCE: Duration = Duration::from_secs(15);

/// A registry process says every second how its store does.
const REGISTRY_SILENCE: Duration = Duration::from_secs(10);

/// An agent process says every second how its agents do.
const AGENT_SILENCE: Duration = Duration::from_secs(10);

/// A loop of ours that comes round so much too late was not running, and its workers perhaps neither.
const FROZEN: Duration = Duration::from_millis(500);

/// The probe role renews what it says of a probe at least this often, however short the interval is.
const RENEWED: Duration = Duration::from_secs(1);

impl Supervisor {
    /// Kills whom nothing was heard of for too long.
    pub(super) fn kill_stuck(&mut self, now: Boot) {
        // Who was frozen itself judges nobody: signs of life may wait unread.
        if now.since(self.look_by.max(self.looked)) >= FROZEN {
            self.workers.iter_mut().filter_map(|w| w.running.as_mut()).for_each(|r| r.alive = now);
            self.heard.values_mut().for_each(|heard| *heard = now);
        }
        self.looked = now;
        for worker in &self.workers {
            let (Some(most), Some(running)) = (silence(worker.role), worker.running.as_ref()) else {
                continue;
            };
            if running.ready && now.since(running.alive) > most {
                tracing::error!(role = %worker.role, "the worker has been silent for {} s: killing it", most.as_secs());
                running.kill();
            }
        }
        self.judge_probes(now);
    }

    /// A verdict that nobody renews is not trusted: the vips are told, and the worker gets a successor.
    fn judge_probes(&mut self, now: Boot) {
        let Some(slot) = self.workers.iter().position(|w| w.role == Role::Probe && w.is_current()) else {
            return;
        };
        let Some(running) = self.workers[slot].running.as_ref().filter(|r| !r.closed) else { return };
        let started = running.started;
        let overdue = |p: &&Probe| {
            let heard = self.heard.get(&p.name);
            heard.is_some_and(|heard| now.since((*heard).max(started)) > patience(p))
        };
        let Some(name) = self.plan.probes.iter().find(overdue).map(|p| p.name.clone()) else { return };
        tracing::error!(probe = name, "the probe worker says nothing of it any more: killing it");
        running.kill();
        self.heard.clear();
        for status in self.probes.values_mut() {
            status.verdict = Verdict::Unknown;
        }
        let all: Vec<_> = self.probes.values().cloned().collect();
        for status in all {
            self.tell(Role::Vip, &ToVip::Probe(status));
        }
    }

    /// When somebody may be found stuck.
    pub(super) fn next_judgement(&self) -> Option<Boot> {
        let vips = self.workers.iter().filter_map(|w| Some(w.running.as_ref()?.alive + silence(w.role)?));
        let probes = self.plan.probes.iter();
        let probes = probes.filter_map(|p| Some(*self.heard.get(&p.name)? + patience(p)));
        vips.chain(probes).min()
    }
}

/// How long a worker that says that it lives may say nothing.
const fn silence(role: Role) -> Option<Duration> {
    match role {
        Role::Vip => Some(VIP_SILENCE),
        Role::Edge => Some(EDGE_SILENCE),
        Role::Registry => Some(REGISTRY_SILENCE),
        Role::Agent => Some(AGENT_SILENCE),
        Role::Exec | Role::Probe | Role::Api => None,
    }
}

/// How long nothing may be heard of a probe.
fn patience(probe: &Probe) -> Duration {
    probe.interval.max(RENEWED) * 3 + probe.timeout + RENEWED
}
