//! Sockets: who holds an address, what comes and goes at run time, addresses that are not there yet.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::os::unix::net::UnixStream;

use anyhow::{Context as _, Result, ensure};
use mainstay_lab::peer::{Keeper as _, Mainstay};

use crate::bed::{Bed, EDGE, HEAD, LIMIT, WEB, binary, dial, get, reload};

fn more(bind: &str) -> String {
    format!("[[listener]]\nname = \"more\"\nbind = {bind}\n\n")
}

#[test]
fn an_address_in_use_is_refused_with_the_name_of_its_holder_and_the_old_configuration_stays() {
    mainstay_lab::test(|| {
        let bed = Bed::make()?;
        let config = HEAD.to_owned() + WEB;
        let node = bed.start(&config)?;
        let taken = bed.edge.run(|| TcpListener::bind("10.0.4.20:8090"))??;
        let me = std::process::id();
        std::fs::write(
            node.config_path(),
            config.clone() + &more("[\"10.0.4.20:8089\", \"10.0.4.20:8090\"]"),
        )?;
        let refused = node.ctl(&["reload"])?;
        let said = String::from_utf8_lossy(&refused.stderr).into_owned();
        ensure!(refused.status.code() == Some(1), "{said}");
        ensure!(said.contains("10.0.4.20:8090") && said.contains(&format!("(pid {me})")), "{said}");
        ensure!(dial(&bed.client, "10.0.4.20:8089").is_err(), "all or none");
        bed.who()?;
        drop(taken);
        node.say(&["reload"])?;
        bed.wait_served(&node, "10.0.4.20:8090")
    });
}

#[test]
fn two_nodes_do_not_share_a_port_by_accident() {
    mainstay_lab::test(|| {
        let bed = Bed::make()?;
        let config = HEAD.to_owned() + WEB;
        let node = bed.start(&config)?;
        let folder = bed.edge.directory().join("second");
        std::fs::create_dir_all(&folder)?;
        let path = folder.join("mainstay.toml");
        std::fs::write(&path, &config)?;
        let mut second = bed.edge.command(binary());
        second.args(["run", "--config"]).arg(&path).arg("--runtime-dir").arg(folder.join("run"));
        let ended = second.arg("--state-dir").arg(folder.join("state")).output()?;
        let said = String::from_utf8_lossy(&ended.stderr).into_owned();
        let pid = node.daemon().pid()?.as_raw_nonzero();
        ensure!(ended.status.code() == Some(1) && said.contains(&format!("(pid {pid})")), "{said}");
        Ok(())
    });
}

#[test]
fn a_listener_that_goes_is_refused_afterwards_and_what_was_counted_of_the_others_stays() {
    mainstay_lab::test(|| {
        let bed = Bed::make()?;
        let config = HEAD.to_owned() + WEB;
        let node = bed.start(&(HEAD.to_owned() + &more("\"10.0.4.20:8090\"") + WEB))?;
        for _ in 0..10 {
            bed.who()?;
        }
        let counted = |status: &serde_json::Value| {
            let web = status["listeners"].as_array().into_iter().flatten().find(|l| l["name"] == "web");
            web.and_then(|l| l["accepted"].as_u64()).unwrap_or(0)
        };
        let before = counted(&node.status_json()?);
        ensure!(before >= 10, "{before}");
        reload(&node, &config)?;
        let gone = || Ok(dial(&bed.client, "10.0.4.20:8090").is_err());
        node.daemon().wait_until("nobody listens there", LIMIT, gone)?;
        ensure!(counted(&node.status_json()?) >= before, "positions have changed, names have not");
        bed.who().map(drop)
    });
}

#[test]
fn a_connection_kept_over_a_reload_goes_on_under_the_new_configuration() {
    mainstay_lab::test(|| {
        let bed = Bed::make()?;
        let config = HEAD.to_owned() + WEB;
        let node = bed.start(&config)?;
        let mut kept = dial(&bed.client, EDGE)?;
        let mut ask = || -> Result<String> {
            kept.write_all(b"GET / HTTP/1.1\r\nHost: edge.example\r\n\r\n")?;
            let mut buffer = vec![0; 16_384];
            let got = kept.read(&mut buffer)?;
            Ok(String::from_utf8_lossy(&buffer[..got]).into_owned())
        };
        ensure!(ask()?.starts_with("HTTP/1.1 200"));
        let answer = "[[route]]\nname = \"all\"\nanswer = { status = 418, body = \"short\" }\n";
        let listener = WEB.split_once("[[route]]").context("a listener first")?.0;
        reload(&node, &(HEAD.to_owned() + listener + answer))?;
        let answer = ask()?;
        ensure!(answer.starts_with("HTTP/1.1 418"), "{answer}");
        Ok(())
    });
}

