//! References: who is cut off gives the address up, who is not keeps or takes it.

use std::time::{Duration, Instant};

use anyhow::ensure;
use mainstay_lab::Way;
use mainstay_lab::peer::Keeper as _;

use crate::rig::{CALM, LIMIT, REFERENCE, Rig, answers, dual_time, heal, reason, wait_for_event};

/// What a busy machine may add to a bound.
const BUSY: Duration = Duration::from_millis(400);

#[test]
fn a_holder_that_is_cut_off_from_everything_gives_the_address_up_and_its_backup_takes_it() {
    mainstay_lab::test(|| {
        let rig = Rig::new()?;
        let [first, second] = rig.pair("", REFERENCE)?;
        let (client, watch, begun) = (rig.ask()?, rig.watch()?, Instant::now());
        let cuts = rig.leave_with_a_watcher()?;
        client.wait_for_steady("n2", CALM, LIMIT)?;
        first.wait_for_state("front", "fault", LIMIT)?;
        ensure!(reason(&first)? == "isolated", "{}", reason(&first)?);
        ensure!(second.vip("front")?["state"] == "active");
        wait_for_event(&first, "hears neither a peer nor a reference")?;
        ensure!(first.ctl(&["status"])?.status.code() == Some(4), "degraded is exit 4");
        let dual = dual_time(&rig, watch, begun)?;
        println!("two holders for {dual:?}");
        // The reference is lost within 267 ms, the session within 200; the backup waits for 400 and more.
        ensure!(dual < BUSY, "two holders for {dual:?}");
        heal(cuts)?;
        first.wait_for_state("front", "backup", LIMIT)?;
        client.wait_for_steady("n2", CALM, LIMIT)?;
        let epoch = second.vip("front")?["epoch"].clone();
        ensure!(epoch == 1, "it was taken {epoch} times");
        Ok(())
    });
}

#[test]
fn when_the_gateway_dies_for_all_nobody_is_demoted() {
    mainstay_lab::test(|| {
        let rig = Rig::new()?;
        let [first, second] = rig.pair("", REFERENCE)?;
        let client = rig.ask()?;
        let cuts = rig.cut_off(&rig.gateway)?;
        for node in [&first, &second] {
            node.wait_until("the reference is lost", LIMIT, |status| answers(status, false))?;
        }
        client.wait_for_steady("n1", Duration::from_secs(2), LIMIT)?;
        ensure!(first.vip("front")?["epoch"] == 1, "it moved");
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
fn a_holder_that_alone_lost_the_gateway_hands_over_to_the_peer_that_has_it() {
    mainstay_lab::test(|| {
        let rig = Rig::new()?;
        let [first, second] = rig.pair("", REFERENCE)?;
        let client = rig.ask()?;
        let n1 = [rig.port(&rig.nodes[0], 0)?];
        let cut = mainstay_lab::partition(&n1, &[rig.port(&rig.gateway, 0)?])?;
        client.wait_for_steady("n2", CALM, LIMIT)?;
        second.wait_for_state("front", "active", LIMIT)?;
        wait_for_event(&first, "no reference address answers this node")?;
        cut.heal()?;
        first.wait_until("the reference is back", LIMIT, |status| answers(status, true))?;
        client.wait_for_steady("n2", CALM, LIMIT)?;
        Ok(())
    });
}

#[test]
fn when_only_vrrp_is_cut_a_backup_believes_its_peer_and_does_not_take() {
    mainstay_lab::test(|| {
        let rig = Rig::new()?;
        let [first, second] = rig.pair("", REFERENCE)?;
        let (client, watch, begun) = (rig.ask()?, rig.watch()?, Instant::now());
        let cuts = rig.port(&rig.nodes[0], 0)?.cut_vrrp(Way::Both)?;
        second.wait_until("it says why it waits", LIMIT, |status| {
            status["degraded"].to_string().contains("a peer that is heard over another wire")
        })?;
        client.wait_for_steady("n1", Duration::from_secs(2), LIMIT)?;
        ensure!(dual_time(&rig, watch, begun)? == Duration::ZERO, "two holders");
        cuts.heal()?;
        second.wait_until("nothing is wrong", LIMIT, |status| status["degraded"] == serde_json::json!([]))?;
        ensure!(first.vip("front")?["epoch"] == 1 && second.vip("front")?["epoch"] == 0, "it moved");
        Ok(())
    });
}

#[test]
fn a_backup_without_a_reference_does_not_take_from_a_holder_that_dies() {
    mainstay_lab::test(|| {
        let rig = Rig::new()?;
        let [first, second] = rig.pair("", REFERENCE)?;
        let cuts = rig.cut_off(&rig.gateway)?;
        for node in [&first, &second] {
            node.wait_until("the reference is lost", LIMIT, |status| answers(status, false))?;
        }
        first.daemon().kill_all()?;
        second.wait_for_state("front", "fault", LIMIT)?;
        ensure!(reason(&second)? == "isolated");
        heal(cuts)?;
        second.wait_for_state("front", "active", LIMIT)
    });
}

#[test]
fn without_sessions_a_dead_gateway_moves_it_once_at_the_most_and_somebody_holds_it() {
    mainstay_lab::test(|| {
        let rig = Rig::new()?;
        let first = rig.start_plain(1, REFERENCE)?;
        first.wait_for_state("front", "active", LIMIT)?;
        let second = rig.start_plain(2, REFERENCE)?;
        second.wait_for_state("front", "backup", LIMIT)?;
        for node in [&first, &second] {
            node.wait_until("the reference answers", LIMIT, |status| answers(status, true))?;
        }
        let client = rig.ask()?;
        let cuts = rig.cut_off(&rig.gateway)?;
        for node in [&first, &second] {
            node.wait_until("the reference is lost", LIMIT, |status| answers(status, false))?;
        }
        let settled = Duration::from_secs(2);
        client
            .wait_for_steady("n2", settled, LIMIT)
            .or_else(|_| client.wait_for_steady("n1", settled, LIMIT))?;
        let claims = |node: &mainstay_lab::peer::Mainstay| {
            Ok::<_, anyhow::Error>(node.vip("front")?["epoch"].as_u64().unwrap_or(99))
        };
        ensure!(
            claims(&first)? == 1 && claims(&second)? <= 1,
            "{} and {}",
            claims(&first)?,
            claims(&second)?
        );
        heal(cuts)
    });
}
