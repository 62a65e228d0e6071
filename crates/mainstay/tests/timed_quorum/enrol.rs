//! A machine becomes a node with a one-time token and nothing else; keys that are pinned are forgotten by hand.

use std::fs;
use std::path::PathBuf;
use std::process::Output;
use std::time::Instant;

use anyhow::{Context as _, Result, ensure};
use mainstay_lab::peer::{Keeper as _, Mainstay};
use mainstay_lab::{Host, wait_until};

use crate::attacks::dropped;
use crate::members::{FOUR, counts, in_time, refused, rewrite};
use crate::rig::{LIMIT, Rig, binary, never_two};

/// What is on the new machine beforehand: its vip, and no word of a cluster.
fn bare() -> String {
    "[node]\nscript_user = \"root\"\n\n".to_owned() + &crate::rig::vip(50, "preempt = false")
}

/// `mainstay node join` on a host, with a token from a file.
fn join(host: &Host, token: &str, wait: &str) -> Result<Output> {
    let (config, file) = (host.directory().join("mainstay.toml"), host.directory().join("token"));
    fs::write(&config, bare())?;
    fs::write(&file, token)?;
    let (config, file) = (config.display().to_string(), file.display().to_string());
    let words = ["node", "join", "--config", &config, "--token-file", &file, "--wait", wait];
    Mainstay::ctl_on(host, &fs::canonicalize(binary())?, &words)
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout)
}

/// That it does not join, and the sentence.
fn not_joined(host: &Host, token: &str) -> Result<String> {
    let output = join(host, token, "2")?;
    ensure!(output.status.code() == Some(1), "{}: {}", output.status, said(&output));
    ensure!(!drop_in(host).exists(), "a join that failed leaves no configuration");
    Ok(said(&output))
}

fn drop_in(host: &Host) -> PathBuf {
    host.directory().join("conf.d/cluster.toml")
}

/// Two nodes and a witness whose files name `n3` as well.
fn up(rig: &Rig, term: &str) -> Result<[Mainstay; 3]> {
    let [first, second, witness] = rig.up(term, "preempt = false")?;
    rewrite(&first, &rig.nodes[0], term, &FOUR, 150)?;
    rewrite(&second, &rig.nodes[1], term, &FOUR, 100)?;
    rewrite(&witness, &rig.witness, term, &FOUR, 0)?;
    Ok([first, second, witness])
}

fn told(node: &Mainstay, what: &str) -> Result<()> {
    node.daemon().wait_until(what, LIMIT, || Ok(node.say(&["events"])?.contains(what)))
}

#[test]
fn a_machine_joins_by_token_is_known_to_all_and_becomes_a_voter_that_holds() {
    mainstay_lab::test(|| {
        let rig = Rig::new()?;
        let all = up(&rig, "300ms")?;
        let [first, second, witness] = &all;
        let (watch, begun) = (rig.watch()?, Instant::now());
        let host = rig.stranger("n3", 3)?;
        let token = first.say(&["node", "enrol", "n3"])?;
        ensure!(token.trim().lines().count() == 1, "{token}");
        let output = join(&host, &token, "15")?;
        ensure!(output.status.success(), "{}", said(&output));
        let written = fs::read_to_string(drop_in(&host))?;
        ensure!(!written.contains("file ="), "no cluster key is needed: {written}");
        told(first, "n3 has enrolled with a token of this node")?;

        let third = Mainstay::start(&host, &binary(), &bare())?;
        for node in [second, witness] {
            told(node, "n3 has enrolled at the word of")?;
        }
        in_time(first, &["cluster", "add", "n3"])?;
        for node in [first, second, &third, witness] {
            counts(node, 2, 4)?;
        }
        first.say(&["vip", "move", "front", "--to", "n3"])?;
        third.wait_for_state("front", "active", LIMIT)?;

        // All pins lie on disk: nobody asks anybody when they start again.
        third.daemon().kill_all()?;
        second.daemon().kill_all()?;
        second.daemon().start()?;
        third.daemon().start()?;
        for node in [second, &third] {
            counts(node, 2, 4)?;
        }
        never_two(watch, begun)?;

        // The token is used, and no journal has it.
        let thief = rig.stranger("thief", 66)?;
        ensure!(not_joined(&thief, &token)?.contains("refuses the token"), "it is good once");
        told(first, "with a token that another key has used")?;
        let secret = &token.trim()[20..60];
        for node in all.iter().chain([&third]) {
            ensure!(!node.daemon().log().contains(secret), "{} has it in its log", node.daemon());
        }
        Ok(())
    });
}

