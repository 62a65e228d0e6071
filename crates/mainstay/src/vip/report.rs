//! What the vip role says of itself when it is asked.

use std::time::Duration;

use mainstay_config::plan::Vip;
use mainstay_core::election::{Guard as CoreGuard, Holding, Reason, State, Verdict, View};
use mainstay_core::name::VipId;
use mainstay_core::time::Boot;
use mainstay_core::vrrp::Version;
use mainstay_sys::clock::boot_now;
use mainstay_sys::gate::GateKind;

use super::Node;
use super::changes::{Changes, wall_of};
use crate::status::{ArbitrationStatus, Counter, Guard, PeerStatus, Status, ThroughStatus, VipStatus};
use crate::words;

impl Node {
    /// The vips as they stand; the supervisor adds the rest.
    pub(super) fn status(&self, now: Boot) -> Status {
        let mut status = Status::empty(&self.plan.node);
        for (id, vip) in (0..).map(VipId).zip(&self.plan.vips) {
            if let Some(view) = self.machine.view(id) {
                status.vips.push(self.vip_status(id, vip, &view, now));
            }
        }
        status.cluster = self.quorum.as_ref().map(|quorum| quorum.status(now));
        if let Some(cluster) = &mut status.cluster {
            cluster.counts = self.plan.counts_votes();
        }
        status.arbitration = self.arbitration_status(now);
        status.degraded = self.degraded(now);
        for vip in &status.vips {
            status.degraded.extend(vip.reference.as_ref().and_then(|of| of.degraded(&vip.name)));
        }
        status.degraded.extend(status.arbitration.iter().flat_map(ArbitrationStatus::degraded));
        status.through = self.through(now);
        status.degraded.extend(status.through.iter().filter_map(ThroughStatus::complaint));
        status.degraded.extend(self.alone.clone());
        status.counters = vec![
            counter("send_errors_total", self.outbound.send_errors),
            counter("gate_repairs_total", self.kernel.gate.repairs()),
            counter("notify_failures_total", self.changes.notify_failed),
            counter("messages_dropped_total", self.outbox_dropped),
            counter("log_lines_dropped_total", crate::log::dropped()),
        ];
        if let Some(aided) = &self.arbitration {
            status.counters.push(counter("reference_answers_refused_total", aided.refused()));
        }
        // Packets that belong to none of the vips.
        for (reject, value) in self.machine.strays().iter().filter(|(_, value)| *value > 0) {
            let labels = vec![("result".into(), reject.as_str().into())];
            status.counters.push(Counter { name: "vrrp_strays_total".into(), labels, value });
        }
        if let Some(quorum) = &self.quorum {
            status.counters.push(counter("cluster_send_errors_total", quorum.send_errors));
            for (cause, value) in quorum.sessions.view(now).causes.named() {
                let labels = vec![("cause".into(), cause.into())];
                let name = "cluster_datagrams_dropped_total".into();
                status.counters.push(Counter { name, labels, value });
            }
        }
        status
    }

    fn vip_status(&self, id: VipId, vip: &Vip, view: &View<'_>, now: Boot) -> VipStatus {
        let link = |l: mainstay_core::name::LinkId| self.plan.links[l.index()].clone();
        let addrs = vip.addrs.iter().map(|a| format!("{}/{} dev {}", a.addr, a.prefix, link(a.link)));
        let told = self.changes.since_ms(id);
        let group = self.plan.groups.iter().find(|g| g.spec.vips.contains(&vip.spec.name));
        VipStatus {
            name: vip.spec.name.clone(),
            addrs: addrs.collect(),
            interface: link(vip.spec.link),
            vrid: vip.spec.vrid,
            vrrp: match vip.spec.version {
                Version::V2 => 2,
                Version::V3 => 3,
            },
            state: view.state,
            reason: view.reason.clone(),
            why: match view.waiting.as_ref().unwrap_or(view.reason) {
                Reason::Drained if !view.drained => {
                    "an operator drained it and let it take part again".into()
                }
                reason => self.why(id, reason),
            },
            since_ms: if told == 0 { wall_of(view.since) } else { told },
            epoch: view.epoch,
            priority: vip.spec.priority,
            effective_priority: view.priority,
            advert_ms: millis(vip.spec.advert),
            holder: match view.state {
                State::Active => Some(self.plan.node.clone()),
                State::Backup | State::Fault => self.other_holder(id, view),
            },
            next: self.follower(id).unwrap_or_else(|| next(vip, view, now)),
            peers: peers(vip, view, now),
            guard: self.guard(vip),
            lease: self
                .quorum
                .as_ref()
                .and_then(|quorum| quorum.lease_status(self.machine.right_of(id)?, now)),
            reference: self.reference_status(id, vip, now),
            group: group.map(|g| g.spec.name.clone()),
            drained: view.drained,
            on_hold: view.pinned,
            conflict: self.conflicts.status(id, now),
            outage_s: view.outage.as_secs_f64(),
            transitions: self.transitions(id),
            adverts: adverts(view),
            counters: vec![
                counter("vip_announcements_total", view.counters.announced),
                counter("vip_gate_arms_total", view.counters.armed),
                counter("vip_conflicts_total", self.conflicts.counts(id).conflicts),
                counter("vip_conflict_episodes_total", self.conflicts.counts(id).episodes),
                counter("vip_claims_late_total", self.conflicts.counts(id).late),
                counter("vip_claims_own_total", self.conflicts.counts(id).own),
                counter("vip_late_total", view.counters.late),
                counter("vip_verdicts_put_off_total", view.counters.graced),
                counter("vip_addresses_put_back_total", self.kernel.put_back.get(&id).copied().unwrap_or(0)),
            ],
        }
    }

