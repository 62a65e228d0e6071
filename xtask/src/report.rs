//! The steps of a long chore: announced, timed, summed up at the end.

use std::time::{Duration, Instant};

use anyhow::bail;

/// How a step went when it was no error.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Done {
    /// It passed.
    Passed,
    /// It could not be run; why.
    Skipped(String),
}

#[derive(Debug)]
enum Outcome {
    Passed,
    Skipped(String),
    Failed(String),
}

/// Steps so far.
#[derive(Debug)]
pub(crate) struct Report {
    started: Instant,
    rows: Vec<(String, Duration, Outcome)>,
}

impl Report {
    /// No steps yet.
    pub(crate) fn start() -> Self {
        Self { started: Instant::now(), rows: Vec::new() }
    }

    /// Runs a step; a failure is kept for the end, so that one run shows all of them.
    pub(crate) fn step(&mut self, name: &str, work: impl FnOnce() -> anyhow::Result<Done>) {
        println!("\n==> {name} (at {})", seconds(self.started.elapsed()));
        let begun = Instant::now();
        let outcome = match work() {
            Ok(Done::Passed) => Outcome::Passed,
            Ok(Done::Skipped(why)) => Outcome::Skipped(why),
            Err(error) => Outcome::Failed(format!("{error:#}")),
        };
        let took = begun.elapsed();
        println!("{}", row(name, took, &outcome));
        self.rows.push((name.to_owned(), took, outcome));
    }

    /// Prints the table; an error when a step failed.
    pub(crate) fn finish(self) -> anyhow::Result<()> {
        println!("\n==> summary");
        for (name, took, outcome) in &self.rows {
            println!("{}", row(name, *took, outcome));
        }
        let failed = self.rows.iter().filter(|(_, _, o)| matches!(o, Outcome::Failed(_))).count();
        let total = seconds(self.started.elapsed());
        if failed > 0 {
            bail!("{failed} of {} steps failed in {total}", self.rows.len());
        }
        println!("all {} steps done in {total}", self.rows.len());
        Ok(())
    }
}

fn row(name: &str, took: Duration, outcome: &Outcome) -> String {
    let (word, why) = match outcome {
        Outcome::Passed => ("ok", String::new()),
        Outcome::Skipped(why) => ("SKIPPED", format!(": {why}")),
        Outcome::Failed(why) => ("FAILED", format!(": {why}")),
    };
    format!("    {name:<12} {:>9}  {word}{why}", seconds(took))
}

fn seconds(time: Duration) -> String {
    format!("{:.1} s", time.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::anyhow;

    #[test]
    fn a_failed_step_does_not_stop_the_next_and_fails_the_whole() {
        let mut report = Report::start();
        let mut ran = false;
        report.step("first", || Err(anyhow!("broken")));
        report.step("second", || {
            ran = true;
            Ok(Done::Passed)
        });
        assert!(ran);
        assert!(report.finish().unwrap_err().to_string().starts_with("1 of 2 steps failed"));
    }

    #[test]
    fn a_skipped_step_says_why_and_fails_nothing() {
        let skipped = Outcome::Skipped("no network".into());
        assert!(row("deny", Duration::ZERO, &skipped).ends_with("SKIPPED: no network"));
        let mut report = Report::start();
        report.step("deny", || Ok(Done::Skipped("no network".into())));
        assert!(report.finish().is_ok());
    }
}
