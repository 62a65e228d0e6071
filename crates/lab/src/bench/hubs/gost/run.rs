//! One run of a row.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};

use super::bed::{Bed, HOST, Plugins, Site, entry};
use super::case::{Case, Harm, Kind};
use crate::hubs::LIMIT;
use crate::peer::Keeper as _;
use crate::pods::{FRONT, PODS, Pods, served};
use crate::probe::{Fate, Visitors, Visits, fetch_from};
use crate::timeline::millis;
use crate::{Host, wait_until};

/// Who asks, and how often in a second: half of them over kept connections.
const VISITORS: u32 = 24;
const RATE: u32 = 200;

/// Before the first blow, and after the last.
const CALM: Duration = Duration::from_secs(1);

/// How long plugins or their redis are away: a client is known for five seconds from its last renewal.
const AWAY: Duration = Duration::from_secs(8);

/// Five times as long as a rule lasts.
const OVER: Duration = Duration::from_secs(10);

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
    pub(super) slowest: Duration,
    /// The longest time in which nobody got an answer.
    pub(super) gap: Duration,
    /// From when the hub listened to the first answer.
    pub(super) back: Option<Duration>,
}

/// Visitors of both sorts.
struct Crowds([Visitors; 2]);

impl Crowds {
    fn start(host: &Host, at: SocketAddr, again: bool) -> Result<Self> {
        let visits = |per_connection| Visits {
            hubs: vec![at],
            host: HOST.to_owned(),
            method: "GET",
            visitors: VISITORS / 2,
            rate: RATE / 2,
            per_connection,
            patience: Duration::from_secs(5),
            again,
        };
        Ok(Self([Visitors::start(host, &visits(50))?, Visitors::start(host, &visits(1))?]))
    }

    /// Those that take a connection for each request.
    fn fresh(&self) -> &Visitors {
        &self.0[1]
    }

    /// What became of all requests, of which some were under way from the first moment to the second.
    fn stop(self, blow: Option<(Instant, Instant)>) -> Result<Reading> {
        let fates: Vec<Fate> = self.0.into_iter().flat_map(Visitors::stop).collect();
        let mut reading = Reading { gap: gap(&fates), ..Reading::default() };
        for fate in &fates {
            reading.take(fate, blow);
        }
        ensure!(reading.requests > 100, "only {} requests", reading.requests);
        Ok(reading)
    }
}

/// The longest time between two answers.
fn gap(fates: &[Fate]) -> Duration {
    let mut answers: Vec<Instant> =
        fates.iter().filter(|fate| fate.failed.is_none()).map(|fate| fate.to).collect();
    answers.sort_unstable();
    answers.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap_or_default()
}

/// One run.
pub(super) fn once(binary: &Path, case: Case) -> Result<Reading> {
    match case {
        Case::KillClient(kind) => kill_client(&Bed::alone(binary, kind)?),
        Case::KillHub(kind) => kill_hub(&Bed::alone(binary, kind)?),
        Case::Plugins(harm) => plugins(&Bed::with_plugins(binary)?, harm),
        Case::Expired => expired(&Bed::with_plugins(binary)?),
        Case::Rolled(kind) => rolled(binary, kind),
    }
}

/// One of two clients dies.
fn kill_client(bed: &Bed) -> Result<Reading> {
    let crowds = Crowds::start(&bed.visitor, entry(0), false)?;
    std::thread::sleep(CALM);
    let from = Instant::now();
    bed.sites[0].client().kill_all()?;
    let blow = (from, Instant::now());
    std::thread::sleep(CALM * 2);
    crowds.stop(Some(blow))
}

/// The hub dies and is started again; its clients come back by themselves. Until it listens nobody can be served.
fn kill_hub(bed: &Bed) -> Result<Reading> {
    let crowds = Crowds::start(&bed.visitor, entry(0), false)?;
    std::thread::sleep(CALM);
    let (_, node) = &bed.hubs[0];
    let from = Instant::now();
    node.daemon().kill_all()?;
    std::thread::sleep(CALM * 2);
    node.daemon().start()?;
    wait_until("the hub listens", LIMIT, || bed.listens(0))?;
    let open = Instant::now();
    let answered = |fate: &Fate| fate.failed.is_none() && fate.to > open;
    let all = |crowds: &Crowds| crowds.0.iter().flat_map(Visitors::fates).collect::<Vec<_>>();
    wait_until("it serves", LIMIT, || Ok(all(&crowds).iter().any(answered)))?;
    let first = all(&crowds).iter().filter(|fate| answered(fate)).map(|fate| fate.to).min();
    std::thread::sleep(CALM);
    let mut reading = crowds.stop(Some((from, open)))?;
    reading.back = Some(first.context("it served")? - open);
    Ok(reading)
}

