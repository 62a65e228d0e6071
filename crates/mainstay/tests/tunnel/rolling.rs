//! What is done on purpose costs nothing: restarts of hubs behind a vip and of agents, an upgrade of a hub.

use std::time::Instant;

use anyhow::{Result, ensure};
use mainstay_lab::hubs::{Hubs, Shape};
use mainstay_lab::probe::{Visitors, Visits};

use crate::bed::binary;
use crate::faults::{visits, wait_for};

/// Ends visitors none of whose requests may have failed.
fn content(visitors: Visitors) -> Result<usize> {
    let fates = visitors.stop();
    let failed: Vec<_> = fates.iter().filter_map(|fate| fate.failed.as_ref()).collect();
    ensure!(failed.is_empty(), "{} of {} failed: {failed:?}", failed.len(), fates.len());
    Ok(fates.len())
}

#[test]
fn three_hubs_behind_a_vip_and_two_agents_are_restarted_in_turn_and_no_request_fails() {
    mainstay_lab::test(|| {
        let bed = Hubs::start(&binary(), Shape { vip: true, ..Shape::default() })?;
        let kept = Visitors::start(&bed.client, &Visits { rate: 100, ..visits(&bed) })?;
        let fresh = Visits { rate: 100, per_connection: 1, ..visits(&bed) };
        let fresh = Visitors::start(&bed.client, &fresh)?;
        wait_for(&kept, Instant::now(), 20)?;
        for (_, hub) in &bed.hubs {
            Hubs::restart(hub)?;
            bed.settle()?;
            wait_for(&fresh, Instant::now(), 10)?;
        }
        for site in &bed.sites {
            Hubs::restart(&site.node)?;
            bed.settle()?;
        }
        println!("{} and {} requests", content(kept)?, content(fresh)?);
        Ok(())
    });
}

#[test]
fn a_hub_is_upgraded_under_load_and_no_request_fails() {
    mainstay_lab::test(|| {
        let bed =
            Hubs::start(&binary(), Shape { hubs: 1, places: (2, 1), upgrades: true, ..Shape::default() })?;
        let kept = Visitors::start(&bed.client, &Visits { rate: 100, ..visits(&bed) })?;
        let fresh = Visits { rate: 100, per_connection: 1, ..visits(&bed) };
        let fresh = Visitors::start(&bed.client, &fresh)?;
        wait_for(&kept, Instant::now(), 20)?;
        let (host, node) = &bed.hubs[0];
        let said = Hubs::upgrade(host, node)?;
        ensure!(said.contains("has taken over"), "{said}");
        bed.settle()?;
        let settled = Instant::now();
        wait_for(&fresh, settled, 50)?;
        println!("{} and {} requests", content(kept)?, content(fresh)?);
        Ok(())
    });
}
