//! Attacks and bad days: recorded datagrams, forged sources, terms that differ, stopped and killed processes, a taken port,
//! many vips, an upgrade, a network without IPv4. Never two holders, and outages within what the pages say.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use mainstay_core::name::NodeId;
use mainstay_core::time::Boot;
use mainstay_lab::capture::Capture;
use mainstay_lab::peer::{Keeper as _, Mainstay};
use mainstay_lab::{Host, process, wait_until};
use mainstay_link::{Config, Keys, Local, PeerSpec, Sessions, SystemEntropy, keys};
use rustix::process::{Pid, Signal, kill_process};

use crate::attacks::{dropped, undisturbed};
use crate::rig::{CALM, LIMIT, Rig, VIP, binary, kill, never_two};

/// What a busy machine may add to a bound; benches say what it takes.
const BUSY: Duration = Duration::from_millis(300);

/// Lets some time go by.
fn pass(time: Duration) -> Result<()> {
    let begun = Instant::now();
    wait_until("time goes by", time + LIMIT, || Ok(begun.elapsed() >= time))
}

/// Chance that is the same in each run.
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }
}

/// What was sent to the port of peers, by an Ethernet capture: payloads with their destinations.
fn datagrams(file: &Path) -> Result<Vec<(Ipv4Addr, Vec<u8>)>> {
    let bytes = fs::read(file)?;
    let mut rest = bytes.get(24..).context("a capture has a head")?;
    let mut found = Vec::new();
    while let Some((head, after)) = rest.split_first_chunk::<16>() {
        let length = u32::from_ne_bytes(head[8..12].try_into()?);
        let (frame, after) = after.split_at_checked(usize::try_from(length)?).context("a whole frame")?;
        rest = after;
        // Ethernet, IPv4 without options, UDP to 5112.
        let udp = frame.len() > 42 && frame[12..15] == [8, 0, 0x45] && frame[23] == 17;
        if udp && frame[36..38] == 5112_u16.to_be_bytes() {
            let to = Ipv4Addr::from(<[u8; 4]>::try_from(&frame[30..34])?);
            let length = usize::from(u16::from_be_bytes([frame[38], frame[39]]));
            found.extend(frame.get(42..34 + length).map(|payload| (to, payload.to_vec())));
        }
    }
    Ok(found)
}

/// Sends each datagram to where it was meant for, some thousands a second.
fn send_all(from: &Host, all: &[(Ipv4Addr, Vec<u8>)]) -> Result<()> {
    from.run(|| -> Result<()> {
        let socket = UdpSocket::bind("0.0.0.0:0")?;
        let begun = Instant::now();
        for (n, (to, bytes)) in (0_u32..).zip(all) {
            let _ = socket.send_to(bytes, (*to, 5112));
            while begun.elapsed() < Duration::from_micros(200) * n {
                std::thread::yield_now();
            }
        }
        Ok(())
    })?
}

#[test]
fn recorded_datagrams_that_come_again_from_elsewhere_cut_short_or_with_a_bit_flipped_change_nothing() {
    mainstay_lab::test(|| {
        let rig = Rig::new()?;
        // Handshakes are among what is recorded.
        let capture = Capture::start(&rig.witness, "eth0")?;
        let second_wire = Capture::start(&rig.witness, "eth1")?;
        let [first, _second, _witness] = rig.up("1.5s", "preempt = false")?;
        pass(Duration::from_secs(2))?;
        let mut tape = datagrams(&capture.stop()?)?;
        tape.extend(datagrams(&second_wire.stop()?)?);
        let kinds: std::collections::BTreeSet<u8> = tape.iter().map(|(_, bytes)| bytes[0]).collect();
        ensure!(tape.len() > 50 && kinds.len() >= 4, "{} datagrams of kinds {kinds:x?}", tape.len());
        let mut dice = Dice(5);
        let mut all = tape.clone();
        for _ in 0..4 {
            for (to, bytes) in &tape {
                let mut bytes = bytes.clone();
                let at = usize::try_from(dice.below(bytes.len() as u64))?;
                if dice.below(4) == 0 {
                    bytes.truncate(at);
                } else {
                    bytes[at] ^= 1 << dice.below(8);
                }
                all.push((*to, bytes));
            }
        }
        // Everybody gets everybody's.
        let nodes = [Ipv4Addr::new(10, 0, 4, 1), Ipv4Addr::new(10, 0, 4, 2), Ipv4Addr::new(10, 0, 4, 9)];
        let all: Vec<(Ipv4Addr, Vec<u8>)> =
            nodes.iter().flat_map(|to| all.iter().map(|(_, bytes)| (*to, bytes.clone()))).collect();
        let stranger = rig.stranger("stranger", 66)?;
        undisturbed(&rig, &first, || send_all(&stranger, &all))?;
        let status = first.status_json()?;
        for cause in ["undecryptable", "unknown-session"] {
            ensure!(dropped(&status, cause) > 20, "{cause} was not counted: {}", status["counters"]);
        }
        ensure!(status["degraded"].as_array().is_some_and(Vec::is_empty), "{}", status["degraded"]);
        println!("{} datagrams", all.len());
        Ok(())
    });
}

