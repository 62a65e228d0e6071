//! Streams that a hub opens reach the agent's targets, and the agent keeps its sessions.

use std::cell::Cell;
use std::future::poll_fn;
use std::net::SocketAddr;
use std::rc::Rc;

use anyhow::{Context as _, Result};
use mainstay_link::tunnel::keys::PublicKey;
use mainstay_link::tunnel::{Code, Health, Kind, Open, Session, code_of};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, UdpSocket};
use tokio::task::spawn_local;

use crate::hub::{Agent, Folder, Hub, TUNNEL, health, run, until};

const ANY: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 0);

/// A target that answers each connection with a word and what it was sent.
async fn target(word: &'static str) -> Result<(SocketAddr, tokio::task::JoinHandle<()>)> {
    let listener = TcpListener::bind(ANY).await?;
    let addr = listener.local_addr()?;
    let task = spawn_local(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            spawn_local(async move {
                let mut sent = Vec::new();
                if stream.read_to_end(&mut sent).await.is_ok() && !sent.is_empty() {
                    let _ = stream.write_all(&[word.as_bytes(), b":", &sent[..]].concat()).await;
                }
            });
        }
    });
    Ok((addr, task))
}

fn open() -> Open {
    let (visitor, destination) = ("192.0.2.1:5000".parse().ok(), "192.0.2.9:443".parse().ok());
    Open { target: TUNNEL.to_owned(), visitor, destination, ..Open::default() }
}

async fn ask(session: &Session, what: &str) -> Result<String> {
    let mut stream = session.open(&open(), what.as_bytes())?;
    stream.shutdown().await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    Ok(answer)
}

#[test]
fn streams_reach_the_targets_in_turn_and_one_that_dies_is_left_out() -> Result<()> {
    run(async {
        let folder = Folder::new("turn")?;
        let hub = Hub::start("edge-1", 2, ANY).await?;
        let (one, first) = target("one").await?;
        let (two, second) = target("two").await?;
        let to = ["--to", &one.to_string(), "--to", &two.to_string(), "--proxy-header", "1", "--probe", "50"];
        let (_agent, key) = Agent::start(&folder.0, &[hub.addr], &to)?;
        let session = hub.wait_for(2).await?;
        assert_eq!(hub.keys()[0], key);
        let header = "PROXY TCP4 192.0.2.1 192.0.2.9 5000 443\r\n";
        let mut answers = [ask(&session, "hello").await?, ask(&session, "hello").await?];
        answers.sort_unstable();
        assert_eq!(answers, [format!("one:{header}hello"), format!("two:{header}hello")]);

        first.abort();
        let _ = first.await;
        for _ in 0..4 {
            assert!(ask(&session, "x").await?.starts_with("two:"), "no request fails");
        }
        assert_ne!(health(&session), Some(Health::Down), "one is left");
        second.abort();
        let _ = second.await;
        until("the news that nothing is well", || health(&session) == Some(Health::Down)).await?;
        let error = ask(&session, "x").await.expect_err("nothing is there");
        let code = error.downcast_ref::<std::io::Error>().and_then(code_of);
        assert_eq!(code, Some(Code::Unreachable), "the hub may try another agent");
        Ok(())
    })
}

#[test]
fn files_are_served_and_what_lies_outside_is_not() -> Result<()> {
    run(async {
        let folder = Folder::new("files")?;
        let site = folder.0.join("site");
        std::fs::create_dir_all(&site)?;
        std::fs::write(site.join("hello.txt"), "from the agent\n")?;
        let hub = Hub::start("edge-1", 1, ANY).await?;
        let files = ["--files", site.to_str().context("a path")?];
        let (_agent, _) = Agent::start(&folder.0, &[hub.addr], &files)?;
        let session = hub.wait_for(1).await?;
        let get = |path: &str| format!("GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
        let answer = ask(&session, &get("/hello.txt")).await?;
        assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("from the agent\n"), "{answer}");
        let answer = ask(&session, &get("/")).await?;
        assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("hello.txt"), "{answer}");
        let answer = ask(&session, &get("/../agent.key")).await?;
        assert!(!answer.starts_with("HTTP/1.1 200") && !answer.contains("mst1_"), "{answer}");
        Ok(())
    })
}

