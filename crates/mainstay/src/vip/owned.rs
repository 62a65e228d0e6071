//! What a vip owns: started in order before it is announced, stopped in reverse before it is released.

use std::collections::{HashMap, VecDeque};

use mainstay_config::plan::Vip;
use mainstay_core::name::{CommandId, VipId};

use crate::ipc::{Asker, Outcome, Run};

/// Sequences of commands under way, one for each vip at most.
#[derive(Default)]
pub(super) struct Sequences {
    running: HashMap<u64, VipId>,
    left: HashMap<VipId, Sequence>,
    next: u64,
}

struct Sequence {
    starting: bool,
    steps: VecDeque<(CommandId, String)>,
    failed: Option<String>,
}

/// What comes next for a vip.
pub(super) enum Step {
    /// Ask exec for this.
    Run(Run),
    /// The sequence is over; whether the services run, and what went wrong.
    Done { vip: VipId, running: bool, failed: Option<String> },
}

impl Sequences {
    /// Begins to start (or stop) everything; a sequence under way for that vip is forgotten, its command ends alone.
    pub(super) fn begin(&mut self, id: VipId, vip: &Vip, starting: bool) -> Step {
        let each =
            |o: &mainstay_config::plan::Owned| (if starting { o.start } else { o.stop }, o.name.clone());
        let steps = if starting {
            vip.owns.iter().map(each).collect()
        } else {
            vip.owns.iter().rev().map(each).collect()
        };
        self.running.retain(|_, v| *v != id);
        self.left.insert(id, Sequence { starting, steps, failed: None });
        self.advance(id)
    }

    /// A command has ended; `None` when it belongs to no sequence.
    pub(super) fn ran(&mut self, outcome: &Outcome) -> Option<Step> {
        let id = self.running.remove(&outcome.id)?;
        let sequence = self.left.get_mut(&id)?;
        let (_, name) = sequence.steps.pop_front()?;
        if !outcome.ok() {
            let text =
                format!("{} {name}: {}", if sequence.starting { "start" } else { "stop" }, describe(outcome));
            sequence.failed.get_or_insert(text);
            if sequence.starting {
                sequence.steps.clear();
            }
        }
        Some(self.advance(id))
    }

    /// The supervisor is gone: nothing can be run any more.
    pub(super) fn abandon(&mut self) -> Vec<VipId> {
        self.running.clear();
        self.left.drain().map(|(id, _)| id).collect()
    }

    fn advance(&mut self, id: VipId) -> Step {
        let Some(sequence) = self.left.get(&id) else {
            return Step::Done { vip: id, running: false, failed: None };
        };
        if let Some(&(command, _)) = sequence.steps.front() {
            self.next += 1;
            // Notifications count from zero; sequences have the upper half of the numbers.
            let run = self.next | (1 << 63);
            self.running.insert(run, id);
            let env = vec![("MAINSTAY_VIP".into(), id.0.to_string())];
            return Step::Run(Run { id: run, command, args: Vec::new(), env, asker: Asker::Vip });
        }
        let sequence = self.left.remove(&id).expect("it was there a moment ago");
        Step::Done {
            vip: id,
            running: sequence.starting && sequence.failed.is_none(),
            failed: sequence.failed,
        }
    }
}

/// How a command failed, as part of a sentence.
pub(super) fn describe(outcome: &Outcome) -> String {
    let how = match (&outcome.error, outcome.timed_out, outcome.code, outcome.signal) {
        (Some(error), ..) => error.clone(),
        (None, true, ..) => format!("timed out after {} ms", outcome.took_ms),
        (None, false, Some(code), _) => format!("exit code {code}"),
        (None, false, None, Some(signal)) => format!("killed by signal {signal}"),
        (None, false, None, None) => "ended in an unknown way".into(),
    };
    match outcome.output.trim() {
        "" => how,
        output => format!("{how}: {output}"),
    }
}
