//! Two nodes and a real etcd as the third voter.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use mainstay_lab::peer::{Etcd, Keeper as _, Mainstay};
use rustix::process::Signal;

use crate::rig::{CALM, LIMIT, Rig, VIP, binary, never_two};

/// The shortest that etcd may vote with.
const TERM: Duration = Duration::from_secs(5);

/// A lease of etcd ends up to so much late: it looks twice a second, and we ask again ten times in a term.
const LATE: Duration = Duration::from_millis(1_800);

/// Two nodes and etcd.
struct Bed {
    rig: Rig,
    etcd: Etcd,
}

impl Bed {
    fn new() -> Result<Self> {
        let rig = Rig::new()?;
        let etcd = Etcd::start(&rig.witness, &[])?;
        Ok(Self { rig, etcd })
    }

    /// Starts node 1 or 2.
    fn start(&self, n: usize) -> Result<Mainstay> {
        let host = &self.rig.nodes[n - 1];
        let priority = if n == 1 { 150 } else { 100 };
        Mainstay::start(host, &binary(), &(self.rig.cluster_with_etcd(n) + &vip(priority)))
    }

    /// Both, `n1` active, and etcd promises.
    fn up(&self) -> Result<[Mainstay; 2]> {
        let first = self.start(1)?;
        let second = self.start(2)?;
        first.wait_for_state("front", "active", LIMIT)?;
        for node in [&first, &second] {
            all_answer(node)?;
        }
        promised(&first)?;
        Ok([first, second])
    }
}

fn vip(priority: u8) -> String {
    format!(
        "[[vip]]\nname = \"front\"\naddrs = [\"{VIP}\"]\ninterface = \"eth0\"\npriority = {priority}\nguard = \
         \"quorum\"\npreempt = false\n"
    )
}

fn all_answer(node: &Mainstay) -> Result<()> {
    node.wait_until("all three answer", LIMIT, |status| status["cluster"]["answering"] == 3)
}

/// Waits until etcd has promised the vip to this node.
fn promised(node: &Mainstay) -> Result<()> {
    node.daemon().wait_until("etcd promises", LIMIT, || Ok(says(node)? == "granted"))
}

/// What etcd last said of the vip.
fn says(node: &Mainstay) -> Result<String> {
    let vip = node.vip("front")?;
    let voters = vip["lease"]["voters"].as_array().cloned().unwrap_or_default();
    let etcd = voters.into_iter().find(|saying| saying["voter"] == "etcd").unwrap_or_default();
    Ok(etcd["said"].as_str().unwrap_or_default().to_owned())
}

/// Waits until a node is degraded because of etcd, and says so by its exit code.
fn degraded(node: &Mainstay) -> Result<()> {
    node.wait_until("etcd is missed", LIMIT, |status| {
        status["degraded"].to_string().contains("the etcd has not been heard")
    })?;
    let code = node.ctl(&["status"])?.status.code();
    ensure!(code == Some(4), "status ends with {code:?}");
    Ok(())
}

fn well(node: &Mainstay) -> Result<()> {
    node.daemon()
        .wait_until("nothing is degraded", LIMIT, || Ok(node.ctl(&["status"])?.status.code() == Some(0)))
}

#[test]
fn a_node_and_etcd_are_a_majority() {
    mainstay_lab::test(|| {
        let bed = Bed::new()?;
        let [first, second] = bed.up()?;
        let (client, watch, begun) = (bed.rig.ask()?, bed.rig.watch()?, Instant::now());
        first.daemon().kill_all()?;
        let from = Instant::now();
        second.wait_for_state("front", "active", LIMIT)?;
        let took = from.elapsed();
        println!("n2 is active {took:?} after the crash");
        client.wait_for_steady("n2", CALM, LIMIT)?;
        let line = client.stop();
        let outage = line.outage(&line.whole());
        println!("{outage:?}");
        // The dead node's kernel answers for as long as its lease says: the client misses only what etcd is late.
        ensure!(outage < LATE, "the client waited {outage:?}");
        ensure!(took < TERM + LATE, "n2 took {took:?}");
        never_two(watch, begun)
    });
}