/// The visitors are at the hub that has no client, and knows of the other by the plugins alone.
fn plugins(bed: &Bed, harm: Harm) -> Result<Reading> {
    bed.wait_serves(1)?;
    let Plugins { redis, both } = bed.plugins.as_ref().context("there are plugins")?;
    let crowds = Crowds::start(&bed.visitor, entry(1), false)?;
    std::thread::sleep(CALM);
    let from = Instant::now();
    match harm {
        Harm::Flushed => redis.flush()?,
        Harm::StoreStopped => redis.daemon().kill_all()?,
        Harm::StoreHung => redis.daemon().freeze()?,
        Harm::PluginsKilled => both.iter().try_for_each(crate::Daemon::kill_all)?,
        Harm::PluginsHung => both.iter().try_for_each(crate::Daemon::freeze)?,
    }
    std::thread::sleep(AWAY);
    match harm {
        Harm::Flushed => {}
        Harm::StoreStopped => redis.start_again()?,
        Harm::StoreHung => redis.daemon().resume()?,
        Harm::PluginsKilled => both.iter().try_for_each(crate::Daemon::start)?,
        Harm::PluginsHung => both.iter().try_for_each(crate::Daemon::resume)?,
    }
    std::thread::sleep(AWAY / 2);
    crowds.stop(Some((from, Instant::now())))
}

/// A hub that nobody has asked for the host is asked when the rule would have ended several times over.
fn expired(bed: &Bed) -> Result<Reading> {
    std::thread::sleep(OVER);
    let crowds = Crowds::start(&bed.visitor, entry(1), false)?;
    std::thread::sleep(OVER);
    crowds.stop(None)
}

/// Each of three hubs is followed by a new one. A request that a kept connection breaks without a byte is sent again, as HTTP's
/// clients do.
fn rolled(binary: &Path, kind: Kind) -> Result<Reading> {
    let mut pods = Pods::start(binary)?;
    let mut sites = Vec::new();
    for (number, name) in [(41, "one"), (42, "two")] {
        sites.push(Site::start(&pods.host(name, number)?, binary, kind, &format!("{FRONT}:8421"))?);
    }
    let front: SocketAddr = format!("{FRONT}:80").parse()?;
    wait_until("every hub serves", LIMIT, || {
        for _ in 0..16 {
            if !pods.visitor.run(|| fetch_from(front, HOST, LIMIT))?.is_ok_and(|page| page.starts_with("xxx"))
            {
                return Ok(false);
            }
        }
        Ok(true)
    })?;
    let crowds = Crowds::start(&pods.visitor, front, true)?;
    served(crowds.fresh(), 50)?;
    let from = Instant::now();
    pods.roll(crowds.fresh())?;
    ensure!(pods.numbers().into_iter().eq(4..=PODS), "three new pods run");
    crowds.stop(Some((from, Instant::now())))
}

impl Reading {
    fn take(&mut self, fate: &Fate, blow: Option<(Instant, Instant)>) {
        self.requests += 1;
        let flying = blow.is_some_and(|(from, to)| fate.meets(from, to));
        self.flying += usize::from(flying);
        self.slowest = self.slowest.max(fate.to - fate.from);
        if let Some(why) = &fate.failed {
            self.failed.push(why.clone());
            self.strays += usize::from(!flying);
        }
    }
}

impl fmt::Display for Reading {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (failed, strays) = (self.failed.len(), self.strays);
        write!(out, "{} requests, {failed} failed, {strays} not in flight", self.requests)?;
        let mut kinds: BTreeMap<&str, usize> = BTreeMap::new();
        self.failed.iter().for_each(|why| *kinds.entry(why).or_default() += 1);
        for (why, count) in kinds {
            write!(out, ", {count} x {why}")?;
        }
        write!(out, ", slowest {} ms, gap {} ms", millis(self.slowest), millis(self.gap))?;
        match self.back {
            Some(back) => write!(out, ", back {} ms", millis(back)),
            None => Ok(()),
        }
    }
}
