//! Priorities, delays and the operator's word.

use std::time::{Duration, Instant};

use anyhow::Result;
use mainstay_lab::peer::{Keeper, Mainstay};

use crate::rig::{LIMIT, Rig, VIP, cluster, front, has, pair, vip, wait_for_address};

#[test]
fn two_vips_of_a_group_move_together() {
    mainstay_lab::test(|| {
        let rig = Rig::new(2)?;
        let flag = rig.host(1).directory().join("well");
        std::fs::write(&flag, "")?;
        let group = "[[group]]\nname = \"all\"\nvips = [\"front\", \"back\"]\n";
        let config = |n, priority, requires: &str| {
            cluster(n, 2) + &front(priority, requires) + &vip("back", "10.0.4.98", 52, priority, "") + group
        };
        let probe =
            format!("\n[[probe]]\nname = \"well\"\nfile = \"{}\"\ninterval = \"100ms\"\n", flag.display());
        let first = rig.start(1, &(config(1, 150, "requires = [\"well\"]") + &probe))?;
        first.wait_for_state("back", "active", LIMIT)?;
        let second = rig.start(2, &config(2, 100, ""))?;
        second.wait_for_state("back", "backup", LIMIT)?;
        std::fs::remove_file(&flag)?;
        for name in ["front", "back"] {
            second.wait_for_state(name, "active", LIMIT)?;
        }
        assert!(!has(rig.host(1), VIP)? && !has(rig.host(1), "10.0.4.98")?);
        std::fs::write(&flag, "")?;
        for name in ["front", "back"] {
            first.wait_for_state(name, "active", LIMIT)?;
            second.wait_for_state(name, "backup", LIMIT)?;
        }
        Ok(())
    });
}

#[test]
fn three_candidates_follow_each_other_in_the_order_of_their_priorities() {
    mainstay_lab::test(|| {
        let rig = Rig::new(3)?;
        let mut nodes = Vec::new();
        for (n, priority) in [(1, 150), (2, 100), (3, 50)] {
            nodes.push(rig.start(n, &(cluster(n, 3) + &front(priority, "")))?);
        }
        nodes[0].wait_for_state("front", "active", LIMIT)?;
        nodes[2].wait_for_state("front", "backup", LIMIT)?;
        nodes[0].daemon().kill_all()?;
        nodes[1].wait_for_state("front", "active", LIMIT)?;
        assert_eq!(nodes[2].vip("front")?["state"], "backup");
        nodes[1].daemon().stop()?;
        nodes[2].wait_for_state("front", "active", LIMIT)?;
        nodes[0].daemon().start()?;
        nodes[0].wait_for_state("front", "active", LIMIT)?;
        nodes[2].wait_for_state("front", "backup", LIMIT)
    });
}

#[test]
fn without_preempt_a_better_node_that_comes_back_stays_backup() {
    mainstay_lab::test(|| {
        let rig = Rig::new(2)?;
        let [first, second] = pair(&rig, "preempt = false")?;
        first.daemon().stop()?;
        first.daemon().wait_ended(LIMIT)?;
        second.wait_for_state("front", "active", LIMIT)?;
        first.daemon().start()?;
        first.wait_for_state("front", "backup", LIMIT)?;
        let adverts = rig.adverts()?;
        mainstay_lab::wait_until("ten more adverts", LIMIT, || Ok(adverts.adverts().len() >= 10))?;
        assert!(adverts.stop().iter().all(|a| a.priority == 100));
        assert!(has(rig.host(2), VIP)?);
        Ok(())
    });
}

/// How long after its start n1 took the vip from n2, with further lines for the node and for the vip.
fn taken_after(node: &str, more: &str) -> Result<Duration> {
    let rig = Rig::new(2)?;
    let second = rig.start(2, &(cluster(2, 2) + &front(100, "")))?;
    second.wait_for_state("front", "active", LIMIT)?;
    let config = cluster(1, 2).replace("[node]\n", &format!("[node]\n{node}\n")) + &front(150, more);
    let started = Instant::now();
    let first = rig.start(1, &config)?;
    first.wait_for_state("front", "active", LIMIT)?;
    Ok(started.elapsed())
}

#[test]
fn preempt_delay_lets_the_lower_node_hold_for_so_long() {
    mainstay_lab::test(|| {
        let taken = taken_after("", "preempt_delay = \"1500ms\"")?;
        assert!(taken >= Duration::from_millis(1500), "taken after {taken:?}");
        Ok(())
    });
}

#[test]
fn start_delay_keeps_a_fresh_node_out_for_so_long() {
    mainstay_lab::test(|| {
        let taken = taken_after("start_delay = \"1500ms\"", "")?;
        assert!(taken >= Duration::from_millis(1500), "taken after {taken:?}");
        Ok(())
    });
}

fn list(node: &Mainstay) -> Result<String> {
    node.say(&["vip", "list"])
}

