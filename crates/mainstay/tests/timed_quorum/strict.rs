//! Two nodes without a witness, guard strict: a lone backup never takes over, a lone holder keeps.

use std::fs;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use mainstay_lab::peer::{Keeper as _, Mainstay};
use mainstay_lab::probe::UdpClient;
use mainstay_lab::{Cut, Host, Way};

use crate::rig::{CALM, LIMIT, Rig, binary, kill, never_two};

const TERM: &str = "300ms";

/// Several windows of the gate, and of anything else that ends by itself.
const LONG: Duration = Duration::from_millis(2000);

/// What a busy machine may add to an agreement of two round trips; benches say what it takes.
const AT_ONCE: Duration = Duration::from_millis(150);

fn config(host: &Host, term: &str, priority: u8, more: &str) -> String {
    let quorum = Rig::config_of(host, term, &["n1", "n2"], priority);
    quorum.replace("\"quorum\"", "\"strict\"") + more
}

/// Both, `n1` active.
fn pair(rig: &Rig, term: &str, more: [&str; 2]) -> Result<[Mainstay; 2]> {
    let start = |n: usize, priority| {
        let host = &rig.nodes[n];
        Mainstay::start(host, &binary(), &config(host, term, priority, more[n]))
    };
    let (first, second) = (start(0, 150)?, start(1, 100)?);
    let up = |node: &Mainstay| node.vip("front").is_ok_and(|vip| vip["state"] == "active");
    mainstay_lab::wait_until("somebody has it", LIMIT, || Ok(up(&first) || up(&second)))?;
    if up(&second) {
        second.say(&["vip", "move", "front"])?;
    }
    first.wait_for_state("front", "active", LIMIT)?;
    second.wait_for_state("front", "backup", LIMIT)?;
    for node in [&first, &second] {
        node.wait_until("both answer", LIMIT, |status| status["cluster"]["answering"] == 2)?;
    }
    Ok([first, second])
}

/// Everything between the nodes, and between the first and its clients on the second wire.
fn cut_off(rig: &Rig, n: usize) -> Result<Vec<Cut>> {
    [0, 1].map(|wire| rig.port(n, wire)?.isolate(Way::Both)).into_iter().collect()
}

/// The two don't hear each other; clients reach both.
fn part(rig: &Rig) -> Result<Vec<Cut>> {
    let parts = [0, 1].map(|wire| mainstay_lab::partition(&[rig.port(1, wire)?], &[rig.port(2, wire)?]));
    parts.into_iter().collect()
}

fn heal(cuts: Vec<Cut>) -> Result<()> {
    cuts.into_iter().try_for_each(Cut::heal)
}

fn waited(client: UdpClient) -> Duration {
    let line = client.stop();
    let outage = line.outage(&line.whole());
    println!("{outage:?}");
    outage
}

fn alone(node: &Mainstay) -> Result<()> {
    node.wait_until("the other does not answer", LIMIT, |status| status["cluster"]["answering"] == 1)
}

#[test]
fn nodes_that_hear_nothing_of_each_other_leave_it_where_it_is() {
    mainstay_lab::test(|| {
        let rig = Rig::new()?;
        let [first, second] = pair(&rig, TERM, ["", ""])?;
        let (client, watch, begun) = (rig.ask()?, rig.watch()?, Instant::now());
        let epoch = first.vip("front")?["epoch"].clone();
        let cuts = part(&rig)?;
        alone(&first)?;
        alone(&second)?;
        client.wait_for_steady("n1", LONG, LIMIT)?;
        for node in [&first, &second] {
            ensure!(node.ctl(&["status"])?.status.code() == Some(4), "degraded is exit 4");
        }
        let story = second.say(&["explain", "vip", "front"])?;
        for words in ["a lone backup never takes over", "held by n1 when that was last heard"] {
            ensure!(story.contains(words), "{words:?} is missing in:\n{story}");
        }
        heal(cuts)?;
        second.wait_until("both answer", LIMIT, |status| status["cluster"]["answering"] == 2)?;
        client.wait_for_steady("n1", CALM, LIMIT)?;
        ensure!(first.vip("front")?["epoch"] == epoch, "it was held anew");
        never_two(watch, begun)?;
        let outage = waited(client);
        ensure!(outage < Duration::from_millis(100), "the client waited {outage:?}");
        Ok(())
    });
}

/// Waits until the second node has heard nothing of the first for long, and has not taken anything.
fn long_without(second: &Mainstay) -> Result<()> {
    second.wait_until("n1 has been away for long", LIMIT, |status| {
        let nodes = status["cluster"]["nodes"].as_array().into_iter().flatten();
        let away = nodes.filter(|node| node["id"] == "n1").find_map(|node| node["heard_ms_ago"].as_u64());
        away.is_some_and(|ms| u128::from(ms) >= LONG.as_millis())
    })?;
    ensure!(second.vip("front")?["state"] == "backup", "a lone backup took over");
    Ok(())
}

