//! Very many clients: idle ones that all come back, and slow ones beside honest ones.

use std::time::Duration;

use anyhow::Result;
use rustix::process::{Resource, getrlimit, setrlimit};

use super::bed::{Bed, Proxy, Software};
use super::client::{Clients, Fate, Load, percentile};
use super::crowd::{Answers, Crawl, Crowd, Slow};
use crate::process;

/// Idle connections; haproxy wants two descriptors for each, of 20,000.
const IDLE: usize = 9_900;

/// Slow connections of a kind.
const SLOW: usize = 1_000;

/// How long all answers of a crowd may take.
const ANSWERED: Duration = Duration::from_secs(60);

/// After this long of silence a connection counts as idle.
const SILENCE: Duration = Duration::from_secs(4);

/// Slow connections are there after this.
const SETTLED: Duration = Duration::from_secs(3);

/// As many descriptors as this process may have.
pub(super) fn allow_descriptors() -> Result<()> {
    let limit = getrlimit(Resource::Nofile);
    Ok(setrlimit(Resource::Nofile, rustix::process::Rlimit { current: limit.maximum, ..limit })?)
}

fn memory(proxy: &Proxy) -> Result<u64> {
    proxy.daemon.tree()?.into_iter().map(process::memory).sum()
}

fn tell(answers: &Answers) -> String {
    let Answers { good, bad, none, last } = answers;
    format!("{good} good, {bad} bad, {none} none, the last after {} ms", last.as_millis())
}

/// All are opened at once with a request over each, are left alone and asked once more.
pub(super) fn idle(bed: &Bed, software: Software) -> Result<String> {
    let proxy = bed.start(software)?;
    let at = proxy.at();
    let before = memory(&proxy)?;
    bed.host.run(|| -> Result<String> {
        let mut crowd = Crowd::open(at, IDLE)?;
        let first = crowd.ask("/1k", ANSWERED)?;
        std::thread::sleep(SILENCE);
        let each = memory(&proxy)?.saturating_sub(before) / IDLE as u64;
        let again = crowd.ask("/1k", ANSWERED)?;
        Ok(format!("first: {}; idle: {each} bytes each; again: {}", tell(&first), tell(&again)))
    })?
}

/// The p99 of honest requests without and with slow clients of each kind.
pub(super) fn slow(bed: &Bed, software: Software, time: Duration) -> Result<String> {
    let proxy = bed.start(software)?;
    let time = time.max(Duration::from_secs(3));
    let load = Load { at: proxy.at(), path: "/1k", clients: 8, rate: 400, per_connection: 50 };
    let honest = || Clients::for_a_while(&bed.host, load, time);
    honest()?;
    let mut told = Vec::new();
    for slow in Slow::ALL {
        let before = honest()?;
        let crawl = Crawl::start(&bed.host, proxy.at(), slow, SLOW)?;
        std::thread::sleep(SETTLED);
        let beside = honest()?;
        let again = crawl.stop();
        std::thread::sleep(SETTLED);
        // What the machine does meanwhile is in both figures when it is taken on both sides.
        let after = honest()?;
        told.push(compare(slow, &[before, after].concat(), &beside, again));
    }
    Ok(told.join("; "))
}

fn compare(slow: Slow, alone: &[Fate], beside: &[Fate], again: usize) -> String {
    let p99 = |fates: &[Fate]| percentile(fates, 0.99).as_secs_f64() * 1e3;
    let (alone, with) = (p99(alone), p99(beside));
    let failed = beside.iter().filter(|fate| fate.failed.is_some()).count();
    let name = slow.name();
    format!("{name}: p99 {alone:.2} to {with:.2} ms, {:.2}x, {failed} failed, {again} shut out", with / alone)
}