/// Hellos that open, as who knows a node's public key can make them: of a node of the list, with a key that nobody knows.
fn hellos(key: [u8; 32], count: usize) -> Vec<Vec<u8>> {
    let to = SocketAddr::from(([10, 0, 4, 1], 5112));
    let mut made = Vec::new();
    while made.len() < count {
        let keys = Keys::generate(&mut SystemEntropy);
        let config = Config {
            cluster: "lab".to_owned(),
            me: Local { node: NodeId(1), id: "n2".to_owned(), secret: keys.secret },
            peers: vec![PeerSpec { node: NodeId(0), id: "n1".to_owned(), key: Some(key), addrs: vec![to] }],
            cluster_key: None,
            token: None,
            forgotten: Vec::new(),
            beat: Duration::from_secs(1),
        };
        let mut now = Boot::from_nanos(1);
        let mut sessions = Sessions::new(config, now);
        for _ in 0..10 {
            sessions.tick(now);
            made.extend(std::iter::from_fn(|| sessions.poll_transmit()).map(|datagram| datagram.bytes));
            now += Duration::from_secs(2);
        }
    }
    made
}

#[test]
fn handshakes_from_very_many_addresses_cost_a_bounded_time_and_no_memory() {
    mainstay_lab::test(|| {
        let rig = Rig::new()?;
        let [first, _second, _witness] = rig.up("1.5s", "preempt = false")?;
        let key = keys::read(&first.say(&["node", "key"])?).context("a public key")?;
        let hellos = hellos(key, 300);
        let stranger = rig.stranger("stranger", 66)?;
        // Any address of a network of its own is its own.
        stranger.ip("route add local 10.66.0.0/16 dev lo\n")?;
        rig.nodes[0].ip("route add 10.66.0.0/16 via 10.0.4.66\n")?;
        let vip = first.worker_pid("vip")?;
        let (memory, cpu, begun) = (process::memory(vip)?, process::cpu_time_exact(vip)?, Instant::now());
        undisturbed(&rig, &first, || {
            stranger.run(|| -> Result<()> {
                let begun = Instant::now();
                for n in 0..20_000_u32 {
                    if n % 10 == 0 && begun.elapsed() < Duration::from_micros(200) * n {
                        std::thread::yield_now();
                    }
                    let [_, _, c, d] = n.to_be_bytes();
                    let socket = UdpSocket::bind((Ipv4Addr::new(10, 66, c, d), 0))?;
                    let _ = socket.send_to(&hellos[n as usize % hellos.len()], "10.0.4.1:5112");
                }
                Ok(())
            })?
        })?;
        let (grown, used) =
            (process::memory(vip)?.saturating_sub(memory), process::cpu_time_exact(vip)? - cpu);
        let status = first.status_json()?;
        println!("{grown} bytes, {used:?} of {:?}, limited {}", begun.elapsed(), dropped(&status, "limited"));
        ensure!(dropped(&status, "limited") > 10_000, "{}", status["counters"]);
        ensure!(grown < 4 << 20, "it grew by {grown} bytes");
        ensure!(used < begun.elapsed() / 2, "{used:?} of {:?}", begun.elapsed());
        Ok(())
    });
}

