//! Two hubs: what comes in at one reaches the agents of the other.

use std::net::{SocketAddr, TcpStream, UdpSocket};

use anyhow::{Context as _, Result, ensure};
use mainstay_core::tunnel::hello::Kind;
use mainstay_lab::Host;
use mainstay_lab::peer::{Keeper as _, Mainstay};

use crate::agent::{Agent, As};
use crate::bed::{Bed, LIMIT, TUNNEL, binary, talk};

/// What hubs have in common.
const KEY: &str = "a key that all hubs have";

/// The two hubs.
const HUBS: [(&str, &str); 2] = [("edge", "10.0.4.20"), ("other", "10.0.4.21")];

/// A hub of a configuration; `among` is what it says of other hubs.
fn config(bed: &Bed, nth: usize, among: &str) -> String {
    let (id, ip) = HUBS[nth];
    format!(
        "[node]\nid = \"{id}\"\nscript_user = \"root\"\n\n[edge]\ninstances = 2\nthreads = 2\ndrain = \"5s\"\n\n\
         [hub]\naddrs = [\"tcp://{ip}:7000\"]\n{among}\n\n\
         [[listener]]\nname = \"web\"\nbind = \"{ip}:80\"\n\n[[listener]]\nname = \"agents\"\nbind = \"{ip}:7000\"\nprotocol = \"hub\"\n\n\
         [[tunnel]]\nid = \"{TUNNEL}\"\nagents = [\"{}\"]\nhosts = [\"app.example.com\"]\ntcp = [\"{ip}:8022\"]\nudp = [\"{ip}:5300\"]\n",
        bed.key.public()
    )
}

/// What a hub says of the other.
fn among(nth: usize, key: &str) -> String {
    let (own, other) = (HUBS[nth].1, HUBS[1 - nth].1);
    format!("bind = \"{own}:7001\"\npeers = [\"{other}:7001\"]\nkey = \"{key}\"")
}

fn host(bed: &Bed, nth: usize) -> &Host {
    [&bed.edge, &bed.other][nth]
}

fn start_as(bed: &Bed, nth: usize, config: &str) -> Result<Mainstay> {
    let node = Mainstay::start(host(bed, nth), &binary(), config)?;
    let at: SocketAddr = format!("{}:7000", HUBS[nth].1).parse()?;
    node.daemon().wait_until("the hub is there", LIMIT, || {
        Ok(bed.client.run(|| TcpStream::connect_timeout(&at, LIMIT))?.is_ok())
    })?;
    Ok(node)
}

fn start(bed: &Bed, nth: usize) -> Result<Mainstay> {
    start_as(bed, nth, &config(bed, nth, &among(nth, KEY)))
}

/// The agent of a site, which has met every place of one hub.
fn agent(bed: &Bed, site: usize, hub: usize, who: As) -> Result<Agent> {
    let at = format!("{}:7000", HUBS[hub].1);
    let agent = Agent::start(&bed.sites[site].0, &at, &bed.key.secret(), who)?;
    agent.wait_met()?;
    Ok(agent)
}

/// A request to a hub: status line, and body.
fn get(bed: &Bed, hub: usize) -> Result<(String, String)> {
    let at = format!("{}:80", HUBS[hub].1);
    let answer =
        talk(&bed.client, &at, "GET / HTTP/1.1\r\nHost: app.example.com\r\nConnection: close\r\n\r\n")?;
    let (head, body) = answer.split_once("\r\n\r\n").with_context(|| format!("no answer: {answer:?}"))?;
    Ok((head.lines().next().unwrap_or_default().to_owned(), body.to_owned()))
}

/// The name of the target that answers.
fn whose(bed: &Bed, hub: usize) -> Result<String> {
    let (status, body) = get(bed, hub)?;
    ensure!(status == "HTTP/1.1 200 OK", "{status}");
    Ok(body.lines().next().unwrap_or_default().to_owned())
}

#[test]
fn what_comes_to_one_hub_reaches_the_agent_of_another() {
    mainstay_lab::test(|| {
        let bed = Bed::make()?;
        let (near, _far) = (start(&bed, 0)?, start(&bed, 1)?);
        let agent = agent(&bed, 0, 1, bed.who(0)?)?;
        for _ in 0..8 {
            ensure!(whose(&bed, 0)? == "one", "by the other hub");
            ensure!(whose(&bed, 1)? == "one", "by its own");
        }
        let (_, body) = get(&bed, 0)?;
        ensure!(
            body.contains("X-Forwarded-For: 10.0.4.9") || body.contains("x-forwarded-for: 10.0.4.9"),
            "{body}"
        );
        let answer =
            talk(&bed.client, "10.0.4.20:8022", "GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")?;
        ensure!(answer.contains("\r\n\r\none\n"), "{answer}");
        drop(agent);
        let events = near.say(&["events"])?;
        ensure!(events.contains("hub other is reached at 10.0.4.21:7001"), "{events}");
        Ok(())
    });
}

#[test]
fn datagrams_reach_the_agent_of_another_hub() {
    mainstay_lab::test(|| {
        let bed = Bed::make()?;
        let (near, _far) = (start(&bed, 0)?, start(&bed, 1)?);
        let _agent = agent(&bed, 1, 1, As { kind: Kind::Udp, ..bed.who(1)? })?;
        let socket = bed.client.run(|| UdpSocket::bind("10.0.4.9:0"))??;
        socket.connect("10.0.4.20:5300")?;
        socket.set_read_timeout(Some(std::time::Duration::from_millis(500)))?;
        let mut answer = [0; 100];
        near.daemon().wait_until("a datagram comes back", LIMIT, || {
            socket.send(b"question")?;
            Ok(socket.recv(&mut answer).is_ok_and(|count| &answer[..count] == b"two: question"))
        })
    });
}
