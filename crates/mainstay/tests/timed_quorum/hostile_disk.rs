//! The state directory: full, read-only, or with a voter list that cannot be right. Nothing is held twice for it, nothing
//! that is held is lost while it need not be written, and who cannot start says why.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use mainstay_lab::peer::{Keeper as _, Mainstay};
use mainstay_lab::{Host, wait_until};

use crate::members::{FOUR, counts, rewrite};
use crate::rig::{CALM, LIMIT, Rig, binary, kill, never_two};

const TERM: &str = "300ms";

fn state(host: &Host) -> PathBuf {
    host.directory().join("state")
}

/// A program that makes the node's state directory a small disk of its own, in mounts of its own, before it is ours. What is there already lies on
/// the disk too.
fn on_small_disk(host: &Host, then: &str) -> Result<PathBuf> {
    let (program, state) = (host.directory().join("node-on-small-disk"), state(host));
    let (binary, state) = (fs::canonicalize(binary())?, state.display().to_string());
    let script = format!(
        "#!/bin/sh\n[ \"$1\" = run ] || exec {binary} \"$@\"\nexec unshare --mount sh -c 'set -e\nmkdir -p {state}.was {state}\ncp -a \
         {state}/. {state}.was/\nmount -t tmpfs -o size=128k,mode=0700 small {state}\ncp -a {state}.was/. {state}/\n{then}\nexec \
         {binary} \"$@\"' sh \"$@\"\n",
        binary = binary.display(),
    );
    fs::write(&program, script)?;
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755))?;
    Ok(program)
}

/// The disk as the node sees it.
fn seen_by(node: &Mainstay) -> Result<PathBuf> {
    let path = state(node.daemon().host());
    let pid = node.daemon().pid()?;
    Ok(Path::new("/proc").join(pid.as_raw_nonzero().to_string()).join("root").join(path.strip_prefix("/")?))
}

/// Leaves no byte free.
fn fill(disk: &Path) -> Result<()> {
    use std::io::Write as _;
    let mut file = fs::File::create(disk.join("filler"))?;
    while file.write_all(&[0; 512]).is_ok() {}
    Ok(())
}

/// Makes the disk of a node that runs read-only, or writable again.
fn remount(node: &Mainstay, how: &str) -> Result<()> {
    let mut command = Command::new("nsenter");
    command.arg("--mount").arg("-t").arg(node.daemon().pid()?.as_raw_nonzero().to_string());
    command.args(["mount", "-o", &format!("remount,{how}")]).arg(state(node.daemon().host()));
    let output = command.output().context("nsenter")?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}

fn degraded(status: &serde_json::Value, word: &str) -> bool {
    status["degraded"].to_string().contains(word)
}

/// `n1` on a small disk, the others as always; `n1` holds.
fn up(rig: &Rig) -> Result<[Mainstay; 3]> {
    let witness = rig.start_witness(TERM)?;
    let config = Rig::config_of(&rig.nodes[0], TERM, &["n1", "n2", "w"], 150);
    let first = Mainstay::start(&rig.nodes[0], &on_small_disk(&rig.nodes[0], "true")?, &config)?;
    first.wait_for_state("front", "active", LIMIT)?;
    let second = rig.start(2, TERM, 100, "preempt = false")?;
    for node in [&first, &second] {
        node.wait_until("three answer", LIMIT, |status| status["cluster"]["answering"] == 3)?;
    }
    Ok([first, second, witness])
}

