//! Somebody else claims the address: it is told of within a second and stays where it is.

use std::fs;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use mainstay_core::arp;
use mainstay_lab::peer::{Keepalived, Keeper as _, Mainstay};
use mainstay_lab::{Host, Way, partition, wait_until};
use mainstay_sys::labsock::{ARP, PacketSocket};

use crate::rig::{CALM, LIMIT, Rig, SERVICE, VIP, never_two};

/// A conflict is told of within this.
const TOLD: Duration = Duration::from_secs(1);

/// What a client may wait whom a stranger has led astray, until it hears the holder again.
const ASTRAY: Duration = Duration::from_millis(300);

/// Sends so many gratuitous ARPs for the address, from stations of which each has one of `stations` numbers.
fn claim(stranger: &Host, frames: u32, stations: u32) -> Result<()> {
    stranger.run(|| -> Result<()> {
        let socket = PacketSocket::open("eth0", ARP)?;
        for n in 0..frames {
            let [_, b, c, d] = (n % stations).to_be_bytes();
            while socket.send(&arp::gratuitous(VIP.parse()?, [2, 66, 0, b, c, d])).is_err() {
                std::thread::yield_now();
            }
        }
        Ok(())
    })?
}

fn counter(node: &Mainstay, name: &str) -> Result<u64> {
    let vip = node.vip("front")?;
    let all = vip["counters"].as_array().into_iter().flatten();
    let found = all.into_iter().find(|counter| counter["name"] == name);
    found.and_then(|counter| counter["value"].as_u64()).with_context(|| format!("no counter {name}"))
}

fn told(node: &Mainstay, text: &str) -> Result<()> {
    wait_until(&format!("{text:?} is told"), LIMIT, || Ok(node.daemon().log().contains(text)))
}

/// A script that writes down what it is told, and what it has written.
fn scribe(host: &Host) -> Result<(String, std::path::PathBuf)> {
    let log = host.directory().join("told");
    fs::write(&log, "")?;
    let line = format!("echo $MAINSTAY_STATE $MAINSTAY_REASON $MAINSTAY_MESSAGE >> {}", log.display());
    Ok((format!("notify = [{{ exec = [\"/bin/sh\", \"-c\", \"{line}\"], on = [\"conflict\"] }}]"), log))
}

#[test]
fn a_strangers_frame_is_told_of_by_holder_and_backup_and_the_script_and_status_within_a_second() {
    mainstay_lab::test(|| {
        let rig = Rig::new()?;
        let (notify, log) = scribe(&rig.nodes[0])?;
        let more = ["preempt = false\n".to_owned() + &notify, "preempt = false".to_owned()];
        let [first, second, _witness] = rig.up_with("1.5s", [&more[0], &more[1]])?;
        let stranger = rig.stranger("stranger", 66)?;
        let (client, watch, start) = (rig.ask()?, rig.watch()?, Instant::now());
        let epoch = first.vip("front")?["epoch"].clone();
        let begun = Instant::now();
        claim(&stranger, 1, 1)?;
        told(&first, "is claimed by 02:42:00:00:00:00 too")?;
        let event = begun.elapsed();
        wait_until("the script is told", LIMIT, || {
            Ok(fs::read_to_string(&log)?.contains("conflict claimed"))
        })?;
        let notified = begun.elapsed();
        told(&second, "which n1 holds, is claimed by 02:42:00:00:00:00 too")?;
        let seen_by_backup = begun.elapsed();
        println!("event {event:?}, script {notified:?}, backup {seen_by_backup:?}");
        ensure!(event.max(notified).max(seen_by_backup) < TOLD, "{event:?} {notified:?} {seen_by_backup:?}");
        ensure!(counter(&first, "vip_conflict_episodes_total")? == 1, "it was counted");
        let status = first.status_json()?;
        let degraded = status["degraded"].to_string();
        ensure!(degraded.contains("is claimed by 02:42:00:00:00:00 too, once"), "{degraded}");
        ensure!(first.ctl(&["status"])?.status.code() == Some(4), "and it is degraded");
        ensure!(first.say(&["explain", "vip", "front"])?.contains("conflict   its address is claimed by"));
        ensure!(first.vip("front")?["epoch"] == epoch, "it was held anew");
        client.wait_for_steady("n1", CALM, LIMIT)?;
        // It is over after ten seconds of silence.
        told(&first, "the conflict over vip front is over: 1 claims")?;
        wait_until("the script hears the end", LIMIT, || {
            Ok(fs::read_to_string(&log)?.contains("conflict over"))
        })?;
        ensure!(first.vip("front")?["conflict"].is_null(), "status forgets it");
        never_two(watch, start)?;
        let line = client.stop();
        let outage = line.outage(&line.whole());
        println!("the client waited {outage:?}");
        ensure!(outage < ASTRAY, "the client waited {outage:?}");
        Ok(())
    });
}

