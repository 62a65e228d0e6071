//! Strangers, deaths in a row and reloads: the address stays where it is, or moves once.

use std::fs;
use std::net::UdpSocket;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use mainstay_lab::peer::{Keeper as _, Mainstay};
use mainstay_lab::{Host, wait_until};
use serde_json::Value;

use crate::rig::{CALM, LIMIT, Rig, VIP, cluster, kill, never_two};

/// Nobody waited.
const NOTHING: Duration = Duration::from_millis(100);

/// Sends `count` datagrams of anything to the port of peers, at about ten thousand a second.
fn flood(from: &Host, count: u32) -> Result<()> {
    from.run(|| -> Result<()> {
        let socket = UdpSocket::bind("0.0.0.0:0")?;
        let (begun, mut state) = (Instant::now(), 0x9e37_79b9_u32);
        for n in 0..count {
            let mut datagram = [0_u8; 200];
            for byte in &mut datagram {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                *byte = state.to_be_bytes()[0];
            }
            datagram[0] = [0xd1, 0xd2, 0xd3, 0xd4, 0xd5, 0xd6, 0xd7, datagram[0]][n as usize % 8];
            let length = 20 + usize::from(datagram[1]) % 180;
            let _ = socket.send_to(&datagram[..length], "10.0.4.1:5112");
            while begun.elapsed() < Duration::from_micros(100) * n {
                std::thread::yield_now();
            }
        }
        Ok(())
    })?
}

/// How many datagrams were dropped for this cause.
pub(crate) fn dropped(status: &Value, cause: &str) -> u64 {
    let counters = status["counters"].as_array().into_iter().flatten();
    let of = |counter: &&Value| {
        counter["name"] == "cluster_datagrams_dropped_total" && counter["labels"][0][1] == cause
    };
    counters.filter(of).filter_map(|counter| counter["value"].as_u64()).sum()
}

/// The client of `n1` never waited, and it was never held anew.
pub(crate) fn undisturbed(rig: &Rig, first: &Mainstay, strike: impl FnOnce() -> Result<()>) -> Result<()> {
    let (client, watch, begun) = (rig.ask()?, rig.watch()?, Instant::now());
    let epoch = first.vip("front")?["epoch"].clone();
    strike()?;
    client.wait_for_steady("n1", CALM, LIMIT)?;
    let now = first.vip("front")?["epoch"].clone();
    ensure!(now == epoch, "it was held anew: {epoch} and {now}");
    never_two(watch, begun)?;
    let line = client.stop();
    let outage = line.outage(&line.whole());
    ensure!(outage < NOTHING, "the client waited {outage:?}");
    Ok(())
}

#[test]
fn a_flood_of_a_strangers_datagrams_is_counted_by_cause_and_nothing_else() {
    mainstay_lab::test(|| {
        let rig = Rig::new()?;
        let [first, _second, _witness] = rig.up("1.5s", "preempt = false")?;
        let stranger = rig.stranger("stranger", 66)?;
        undisturbed(&rig, &first, || flood(&stranger, 20_000))?;
        let status = first.status_json()?;
        for cause in ["malformed", "bad-code", "unknown-session", "unasked"] {
            ensure!(dropped(&status, cause) > 100, "{cause} was not counted: {}", status["counters"]);
        }
        Ok(())
    });
}

#[test]
fn a_stranger_who_claims_the_address_is_told_of_within_a_second_and_gets_nothing() {
    mainstay_lab::test(|| {
        let rig = Rig::new()?;
        let [first, _second, _witness] = rig.up("1.5s", "preempt = false")?;
        let stranger = rig.stranger("stranger", 66)?;
        let epoch = first.vip("front")?["epoch"].clone();
        stranger.ip(&format!("addr add {VIP}/32 dev eth0\n"))?;
        let begun = Instant::now();
        // The kernel asks everybody for the neighbour, from that address.
        stranger.run(|| UdpSocket::bind((VIP, 0))?.send_to(b"x", "10.0.4.201:9"))??;
        wait_until("the conflict is told", LIMIT, || Ok(first.daemon().log().contains("is claimed by")))?;
        ensure!(begun.elapsed() < Duration::from_secs(1), "after {:?}", begun.elapsed());
        let vip = first.vip("front")?;
        ensure!(vip["state"] == "active" && vip["epoch"] == epoch, "it was dropped: {vip}");
        Ok(())
    });
}