#[test]
fn datagrams_go_there_and_back() -> Result<()> {
    run(async {
        let folder = Folder::new("udp")?;
        let hub = Hub::start("edge-1", 1, ANY).await?;
        let socket = UdpSocket::bind(ANY).await?;
        let to = ["--udp", "--to", &socket.local_addr()?.to_string()];
        let (_agent, _) = Agent::start(&folder.0, &[hub.addr], &to)?;
        let session = hub.wait_for(1).await?;
        let open = Open { kind: Kind::Datagrams, target: format!("{TUNNEL}/udp"), ..Open::default() };
        let mut stream = session.open(&open, b"")?;
        assert!(stream.send_datagram(b"ping"));
        let mut buffer = [0; 64];
        let (count, from) = socket.recv_from(&mut buffer).await?;
        assert_eq!(&buffer[..count], b"ping");
        socket.send_to(b"pong", from).await?;
        let back = poll_fn(|cx| stream.poll_datagram(cx)).await?;
        assert_eq!(back.as_deref(), Some(&b"pong"[..]));
        Ok(())
    })
}

#[test]
fn a_hub_that_comes_back_is_met_again_while_the_other_serves_on() -> Result<()> {
    run(async {
        let folder = Folder::new("back")?;
        let [one, two] = [Hub::start("edge-1", 2, ANY).await?, Hub::start("edge-2", 2, ANY).await?];
        let (addr, _target) = target("t").await?;
        let (_agent, _) = Agent::start(&folder.0, &[one.addr, two.addr], &["--to", &addr.to_string()])?;
        one.wait_for(2).await?;
        let other = two.wait_for(2).await?;
        let at = one.kill().await;
        assert_eq!(ask(&other, "x").await?, "t:x");
        let one = Hub::start("edge-1", 2, at).await?;
        let session = one.wait_for(2).await?;
        assert_eq!(ask(&session, "x").await?, "t:x");
        Ok(())
    })
}

#[test]
fn an_agent_that_is_told_to_end_lets_its_streams_end_first() -> Result<()> {
    run(async {
        let folder = Folder::new("drain")?;
        let hub = Hub::start("edge-1", 1, ANY).await?;
        let (addr, _target) = target("t").await?;
        let (mut agent, _) = Agent::start(&folder.0, &[hub.addr], &["--to", &addr.to_string()])?;
        let session = hub.wait_for(1).await?;
        let mut stream = session.open(&open(), b"be")?;
        agent.terminate()?;
        until("the news that it leaves", || session.has_left()).await?;
        assert!(session.open(&open(), b"").is_err(), "no new streams");
        assert!(agent.0.try_wait()?.is_none(), "one is open");
        stream.write_all(b"gun").await?;
        stream.shutdown().await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        assert_eq!(answer, "t:begun");
        drop((stream, session));
        let mut agent = Some(agent);
        let status = tokio::task::spawn_blocking(move || agent.as_mut().map(|agent| agent.0.wait())).await?;
        assert!(status.context("a process")??.success());
        Ok(())
    })
}

#[test]
fn one_agent_offers_several_services_each_under_its_tunnel() -> Result<()> {
    run(async {
        let folder = Folder::new("several")?;
        let site = folder.0.join("site");
        std::fs::create_dir_all(&site)?;
        std::fs::write(site.join("hello.txt"), "from the folder\n")?;
        let hub = Hub::start("edge-1", 2, ANY).await?;
        let (addr, _target) = target("t").await?;
        let site = site.to_str().context("a path")?;
        let what = ["--to", &addr.to_string(), "--tunnel", "docs", "--files", site];
        let (_agent, _) = Agent::start(&folder.0, &[hub.addr], &what)?;
        let session = hub.wait_for(2).await?;
        assert_eq!(ask(&session, "x").await?, "t:x");
        let docs = Open { target: "docs".to_owned(), ..Open::default() };
        let get = "GET /hello.txt HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
        let mut stream = session.open(&docs, get.as_bytes())?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("from the folder\n"), "{answer}");
        Ok(())
    })
}

