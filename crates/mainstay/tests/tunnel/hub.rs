//! A hub and the agents that come in.

use std::net::UdpSocket;

use anyhow::{Result, ensure};
use mainstay_core::tunnel::hello::{Cause, Kind};
use mainstay_lab::peer::Keeper as _;
use mainstay_link::tunnel::Health;
use mainstay_link::tunnel::keys::SigningKey;

use crate::agent::{Agent, As, Told};
use crate::bed::{Bed, HUB, LIMIT, STRANGER, TUNNEL, reload, talk};

#[test]
fn requests_go_to_the_agents_of_a_tunnel_in_turn_and_past_one_that_died() {
    mainstay_lab::test(|| {
        let bed = Bed::make()?;
        let node = bed.start(&bed.config(""))?;
        let (one, two) = (bed.agent(0)?, bed.agent(1)?);
        ensure!(bed.all(20)? == ["one", "two"], "both serve");
        drop(one);
        for _ in 0..20 {
            ensure!(bed.whose()? == "two");
        }
        let listed = node.say(&["tunnel", "list"])?;
        let row = listed.lines().find(|line| line.contains("two")).unwrap_or_default().to_owned();
        ensure!(row.contains("4/4") && row.contains("up"), "{listed}");
        let events = node.say(&["events"])?;
        ensure!(events.contains("agent two (10.0.4.42"), "{events}");
        drop(two);
        Ok(())
    });
}

#[test]
fn a_tunnel_with_more_hosts_than_a_welcome_has_room_for_still_lets_its_agents_in() {
    mainstay_lab::test(|| {
        let bed = Bed::make()?;
        let label = "a".repeat(60);
        let hosts: Vec<String> =
            (0..64).map(|nth| format!("\"h{nth}.{label}.{label}.{label}.example.com\"")).collect();
        let hosts = format!("hosts = [\"app.example.com\", {}]", hosts.join(", "));
        let node = bed.start(&bed.config("").replace("hosts = [\"app.example.com\"]", &hosts))?;
        let _agent = bed.agent(0)?;
        ensure!(bed.whose()? == "one", "it is let in, and told of as many hosts as there is room for");
        drop(node);
        Ok(())
    });
}

#[test]
fn a_key_that_is_not_listed_offers_nothing_and_one_that_is_taken_out_is_cut_off() {
    mainstay_lab::test(|| {
        let bed = Bed::make()?;
        let node = bed.start(&bed.config(""))?;
        let stranger = SigningKey::parse(STRANGER)?;
        let refused = Agent::start(&bed.sites[0].0, HUB, &stranger.secret(), bed.who(0)?)?;
        let Told::Refused(why) = refused.next()? else { anyhow::bail!("it was let in") };
        ensure!(
            why.cause == Cause::Forbidden && why.sentence.contains("may not offer tunnel office"),
            "{why:?}"
        );
        drop(refused);
        let agent = bed.agent(1)?;
        ensure!(bed.whose()? == "two");
        reload(
            &node,
            &bed.config("").replace(&bed.key.public().to_string(), &stranger.public().to_string()),
        )?;
        ensure!(matches!(agent.next()?, Told::Ended), "its sessions are cut");
        loop {
            if let Told::Refused(why) = agent.next()? {
                ensure!(why.cause == Cause::Forbidden, "{why:?}");
                break;
            }
        }
        let comes = Agent::start(&bed.sites[0].0, HUB, &stranger.secret(), bed.who(0)?)?;
        comes.wait_met()?;
        ensure!(bed.all(8)? == ["one"], "only the other key serves");
        Ok(())
    });
}

