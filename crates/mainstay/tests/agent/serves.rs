//! Streams that a hub opens reach the agent's targets, and the agent keeps its sessions.

use std::future::poll_fn;
use std::net::SocketAddr;

use anyhow::{Context as _, Result};
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
        let to = ["--to", &one.to_string(), "--to", &two.to_string(), "--proxy-header", "1"];
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
