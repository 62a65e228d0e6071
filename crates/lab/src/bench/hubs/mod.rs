//! The tunnel that has no single point of failure: what visitors lose while hubs, agents, links and targets die, three hubs and
//! two agents at 200 requests a second.
//!
//! Each run has all of them anew. Whoever asks a hub that takes no connection goes on to the next, as a name with several
//! addresses has clients do; no request is sent twice unless the row says so. Targets take 20 ms, so that some are under way.

mod case;
mod gost;
mod run;

use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Result;

use self::case::Case;
use self::run::Reading;
use super::write_lines;
use crate::timeline::{median, millis};

/// What to measure.
#[derive(Clone, Debug)]
pub struct HubsOptions {
    /// Our binary.
    pub binary: PathBuf,
    /// Runs for each case.
    pub runs: usize,
    /// Only cases whose name contains one of these; none means all.
    pub cases: Vec<String>,
}

impl HubsOptions {
    fn wants(&self, name: &str) -> bool {
        self.cases.is_empty() || self.cases.iter().any(|part| name.contains(part.as_str()))
    }
}

/// Measures what `options` ask for and prints both tables, each run on standard error as it ends.
pub fn hubs_main(options: &HubsOptions, out: &mut dyn Write) -> Result<()> {
    let cases: Vec<Case> = Case::ALL.into_iter().filter(|case| options.wants(case.name())).collect();
    if !cases.is_empty() {
        table(options, cases, out)?;
    }
    gost::table(options, out)
}

fn table(options: &HubsOptions, cases: Vec<Case>, out: &mut dyn Write) -> Result<()> {
    writeln!(
        out,
        "3 hubs of 2 threads, 2 agents, 200 requests/s of 20 ms each; {} runs a row; times in ms: median (worst)\n",
        options.runs
    )?;
    let head =
        ["case", "bound", "requests", "failed", "in flight", "slowest", "found, back or out", "verdict"];
    let mut lines = vec![head.map(str::to_owned).to_vec()];
    for case in cases {
        let mut readings = Vec::new();
        let mut broken = None;
        for run in 0..options.runs {
            match run::once(&options.binary, case) {
                Ok(reading) => {
                    eprintln!("{} | run {run}: {reading}", case.name());
                    readings.push(reading);
                }
                // One run that fails leaves the others their figures, and the row its verdict.
                Err(error) => {
                    eprintln!("{} | run {run}: {error:#}", case.name());
                    broken = Some(format!("{error}"));
                }
            }
        }
        lines.push(line(case, &readings, broken));
    }
    write_lines(&lines, out)
}

fn line(case: Case, readings: &[Reading], broken: Option<String>) -> Vec<String> {
    let sum = |of: fn(&Reading) -> usize| readings.iter().map(of).sum::<usize>();
    let slowest = readings.iter().map(|reading| reading.slowest).max().unwrap_or_default();
    let mut names: Vec<&str> =
        readings.iter().flat_map(|one| one.times.iter().map(|(name, _)| *name)).collect();
    names.dedup();
    names.sort_unstable();
    names.dedup();
    let times = names.iter().map(|name| {
        let all: Vec<Duration> = readings
            .iter()
            .flat_map(|one| &one.times)
            .filter(|(of, _)| of == name)
            .map(|(_, time)| *time)
            .collect();
        let worst = all.iter().max().copied().unwrap_or_default();
        format!("{name} {} ({})", millis(median(&all).unwrap_or_default()), millis(worst))
    });
    let times = times.collect::<Vec<_>>().join(", ");
    let mut faults: Vec<String> = broken.into_iter().collect();
    if readings.is_empty() {
        faults.push("no run ended".to_owned());
    }
    let wrong = readings.iter().filter(|reading| !case.holds(reading)).count();
    if wrong > 0 {
        faults.push(format!("over its bound in {wrong} of {}", readings.len()));
    }
    let verdict = if faults.is_empty() { "holds".to_owned() } else { faults.join("; ") };
    let failed = sum(|one| one.failed.len());
    vec![
        case.name().to_owned(),
        case.bound(),
        sum(|one| one.requests).to_string(),
        failed.to_string(),
        sum(|one| one.flying).to_string(),
        millis(slowest),
        times,
        verdict,
    ]
}