#[test]
fn while_etcd_is_down_the_holder_stays_and_says_so() {
    mainstay_lab::test(|| {
        let bed = Bed::new()?;
        let [first, second] = bed.up()?;
        let (client, watch, begun) = (bed.rig.ask()?, bed.rig.watch()?, Instant::now());
        let held = first.vip("front")?["epoch"].clone();
        let gone: [fn(&Etcd) -> Result<()>; 2] =
            [|etcd| etcd.daemon().freeze(), |etcd| etcd.daemon().signal(Signal::KILL)];
        let back: [fn(&Etcd) -> Result<()>; 2] = [
            |etcd| etcd.daemon().resume(),
            |etcd| {
                etcd.daemon().wait_ended(LIMIT)?;
                etcd.start_again()
            },
        ];
        for (gone, back) in gone.into_iter().zip(back) {
            gone(&bed.etcd)?;
            for node in [&first, &second] {
                degraded(node)?;
            }
            back(&bed.etcd)?;
            for node in [&first, &second] {
                all_answer(node)?;
                well(node)?;
            }
            promised(&first)?;
        }
        let said = first.say(&["events"])?;
        for part in
            ["etcd does not answer: ", "etcd answers again, at 10.0.4.9:2379", "etcd is not heard any more"]
        {
            ensure!(said.contains(part), "{part} is not in {said}");
        }
        ensure!(first.vip("front")?["epoch"] == held, "it was held anew");
        let line = client.stop();
        let outage = line.outage(&line.whole());
        ensure!(outage < Duration::from_millis(100), "the client waited {outage:?}");
        never_two(watch, begun)
    });
}

#[test]
fn a_node_that_loses_the_other_and_etcd_holds_for_no_longer_than_its_lease() {
    mainstay_lab::test(|| {
        let bed = Bed::new()?;
        let [first, second] = bed.up()?;
        let client = bed.rig.ask()?;
        bed.etcd.daemon().freeze()?;
        degraded(&first)?;
        second.daemon().kill_all()?;
        let lost = Instant::now();
        first.daemon().wait_until("n1 lets go", LIMIT, || Ok(first.vip("front")?["state"] != "active"))?;
        let held = lost.elapsed();
        ensure!(held < TERM + Duration::from_millis(500), "n1 held for {held:?}");
        ensure!(!bed.rig.nodes[0].addresses()?.contains(&VIP.parse()?), "n1 keeps the address");
        bed.etcd.daemon().resume()?;
        first.wait_for_state("front", "active", LIMIT)?;
        client.wait_for_steady("n1", CALM, LIMIT)
    });
}

#[test]
fn an_etcd_that_lost_its_data_promises_nothing_until_all_that_it_promised_is_over() {
    mainstay_lab::test(|| {
        let bed = Bed::new()?;
        let [first, second] = bed.up()?;
        let (watch, begun) = (bed.rig.watch()?, Instant::now());
        bed.etcd.daemon().kill_all()?;
        bed.etcd.wipe()?;
        bed.etcd.start_again()?;
        let empty = Instant::now();
        first.wait_until("etcd is mute", LIMIT, |status| {
            let nodes = status["cluster"]["nodes"].as_array().cloned().unwrap_or_default();
            nodes.iter().any(|node| node["id"] == "etcd" && node["mute_ms"].as_u64() > Some(0))
        })?;
        // The holder's promise in etcd is gone, and nobody may have it: n2 has no majority.
        first.daemon().kill_all()?;
        second.wait_for_state("front", "active", LIMIT)?;
        let took = empty.elapsed();
        println!("n2 is active {took:?} after etcd came back with nothing");
        ensure!(took >= TERM, "etcd promised after {took:?}");
        let said = second.say(&["events"])?;
        ensure!(
            said.contains("etcd remembers no promises") && said.contains("etcd promises from here on"),
            "{said}"
        );
        never_two(watch, begun)
    });
}
