//! Another program takes over in place: vips, connections, the operator's words and counters go on.

use std::fs;
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::Command;

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
fn install(program: &PathBuf, from: &Path) -> Result<()> {
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

/// The program under test with another text in place of one of the same length, as another build would have it.
fn other_build(bed: &Bed, text: &str, other: &str) -> Result<PathBuf> {
    assert_eq!(text.len(), other.len());
    let to = bed.edge.directory().join("other");
    let mut sed = Command::new("sed");
    sed.env("LC_ALL", "C").arg(format!("s/{}/{other}/g", text.replace('.', "\\."))).arg(binary());
    let made = sed.stdout(fs::File::create(&to)?).status().context("sed")?;
    ensure!(made.success(), "{made}");
    fs::set_permissions(&to, std::os::unix::fs::PermissionsExt::from_mode(0o755))?;
    Ok(to)
}

#[test]
fn an_upgrade_to_another_version_moves_the_vip_in_order_and_keeps_everything_else() {
    mainstay_lab::test(|| {
        let bed = Bed::make()?;
        let (node, program) = installed(&bed, &(HEAD.to_owned() + VIP + WEB))?;
        node.wait_for_state("front", "active", LIMIT)?;
        node.say(&["pool", "remove", "app", "10.0.4.31:80"])?;
        node.say(&["pool", "add", "app", "10.0.4.33:80", "3"])?;
        let (vip, pid) = (node.worker_pid("vip")?, node.daemon().pid()?);
        let counted = |node: &Mainstay| -> Result<u64> {
            let status = node.status_json()?;
            status["routes"][0]["requests"]["classes"][2].as_u64().context("a count")
        };
        let before = counted(&node)?;
        let other = other_build(&bed, env!("CARGO_PKG_VERSION"), "9.9.9")?;
        install(&program, &other)?;
        let said = node.say(&["upgrade"])?;
        ensure!(said.contains("9.9.9 has taken over"), "{said}");
        ensure!(node.daemon().pid()? == pid, "the process stays");
        ensure!(node.status_json()?["version"] == "9.9.9");
        ensure!(counted(&node)? >= before, "counters go on");
        assert_eq!(bed.all_who(20)?, ["three", "two"], "operators' words hold");
        node.daemon().wait_until("a vip worker of the new version holds the vip", LIMIT, || {
            Ok(node.worker_pid("vip").is_ok_and(|now| now != vip) && node.vip("front")?["state"] == "active")
        })?;
        ensure!(dial(&bed.client, "10.0.4.99:8080").is_ok());
        // And back again, as after a package that was a mistake.
        install(&program, &binary())?;
        let said = node.say(&["upgrade"])?;
        ensure!(said.contains(concat!(env!("CARGO_PKG_VERSION"), " has taken over")), "{said}");
        assert_eq!(bed.all_who(20)?, ["three", "two"]);
        Ok(())
    });
}

#[test]
fn a_new_program_that_finds_out_too_late_that_it_cannot_take_over_executes_the_old_one_again() {
    mainstay_lab::test(|| {
        let bed = Bed::make()?;
        let (node, program) = installed(&bed, &(HEAD.to_owned() + VIP + WEB))?;
        node.wait_for_state("front", "active", LIMIT)?;
        node.say(&["pool", "drain", "app", "10.0.4.31:80"])?;
        let (vip, pid) = (node.worker_pid("vip")?, node.daemon().pid()?);
        let mut kept = dial(&bed.client, "10.0.4.99:8080")?;
        let head = "POST / HTTP/1.1\r\nHost: e.example\r\nContent-Length: 2\r\nConnection: close\r\n\r\na";
        kept.write_all(head.as_bytes())?;
        // It knows the handover's number, and not what stands in it.
        let other = other_build(&bed, "reload_failures", "reload_disasters".get(..15).context("text")?)?;
        install(&program, &other)?;
        let refused = Mainstay::ctl_on(&bed.edge, &binary(), &["upgrade"])?;
        let said = String::from_utf8_lossy(&refused.stderr).into_owned();
        ensure!(refused.status.code() == Some(1) && said.contains("understand the handover"), "{said}");
        ensure!(node.daemon().pid()? == pid, "the process stays");
        let status = Mainstay::ctl_on(&bed.edge, &binary(), &["status", "--json"])?;
        let status: serde_json::Value = serde_json::from_slice(&status.stdout)?;
        let workers = status["workers"].as_array().into_iter().flatten();
        let of_vip: Vec<_> = workers.filter(|w| w["role"] == "vip").map(|w| w["pid"].as_i64()).collect();
        assert_eq!(of_vip, [Some(i64::from(vip.as_raw_nonzero().get()))], "the vip was never given up");
        ensure!(status["vips"][0]["epoch"] == 1 && status["vips"][0]["state"] == "active", "{status}");
        assert_eq!(bed.all_who(20)?, ["two"], "the operator's word holds");
        kept.write_all(b"b")?;
        let mut answer = String::new();
        kept.read_to_string(&mut answer)?;
        ensure!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        Ok(())
    });
}

#[test]
fn what_is_no_program_or_ends_at_once_does_not_take_over() {
    mainstay_lab::test(|| {
        let bed = Bed::make()?;
        let (node, program) = installed(&bed, &(HEAD.to_owned() + WEB))?;
        let old = edges(&node)?;
        let text = bed.edge.directory().join("text");
        fs::write(&text, "not a program\n")?;
        fs::set_permissions(&text, std::os::unix::fs::PermissionsExt::from_mode(0o755))?;
        for broken in [Path::new("/bin/false"), &text] {
            install(&program, broken)?;
            let refused = Mainstay::ctl_on(&bed.edge, &binary(), &["upgrade"])?;
            let said = String::from_utf8_lossy(&refused.stderr).into_owned();
            ensure!(refused.status.code() == Some(1) && said.contains("no upgrade to"), "{said}");
            bed.who()?;
        }
        install(&program, &binary())?;
        assert_eq!(edges(&node)?, old, "nothing was touched");
        Ok(())
    });
}
