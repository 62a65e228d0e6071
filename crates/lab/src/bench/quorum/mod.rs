//! Never two holders: what an observer outside a cluster sees while the holder under `guard = "quorum"` is cut off, frozen, killed
//! and moved, with keepalived beside it where it knows the fault; and a soak of random faults.
//!
//! The observer asks the service and "who has it" every millisecond. Outage is the longest gap between answers less the interval;
//! time with two holders is the time in which two hosts answered in turns. Each run heals and waits until all is calm.

pub(crate) mod bed;
mod case;
mod run;
mod soak;

use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result};

use self::case::Case;
use self::run::Reading;
use super::write_lines;
use crate::cluster::Software;
use crate::timeline::{median, millis};

/// What to measure.
#[derive(Clone, Debug)]
pub struct QuorumOptions {
    /// Our binary.
    pub binary: PathBuf,
    /// Whether keepalived is measured too.
    pub keepalived: bool,
    /// Runs for each case.
    pub runs: usize,
    /// Only cases whose name contains one of these; none means all. `soak` names the soak.
    pub cases: Vec<String>,
    /// Lease terms.
    pub terms: Vec<Duration>,
    /// How long the soak goes on.
    pub soak: Duration,
    /// What the soak's faults are drawn from.
    pub seed: u64,
}

impl QuorumOptions {
    fn wants(&self, name: &str) -> bool {
        self.cases.is_empty() || self.cases.iter().any(|part| name.contains(part.as_str()))
    }
}

/// Measures what `options` ask for and prints the tables, each run on standard error as it ends.
pub fn quorum_main(options: &QuorumOptions, out: &mut dyn Write) -> Result<()> {
    for term in &options.terms {
        let cases: Vec<Case> = Case::ALL.into_iter().filter(|case| options.wants(case.name())).collect();
        if !cases.is_empty() {
            table(options, *term, &cases, out)?;
        }
        if options.wants("soak") {
            soak::soak(&options.binary, *term, options.soak, options.seed, out)
                .with_context(|| format!("soak, T = {term:?}"))?;
        }
    }
    Ok(())
}

fn table(options: &QuorumOptions, term: Duration, cases: &[Case], out: &mut dyn Write) -> Result<()> {
    writeln!(
        out,
        "T = {term:?}, {} runs each, ms; two nodes and a witness; keepalived: two nodes, adverts every {:?}\n",
        options.runs,
        term / 3
    )?;
    let head = [
        "case",
        "software",
        "two holders",
        "outage: least",
        "median",
        "worst",
        "bound",
        "way back: worst",
        "late",
        "",
    ];
    let mut lines = vec![head.map(str::to_owned).to_vec()];
    for case in cases {
        let mut software = vec![Software::Mainstay(options.binary.clone())];
        if options.keepalived && case.of_all() {
            software.push(Software::Keepalived);
        }
        for software in software {
            // One case that fails leaves the others their figures.
            let line = match run::measure(&software, *case, term, options.runs) {
                Ok(readings) => line(*case, &software, term, &readings),
                Err(error) => {
                    eprintln!("{software} | {}: {error:#}", case.name());
                    let why = error.to_string();
                    vec![case.name().to_owned(), software.to_string(), "-".to_owned(), why]
                }
            };
            lines.push(line);
        }
    }
    write_lines(&lines, out)?;
    writeln!(out)?;
    Ok(())
}

fn line(case: Case, software: &Software, term: Duration, readings: &[Reading]) -> Vec<String> {
    let worst = |of: fn(&Reading) -> Duration| readings.iter().map(of).max().unwrap_or_default();
    let outages: Vec<Duration> = readings.iter().map(|reading| reading.outage).collect();
    let (least, middle) =
        (outages.iter().min().copied().unwrap_or_default(), median(&outages).unwrap_or_default());
    let (most, dual, bound) =
        (worst(|reading| reading.outage), worst(|reading| reading.dual), case.bound(term));
    let late = worst(|reading| reading.late);
    let mut remarks = Vec::new();
    let endless = readings.iter().filter(|reading| reading.endless).count();
    if endless > 0 {
        remarks.push(format!("no move in {endless} of {}", readings.len()));
    }
    if let Some(slowest) = readings.iter().filter_map(|reading| reading.ended).max() {
        remarks.push(format!("the second ended after {} at most", millis(slowest)));
    }
    if matches!(software, Software::Mainstay(_)) {
        if dual > Duration::ZERO {
            remarks.push("TWO HOLDERS".to_owned());
        }
        // A client that was late itself has lost nothing.
        if most > bound + late + bed::EVERY {
            remarks.push("over its bound".to_owned());
        }
    }
    let figures = [dual, least, middle, most, bound, worst(|reading| reading.back), late].map(millis);
    let mut line = vec![case.name().to_owned(), software.to_string()];
    line.extend(figures);
    line.push(remarks.join("; "));
    line
}