#[test]
fn nodes_with_different_terms_work_together_and_one_with_another_longest_term_counts_for_nobody() {
    mainstay_lab::test(|| {
        let rig = Rig::new()?;
        let with = |host: &Host, term: &str, longest: &str, priority: u8| {
            let config = Rig::config_of(host, term, &["n1", "n2", "w"], priority);
            config.replace(
                &format!("term = \"{term}\"\n"),
                &format!("term = \"{term}\"\nterm_max = \"{longest}\"\n"),
            )
        };
        let voter = with(&rig.witness, "1s", "1.5s", 0);
        let voter = voter.split("[[vip]]").next().unwrap_or_default().to_owned();
        let _witness = Mainstay::start(&rig.witness, &binary(), &voter)?;
        let first = Mainstay::start(&rig.nodes[0], &binary(), &with(&rig.nodes[0], "300ms", "1.5s", 150))?;
        first.wait_for_state("front", "active", LIMIT)?;
        let config = with(&rig.nodes[1], "1.5s", "1.5s", 100);
        let second = Mainstay::start(&rig.nodes[1], &binary(), &config)?;
        second.wait_until("three answer", LIMIT, |status| status["cluster"]["answering"] == 3)?;
        let (client, watch, begun) = (rig.ask()?, rig.watch()?, Instant::now());
        for (node, other, term) in [(&first, "n2", 300), (&second, "n1", 1500)] {
            pass(Duration::from_millis(500))?;
            node.daemon().kill_all()?;
            let struck = Instant::now();
            client.wait_for_steady(other, CALM, LIMIT)?;
            let outage = {
                let line = client.record();
                line.outage(&(struck..Instant::now()))
            };
            println!("{outage:?} of {term} ms");
            ensure!(outage < Duration::from_millis(term) + BUSY, "the client waited {outage:?}");
            node.daemon().start()?;
            node.wait_until("three answer", LIMIT, |status| status["cluster"]["answering"] == 3)?;
        }
        // The longest term belongs to the list: its node is another cluster's, and the others go on.
        let epoch = first.vip("front")?["epoch"].clone();
        fs::write(second.config_path(), with(&rig.nodes[1], "1.5s", "3s", 100))?;
        second.say(&["reload"])?;
        second.wait_until("it counts for nobody", LIMIT, |status| status["cluster"]["quorum"] == false)?;
        client.wait_for_steady("n1", Duration::from_secs(2), LIMIT)?;
        ensure!(first.vip("front")?["epoch"] == epoch && second.vip("front")?["state"] == "backup");
        never_two(watch, begun)
    });
}

#[test]
fn all_voters_that_are_killed_at_once_come_back_to_one_holder_under_a_higher_epoch() {
    mainstay_lab::test(|| {
        let rig = Rig::new()?;
        let all = rig.up("300ms", "preempt = false")?;
        let (watch, begun) = (rig.watch()?, Instant::now());
        for _ in 0..3 {
            let client = rig.ask_whoever()?;
            let before = epochs(&all)?;
            for node in &all {
                node.daemon().freeze()?;
            }
            for node in &all {
                node.daemon().kill_all()?;
            }
            let struck = Instant::now();
            for node in &all {
                node.daemon().start()?;
            }
            wait_until("one holds it", LIMIT, || Ok(epochs(&all)? > before))?;
            let holder = if all[0].vip("front")?["state"] == "active" { "n1" } else { "n2" };
            client.wait_for_steady(holder, CALM, LIMIT)?;
            let line = client.stop();
            println!("{:?}", line.outage(&(struck..Instant::now())));
        }
        never_two(watch, begun)
    });
}

/// The epoch under which one of the two holds the vip; none while nobody does.
fn epochs(all: &[Mainstay; 3]) -> Result<Option<u64>> {
    let mut held = None;
    for node in &all[..2] {
        let Ok(vip) = node.vip("front") else { continue };
        if vip["state"] == "active" {
            ensure!(held.is_none(), "two say that they hold it");
            held = vip["epoch"].as_u64();
        }
    }
    Ok(held)
}

