//! Nodes that hear neither a peer nor a reference for too long.

use std::fs;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use mainstay_lab::peer::Keeper as _;
use mainstay_lab::wait_until;

use crate::rig::{LIMIT, REFERENCE, Rig, heal, wait_for_event};

#[test]
fn an_isolated_node_runs_its_command_once_after_the_time_and_never_before_it_met_somebody() {
    mainstay_lab::test(|| {
        let rig = Rig::new()?;
        let told = rig.shared.join("rebooted");
        let isolated = format!(
            "isolated = {{ after = \"1s\", exec = [\"/bin/sh\", \"-c\", \"echo rebooted >> {}\"] }}",
            told.display()
        );
        // It starts cut off from everybody: that may be a new machine that nobody has plugged in.
        let early = rig.cut_off(&rig.nodes[0])?;
        let first = rig.start(1, &isolated, REFERENCE)?;
        first.wait_for_state("front", "fault", LIMIT)?;
        let lost_for = |status: &serde_json::Value| {
            status["vips"][0]["reference"]["for_s"].as_f64().is_some_and(|seconds| seconds > 3.0)
        };
        first.wait_until("three times the time has passed", LIMIT, lost_for)?;
        ensure!(!told.exists(), "it acted though it had met nobody");
        heal(early)?;
        let _second = rig.start(2, &isolated, REFERENCE)?;
        first.wait_until("the peer is heard", LIMIT, |status| status["cluster"]["answering"] == 2)?;
        first.wait_until("the reference answers", LIMIT, |status| crate::rig::answers(status, true))?;
        let cuts = rig.cut_off(&rig.nodes[0])?;
        wait_until("the command has run", LIMIT, || Ok(told.exists()))?;
        let events = first.say(&["events"])?;
        let (begun, acted) = ("hears neither a peer nor a reference\n", "for too long: it runs /bin/sh");
        let begun = events.find(begun).context("told when it begins")?;
        ensure!(begun < events.find(acted).context("told before it acts")?);
        ensure!(first.status_json()?["arbitration"]["action_in_s"] == 0.0);
        heal(cuts)?;
        wait_for_event(&first, "this node hears somebody again")?;
        ensure!(fs::read_to_string(&told)? == "rebooted\n", "it ran more than once");
        Ok(())
    });
}

/// The bytes that a watchdog was fed.
fn meals(path: &std::path::Path) -> Result<Vec<u8>> {
    Ok(fs::read(path)?)
}

#[test]
fn a_watchdog_is_fed_until_the_node_is_isolated_and_closed_in_order() {
    mainstay_lab::test(|| {
        let rig = Rig::new()?;
        let device = rig.shared.join("watchdog");
        fs::write(&device, "")?;
        let isolated = format!("isolated = {{ after = \"1s\", watchdog = \"{}\" }}", device.display());
        let [first, _second] = {
            let second = rig.start(2, "", REFERENCE)?;
            let first = rig.start(1, &isolated, REFERENCE)?;
            first.wait_until("the peer is heard", LIMIT, |status| status["cluster"]["answering"] == 2)?;
            [first, second]
        };
        wait_until("it is fed", LIMIT, || Ok(meals(&device)?.len() > 2))?;
        let cuts = rig.cut_off(&rig.nodes[0])?;
        wait_for_event(&first, "is fed no more")?;
        let starving = meals(&device)?.len();
        let later = |status: &serde_json::Value| {
            status["arbitration"]["isolated_s"].as_f64().is_some_and(|seconds| seconds > 5.0)
        };
        first.wait_until("several meals are due", LIMIT, later)?;
        ensure!(meals(&device)?.len() <= starving + 1, "it is fed: {starving} and {}", meals(&device)?.len());
        ensure!(!meals(&device)?.contains(&b'V'), "it was closed in order");
        heal(cuts)?;
        wait_until("it is fed again", Duration::from_secs(20), || Ok(meals(&device)?.len() > starving + 2))?;
        first.daemon().stop()?;
        wait_until("it is closed in order", LIMIT, || Ok(meals(&device)?.last() == Some(&b'V')))
    });
}
