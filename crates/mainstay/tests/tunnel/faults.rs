//! What dies and what that costs: hubs, agents, targets and links, under load.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use mainstay_lab::hubs::{HOST, Hubs, LIMIT, Shape};
use mainstay_lab::peer::{Keeper as _, Mainstay};
use mainstay_lab::probe::{Fate, Visitors, Visits};
use mainstay_lab::{Way, wait_until};

use crate::bed::binary;

/// A half-open carrier is found within this, by both sides.
const FOUND: Duration = Duration::from_millis(3500);

/// An agent is back so soon after its hub's return.
const BACK: Duration = Duration::from_secs(1);

/// Visitors of these addresses, 200 requests a second.
pub(crate) fn visits(bed: &Hubs) -> Visits {
    Visits {
        hubs: bed.front(),
        host: HOST.to_owned(),
        method: "GET",
        visitors: 12,
        rate: 200,
        per_connection: 20,
        patience: Duration::from_secs(5),
        again: false,
    }
}

/// Waits until so many requests that began after a moment are over.
pub(crate) fn wait_for(visitors: &Visitors, from: Instant, count: usize) -> Result<()> {
    wait_until("requests are answered", LIMIT, || Ok(visitors.since(from) >= count))
}

/// Requests that failed though nothing was dying while they were under way.
pub(crate) fn strays(fates: &[Fate], blows: &[(Instant, Instant)]) -> Vec<String> {
    let flying = |fate: &Fate| blows.iter().any(|(from, to)| fate.meets(*from, *to));
    let strays = fates.iter().filter(|fate| fate.failed.is_some() && !flying(fate));
    strays.map(|fate| format!("hub {}: {}", fate.hub, fate.failed.as_deref().unwrap_or_default())).collect()
}

/// Kills all of a node at one moment; from when to when it was dying.
fn kill(node: &Mainstay) -> Result<(Instant, Instant)> {
    let from = Instant::now();
    node.daemon().kill_all()?;
    Ok((from, Instant::now()))
}

#[test]
fn a_hub_and_an_agent_that_are_killed_cost_what_was_in_flight_and_are_back_at_once() {
    mainstay_lab::test(|| {
        let bed = Hubs::start(&binary(), Shape::default())?;
        let visitors = Visitors::start(&bed.client, &visits(&bed))?;
        wait_for(&visitors, Instant::now(), 50)?;
        let hub = kill(&bed.hubs[0].1)?;
        // Whoever was its visitor is served by the next.
        wait_for(&visitors, hub.1, 100)?;
        let others = visitors.fates();
        ensure!(others.iter().any(|fate| fate.from > hub.1 && fate.passed > 0 && fate.failed.is_none()));
        bed.hubs[0].1.daemon().start()?;
        let open = bed.wait_open(0)?;
        let asks = Visits { hubs: vec![Hubs::web(0)], visitors: 1, rate: 100, ..visits(&bed) };
        let asks = Visitors::start(&bed.client, &asks)?;
        wait_until("it serves", LIMIT, || Ok(asks.fates().iter().any(|fate| fate.failed.is_none())))?;
        let served = asks.stop().iter().filter(|fate| fate.failed.is_none()).map(|fate| fate.to).min();
        let back = served.context("it serves")?.saturating_duration_since(open);
        println!("agents were back {back:?} after their hub");
        ensure!(back < BACK, "agents were back {back:?} after their hub");
        bed.settle()?;
        let agent = kill(&bed.sites[0].node)?;
        wait_for(&visitors, agent.1, 100)?;
        let fates = visitors.stop();
        let strays = strays(&fates, &[hub, agent]);
        ensure!(strays.is_empty(), "{strays:?}");
        // Of an agent that dies even what was in flight is answered by the other: these are GETs.
        let lost = fates.iter().filter(|fate| fate.meets(agent.0, agent.1) && fate.failed.is_some()).count();
        ensure!(lost == 0, "{lost} requests were lost with the agent");
        Ok(())
    });
}

#[test]
fn a_link_that_is_cut_without_a_word_is_found_by_both_sides_whichever_direction_it_is() {
    mainstay_lab::test(|| {
        let bed = Hubs::start(&binary(), Shape { hubs: 1, agents: 4, ..Shape::default() })?;
        let visitors = Visitors::start(&bed.client, &Visits { rate: 50, ..visits(&bed) })?;
        let threads = usize::from(bed.threads());
        let hub = &bed.hubs[0].1;
        let left = || hub.daemon().log().matches("an agent has left").count();
        let ended = |site: usize| {
            bed.sites[site].node.daemon().log().matches("a session has ended: nothing heard").count()
                + bed.sites[site]
                    .node
                    .daemon()
                    .log()
                    .matches("a session has ended: the carrier is gone")
                    .count()
        };
        ensure!(left() == 0 && (0..3).all(|site| ended(site) == 0), "they stay");
        let from = Instant::now();
        let ways = [Way::Both, Way::In, Way::Out];
        let cuts =
            ways.iter().enumerate().map(|(site, way)| bed.sites[site].host.port("eth0")?.isolate(*way));
        let cuts = cuts.collect::<Result<Vec<_>>>()?;
        wait_until("the hub finds out", LIMIT, || Ok(left() == 3 * threads))?;
        let by_hub = from.elapsed();
        wait_until("the agents find out", LIMIT, || Ok((0..3).all(|site| ended(site) == threads)))?;
        let by_agents = from.elapsed();
        println!("found by the hub after {by_hub:?}, by the agents after {by_agents:?}");
        ensure!(by_hub < FOUND && by_agents < FOUND, "hub {by_hub:?}, agents {by_agents:?}");
        let found = Instant::now();
        wait_for(&visitors, found, 20)?;
        for cut in cuts {
            cut.heal()?;
        }
        bed.settle()?;
        // A request may have met all three that were cut, and no more are asked; nobody after that fails.
        let strays = strays(&visitors.stop(), &[(from, found)]);
        ensure!(strays.is_empty(), "{strays:?}");
        Ok(())
    });
}

#[test]
fn an_agent_whose_target_dies_is_out_within_one_probe_and_no_get_fails() {
    const PROBE: Duration = Duration::from_millis(500);
    mainstay_lab::test(|| {
        let shape =
            Shape { hubs: 1, offer: "probe = { interval = \"500ms\" }\n".to_owned(), ..Shape::default() };
        let mut bed = Hubs::start(&binary(), shape)?;
        let visitors = Visitors::start(&bed.client, &visits(&bed))?;
        wait_for(&visitors, Instant::now(), 50)?;
        let from = Instant::now();
        bed.sites[0].kill_target()?;
        let dead = Instant::now();
        wait_until("it is out", LIMIT, || Ok(bed.troubled(0)? == 1))?;
        let out = dead.elapsed();
        println!("out after {out:?}");
        ensure!(out < PROBE + Duration::from_millis(100), "out after {out:?}");
        let moment = Instant::now();
        wait_for(&visitors, moment, 60)?;
        ensure!(visitors.fates().iter().filter(|fate| fate.from > moment).all(|fate| fate.target == "site2"));
        bed.sites[0].start_target()?;
        bed.settle()?;
        let again = Instant::now();
        wait_until("it serves again", LIMIT, || {
            Ok(visitors.fates().iter().any(|fate| fate.from > again && fate.target == "site1"))
        })?;
        let failed: Vec<_> = visitors.stop().into_iter().filter_map(|fate| fate.failed).collect();
        ensure!(failed.is_empty(), "{failed:?}, target died within {:?}", dead - from);
        Ok(())
    });
}
