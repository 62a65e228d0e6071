//! The machine behind one probe: when its check is due, what its results mean, when its service is revived.
//!
//! Checks are counted start to start on a fixed grid, so neither a slow check nor a stalled host shifts or
//! bunches them. A verdict needs `fall` failures or `rise` successes in a row; before it falls, a restart may
//! be tried. A verdict whose last result is older than three intervals and a timeout is `Unknown`.

use std::collections::VecDeque;
use std::time::Duration;

use crate::election::Verdict;
use crate::time::Boot;

/// A verdict is trusted for so many intervals (and one timeout) after its last result.
const TRUSTED_INTERVALS: u32 = 3;

/// Nudged checks start at least this long after the start of the check before: a crowd of dying processes must
/// not become a busy loop.
const NUDGE_GAP: Duration = Duration::from_millis(10);

/// The shortest interval that the machine takes at its word; the border asks for 50 ms and more.
const INTERVAL_MIN: Duration = Duration::from_millis(1);

/// What an operator asked of a probe, as its machine needs it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GaugeSpec {
    /// Time between the starts of two checks.
    pub interval: Duration,
    /// How long a check may take; whoever runs it ends it and says `TimedOut`.
    pub timeout: Duration,
    /// Failures in a row before the verdict is down; zero counts as one.
    pub fall: u32,
    /// Successes in a row before the verdict is up again; zero counts as one.
    pub rise: u32,
    /// The verdict before the first result; absent: pending until that result, which decides alone.
    pub initial: Option<bool>,
    /// Tried before the verdict falls.
    pub restart: Option<Revival>,
}

/// How a service is revived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Revival {
    /// How often in a row; counted anew once the service has passed `rise` checks and outlived `wait`.
    pub tries: u32,
    /// How long after the end of the restart the service has to pass a check.
    pub wait: Duration,
}

/// What a gauge hears.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Input {
    /// The check that it asked for has ended.
    Result(Finding),
    /// The restart that it asked for has ended.
    Restarted {
        /// Whether the command itself succeeded; after a failed one a single failed check ends the attempt.
        ok: bool,
    },
    /// Something happened that makes a check worth while at once (a watched process died).
    Nudge,
    /// Time has passed.
    Tick,
}

/// How a check ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Finding {
    /// It passed.
    Passed,
    /// It did not.
    Failed,
    /// It was ended at its timeout: a failure.
    TimedOut,
    /// It could not be carried out, and that says nothing of the service: the verdict only grows older.
    Lost,
}

/// What a gauge asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Run the check; answered by `Input::Result`, always.
    Check,
    /// Run the restart; answered by `Input::Restarted`, always.
    Restart {
        /// 1 for the first of a row.
        attempt: u32,
    },
    /// The verdict has changed to this.
    Verdict(Verdict),
}

/// One probe's schedule and verdict.
#[derive(Clone, Debug)]
pub struct Gauge {
    spec: GaugeSpec,
    /// The next point of the grid.
    due: Boot,
    /// When the check that runs was started.
    running: Option<Boot>,
    /// When the last check was started.
    started: Option<Boot>,
    /// A check out of turn is wanted.
    nudged: bool,
    /// What the results say; none before the first of them.
    settled: Option<bool>,
    passes: u32,
    failures: u32,
    /// The end of the last check; the first point of the grid before that.
    fresh: Boot,
    revival: Phase,
    attempts: u32,
    /// Once this is past and the service is well, attempts are counted anew.
    proven: Boot,
    verdict: Verdict,
    since: Boot,
    effects: VecDeque<Effect>,
}

/// Where a revival stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Nothing is tried.
    Idle,
    /// The restart runs.
    Restarting,
    /// The restart has ended; a check has to pass.
    Waiting {
        /// When it ended: only checks started from here on count against it.
        from: Boot,
        /// When patience ends.
        until: Boot,
        /// Whether a check that counts has failed.
        failed: bool,
    },
}