    /// Who else holds it, as far as is known.
    pub(super) fn other_holder(&self, id: VipId, view: &View<'_>) -> Option<String> {
        let quorum = self.quorum.as_ref();
        let leased = quorum.zip(self.machine.right_of(id));
        match leased {
            Some((quorum, right)) => quorum.holder_name(right),
            None => view.holder.map(|peer| peer.addr.to_string()),
        }
    }

    /// Who follows under a lease, when it is held under one.
    fn follower(&self, id: VipId) -> Option<String> {
        let (quorum, right) = (self.quorum.as_ref()?, self.machine.right_of(id)?);
        Some(quorum.next_name(right, boot_now()))
    }

    fn guard(&self, vip: &Vip) -> Guard {
        let gate = match (vip.addrs.is_empty(), self.kernel.gate.kind()) {
            (true, _) => "none (no address)",
            (false, GateKind::TcEbpf) => "tc-ebpf",
            (false, GateKind::Nft) => "nft",
            (false, GateKind::None) => "address-lifetime",
        };
        let window = if gate == "address-lifetime" { super::kernel::LIFETIME } else { vip.spec.gate };
        let guard = vip.spec.guard;
        Guard {
            grade: guard.word().into(),
            promise: self.plan.promise(vip),
            gate: gate.into(),
            window_ms: millis(window),
        }
    }

    fn transitions(&self, id: VipId) -> Vec<Counter> {
        let each = self.changes.transitions(id).iter().map(|(to, reason, value)| Counter {
            name: "vip_transitions_total".into(),
            labels: vec![("to".into(), words::state(*to).into()), ("reason".into(), (*reason).into())],
            value: *value,
        });
        each.collect()
    }

    /// A reason of a vip as a sentence for people.
    pub(super) fn why(&self, vip: VipId, reason: &Reason) -> String {
        let vouched = || {
            let right = self.machine.right_of(vip)?;
            self.quorum.as_ref()?.vouched.get(self.machine.rights().nth(right.index())?)
        };
        match (reason, vouched()) {
            (Reason::Granted { epoch }, Some((taken, fenced))) if epoch == taken => {
                format!("taken on the operator's word that {fenced} is fenced (epoch {epoch})")
            }
            _ => words::why(reason, &self.plan),
        }
    }

