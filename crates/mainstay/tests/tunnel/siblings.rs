//! An agent with one session only: every thread of every process of its hub serves through it.

use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use mainstay_core::tunnel::hello::Kind;
use mainstay_lab::peer::{Keeper as _, Mainstay};
use mainstay_link::tunnel::keys::SigningKey;
use rustix::process::{Pid, Signal, kill_process};

use crate::agent::{Agent, As};
use crate::bed::{Bed, HUB, LIMIT, STRANGER, TUNNEL, binary, reload, talk};
use crate::peers::{HUBS, among, config, start_as, whose};

const KEY: &str = "a key that all hubs have";

/// The agent of a site, with one session at one place of the hub at this address.
fn once(bed: &Bed, site: usize, hub: &str, who: As) -> Result<Agent> {
    let agent = Agent::start_once(&bed.sites[site].0, hub, &bed.key.secret(), who)?;
    agent.wait_met()?;
    Ok(agent)
}

fn edges(node: &Mainstay) -> Result<Vec<Pid>> {
    let status = node.status_json()?;
    let workers = status["workers"].as_array().into_iter().flatten().filter(|w| w["role"] == "edge");
    let pids = workers.filter_map(|w| w["pid"].as_i64()).filter_map(|pid| i32::try_from(pid).ok());
    Ok(pids.filter_map(Pid::from_raw).collect())
}

/// What `tunnel list` says of an agent.
fn row(node: &Mainstay, agent: &str) -> Result<String> {
    let listed = node.say(&["tunnel", "list"])?;
    Ok(listed.lines().find(|line| line.contains(agent)).unwrap_or_default().to_owned())
}

#[test]
fn one_session_serves_what_comes_to_any_thread_of_any_process() {
    mainstay_lab::test(|| {
        let bed = Bed::make()?;
        let node = bed.start(&bed.config("tcp = [\"10.0.4.20:8022\"]"))?;
        let agent = once(&bed, 0, HUB, bed.who(0)?)?;
        for nth in 0..64 {
            ensure!(bed.whose()? == "one", "request {nth}");
        }
        let answer =
            talk(&bed.client, "10.0.4.20:8022", "GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")?;
        ensure!(answer.contains("\r\n\r\none\n"), "{answer}");
        // What the agent writes into a PROXY header.
        let came = agent.came().context("a stream came")?;
        ensure!(came.visitor.is_some_and(|visitor| visitor.ip().to_string() == "10.0.4.9"), "{came:?}");
        ensure!(came.destination == Some("10.0.4.20:8022".parse()?) && came.hops.is_empty(), "{came:?}");
        ensure!(row(&node, "one")?.contains("1/4"), "{}", row(&node, "one")?);
        // A second one is somewhere else, or not: both serve all.
        let _other = once(&bed, 1, HUB, bed.who(1)?)?;
        node.daemon().wait_until("both serve", LIMIT, || Ok(bed.all(24)? == ["one", "two"]))?;
        drop(agent);
        for nth in 0..32 {
            ensure!(bed.whose()? == "two", "request {nth} after one has died");
        }
        Ok(())
    });
}

#[test]
fn an_agent_that_has_met_all_threads_is_one_backend_and_its_namesake_another() {
    mainstay_lab::test(|| {
        let bed = Bed::make()?;
        let other = SigningKey::parse(STRANGER)?;
        let keys = format!("\"{}\", \"{}\"", bed.key.public(), other.public());
        let node = bed.start(&bed.config("").replace(&format!("\"{}\"", bed.key.public()), &keys))?;
        let _all = bed.agent(0)?;
        let backends = || -> Result<Vec<String>> {
            let explained = node.say(&["explain", "route", "http://app.example.com/"])?;
            let words = explained.split_whitespace().filter_map(|word| word.strip_prefix("tunnel:office/"));
            let mut all: Vec<String> =
                words.map(|word| word.trim_end_matches(|c: char| !c.is_alphanumeric()).to_owned()).collect();
            all.sort_unstable();
            all.dedup();
            Ok(all)
        };
        node.daemon().wait_until("it is one backend", LIMIT, || Ok(backends()? == ["one"]))?;
        let who = As { target: bed.who(1)?.target, ..bed.who(0)? };
        let namesake = Agent::start_once(&bed.sites[1].0, HUB, &other.secret(), who)?;
        namesake.wait_met()?;
        node.daemon().wait_until("they are two", LIMIT, || Ok(backends()?.len() == 2))?;
        ensure!(bed.all(32)? == ["one", "two"], "both serve on every thread");
        Ok(())
    });
}