impl Gauge {
    /// A gauge at the moment `now` whose first check is due at `first`.
    #[must_use]
    pub fn new(spec: GaugeSpec, now: Boot, first: Boot) -> Self {
        let mut gauge = Self {
            spec,
            due: first,
            running: None,
            started: None,
            nudged: false,
            settled: spec.initial,
            passes: 0,
            failures: 0,
            fresh: first,
            revival: Phase::Idle,
            attempts: 0,
            proven: Boot::ZERO,
            verdict: Verdict::Pending,
            since: now,
            effects: VecDeque::new(),
        };
        gauge.publish(now);
        gauge
    }

    /// The gauge that follows `before` when the operator changed the probe: its verdict stands until results
    /// of the new check overturn it, so a reload alone moves nothing.
    #[must_use]
    pub fn after(before: &Self, spec: GaugeSpec, now: Boot, first: Boot) -> Self {
        let mut gauge = Self::new(GaugeSpec { initial: before.settled.or(spec.initial), ..spec }, now, first);
        if gauge.verdict == before.verdict {
            gauge.since = before.since;
        }
        gauge
    }

    /// Takes in one change.
    pub fn handle(&mut self, input: Input, now: Boot) {
        match input {
            Input::Result(finding) => self.hear(finding, now),
            Input::Restarted { ok } => self.restarted(ok, now),
            Input::Nudge => self.nudged = true,
            Input::Tick => {}
        }
        self.lose_patience(now);
        self.start_due(now);
        self.publish(now);
    }

    /// When the machine wants `Input::Tick` next.
    #[must_use]
    pub fn poll_timeout(&self) -> Boot {
        let mut next = self.due;
        if self.nudged && self.running.is_none() {
            next = next.min(self.nudge_at());
        }
        if self.settled.is_some() && self.verdict != Verdict::Unknown {
            next = next.min(self.stale_at());
        }
        if let Some(end) = self.patience_ends() {
            next = next.min(end);
        }
        next
    }

    /// The next thing to do, in order.
    pub fn poll_effect(&mut self) -> Option<Effect> {
        self.effects.pop_front()
    }

    /// The verdict as it was last told.
    #[must_use]
    pub const fn verdict(&self) -> Verdict {
        self.verdict
    }

    /// Since when that verdict stands.
    #[must_use]
    pub const fn since(&self) -> Boot {
        self.since
    }

    fn hear(&mut self, finding: Finding, now: Boot) {
        let Some(started) = self.running.take() else { return };
        if finding == Finding::Lost {
            return;
        }
        let passed = finding == Finding::Passed;
        self.fresh = now;
        if passed {
            self.passes = self.passes.saturating_add(1);
            self.failures = 0;
        } else {
            self.failures = self.failures.saturating_add(1);
            self.passes = 0;
        }
        match self.revival {
            Phase::Idle => self.judge(passed, now),
            Phase::Restarting => {
                if passed {
                    self.settled.get_or_insert(true);
                }
            }
            Phase::Waiting { .. } if passed => {
                self.revival = Phase::Idle;
                self.settled.get_or_insert(true);
            }
            Phase::Waiting { from, until, failed } => {
                self.revival = Phase::Waiting { from, until, failed: failed || started >= from };
            }
        }
        if passed && self.passes >= self.spec.rise.max(1) && now >= self.proven {
            self.attempts = 0;
        }
    }

    fn judge(&mut self, passed: bool, now: Boot) {
        match (self.settled, passed) {
            (None, true) => self.settled = Some(true),
            (None, false) => self.fall(now),
            (Some(true), false) if self.failures >= self.spec.fall.max(1) => self.fall(now),
            (Some(false), true) if self.passes >= self.spec.rise.max(1) => self.settled = Some(true),
            (Some(true | false), true | false) => {}
        }
    }

