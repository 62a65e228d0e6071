//! Processes are frozen: the kernel's gate closes for them, and awake again they yield before they speak.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use mainstay_lab::peer::{Keeper, Mainstay};
use mainstay_lab::probe::{ArpProbe, UdpClient};
use mainstay_lab::{process, wait_until};
use rustix::process::Signal;

use crate::rig::{
    CALM, LIMIT, Rig, SERVICE, VIP, cluster, counter, front, has, wait_for_address, wait_for_event,
};

/// The gate of adverts every 100 ms, 50 ms for the kernel, and what a busy machine may add.
const GATE: Duration = Duration::from_millis(450);

/// A pair that does not preempt, `n1` active, and its client.
fn pair(rig: &Rig, gate: &str) -> Result<([Mainstay; 2], UdpClient)> {
    let config = |n, priority| cluster(n, 2) + &front(priority, "preempt = false");
    let first = rig.start_gated(1, gate, &config(1, 150))?;
    first.wait_for_state("front", "active", LIMIT)?;
    let second = rig.start_gated(2, gate, &config(2, 100))?;
    second.wait_for_state("front", "backup", LIMIT)?;
    let client = rig.ask(SERVICE, Duration::from_millis(2))?;
    client.wait_for_steady("n1", CALM, LIMIT)?;
    Ok(([first, second], client))
}

fn thaw_and_yield(gate: &str) -> Result<()> {
    let rig = Rig::new(2)?;
    let ([first, _second], client) = pair(&rig, gate)?;
    if gate == "nft" {
        // The tables are ours: somebody's flush leaves them, or they are made again.
        rig.host(1).nft("flush ruleset")?;
    }
    let arp = ArpProbe::start(&rig.watcher, "eth0", VIP.parse()?, Duration::from_millis(2))?;
    let mac = rig.host(1).mac("eth0")?;
    let struck = Instant::now();
    first.daemon().freeze()?;
    client.wait_for_steady("n2", CALM, LIMIT)?;
    let adverts = rig.adverts()?;
    let thawed = Instant::now();
    first.daemon().resume()?;
    first.wait_for_state("front", "backup", LIMIT)?;
    client.wait_for_steady("n2", CALM, LIMIT)?;
    assert!(!has(rig.host(1), VIP)?);
    assert!(counter(&first, "front", "vip_late_total")? >= 1);
    wait_for_event(&first, "its hold had ended")?;
    let claims = adverts.stop();
    // What it says to make the winner announce again is lower than the winner's own.
    let n1 = std::net::IpAddr::from([10, 0, 4, 1]);
    let old: Vec<_> = claims.iter().filter(|a| a.source == n1 && a.priority > 100).collect();
    assert!(old.is_empty(), "thawed it sent {old:?}");
    let last =
        arp.stop().claims.iter().filter(|c| c.mac == mac).map(|c| c.at).max().context("n1 answered")?;
    println!("{gate}: last ARP answer {:?} after the freeze", last - struck);
    assert!(last <= struck + GATE, "ARP was answered {:?} after the freeze", last - struck);
    let record = client.stop();
    let dark = record.outage(&(thawed..Instant::now()));
    assert!(dark <= Duration::from_millis(50), "clients found nobody for {dark:?} after the thaw");
    Ok(())
}

#[test]
fn a_frozen_node_is_shut_by_the_tc_gate_and_yields_when_it_thaws() {
    mainstay_lab::test(|| thaw_and_yield("tc"));
}

#[test]
fn a_frozen_node_is_shut_by_the_nft_gate_and_yields_when_it_thaws() {
    mainstay_lab::test(|| thaw_and_yield("nft"));
}

#[test]
fn a_vip_worker_that_stays_frozen_is_shut_killed_after_5_s_and_started_again() {
    mainstay_lab::test(|| {
        let rig = Rig::new(2)?;
        let ([first, _second], client) = pair(&rig, "tc")?;
        let worker = first.worker_pid("vip")?;
        let struck = Instant::now();
        rustix::process::kill_process(worker, Signal::STOP)?;
        client.wait_for_steady("n2", CALM, LIMIT)?;
        let record = client.record().clone();
        let held = record.holders(&(struck..Instant::now()));
        let last = held.iter().filter(|s| s.node == "n1").map(|s| record.origin + s.to).max();
        assert!(
            last.is_none_or(|at| at <= struck + GATE),
            "it answered until {:?}",
            last.map(|at| at - struck)
        );
        wait_until("the frozen worker is killed", LIMIT, || Ok(!process::alive(worker)))?;
        let killed = struck.elapsed();
        assert!(
            killed >= Duration::from_secs(4) && killed < Duration::from_secs(9),
            "killed after {killed:?}"
        );
        first.wait_for_state("front", "backup", LIMIT)?;
        assert!(!has(rig.host(1), VIP)?);
        client.wait_for_steady("n2", CALM, LIMIT)
    });
}

#[test]
fn a_node_that_was_frozen_for_longer_than_its_address_lives_takes_it_anew_with_the_same_workers() {
    mainstay_lab::test(|| {
        let rig = Rig::new(1)?;
        let node = rig.start(1, &(cluster(1, 1) + &front(150, "")))?;
        node.wait_for_state("front", "active", LIMIT)?;
        let worker = node.worker_pid("vip")?;
        node.daemon().freeze()?;
        // Longer than the 5 s after which a silent worker counts as stuck, and than the address lives unrenewed.
        wait_for_address(rig.host(1), VIP, false)?;
        node.daemon().resume()?;
        node.wait_for_state("front", "active", LIMIT)?;
        assert_eq!(node.worker_pid("vip")?, worker);
        wait_for_address(rig.host(1), VIP, true)?;
        // What ended with its right was taken anew, not put back.
        assert_eq!(counter(&node, "front", "vip_addresses_put_back_total")?, 0);
        assert_eq!(node.vip("front")?["epoch"], 2);
        Ok(())
    });
}

#[test]
fn a_frozen_probe_worker_is_not_trusted_and_replaced_and_a_killed_one_moves_nothing() {
    mainstay_lab::test(|| {
        let rig = Rig::new(1)?;
        let probe = "[[probe]]\nname = \"here\"\nfile = \"/proc/self/stat\"\ninterval = \"100ms\"\n\n";
        let node = rig.start(1, &(cluster(1, 1) + probe + &front(150, "requires = [\"here\"]")))?;
        node.wait_for_state("front", "active", LIMIT)?;
        let up = |pid| {
            node.wait_until("another probe worker works", LIMIT, |status| {
                status["probes"][0]["verdict"] == "up"
                    && node.worker_pid("probe").is_ok_and(|other| other != pid)
            })
        };
        for signal in [Signal::KILL, Signal::STOP] {
            let worker = node.worker_pid("probe")?;
            rustix::process::kill_process(worker, signal)?;
            up(worker)?;
        }
        for role in ["exec", "api"] {
            if let Ok(worker) = node.worker_pid(role) {
                rustix::process::kill_process(worker, Signal::KILL)?;
            }
        }
        node.wait_until("all workers run", LIMIT, |status| {
            status["workers"].as_array().is_some_and(|w| w.iter().all(|w| !w["pid"].is_null()))
        })?;
        assert_eq!(node.vip("front")?["epoch"], 1);
        assert_eq!(node.vip("front")?["state"], "active");
        Ok(())
    });
}
