//! One probe while the role runs: its gauge, its counters, what runs for it, what was last told of it.

use std::collections::HashMap;
use std::rc::Rc;
use std::time::Duration;

use mainstay_core::election::Verdict;
use mainstay_core::name::ProbeId;
use mainstay_core::probe::{Finding, Gauge};
use mainstay_core::time::Boot;

use super::AbortOnDrop;
use super::check::Report;
use super::check::process::Known;
use super::dial::Lane;
use super::plan::Task;
use crate::status::ProbeStatus;

/// Details are cut off here, in bytes.
const DETAIL_MAX: usize = 2 * 1024;

/// A verdict's age is renewed this often, or once in an interval when that is longer.
const RENEW: Duration = Duration::from_secs(1);

/// A renewal that would be due so soon comes now, so that it keeps step with the checks.
const RENEW_SLACK: Duration = Duration::from_millis(20);

/// A probe.
pub(super) struct Slot {
    pub(super) task: Rc<Task>,
    pub(super) gauge: Gauge,
    /// Tells this probe's results from those of its predecessors.
    pub(super) token: u64,
    /// Blocking work of its checks.
    pub(super) lane: Lane,
    pub(super) check: Option<AbortOnDrop>,
    pub(super) restart: Option<AbortOnDrop>,
    /// Processes that are watched, by number.
    pub(super) watched: HashMap<u32, AbortOnDrop>,
    /// When /proc was last read for it.
    pub(super) scanned: Boot,
    /// Its place in the agenda.
    pub(super) wake: Boot,
    /// The verdict that events last told.
    pub(super) told_verdict: Verdict,
    /// Its status has to be told.
    pub(super) dirty: bool,
    told: Boot,
    detail: String,
    checked: Boot,
    took: Duration,
    passed: u64,
    failed: u64,
    pub(super) restarts: u64,
}

impl Slot {
    /// A probe that has not been checked yet, of which events last told this verdict.
    pub(super) fn new(task: Task, gauge: Gauge, token: u64, told_verdict: Verdict) -> Self {
        Self {
            task: Rc::new(task),
            gauge,
            token,
            lane: Lane::default(),
            check: None,
            restart: None,
            watched: HashMap::new(),
            scanned: Boot::ZERO,
            wake: Boot::NEVER,
            told_verdict,
            dirty: true,
            told: Boot::ZERO,
            detail: String::new(),
            checked: Boot::ZERO,
            took: Duration::ZERO,
            passed: 0,
            failed: 0,
            restarts: 0,
        }
    }

    /// Keeps what a check found.
    pub(super) fn note(&mut self, report: &Report, took: Duration, now: Boot) {
        match report.finding {
            Finding::Passed => self.passed += 1,
            Finding::Failed | Finding::TimedOut => self.failed += 1,
            Finding::Lost => {}
        }
        self.detail.clear();
        self.detail.push_str(cut(&report.detail));
        self.took = took;
        self.checked = now;
        let renew = self.task.spec.interval.max(RENEW);
        self.dirty |= now.since(self.told) + RENEW_SLACK >= renew;
    }

    /// What a check may take for granted about processes.
    pub(super) fn known(&self, now: Boot) -> Known {
        Known { alive: self.watched.len(), age: now.since(self.scanned) }
    }

    /// The status, which counts as told.
    pub(super) fn status(&mut self, id: ProbeId, now: Boot) -> ProbeStatus {
        self.told = now;
        ProbeStatus {
            id,
            name: self.task.name.clone(),
            verdict: self.gauge.verdict(),
            detail: self.detail.clone(),
            checked: self.checked.as_nanos(),
            since: self.gauge.since().as_nanos(),
            took_ms: self.took.as_secs_f64() * 1000.0,
            passed: self.passed,
            failed: self.failed,
            restarts: self.restarts,
        }
    }

    /// What the last check said.
    pub(super) fn detail(&self) -> &str {
        &self.detail
    }
}

/// The word for a verdict in events.
pub(super) const fn word(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Pending => "pending",
        Verdict::Up => "up",
        Verdict::Down => "down",
        Verdict::Unknown => "unknown",
    }
}

/// The last bytes, from a character's start on: of a command's output the end says most.
fn cut(detail: &str) -> &str {
    let mut start = detail.len().saturating_sub(DETAIL_MAX);
    while !detail.is_char_boundary(start) {
        start += 1;
    }
    &detail[start..]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_details_are_cut_between_characters() {
        let long = "ü".repeat(DETAIL_MAX) + "!";
        let cut = cut(&long);
        assert!(cut.len() <= DETAIL_MAX && cut.ends_with("ü!"));
    }
}
