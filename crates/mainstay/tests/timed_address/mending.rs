//! Somebody else removes what is ours: it is back within 100 ms, and counted.

use std::time::{Duration, Instant};

use anyhow::Result;
use mainstay_lab::peer::Mainstay;
use mainstay_lab::wait_until;

use crate::rig::{
    AddrWatch, LIMIT, Rig, SERVICE, VIP, cluster, counter, front, rewrite, vip, wait_for_event,
};

/// The promise, and what a busy machine and a few forks may add.
const SOON: Duration = Duration::from_millis(200);

fn alone(rig: &Rig, gate: &str) -> Result<Mainstay> {
    let node = rig.start_gated(1, gate, &(cluster(1, 1) + &front(150, "")))?;
    node.wait_for_state("front", "active", LIMIT)?;
    Ok(node)
}

#[test]
fn a_deleted_address_is_back_within_100_ms_and_is_counted_and_told() {
    mainstay_lab::test(|| {
        let rig = Rig::new(1)?;
        let node = alone(&rig, "tc")?;
        let mut watch = AddrWatch::start(rig.host(1), VIP)?;
        rig.host(1).ip(&format!("addr del {VIP}/32 dev eth0"))?;
        let gone = watch.wait(false)?;
        let back = watch.wait(true)? - gone;
        assert!(back <= Duration::from_millis(100), "it was back after {back:?}");
        wait_for_event(&node, "somebody removed 10.0.4.99: it was put back")?;
        assert_eq!(counter(&node, "front", "vip_addresses_put_back_total")?, 1);
        Ok(())
    });
}

#[test]
fn a_deleted_tc_queue_hangs_again_and_is_counted_and_told() {
    mainstay_lab::test(|| {
        let rig = Rig::new(1)?;
        let node = alone(&rig, "tc")?;
        let gated = || {
            let ways = ["ingress", "egress"].map(|way| {
                let shown = rig.host(1).output("tc", &["filter", "show", "dev", "eth0", way]);
                shown.is_ok_and(|text| text.contains("mainstay_gate"))
            });
            ways == [true; 2]
        };
        assert!(gated());
        rig.host(1).output("tc", &["qdisc", "del", "dev", "eth0", "clsact"])?;
        let deleted = Instant::now();
        wait_until("the gate hangs again", LIMIT, || Ok(gated()))?;
        assert!(deleted.elapsed() <= SOON, "it hung again after {:?}", deleted.elapsed());
        wait_for_event(&node, "somebody removed the tc gate: it was put back")?;
        assert_eq!(counter(&node, "", "gate_repairs_total")?, 1);
        Ok(())
    });
}

#[test]
fn a_flushed_ruleset_leaves_the_nft_gate_whole_and_wakes_nobody_for_long() {
    mainstay_lab::test(|| {
        let rig = Rig::new(1)?;
        let node = alone(&rig, "nft")?;
        let tables = || rig.host(1).output("nft", &["list", "tables"]);
        let before = tables()?;
        assert!(before.contains("mainstay"), "{before}");
        let worker = node.worker_pid("vip")?;
        rig.host(1).nft("add table inet somebodys")?;
        rig.host(1).nft("flush ruleset")?;
        let flushed = Instant::now();
        wait_until("all our tables are there", LIMIT, || Ok(tables()? == before))?;
        assert!(flushed.elapsed() <= SOON, "they were back after {:?}", flushed.elapsed());
        // A message of the firewall that nobody reads would keep the worker busy for ever.
        let (used, from) = (mainstay_lab::process::cpu_time(worker)?, Instant::now());
        wait_until("half a second has passed", LIMIT, || Ok(from.elapsed() >= Duration::from_millis(500)))?;
        let spent = mainstay_lab::process::cpu_time(worker)? - used;
        assert!(spent <= Duration::from_millis(200), "it worked for {spent:?} in half a second");
        node.wait_for_state("front", "active", LIMIT)
    });
}

#[test]
fn a_reload_costs_unchanged_vips_no_packet() {
    mainstay_lab::test(|| {
        let rig = Rig::new(1)?;
        let base = cluster(1, 1) + &front(150, "");
        let node = rig.start(1, &base)?;
        node.wait_for_state("front", "active", LIMIT)?;
        let client = rig.ask(SERVICE, Duration::from_millis(1))?;
        client.wait_for_steady("n1", Duration::from_millis(200), LIMIT)?;
        let (worker, from) = (node.worker_pid("vip")?, Instant::now());
        let added = |priority| base.clone() + &vip("back", "10.0.4.98", 52, priority, "");
        for config in [added(100), added(120), base.clone(), added(90).replace("4.98", "4.97"), base.clone()]
        {
            rewrite(&node, &config)?;
            node.say(&["reload"])?;
        }
        node.wait_until("the added vip is gone", LIMIT, |s| {
            s["vips"].as_array().is_some_and(|v| v.len() == 1)
        })?;
        assert_eq!(node.worker_pid("vip")?, worker);
        let (until, record) = (Instant::now(), client.stop());
        // The youngest requests may be on their way.
        let window = from..until - Duration::from_millis(20);
        assert_eq!(record.lost(&window), 0, "of {} requests: {record}", record.requests(&window));
        Ok(())
    });
}