    /// Tries to revive the service, or gives up.
    fn fall(&mut self, now: Boot) {
        match self.spec.restart {
            Some(revival) if self.attempts < revival.tries => {
                self.attempts += 1;
                self.revival = Phase::Restarting;
                self.proven = now + revival.wait;
                self.effects.push_back(Effect::Restart { attempt: self.attempts });
            }
            Some(_) | None => {
                self.revival = Phase::Idle;
                self.settled = Some(false);
            }
        }
    }

    fn restarted(&mut self, ok: bool, now: Boot) {
        let (Phase::Restarting, Some(revival)) = (self.revival, self.spec.restart) else { return };
        let until = if ok { now + revival.wait } else { now };
        self.revival = Phase::Waiting { from: now, until, failed: false };
        self.proven = now + revival.wait;
        self.nudged = true;
    }

    fn lose_patience(&mut self, now: Boot) {
        if self.patience_ends().is_some_and(|end| now >= end) {
            self.fall(now);
        }
    }

    /// When a revival counts as failed: once a check has failed, at the end of its wait; before that, when a
    /// check started in time would have ended as well.
    fn patience_ends(&self) -> Option<Boot> {
        match self.revival {
            Phase::Idle | Phase::Restarting => None,
            Phase::Waiting { until, failed: true, .. } => Some(until),
            Phase::Waiting { until, failed: false, .. } => {
                Some(until + self.interval() + self.spec.timeout + self.spec.timeout)
            }
        }
    }

    fn start_due(&mut self, now: Boot) {
        let on_grid = now >= self.due;
        if on_grid {
            let interval = self.interval();
            let missed = now.since(self.due).as_nanos() / interval.as_nanos();
            let steps = u32::try_from(missed).unwrap_or(u32::MAX).saturating_add(1);
            self.due += interval.saturating_mul(steps);
        }
        let wanted = on_grid || (self.nudged && now >= self.nudge_at());
        if wanted && self.running.is_none() {
            self.nudged = false;
            self.running = Some(now);
            self.started = Some(now);
            self.effects.push_back(Effect::Check);
        }
    }

    fn publish(&mut self, now: Boot) {
        let verdict = match self.settled {
            None => Verdict::Pending,
            Some(_) if now >= self.stale_at() => Verdict::Unknown,
            Some(true) => Verdict::Up,
            Some(false) => Verdict::Down,
        };
        if verdict != self.verdict {
            self.verdict = verdict;
            self.since = now;
            self.effects.push_back(Effect::Verdict(verdict));
        }
    }

    fn interval(&self) -> Duration {
        self.spec.interval.max(INTERVAL_MIN)
    }

    fn stale_at(&self) -> Boot {
        self.fresh + self.interval().saturating_mul(TRUSTED_INTERVALS) + self.spec.timeout
    }

