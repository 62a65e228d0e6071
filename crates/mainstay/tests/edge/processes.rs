//! Edge processes: what they may, what becomes of their work when they end.

use std::io::{Read as _, Write as _};

use anyhow::{Result, ensure};
use mainstay_lab::peer::{Keeper as _, Mainstay};
use rustix::process::{Resource, Rlimit, Signal, kill_process, prlimit};

use crate::bed::{Bed, EDGE, HEAD, LIMIT, WEB, dial, edges, get, kill_one, reload};

#[test]
fn an_edge_process_has_no_privilege_and_as_many_descriptors_as_the_host_allows() {
    mainstay_lab::test(|| {
        let bed = Bed::make()?;
        let node = bed.start(&(HEAD.to_owned() + WEB))?;
        for pid in edges(&node)? {
            let read = |file: &str| std::fs::read_to_string(format!("/proc/{}/{file}", pid.as_raw_nonzero()));
            let status = read("status")?;
            ensure!(status.contains("NoNewPrivs:\t1"), "{status}");
            if rustix::process::getuid().is_root() {
                ensure!(status.contains("CapEff:\t0000000000000000"), "{status}");
                ensure!(!status.contains("Uid:\t0\t"), "{status}");
            }
            let limits = read("limits")?;
            let files = limits.lines().find(|line| line.starts_with("Max open files")).unwrap_or_default();
            let words: Vec<&str> = files.split_whitespace().collect();
            ensure!(words[3] == words[4], "{files}");
        }
        Ok(())
    });
}

#[test]
fn while_one_process_is_away_its_sockets_are_served_by_the_other() {
    mainstay_lab::test(|| {
        let bed = Bed::make()?;
        let node = bed.start(&(HEAD.to_owned() + WEB))?;
        for _ in 0..5 {
            let all = edges(&node)?;
            kill_process(all[0], Signal::KILL)?;
            // A connection that came to a socket of the dead one would wait for its successor otherwise, or for ever.
            for _ in 0..20 {
                bed.who()?;
            }
            node.daemon().wait_until("both run", LIMIT, || Ok(edges(&node)?.len() == 2))?;
        }
        Ok(())
    });
}

#[test]
fn a_stop_lets_requests_under_way_end_and_refuses_new_connections() {
    mainstay_lab::test(|| {
        let bed = Bed::make()?;
        let node = bed.start(&(HEAD.to_owned() + WEB))?;
        let mut slow = dial(&bed.client, EDGE)?;
        let head =
            "POST / HTTP/1.1\r\nHost: edge.example\r\nContent-Length: 4\r\nConnection: close\r\n\r\nab";
        slow.write_all(head.as_bytes())?;
        node.wait_until("it is being served", LIMIT, |status| status["listeners"][0]["open"] == 1)?;
        node.daemon().stop()?;
        let refused = || Ok(dial(&bed.client, EDGE).is_err());
        mainstay_lab::wait_until("nothing new is taken", LIMIT, refused)?;
        slow.write_all(b"cd")?;
        let mut answer = String::new();
        slow.read_to_string(&mut answer)?;
        ensure!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        node.daemon().wait_ended(LIMIT)
    });
}

#[test]
fn a_process_that_a_reload_makes_superfluous_serves_what_it_has() {
    mainstay_lab::test(|| {
        let bed = Bed::make()?;
        let config = HEAD.to_owned() + WEB;
        let node = bed.start(&config)?;
        let head =
            "POST / HTTP/1.1\r\nHost: edge.example\r\nContent-Length: 4\r\nConnection: close\r\n\r\nab";
        // So many that some are with each process.
        let mut slow = (0..16).map(|_| dial(&bed.client, EDGE)).collect::<Result<Vec<_>>>()?;
        for stream in &mut slow {
            stream.write_all(head.as_bytes())?;
        }
        node.wait_until("all are being served", LIMIT, |status| status["listeners"][0]["open"] == 16)?;
        reload(&node, &config.replace("instances = 2", "instances = 1"))?;
        for stream in &mut slow {
            stream.write_all(b"cd")?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer)?;
            ensure!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        }
        ensure!(bed.ask(EDGE, "/")?.contains("GET / HTTP/1.1"), "{}", get("/"));
        Ok(())
    });
}