#[test]
fn vip_workers_that_are_stopped_at_random_for_twenty_seconds_never_make_two() {
    mainstay_lab::test(|| {
        let rig = Rig::new()?;
        let all = rig.up("300ms", "")?;
        let (watch, begun) = (rig.watch()?, Instant::now());
        let mut dice = Dice(20_261_121);
        let mut stopped: Vec<(Pid, Instant)> = Vec::new();
        let mut stops = 0;
        while begun.elapsed() < Duration::from_secs(20) {
            let due = |(_, until): &mut (Pid, Instant)| *until <= Instant::now();
            for (pid, _) in stopped.extract_if(.., due) {
                let _ = kill_process(pid, Signal::CONT);
            }
            let node = &all[usize::try_from(dice.below(3))?];
            // One whose worker was killed as stuck has another soon.
            if let Ok(pid) = node.worker_pid("vip")
                && !stopped.iter().any(|(one, _)| *one == pid)
            {
                kill_process(pid, Signal::STOP)?;
                stops += 1;
                stopped.push((pid, Instant::now() + Duration::from_millis(20 + dice.below(700))));
            }
            pass(Duration::from_millis(dice.below(150)))?;
        }
        for (pid, _) in stopped {
            let _ = kill_process(pid, Signal::CONT);
        }
        println!("{stops} stops");
        ensure!(stops > 20, "{stops} stops are no test");
        wait_until("one holds it in the end", LIMIT, || Ok(epochs(&all)?.is_some()))?;
        never_two(watch, begun)
    });
}

#[test]
fn two_hundred_vips_with_the_shortest_term_of_use_stay_where_they_are() {
    mainstay_lab::test(|| {
        let rig = Rig::new()?;
        let many = |priority: u8| {
            let vips = (0..200_u32).map(|n| {
                let name = format!("a-name-of-the-length-that-people-give-{n}");
                crate::rig::vip(priority, "preempt = false")
                    .replace("\"front\"", &format!("\"{name}\""))
                    .replace(VIP, &format!("10.0.{}.{}", 5 + n / 100, 1 + n % 100))
            });
            vips.collect::<String>()
        };
        let config = |host: &Host, priority| {
            crate::rig::cluster_of(host, "300ms", &["n1", "n2", "w"]) + &many(priority)
        };
        let witness = rig.start_witness("300ms")?;
        let first = Mainstay::start(&rig.nodes[0], &binary(), &config(&rig.nodes[0], 150))?;
        let states = |status: &serde_json::Value, state: &str| {
            status["vips"]
                .as_array()
                .map_or(0, |vips| vips.iter().filter(|vip| vip["state"] == state).count())
        };
        first.wait_until("all are active", LIMIT, |status| states(status, "active") == 200)?;
        let second = Mainstay::start(&rig.nodes[1], &binary(), &config(&rig.nodes[1], 100))?;
        second.wait_until("all are backup", LIMIT, |status| states(status, "backup") == 200)?;
        first.wait_until("three answer", LIMIT, |status| status["cluster"]["answering"] == 3)?;
        let total = |node: &Mainstay, what: &str| -> Result<u64> {
            let status = node.status_json()?;
            let vips = status["vips"].as_array().into_iter().flatten();
            Ok(vips.filter_map(|vip| vip["lease"][what].as_u64()).sum())
        };
        let lost = total(&first, "unrenewed")?;
        let vip = first.worker_pid("vip")?;
        let (cpu, begun) = (process::cpu_time_exact(vip)?, Instant::now());
        pass(Duration::from_secs(10))?;
        let used = process::cpu_time_exact(vip)? - cpu;
        let fell = total(&first, "unrenewed")? - lost;
        println!("{fell} of 200 fell in {:?}; the vip worker used {used:?}", begun.elapsed());
        // No datagram of ours is cut up by the network.
        for host in [&rig.nodes[0], &rig.nodes[1], &rig.witness] {
            let snmp = host.run(|| fs::read_to_string("/proc/thread-self/net/snmp"))??;
            let rows: Vec<Vec<&str>> = snmp
                .lines()
                .filter(|line| line.starts_with("Ip:"))
                .map(|line| line.split_whitespace().collect())
                .collect();
            let at = rows[0].iter().position(|name| *name == "FragCreates").context("a column")?;
            ensure!(rows[1][at] == "0", "{}: {} fragments", host.name(), rows[1][at]);
        }
        ensure!(fell == 0, "{fell} rights ended for want of renewal");
        ensure!(states(&first.status_json()?, "active") == 200);
        // And all of them move when it dies.
        first.daemon().kill_all()?;
        let struck = Instant::now();
        second.wait_until("all have moved", LIMIT, |status| states(status, "active") == 200)?;
        println!("moved within {:?}", struck.elapsed());
        drop(witness);
        Ok(())
    });
}