#[test]
fn a_token_is_for_one_id_and_a_time_and_can_be_revoked() {
    mainstay_lab::test(|| {
        let rig = Rig::new()?;
        let [first, second, _witness] = up(&rig, "300ms")?;
        let host = rig.stranger("n3", 3)?;
        for (id, sentence) in [
            ("n1", "n1 is this node"),
            ("n2", "the key of n2 is pinned already"),
            ("n9", "n9 is not in [cluster] peers"),
        ] {
            let said = refused(&first, &["node", "enrol", id])?;
            ensure!(said.contains(sentence), "{said}");
        }

        let short = first.say(&["node", "enrol", "n3", "--expires", "10"])?;
        let begun = Instant::now();
        ensure!(not_joined(&host, &short[..short.len() / 2])?.contains("damaged or not whole"));
        ensure!(not_joined(&host, "hello")?.contains("begins with mainstay1."));
        wait_until("it expires", LIMIT, || Ok(begun.elapsed().as_secs() >= 11))?;
        ensure!(not_joined(&host, &short)?.contains("does not answer"));
        told(&first, "proves neither the cluster key nor a token that is good")?;

        let revoked = first.say(&["node", "enrol", "n3"])?;
        first.say(&["node", "enrol", "n3", "--revoke"])?;
        ensure!(not_joined(&host, &revoked)?.contains("does not answer"));
        ensure!(refused(&first, &["node", "enrol", "n3", "--revoke"])?.contains("no token for n3"));

        let replaced = first.say(&["node", "enrol", "n3"])?;
        let good = second.say(&["node", "enrol", "n3"])?;
        let latest = first.say(&["node", "enrol", "n3"])?;
        ensure!(not_joined(&host, &replaced)?.contains("does not answer"), "another took its place");
        // The id of the machine's own file.
        fs::write(host.directory().join("mainstay.toml"), "[node]\nid = \"n7\"\n")?;
        for (token, by) in [(&good, &second), (&latest, &first)] {
            let output = join(&host, token, "15")?;
            ensure!(output.status.success(), "{}", said(&output));
            told(by, "n3 has enrolled with a token of this node")?;
            ensure!(join(&host, token, "2")?.status.code() == Some(1), "it has joined already");
            fs::remove_file(drop_in(&host))?;
        }
        Ok(())
    });
}

#[test]
fn a_key_is_forgotten_while_the_node_runs_and_pinned_again_when_its_owner_proves_the_cluster_key() {
    mainstay_lab::test(|| {
        let rig = Rig::new()?;
        let [first, second, witness] = rig.up("300ms", "preempt = false")?;
        let (client, epoch) = (rig.ask()?, first.vip("front")?["epoch"].clone());
        let pins = || -> Result<String> {
            let path = rig.nodes[0].directory().join("state/peers.json");
            fs::read_to_string(&path).with_context(|| format!("{}", path.display()))
        };
        ensure!(refused(&first, &["node", "forget", "n1"])?.contains("n1 is this node"));
        ensure!(refused(&first, &["node", "forget", "n9"])?.contains("pinned are those of: n2, w"));
        second.daemon().kill_all()?;
        let done = first.say(&["node", "forget", "n2"])?;
        ensure!(done.contains("proves the cluster key") && done.contains("cluster remove n2"), "{done}");
        wait_until("it is not kept", LIMIT, || Ok(!pins()?.contains("n2")))?;
        told(&first, "the pinned key of n2 was forgotten")?;
        second.daemon().start()?;
        wait_until("it is pinned again", LIMIT, || Ok(pins()?.contains("n2")))?;
        first.wait_until("three answer", LIMIT, |status| status["cluster"]["answering"] == 3)?;

        // The machine is lost: another one comes with an empty state directory.
        second.daemon().kill_all()?;
        for file in fs::read_dir(rig.nodes[1].directory().join("state"))? {
            fs::remove_file(file?.path())?;
        }
        for node in [&first, &witness] {
            node.say(&["node", "forget", "n2"])?;
        }
        second.daemon().start()?;
        for node in [&first, &second, &witness] {
            counts(node, 1, 3)?;
        }
        ensure!(first.vip("front")?["epoch"] == epoch, "it was held anew");
        let line = client.stop();
        ensure!(line.outage(&line.whole()).as_millis() < 100, "the client waited");
        Ok(())
    });
}

