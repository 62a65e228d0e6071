//! A node id belongs to the node that had it first.

use std::fs;
use std::time::Instant;

use anyhow::{Context as _, Result, ensure};
use mainstay_lab::peer::{Keeper as _, Mainstay};
use mainstay_lab::{Host, wait_until};

use crate::rig::{CALM, LIMIT, Rig, binary, cluster, never_two};

/// A stranger on the same wires that has n1's file, and n1's state when `cloned`.
fn double(rig: &Rig, first: &Mainstay, cloned: bool) -> Result<(Host, Mainstay)> {
    let host = rig.stranger("double", 77)?;
    if cloned {
        let (from, to) = (rig.nodes[0].directory().join("state"), host.directory().join("state"));
        fs::create_dir_all(&to)?;
        for file in fs::read_dir(&from).with_context(|| format!("{}", from.display()))? {
            let file = file?;
            if file.file_type()?.is_file() {
                fs::copy(file.path(), to.join(file.file_name()))?;
            }
        }
    }
    let config = fs::read_to_string(first.config_path())?;
    let head = cluster(&rig.nodes[0], "1.5s");
    ensure!(config.starts_with(&head), "the configuration of n1 has changed");
    let node = Mainstay::start(&host, &binary(), &config)?;
    Ok((host, node))
}

fn refused(cloned: bool) -> Result<()> {
    let rig = Rig::new()?;
    let [first, _second, _witness] = rig.up("1.5s", "preempt = false")?;
    let (client, watch, begun) = (rig.ask()?, rig.watch()?, Instant::now());
    let (_host, node) = double(&rig, &first, cloned)?;
    wait_until("the second n1 ends", LIMIT, || Ok(!node.daemon().running()))?;
    let log = node.daemon().log();
    ensure!(log.contains("node id \"n1\" is in use"), "{log}");
    ensure!(log.contains("10.0.4.1") || log.contains("10.1.4.1"), "it does not say by whom: {log}");
    client.wait_for_steady("n1", CALM, LIMIT)?;
    never_two(watch, begun)?;
    let line = client.stop();
    let outage = line.outage(&line.whole());
    ensure!(outage.as_millis() < 100, "the first lost packets for {outage:?}");
    Ok(())
}

#[test]
fn a_second_node_with_the_same_id_and_another_key_ends_with_the_holders_address() {
    mainstay_lab::test(|| refused(false));
}

#[test]
fn a_copy_of_a_node_ends_and_the_first_is_not_disturbed() {
    mainstay_lab::test(|| refused(true));
}