    /// What is wrong but not fatal, as sentences.
    fn degraded(&self, now: Boot) -> Vec<String> {
        let mut out = Vec::new();
        for (id, vip) in (0..).map(VipId).zip(&self.plan.vips) {
            let Some(view) = self.machine.view(id) else { continue };
            let name = &vip.spec.name;
            if view.state == State::Fault {
                out.push(format!("vip {name} is in fault: {}", words::why(view.reason, &self.plan)));
            } else if let Some(waiting) = &view.waiting {
                out.push(format!(
                    "vip {name} is not taken by this node: {}",
                    words::why(waiting, &self.plan)
                ));
            }
            let grave = self.conflicts.is_grave(id, vip.spec.guard);
            if let Some(conflict) = self.conflicts.status(id, now).filter(|_| grave) {
                out.push(format!("vip {name}: {}", conflict.sentence()));
            } else if let Some(trouble) = self.changes.trouble(id, Changes::window(&vip.spec), now) {
                out.push(format!("vip {name}: {trouble}; `mainstay doctor` says more"));
            }
            if view.holding == Holding::Starting && now.since(view.since) > Duration::from_secs(10) {
                out.push(format!("vip {name} still waits for what it owns to start"));
            }
        }
        for probe in self.changes.probes().filter(|p| p.verdict == Verdict::Unknown) {
            out.push(format!(
                "probe {}: no result for too long, its last verdict is not trusted",
                probe.name
            ));
        }
        let gated = self.plan.vips.iter().any(|v| !v.addrs.is_empty());
        if gated && self.kernel.gate.kind() == GateKind::None {
            let why = self.kernel.gate.why_not().join("; ");
            out.push(format!("no gate: a frozen node answers until its addresses end by themselves ({why})"));
        }
        let leased = self.plan.vips.iter().any(|v| v.spec.guard == CoreGuard::Quorum && !v.addrs.is_empty());
        if leased && self.kernel.gate.kind() == GateKind::Nft {
            let why = self.kernel.gate.why_not().join("; ");
            out.push(format!(
                "the nft gate counts from when it was armed: a node that freezes while it arms closes late, and what guard quorum \
                 promises is best effort until there is a tc-ebpf gate ({why})"
            ));
        }
        for (_, link) in self.links.iter() {
            out.extend(link.complaint().map(|text| format!("interface {}: {text}", link.name)));
        }
        out.extend(self.kernel.ungated().map(|name| {
            format!("no gate on {name}: what is asked there is answered although the gate is closed")
        }));
        out.extend(self.kernel.strangers(&self.plan, &self.links));
        out
    }
}

fn next(vip: &Vip, view: &View<'_>, now: Boot) -> String {
    if view.state == State::Active {
        if let Some(peer) = view.peers.iter().max_by_key(|p| p.priority) {
            return match peer.priority {
                // 0 is a resignation, 1 its repetition.
                0 | 1 => format!("{}, if it is there: it gave up when it was last heard", peer.addr),
                priority => format!("{} (priority {priority} when it was last heard)", peer.addr),
            };
        }
        if vip.spec.unicast.is_empty() {
            return "whoever listens: a VRRP backup is silent, and none was heard yet".into();
        }
        let peers: Vec<String> = vip.spec.unicast.iter().map(ToString::to_string).collect();
        return format!("{}: a VRRP backup is silent, and none was heard yet", peers.join(" or "));
    }
    match view.deadline {
        Some(at) => format!("this node, if nothing is heard for another {} ms", millis(at.since(now))),
        None if view.state == State::Fault => "not this node until that is put right".into(),
        None => "not this node".into(),
    }
}

fn peers(vip: &Vip, view: &View<'_>, now: Boot) -> Vec<PeerStatus> {
    let heard = view.peers.iter().map(|p| PeerStatus {
        addr: p.addr,
        priority: Some(p.priority),
        heard_ms_ago: Some(millis(now.since(p.heard))),
    });
    let silent = vip.spec.unicast.iter().filter(|a| !view.peers.iter().any(|p| p.addr == **a));
    heard.chain(silent.map(|a| PeerStatus { addr: *a, priority: None, heard_ms_ago: None })).collect()
}

fn adverts(view: &View<'_>) -> Vec<Counter> {
    let counters = view.counters;
    let plain = [
        ("sent", counters.sent),
        ("sent-resign", counters.sent_zero),
        ("received", counters.received),
        ("received-resign", counters.received_zero),
    ];
    let rejected = counters
        .rejected
        .iter()
        .filter(|(_, count)| *count > 0)
        .map(|(reject, count)| (reject.as_str(), count));
    let each = plain.into_iter().chain(rejected).map(|(result, value)| Counter {
        name: "vip_adverts_total".into(),
        labels: vec![("result".into(), result.into())],
        value,
    });
    each.collect()
}

fn counter(name: &str, value: u64) -> Counter {
    Counter { name: name.into(), labels: Vec::new(), value }
}

fn millis(length: Duration) -> u64 {
    u64::try_from(length.as_millis()).unwrap_or(u64::MAX)
}
