//! References behind a router, asked by ping.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use mainstay_lab::peer::Mainstay;

use crate::rig::{CALM, LIMIT, Rig, answers, dual_time, heal, reason, wait_for_event};

/// What a busy machine may add to a bound.
const BUSY: Duration = Duration::from_millis(400);

const FAR: &str = "reference = { addrs = [\"192.0.2.1\"], method = \"ping\" }";
const FAR_V6: &str = "reference = { addrs = [\"fd00:9::1\"], method = \"ping\" }";

fn pair(rig: &Rig, reference: &str) -> Result<[Mainstay; 2]> {
    let pair = rig.pair("", reference)?;
    for node in &pair {
        node.wait_until("the reference answers", LIMIT, |status| answers(status, true))?;
    }
    Ok(pair)
}

#[test]
fn a_holder_that_is_cut_off_loses_the_address_behind_the_router_and_gives_the_vip_up() {
    mainstay_lab::test(|| {
        let rig = Rig::new()?;
        let _far = rig.far_host()?;
        let [first, second] = pair(&rig, FAR)?;
        ensure!(first.say(&["explain", "vip", "front"])?.contains("192.0.2.1 answers (by ping,"));
        let (client, watch, begun) = (rig.ask()?, rig.watch()?, Instant::now());
        let cuts = rig.leave_with_a_watcher()?;
        client.wait_for_steady("n2", CALM, LIMIT)?;
        first.wait_for_state("front", "fault", LIMIT)?;
        ensure!(reason(&first)? == "isolated", "{}", reason(&first)?);
        ensure!(second.vip("front")?["state"] == "active");
        let dual = dual_time(&rig, watch, begun)?;
        println!("two holders for {dual:?}");
        ensure!(dual < BUSY, "two holders for {dual:?}");
        heal(cuts)?;
        first.wait_for_state("front", "backup", LIMIT)?;
        client.wait_for_steady("n2", CALM, LIMIT)?;
        ensure!(second.vip("front")?["epoch"] == 1, "it was taken more than once");
        Ok(())
    });
}

#[test]
fn when_the_router_dies_for_all_nobody_is_demoted() {
    mainstay_lab::test(|| {
        let rig = Rig::new()?;
        let _far = rig.far_host()?;
        let [first, second] = pair(&rig, FAR)?;
        let client = rig.ask()?;
        let cuts = rig.cut_off(&rig.gateway)?;
        for node in [&first, &second] {
            node.wait_until("the reference is lost", LIMIT, |status| answers(status, false))?;
        }
        client.wait_for_steady("n1", Duration::from_secs(2), LIMIT)?;
        heal(cuts)?;
        for node in [&first, &second] {
            node.wait_until("the reference is back", LIMIT, |status| answers(status, true))?;
        }
        ensure!(first.vip("front")?["epoch"] == 1 && second.vip("front")?["epoch"] == 0, "it moved");
        let line = client.stop();
        ensure!(line.outage(&line.whole()) < Duration::from_millis(100), "{:?}", line.outage(&line.whole()));
        Ok(())
    });
}

#[test]
fn over_ipv6_a_holder_that_alone_lost_the_router_hands_over() {
    mainstay_lab::test(|| {
        let rig = Rig::new()?;
        let _far = rig.far_host()?;
        let [first, second] = pair(&rig, FAR_V6)?;
        let client = rig.ask()?;
        let cut = mainstay_lab::partition(&[rig.port(&rig.nodes[0], 0)?], &[rig.port(&rig.gateway, 0)?])?;
        client.wait_for_steady("n2", CALM, LIMIT)?;
        second.wait_for_state("front", "active", LIMIT)?;
        wait_for_event(&first, "reference fd00:9::1 does not answer on eth0")?;
        cut.heal()?;
        first.wait_until("the reference is back", LIMIT, |status| answers(status, true))?;
        client.wait_for_steady("n2", CALM, LIMIT)
    });
}

#[test]
fn what_cannot_be_asked_is_said_and_counts_as_no_answer() {
    mainstay_lab::test(|| {
        let rig = Rig::new()?;
        let first = rig.start(1, "", FAR_V6)?;
        let said = |status: &serde_json::Value, what: &str| status["degraded"].to_string().contains(what);
        first.wait_until("it says why", LIMIT, |status| {
            answers(status, false)
                && said(
                    status,
                    "fd00:9::1 can't be asked: eth0 has no global IPv6 address of its own to ask from",
                )
        })?;
        let by_arp = FAR.replace("ping", "arp");
        let second = rig.start(2, "", &by_arp)?;
        second.wait_until("it says why", LIMIT, |status| {
            answers(status, false) && said(status, "192.0.2.1 is on no network of eth0")
        })?;
        // Mended while it runs.
        let _far = rig.far_host()?;
        first.wait_until("the reference answers", LIMIT, |status| answers(status, true))?;
        first.wait_for_state("front", "active", LIMIT)
    });
}