/// What a disk that takes nothing does to a node that runs, and what it does once it takes something again.
fn takes_nothing(
    strike: impl Fn(&Mainstay) -> Result<()>,
    heal: impl Fn(&Mainstay) -> Result<()>,
) -> Result<()> {
    let rig = Rig::new()?;
    let [first, second, witness] = up(&rig)?;
    let (client, watch, begun) = (rig.ask()?, rig.watch()?, Instant::now());
    let epoch = first.vip("front")?["epoch"].clone();
    strike(&first)?;
    // A session's life and a promise's need no disk.
    client.wait_for_steady("n1", Duration::from_secs(3), LIMIT)?;
    ensure!(first.vip("front")?["epoch"] == epoch, "it was held anew");

    // A list that it cannot keep: it says and holds nothing under it, and the others go on.
    rewrite(&first, &rig.nodes[0], TERM, &FOUR, 150)?;
    rewrite(&second, &rig.nodes[1], TERM, &FOUR, 100)?;
    rewrite(&witness, &rig.witness, TERM, &FOUR, 0)?;
    let host = rig.third()?;
    let third = Mainstay::start(&host, &binary(), &Rig::config_of(&host, TERM, &FOUR, 50))?;
    second
        .daemon()
        .wait_until("n3 is added", LIMIT, || Ok(second.ctl(&["cluster", "add", "n3"])?.status.success()))?;
    second.wait_until("three of four count by it", LIMIT, |status| {
        status["cluster"]["list_epoch"] == 2 && status["cluster"]["answering"] == 3
    })?;
    wait_until("it is said", LIMIT, || {
        Ok(first.daemon().log().contains("promises nothing until its voter list is kept"))
    })?;
    ensure!(degraded(&first.status_json()?, "is not on disk"), "status says it");
    wait_until("another one of the majority takes it", LIMIT, || {
        Ok([&second, &third].iter().any(|node| node.vip("front").is_ok_and(|vip| vip["state"] == "active")))
    })?;

    // A vip worker that dies meanwhile is nobody's heir, and counts by the list that it had.
    kill(first.worker_pid("vip")?)?;
    heal(&first)?;
    for node in [&first, &second, &third, &witness] {
        counts(node, 2, 4)?;
    }
    never_two(watch, begun)
}

#[test]
fn a_disk_that_fills_up_costs_a_list_that_cannot_be_kept_and_nothing_else() {
    mainstay_lab::test(|| {
        takes_nothing(
            |node| fill(&seen_by(node)?),
            |node| Ok(fs::remove_file(seen_by(node)?.join("filler"))?),
        )
    });
}

#[test]
fn a_disk_that_becomes_read_only_costs_a_list_that_cannot_be_kept_and_nothing_else() {
    mainstay_lab::test(|| takes_nothing(|node| remount(node, "ro"), |node| remount(node, "rw")));
}

#[test]
fn a_node_that_starts_on_a_full_disk_says_so_holds_nothing_and_joins_when_there_is_room() {
    mainstay_lab::test(|| {
        let rig = Rig::new()?;
        let (_witness, second) = (rig.start_witness(TERM)?, rig.start(2, TERM, 100, "preempt = false")?);
        second.wait_for_state("front", "active", LIMIT)?;
        let state = state(&rig.nodes[0]);
        let full = format!("dd if=/dev/zero of={}/filler bs=512 2>/dev/null || true", state.display());
        let config = Rig::config_of(&rig.nodes[0], TERM, &["n1", "n2", "w"], 150);
        let first = Mainstay::start(&rig.nodes[0], &on_small_disk(&rig.nodes[0], &full)?, &config)?;
        first.wait_until("it says so", LIMIT, |status| degraded(status, "state directory cannot be used"))?;
        ensure!(first.vip("front")?["state"] != "active", "it holds without a vote");
        fs::remove_file(seen_by(&first)?.join("filler"))?;
        first.wait_until("it is among its peers", LIMIT, |status| status["cluster"]["answering"] == 3)
    });
}

/// A node that must not start ends with code 1, and says these words.
fn ends(host: &Host, program: &Path, config: &str, words: &[&str]) -> Result<()> {
    let node = Mainstay::start(host, program, config)?;
    node.daemon().wait_ended(LIMIT)?;
    let log = node.daemon().log();
    for word in words {
        ensure!(log.contains(word), "{word:?} is missing in: {log}");
    }
    let file = host.directory().join("mainstay.toml").display().to_string();
    let output = Mainstay::ctl_on(host, program, &["run", "--config", &file])?;
    ensure!(output.status.code() == Some(1), "exit {}", output.status);
    Ok(())
}

#[test]
fn a_node_whose_state_directory_is_read_only_does_not_start() {
    mainstay_lab::test(|| {
        let rig = Rig::new()?;
        let host = &rig.nodes[0];
        let config = Rig::config_of(host, TERM, &["n1", "n2", "w"], 150);
        let program = on_small_disk(host, &format!("mount -o remount,ro {}", state(host).display()))?;
        ends(host, &program, &config, &["state directory", "Read-only file system"])
    });
}

