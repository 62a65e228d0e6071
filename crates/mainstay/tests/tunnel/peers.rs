//! Two hubs: what comes in at one reaches the agents of the other.

use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use mainstay_core::tunnel::directory::{Message, Offers, RECORDS, Reader};
use mainstay_core::tunnel::hello::{Caller, Kind};
use mainstay_lab::Host;
use mainstay_lab::peer::{Keeper as _, Mainstay};
use mainstay_link::tunnel::hello::{Dialer, Failed, dial};
use mainstay_link::tunnel::hubs::{HubKeys, Sealed};
use mainstay_link::tunnel::{self as link, Code, Incoming, Limits, Open, Session, Side, code_of};
use mainstay_sys::clock::boot_now;
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::task::LocalSet;

use crate::agent::{Agent, As};
use crate::bed::{Bed, LIMIT, TUNNEL, binary, reload, talk};

/// What hubs have in common.
const KEY: &str = "a key that all hubs have";

/// The hubs; where the third is, there is an agent's host too.
pub(crate) const HUBS: [(&str, &str); 3] =
    [("edge", "10.0.4.20"), ("other", "10.0.4.21"), ("third", "10.0.4.42")];

/// A hub of a configuration; `among` is what it says of other hubs.
pub(crate) fn config(bed: &Bed, nth: usize, among: &str) -> String {
    let (id, ip) = HUBS[nth];
    format!(
        "[node]\nid = \"{id}\"\nscript_user = \"root\"\n\n[edge]\ninstances = 2\nthreads = 2\ndrain = \"5s\"\n\n\
         [hub]\naddrs = [\"tcp://{ip}:7000\"]\n{among}\n\n\
         [[listener]]\nname = \"web\"\nbind = \"{ip}:80\"\n\n[[listener]]\nname = \"agents\"\nbind = \"{ip}:7000\"\nprotocol = \"hub\"\n\n\
         [[tunnel]]\nid = \"{TUNNEL}\"\nagents = [\"{}\"]\nhosts = [\"app.example.com\"]\ntcp = [\"{ip}:8022\"]\nudp = [\"{ip}:5300\"]\n",
        bed.key.public()
    )
}

/// What a hub says of all hubs, itself among them.
pub(crate) fn among(nth: usize, key: &str) -> String {
    let peers: Vec<String> = HUBS.iter().map(|(_, ip)| format!("\"{ip}:7001\"")).collect();
    format!("bind = \"{}:7001\"\npeers = [{}]\nkey = \"{key}\"", HUBS[nth].1, peers.join(", "))
}

fn host(bed: &Bed, nth: usize) -> &Host {
    [&bed.edge, &bed.other, &bed.sites[1].0][nth]
}

