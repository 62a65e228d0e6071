//! The lock: taken only while the nodes are silent to each other, by one of them, and left behind by nobody.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use mainstay_lab::peer::{Keeper as _, Mainstay};
use mainstay_lab::wait_until;
use rustix::process::Signal;

use crate::rig::{CALM, LIMIT, Rig, heal, lock_at, lock_state, wait_for_event};

/// Short, and long enough for a command to start on a busy machine.
const TIMES: &str = ", timeout = \"400ms\", stale = \"4s\"";

fn state(node: &Mainstay) -> Result<String> {
    Ok(node.vip("front")?["state"].as_str().unwrap_or_default().to_owned())
}

/// The pair, once neither wants the lock.
fn idle(rig: &Rig, lock: &str) -> Result<[Mainstay; 2]> {
    let pair = rig.pair(lock, "")?;
    for node in &pair {
        node.wait_until("nobody wants the lock", LIMIT, |status| lock_state(status) == "idle")?;
    }
    Ok(pair)
}

#[test]
fn of_two_nodes_that_are_parted_the_holder_has_the_lock_and_the_other_takes_nothing() {
    mainstay_lab::test(|| {
        let rig = Rig::new()?;
        let [first, second] = idle(&rig, &rig.lock(TIMES)?)?;
        let (client, watch, begun) = (rig.ask()?, rig.watch()?, Instant::now());
        let cuts = rig.part_nodes()?;
        first.wait_until("it has the lock", LIMIT, |status| lock_state(status) == "owned")?;
        wait_for_event(&second, "n1 has the lock")?;
        client.wait_for_steady("n1", Duration::from_secs(6), LIMIT)?;
        ensure!(state(&second)? == "backup", "{}", state(&second)?);
        ensure!(
            second.vip("front")?["why"].to_string().contains("lock")
                || second.status_json()?["degraded"].to_string().contains("lock")
        );
        let dual = crate::rig::dual_time(&rig, watch, begun)?;
        ensure!(dual == Duration::ZERO, "two holders for {dual:?}");
        heal(cuts)?;
        wait_for_event(&first, "given the lock back")?;
        for node in [&first, &second] {
            node.wait_until("nobody wants the lock", LIMIT, |status| lock_state(status) == "idle")?;
        }
        ensure!(first.vip("front")?["epoch"] == 1 && second.vip("front")?["epoch"] == 0, "it moved");
        let line = client.stop();
        ensure!(line.outage(&line.whole()) < Duration::from_millis(100), "{:?}", line.outage(&line.whole()));
        Ok(())
    });
}

#[test]
fn a_dead_owner_leaves_no_lock_behind() {
    mainstay_lab::test(|| {
        let rig = Rig::new()?;
        let [first, second] = idle(&rig, &rig.lock(TIMES)?)?;
        let client = rig.ask()?;
        let cuts = rig.part_nodes()?;
        first.wait_until("it has the lock", LIMIT, |status| lock_state(status) == "owned")?;
        first.daemon().kill_all()?;
        let struck = Instant::now();
        client.wait_for_steady("n2", CALM, LIMIT)?;
        println!("the lock of a dead owner was broken after {:?}", struck.elapsed());
        // Watched for 4 s since the last renewal, then written and confirmed.
        ensure!(struck.elapsed() > Duration::from_secs(2));
        second.wait_until("it has the lock", LIMIT, |status| lock_state(status) == "owned")?;
        heal(cuts)
    });
}

#[test]
fn a_holder_that_dies_before_any_cut_is_followed_under_the_lock() {
    mainstay_lab::test(|| {
        let rig = Rig::new()?;
        let [first, second] = idle(&rig, &rig.lock(TIMES)?)?;
        let client = rig.ask()?;
        first.daemon().kill_all()?;
        let struck = Instant::now();
        client.wait_for_steady("n2", CALM, LIMIT)?;
        println!("followed after {:?}", struck.elapsed());
        ensure!(lock_state(&second.status_json()?) == "owned");
        first.daemon().start()?;
        wait_for_event(&second, "given the lock back")
    });
}

#[test]
fn a_place_that_hangs_is_no_lock_and_both_let_go() {
    mainstay_lab::test(|| {
        let rig = Rig::new()?;
        // Opened for reading, a pipe that nobody writes waits for ever.
        let pipe = rig.shared.join("pipe");
        rustix::fs::mknodat(
            rustix::fs::CWD,
            &pipe,
            rustix::fs::FileType::Fifo,
            rustix::fs::Mode::from_raw_mode(0o600),
            0,
        )?;
        let [first, second] = {
            let lock = lock_at(&pipe, TIMES);
            let first = rig.start(1, &lock, "")?;
            let second = rig.start(2, &lock, "")?;
            let heard = |status: &serde_json::Value| status["cluster"]["answering"] == 2;
            first.wait_until("the peer is heard", LIMIT, heard)?;
            one_holds(&first, &second)?;
            // Both began in the same moment: either may have it.
            if state(&second)? == "active" { [second, first] } else { [first, second] }
        };
        let cuts = rig.part_nodes()?;
        wait_for_event(&first, "no lock")?;
        first.wait_until("it has let go", LIMIT, |status| status["vips"][0]["state"] != "active")?;
        ensure!(state(&second)? != "active");
        let named = |node: &Mainstay| Ok::<_, anyhow::Error>(node.status_json()?["degraded"].to_string());
        ensure!(named(&first)?.contains("can't be used"), "{}", named(&first)?);
        heal(cuts)?;
        one_holds(&first, &second)
    });
}

fn one_holds(first: &Mainstay, second: &Mainstay) -> Result<()> {
    wait_until("one of them holds it", LIMIT, || Ok(state(first)? == "active" || state(second)? == "active"))
}

#[test]
fn a_killed_vip_worker_that_had_the_lock_gets_it_back_and_the_other_does_not() {
    mainstay_lab::test(|| {
        let rig = Rig::new()?;
        let [first, second] = idle(&rig, &rig.lock(TIMES)?)?;
        let (watch, begun) = (rig.watch()?, Instant::now());
        let cuts = rig.part_nodes()?;
        first.wait_until("it has the lock", LIMIT, |status| lock_state(status) == "owned")?;
        rustix::process::kill_process(first.worker_pid("vip")?, Signal::KILL)?;
        first.wait_until("it has the lock anew", LIMIT, |status| {
            lock_state(status) == "owned" && status["vips"][0]["state"] == "active"
        })?;
        ensure!(state(&second)? != "active");
        let dual = crate::rig::dual_time(&rig, watch, begun)?;
        ensure!(dual == Duration::ZERO, "two holders for {dual:?}");
        heal(cuts)
    });
}
