//! One case, as many runs as are asked for, in one cluster.

use std::hash::{BuildHasher as _, RandomState};
use std::ops::Range;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};

use super::bed::{Bed, CALM, EVERY, LIMIT};
use super::case::Case;
use crate::cluster::Software;
use crate::peer::Keeper as _;
use crate::probe::UdpClient;
use crate::timeline::millis;
use crate::wait_until;

/// What one run showed.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Reading {
    /// The longest time without an answer, less the interval, until another node (or the same) serves steadily.
    pub(super) outage: Duration,
    /// The same from the healing until all is as it was.
    pub(super) back: Duration,
    /// How long two hosts answered, from the blow until all is as it was.
    pub(super) dual: Duration,
    /// The observer's own greatest delay.
    pub(super) late: Duration,
    /// Whether nobody took over in time.
    pub(super) endless: bool,
    /// When the second node of one id had ended.
    pub(super) ended: Option<Duration>,
}

/// The moments of a run.
struct Moments {
    struck: Instant,
    served: Instant,
    healed: Instant,
    calm: Instant,
}

/// All runs of a case.
pub(super) fn measure(software: &Software, case: Case, term: Duration, runs: usize) -> Result<Vec<Reading>> {
    let bed = Bed::start(software, case.shape(term))?;
    let (client, watch) = (bed.ask()?, bed.watch()?);
    let mut readings = Vec::new();
    for run in 0..runs {
        let begun =
            |reading: &Reading| format!("{software} | T {term:?} | {} | run {run}: {reading}", case.name());
        let (mut reading, moments) =
            once(&bed, case, software, &client).with_context(|| format!("{}, run {run}", case.name()))?;
        let answers = watch.answers();
        let whole = moments.struck..moments.calm;
        reading.dual = answers.dual_time(&whole);
        eprintln!("{}", begun(&reading));
        for span in answers.dual(&whole) {
            let from = |at: Instant| millis(at - moments.struck);
            let (healed, served) = (from(moments.healed), from(moments.served));
            eprintln!(
                "  two from {} to {} ms after the blow (served {served}, healed {healed})",
                from(span.start),
                from(span.end)
            );
        }
        if matches!(software, Software::Mainstay(_))
            && reading.outage > case.bound(term) + reading.late + EVERY
        {
            eprintln!("  beyond {:?}; holders: {}", case.bound(term), story(&client, &whole));
        }
        readings.push(reading);
    }
    Ok(readings)
}

fn once(bed: &Bed, case: Case, software: &Software, client: &UdpClient) -> Result<(Reading, Moments)> {
    let term = bed.shape.term;
    // The blow falls at any moment between two renewals.
    std::thread::sleep(fraction(term));
    let struck = Instant::now();
    let wound = case.strike(bed)?;
    let mut reading = Reading::default();
    if let Some((_, double)) = &wound.stranger {
        wait_until("the second of one id ends", LIMIT, || Ok(!double.daemon().running()))?;
        reading.ended = Some(struck.elapsed());
    }
    if case.moves() {
        // Keepalived may never let another node answer alone: that it does not is the finding.
        let patience = match software {
            Software::Keepalived => term * 3 + Duration::from_secs(1),
            Software::Mainstay(_) => LIMIT,
        };
        reading.endless = client.wait_for_steady("n2", CALM, patience).is_err();
    }
    std::thread::sleep(case.lasts(term).saturating_sub(struck.elapsed()));
    let served = Instant::now();
    let healed = Instant::now();
    bed.heal(wound)?;
    bed.settle()?;
    client.wait_for_steady("n1", CALM, LIMIT)?;
    let calm = Instant::now();
    let record = client.record();
    reading.outage = record.outage(&(struck..served));
    reading.back = record.outage(&(healed..calm));
    reading.late = record.lateness(&(struck..calm));
    drop(record);
    Ok((reading, Moments { struck, served, healed, calm }))
}

/// Who answered when, in a line.
fn story(client: &UdpClient, window: &Range<Instant>) -> String {
    let record = client.record();
    let start = window.start - record.origin;
    let since = |at: Duration| millis(at.saturating_sub(start));
    let spans = record.holders(window).into_iter();
    let spans: Vec<String> =
        spans.map(|span| format!("{} {} to {}", span.node, since(span.from), since(span.to))).collect();
    spans.join(", ")
}

impl std::fmt::Display for Reading {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            out,
            "outage {} ms, back {} ms, two {} ms, late {} ms",
            millis(self.outage),
            millis(self.back),
            millis(self.dual),
            millis(self.late)
        )?;
        if self.endless {
            out.write_str(", nobody took over")?;
        }
        if let Some(ended) = self.ended {
            write!(out, ", the second ended after {} ms", millis(ended))?;
        }
        Ok(())
    }
}

/// A random part of `whole`.
fn fraction(whole: Duration) -> Duration {
    let chance = RandomState::new().hash_one(0) % 1000;
    whole * u32::try_from(chance).unwrap_or(0) / 1000
}
