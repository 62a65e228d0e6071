//! What is told of a change: the event, and those whom the operator wants notified.

use std::collections::HashMap;
use std::time::Duration;

use mainstay_config::plan::Plan;
use mainstay_core::election::{Reason, Rejects, State, VipSpec};
use mainstay_core::name::{GroupId, VipId};
use mainstay_core::time::Boot;
use mainstay_core::vrrp::Reject;
use mainstay_sys::clock::boot_now;

use super::Node;
use super::owned::describe;
use crate::events::wall_ms;
use crate::ipc::{FromVip, Outcome};
use crate::notify::{self, Subject, Telling};
use crate::status::{Event, ProbeStatus};
use crate::words;

/// Adverts that are refused for so long come from a node that is set up otherwise: a stray packet is only counted.
const LASTING: Duration = Duration::from_secs(10);

/// What a peer's settings get wrong; everything else is noise or malice, which must not make a node look unwell.
const OTHER_SETTINGS: [Reject; 6] = [
    Reject::Password,
    Reject::AuthType,
    Reject::VersionMismatch,
    Reject::Interval,
    Reject::Addrs,
    Reject::ChecksumForm,
];

/// Notifications whose outcome is awaited; older ones are forgotten.
const AWAITED_MAX: usize = 1024;

/// A change of state that has not been told yet.
struct Pending {
    vip: VipId,
    from: State,
    to: State,
    reason: Reason,
    epoch: u64,
    priority: u8,
}

/// What has been counted for one vip.
#[derive(Default)]
struct Tally {
    /// New state, reason, how often.
    transitions: Vec<(State, &'static str, u64)>,
    since_ms: u64,
    /// Refused adverts as of the last look.
    rejects: Option<Box<Rejects>>,
    /// The cause for which another node's adverts are being refused, since when and until when.
    refused: Option<(Reject, Boot, Boot)>,
}

/// What has to be remembered to tell of changes.
#[derive(Default)]
pub(super) struct Changes {
    pending: Vec<Pending>,
    tallies: HashMap<VipId, Tally>,
    probes: HashMap<String, ProbeStatus>,
    /// Group states as last told.
    groups: HashMap<String, State>,
    runs: HashMap<u64, String>,
    next_run: u64,
    pub(super) notify_failed: u64,
}

impl Changes {
    /// Commands are numbered from `seed`, so that what a predecessor asked for is not taken for an answer to us.
    pub(super) fn new(seed: u64) -> Self {
        Self { next_run: seed & (u64::MAX >> 1), ..Self::default() }
    }

    /// Vips have new numbers after a reload.
    pub(super) fn renumber(&mut self, new: impl Fn(VipId) -> Option<VipId>) {
        let old = std::mem::take(&mut self.tallies);
        self.tallies = old.into_iter().filter_map(|(k, v)| Some((new(k)?, v))).collect();
    }

    /// Forgets what the Plan no longer has.
    pub(super) fn plan(&mut self, plan: &Plan) {
        self.probes.retain(|name, _| plan.probes.iter().any(|p| &p.name == name));
        self.groups.retain(|name, _| plan.groups.iter().any(|g| &g.spec.name == name));
    }

    pub(super) fn probe(&mut self, status: &ProbeStatus) {
        self.probes.insert(status.name.clone(), status.clone());
    }

    pub(super) fn probes(&self) -> impl Iterator<Item = &ProbeStatus> {
        self.probes.values()
    }

    /// The number of the last command that was asked for.
    pub(super) const fn next_run(&mut self) -> &mut u64 {
        &mut self.next_run
    }

    /// Trouble that was not seen again for so long is over.
    pub(super) fn window(spec: &VipSpec) -> Duration {
        (spec.advert * 4).max(LASTING)
    }

    /// Looks whether adverts of a node that is set up otherwise were refused since the last look.
    pub(super) fn look_at(&mut self, vip: VipId, rejects: &Rejects, window: Duration, now: Boot) {
        if rejects.total() == 0 {
            return;
        }
        let tally = self.tallies.entry(vip).or_default();
        let known = |cause| tally.rejects.as_ref().map_or(0, |rejects| rejects.get(cause));
        let grew = OTHER_SETTINGS.into_iter().find(|cause| rejects.get(*cause) > known(*cause));
        let Some(cause) = grew else { return };
        let since = tally.refused.filter(|(was, _, last)| *was == cause && now.since(*last) <= window);
        tally.refused = Some((cause, since.map_or(now, |(_, since, _)| since), now));
        tally.rejects = Some(Box::new(rejects.clone()));
    }

    /// What has gone wrong between this node and another in the last `window`, as the end of a sentence.
    pub(super) fn trouble(&self, vip: VipId, window: Duration, now: Boot) -> Option<String> {
        let tally = self.tallies.get(&vip)?;
        let lasting = |(_, since, last): &(Reject, Boot, Boot)| {
            now.since(*last) <= window && last.since(*since) >= LASTING
        };
        let (cause, ..) = tally.refused.filter(lasting)?;
        Some(format!("adverts of another node are refused ({}: {cause})", cause.as_str()))
    }

