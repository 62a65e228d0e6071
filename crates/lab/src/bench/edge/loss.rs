//! Requests and WebSockets that are lost: during reloads, an upgrade, the death of edge processes and of a backend.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{PidfdFlags, Signal, kill_process, pidfd_open};

use super::bed::{Bed, PAIR, Proxy, Software};
use super::client::{Clients, Failed, Fate, Load, percentile};
use super::crowd::Crowd;
use super::sockets::Sockets;

/// WebSockets that are open meanwhile.
const SOCKETS: usize = 20;

/// Edge processes that are killed.
const KILLS: usize = 16;

/// Times that a backend is killed.
const BACKEND_KILLS: usize = 8;

/// Between two faults, and before the first.
const PAUSE: Duration = Duration::from_secs(1);

fn load(proxy: &Proxy, path: &'static str) -> Load {
    Load { at: proxy.at(), path, clients: 20, rate: 500, per_connection: 50 }
}

/// How many requests there were, and what became of those that failed.
pub(super) fn tell(fates: &[Fate]) -> String {
    let failed: Vec<&Failed> = fates.iter().filter_map(|fate| fate.failed.as_ref()).collect();
    let mut kinds: BTreeMap<String, usize> = BTreeMap::new();
    failed.iter().for_each(|why| *kinds.entry(why.to_string()).or_default() += 1);
    let kinds: Vec<String> = kinds.into_iter().map(|(why, count)| format!("{count} {why}")).collect();
    let why = if kinds.is_empty() { String::new() } else { format!(" ({})", kinds.join(", ")) };
    let slowest = percentile(fates, 1.0).as_millis();
    format!("{} of {} requests failed{why}, slowest {slowest} ms", failed.len(), fates.len())
}

/// A changed configuration each second, for this long.
pub(super) fn reload(bed: &Bed, software: Software, time: Duration) -> Result<String> {
    let proxy = bed.start(software)?;
    let sockets = Sockets::open(&bed.host, proxy.at(), SOCKETS)?;
    let clients = Clients::start(&bed.host, load(&proxy, "/1k"))?;
    let turns = usize::try_from(time.as_secs())?.max(1);
    for turn in 1..=turns {
        std::thread::sleep(PAUSE);
        proxy.reload(turn)?;
    }
    std::thread::sleep(PAUSE);
    let (fates, (open, cut)) = (clients.stop(), sockets.stop());
    let path = format!("/turn-{turns}/");
    let last = bed.host.run(|| Crowd::open(proxy.at(), 1)?.ask(&path, super::bed::LIMIT))??;
    anyhow::ensure!(last.bad == 1, "the last configuration, which refuses {path}, is not in force");
    let processes = proxy.daemon.tree()?.len();
    Ok(format!(
        "{}; {cut} of {open} WebSockets cut; {turns} reloads, {processes} processes at the end",
        tell(&fates)
    ))
}

/// Another file with the same program takes over.
pub(super) fn upgrade(bed: &Bed, software: Software, time: Duration) -> Result<String> {
    let proxy = bed.start(software)?;
    let sockets = Sockets::open(&bed.host, proxy.at(), SOCKETS)?;
    let clients = Clients::start(&bed.host, load(&proxy, "/1k"))?;
    std::thread::sleep(PAUSE);
    let old = proxy.edges()?;
    let began = Instant::now();
    proxy.upgrade()?;
    proxy.wait_for_others(&old)?;
    let took = began.elapsed();
    std::thread::sleep(time);
    let (fates, (open, cut)) = (clients.stop(), sockets.stop());
    Ok(format!("{}; {cut} of {open} WebSockets cut; took {} ms", tell(&fates), took.as_millis()))
}

/// Edge processes are killed one after the other.
pub(super) fn kill(bed: &Bed, software: Software) -> Result<String> {
    let proxy = bed.start(software)?;
    let clients = Clients::start(&bed.host, load(&proxy, "/1k"))?;
    let mut kills = Vec::new();
    for turn in 0..KILLS {
        std::thread::sleep(PAUSE);
        let all = proxy.edges()?;
        let victim = *all.get(turn % all.len().max(1)).context("an edge process runs")?;
        let dead = pidfd_open(victim, PidfdFlags::empty())?;
        let from = Instant::now();
        kill_process(victim, Signal::KILL)?;
        // Until the last of its threads is gone its sockets take bytes that nobody will read.
        poll(&mut [PollFd::new(&dead, PollFlags::IN)], None)?;
        kills.push(from..=Instant::now());
        let whole = || Ok(proxy.edges()?.iter().filter(|pid| **pid != victim).count() == all.len());
        crate::wait_until("its successor runs", super::bed::LIMIT, whole)?;
    }
    std::thread::sleep(PAUSE);
    let fates = clients.stop();
    let at_a_kill =
        |fate: &&Fate| kills.iter().any(|kill| fate.from <= *kill.end() && *kill.start() <= fate.to);
    let dying = kills.iter().map(|kill| *kill.end() - *kill.start()).max().unwrap_or_default();
    let flying = fates.iter().filter(at_a_kill).count();
    let failed = || fates.iter().filter(|fate| fate.failed.is_some());
    let others = failed().filter(|fate| !at_a_kill(fate)).count();
    let connects = failed().filter(|fate| matches!(fate.failed, Some(Failed::Connect(_)))).count();
    Ok(format!(
        "{}; in flight while one died ({} ms at most): {flying}; failed that were not: {others}; failed connects: {connects}",
        tell(&fates),
        dying.as_millis()
    ))
}

/// One of two backends is killed and started again.
pub(super) fn backend(bed: &Bed, software: Software) -> Result<String> {
    let proxy = bed.start(software)?;
    let clients = Clients::start(&bed.host, Load { clients: 120, ..load(&proxy, "/pair/1k") })?;
    for turn in 0..BACKEND_KILLS {
        std::thread::sleep(PAUSE);
        let victim = &bed.pair[turn % PAIR.len()];
        victim.kill_all()?;
        std::thread::sleep(PAUSE);
        victim.start()?;
    }
    std::thread::sleep(PAUSE);
    Ok(tell(&clients.stop()))
}