#[test]
fn a_killed_holder_is_followed_by_nobody_until_its_host_is_back() {
    mainstay_lab::test(|| {
        let rig = Rig::new()?;
        let [first, second] = pair(&rig, TERM, ["", ""])?;
        let (watch, begun) = (rig.watch()?, Instant::now());
        first.daemon().kill_all()?;
        long_without(&second)?;
        first.daemon().start()?;
        let active = |node: &Mainstay| node.vip("front").is_ok_and(|vip| vip["state"] == "active");
        first.daemon().wait_until("it is back", LIMIT, || Ok(active(&first) || active(&second)))?;
        never_two(watch, begun)
    });
}

#[test]
fn a_holder_that_is_cut_off_or_frozen_has_it_when_it_is_back() {
    mainstay_lab::test(|| {
        let rig = Rig::new()?;
        let [first, second] = pair(&rig, TERM, ["", ""])?;
        let (client, watch, begun) = (rig.ask()?, rig.watch()?, Instant::now());
        let epoch = first.vip("front")?["epoch"].clone();
        let cuts = cut_off(&rig, 1)?;
        long_without(&second)?;
        heal(cuts)?;
        client.wait_for_steady("n1", CALM, LIMIT)?;
        first.daemon().freeze()?;
        long_without(&second)?;
        let closed = client.record().whole();
        let answered = client.last();
        first.daemon().resume()?;
        client.wait_for_steady("n1", CALM, LIMIT)?;
        let stopped = answered.as_ref().is_some_and(|(_, at)| *at + LONG / 2 < closed.end);
        ensure!(stopped, "its gate closes while it is frozen: {answered:?}");
        ensure!(first.vip("front")?["epoch"] == epoch, "it was held anew");
        never_two(watch, begun)
    });
}

#[test]
fn after_a_power_cut_both_come_up_by_themselves() {
    mainstay_lab::test(|| {
        let rig = Rig::new()?;
        let [first, second] = pair(&rig, TERM, ["", ""])?;
        let (watch, begun) = (rig.watch()?, Instant::now());
        first.daemon().kill_all()?;
        second.daemon().kill_all()?;
        second.daemon().start()?;
        first.daemon().start()?;
        let active = |node: &Mainstay| node.vip("front").is_ok_and(|vip| vip["state"] == "active");
        first.daemon().wait_until("it is back", LIMIT, || Ok(active(&first) || active(&second)))?;
        never_two(watch, begun)
    });
}

/// Lets `n1` lose the address by agreement, and says for how long its client waited.
fn handed_over(rig: &Rig, second: &Mainstay, strike: impl FnOnce() -> Result<()>) -> Result<()> {
    let (client, watch, begun) = (rig.ask()?, rig.watch()?, Instant::now());
    strike()?;
    second.wait_for_state("front", "active", LIMIT)?;
    client.wait_for_steady("n2", CALM, LIMIT)?;
    never_two(watch, begun)?;
    let outage = waited(client);
    ensure!(outage < AT_ONCE, "the client waited {outage:?}");
    Ok(())
}

#[test]
fn a_node_that_stops_hands_it_over_and_the_other_keeps_it_alone() {
    mainstay_lab::test(|| {
        let rig = Rig::new()?;
        let [first, second] = pair(&rig, "1.5s", ["", ""])?;
        handed_over(&rig, &second, || first.daemon().stop())?;
        alone(&second)?;
        ensure!(second.vip("front")?["state"] == "active", "a lone holder keeps");
        first.daemon().start()?;
        first.wait_for_state("front", "backup", LIMIT)?;
        handed_back(&rig, &first, &second)
    });
}

fn handed_back(rig: &Rig, first: &Mainstay, second: &Mainstay) -> Result<()> {
    first.wait_until("both answer", LIMIT, |status| status["cluster"]["answering"] == 2)?;
    second.say(&["vip", "move", "front"])?;
    first.wait_for_state("front", "active", LIMIT)?;
    rig.ask().map(drop)
}

#[test]
fn an_operators_word_moves_it() {
    mainstay_lab::test(|| {
        let rig = Rig::new()?;
        let [first, second] = pair(&rig, "1.5s", ["", ""])?;
        handed_over(&rig, &second, || first.say(&["vip", "move", "front"]).map(drop))
    });
}

#[test]
fn a_failed_probe_hands_it_over_and_alone_gives_it_back() {
    mainstay_lab::test(|| {
        let rig = Rig::new()?;
        let flag = rig.nodes[0].directory().join("well");
        fs::write(&flag, "")?;
        let probe = format!(
            "requires = [\"well\"]\n[[probe]]\nname = \"well\"\nfile = \"{}\"\ninterval = \"50ms\"\nfall = 1\nrise = 1\n",
            flag.display()
        );
        let [first, second] = pair(&rig, "1.5s", [&probe, ""])?;
        handed_over(&rig, &second, || Ok(fs::remove_file(&flag)?))?;
        fs::write(&flag, "")?;
        first.wait_for_state("front", "backup", LIMIT)?;
        handed_back(&rig, &first, &second)?;
        second.daemon().kill_all()?;
        alone(&first)?;
        fs::remove_file(&flag)?;
        first.wait_for_state("front", "fault", LIMIT)?;
        fs::write(&flag, "")?;
        first.wait_for_state("front", "active", LIMIT)
    });
}

