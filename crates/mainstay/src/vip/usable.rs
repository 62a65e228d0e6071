//! Probes that look through a vip: an alarm when another node holds it and nobody here can use it. They move nothing.

use std::collections::HashMap;
use std::time::Duration;

use mainstay_config::plan::{NotifyOn, Probe};
use mainstay_core::election::{State, Verdict};
use mainstay_core::name::{ProbeId, VipId};
use mainstay_core::time::Boot;

use super::Node;
use crate::ipc::FromVip;
use crate::notify::{self, Subject};
use crate::status::ThroughStatus;

/// What a hand-off, and the news of it, may take beside the checks that see its end.
const SETTLE: Duration = Duration::from_millis(500);

/// What is known of the probes that look through vips, by name.
#[derive(Default)]
pub(super) struct Usable {
    seen: HashMap<String, Seen>,
    /// The vips that were last said to be held here.
    held: Option<Vec<String>>,
}

/// One probe.
#[derive(Default)]
struct Seen {
    /// Who else holds the vip, and since when as far as is known here.
    holder: Option<(String, Boot)>,
    /// The alarm that was raised: who held it.
    raised: Option<String>,
}

/// The failures that count are those under this holder: so long after it took the vip the verdict is about nobody else.
fn patience(probe: &Probe) -> Duration {
    probe.interval * probe.fall + probe.timeout + SETTLE
}

impl Node {
    /// Says which vips are held here, when that has changed: their probes rest.
    pub(super) fn say_held(&mut self) {
        if !self.plan.probes.iter().any(|probe| probe.through.is_some()) {
            self.usable.held = None;
            return;
        }
        let held = (0..).map(VipId).zip(&self.plan.vips).filter(|(id, _)| self.is_active(*id));
        let held: Vec<String> = held.map(|(_, vip)| vip.spec.name.clone()).collect();
        if self.usable.held.as_ref() != Some(&held) {
            self.say(&FromVip::Held(held.clone()));
            self.usable.held = Some(held);
        }
    }

    /// Looks whether what is held elsewhere can be used.
    pub(super) fn look_through(&mut self, now: Boot) {
        self.say_held();
        let probes: Vec<(ProbeId, String)> = (0..)
            .map(ProbeId)
            .zip(&self.plan.probes)
            .filter_map(|(id, probe)| Some((id, probe.through.clone()?)))
            .collect();
        let names: Vec<&str> = self.plan.probes.iter().map(|probe| probe.name.as_str()).collect();
        self.usable.seen.retain(|name, _| names.contains(&name.as_str()));
        for (id, vip) in probes {
            self.judge(id, &vip, now);
        }
    }

    fn judge(&mut self, id: ProbeId, vip: &str, now: Boot) {
        let probe = &self.plan.probes[id.index()];
        let (name, patience) = (probe.name.clone(), patience(probe));
        let holder = self.holder_elsewhere(vip, now);
        let status = self.changes.probes().find(|status| status.name == name);
        let (verdict, detail) =
            status.map_or((Verdict::Pending, String::new()), |s| (s.verdict, s.detail.clone()));
        let seen = self.usable.seen.entry(name.clone()).or_default();
        if seen.holder.as_ref().map(|(who, _)| who) != holder.as_ref() {
            seen.holder = holder.clone().map(|holder| (holder, now));
        }
        let settled = seen.holder.as_ref().is_some_and(|(_, since)| now.since(*since) >= patience);
        let bad = verdict == Verdict::Down && settled;
        match (seen.raised.clone(), holder, verdict) {
            (None, Some(holder), Verdict::Down) if bad => {
                seen.raised = Some(holder.clone());
                let detail = detail.lines().next().unwrap_or_default();
                let node = &self.plan.node;
                let message = format!(
                    "vip {vip} is held by {holder} and cannot be used: probe {name} of {node} says: {detail}; it is left where it is"
                );
                self.alarm_through(id, vip, "unusable", message);
            }
            (Some(_), Some(holder), Verdict::Up) => {
                seen.raised = None;
                let message = format!("vip {vip}, held by {holder}, can be used again, says probe {name}");
                self.alarm_through(id, vip, "usable", message);
            }
            (Some(was), holder, _) if holder.as_ref() != Some(&was) => {
                seen.raised = None;
                let message =
                    format!("vip {vip} is no longer held by {was}, under whom it could not be used");
                self.alarm_through(id, vip, "moved", message);
            }
            (
                None | Some(_),
                None | Some(_),
                Verdict::Pending | Verdict::Up | Verdict::Down | Verdict::Unknown,
            ) => {}
        }
    }

    /// Which other node holds a vip, by the election, or on a witness by its own promises.
    fn holder_elsewhere(&self, vip: &str, now: Boot) -> Option<String> {
        if let Some(at) = self.plan.vips.iter().position(|known| known.spec.name == vip) {
            let id = VipId(u32::try_from(at).ok()?);
            let view = self.machine.view(id)?;
            return (view.state != State::Active).then(|| self.other_holder(id, &view)).flatten();
        }
        let quorum = self.quorum.as_ref()?;
        let right = if vip.starts_with("group/") { vip.to_owned() } else { format!("vip/{vip}") };
        let (node, _) = quorum.leases.promised_to(&right, now)?;
        Some(quorum.leases.list().name(node).to_owned())
    }

    fn alarm_through(&mut self, probe: ProbeId, vip: &str, reason: &str, message: String) {
        let mut event = crate::events::event(&self.plan.node, "unusable", vip, message);
        event.reason = Some(reason.into());
        self.say(&FromVip::Event(event.clone()));
        if let Some(at) = self.plan.vips.iter().position(|known| known.spec.name == vip)
            && let Ok(at) = u32::try_from(at)
        {
            self.notify(VipId(at), NotifyOn::Unusable, &event);
        }
        let told = notify::Change { subject: Subject::Probe(probe), on: NotifyOn::Unusable, event: &event };
        let tellings = notify::tellings(&self.plan, told, self.changes.next_run());
        self.send_told(tellings);
    }

    /// What is seen through vips, for status.
    pub(super) fn through(&self, now: Boot) -> Vec<ThroughStatus> {
        let each = self.plan.probes.iter().filter_map(|probe| {
            let vip = probe.through.clone()?;
            let raised = self.usable.seen.get(&probe.name).is_some_and(|seen| seen.raised.is_some());
            let detail = || {
                let status = self.changes.probes().find(|status| status.name == probe.name);
                status.map_or_else(String::new, |s| s.detail.lines().next().unwrap_or_default().to_owned())
            };
            let holder = self.holder_elsewhere(&vip, now);
            Some(ThroughStatus { probe: probe.name.clone(), holder, unusable: raised.then(detail), vip })
        });
        each.collect()
    }
}