#[test]
fn datagrams_reach_an_agent_of_another_thread() {
    mainstay_lab::test(|| {
        let bed = Bed::make()?;
        let node = bed.start(&bed.config("udp = [\"10.0.4.20:5300\"]"))?;
        let _agent = once(&bed, 1, HUB, As { kind: Kind::Udp, ..bed.who(1)? })?;
        for _ in 0..16 {
            let socket = bed.client.run(|| UdpSocket::bind("10.0.4.9:0"))??;
            socket.connect("10.0.4.20:5300")?;
            socket.set_read_timeout(Some(Duration::from_millis(500)))?;
            let mut answer = [0; 100];
            node.daemon().wait_until("a datagram comes back", LIMIT, || {
                socket.send(b"question")?;
                Ok(socket.recv(&mut answer).is_ok_and(|count| &answer[..count] == b"two: question"))
            })?;
        }
        Ok(())
    });
}

#[test]
fn a_process_that_is_killed_takes_nothing_with_it_but_what_it_had_under_way() {
    mainstay_lab::test(|| {
        let bed = Bed::make()?;
        let node = bed.start(&bed.config(""))?;
        let _agent = once(&bed, 0, HUB, bed.who(0)?)?;
        ensure!(bed.whose()? == "one");
        for round in 0..4 {
            let all = edges(&node)?;
            // Once the one that has the agent, once the other: whichever it is.
            kill_process(all[round % all.len()], Signal::KILL)?;
            for nth in 0..24 {
                ensure!(bed.whose()? == "one", "request {nth} after kill {round}");
            }
            node.daemon().wait_until("both run", LIMIT, || Ok(edges(&node)?.len() == 2))?;
            for nth in 0..24 {
                ensure!(bed.whose()? == "one", "request {nth} after the successor of {round} runs");
            }
        }
        Ok(())
    });
}

#[test]
fn a_reload_with_other_threads_and_one_without_the_tunnel_leave_nothing_behind() {
    mainstay_lab::test(|| {
        let bed = Bed::make()?;
        let config = bed.config("");
        let node = bed.start(&config)?;
        let _agent = once(&bed, 0, HUB, bed.who(0)?)?;
        ensure!(sockets(&bed)? == 4, "a socket for each thread");
        for threads in [3, 1, 2] {
            reload(&node, &config.replace("threads = 2", &format!("threads = {threads}")))?;
            for nth in 0..24 {
                ensure!(bed.whose()? == "one", "request {nth} with {threads} threads");
            }
        }
        let without = config.split("[[tunnel]]").next().unwrap_or_default();
        reload(&node, without)?;
        node.daemon().wait_until("no socket is left", LIMIT, || Ok(sockets(&bed)? == 0))?;
        reload(&node, &config)?;
        node.daemon().wait_until("it is back", LIMIT, || Ok(bed.whose().is_ok_and(|name| name == "one")))?;
        for nth in 0..24 {
            ensure!(bed.whose()? == "one", "request {nth} after all");
        }
        node.daemon().stop()?;
        node.daemon().wait_ended(LIMIT)?;
        ensure!(sockets(&bed)? == 0, "nothing outlives the node");
        Ok(())
    });
}

/// Abstract sockets of edge processes that listen.
fn sockets(bed: &Bed) -> Result<usize> {
    let all = bed.edge.run(|| std::fs::read_to_string("/proc/thread-self/net/unix"))??;
    // 00010000: it listens.
    let listens = |line: &&str| line.contains("@mainstay-edge-") && line.contains(" 00010000 ");
    Ok(all.lines().filter(listens).count())
}

