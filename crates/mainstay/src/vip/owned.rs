//! What a vip owns: started in order before it is announced, stopped in reverse before it is released.

use std::collections::{HashMap, VecDeque};

use mainstay_config::plan::{Owned, Vip};
use mainstay_core::name::{CommandId, VipId};

use crate::ipc::{Asker, Outcome, Run};

/// Notifications are numbered from zero; sequences have the upper half of the numbers.
const UPPER_HALF: u64 = 1 << 63;

/// Sequences of commands under way, one for each vip at most.
pub(super) struct Sequences {
    running: HashMap<u64, VipId>,
    left: HashMap<VipId, Sequence>,
    next: u64,
}

struct Sequence {
    vip: String,
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
    /// Numbers start at `seed`, so that what a predecessor asked for is not taken for an answer to us.
    pub(super) fn new(seed: u64) -> Self {
        Self { running: HashMap::new(), left: HashMap::new(), next: seed & !UPPER_HALF }
    }

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
        let vip = vip.spec.name.clone();
        self.left.insert(id, Sequence { vip, starting, steps, failed: None });
        self.advance(id)
    }

    /// Vips and commands have new numbers after a reload. A stop that can't be followed up any more, because its vip or
    /// a command of it is gone, is asked for as a whole: exec keeps the order.
    pub(super) fn renumber(
        &mut self,
        vip: impl Fn(VipId) -> Option<VipId>,
        command: impl Fn(CommandId) -> Option<CommandId>,
    ) -> Vec<Run> {
        let (mut runs, mut running) = (Vec::new(), HashMap::new());
        for (old, mut sequence) in std::mem::take(&mut self.left) {
            let steps: Option<VecDeque<_>> =
                sequence.steps.iter().map(|(c, name)| Some((command(*c)?, name.clone()))).collect();
            if let (Some(new), Some(steps)) = (vip(old), steps) {
                sequence.steps = steps;
                self.left.insert(new, sequence);
                running.extend(self.running.iter().filter(|(_, v)| **v == old).map(|(run, _)| (*run, new)));
                continue;
            }
            // The first step is with exec already.
            for (command, name) in sequence.steps.iter().skip(1).filter(|_| !sequence.starting) {
                self.next += 1;
                runs.push(run(self.next, *command, &sequence.vip, name));
            }
        }
        self.running = running;
        runs
    }

    /// Starts some more entries of a vip that is held.
    pub(super) fn add(&mut self, id: VipId, vip: &Vip, entries: &[usize]) -> Step {
        let steps = entries.iter().map(|i| (vip.owns[*i].start, vip.owns[*i].name.clone())).collect();
        let vip = vip.spec.name.clone();
        self.left.insert(id, Sequence { vip, starting: true, steps, failed: None });
        self.advance(id)
    }

    /// Stops one entry, whatever comes of it.
    pub(super) fn stop_one(&mut self, vip: &Vip, owned: &Owned) -> Run {
        self.next += 1;
        run(self.next, owned.stop, &vip.spec.name, &owned.name)
    }

    /// Lets a sequence go; its command ends alone.
    pub(super) fn forget(&mut self, id: VipId) {
        self.left.remove(&id);
        self.running.retain(|_, v| *v != id);
    }

    /// Whether a sequence is under way for a vip.
    pub(super) fn is_under_way(&self, vip: VipId) -> bool {
        self.left.contains_key(&vip)
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
        if let Some((command, name)) = sequence.steps.front() {
            self.next += 1;
            let run = run(self.next, *command, &sequence.vip, name);
            self.running.insert(run.id, id);
            return Step::Run(run);
        }
        let sequence = self.left.remove(&id).expect("it was there a moment ago");
        Step::Done {
            vip: id,
            running: sequence.starting && sequence.failed.is_none(),
            failed: sequence.failed,
        }
    }
}

/// One command; by its variables exec keeps the order.
fn run(number: u64, command: CommandId, vip: &str, name: &str) -> Run {
    let env = vec![("MAINSTAY_VIP".into(), vip.into()), ("MAINSTAY_OWNS".into(), name.into())];
    Run { id: number | UPPER_HALF, command, args: Vec::new(), env, asker: Asker::Vip }
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