#[test]
fn threads_and_processes_may_be_more_or_fewer_at_run_time() {
    mainstay_lab::test(|| {
        let bed = Bed::make()?;
        let config = |instances: u8, threads: u8| {
            let head = HEAD.replace("instances = 2", &format!("instances = {instances}"));
            head.replace("threads = 2", &format!("threads = {threads}")) + WEB
        };
        let node = bed.start(&config(2, 2))?;
        for (instances, threads) in [(1, 2), (3, 1), (1, 1), (2, 3)] {
            reload(&node, &config(instances, threads))?;
            node.wait_until("so many processes run", LIMIT, |status| {
                let workers = status["workers"].as_array().into_iter().flatten();
                let edges = workers.filter(|w| w["role"] == "edge" && w["pid"].is_number());
                edges.count() == usize::from(instances)
            })?;
            for _ in 0..40 {
                bed.who()?;
            }
        }
        Ok(())
    });
}

#[test]
fn a_listener_waits_for_an_address_that_comes_later() {
    mainstay_lab::test(|| {
        let bed = Bed::make()?;
        let node = bed.start(&(HEAD.to_owned() + &more("\"10.0.4.99:8080\"") + WEB))?;
        bed.edge.ip("address add 10.0.4.99/32 dev eth0\n")?;
        bed.wait_served(&node, "10.0.4.99:8080")
    });
}

#[test]
fn a_unix_socket_is_served_by_all_and_replaced_only_when_it_is_stale() {
    mainstay_lab::test(|| {
        let bed = Bed::make()?;
        let path = bed.edge.directory().join("edge.sock");
        drop(std::os::unix::net::UnixListener::bind(&path)?);
        let node = bed.start(&(HEAD.to_owned() + &more(&format!("\"unix:{}\"", path.display())) + WEB))?;
        let ask = || -> Result<String> {
            let mut stream = UnixStream::connect(&path)?;
            stream.write_all(get("/").as_bytes())?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer)?;
            Ok(answer)
        };
        for _ in 0..10 {
            ensure!(ask()?.starts_with("HTTP/1.1 200"));
        }
        node.daemon().stop()?;
        node.daemon().wait_ended(LIMIT)?;
        ensure!(!path.exists(), "a socket that nobody serves is no use to anybody");
        drop(Mainstay::start(&bed.edge, &binary(), &(HEAD.to_owned() + WEB))?);
        Ok(())
    });
}

/// How many requests with a 2xx answer were counted under a name.
fn good(status: &serde_json::Value, list: &str, name: &str) -> Option<u64> {
    let mut all = status[list].as_array()?.iter();
    all.find(|one| one["name"] == name)?["requests"]["classes"][2].as_u64()
}

#[test]
fn a_request_that_a_reload_meets_is_counted_under_the_names_that_it_began_with() {
    mainstay_lab::test(|| {
        let bed = Bed::make()?;
        let node = bed.start(&(HEAD.to_owned() + WEB))?;
        let count = |list, name| Ok::<_, anyhow::Error>(good(&node.status_json()?, list, name).unwrap_or(0));
        let (before, of_route) = (count("listeners", "web")?, count("routes", "all")?);
        let mut asked = dial(&bed.client, EDGE)?;
        let head = "POST /x HTTP/1.1\r\nHost: e.example\r\nContent-Length: 2\r\nConnection: close\r\n\r\na";
        asked.write_all(head.as_bytes())?;
        // The backend has the head once the edge has chosen it: from here on the request is under way.
        node.daemon().wait_until("it is under way", LIMIT, || {
            let status = node.status_json()?;
            let pools = status["pools"].as_array().into_iter().flatten();
            let mut backends = pools.flat_map(|pool| pool["backends"].as_array().into_iter().flatten());
            Ok(backends.any(|b| b["load"] == 1))
        })?;
        let first = "[[route]]\nname = \"first\"\npath = \"/first\"\npool = \"app\"\n\n";
        reload(&node, &(HEAD.to_owned() + &more("\"10.0.4.20:8090\"") + first + WEB))?;
        asked.write_all(b"b")?;
        let mut answer = String::new();
        asked.read_to_string(&mut answer)?;
        ensure!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        node.daemon().wait_until("it is counted", LIMIT, || Ok(count("routes", "all")? == of_route + 1))?;
        assert_eq!(count("listeners", "web")?, before + 1);
        assert_eq!((count("listeners", "more")?, count("routes", "first")?), (0, 0));
        let status = node.status_json()?;
        let open = status["listeners"].as_array().into_iter().flatten().map(|l| l["open"].as_u64());
        ensure!(open.clone().all(|open| open == Some(0)), "{:?}", open.collect::<Vec<_>>());
        Ok(())
    });
}

#[test]
fn a_full_listener_that_may_have_more_takes_who_waits() {
    mainstay_lab::test(|| {
        let bed = Bed::make()?;
        let one = HEAD.replace("instances = 2\nthreads = 2", "instances = 1\nthreads = 1");
        let config = one + &WEB.replace(":8080\"\n", ":8080\"\nmax_connections = 1\n");
        let node = bed.start(&config)?;
        let mut first = dial(&bed.client, EDGE)?;
        first.write_all(b"GET / HTTP/1.1\r\n")?;
        node.wait_until("it is taken", LIMIT, |status| status["listeners"][0]["open"] == 1)?;
        let mut second = dial(&bed.client, EDGE)?;
        second.write_all(get("/").as_bytes())?;
        reload(&node, &config.replace("max_connections = 1", "max_connections = 2"))?;
        let mut answer = String::new();
        second.read_to_string(&mut answer)?;
        ensure!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        drop(first);
        Ok(())
    });
}
