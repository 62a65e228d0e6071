//! Another program takes over in place: vips, connections, the operator's words and counters go on.

use std::fs;
use std::io::{Read as _, Write as _};
use std::path::PathBuf;

use anyhow::{Context as _, Result, ensure};
use mainstay_lab::peer::{Keeper as _, Mainstay};

use crate::bed::{Bed, EDGE, HEAD, LIMIT, WEB, binary, dial, edges};

const VIP: &str = "[[vip]]\nname = \"front\"\naddrs = [\"10.0.4.99\"]\ninterface = \"eth0\"\nvrid = 51\nadvert = \"100ms\"\n\n\
     [[listener]]\nname = \"front\"\nbind = \"10.0.4.99:8080\"\n\n";

/// A node whose program may be replaced.
fn installed(bed: &Bed, config: &str) -> Result<(Mainstay, PathBuf)> {
    let program = bed.edge.directory().join("mainstay");
    fs::copy(binary(), &program).context("install the program")?;
    let node = Mainstay::start(&bed.edge, &program, config)?;
    bed.wait_served(&node, EDGE)?;
    Ok((node, program))
}

/// Puts a file in the program's place, as a package manager does.
fn install(program: &PathBuf, from: &std::path::Path) -> Result<()> {
    let fresh = program.with_extension("new");
    fs::copy(from, &fresh)?;
    fs::rename(&fresh, program).context("put the new program in place")
}

#[test]
fn an_upgrade_keeps_the_vip_its_worker_the_operators_words_and_what_was_counted() {
    mainstay_lab::test(|| {
        let bed = Bed::make()?;
        let (node, program) = installed(&bed, &(HEAD.to_owned() + VIP + WEB))?;
        node.wait_for_state("front", "active", LIMIT)?;
        node.say(&["pool", "drain", "app", "10.0.4.31:80"])?;
        let (vip, pid, old) = (node.worker_pid("vip")?, node.daemon().pid()?, edges(&node)?);
        let mut kept = dial(&bed.client, "10.0.4.99:8080")?;
        kept.write_all(
            b"POST / HTTP/1.1\r\nHost: e.example\r\nContent-Length: 2\r\nConnection: close\r\n\r\na",
        )?;
        install(&program, &binary())?;
        let said = node.say(&["upgrade"])?;
        ensure!(said.contains("has taken over"), "{said}");
        ensure!(node.daemon().pid()? == pid && node.worker_pid("vip")? == vip, "they stay");
        ensure!(edges(&node)?.iter().all(|pid| !old.contains(pid)), "the edge is new");
        ensure!(node.vip("front")?["epoch"] == 1, "the vip was never given up");
        assert_eq!(bed.all_who(20)?, ["two"], "the operator's word holds");
        kept.write_all(b"b")?;
        let mut answer = String::new();
        kept.read_to_string(&mut answer)?;
        ensure!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        // The vip worker still obeys.
        node.say(&["vip", "drain", "front"])?;
        node.wait_for_state("front", "backup", LIMIT)?;
        let status = node.status_json()?;
        let upgrades =
            status["counters"].as_array().into_iter().flatten().find(|c| c["name"] == "upgrades_total");
        ensure!(upgrades.is_some_and(|c| c["value"] == 1), "{status}");
        node.daemon().stop()?;
        node.daemon().wait_ended(LIMIT)
    });
}

#[test]
fn a_program_that_cannot_take_over_is_not_executed() {
    mainstay_lab::test(|| {
        let bed = Bed::make()?;
        let (node, program) = installed(&bed, &(HEAD.to_owned() + WEB))?;
        let old = edges(&node)?;
        let broken = bed.edge.directory().join("broken");
        fs::write(&broken, "#!/bin/sh\necho a mainstay of another world\n")?;
        fs::set_permissions(&broken, std::os::unix::fs::PermissionsExt::from_mode(0o755))?;
        install(&program, &broken)?;
        let refuse = |node: &Mainstay, why: &str| -> Result<()> {
            let refused = Mainstay::ctl_on(&bed.edge, &binary(), &["upgrade"])?;
            let said = String::from_utf8_lossy(&refused.stderr).into_owned();
            ensure!(refused.status.code() == Some(1) && said.contains(why), "{said}");
            ensure!(edges(node)? == old, "nothing was touched");
            Ok(())
        };
        // The operator's own commands come from the program under test: the installed one is broken.
        let status = || Mainstay::ctl_on(&bed.edge, &binary(), &["status", "--json"]);
        ensure!(status()?.status.success());
        let refused = Mainstay::ctl_on(&bed.edge, &binary(), &["upgrade"])?;
        let said = String::from_utf8_lossy(&refused.stderr).into_owned();
        ensure!(said.contains("does not know our handover"), "{said}");
        install(&program, &binary())?;
        fs::write(node.config_path(), HEAD.to_owned() + WEB + "colour = \"red\"\n")?;
        refuse(&node, "colour")?;
        bed.who().map(drop)
    });
}