#[test]
fn an_agent_whose_target_is_ill_gets_no_requests_until_it_is_well() {
    mainstay_lab::test(|| {
        let bed = Bed::make()?;
        let node = bed.start(&bed.config(""))?;
        let (one, _two) = (bed.agent(0)?, bed.agent(1)?);
        one.health(Health::Down);
        let only = |wanted: &[&str]| bed.all(12).is_ok_and(|names| names == wanted);
        node.daemon().wait_until("the ill one is out", LIMIT, || Ok(only(&["two"])))?;
        let listed = node.say(&["tunnel", "list"])?;
        ensure!(listed.contains("no target of it answers"), "{listed}");
        one.health(Health::Up);
        node.daemon().wait_until("it is back", LIMIT, || Ok(only(&["one", "two"])))?;
        Ok(())
    });
}

#[test]
fn a_request_waits_for_an_agent_that_is_restarted() {
    mainstay_lab::test(|| {
        let bed = Bed::make()?;
        let _node = bed.start(&bed.config(""))?;
        let agent = bed.agent(0)?;
        ensure!(bed.whose()? == "one");
        agent.leave()?;
        let answered = std::thread::scope(|scope| {
            let waits = scope.spawn(|| bed.whose());
            let back = bed.agent(0);
            let answered = waits.join().map_err(|_| anyhow::anyhow!("the request panicked"))?;
            drop(back?);
            answered
        })?;
        ensure!(answered == "one");
        Ok(())
    });
}

#[test]
fn ports_of_a_tunnel_carry_connections_and_datagrams() {
    mainstay_lab::test(|| {
        let bed = Bed::make()?;
        let config = bed.config("tcp = [\"10.0.4.20:8022\"]\nudp = [\"10.0.4.20:5300\"]");
        let node = bed.start(&config)?;
        let agent = bed.agent(0)?;
        let answer =
            talk(&bed.client, "10.0.4.20:8022", "GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")?;
        ensure!(answer.contains("\r\n\r\none\n"), "{answer}");
        drop(agent);
        let who = As { kind: Kind::Udp, ..bed.who(1)? };
        let agent = Agent::start(&bed.sites[1].0, HUB, &bed.key.secret(), who)?;
        agent.wait_met()?;
        let socket = bed.client.run(|| UdpSocket::bind("10.0.4.9:0"))??;
        socket.connect("10.0.4.20:5300")?;
        socket.set_read_timeout(Some(std::time::Duration::from_millis(500)))?;
        let mut answer = [0; 100];
        node.daemon().wait_until("a datagram comes back", LIMIT, || {
            socket.send(b"question")?;
            Ok(socket.recv(&mut answer).is_ok_and(|count| &answer[..count] == b"two: question"))
        })?;
        Ok(())
    });
}

#[test]
fn a_host_that_is_none_of_the_tunnels_is_refused_and_its_own_are_told() {
    mainstay_lab::test(|| {
        let bed = Bed::make()?;
        let _node = bed.start(&bed.config(""))?;
        let wants = |host| -> Result<Agent> {
            let who = As { host: Some(host), ..bed.who(0)? };
            Agent::start(&bed.sites[0].0, HUB, &bed.key.secret(), who)
        };
        let Told::Refused(why) = wants("bank.example.com")?.next()? else { anyhow::bail!("it was let in") };
        ensure!(
            why.sentence.contains("bank.example.com is not one of the hosts of tunnel office"),
            "{why:?}"
        );
        let welcome = wants("app.example.com")?.wait_met()?;
        let told = format!("{:?}", welcome.grants);
        ensure!(told.contains("http://app.example.com"), "{told}");
        let (status, _) = bed.get("other.example.com")?;
        ensure!(status.starts_with("HTTP/1.1 404"), "{status}");
        Ok(())
    });
}

#[test]
fn without_an_agent_there_is_503_and_the_node_says_so() {
    mainstay_lab::test(|| {
        let bed = Bed::make()?;
        let node = bed.start(&bed.config(""))?;
        let (status, _) = bed.get("app.example.com")?;
        ensure!(status.starts_with("HTTP/1.1 503"), "{status}");
        let why = format!("tunnel {TUNNEL} is offered by no agent");
        ensure!(node.status_json()?["degraded"].to_string().contains(&why));
        Ok(())
    });
}