/// The status lines that clients who all ask at once get; empty for those who are turned away.
fn crowd(bed: &Bed, count: usize) -> Result<Vec<String>> {
    let mut clients = (0..count).map(|_| dial(&bed.client, EDGE)).collect::<Result<Vec<_>>>()?;
    for client in &mut clients {
        // Who is turned away may find the connection closed already.
        let _ = client.write_all(get("/").as_bytes());
    }
    let answer = |mut client: std::net::TcpStream| {
        let mut answer = Vec::new();
        let _ = client.read_to_end(&mut answer);
        String::from_utf8_lossy(&answer).lines().next().unwrap_or_default().to_owned()
    };
    Ok(clients.into_iter().map(answer).collect())
}

/// One edge process with one thread that may have 128 descriptors.
fn starved(bed: &Bed) -> Result<Mainstay> {
    let config = HEAD.replace("instances = 2\nthreads = 2", "instances = 1\nthreads = 1") + WEB;
    let node = bed.start(&config)?;
    let few = Rlimit { current: Some(128), maximum: Some(128) };
    prlimit(Some(node.daemon().pid()?), Resource::Nofile, few)?;
    kill_one(&node)?;
    bed.wait_served(&node, EDGE)?;
    Ok(node)
}

#[test]
fn without_descriptors_who_is_served_is_served_well_and_who_is_not_is_turned_away_and_counted() {
    mainstay_lab::test(|| {
        let bed = Bed::make()?;
        let node = starved(&bed)?;
        let mut older = dial(&bed.client, EDGE)?;
        let pid = edges(&node)?;
        let answers = crowd(&bed, 300)?;
        let good = answers.iter().filter(|line| line.starts_with("HTTP/1.1 200")).count();
        let away = answers.iter().filter(|line| line.is_empty()).count();
        ensure!(
            good > 40 && away > 100 && good + away == 300,
            "{good} good, {away} turned away: {answers:?}"
        );
        let counted = |status: &serde_json::Value| {
            status["listeners"][0]["refused"]["no-descriptors"].as_u64().is_some_and(|count| count > 100)
        };
        node.wait_until("it is counted", LIMIT, counted)?;
        ensure!(node.daemon().log().contains("too few descriptors"), "{}", node.daemon().log_tail());
        older.write_all(get("/").as_bytes())?;
        let mut answer = String::new();
        older.read_to_string(&mut answer)?;
        ensure!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        ensure!(bed.all_who(10)? == ["one", "two"], "no backend is blamed for it");
        ensure!(edges(&node)? == pid, "nobody died of it");
        Ok(())
    });
}

#[test]
fn idle_clients_make_room_for_new_ones_when_descriptors_are_few() {
    mainstay_lab::test(|| {
        let bed = Bed::make()?;
        let node = starved(&bed)?;
        let mut idle = (0..90).map(|_| dial(&bed.client, EDGE)).collect::<Result<Vec<_>>>()?;
        for client in &mut idle {
            let _ = client.write_all(b"GET / HTTP/1.1\r\nHost: edge.example\r\n\r\n");
            let _ = client.read(&mut [0; 4096]);
        }
        // Nobody is turned away once the first have been idle for a while, and then it is for good.
        let all_served = || Ok(crowd(&bed, 30)?.iter().all(|line| line.starts_with("HTTP/1.1 200")));
        node.daemon().wait_until("new clients find room", LIMIT, all_served)?;
        let closed = idle.iter().filter(|client| {
            let _ = client.set_nonblocking(true);
            matches!(client.peek(&mut [0]), Ok(0))
        });
        ensure!(closed.count() > 20, "idle ones are still there");
        Ok(())
    });
}
