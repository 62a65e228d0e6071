//! Too few descriptors for those who come.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use super::bed::{Bed, LIMIT, Proxy, Software};
use super::client::{Clients, Load};
use super::crowd::Crowd;
use crate::{process, wait_until};

/// Descriptors of each process.
const FILES: u32 = 256;

/// Clients that come at once.
const CLIENTS: usize = 1_000;

/// How long the processor's time is taken while there are none.
const STARVED: Duration = Duration::from_secs(5);

/// More clients come than there are descriptors, stay, and go.
pub(super) fn descriptors(bed: &Bed, software: Software) -> Result<String> {
    let proxy = bed.limited(software, Some(FILES))?;
    let edges = proxy.edges()?;
    let load = Load { at: proxy.at(), path: "/1k", clients: 4, rate: 100, per_connection: u32::MAX };
    let kept = Clients::start(&bed.host, load)?;
    std::thread::sleep(Duration::from_secs(1));
    let (first, spent) = bed.host.run(|| -> Result<_> {
        let mut crowd = Crowd::open(proxy.at(), CLIENTS)?;
        let first = crowd.ask("/1k", Duration::from_secs(5))?;
        let used = || edges.iter().map(|pid| process::cpu_time_exact(*pid)).sum::<Result<Duration>>();
        let before = used()?;
        std::thread::sleep(STARVED);
        Ok((first, used()?.saturating_sub(before)))
    })??;
    let kept = kept.stop();
    let began = Instant::now();
    let free =
        || Ok(bed.host.run(|| Crowd::open(proxy.at(), 50)?.ask("/1k", Duration::from_secs(5)))??.good == 50);
    wait_until("new clients are served", LIMIT, free).with_context(|| proxy.daemon.log_tail())?;
    let recovered = began.elapsed().as_millis();
    let load = spent.as_secs_f64() / STARVED.as_secs_f64() * 100.0;
    let counted = counted(&proxy)?;
    let lines = proxy.daemon.log().lines().filter(|line| line.contains("descriptor")).count();
    anyhow::ensure!(proxy.edges()? == edges, "an edge process died");
    Ok(format!(
        "{} of {CLIENTS} answered, {} turned away, {} waited; over older connections {}; {load:.0} % of a core; \
         refused no-descriptors {counted}, {lines} lines in the log; {recovered} ms to recover",
        first.good,
        first.bad,
        first.none,
        super::loss::tell(&kept)
    ))
}

/// How often the edge says that it had none.
fn counted(proxy: &Proxy) -> Result<u64> {
    let status = proxy.status()?;
    let refused = &status["listeners"][0]["refused"];
    refused["no-descriptors"].as_u64().with_context(|| format!("no count of it: {refused}"))
}
