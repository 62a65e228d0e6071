//! The address moves by agreement: a stop, an operator's word, a failed probe, a dead worker.

use std::fs;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use mainstay_lab::peer::{Keeper as _, Mainstay};

use crate::rig::{CALM, LIMIT, Rig, binary, cluster_of, kill, never_two};

/// What a busy machine may add to an agreement that takes two round trips; benches say what it takes.
const AT_ONCE: Duration = Duration::from_millis(150);

/// Lets `n1` lose the address, and says for how long its client waited.
fn handed_over(rig: &Rig, second: &Mainstay, strike: impl FnOnce() -> Result<()>) -> Result<Duration> {
    let (client, watch, begun) = (rig.ask()?, rig.watch()?, Instant::now());
    strike()?;
    second.wait_for_state("front", "active", LIMIT)?;
    client.wait_for_steady("n2", CALM, LIMIT)?;
    never_two(watch, begun)?;
    let line = client.stop();
    let outage = line.outage(&line.whole());
    println!("{outage:?}");
    anyhow::ensure!(outage < AT_ONCE, "the client waited {outage:?}");
    Ok(outage)
}

#[test]
fn a_node_that_stops_hands_its_address_over_at_once_and_has_it_back() {
    mainstay_lab::test(|| {
        let rig = Rig::new()?;
        let [first, second, _witness] = rig.up("1.5s", "")?;
        handed_over(&rig, &second, || first.daemon().stop())?;
        first.daemon().start()?;
        first.wait_for_state("front", "active", LIMIT)?;
        second.wait_for_state("front", "backup", LIMIT)?;
        Ok(())
    });
}

#[test]
fn an_operators_word_moves_it_and_epochs_rise() {
    mainstay_lab::test(|| {
        let rig = Rig::new()?;
        let [first, second, _witness] = rig.up("1.5s", "preempt = false")?;
        let before = first.vip("front")?["epoch"].as_u64();
        handed_over(&rig, &second, || first.say(&["vip", "move", "front"]).map(drop))?;
        let after = second.vip("front")?["epoch"].as_u64();
        anyhow::ensure!(after > before, "epoch {after:?} after {before:?}");
        let holder = first.vip("front")?["holder"].clone();
        anyhow::ensure!(holder == "n2", "n1 believes that {holder} holds it");
        let story = second.say(&["explain", "vip", "front"])?;
        for word in ["quorum", "epoch", "w ", "has promised it to this node"] {
            anyhow::ensure!(story.contains(word), "{word:?} is missing in:\n{story}");
        }
        Ok(())
    });
}

#[test]
fn a_failed_probe_hands_it_over() {
    mainstay_lab::test(|| {
        let rig = Rig::new()?;
        let flag = rig.nodes[0].directory().join("well");
        fs::write(&flag, "")?;
        let probe = format!(
            "requires = [\"well\"]\n[[probe]]\nname = \"well\"\nfile = \"{}\"\ninterval = \"50ms\"\nfall = 1\n",
            flag.display()
        );
        let [_first, second, _witness] = rig.up_with("1.5s", [&probe, ""])?;
        handed_over(&rig, &second, || Ok(fs::remove_file(&flag)?))?;
        Ok(())
    });
}

#[test]
fn a_killed_vip_worker_is_told_of_by_its_supervisor() {
    mainstay_lab::test(|| {
        let rig = Rig::new()?;
        let [first, second, _witness] = rig.up("1.5s", "preempt = false")?;
        let worker = first.worker_pid("vip")?;
        handed_over(&rig, &second, || kill(worker))?;
        Ok(())
    });
}

#[test]
fn a_move_names_who_follows_whatever_the_priorities() {
    mainstay_lab::test(|| {
        let rig = Rig::new()?;
        let host = rig.third()?;
        let ids = ["n1", "n2", "n3", "w"];
        let start =
            |host, priority| Mainstay::start(host, &binary(), &Rig::config_of(host, "300ms", &ids, priority));
        let _witness = Mainstay::start(&rig.witness, &binary(), &cluster_of(&rig.witness, "300ms", &ids))?;
        let (first, third) = (start(&rig.nodes[0], 150)?, start(&host, 50)?);
        // Both start at once and neither preempts: whoever is first has it, and hands it to the first by name.
        let active = |node: &Mainstay| node.vip("front").is_ok_and(|vip| vip["state"] == "active");
        mainstay_lab::wait_until("somebody has it", LIMIT, || Ok(active(&first) || active(&third)))?;
        if active(&third) {
            third.say(&["vip", "move", "front", "--to", "n1"])?;
        }
        first.wait_for_state("front", "active", LIMIT)?;
        let second = start(&rig.nodes[1], 100)?;
        for node in [&first, &second, &third] {
            node.wait_until("four voters answer", LIMIT, |status| status["cluster"]["answering"] == 4)?;
        }
        let (watch, begun) = (rig.watch()?, Instant::now());
        for (node, to, why) in [
            (&first, "w", "w cannot follow"),
            (&first, "n9", "not in the voter list"),
            (&first, "n1", "already"),
            (&second, "n3", "not held by this node"),
        ] {
            let output = node.ctl(&["vip", "move", "front", "--to", to])?;
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            ensure!(!output.status.success() && said.contains(why), "{to}: {said}");
        }
        first.say(&["vip", "move", "front", "--to", "n3"])?;
        third.wait_for_state("front", "active", LIMIT)?;
        second.wait_until("n2 knows who holds it", LIMIT, |status| {
            status["vips"][0]["holder"] == "n3" && status["vips"][0]["state"] == "backup"
        })?;
        never_two(watch, begun)
    });
}