#[test]
fn an_upgrade_under_load_fails_no_request() {
    mainstay_lab::test(|| {
        let bed = Bed::make()?;
        let program = bed.edge.directory().join("mainstay");
        copied(&bed, &binary(), &program)?;
        let node = Mainstay::start(&bed.edge, &program, &bed.config(""))?;
        let at: SocketAddr = HUB.parse()?;
        let there = || Ok(bed.client.run(|| TcpStream::connect_timeout(&at, LIMIT))?.is_ok());
        node.daemon().wait_until("the hub is there", LIMIT, there)?;
        let _agent = once(&bed, 0, HUB, bed.who(0)?)?;
        // A thread that has known of nobody for so long waits for nobody: the others tell it first.
        node.daemon().wait_until("it serves", LIMIT, || Ok(bed.all(12).is_ok()))?;
        let over = AtomicBool::new(false);
        let (served, failed) = std::thread::scope(|scope| {
            let visits = || {
                let (mut served, mut failed) = (0, Vec::new());
                while !over.load(Ordering::Relaxed) {
                    let began = Instant::now();
                    match bed.whose() {
                        Ok(_) => served += 1,
                        Err(why) => failed.push(format!("{why:#} after {:?}", began.elapsed())),
                    }
                }
                (served, failed)
            };
            let visitors = [scope.spawn(visits), scope.spawn(visits)];
            let upgraded = (0..2).try_for_each(|_| {
                let fresh = program.with_extension("new");
                copied(&bed, &program, &fresh)?;
                std::fs::rename(&fresh, &program)?;
                let said = node.say(&["upgrade"])?;
                ensure!(said.contains("has taken over"), "{said}");
                node.daemon().wait_until("it serves", LIMIT, || Ok(bed.all(12)? == ["one"]))
            });
            over.store(true, Ordering::Relaxed);
            upgraded?;
            let mut all = (0, Vec::new());
            for visitor in visitors {
                let (served, failed): (u32, Vec<String>) =
                    visitor.join().map_err(|_| anyhow::anyhow!("a visitor panicked"))?;
                all.0 += served;
                all.1.extend(failed);
            }
            Ok::<_, anyhow::Error>(all)
        })?;
        ensure!(failed.is_empty(), "{} of {}: {failed:?}", failed.len(), served + 1);
        println!("{served} requests");
        Ok(())
    });
}

/// Copies by a process of its own: a file that another thread's child still has open for writing cannot be executed.
fn copied(bed: &Bed, from: &Path, to: &Path) -> Result<()> {
    let text = |path: &Path| path.display().to_string();
    bed.edge.output("cp", &[&text(from), &text(to)]).map(drop)
}

#[test]
fn another_hub_reaches_the_agents_of_all_threads_and_nothing_goes_further() {
    mainstay_lab::test(|| {
        let bed = Bed::make()?;
        let near = start_as(&bed, 0, &config(&bed, 0, &among(0, KEY)))?;
        let far = start_as(&bed, 1, &config(&bed, 1, &among(1, KEY)))?;
        let agent = once(&bed, 0, &format!("{}:7000", HUBS[1].1), bed.who(0)?)?;
        for nth in 0..48 {
            ensure!(whose(&bed, 0)? == "one", "request {nth} by the other hub");
            ensure!(whose(&bed, 1)? == "one", "request {nth} by its own");
        }
        let request = "GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
        for _ in 0..8 {
            talk(&bed.client, "10.0.4.21:8022", request)?;
            let came = agent.came().context("a stream came")?;
            ensure!(came.hops.is_empty(), "it came straight: {came:?}");
            talk(&bed.client, "10.0.4.20:8022", request)?;
            let came = agent.came().context("a stream came")?;
            ensure!(came.hops == ["edge", "other"], "{came:?}");
        }
        let came = agent.came().context("a stream came")?;
        ensure!(came.visitor.is_some_and(|visitor| visitor.ip().to_string() == "10.0.4.9"), "{came:?}");
        let explained = near.say(&["explain", "route", "http://app.example.com/"])?;
        ensure!(explained.contains(&format!("{TUNNEL}/one@other")), "{explained}");
        ensure!(row(&far, "one")?.contains("1/4"), "{}", row(&far, "one")?);
        Ok(())
    });
}