pub(crate) fn start_as(bed: &Bed, nth: usize, config: &str) -> Result<Mainstay> {
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
pub(crate) fn agent(bed: &Bed, site: usize, hub: usize, who: As) -> Result<Agent> {
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
pub(crate) fn whose(bed: &Bed, hub: usize) -> Result<String> {
    let (status, body) = get(bed, hub)?;
    ensure!(status == "HTTP/1.1 200 OK", "{status}");
    Ok(body.lines().next().unwrap_or_default().to_owned())
}

/// The hub of this name, as another sees it.
fn seen(node: &Mainstay, hub: &str) -> Result<Option<Value>> {
    let all: Value = serde_json::from_str(&node.say(&["tunnel", "hubs", "--json"])?)?;
    Ok(all.as_array().and_then(|all| all.iter().find(|one| one["hub"] == hub)).cloned())
}

/// Waits until every thread of a hub has a session with the other.
fn wait_up(node: &Mainstay, hub: &str) -> Result<()> {
    node.daemon().wait_until("every thread has a session", LIMIT, || {
        Ok(seen(node, hub)?.is_some_and(|hub| hub["sessions"] == 4))
    })
}

fn wait_degraded(node: &Mainstay, what: &str) -> Result<()> {
    node.daemon().wait_until(what, LIMIT, || Ok(node.status_json()?["degraded"].to_string().contains(what)))
}

#[test]
fn what_comes_to_one_hub_reaches_the_agent_of_another_with_the_visitors_address() {
    mainstay_lab::test(|| {
        let bed = Bed::make()?;
        let (near, _far) = (start(&bed, 0)?, start(&bed, 1)?);
        let agent = agent(&bed, 0, 1, bed.who(0)?)?;
        for _ in 0..8 {
            ensure!(whose(&bed, 0)? == "one", "by the other hub");
            ensure!(whose(&bed, 1)? == "one", "by its own");
        }
        let (_, body) = get(&bed, 0)?;
        ensure!(body.to_ascii_lowercase().contains("x-forwarded-for: 10.0.4.9"), "{body}");
        let answer =
            talk(&bed.client, "10.0.4.20:8022", "GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")?;
        ensure!(answer.contains("\r\n\r\none\n"), "{answer}");
        // What the agent writes into a PROXY header.
        let came = agent.came().context("a stream came")?;
        ensure!(came.visitor.is_some_and(|visitor| visitor.ip().to_string() == "10.0.4.9"), "{came:?}");
        ensure!(came.destination == Some("10.0.4.20:8022".parse()?), "{came:?}");
        ensure!(came.hops == ["edge", "other"], "{came:?}");
        let events = near.say(&["events"])?;
        ensure!(events.contains("hub other is reached at 10.0.4.21:7001"), "{events}");
        wait_up(&near, "other")?;
        let listed = near.say(&["tunnel", "hubs"])?;
        let row = listed.lines().find(|line| line.starts_with("other")).unwrap_or_default();
        ensure!(row.contains("10.0.4.21:7001") && row.contains("up") && row.contains("4/4"), "{listed}");
        wait_degraded(&near, "requests take the way by hub other")?;
        let explained = near.say(&["explain", "route", "http://app.example.com/"])?;
        ensure!(explained.contains("one@other"), "{explained}");
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
        socket.set_read_timeout(Some(Duration::from_millis(500)))?;
        let mut answer = [0; 100];
        near.daemon().wait_until("a datagram comes back", LIMIT, || {
            socket.send(b"question")?;
            Ok(socket.recv(&mut answer).is_ok_and(|count| &answer[..count] == b"two: question"))
        })
    });
}

#[test]
fn an_agent_of_the_own_hub_is_preferred_and_those_of_others_are_there_when_it_dies() {
    mainstay_lab::test(|| {
        let bed = Bed::make()?;
        let (near, _far) = (start(&bed, 0)?, start(&bed, 1)?);
        let own = agent(&bed, 0, 0, bed.who(0)?)?;
        let _elsewhere = agent(&bed, 1, 1, bed.who(1)?)?;
        wait_up(&near, "other")?;
        near.daemon().wait_until("the other's agent is known", LIMIT, || {
            Ok(seen(&near, "other")?.is_some_and(|hub| hub["tunnels"][0] == TUNNEL))
        })?;
        for _ in 0..20 {
            ensure!(whose(&bed, 0)? == "one");
        }
        drop(own);
        for _ in 0..20 {
            ensure!(whose(&bed, 0)? == "two", "the next candidate is at another hub");
        }
        Ok(())
    });
}

#[test]
fn of_two_hubs_with_the_same_agent_the_next_is_asked_when_one_is_killed() {
    mainstay_lab::test(|| {
        let bed = Bed::make()?;
        let nodes = [start(&bed, 0)?, start(&bed, 1)?, start(&bed, 2)?];
        let _agents = [agent(&bed, 0, 1, bed.who(0)?)?, agent(&bed, 0, 2, bed.who(0)?)?];
        for hub in ["other", "third"] {
            wait_up(&nodes[0], hub)?;
            nodes[0].daemon().wait_until("its agent is known", LIMIT, || {
                Ok(seen(&nodes[0], hub)?.is_some_and(|hub| hub["tunnels"][0] == TUNNEL))
            })?;
        }
        for _ in 0..10 {
            ensure!(whose(&bed, 0)? == "one");
        }
        nodes[1].daemon().kill_all()?;
        for _ in 0..20 {
            ensure!(whose(&bed, 0)? == "one", "no request fails: the other hub has the agent too");
        }
        nodes[2].daemon().kill_all()?;
        nodes[0].daemon().wait_until("what a dead hub told is gone with it", LIMIT, || {
            let gone =
                |hub| Ok::<_, anyhow::Error>(seen(&nodes[0], hub)?.is_none_or(|hub| hub["sessions"] == 0));
            Ok(gone("other")? && gone("third")?)
        })?;
        let degraded = nodes[0].status_json()?["degraded"].to_string();
        ensure!(degraded.contains("is offered by no agent"), "{degraded}");
        let (status, _) = get(&bed, 0)?;
        ensure!(status.starts_with("HTTP/1.1 503"), "{status}");
        let events = nodes[0].say(&["events"])?;
        ensure!(events.contains("hub other is gone: ") && events.contains("hub third is gone: "), "{events}");
        Ok(())
    });
}

#[test]
fn a_hub_that_comes_back_is_reached_within_a_second_or_so() {
    mainstay_lab::test(|| {
        let bed = Bed::make()?;
        let (near, far) = (start(&bed, 0)?, start(&bed, 1)?);
        wait_up(&near, "other")?;
        drop(far);
        near.daemon().wait_until("it is gone", LIMIT, || {
            Ok(seen(&near, "other")?.is_none_or(|hub| hub["sessions"] == 0))
        })?;
        wait_degraded(&near, "no hub is reached at 10.0.4.21:7001")?;
        let _far = start(&bed, 1)?;
        let back = boot_now();
        wait_up(&near, "other")?;
        println!("reached again by every thread {:?} after it was there", boot_now().since(back));
        Ok(())
    });
}

#[test]
fn who_has_another_key_and_who_has_our_name_is_told_with_a_sentence() {
    mainstay_lab::test(|| {
        let bed = Bed::make()?;
        let near = start(&bed, 0)?;
        let wrong = start_as(&bed, 1, &config(&bed, 1, &among(1, "a key that no other hub has")))?;
        let twin = config(&bed, 2, &among(2, KEY)).replace("id = \"third\"", "id = \"edge\"");
        let twin = start_as(&bed, 2, &twin)?;
        wait_degraded(
            &near,
            "no hub is reached at 10.0.4.21:7001: it has not the same key of hubs as this one",
        )?;
        wait_degraded(&near, "the hub at 10.0.4.42:7001 is called edge as this one is")?;
        wait_degraded(
            &wrong,
            "no hub is reached at 10.0.4.20:7001: it has not the same key of hubs as this one",
        )?;
        wait_degraded(&twin, "the hub at 10.0.4.20:7001 is called edge as this one is")?;
        near.daemon().wait_until("strangers are told of", LIMIT, || {
            Ok(near.say(&["events"])?.contains("a hub from 10.0.4."))
        })?;
        // With the same key they come together.
        reload(&wrong, &config(&bed, 1, &among(1, KEY)))?;
        wait_up(&near, "other")?;
        wait_up(&wrong, "edge")
    });
}

#[test]
fn a_hand_made_hub_is_served_once_and_neither_in_a_circle_nor_without_the_key() {
    mainstay_lab::test(|| {
        let bed = Bed::make()?;
        let _near = start(&bed, 0)?;
        let _agent = agent(&bed, 0, 0, bed.who(0)?)?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        LocalSet::new().block_on(&runtime, async {
            let keys = HubKeys::new(KEY.as_bytes(), "ghost").map_err(anyhow::Error::msg)?;
            let (session, mut incoming) =
                meet(&bed, &keys, "ghost", Caller::Hub).await?.map_err(anyhow::Error::msg)?;
            let told = first_told(&mut incoming).await?;
            ensure!(told.tunnel == TUNNEL && told.agents[0].name == "one", "{told:?}");

            let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
            let open = |host: Option<&str>, hops: &[&str]| Open {
                target: TUNNEL.to_owned(),
                host: host.map(str::to_owned),
                hops: names(hops),
                ..Open::default()
            };
            let eight = ["a", "b", "c", "d", "e", "f", "g", "h"];
            for (what, open) in [
                ("it has been here", open(Some("one"), &["ghost", "edge"])),
                ("it says nothing of its way", open(Some("one"), &[])),
                ("it has been in too many places", open(Some("one"), &eight)),
                ("it is for nobody", open(None, &["ghost"])),
                ("its agent is not here", open(Some("two"), &["ghost"])),
                ("it is for an agent of another hub", open(Some("one@edge"), &["ghost"])),
                ("there is no such tunnel", Open { target: "depot".into(), ..open(Some("one"), &["ghost"]) }),
                (
                    "it carries something else",
                    Open { kind: link::Kind::Datagrams, ..open(Some("one"), &["ghost"]) },
                ),
            ] {
                let mut stream = session.open(&open, b"")?;
                let failed = stream.read(&mut [0; 10]).await.err().with_context(|| what.to_owned())?;
                ensure!(code_of(&failed) == Some(Code::Refused), "{what}: {failed}");
            }
            let mut stream = session.open(&open(Some("one"), &["ghost"]), b"")?;
            stream.write_all(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await?;
            stream.shutdown().await?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await?;
            ensure!(answer.contains("\r\n\r\none\n"), "half closed, and answered: {answer}");

            let stranger =
                HubKeys::new(b"a key that no other hub has", "ghost").map_err(anyhow::Error::msg)?;
            let Err(why) = meet(&bed, &stranger, "ghost", Caller::Hub).await? else {
                anyhow::bail!("it was let in without the key")
            };
            ensure!(why.contains("not the same key"), "{why}");
            let Err(why) = meet(&bed, &keys, "phantom", Caller::Hub).await? else {
                anyhow::bail!("it was let in under another's name")
            };
            ensure!(why.contains("your certificate is not that of phantom"), "{why}");
            let Err(why) = meet(&bed, &keys, "ghost", Caller::Agent).await? else {
                anyhow::bail!("an agent was let in as a hub")
            };
            ensure!(why.contains("only other hubs come in here"), "{why}");
            Ok(())
        })
    });
}

/// A session with the first hub by hand, or why there is none.
async fn meet(
    bed: &Bed,
    keys: &HubKeys,
    name: &str,
    caller: Caller,
) -> Result<Result<(Session, Incoming), String>> {
    let at: SocketAddr = "10.0.4.20:7001".parse()?;
    let stream = bed.client.run(move || TcpStream::connect_timeout(&at, LIMIT))??;
    stream.set_nonblocking(true)?;
    let Sealed { mut carrier, binding, shown } =
        match keys.connect(tokio::net::TcpStream::from_std(stream)?).await {
            Ok(sealed) => sealed,
            Err(stranger) => return Ok(Err(stranger.to_string())),
        };
    ensure!(shown.is("edge"), "its certificate is its own");
    let dialer = Dialer { caller, name, instance: 7, key: keys.hello(), offers: &[], binding: &binding };
    match dial(&mut carrier, dialer, |_| Ok::<_, Failed>(())).await {
        Ok(_) => Ok(Ok(Session::start(carrier, Side::Agent, Limits::default()))),
        Err(failed) => Ok(Err(failed.to_string())),
    }
}

/// The first tunnel that a hub pushes.
async fn first_told(incoming: &mut Incoming) -> Result<Offers> {
    let (open, mut records) = incoming.next().await.context("it pushes")?;
    ensure!(open.target == RECORDS, "{open:?}");
    let mut reader = Reader::default();
    loop {
        match reader.take()? {
            Some(Message::Tunnel(offers)) => return Ok(offers),
            Some(Message::Hub(_)) => continue,
            None => {}
        }
        let mut bytes = [0; 4096];
        let count = records.read(&mut bytes).await?;
        ensure!(count > 0, "it has ended");
        reader.feed(&bytes[..count]);
    }
}
