//! Processes are killed: what the rest of the node, the kernel and the peer make of it.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use mainstay_lab::peer::{Keeper, Mainstay};
use mainstay_lab::probe::{Advert, ArpProbe};
use mainstay_lab::timeline::median;
use mainstay_lab::{process, wait_until};

use crate::rig::{
    AddrWatch, CALM, LIMIT, Rig, SERVICE, VIP, cluster, events, front, has, kill, pair, rewrite,
    wait_for_address, wait_for_event,
};

/// What a busy machine may add to a bound.
const BUSY: Duration = Duration::from_millis(100);

/// The gate of adverts every 100 ms: max(3 adverts, 300 ms), and 50 ms for the kernel.
const GATE: Duration = Duration::from_millis(350);

/// One kill of the vip worker: until the address had gone, and until the peer's first advert.
fn kill_vip_worker(rig: &Rig, first: &Mainstay) -> Result<(Duration, Duration)> {
    let worker = first.worker_pid("vip")?;
    let (mut watch, adverts) = (AddrWatch::start(rig.host(1), VIP)?, rig.adverts()?);
    let killed = Instant::now();
    kill(worker)?;
    let gone = watch.wait(false)? - killed;
    let heir = |advert: &&Advert| advert.source == rig_addr(2) && advert.priority > 0 && advert.at > killed;
    wait_until("the peer takes over", LIMIT, || Ok(adverts.adverts().iter().any(|a| heir(&a))))?;
    let all = adverts.stop();
    let followed = all.iter().find(heir).context("it was there a moment ago")?.at - killed;
    assert!(all.iter().any(|a| a.source == rig_addr(1) && a.priority == 0), "nobody said farewell: {all:?}");
    first.daemon().wait_until("another vip worker runs", LIMIT, || {
        Ok(first.worker_pid("vip").is_ok_and(|pid| pid != worker))
    })?;
    first.wait_for_state("front", "active", LIMIT)?;
    Ok((gone, followed))
}

fn rig_addr(n: u8) -> std::net::IpAddr {
    [10, 0, 4, n].into()
}

#[test]
fn a_killed_vip_worker_loses_its_address_in_10_ms_and_its_peer_waits_for_no_silence() {
    mainstay_lab::test(|| {
        let rig = Rig::new(2)?;
        let [first, second] = pair(&rig, "")?;
        let mut gone = Vec::new();
        let mut followed = Vec::new();
        for _ in 0..5 {
            second.wait_for_state("front", "backup", LIMIT)?;
            let (left, taken) = kill_vip_worker(&rig, &first)?;
            gone.push(left);
            followed.push(taken);
        }
        println!("address gone after {gone:?}, peer's first advert after {followed:?}");
        let middle = median(&gone).context("five kills")?;
        assert!(middle <= Duration::from_millis(50), "the address went after {gone:?}");
        let middle = median(&followed).context("five kills")?;
        assert!(middle < Duration::from_millis(150), "the peer took over after {followed:?}");
        assert!(events(&first)?.contains("the vip worker died"));
        Ok(())
    });
}