/// A target that answers requests with a status that can be changed.
async fn site(status: Rc<Cell<u16>>) -> Result<SocketAddr> {
    let listener = TcpListener::bind(ANY).await?;
    let addr = listener.local_addr()?;
    spawn_local(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let status = Rc::clone(&status);
            spawn_local(async move {
                let mut request = [0; 1024];
                let count = stream.read(&mut request).await.unwrap_or(0);
                assert!(
                    request[..count].starts_with(b"GET /healthz HTTP/1.1\r\n"),
                    "{:?}",
                    &request[..count]
                );
                let answer =
                    format!("HTTP/1.1 {} x\r\nContent-Length: 0\r\nConnection: close\r\n\r\n", status.get());
                let _ = stream.write_all(answer.as_bytes()).await;
            });
        }
    });
    Ok(addr)
}

#[test]
fn a_target_whose_page_answers_with_an_error_is_out_until_it_answers_well_so_many_times() -> Result<()> {
    run(async {
        let folder = Folder::new("page")?;
        let hub = Hub::start("edge-1", 1, ANY).await?;
        let status = Rc::new(Cell::new(204));
        let addr = site(Rc::clone(&status)).await?;
        let to = addr.to_string();
        let what = ["--to", &to, "--probe", "50", "--probe-http", "/healthz", "--fall", "2", "--rise", "2"];
        let (_agent, _) = Agent::start(&folder.0, &[hub.addr], &what)?;
        let session = hub.wait_for(1).await?;
        until("the first news", || health(&session) == Some(Health::Up)).await?;
        status.set(500);
        until("the news that it is out", || health(&session) == Some(Health::Down)).await?;
        status.set(302);
        until("the news that it is back", || health(&session) == Some(Health::Up)).await
    })
}

#[test]
fn a_key_whose_file_changes_is_shown_to_the_hubs_and_no_stream_is_cut() -> Result<()> {
    run(async {
        let folder = Folder::new("key")?;
        let hub = Hub::start("edge-1", 2, ANY).await?;
        let (addr, _target) = target("t").await?;
        let (_agent, old) = Agent::start(&folder.0, &[hub.addr], &["--to", &addr.to_string()])?;
        let session = hub.wait_for(2).await?;
        let mut stream = session.open(&open(), b"be")?;
        let fresh = folder.0.join("fresh.key");
        let made = std::process::Command::new(env!("CARGO_BIN_EXE_mainstay"))
            .args(["tunnel", "key"])
            .arg(&fresh)
            .output()?;
        let new: PublicKey = String::from_utf8(made.stdout)?.parse()?;
        std::fs::rename(&fresh, folder.0.join("agent.key"))?;
        until("both places to be met with the new key", || {
            hub.keys().iter().filter(|key| **key == new).count() >= 2
        })
        .await?;
        assert_eq!(hub.keys()[0], old);
        until("the news that the old session leaves", || session.has_left()).await?;
        stream.write_all(b"gun").await?;
        stream.shutdown().await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        assert_eq!(answer, "t:begun");
        Ok(())
    })
}

#[test]
fn the_load_that_hubs_are_told_is_that_of_all_of_them() -> Result<()> {
    run(async {
        let folder = Folder::new("load")?;
        let [one, two] = [Hub::start("edge-1", 1, ANY).await?, Hub::start("edge-2", 1, ANY).await?];
        let (addr, _target) = target("t").await?;
        let (_agent, _) = Agent::start(&folder.0, &[one.addr, two.addr], &["--to", &addr.to_string()])?;
        let (here, there) = (one.wait_for(1).await?, two.wait_for(1).await?);
        let streams = [here.open(&open(), b"x")?, here.open(&open(), b"x")?, there.open(&open(), b"x")?];
        until("both hubs to hear of three streams", || here.heard().load == 3 && there.heard().load == 3)
            .await?;
        drop(streams);
        until("both hubs to hear that there are none", || here.heard().load == 0 && there.heard().load == 0)
            .await
    })
}