#[test]
fn a_vip_worker_that_dies_again_and_again_never_makes_two_and_epochs_rise() {
    mainstay_lab::test(|| {
        let rig = Rig::new()?;
        let [first, second, _witness] = rig.up("300ms", "preempt = false")?;
        let (watch, begun) = (rig.watch()?, Instant::now());
        let mut highest = first.vip("front")?["epoch"].as_u64();
        for _ in 0..4 {
            for node in [&first, &second] {
                let worker = node.worker_pid("vip")?;
                kill(worker)?;
                node.wait_until("another worker runs", LIMIT, |_| {
                    node.worker_pid("vip").is_ok_and(|pid| pid != worker)
                })?;
            }
        }
        let mut held = None;
        wait_until("one of them holds it", LIMIT, || {
            let vips = [first.vip("front")?, second.vip("front")?];
            held = vips.iter().find(|vip| vip["state"] == "active").map(|vip| vip["epoch"].as_u64());
            Ok(held.is_some())
        })?;
        let now = held.flatten();
        ensure!(now > highest, "epoch {now:?} after {highest:?}");
        highest = now;
        never_two(watch, begun)?;
        ensure!(highest.is_some());
        Ok(())
    });
}

fn degraded(status: &Value, word: &str) -> bool {
    status["degraded"].as_array().is_some_and(|all| all.iter().any(|why| why.to_string().contains(word)))
}

#[test]
fn a_reload_with_another_peer_counts_by_the_list_that_is_in_force_and_says_so() {
    mainstay_lab::test(|| {
        let rig = Rig::new()?;
        let [first, second, _witness] = rig.up("300ms", "preempt = false")?;
        let was = fs::read_to_string(first.config_path())?;
        // Its id comes before all others: every node would get another number.
        let more = was.replace("peers = [", "peers = [{ id = \"a\", addrs = [\"10.0.4.50\"] }, ");
        ensure!(was != more, "the configuration has changed");
        undisturbed(&rig, &first, || {
            fs::write(first.config_path(), &more)?;
            first.reload()?;
            first.wait_until("it says so", LIMIT, |status| degraded(status, "mainstay cluster add a"))?;
            // A vote counts for whom it is from: without the witness the second is heard, and the witness is not.
            first.wait_until("three answer", LIMIT, |status| status["cluster"]["answering"] == 3)?;
            fs::write(first.config_path(), &was)?;
            first.reload()?;
            first.wait_until("it is well", LIMIT, |status| !degraded(status, "mainstay cluster add"))
        })?;
        second.wait_for_state("front", "backup", LIMIT)
    });
}

#[test]
fn a_reload_to_an_address_that_is_not_there_mixes_no_rights_up() {
    mainstay_lab::test(|| {
        let rig = Rig::new()?;
        let [first, _second, _witness] = rig.up("300ms", "preempt = false")?;
        let was = fs::read_to_string(first.config_path())?;
        let (watch, begun) = (rig.watch()?, Instant::now());
        let head = cluster(&rig.nodes[0], "300ms");
        let tail = was.strip_prefix(&head).map(str::to_owned).unwrap_or_default();
        let another = "[[vip]]\nname = \"another\"\naddrs = [\"10.0.4.98\"]\ninterface = \"eth0\"\nguard = \"quorum\"\n";
        let deaf = head.replace("peers = [", "listen = [\"10.9.9.9\"]\npeers = [") + another + &tail;
        fs::write(first.config_path(), deaf)?;
        first.reload()?;
        first.wait_until("it says so", LIMIT, |status| degraded(status, "10.9.9.9"))?;
        rig.nodes[0].ip("addr add 10.9.9.9/32 dev lo\n")?;
        fs::write(first.config_path(), head + another + &tail)?;
        first.reload()?;
        first.wait_until("each vip has the right of its name", LIMIT, |status| {
            let right = |name: &str| {
                let vips = status["vips"].as_array().into_iter().flatten();
                let vip = vips.into_iter().find(|vip| vip["name"] == name);
                vip.is_some_and(|vip| vip["lease"]["right"] == format!("vip/{name}"))
            };
            right("front") && right("another")
        })?;
        first.wait_for_state("another", "active", LIMIT)?;
        never_two(watch, begun)
    });
}
