//! A network without IPv4: wires, leases, the address and the token are IPv6's alone.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use mainstay_lab::peer::{Keeper as _, Mainstay};
use mainstay_lab::probe::{Echo, UdpClient};
use mainstay_lab::{Host, Lab};

use crate::rig::{CALM, LIMIT, binary, write_key};

const SERVICE: &str = "[fd00:4::99]:7777";

/// What a busy machine may add to a bound; benches say what it takes.
const BUSY: Duration = Duration::from_millis(300);

fn config(host: &Host, priority: u8) -> String {
    let key = host.directory().join("cluster.key");
    let head = format!(
        "[node]\nid = \"{}\"\n\n[cluster]\nname = \"six\"\nkey = {{ file = \"{}\" }}\nterm = \"300ms\"\npeers = [{{ id = \"n1\", addrs = \
         [\"fd00:4::1\", \"fd00:5::1\"] }}, {{ id = \"n2\", addrs = [\"fd00:4::2\", \"fd00:5::2\"] }}, {{ id = \"w\", addrs = \
         [\"fd00:4::9\", \"fd00:5::9\"], witness = true }}]\n\n",
        host.name(),
        key.display()
    );
    let vip = format!(
        "[[vip]]\nname = \"front\"\naddrs = [\"fd00:4::99\"]\ninterface = \"eth0\"\npriority = {priority}\nguard = \"quorum\"\npreempt = \
         false\n"
    );
    if priority == 0 { head } else { head + &vip }
}

#[test]
fn a_cluster_without_ipv4_holds_moves_and_loses_a_wire_as_any_other() {
    mainstay_lab::test(|| {
        let lab = Lab::new("six")?;
        let wires = [lab.segment("lan")?, lab.segment("second")?];
        let host = |name: &str, number: u8| -> Result<Host> {
            let host = lab.host(name)?;
            for (wire, (segment, interface)) in (4..).zip(wires.iter().zip(["eth0", "eth1"])) {
                host.plug(segment, interface, &[&format!("fd00:{wire}::{number}/64")])?;
            }
            write_key(&host)?;
            Ok(host)
        };
        let (one, two, w, client) = (host("n1", 1)?, host("n2", 2)?, host("w", 9)?, host("client", 20)?);
        for host in [&one, &two, &w] {
            ensure!(host.addresses()?.iter().all(std::net::IpAddr::is_ipv6), "IPv6 alone");
        }
        let _echoes = [Echo::start(&one, SERVICE.parse()?)?, Echo::start(&two, SERVICE.parse()?)?];
        let _witness = Mainstay::start(&w, &binary(), &config(&w, 0))?;
        let first = Mainstay::start(&one, &binary(), &config(&one, 150))?;
        first.wait_for_state("front", "active", LIMIT)?;
        let second = Mainstay::start(&two, &binary(), &config(&two, 100))?;
        for node in [&first, &second] {
            node.wait_until("three answer", LIMIT, |status| status["cluster"]["answering"] == 3)?;
        }
        let client = UdpClient::start(&client, SERVICE.parse()?, Duration::from_millis(1))?;
        client.wait_for_steady("n1", CALM, LIMIT)?;

        let cut = one.port("eth1")?.isolate(mainstay_lab::Way::Both)?;
        first.wait_until("the lost wire is told", LIMIT, |status| {
            status["degraded"].to_string().contains("the wire to n2 over [fd00:5::2]:5112 is lost")
        })?;
        cut.heal()?;
        let moved = Instant::now();
        first.say(&["vip", "move", "front"])?;
        client.wait_for_steady("n2", CALM, LIMIT)?;
        let killed = Instant::now();
        second.daemon().kill_all()?;
        client.wait_for_steady("n1", CALM, LIMIT)?;
        let line = client.stop();
        let (moving, dying) = (line.outage(&(moved..killed)), line.outage(&(killed..Instant::now())));
        println!("moved {moving:?}, killed {dying:?}");
        ensure!(moving < Duration::from_millis(150) && dying < Duration::from_millis(300) + BUSY);
        second.daemon().start()?;
        first.wait_until("three answer", LIMIT, |status| status["cluster"]["answering"] == 3)
    });
}