#[test]
fn a_lost_carrier_hands_it_over_by_the_second_wire() {
    mainstay_lab::test(|| {
        let rig = Rig::new()?;
        let [_first, second] = pair(&rig, "1.5s", ["", ""])?;
        handed_over(&rig, &second, || rig.port(1, 0)?.set_carrier(false))
    });
}

#[test]
fn a_killed_vip_worker_loses_it_for_no_longer_than_its_successor_needs() {
    mainstay_lab::test(|| {
        let rig = Rig::new()?;
        let [first, second] = pair(&rig, "1.5s", ["", ""])?;
        let (client, watch, begun) = (rig.ask()?, rig.watch()?, Instant::now());
        kill(first.worker_pid("vip")?)?;
        let active = |node: &Mainstay| node.vip("front").is_ok_and(|vip| vip["state"] == "active");
        first.daemon().wait_until("it is held", LIMIT, || Ok(active(&first) || active(&second)))?;
        client.wait_for_steady("n2", CALM, LIMIT).or_else(|_| client.wait_for_steady("n1", CALM, LIMIT))?;
        never_two(watch, begun)?;
        let outage = waited(client);
        ensure!(outage < LONG, "the client waited {outage:?}");
        Ok(())
    });
}

#[test]
fn an_operator_who_has_fenced_the_holder_gives_it_to_the_backup() {
    mainstay_lab::test(|| {
        let rig = Rig::new()?;
        let [first, second] = pair(&rig, TERM, ["", ""])?;
        let (watch, begun) = (rig.watch()?, Instant::now());
        let refused = |node: &Mainstay, fenced: &str, why: &str| -> Result<()> {
            let output = node.ctl(&["vip", "take", "front", "--fenced", fenced])?;
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            ensure!(output.status.code() == Some(1) && said.contains(why), "{fenced}: {said}");
            Ok(())
        };
        refused(&second, "n1", "n1 is heard, so it is not fenced")?;
        refused(&second, "n2", "the other node is n1, not n2")?;
        first.daemon().kill_all()?;
        long_without(&second)?;
        let said = second.say(&["vip", "take", "front", "--fenced", "n1"])?;
        ensure!(said.contains("If n1 still runs, there are two holders"), "{said}");
        second.wait_for_state("front", "active", LIMIT)?;
        let events = second.say(&["events"])?;
        ensure!(events.contains("an operator says that n1 is dead and fenced"), "{events}");
        let word = "taken on the operator's word that n1 is fenced";
        ensure!(events.contains(word), "{events}");
        let status = second.ctl(&["status"])?;
        let said = String::from_utf8_lossy(&status.stdout).into_owned();
        ensure!(status.status.code() == Some(4) && said.contains(word), "{said}");
        ensure!(!said.contains("is dead") && !said.contains("majority"), "{said}");
        refused(&second, "n1", "is held by this node already")?;
        // It comes back, and asks before it takes anything.
        first.daemon().start()?;
        first.wait_until("both answer", LIMIT, |status| status["cluster"]["answering"] == 2)?;
        first.wait_for_state("front", "backup", LIMIT)?;
        second.wait_until("both answer", LIMIT, |status| status["cluster"]["answering"] == 2)?;
        ensure!(second.vip("front")?["state"] == "active", "it keeps what it has taken");
        never_two(watch, begun)
    });
}

#[test]
fn what_is_on_hold_is_not_preempted_and_the_guard_is_not_changed_while_it_runs() {
    mainstay_lab::test(|| {
        let rig = Rig::new()?;
        let [first, second] = pair(&rig, TERM, ["", ""])?;
        handed_over(&rig, &second, || first.daemon().stop())?;
        second.say(&["vip", "hold", "front"])?;
        let preempts = config(&rig.nodes[0], TERM, 150, "").replace("preempt = false", "preempt = true");
        fs::write(first.config_path(), &preempts)?;
        first.daemon().start()?;
        for node in [&first, &second] {
            node.wait_until("both answer", LIMIT, |status| status["cluster"]["answering"] == 2)?;
        }
        let client = UdpClient::start(&rig.client, crate::rig::SERVICE.parse()?, Duration::from_millis(1))?;
        client.wait_for_steady("n2", LONG, LIMIT)?;
        second.say(&["vip", "ready", "front"])?;
        client.wait_for_steady("n1", CALM, LIMIT)?;
        let best_effort = preempts.replace("\"strict\"", "\"best-effort\"\nvrid = 1");
        fs::write(first.config_path(), best_effort)?;
        let output = first.ctl(&["reload"])?;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        ensure!(!output.status.success() && said.contains("guard \"strict\" ends with a start"), "{said}");
        Ok(())
    });
}
