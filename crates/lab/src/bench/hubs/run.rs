//! One run of a row.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};

use super::case::Case;
use crate::hubs::{HOST, Hubs, LIMIT, TARGET};
use crate::peer::{Keeper as _, Mainstay};
use crate::probe::{Fate, Visitors, Visits};
use crate::timeline::millis;
use crate::{Way, wait_until};

/// Who asks, and how often in a second.
const VISITORS: u32 = 24;
const RATE: u32 = 200;

/// Before the first blow, and after the last.
const CALM: Duration = Duration::from_secs(1);

/// What a target takes to answer, in milliseconds.
const THINKS: &str = "20";

/// What one run showed.
#[derive(Debug, Default)]
pub(super) struct Reading {
    pub(super) requests: usize,
    /// Why each request failed that did.
    pub(super) failed: Vec<String>,
    /// Those that failed and were not under way at a blow.
    pub(super) strays: usize,
    /// Requests that were under way at a blow.
    pub(super) flying: usize,
    /// Requests that were sent again by their visitors.
    pub(super) again: usize,
    pub(super) slowest: Duration,
    /// What took how long.
    pub(super) times: Vec<(&'static str, Duration)>,
}

/// From when to when something was dying.
type Blow = (Instant, Instant);

/// One run.
pub(super) fn once(binary: &Path, case: Case) -> Result<Reading> {
    let target = (std::env::current_exe()?, ["backend", TARGET, THINKS].map(str::to_owned).to_vec());
    let mut bed = Hubs::start(binary, case.shape(target))?;
    let mut kinds = vec![visits(&bed, 50)];
    if bed.front().len() == 1 {
        // Half of them take a connection for each request.
        let half = |visits: Visits| Visits { visitors: VISITORS / 2, rate: RATE / 2, ..visits };
        kinds = vec![half(visits(&bed, 50)), half(visits(&bed, 1))];
    }
    let crowds: Vec<Visitors> =
        kinds.iter().map(|visits| Visitors::start(&bed.client, visits)).collect::<Result<_>>()?;
    std::thread::sleep(CALM);
    let mut reading = Reading::default();
    let blows = match case {
        Case::KillHub => kill_hub(&bed, &mut reading)?,
        Case::KillAgent => kill_agent(&bed, &mut reading)?,
        Case::RestartHubs => restart_hubs(&bed, &mut reading)?,
        Case::RestartAgents => restart_agents(&bed, &mut reading)?,
        Case::UpgradeHubs => upgrade(&bed, true, &mut reading)?,
        Case::UpgradeAgents => upgrade(&bed, false, &mut reading)?,
        Case::HalfOpen(way) => half_open(&bed, way, &mut reading)?,
        Case::TargetDies => kill_target(&mut bed, &mut reading)?,
    };
    std::thread::sleep(CALM);
    for fate in crowds.into_iter().flat_map(Visitors::stop) {
        reading.take(&fate, &blows);
    }
    ensure!(reading.requests > 100, "only {} requests", reading.requests);
    Ok(reading)
}

fn visits(bed: &Hubs, per_connection: u32) -> Visits {
    Visits {
        hubs: bed.front(),
        host: HOST.to_owned(),
        method: "GET",
        visitors: VISITORS,
        rate: RATE,
        per_connection,
        patience: Duration::from_secs(5),
        again: false,
    }
}

/// A hub dies and comes back.
fn kill_hub(bed: &Hubs, reading: &mut Reading) -> Result<Vec<Blow>> {
    let (_, node) = &bed.hubs[0];
    let from = Instant::now();
    node.daemon().kill_all()?;
    let blow = (from, Instant::now());
    std::thread::sleep(CALM * 2);
    node.daemon().start()?;
    let open = bed.wait_open(0)?;
    let asks = Visits { hubs: vec![Hubs::web(0)], visitors: 1, rate: 100, ..visits(bed, 1) };
    let asks = Visitors::start(&bed.client, &asks)?;
    wait_until("it serves", LIMIT, || Ok(asks.fates().iter().any(|fate| fate.failed.is_none())))?;
    let served = asks.stop().iter().filter(|fate| fate.failed.is_none()).map(|fate| fate.to).min();
    reading.times.push(("back", served.context("it served")?.saturating_duration_since(open)));
    wait_until("all agents are there", LIMIT, || bed.is_whole(0))?;
    reading.times.push(("whole", open.elapsed()));
    Ok(vec![blow])
}

/// An agent dies and comes back.
fn kill_agent(bed: &Hubs, reading: &mut Reading) -> Result<Vec<Blow>> {
    let node = &bed.sites[0].node;
    let from = Instant::now();
    node.daemon().kill_all()?;
    let blow = (from, Instant::now());
    std::thread::sleep(CALM);
    node.daemon().start()?;
    wait_until("its node answers", LIMIT, || Ok(node.worker_pid("agent").is_ok()))?;
    let up = Instant::now();
    for hub in 0..bed.hubs.len() {
        wait_until("it is back at every hub", LIMIT, || bed.is_whole(hub))?;
    }
    reading.times.push(("back", up.elapsed()));
    Ok(vec![blow])
}

fn restart_hubs(bed: &Hubs, reading: &mut Reading) -> Result<Vec<Blow>> {
    let mut blows = Vec::new();
    for index in 0..bed.hubs.len() {
        let from = Instant::now();
        Hubs::restart(&bed.hubs[index].1)?;
        blows.push((from, Instant::now()));
        reading.times.push(("stop", from.elapsed()));
        bed.settle()?;
        std::thread::sleep(CALM);
    }
    Ok(blows)
}

fn restart_agents(bed: &Hubs, reading: &mut Reading) -> Result<Vec<Blow>> {
    let mut blows = Vec::new();
    for site in &bed.sites {
        let from = Instant::now();
        Hubs::restart(&site.node)?;
        blows.push((from, Instant::now()));
        reading.times.push(("stop", from.elapsed()));
        bed.settle()?;
    }
    Ok(blows)
}

fn upgrade(bed: &Hubs, hubs: bool, reading: &mut Reading) -> Result<Vec<Blow>> {
    let mut blows = Vec::new();
    let nodes: Vec<_> = if hubs {
        bed.hubs.iter().map(|(host, node)| (host, node)).collect()
    } else {
        bed.sites.iter().map(|site| (&site.host, &site.node)).collect()
    };
    for (host, node) in nodes {
        let from = Instant::now();
        Hubs::upgrade(host, node)?;
        blows.push((from, Instant::now()));
        reading.times.push(("took", from.elapsed()));
        bed.settle()?;
        std::thread::sleep(CALM);
    }
    Ok(blows)
}

/// Frames between an agent and everybody vanish; nobody is told.
fn half_open(bed: &Hubs, way: Way, reading: &mut Reading) -> Result<Vec<Blow>> {
    let site = &bed.sites[0];
    let threads = usize::from(bed.threads());
    // Logs tell it as it happens; a status is taken once a second.
    let left = |hub: &Mainstay| hub.daemon().log().matches("an agent has left").count();
    let ended = || site.node.daemon().log().matches("a session has ended").count();
    let (before, sessions) = (bed.hubs.iter().map(|(_, hub)| left(hub)).collect::<Vec<_>>(), ended());
    let from = Instant::now();
    let cut = site.host.port("eth0")?.isolate(way)?;
    let (mut hubs, mut agent) = (None, None);
    wait_until("both sides find out", LIMIT, || {
        let now = from.elapsed();
        let know = |(at, (_, hub)): (usize, &(_, Mainstay))| left(hub) >= before[at] + threads;
        if hubs.is_none() && bed.hubs.iter().enumerate().all(know) {
            hubs = Some(now);
        }
        if agent.is_none() && ended() >= sessions + threads * bed.hubs.len() {
            agent = Some(now);
        }
        Ok(hubs.is_some() && agent.is_some())
    })?;
    reading.times.extend([("hubs", hubs.unwrap_or_default()), ("agent", agent.unwrap_or_default())]);
    let blow = (from, Instant::now());
    cut.heal()?;
    bed.settle()?;
    Ok(vec![blow])
}

/// The target of an agent dies and comes back.
fn kill_target(bed: &mut Hubs, reading: &mut Reading) -> Result<Vec<Blow>> {
    let from = Instant::now();
    bed.sites[0].kill_target()?;
    let blow = (from, Instant::now());
    wait_until("no hub sends there", LIMIT, || {
        Ok((0..bed.hubs.len()).all(|hub| bed.troubled(hub).is_ok_and(|count| count == 1)))
    })?;
    reading.times.push(("out", from.elapsed()));
    std::thread::sleep(CALM);
    bed.sites[0].start_target()?;
    bed.settle()?;
    Ok(vec![blow])
}

impl Reading {
    fn take(&mut self, fate: &Fate, blows: &[Blow]) {
        self.requests += 1;
        let flying = blows.iter().any(|(from, to)| fate.meets(*from, *to));
        self.flying += usize::from(flying);
        self.again += usize::from(fate.again);
        self.slowest = self.slowest.max(fate.to - fate.from);
        if let Some(why) = &fate.failed {
            self.failed.push(why.clone());
            self.strays += usize::from(!flying);
        }
    }
}

impl fmt::Display for Reading {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            out,
            "{} requests, {} failed, {} not in flight",
            self.requests,
            self.failed.len(),
            self.strays
        )?;
        let mut kinds: BTreeMap<&str, usize> = BTreeMap::new();
        self.failed.iter().for_each(|why| *kinds.entry(why).or_default() += 1);
        for (why, count) in kinds {
            write!(out, ", {count} x {why}")?;
        }
        write!(out, ", slowest {} ms", millis(self.slowest))?;
        for (name, time) in &self.times {
            write!(out, ", {name} {} ms", millis(*time))?;
        }
        Ok(())
    }
}
