//! What exec takes from the Plan, and what it lets others ask for.
//!
//! It decodes only what it needs: the rest of the Plan is the largest thing that it could hold.

use std::collections::BTreeSet;
use std::fmt;
use std::rc::Rc;

use mainstay_config::plan::arbitration::Lock;
use mainstay_config::plan::{Command, Notify, NotifyHow};
use mainstay_core::arbitration::Block;
use mainstay_core::name::CommandId;
use serde::Deserialize;

use crate::ipc::Run;

/// Arguments and variables are names, states and addresses; longer ones are somebody's mistake. In bytes.
const TEXT_MAX: usize = 16 * 1024;

/// A command's line, shared by all of its runs.
pub(super) type Spec = Rc<Command>;

/// `ipc::ToExec`, as far as exec reads it.
#[derive(Debug, Deserialize)]
pub(super) enum Heard {
    /// The commands that may be run.
    Plan(View),
    /// Run one.
    Run(Run),
}

/// The part of the Plan that exec reads.
#[derive(Debug, Deserialize)]
pub(super) struct View {
    commands: Vec<Command>,
    vips: Vec<Told>,
    groups: Vec<Told>,
    #[serde(default)]
    cluster: Option<Locked>,
}

#[derive(Debug, Deserialize)]
struct Locked {
    #[serde(default)]
    lock: Option<Lock>,
}

#[derive(Debug, Deserialize)]
struct Told {
    notify: Vec<Notify>,
}

/// The commands in force.
#[derive(Debug, Default)]
pub(super) struct Commands {
    all: Vec<Spec>,
    /// Those that are called with keepalived's TYPE NAME STATE PRIORITY.
    with_args: BTreeSet<CommandId>,
    /// What reads and writes the place of the lock.
    lock: Option<CommandId>,
}

/// Why a command is not run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// The index is not in the Plan.
    Unknown(CommandId),
    /// The Plan gives this command no arguments, or others: keepalived's, or the lock's.
    Args,
    /// A variable or argument is longer than any of ours.
    Long,
    /// Too many wait already.
    Full,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown(command) => write!(f, "command {} is not in the configuration", command.0),
            Self::Args => f.write_str("arguments that the configuration does not allow for this command"),
            Self::Long => write!(f, "an argument or variable longer than {TEXT_MAX} bytes"),
            Self::Full => write!(f, "{} commands wait already", super::queue::WAITING_MAX),
        }
    }
}

impl From<View> for Commands {
    fn from(view: View) -> Self {
        let told = view.vips.iter().chain(&view.groups).flat_map(|one| &one.notify);
        let with_args = told
            .filter_map(|notify| match &notify.how {
                NotifyHow::Exec { command, args: true } => Some(*command),
                NotifyHow::Exec { args: false, .. } | NotifyHow::Webhook { .. } | NotifyHow::Mail => None,
            })
            .collect();
        let lock = view.cluster.and_then(|cluster| cluster.lock).map(|lock| lock.command);
        Self { all: view.commands.into_iter().map(Rc::new).collect(), with_args, lock }
    }
}

impl Commands {
    /// The command that is asked for, when it may be run so.
    pub(super) fn admit(&self, run: &Run) -> Result<Spec, Refusal> {
        let command = self.all.get(run.command.index()).ok_or(Refusal::Unknown(run.command))?;
        let welcome = self.with_args.contains(&run.command) && four_arguments(&run.args)
            || self.lock == Some(run.command) && of_lock(&run.args);
        if !run.args.is_empty() && !welcome {
            return Err(Refusal::Args);
        }
        let values = run.env.iter().map(|(_, value)| value);
        if run.args.iter().chain(values).any(|text| text.len() > TEXT_MAX) {
            return Err(Refusal::Long);
        }
        Ok(Rc::clone(command))
    }
}

/// `read`, or `write` and a record.
fn of_lock(args: &[String]) -> bool {
    match args {
        [read] => read == "read",
        [write, text] => {
            write == "write" && matches!(Block::parse(text.as_bytes()), Block::Free | Block::Owned(_))
        }
        _ => false,
    }
}

/// keepalived's TYPE NAME STATE PRIORITY.
fn four_arguments(args: &[String]) -> bool {
    let [kind, _, state, priority] = args else { return false };
    ["INSTANCE", "GROUP"].contains(&kind.as_str())
        && ["MASTER", "BACKUP", "FAULT", "STOP"].contains(&state.as_str())
        && priority.parse::<u8>().is_ok()
}