/// After a kill of everything n1's kernel answers until its gate closes, and not again when mainstay is back.
fn kill_all_closes(gate: &str) -> Result<()> {
    let rig = Rig::new(2)?;
    let config = |n, priority| cluster(n, 2) + &front(priority, "preempt = false");
    let first = rig.start_gated(1, gate, &config(1, 150))?;
    first.wait_for_state("front", "active", LIMIT)?;
    let second = rig.start_gated(2, gate, &config(2, 100))?;
    second.wait_for_state("front", "backup", LIMIT)?;
    let client = rig.ask(SERVICE, Duration::from_millis(2))?;
    client.wait_for_steady("n1", CALM, LIMIT)?;
    let arp = ArpProbe::start(&rig.watcher, "eth0", VIP.parse()?, Duration::from_millis(2))?;
    let (mac, struck) = (rig.host(1).mac("eth0")?, Instant::now());
    first.daemon().kill_all()?;
    client.wait_for_steady("n2", CALM, LIMIT)?;
    assert!(has(rig.host(1), VIP)?, "a kill of everything leaves the address to the gate");
    first.daemon().start()?;
    wait_for_event(&first, "removed what an earlier run left behind: 10.0.4.99")?;
    first.wait_for_state("front", "backup", LIMIT)?;
    assert!(!has(rig.host(1), VIP)?);
    let answers = arp.stop();
    let last = answers.claims.iter().filter(|c| c.mac == mac).map(|c| c.at).max().context("n1 answered")?;
    let record = client.stop();
    let held = record.holders(&(struck..Instant::now()));
    let last_answer = held.iter().filter(|s| s.node == "n1").map(|s| record.origin + s.to).max();
    println!(
        "{gate}: last ARP answer {:?} after the kill, last reply {:?}",
        last - struck,
        last_answer.map(|at| at - struck)
    );
    assert!(last <= struck + GATE + BUSY, "ARP was answered {:?} after the kill", last - struck);
    assert!(last_answer.is_none_or(|at| at <= struck + GATE + BUSY));
    Ok(())
}

#[test]
fn a_kill_of_every_process_closes_the_tc_gate_and_a_restart_does_not_open_it() {
    mainstay_lab::test(|| kill_all_closes("tc"));
}

#[test]
fn a_kill_of_every_process_closes_the_nft_gate_and_a_restart_does_not_open_it() {
    mainstay_lab::test(|| kill_all_closes("nft"));
}

#[test]
fn a_killed_supervisor_takes_its_workers_along_and_vip_releases_first() {
    mainstay_lab::test(|| {
        let rig = Rig::new(2)?;
        let [first, second] = pair(&rig, "")?;
        let (family, adverts) = (first.daemon().tree()?, rig.adverts()?);
        let mut watch = AddrWatch::start(rig.host(1), VIP)?;
        let killed = Instant::now();
        kill(first.daemon().pid()?)?;
        let gone = watch.wait(false)? - killed;
        assert!(gone <= BUSY, "the address went {gone:?} after its supervisor");
        wait_until("its workers are dead", LIMIT, || Ok(!family.iter().any(|pid| process::alive(*pid))))?;
        second.wait_for_state("front", "active", LIMIT)?;
        assert!(adverts.stop().iter().any(|a| a.source == rig_addr(1) && a.priority == 0 && a.at > killed));
        assert_eq!(rig.host(1).output("tc", &["filter", "show", "dev", "eth0", "ingress"])?, "");
        Ok(())
    });
}

/// What is left of a killed n1 whose configuration is another one when it starts again.
fn restart_with(config: &str) -> Result<()> {
    let rig = Rig::new(1)?;
    let first = rig.start(1, &(cluster(1, 1) + &front(150, "")))?;
    first.wait_for_state("front", "active", LIMIT)?;
    first.daemon().kill_all()?;
    assert!(has(rig.host(1), VIP)?);
    rewrite(&first, config)?;
    first.daemon().start()?;
    wait_for_address(rig.host(1), VIP, false)?;
    // A gate that stayed would keep the address closed for whoever has it next.
    wait_until("the address passes", LIMIT, || {
        rig.host(1).ip("addr replace 10.0.4.99/32 dev eth0")?;
        Ok(rig.client.output("ping", &["-c1", "-W1", VIP]).is_ok())
    })
}

#[test]
fn a_restart_cleans_what_was_left_of_a_vip_that_its_configuration_has_no_more() {
    mainstay_lab::test(|| restart_with(&(cluster(1, 1) + &front(150, "").replace("4.99", "4.98"))));
}

#[test]
fn a_restart_without_any_vip_cleans_too() {
    mainstay_lab::test(|| restart_with(&cluster(1, 1)));
}