#[test]
fn a_host_that_only_answers_who_asks_it_is_found_by_asking() {
    mainstay_lab::test(|| {
        let rig = Rig::new()?;
        let [first, _second, _witness] = rig.up("1.5s", "preempt = false")?;
        let stranger = rig.stranger("stranger", 66)?;
        let begun = Instant::now();
        stranger.ip(&format!("addr add {VIP}/32 dev eth0\n"))?;
        told(&first, "is claimed by")?;
        println!("found after {:?}", begun.elapsed());
        ensure!(begun.elapsed() < TOLD * 2, "after {:?}", begun.elapsed());
        first.wait_for_state("front", "active", LIMIT)
    });
}

#[test]
fn a_router_that_answers_for_everybody_is_no_conflict() {
    mainstay_lab::test(|| {
        let rig = Rig::new()?;
        let [first, second, _witness] = rig.up("300ms", "preempt = false")?;
        let router = rig.stranger("router", 66)?;
        // It routes to the address by its second wire, so it answers for it on the first.
        router.sysctl("net.ipv4.conf.eth0.proxy_arp", "1")?;
        router.sysctl("net.ipv4.ip_forward", "1")?;
        router.ip(&format!("route add {VIP}/32 dev eth1\n"))?;
        let asked = counter(&first, "vip_gate_arms_total")?;
        // Long enough for some questions: a lease of 300 ms is renewed sixteen times a second.
        first.wait_until("three seconds pass", LIMIT, |_| {
            counter(&first, "vip_gate_arms_total").is_ok_and(|now| now > asked + 45)
        })?;
        for node in [&first, &second] {
            ensure!(counter(node, "vip_conflict_episodes_total")? == 0, "{}", node.daemon().log());
        }
        Ok(())
    });
}

#[test]
fn hand_offs_and_deaths_are_no_conflicts() {
    mainstay_lab::test(|| {
        let rig = Rig::new()?;
        let [first, second, _witness] = rig.up("300ms", "preempt = false")?;
        for _ in 0..3 {
            first.say(&["vip", "move", "front"])?;
            second.wait_for_state("front", "active", LIMIT)?;
            first.wait_for_state("front", "backup", LIMIT)?;
            second.say(&["vip", "move", "front"])?;
            first.wait_for_state("front", "active", LIMIT)?;
            second.wait_for_state("front", "backup", LIMIT)?;
        }
        first.daemon().freeze()?;
        second.wait_for_state("front", "active", LIMIT)?;
        first.daemon().resume()?;
        first.wait_for_state("front", "backup", LIMIT)?;
        let ports = [rig.port(2, 0)?.isolate(Way::Both)?, rig.port(2, 1)?.isolate(Way::Both)?];
        first.wait_for_state("front", "active", LIMIT)?;
        for cut in ports {
            cut.heal()?;
        }
        second.wait_until("it knows who holds it", LIMIT, |status| status["vips"][0]["holder"] == "n1")?;
        for node in [&first, &second] {
            let (episodes, late) =
                (counter(node, "vip_conflict_episodes_total")?, counter(node, "vip_claims_late_total")?);
            println!("{late} late claims");
            ensure!(episodes == 0, "{}", node.daemon().log());
        }
        Ok(())
    });
}

#[test]
fn a_keepalived_with_our_address_is_told_of_by_its_adverts_and_gets_nothing() {
    mainstay_lab::test(|| {
        let rig = Rig::new()?;
        let more = "preempt = false\nvrid = 51";
        let [first, second, _witness] = rig.up("1.5s", more)?;
        let stranger = rig.stranger("stranger", 66)?;
        let (client, epoch) = (rig.ask()?, first.vip("front")?["epoch"].clone());
        let conf = format!(
            "vrrp_instance theirs {{\n  state MASTER\n  interface eth0\n  virtual_router_id 51\n  priority 254\n  \
             advert_int 1\n  virtual_ipaddress {{\n    {VIP}/24\n  }}\n}}\n"
        );
        let keepalived = Keepalived::start(&stranger, &conf)?;
        wait_until("it is master", LIMIT, || Ok(keepalived.state("theirs").as_deref() == Some("MASTER")))?;
        let begun = Instant::now();
        told(&first, "10.0.4.66 sends VRRP adverts")?;
        told(&second, "10.0.4.66 sends VRRP adverts")?;
        let by_adverts = begun.elapsed();
        println!("told {by_adverts:?} after it said that it was master");
        ensure!(by_adverts < TOLD, "{by_adverts:?}");
        told(&first, "which is held here, is claimed by")?;
        let vip = first.vip("front")?;
        ensure!(vip["state"] == "active" && vip["epoch"] == epoch, "it was dropped: {vip}");
        keepalived.daemon().stop()?;
        keepalived.daemon().wait_ended(LIMIT)?;
        client.wait_for_steady("n1", CALM, LIMIT)?;
        let line = client.stop();
        let outage = line.outage(&line.whole());
        println!("a client that a second master led astray waited {outage:?} at the longest");
        ensure!(outage < TOLD * 2, "it waited {outage:?}");
        Ok(())
    });
}