    fn nudge_at(&self) -> Boot {
        self.started.map_or(Boot::ZERO, |started| started + NUDGE_GAP)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checks_start_on_a_grid_whatever_they_take() {
        let mut bench = Bench::new(spec());
        for slot in 0..5 {
            assert_eq!(bench.at(slot * 100), [Effect::Check], "slot {slot}");
            bench.result_at(slot * 100 + 1 + slot * 20, Finding::Passed);
            assert_eq!(bench.gauge.poll_timeout(), ms((slot + 1) * 100));
        }
    }

    #[test]
    fn a_stall_skips_checks_instead_of_bunching_them() {
        let mut bench = Bench::new(spec());
        bench.at(0);
        bench.result_at(5, Finding::Passed);
        let late = bench.at(1_050);
        assert_eq!(late.iter().filter(|e| **e == Effect::Check).count(), 1);
        assert_eq!(bench.gauge.poll_timeout(), ms(1_100), "back on the grid");
    }

    #[test]
    fn a_check_that_still_runs_at_the_next_slot_is_not_started_twice() {
        let mut bench = Bench::new(GaugeSpec { timeout: Duration::from_secs(1), ..spec() });
        assert_eq!(bench.at(0), [Effect::Check]);
        assert_eq!(bench.at(100), []);
        assert_eq!(bench.at(200), []);
        bench.result_at(250, Finding::Passed);
        assert_eq!(bench.at(300), [Effect::Check]);
    }

    #[test]
    fn without_an_initial_verdict_the_first_result_decides_alone() {
        for (finding, verdict) in [(Finding::Passed, Verdict::Up), (Finding::TimedOut, Verdict::Down)] {
            let mut bench = Bench::new(GaugeSpec { fall: 5, rise: 5, ..spec() });
            assert_eq!(bench.gauge.verdict(), Verdict::Pending);
            bench.at(0);
            assert_eq!(bench.result_at(1, finding), [Effect::Verdict(verdict)]);
        }
    }

    #[test]
    fn an_initial_verdict_is_told_at_once_and_overturned_only_by_a_row() {
        let mut bench = Bench::new(GaugeSpec { initial: Some(true), fall: 2, ..spec() });
        assert_eq!(bench.drain(), [Effect::Verdict(Verdict::Up)]);
        bench.check(0, Finding::Failed);
        assert_eq!(bench.gauge.verdict(), Verdict::Up);
        bench.check(1, Finding::Failed);
        assert_eq!(bench.gauge.verdict(), Verdict::Down);
    }

    #[test]
    fn a_service_that_flaps_never_reaches_a_row_of_three() {
        let mut bench = Bench::new(GaugeSpec { fall: 3, rise: 3, ..spec() });
        bench.check(0, Finding::Passed);
        for slot in 1..60 {
            let finding = if slot % 3 == 0 { Finding::Passed } else { Finding::Failed };
            bench.check(slot, finding);
            assert_eq!(bench.gauge.verdict(), Verdict::Up, "slot {slot}");
        }
    }

    #[test]
    fn down_needs_fall_failures_and_up_needs_rise_successes_in_a_row() {
        let mut bench = Bench::new(GaugeSpec { fall: 2, rise: 3, ..spec() });
        let script = "PFPFF PPFPPP";
        let verdicts = "UUUUD DDDDDU";
        for (slot, (finding, verdict)) in
            script.replace(' ', "").chars().zip(verdicts.replace(' ', "").chars()).enumerate()
        {
            let finding = if finding == 'P' { Finding::Passed } else { Finding::Failed };
            bench.check(slot as u64, finding);
            let expected = if verdict == 'U' { Verdict::Up } else { Verdict::Down };
            assert_eq!(bench.gauge.verdict(), expected, "slot {slot}");
        }
    }

    #[test]
    fn a_verdict_without_results_for_three_intervals_is_unknown_until_the_next_result() {
        let mut bench = Bench::new(spec());
        bench.check(0, Finding::Passed);
        bench.at(100);
        assert_eq!(bench.at(350), []);
        assert_eq!(bench.at(352), [Effect::Verdict(Verdict::Unknown)], "2 + 3 * 100 + 50 ms");
        assert_eq!(bench.result_at(380, Finding::Failed), [Effect::Verdict(Verdict::Down)]);
    }

    #[test]
    fn pending_stays_pending_however_long_nothing_is_heard() {
        let mut bench = Bench::new(spec());
        bench.at(0);
        assert_eq!(bench.at(10_000), []);
        assert_eq!(bench.gauge.verdict(), Verdict::Pending);
    }

    #[test]
    fn a_nudge_checks_at_once_and_leaves_the_grid_alone() {
        let mut bench = Bench::new(spec());
        bench.check(0, Finding::Passed);
        assert_eq!(bench.input_at(30, Input::Nudge), [Effect::Check]);
        bench.result_at(31, Finding::Failed);
        assert_eq!(bench.gauge.verdict(), Verdict::Down);
        assert_eq!(bench.at(100), [Effect::Check]);
    }

    #[test]
    fn a_nudge_during_a_check_leads_to_another_after_it() {
        let mut bench = Bench::new(spec());
        bench.at(0);
        assert_eq!(bench.input_at(1, Input::Nudge), []);
        assert_eq!(bench.result_at(2, Finding::Passed), [Effect::Verdict(Verdict::Up)]);
        assert_eq!(bench.gauge.poll_timeout(), ms(10), "but not before the gap");
        assert_eq!(bench.at(10), [Effect::Check]);
    }

    #[test]
    fn a_restart_that_helps_keeps_the_verdict_up() {
        let mut bench = Bench::new(reviving(2));
        bench.check(0, Finding::Passed);
        assert_eq!(bench.check(1, Finding::Failed), [Effect::Restart { attempt: 1 }]);
        bench.check(2, Finding::Failed);
        assert_eq!(bench.input_at(250, Input::Restarted { ok: true }), [Effect::Check]);
        bench.result_at(251, Finding::Failed);
        bench.check(3, Finding::Failed);
        assert_eq!(bench.check(4, Finding::Passed), []);
        assert_eq!(bench.gauge.verdict(), Verdict::Up);
    }

    #[test]
    fn after_the_last_try_the_verdict_falls() {
        let mut bench = Bench::new(reviving(2));
        bench.check(0, Finding::Passed);
        assert_eq!(bench.check(1, Finding::Failed), [Effect::Restart { attempt: 1 }]);
        bench.input_at(150, Input::Restarted { ok: true });
        bench.result_at(151, Finding::Failed);
        bench.check(2, Finding::Failed);
        bench.check(3, Finding::Failed);
        bench.check(4, Finding::Failed);
        assert_eq!(bench.at(450), [Effect::Restart { attempt: 2 }], "300 ms after the command ended");
        bench.input_at(460, Input::Restarted { ok: true });
        bench.result_at(461, Finding::Failed);
        assert_eq!(bench.at(760), [Effect::Check, Effect::Verdict(Verdict::Down)]);
    }

    #[test]
    fn a_restart_that_itself_fails_is_given_one_check_and_no_wait() {
        let mut bench = Bench::new(reviving(1));
        bench.check(0, Finding::Passed);
        bench.check(1, Finding::Failed);
        assert_eq!(bench.input_at(120, Input::Restarted { ok: false }), [Effect::Check]);
        assert_eq!(bench.result_at(121, Finding::Failed), [Effect::Verdict(Verdict::Down)]);
    }

    #[test]
    fn a_check_from_before_the_end_of_the_restart_does_not_count_against_it() {
        let mut bench = Bench::new(reviving(1));
        bench.check(0, Finding::Passed);
        bench.check(1, Finding::Failed);
        bench.at(200);
        bench.input_at(210, Input::Restarted { ok: false });
        assert_eq!(bench.result_at(211, Finding::Failed), [Effect::Check], "the nudged check decides");
        assert_eq!(bench.result_at(212, Finding::Passed), []);
        assert_eq!(bench.gauge.verdict(), Verdict::Up);
    }

    #[test]
    fn a_service_that_dies_soon_after_each_restart_runs_out_of_tries() {
        let mut bench = Bench::new(reviving(2));
        bench.check(0, Finding::Passed);
        for (slot, attempt) in [(1, 1), (3, 2)] {
            assert_eq!(bench.check(slot, Finding::Failed), [Effect::Restart { attempt }]);
            bench.input_at(slot * 100 + 50, Input::Restarted { ok: true });
            bench.result_at(slot * 100 + 51, Finding::Passed);
            bench.check(slot + 1, Finding::Passed);
        }
        assert_eq!(bench.check(5, Finding::Failed), [Effect::Verdict(Verdict::Down)]);
    }

    #[test]
    fn a_service_that_outlives_the_wait_is_given_its_tries_anew() {
        let mut bench = Bench::new(reviving(1));
        bench.check(0, Finding::Passed);
        bench.check(1, Finding::Failed);
        bench.input_at(150, Input::Restarted { ok: true });
        bench.result_at(151, Finding::Passed);
        for slot in 2..6 {
            bench.check(slot, Finding::Passed);
        }
        assert_eq!(bench.check(6, Finding::Failed), [Effect::Restart { attempt: 1 }]);
    }

    #[test]
    fn a_service_down_at_the_start_is_revived_before_anything_is_said() {
        let mut bench = Bench::new(reviving(1));
        assert_eq!(bench.check(0, Finding::Failed), [Effect::Restart { attempt: 1 }]);
        assert_eq!(bench.gauge.verdict(), Verdict::Pending);
        bench.input_at(50, Input::Restarted { ok: true });
        assert_eq!(bench.result_at(51, Finding::Passed), [Effect::Verdict(Verdict::Up)]);
    }

    #[test]
    fn a_changed_probe_starts_from_the_verdict_that_stood() {
        let mut bench = Bench::new(spec());
        bench.check(0, Finding::Passed);
        let changed = GaugeSpec { fall: 2, ..spec() };
        let mut next = Bench { gauge: Gauge::after(&bench.gauge, changed, ms(50), ms(60)) };
        assert_eq!(next.drain(), [Effect::Verdict(Verdict::Up)]);
        assert_eq!(next.gauge.since(), bench.gauge.since());
        next.at(60);
        next.result_at(61, Finding::Failed);
        assert_eq!(next.gauge.verdict(), Verdict::Up, "two in a row are needed");
    }

    #[test]
    fn a_result_nobody_asked_for_changes_nothing() {
        let mut bench = Bench::new(spec());
        bench.check(0, Finding::Passed);
        assert_eq!(bench.result_at(50, Finding::Failed), []);
        assert_eq!(bench.gauge.verdict(), Verdict::Up);
    }

    #[test]
    fn a_check_that_nobody_could_run_only_lets_the_verdict_grow_old() {
        let mut bench = Bench::new(spec());
        bench.check(0, Finding::Passed);
        for slot in 1..=3 {
            assert_eq!(bench.check(slot, Finding::Lost), [], "slot {slot}");
        }
        assert_eq!(bench.at(352), [Effect::Verdict(Verdict::Unknown)], "2 + 3 * 100 + 50 ms");
        bench.at(400);
        assert_eq!(bench.result_at(402, Finding::Passed), [Effect::Verdict(Verdict::Up)]);
    }

    struct Bench {
        gauge: Gauge,
    }

    impl Bench {
        fn new(spec: GaugeSpec) -> Self {
            Self { gauge: Gauge::new(spec, Boot::ZERO, Boot::ZERO) }
        }

        fn input_at(&mut self, at: u64, input: Input) -> Vec<Effect> {
            self.gauge.handle(input, ms(at));
            self.drain()
        }

        fn at(&mut self, at: u64) -> Vec<Effect> {
            self.input_at(at, Input::Tick)
        }

        fn result_at(&mut self, at: u64, finding: Finding) -> Vec<Effect> {
            self.input_at(at, Input::Result(finding))
        }

        /// The check of slot `slot` starts on time and ends 2 ms later; what came after its start.
        fn check(&mut self, slot: u64, finding: Finding) -> Vec<Effect> {
            assert_eq!(self.at(slot * 100), [Effect::Check], "slot {slot}");
            self.result_at(slot * 100 + 2, finding)
        }

        fn drain(&mut self) -> Vec<Effect> {
            std::iter::from_fn(|| self.gauge.poll_effect()).collect()
        }
    }

    fn spec() -> GaugeSpec {
        GaugeSpec {
            interval: Duration::from_millis(100),
            timeout: Duration::from_millis(50),
            fall: 1,
            rise: 1,
            initial: None,
            restart: None,
        }
    }

    fn reviving(tries: u32) -> GaugeSpec {
        GaugeSpec { restart: Some(Revival { tries, wait: Duration::from_millis(300) }), ..spec() }
    }

    fn ms(at: u64) -> Boot {
        Boot::from_nanos(at * 1_000_000)
    }
}