#[test]
fn an_upgrade_of_the_holder_disturbs_nobody_and_its_heir_is_its_heir() {
    mainstay_lab::test(|| {
        let rig = Rig::new()?;
        let program = rig.nodes[0].directory().join("mainstay");
        fs::copy(binary(), &program)?;
        let (witness, config) =
            (rig.start_witness("1.5s")?, Rig::config_of(&rig.nodes[0], "1.5s", &["n1", "n2", "w"], 150));
        let first = Mainstay::start(&rig.nodes[0], &program, &config)?;
        first.wait_for_state("front", "active", LIMIT)?;
        let second = rig.start(2, "1.5s", 100, "preempt = false")?;
        first.wait_until("three answer", LIMIT, |status| status["cluster"]["answering"] == 3)?;
        let vip = first.worker_pid("vip")?;
        let state = rig.nodes[0].directory().join("state");
        let instance = || fs::read_to_string(state.join("instance.json"));
        let born = instance()?;
        undisturbed(&rig, &first, || {
            for _ in 0..2 {
                let fresh = program.with_extension("new");
                fs::copy(binary(), &fresh)?;
                fs::rename(&fresh, &program)?;
                let said = first.say(&["upgrade"])?;
                ensure!(said.contains("has taken over"), "{said}");
                let config = fs::read_to_string(first.config_path())?;
                fs::write(first.config_path(), config.replace("priority = 15", "priority = 16"))?;
                first.say(&["reload"])?;
            }
            ensure!(first.worker_pid("vip")? == vip, "the vip worker stays");
            Ok(())
        })?;
        ensure!(instance()? == born, "who the process is, is not drawn anew while it runs");
        // The directory is still its own.
        let config = first.config_path().display().to_string();
        let mut another = rig.nodes[0].command(&program);
        another.args(["run", "--config", &config, "--runtime-dir", "other", "--state-dir"]).arg(&state);
        let output = another.output()?;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        ensure!(output.status.code() == Some(1) && said.contains("another node runs with"), "{said}");
        // The process that follows is the heir of the one that went on: no term passes before its id is its own.
        kill(vip)?;
        let begun = Instant::now();
        first.wait_until("another worker counts", LIMIT, |status| status["cluster"]["answering"] == 3)?;
        println!("it counts again after {:?}", begun.elapsed());
        ensure!(instance()? != born, "another process is another instance");
        wait_until("one of them holds it", LIMIT, || {
            Ok([&first, &second]
                .iter()
                .any(|node| node.vip("front").is_ok_and(|vip| vip["state"] == "active")))
        })?;
        drop(witness);
        Ok(())
    });
}

#[test]
fn a_node_whose_port_is_taken_says_so_and_joins_when_it_is_free() {
    mainstay_lab::test(|| {
        let rig = Rig::new()?;
        let _witness = rig.start_witness("300ms")?;
        let second = rig.start(2, "300ms", 100, "preempt = false")?;
        second.wait_for_state("front", "active", LIMIT)?;
        let (watch, begun) = (rig.watch()?, Instant::now());
        let taken = rig.nodes[0].run(|| UdpSocket::bind("0.0.0.0:5112"))??;
        let first = rig.start(1, "300ms", 150, "")?;
        first.wait_until("it says so", LIMIT, |status| {
            let why = status["degraded"].to_string();
            why.contains("5112") && why.contains("not among its peers")
        })?;
        ensure!(first.ctl(&["status"])?.status.code() == Some(4), "degraded is exit 4");
        ensure!(first.vip("front")?["state"] != "active" && second.vip("front")?["state"] == "active");
        drop(taken);
        first.wait_until("three answer", LIMIT, |status| {
            status["cluster"]["answering"] == 3 && status["degraded"].as_array().is_some_and(Vec::is_empty)
        })?;
        first.wait_for_state("front", "active", LIMIT)?;
        never_two(watch, begun)
    });
}