#[test]
fn drain_keeps_a_node_out_until_ready() {
    mainstay_lab::test(|| {
        let rig = Rig::new(2)?;
        let [first, second] = pair(&rig, "")?;
        first.say(&["vip", "drain", "front"])?;
        second.wait_for_state("front", "active", LIMIT)?;
        first.wait_for_state("front", "backup", LIMIT)?;
        assert_eq!(first.vip("front")?["drained"], true);
        assert_eq!(first.ctl(&["healthcheck"])?.status.code(), Some(4), "a drained node is degraded");
        let adverts = rig.adverts()?;
        mainstay_lab::wait_until("ten more adverts", LIMIT, || Ok(adverts.adverts().len() >= 10))?;
        assert!(!has(rig.host(1), VIP)?);
        first.say(&["vip", "ready", "front"])?;
        first.wait_for_state("front", "active", LIMIT)?;
        second.wait_for_state("front", "backup", LIMIT)?;
        assert!(list(&first)?.contains("front"));
        Ok(())
    });
}

#[test]
fn a_moved_vip_goes_to_the_next_and_stays_there() {
    mainstay_lab::test(|| {
        let rig = Rig::new(2)?;
        let [first, second] = pair(&rig, "")?;
        first.say(&["vip", "move", "front"])?;
        second.wait_for_state("front", "active", LIMIT)?;
        wait_for_address(rig.host(1), VIP, false)?;
        let adverts = rig.adverts()?;
        mainstay_lab::wait_until("ten more adverts", LIMIT, || Ok(adverts.adverts().len() >= 10))?;
        assert!(adverts.stop().iter().all(|a| a.priority == 100), "whoever took it is not preempted");
        Ok(())
    });
}

#[test]
fn a_vip_that_nobody_takes_comes_back_to_the_node_that_moved_it() {
    mainstay_lab::test(|| {
        let rig = Rig::new(1)?;
        let node = rig.start(1, &(cluster(1, 1) + &front(150, "")))?;
        node.wait_for_state("front", "active", LIMIT)?;
        node.say(&["vip", "move", "front"])?;
        node.wait_until("it was taken again", LIMIT, |status| {
            status["vips"][0]["epoch"] == 2 && status["vips"][0]["state"] == "active"
        })?;
        let refused = node.ctl(&["vip", "move", "nobodys"])?;
        assert_eq!(refused.status.code(), Some(1));
        assert!(String::from_utf8_lossy(&refused.stderr).contains("there are: front"));
        Ok(())
    });
}

#[test]
fn a_drill_hands_a_vip_over_and_back_and_reports_milliseconds() {
    mainstay_lab::test(|| {
        let rig = Rig::new(2)?;
        let [first, second] = pair(&rig, "")?;
        let elsewhere = second.ctl(&["drill", "vip", "front"])?;
        assert_eq!(elsewhere.status.code(), Some(1));
        assert!(String::from_utf8_lossy(&elsewhere.stderr).contains("drill where it is held"));
        let drill = first.ctl(&["drill", "vip", "front", "--runs", "3"])?;
        let said = String::from_utf8_lossy(&drill.stdout).into_owned();
        assert!(drill.status.success(), "{said}{}", String::from_utf8_lossy(&drill.stderr));
        let rows: Vec<Vec<&str>> =
            said.lines().skip(1).take(6).map(|line| line.split_whitespace().collect()).collect();
        for (at, row) in rows.iter().enumerate() {
            let (run, way) = ((at / 2 + 1).to_string(), ["over", "back"][at % 2]);
            let to = ["10.0.4.2".to_owned(), "this".into()][at % 2].clone();
            let ms: f64 = row[2].parse()?;
            assert!((row[0], row[1], row[3]) == (&run, way, &to) && ms < 3000.0, "{said}");
        }
        assert!(said.contains("over: median ") && said.contains("back: median "), "{said}");
        assert_eq!(first.vip("front")?["state"], "active");
        let moved = first.vip("front")?["transitions"].to_string();
        assert!(moved.contains("moved"), "{moved}");
        Ok(())
    });
}

#[test]
fn a_vip_on_hold_is_not_preempted_and_says_so_until_it_is_ready() {
    mainstay_lab::test(|| {
        let rig = Rig::new(2)?;
        let first = rig.start(1, &(cluster(1, 2) + &front(100, "")))?;
        first.wait_for_state("front", "active", LIMIT)?;
        first.say(&["vip", "hold", "front"])?;
        let second = rig.start(2, &(cluster(2, 2) + &front(150, "")))?;
        second.wait_until("it hears the holder", LIMIT, |status| {
            status["vips"][0]["peers"][0]["priority"] == 254
        })?;
        let adverts = rig.adverts()?;
        mainstay_lab::wait_until("ten more adverts", LIMIT, || Ok(adverts.adverts().len() >= 10))?;
        assert!(adverts.stop().iter().all(|a| a.priority == 254), "nobody else took it");
        assert_eq!(first.vip("front")?["on_hold"], true);
        assert!(first.say(&["explain", "vip", "front"])?.contains("put on hold by an operator"));
        let refused = second.ctl(&["vip", "hold", "front"])?;
        assert_eq!(refused.status.code(), Some(1));
        assert!(String::from_utf8_lossy(&refused.stderr).contains("hold it where it is active"));
        first.say(&["vip", "ready", "front"])?;
        second.wait_for_state("front", "active", LIMIT)?;
        first.wait_for_state("front", "backup", LIMIT)
    });
}