#[test]
fn a_cluster_that_has_no_key_of_its_own_grows_by_tokens_alone() {
    mainstay_lab::test(|| {
        let rig = Rig::new()?;
        let program = fs::canonicalize(binary())?;
        let hosts = [&rig.nodes[0], &rig.nodes[1], &rig.witness];
        let mut keys = Vec::new();
        for host in hosts {
            fs::create_dir_all(host.directory().join("state"))?;
            let output = Mainstay::ctl_on(host, &program, &["node", "key"])?;
            ensure!(output.status.success(), "{}", said(&output));
            keys.push(String::from_utf8(output.stdout)?.trim().to_owned());
        }
        let config = |host: &Host, priority: u8| {
            let mut text = Rig::config_of(host, "300ms", &FOUR, priority);
            for (id, key) in ["n1", "n2", "w"].iter().zip(&keys) {
                text =
                    text.replace(&format!("id = \"{id}\", "), &format!("id = \"{id}\", key = \"{key}\", "));
            }
            let lines = text.lines().filter(|line| !line.starts_with("key = "));
            let text = lines.collect::<Vec<_>>().join("\n");
            if priority == 0 { text.split("[[vip]]").next().unwrap_or_default().to_owned() } else { text }
        };
        let witness = Mainstay::start(&rig.witness, &binary(), &config(&rig.witness, 0))?;
        let first = Mainstay::start(&rig.nodes[0], &binary(), &config(&rig.nodes[0], 150))?;
        let second = Mainstay::start(&rig.nodes[1], &binary(), &config(&rig.nodes[1], 100))?;
        // The files name four voters, of which three are here.
        for node in [&first, &second, &witness] {
            node.wait_until("three answer", LIMIT, |status| status["cluster"]["answering"] == 3)?;
        }
        let host = rig.stranger("n3", 3)?;
        let output = join(&host, &second.say(&["node", "enrol", "n3"])?, "15")?;
        ensure!(output.status.success(), "{}", said(&output));
        let third = Mainstay::start(&host, &binary(), &bare())?;
        for node in [&first, &witness] {
            told(node, "n3 has enrolled at the word of")?;
        }
        for node in [&first, &second, &third, &witness] {
            counts(node, 1, 4)?;
        }
        // Forgotten, it comes back at nobody's word.
        ensure!(first.say(&["node", "forget", "n3"])?.contains("it needs a token"));
        third.daemon().stop()?;
        third.daemon().start()?;
        told(&second, "n3 has started again")?;
        first.wait_until("it stays outside", LIMIT, |status| status["cluster"]["answering"] == 3)?;
        first.daemon().stop()?;
        first.daemon().start()?;
        first.wait_until("it has knocked twice and stays outside after a restart too", LIMIT, |status| {
            dropped(status, "unknown-key") >= 4 && status["cluster"]["answering"] == 3
        })?;
        ensure!(!first.say(&["events"])?.contains("n3 has enrolled"), "its key is on no list of nobody's");
        // A token takes it in again.
        let output = {
            fs::remove_file(drop_in(&host))?;
            third.daemon().stop()?;
            join(&host, &first.say(&["node", "enrol", "n3"])?, "15")?
        };
        ensure!(output.status.success(), "{}", said(&output));
        third.daemon().start()?;
        counts(&first, 1, 4)
    });
}
