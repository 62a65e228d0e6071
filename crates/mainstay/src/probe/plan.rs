//! What probe takes from the Plan: its probes, and who may be told what. It decodes nothing else.

use std::time::Duration;

use mainstay_config::plan::{Check, Command, Mail, Notify, Probe};
use mainstay_core::name::{CommandId, PoolId, ProbeId};
use mainstay_core::probe::{GaugeSpec, Revival};
use serde::Deserialize;

use super::check::Work;
use crate::ipc::{Notice, Outcome};
use crate::notify::delivery::Book;

/// Beyond a command's own timeout its outcome may take so long to reach us; then it counts as lost.
const OUTCOME_GRACE: Duration = Duration::from_secs(2);

/// `ipc::ToProbe`, as far as probe reads it.
#[derive(Debug, Deserialize)]
pub(super) enum Heard {
    /// What to probe from here on.
    Plan(View),
    /// A command that was asked for has ended.
    Ran(Outcome),
    /// Deliver this.
    Notice(Notice),
    /// These vips are held here.
    Held(Vec<String>),
}

/// The part of the Plan that probe reads.
#[derive(Debug, Deserialize)]
pub(super) struct View {
    pub(super) node: String,
    pub(super) probes: Vec<Probe>,
    commands: Vec<Command>,
    vips: Vec<Told>,
    groups: Vec<Told>,
    mail: Option<Mail>,
    #[serde(default)]
    edge: EdgeView,
}

/// The part of the edge that probe reads.
#[derive(Debug, Default, Deserialize)]
struct EdgeView {
    pools: Vec<PoolView>,
}

/// A pool: whose verdicts its probe counts.
#[derive(Debug, Deserialize)]
pub(super) struct PoolView {
    name: String,
    pub(super) backends: Vec<BackendView>,
}

/// A backend.
#[derive(Debug, Deserialize)]
pub(super) struct BackendView {
    pub(super) down: bool,
    pub(super) probe: Option<ProbeId>,
}

#[derive(Debug, Deserialize)]
struct Told {
    spec: Named,
    notify: Vec<Notify>,
}

#[derive(Debug, Deserialize)]
struct Named {
    name: String,
}

/// One probe, ready to be run.
#[derive(Debug)]
pub(super) struct Task {
    /// Its name.
    pub(super) name: String,
    /// The vip that it looks through.
    pub(super) through: Option<String>,
    /// Its schedule.
    pub(super) spec: GaugeSpec,
    /// What a check does.
    pub(super) work: Work,
    /// What revives the service.
    pub(super) restart: Option<Order>,
    /// By which a reload sees whether it changed: the probe without its indices, and what they meant.
    essence: (Probe, Option<Command>, Option<Command>, Option<String>),
}

/// A command that exec is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Order {
    /// Which.
    pub(super) command: CommandId,
    /// When its outcome counts as lost.
    pub(super) patience: Duration,
}

impl View {
    /// The probes, in the Plan's order.
    pub(super) fn tasks(&self) -> Vec<Task> {
        self.probes.iter().map(|probe| self.task(probe)).collect()
    }

    /// Who may be told.
    pub(super) fn into_book(self) -> Book {
        let list = |told: Vec<Told>| told.into_iter().map(|one| (one.spec.name, one.notify)).collect();
        let probes = self.probes.into_iter().map(|one| (one.name, one.notify)).collect();
        Book { vips: list(self.vips), groups: list(self.groups), probes, mail: self.mail }
    }

    fn task(&self, probe: &Probe) -> Task {
        let mut bare = probe.clone();
        let mut command = None;
        if let Check::Exec { command: id } = &mut bare.check {
            command = self.commands.get(id.index()).cloned();
            *id = CommandId(0);
        }
        let mut pool_name = None;
        if let Check::Pool { pool: id, .. } = &mut bare.check {
            pool_name = self.edge.pools.get(id.index()).map(|pool| pool.name.clone());
            *id = PoolId(0);
        }
        let mut revives = None;
        if let Some(restart) = &mut bare.restart {
            revives = self.commands.get(restart.command.index()).cloned();
            restart.command = CommandId(0);
        }
        Task {
            name: probe.name.clone(),
            through: probe.through.clone(),
            spec: GaugeSpec {
                interval: probe.interval,
                timeout: probe.timeout,
                fall: probe.fall,
                rise: probe.rise,
                initial: probe.initial,
                restart: probe.restart.as_ref().map(|one| Revival { tries: one.tries, wait: one.wait }),
            },
            work: Work::of(&probe.check, &self.edge.pools),
            restart: probe.restart.as_ref().map(|restart| Order {
                command: restart.command,
                patience: revives.as_ref().map_or(OUTCOME_GRACE, |command| command.timeout + OUTCOME_GRACE),
            }),
            essence: (bare, command, revives, pool_name),
        }
    }
}

impl Task {
    /// Whether a reload left it as it was.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        self.essence == other.essence
    }
}
