//! Agents that come in by QUIC: their address changes, UDP is blocked, the hub is upgraded, its certificate is another, the road loses.

use std::fs;
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Result, ensure};
use mainstay_lab::peer::{Keeper as _, Mainstay};

use crate::bed::{Bed, LIMIT, TUNNEL, binary};
use crate::carriers::{agent, certificates, tls};

/// Where agents come in by QUIC, and by TLS.
const DOOR: &str = "10.0.4.20:7000";

/// The tunnel is called `office`: an agent of this name offers it.
fn config(bed: &Bed) -> String {
    format!(
        "[node]\nid = \"edge\"\nscript_user = \"root\"\n\n[edge]\ninstances = 2\nthreads = 1\ndrain = \"5s\"\n\n\
         [[listener]]\nname = \"web\"\nbind = \"10.0.4.20:80\"\n\n\
         [[listener]]\nname = \"agents\"\nbind = \"{DOOR}\"\nprotocol = \"hub\"\nquic = true\n{}\n\n\
         [[tunnel]]\nid = \"{TUNNEL}\"\nagents = [\"{}\"]\nhosts = [\"app.example.com\"]\n",
        tls(bed.edge.directory()),
        bed.key.public()
    )
}

fn start(bed: &Bed, program: &Path) -> Result<Mainstay> {
    certificates(bed.edge.directory(), &["10.0.4.20"])?;
    let node = Mainstay::start(&bed.edge, program, &config(bed))?;
    let at: SocketAddr = DOOR.parse()?;
    let there = || Ok(bed.client.run(|| TcpStream::connect_timeout(&at, LIMIT))?.is_ok());
    node.daemon().wait_until("the hub is there", LIMIT, there)?;
    Ok(node)
}

/// Waits until the agent has a session at both processes, by this carrier.
fn wait_by(node: &Mainstay, carrier: &str) -> Result<()> {
    node.daemon().wait_until(&format!("it is there by {carrier}"), LIMIT, || {
        let listed = node.say(&["tunnel", "list"])?;
        Ok(listed.lines().any(|row| row.contains("2/2") && row.contains(&format!(" {carrier} "))))
    })
}

/// Who has left so far.
fn left(node: &Mainstay) -> Result<usize> {
    Ok(node.say(&["events"])?.lines().filter(|line| line.contains(" left")).count())
}

#[test]
fn a_session_outlives_the_agents_address_and_a_road_that_loses() {
    mainstay_lab::test(|| {
        let bed = Bed::make()?;
        let node = start(&bed, &binary())?;
        let site = &bed.sites[0].0;
        let _agent = agent(site, &bed, TUNNEL, &format!("quic://{DOOR}"), &[])?;
        wait_by(&node, "quic")?;
        ensure!(bed.all(20)? == ["one"]);
        let before = left(&node)?;

        site.ip("addr del 10.0.4.41/24 dev eth0\naddr add 10.0.4.43/24 dev eth0")?;
        ensure!(bed.all(20)? == ["one"]);
        ensure!(left(&node)? == before, "{}", node.say(&["events"])?);

        site.nft(
            "table inet lossy {\n chain in {\n  type filter hook input priority 0;\n  meta l4proto udp numgen random mod 100 < 10 drop\n }\n \
             chain out {\n  type filter hook output priority 0;\n  meta l4proto udp numgen random mod 100 < 10 drop\n }\n}",
        )?;
        ensure!(bed.all(60)? == ["one"]);
        ensure!(left(&node)? == before, "{}", node.say(&["events"])?);
        Ok(())
    });
}

#[test]
fn where_udp_is_blocked_the_agent_comes_by_tls_and_by_quic_when_it_is_not() {
    mainstay_lab::test(|| {
        let bed = Bed::make()?;
        let node = start(&bed, &binary())?;
        let site = &bed.sites[0].0;
        site.nft("table inet wall {\n chain out {\n  type filter hook output priority 0;\n  udp dport 7000 drop\n }\n}")?;
        let (quic, other) = (format!("quic://{DOOR}"), format!("tls://{DOOR}"));
        let _agent = agent(site, &bed, TUNNEL, &quic, &["--hub", &other])?;
        wait_by(&node, "tls")?;
        ensure!(bed.all(20)? == ["one"]);
        site.nft("delete table inet wall")?;
        wait_by(&node, "quic")?;
        ensure!(bed.all(20)? == ["one"]);
        Ok(())
    });
}

#[test]
fn upgrades_under_load_fail_no_request_of_a_tunnel_over_quic() {
    mainstay_lab::test(|| {
        let bed = Bed::make()?;
        let program = bed.edge.directory().join("mainstay");
        copied(&bed, &binary(), &program)?;
        let node = start(&bed, &program)?;
        let _agent = agent(&bed.sites[0].0, &bed, TUNNEL, &format!("quic://{DOOR}"), &[])?;
        wait_by(&node, "quic")?;
        let over = AtomicBool::new(false);
        let (served, failed) = std::thread::scope(|scope| {
            let visits = || {
                let (mut served, mut failed) = (0, Vec::new());
                while !over.load(Ordering::Relaxed) {
                    match bed.whose() {
                        Ok(_) => served += 1,
                        Err(why) => failed.push(format!("{why:#}")),
                    }
                }
                (served, failed)
            };
            let visitor = scope.spawn(visits);
            let upgraded = (0..2).try_for_each(|_| {
                let fresh = program.with_extension("new");
                copied(&bed, &program, &fresh)?;
                fs::rename(&fresh, &program)?;
                let said = node.say(&["upgrade"])?;
                ensure!(said.contains("has taken over"), "{said}");
                wait_by(&node, "quic")
            });
            over.store(true, Ordering::Relaxed);
            upgraded?;
            visitor.join().map_err(|_| anyhow::anyhow!("a visitor panicked"))
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
fn a_certificate_that_is_exchanged_is_shown_to_whoever_comes_next_and_ends_no_session() {
    mainstay_lab::test(|| {
        let bed = Bed::make()?;
        let node = start(&bed, &binary())?;
        let _one = agent(&bed.sites[0].0, &bed, TUNNEL, &format!("quic://{DOOR}"), &[])?;
        wait_by(&node, "quic")?;
        let before = left(&node)?;
        // Another authority, which the second agent alone believes.
        certificates(bed.edge.directory(), &["10.0.4.20"])?;
        node.say(&["reload"])?;
        let _two = agent(&bed.sites[1].0, &bed, TUNNEL, &format!("quic://{DOOR}"), &[])?;
        node.daemon().wait_until("both serve", LIMIT, || Ok(bed.all(20)? == ["one", "two"]))?;
        ensure!(left(&node)? == before, "{}", node.say(&["events"])?);
        Ok(())
    });
}
