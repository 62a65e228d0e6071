//! gost's fleet with ours in its place: what visitors lose while clients, the hub, the plugins and their redis die.

mod bed;
mod case;
mod run;

use std::io::Write;

use anyhow::Result;

use self::case::Case;
use self::run::Reading;
use super::HubsOptions;
use crate::bench::write_lines;
use crate::timeline::millis;

/// Measures and prints the table, each run on standard error as it ends.
pub(super) fn table(options: &HubsOptions, out: &mut dyn Write) -> Result<()> {
    let cases: Vec<Case> = Case::ALL.into_iter().filter(|case| options.wants(case.name())).collect();
    if cases.is_empty() {
        return Ok(());
    }
    writeln!(
        out,
        "\ngost's clients at hubs of 2 threads, 200 requests/s of 20 ms each; {} runs a row; times in ms: the worst\n",
        options.runs
    )?;
    let head = ["case", "bound", "requests", "failed", "in flight", "slowest", "gap", "back", "verdict"];
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
    let sum = |of: fn(&Reading) -> usize| readings.iter().map(of).sum::<usize>().to_string();
    let slowest = readings.iter().map(|reading| reading.slowest).max().unwrap_or_default();
    let gap = readings.iter().map(|reading| reading.gap).max().unwrap_or_default();
    let back = readings.iter().filter_map(|reading| reading.back).max();
    let mut faults: Vec<String> = broken.into_iter().collect();
    if readings.is_empty() {
        faults.push("no run ended".to_owned());
    }
    let wrong = readings.iter().filter(|reading| !case.holds(reading)).count();
    if wrong > 0 {
        faults.push(format!("over its bound in {wrong} of {}", readings.len()));
    }
    let verdict = if faults.is_empty() { "holds".to_owned() } else { faults.join("; ") };
    vec![
        case.name().to_owned(),
        case.bound().to_owned(),
        sum(|one| one.requests),
        sum(|one| one.failed.len()),
        sum(|one| one.flying),
        millis(slowest),
        millis(gap),
        back.map(millis).unwrap_or_default(),
        verdict,
    ]
}
