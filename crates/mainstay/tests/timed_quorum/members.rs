//! Voters come and go, one at a time, and the address does not notice.

use std::fs;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use mainstay_lab::Host;
use mainstay_lab::peer::{Keeper as _, Mainstay};

use crate::rig::{LIMIT, Rig, binary, never_two};

/// Everybody of a larger cluster.
pub(crate) const FOUR: [&str; 4] = ["n1", "n2", "n3", "w"];

/// Long enough that a second change comes within it.
const TERM: &str = "1.5s";

/// Says something that must be refused, and returns the sentence.
pub(crate) fn refused(node: &Mainstay, words: &[&str]) -> Result<String> {
    let output = node.ctl(words)?;
    let said =
        String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout);
    ensure!(output.status.code() == Some(1), "{words:?} is {}: {said}", output.status);
    Ok(said)
}

/// Says something until it is not too soon any more.
pub(crate) fn in_time(node: &Mainstay, words: &[&str]) -> Result<()> {
    node.daemon().wait_until(&format!("{words:?} is done"), LIMIT, || {
        let output = node.ctl(words)?;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        ensure!(output.status.success() || said.contains("too young"), "{words:?}: {said}");
        Ok(output.status.success())
    })
}

/// Another file for a node that runs.
pub(crate) fn rewrite(node: &Mainstay, host: &Host, term: &str, ids: &[&str], priority: u8) -> Result<()> {
    let whole = Rig::config_of(host, term, ids, priority);
    let head = whole.split("[[vip]]").next().unwrap_or_default().to_owned();
    let witness = host.name() == "w";
    fs::write(node.config_path(), if witness { head } else { whole })?;
    node.say(&["reload"]).map(drop)
}

/// Waits until a node counts by this list, and everybody in it answers.
pub(crate) fn counts(node: &Mainstay, epoch: u32, voters: u32) -> Result<()> {
    node.wait_until(&format!("epoch {epoch} with {voters} voters"), LIMIT, |status| {
        let cluster = &status["cluster"];
        cluster["list_epoch"] == epoch && cluster["voters"] == voters && cluster["answering"] == voters
    })
}

#[test]
fn a_fourth_voter_comes_and_a_voter_goes_while_one_node_holds_the_address() {
    mainstay_lab::test(|| {
        let rig = Rig::new()?;
        let [first, second, witness] = rig.up(TERM, "preempt = false")?;
        let (client, watch, begun) = (rig.ask()?, rig.watch()?, Instant::now());
        let held = first.vip("front")?["epoch"].clone();
        ensure!(refused(&first, &["cluster", "add", "n3"])?.contains("not in [cluster] peers"));
        ensure!(refused(&first, &["cluster", "add", "n2"])?.contains("already"));

        rewrite(&first, &rig.nodes[0], TERM, &FOUR, 150)?;
        rewrite(&second, &rig.nodes[1], TERM, &FOUR, 100)?;
        rewrite(&witness, &rig.witness, TERM, &FOUR, 0)?;
        let told = "n3 is in the file and not in the voter list: run `mainstay cluster add n3`";
        first.wait_until("the file alone changes nothing", LIMIT, |status| {
            status["degraded"].to_string().contains(told) && status["cluster"]["voters"] == 3
        })?;
        ensure!(refused(&first, &["cluster", "add", "n3"])?.contains("n3 is not heard"));
        let host = rig.third()?;
        let third = Mainstay::start(&host, &binary(), &Rig::config_of(&host, TERM, &FOUR, 50))?;
        first.daemon().wait_until("n3 is added", LIMIT, || {
            Ok(first.ctl(&["cluster", "add", "n3"])?.status.success())
        })?;
        let sooner = refused(&second, &["cluster", "remove", "w"])?;
        ensure!(sooner.contains("too young") || sooner.contains("no majority"), "{sooner}");
        for node in [&first, &second, &third, &witness] {
            counts(node, 2, 4)?;
        }
        let sentence = refused(&third, &["cluster", "remove", "n1"])?;
        ensure!(sentence.contains("n1 holds vip/front"), "{sentence}");
        ensure!(refused(&second, &["cluster", "remove", "n2"])?.contains("from a node that stays"));

        // The witness's place is behind n3's: its number changes, and n3's comes before it.
        in_time(&first, &["cluster", "remove", "n2"])?;
        for node in [&first, &third, &witness] {
            counts(node, 3, 3)?;
        }
        second.daemon().stop()?;
        for (node, host, priority) in
            [(&first, &rig.nodes[0], 150), (&third, &host, 50), (&witness, &rig.witness, 0)]
        {
            rewrite(node, host, TERM, &["n1", "n3", "w"], priority)?;
            node.wait_until("file and list agree", LIMIT, |status| {
                status["degraded"].as_array().is_some_and(Vec::is_empty)
            })?;
        }
        ensure!(first.vip("front")?["epoch"] == held, "it was held anew");
        let line = client.stop();
        let outage = line.outage(&line.whole());
        println!("{outage:?}");
        ensure!(outage < Duration::from_millis(100), "the client waited {outage:?}");

        // The numbers of the file and of the list on disk differ at this start: n2 is back in the file.
        rewrite(&third, &host, TERM, &FOUR, 50)?;
        third.daemon().stop()?;
        third.daemon().start()?;
        counts(&third, 3, 3)?;
        first.say(&["vip", "move", "front"])?;
        third.wait_for_state("front", "active", LIMIT)?;
        never_two(watch, begun)
    });
}

#[test]
fn a_file_with_other_peers_does_not_change_who_votes_after_a_restart() {
    mainstay_lab::test(|| {
        let rig = Rig::new()?;
        let [first, second, _witness] = rig.up("300ms", "preempt = false")?;
        let config = Rig::config_of(&rig.nodes[1], "300ms", &FOUR, 100);
        fs::write(second.config_path(), config)?;
        second.daemon().kill_all()?;
        second.daemon().start()?;
        counts(&second, 1, 3)?;
        first.wait_until("all three answer", LIMIT, |status| status["cluster"]["answering"] == 3)?;
        let list = second.say(&["cluster", "list"])?;
        ensure!(list.contains("run `mainstay cluster add n3`"), "{list}");
        Ok(())
    });
}