    /// When the state last changed, on the wall clock; zero when it never did.
    pub(super) fn since_ms(&self, vip: VipId) -> u64 {
        self.tallies.get(&vip).map_or(0, |t| t.since_ms)
    }

    /// New state, reason, how often.
    pub(super) fn transitions(&self, vip: VipId) -> &[(State, &'static str, u64)] {
        self.tallies.get(&vip).map_or(&[], |t| &t.transitions)
    }
}

impl Node {
    /// Notes a change; it is told once the kernel has done what belongs to it.
    pub(super) fn changed(&mut self, vip: VipId, from: State, to: State, reason: Reason, epoch: u64) {
        let tally = self.changes.tallies.entry(vip).or_default();
        tally.since_ms = wall_ms();
        let kind = words::reason_kind(&reason);
        match tally.transitions.iter_mut().find(|(t, k, _)| *t == to && *k == kind) {
            Some((.., count)) => *count += 1,
            None => tally.transitions.push((to, kind, 1)),
        }
        let priority = self.machine.view(vip).map_or(0, |v| v.priority);
        self.changes.pending.push(Pending { vip, from, to, reason, epoch, priority });
        self.look_at_holder(vip, boot_now());
        self.say_held();
    }

    /// Tells what has changed: events first, then scripts, webhooks and mail.
    pub(super) fn tell_changes(&mut self) {
        for change in std::mem::take(&mut self.changes.pending) {
            let event = self.change_event(&change);
            self.say(&FromVip::Event(event.clone()));
            let on = notify::occasion(change.to, &change.reason);
            let told = notify::Change { subject: Subject::Vip(change.vip), on, event: &event };
            let mut tellings = notify::tellings(&self.plan, told, &mut self.changes.next_run);
            tellings.extend(self.group_tellings(&change, &event));
            self.send_told(tellings);
        }
    }

    fn group_tellings(&mut self, change: &Pending, event: &Event) -> Vec<Telling> {
        let name = &self.plan.vips[change.vip.index()].spec.name;
        let mut tellings = Vec::new();
        for (id, group) in
            (0..).map(GroupId).zip(&self.plan.groups).filter(|(_, g)| g.spec.vips.contains(name))
        {
            let members = group.spec.vips.iter().filter_map(|v| {
                let place = self.plan.vips.iter().position(|p| &p.spec.name == v)?;
                self.machine.view(VipId(u32::try_from(place).ok()?)).map(|v| v.state)
            });
            let Some(state) = notify::group_state(&members.collect::<Vec<_>>()) else { continue };
            if self.changes.groups.insert(group.spec.name.clone(), state) == Some(state) {
                continue;
            }
            let on = notify::occasion(state, &change.reason);
            let told = notify::Change { subject: Subject::Group(id), on, event };
            tellings.extend(notify::tellings(&self.plan, told, &mut self.changes.next_run));
        }
        tellings
    }

    pub(super) fn send_told(&mut self, tellings: Vec<Telling>) {
        for telling in tellings {
            match telling {
                Telling::Run(run) => {
                    let argv = self.plan.commands.get(run.command.index()).map(|c| c.argv.join(" "));
                    if self.changes.runs.len() < AWAITED_MAX {
                        self.changes.runs.insert(run.id, argv.unwrap_or_default());
                    }
                    self.say(&FromVip::Run(run));
                }
                Telling::Notice(notice) => self.say(&FromVip::Notice(notice)),
            }
        }
    }

    /// A notification's command has ended: failures are told.
    pub(super) fn notified(&mut self, outcome: &Outcome) {
        let Some(argv) = self.changes.runs.remove(&outcome.id) else { return };
        if !outcome.ok() {
            self.changes.notify_failed += 1;
            self.event("notify", &argv, format!("notify command failed: {argv}: {}", describe(outcome)));
        }
    }

    fn change_event(&self, change: &Pending) -> Event {
        let vip = &self.plan.vips[change.vip.index()];
        let why = self.why(change.vip, &change.reason);
        let name = &vip.spec.name;
        let message = format!("vip {name} is {} on this node: {why}", words::standing(change.to));
        let mut event = crate::events::event(&self.plan.node, "vip", name, message);
        event.from = Some(words::state(change.from).into());
        event.to = Some(words::state(change.to).into());
        event.reason = Some(words::reason_kind(&change.reason).into());
        event.epoch = Some(change.epoch);
        event.addrs = vip.addrs.iter().map(|a| a.addr.to_string()).collect();
        event.priority = Some(change.priority);
        event
    }
}

/// The moment on the wall clock of a moment since boot.
pub(super) fn wall_of(at: Boot) -> u64 {
    let ago = boot_now().since(at).as_millis();
    wall_ms().saturating_sub(u64::try_from(ago).unwrap_or(u64::MAX))
}