#[test]
fn a_voter_list_that_cannot_be_right_keeps_a_node_from_starting_and_the_sentence_helps() {
    mainstay_lab::test(|| {
        let rig = Rig::new()?;
        let [first, second, witness] = rig.up(TERM, "preempt = false")?;
        let path = state(&rig.nodes[1]).join("voters.json");
        wait_until("the list is kept", LIMIT, || Ok(path.exists()))?;
        let kept = fs::read_to_string(&path)?;
        ensure!(kept.contains("\"cluster\":\"lab\""), "whose list it is: {kept}");
        second.daemon().stop()?;
        let config = fs::read_to_string(second.config_path())?;
        let program = fs::canonicalize(binary())?;
        let member = |id: &str| format!("{{\"id\":\"{id}\",\"votes\":true,\"holds\":true}}");
        let of = |cluster: &str, epoch: u32, ids: &[&str]| {
            let members: Vec<String> = ids.iter().map(|id| member(id)).collect();
            format!("{{\"cluster\":\"{cluster}\",\"epoch\":{epoch},\"members\":[{}]}}", members.join(","))
        };
        let help = "remove the file on this node alone";
        for (text, words) in [
            (of("lab", 7, &["n2"]), ["it names this node alone", help]),
            (of("lab", u32::MAX, &["n1", "n2", "w"]), ["its epoch is not one", help]),
            (of("lab", 0, &["n1", "n2", "w"]), ["its epoch is not one", help]),
            (of("lab", 2, &["n2", "x", "y"]), ["differ by 4", help]),
            (of("other", 2, &["n1", "n2", "w"]), ["of cluster \"other\"", "a state directory of its own"]),
            (of("lab", 2, &["n1", "n9", "w"]), ["not this node, n2", "[node] id was changed"]),
            (of("lab", 2, &["n1", "n2", "n2"]), ["names a node twice", help]),
            (kept[..kept.len() / 2].to_owned(), ["it is no voter list", help]),
            ("[".repeat(2_000_000), ["it is no voter list", help]),
        ] {
            fs::write(&path, text)?;
            ends(&rig.nodes[1], &program, &config, &words)?;
        }
        // As it advises.
        fs::remove_file(&path)?;
        second.daemon().start()?;
        for node in [&first, &second, &witness] {
            counts(node, 1, 3)?;
        }
        // A list of an earlier version does not say whose it is.
        wait_until("the list is kept", LIMIT, || Ok(path.exists()))?;
        second.daemon().stop()?;
        fs::write(&path, kept.replace("\"cluster\":\"lab\",", ""))?;
        second.daemon().start()?;
        counts(&second, 1, 3)
    });
}

#[test]
fn a_reload_that_makes_another_node_of_it_or_leaps_ahead_of_the_list_is_refused() {
    mainstay_lab::test(|| {
        let rig = Rig::new()?;
        let [first, _second, _witness] = rig.up(TERM, "preempt = false")?;
        let (client, epoch) = (rig.ask()?, first.vip("front")?["epoch"].clone());
        let was = fs::read_to_string(first.config_path())?;
        let more =
            "peers = [{ id = \"a\", addrs = [\"10.0.4.50\"] }, { id = \"b\", addrs = [\"10.0.4.51\"] }, ";
        for (text, words) in [
            (was.replace("id = \"n1\"\nscript", "id = \"n7\"\nscript"), "runs as \"n1\""),
            (was.replace("name = \"lab\"", "name = \"another\""), "[cluster] name is \"another\""),
            (was.replace("peers = [", more), "would differ by 2 voters"),
        ] {
            ensure!(text != was, "the configuration has changed");
            fs::write(first.config_path(), text)?;
            let output = first.ctl(&["reload"])?;
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            ensure!(output.status.code() == Some(1) && said.contains(words), "{words:?}: {said}");
        }
        fs::write(first.config_path(), &was)?;
        first.say(&["reload"])?;
        client.wait_for_steady("n1", CALM, LIMIT)?;
        ensure!(first.vip("front")?["epoch"] == epoch && first.status_json()?["node"] == "n1");
        let line = client.stop();
        ensure!(line.outage(&line.whole()) < Duration::from_millis(100), "the client waited");
        Ok(())
    });
}
