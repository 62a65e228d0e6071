//! The address never has two holders, whatever is cut, frozen or killed; and it is held again within the term.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use mainstay_lab::peer::{Keeper as _, Mainstay};
use mainstay_lab::{Way, partition};

use crate::rig::{CALM, LIMIT, Rig, never_two};

/// What a busy machine may add to a bound; benches say what it takes.
const BUSY: Duration = Duration::from_millis(300);

/// Strikes `n1` and waits until `n2` serves; then undoes it and waits until somebody does.
fn struck<T>(
    rig: &Rig,
    term: Duration,
    strike: impl FnOnce() -> Result<T>,
    heal: impl FnOnce(T) -> Result<()>,
) -> Result<()> {
    let (client, watch, begun) = (rig.ask()?, rig.watch()?, Instant::now());
    let damage = strike()?;
    client.wait_for_steady("n2", CALM, LIMIT)?;
    let outage = {
        let line = client.record();
        line.outage(&line.whole())
    };
    println!("{outage:?}");
    heal(damage)?;
    // Whoever comes back takes it again or leaves it: either way one of them, and calm.
    client.wait_for_steady("n2", CALM, LIMIT).or_else(|_| client.wait_for_steady("n1", CALM, LIMIT))?;
    never_two(watch, begun)?;
    ensure!(outage < term + BUSY, "the client waited {outage:?}");
    Ok(())
}

fn pair(rig: &Rig) -> Result<[Mainstay; 3]> {
    rig.up("300ms", "preempt = false")
}

const TERM: Duration = Duration::from_millis(300);

#[test]
fn a_holder_that_is_cut_off_loses_it_before_another_has_it() {
    mainstay_lab::test(|| {
        let rig = Rig::new()?;
        let _all = pair(&rig)?;
        let strike = || {
            let cuts = [rig.port(1, 0)?.isolate(Way::Both)?, rig.port(1, 1)?.isolate(Way::Both)?];
            Ok(cuts)
        };
        struck(&rig, TERM, strike, |cuts| cuts.into_iter().try_for_each(mainstay_lab::Cut::heal))
    });
}

#[test]
fn one_wire_of_two_is_cut_and_nobody_notices_but_status() {
    mainstay_lab::test(|| {
        let rig = Rig::new()?;
        let [first, second, _witness] = pair(&rig)?;
        let (client, watch, begun) = (rig.ask()?, rig.watch()?, Instant::now());
        let epoch = first.vip("front")?["epoch"].clone();
        let cut = rig.port(1, 1)?.isolate(Way::Both)?;
        let lost = |status: &serde_json::Value| {
            status["degraded"]
                .as_array()
                .is_some_and(|all| all.iter().any(|why| why.to_string().contains("wire")))
        };
        first.wait_until("the lost wire is told", LIMIT, lost)?;
        second.wait_until("the lost wire is told", LIMIT, lost)?;
        cut.heal()?;
        first.wait_until("the wire is back", LIMIT, |status| !lost(status))?;
        ensure!(first.vip("front")?["epoch"] == epoch, "it was held anew");
        never_two(watch, begun)?;
        let line = client.stop();
        let outage = line.outage(&line.whole());
        ensure!(outage < Duration::from_millis(100), "the client waited {outage:?}");
        Ok(())
    });
}

#[test]
fn a_frozen_holder_answers_no_more_when_another_has_it_and_not_when_it_wakes() {
    mainstay_lab::test(|| {
        let rig = Rig::new()?;
        let [first, _second, _witness] = pair(&rig)?;
        struck(&rig, TERM, || first.daemon().freeze(), |()| first.daemon().resume())
    });
}

#[test]
fn a_killed_node_leaves_an_address_that_nobody_is_answered_by() {
    mainstay_lab::test(|| {
        let rig = Rig::new()?;
        let [first, _second, _witness] = pair(&rig)?;
        struck(&rig, TERM, || first.daemon().kill_all(), |()| first.daemon().start())
    });
}

#[test]
fn nodes_that_hear_only_the_witness_agree_through_it() {
    mainstay_lab::test(|| {
        let rig = Rig::new()?;
        let [first, second, _witness] = pair(&rig)?;
        let (client, watch, begun) = (rig.ask()?, rig.watch()?, Instant::now());
        let cuts = [0, 1].map(|wire| partition(&[rig.port(1, wire)?], &[rig.port(2, wire)?]));
        let cuts: Vec<_> = cuts.into_iter().collect::<Result<_>>()?;
        second.wait_until("n1 has not been heard", LIMIT, |status| {
            status["cluster"]["nodes"].as_array().is_some_and(|nodes| {
                nodes.iter().any(|node| node["id"] == "n1" && node["reachable"] == false)
            })
        })?;
        // Long enough for every promise to run out several times.
        client.wait_for_steady("n1", TERM * 5, LIMIT)?;
        ensure!(first.vip("front")?["state"] == "active", "n1 had a majority with the witness");
        cuts.into_iter().try_for_each(mainstay_lab::Cut::heal)?;
        never_two(watch, begun)?;
        let line = client.stop();
        let outage = line.outage(&line.whole());
        ensure!(outage < Duration::from_millis(100), "the client waited {outage:?}");
        Ok(())
    });
}

#[test]
fn a_holder_keeps_it_without_the_witness_and_status_says_so() {
    mainstay_lab::test(|| {
        let rig = Rig::new()?;
        let [first, _second, witness] = pair(&rig)?;
        let client = rig.ask()?;
        witness.daemon().kill_all()?;
        first.wait_until("the witness is missed", LIMIT, |status| status["cluster"]["answering"] == 2)?;
        ensure!(first.ctl(&["status"])?.status.code() == Some(4), "degraded is exit 4");
        client.wait_for_steady("n1", TERM * 5, LIMIT)?;
        witness.daemon().start()?;
        first.wait_until("the witness is back", LIMIT, |status| status["cluster"]["answering"] == 3)?;
        let line = client.stop();
        let outage = line.outage(&line.whole());
        ensure!(outage < Duration::from_millis(100), "the client waited {outage:?}");
        Ok(())
    });
}