#[test]
fn ten_thousand_frames_of_as_many_stations_are_a_few_lines_and_no_memory() {
    mainstay_lab::test(|| {
        let rig = Rig::new()?;
        let [first, second, _witness] = rig.up("1.5s", "preempt = false")?;
        let stranger = rig.stranger("stranger", 66)?;
        let (watch, start) = (rig.watch()?, Instant::now());
        let epoch = first.vip("front")?["epoch"].clone();
        let worker = first.worker_pid("vip")?;
        let figures = || -> Result<(u64, u64)> {
            let of = |file: &str| fs::read_to_string(format!("/proc/{}/{file}", worker.as_raw_nonzero()));
            let (stat, pages) = (of("stat")?, of("statm")?);
            let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
            let ticks =
                fields.get(11..13).context("stat")?.iter().map(|n| n.parse::<u64>()).sum::<Result<_, _>>()?;
            Ok((ticks, pages.split(' ').nth(1).context("statm")?.parse()?))
        };
        let (ticks, pages) = figures()?;
        let announced = counter(&first, "vip_announcements_total")?;
        let begun = Instant::now();
        claim(&stranger, 10_000, 10_000)?;
        let sent = begun.elapsed();
        first.wait_until("all were heard", LIMIT, |_| {
            counter(&first, "vip_conflicts_total").is_ok_and(|count| count > 5_000)
        })?;
        let (ticks_after, pages_after) = figures()?;
        let answered = counter(&first, "vip_announcements_total")? - announced;
        let (heard, by_backup) =
            (counter(&first, "vip_conflicts_total")?, counter(&second, "vip_conflicts_total")?);
        println!(
            "10000 frames in {sent:?}: {heard} heard by the holder, {by_backup} by the backup; {} ms of processor, {} KiB more, \
             {answered} announcements",
            (ticks_after - ticks) * 10,
            pages_after.saturating_sub(pages) * 4
        );
        for node in [&first, &second] {
            let lines = node.daemon().log().lines().filter(|line| line.contains("claimed by")).count();
            ensure!((1..=4).contains(&lines), "{lines} lines: {}", node.daemon().log());
        }
        ensure!(pages_after.saturating_sub(pages) * 4 < 4096, "{pages} pages before, {pages_after} after");
        // Series of five: four at once, then ten in a second.
        let most = 5 * (4 + 2 + begun.elapsed().as_millis() / 100);
        ensure!(u128::from(answered) <= most, "{answered} announcements");
        ensure!(first.vip("front")?["epoch"] == epoch, "it was held anew");
        never_two(watch, start)
    });
}

/// The client's neighbour entry for the address.
fn neighbour(client: &Host) -> Result<String> {
    client.output("ip", &["neigh", "show", VIP])
}

#[test]
fn after_a_heal_the_loser_says_that_it_yields_and_clients_of_its_side_find_the_winner() {
    mainstay_lab::test(|| {
        let rig = Rig::new()?;
        let [first, second, _witness] = rig.up("300ms", "preempt = false")?;
        let client = rig.ask()?;
        let mac = |host: &Host| -> Result<String> {
            Ok(host.mac("eth0")?.map(|byte| format!("{byte:02x}")).join(":"))
        };
        let (loser, winner) = (mac(&rig.nodes[0])?, mac(&rig.nodes[1])?);
        // The client is on the side of the loser: it hears nothing of what happens on the other.
        let near = || -> Result<Vec<_>> { Ok(vec![rig.port(1, 0)?, rig.client.port("eth0")?]) };
        let cuts = vec![
            partition(&near()?, &[rig.port(2, 0)?, rig.witness.port("eth0")?])?,
            partition(&[rig.port(1, 1)?], &[rig.port(2, 1)?, rig.witness.port("eth1")?])?,
        ];
        second.wait_for_state("front", "active", LIMIT)?;
        ensure!(!neighbour(&rig.client)?.contains(&winner), "the client has not heard of it");
        let healed = Instant::now();
        for cut in cuts {
            cut.heal()?;
        }
        wait_until("the client finds the winner", LIMIT, || Ok(neighbour(&rig.client)?.contains(&winner)))?;
        println!("the client of {SERVICE} was shown the winner {:?} after the heal", healed.elapsed());
        client.wait_for_steady("n2", CALM, LIMIT)?;
        told(&second, "n1 is heard: vip front, which is held here, is announced again")?;
        told(&first, "vip front is held by n2 by now: this node, whose lease ended, yields")?;
        ensure!(!neighbour(&rig.client)?.contains(&loser));
        Ok(())
    });
}
