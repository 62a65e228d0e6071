//! Each fault does what its name says, and healing undoes it. Keepalived is only there to be hurt.

use std::time::{Duration, Instant};

use anyhow::Result;
use mainstay_lab::cluster::{Cluster, Pace, Plan, Software, echo_target, vip_addr};
use mainstay_lab::probe::UdpClient;
use mainstay_lab::{Fault, Node, Way, process, wait_until};

const LIMIT: Duration = Duration::from_secs(10);
const CALM: Duration = Duration::from_millis(400);

/// Two nodes with probes of their service, `web-1` the holder, and a client.
fn pair() -> Result<(UdpClient, Cluster)> {
    let pace = Pace { version: 3, advert: Duration::from_millis(100) };
    let mut plan = Plan::simple(&Software::Keepalived, pace, &["web-1", "web-2"]);
    plan.probe = true;
    let cluster = Cluster::start(&plan)?;
    let client = UdpClient::start(&cluster.outside, echo_target(), Duration::from_millis(2))?;
    client.wait_for_steady("web-1", CALM, LIMIT)?;
    Ok((client, cluster))
}

fn holds(node: &Node) -> Result<bool> {
    Ok(node.host.addresses()?.contains(&vip_addr(0, 0).into()))
}

#[test]
fn a_dead_service_moves_the_vip_and_its_return_brings_it_back() {
    mainstay_lab::test(|| {
        let (client, cluster) = pair()?;
        let damage = Fault::ServiceDeath.strike(&cluster.nodes[0])?;
        client.wait_for_steady("web-2", CALM, LIMIT)?;
        damage.heal()?;
        client.wait_for_steady("web-1", CALM, LIMIT)
    });
}

#[test]
fn a_partition_makes_two_holders_whom_the_client_both_reaches() {
    mainstay_lab::test(|| {
        let (_client, cluster) = pair()?;
        let [first, second] = &cluster.nodes[..] else { panic!("two nodes") };
        let damage = Fault::Partition(second.host.ports()).strike(first)?;
        wait_until("both hold the vip", LIMIT, || Ok(holds(first)? && holds(second)?))?;
        for addr in ["10.8.0.1", "10.8.0.2"] {
            cluster.outside.output("ping", &["-c1", "-W2", addr])?;
        }
        damage.heal()?;
        wait_until("one holds the vip", LIMIT, || Ok(holds(first)? && !holds(second)?))
    });
}

#[test]
fn a_holder_that_is_not_heard_gets_a_rival_and_one_that_hears_nothing_does_not() {
    mainstay_lab::test(|| {
        let (client, cluster) = pair()?;
        let [first, second] = &cluster.nodes[..] else { panic!("two nodes") };
        let deaf = Fault::CutVrrp(Way::In).strike(first)?;
        client.wait_for_steady("web-1", CALM, LIMIT)?;
        assert!(!holds(second)?);
        deaf.heal()?;
        let mute = Fault::OneWay(Way::Out).strike(first)?;
        client.wait_for("web-2", LIMIT)?;
        assert!(holds(first)?);
        mute.heal()?;
        wait_until("the rival yields", LIMIT, || Ok(!holds(second)?))
    });
}

#[test]
fn a_killed_worker_is_another_process_afterwards() {
    mainstay_lab::test(|| {
        let (_client, cluster) = pair()?;
        let keeper = &cluster.nodes[0].keeper;
        let before = keeper.worker("vrrp")?;
        Fault::KillWorker("vrrp".into()).strike(&cluster.nodes[0])?.heal()?;
        wait_until("it runs again", LIMIT, || Ok(keeper.worker("vrrp").is_ok_and(|pid| pid != before)))?;
        assert!(!process::alive(before));
        Ok(())
    });
}

#[test]
fn a_reload_is_read_and_the_holder_goes_on() {
    mainstay_lab::test(|| {
        let (client, cluster) = pair()?;
        Fault::Reload.strike(&cluster.nodes[0])?.heal()?;
        let daemon = cluster.nodes[0].keeper.daemon();
        daemon.wait_until("it has reloaded", LIMIT, || Ok(daemon.log().contains("Reload")))?;
        client.wait_for_steady("web-1", CALM, LIMIT)
    });
}

#[test]
fn somebody_elses_hand_takes_addresses_and_rules_away() {
    mainstay_lab::test(|| {
        let (_client, cluster) = pair()?;
        let node = &cluster.nodes[1];
        node.host.ip("addr add 10.4.9.9/32 dev eth0")?;
        node.host.nft("add table inet somebodys")?;
        Fault::AddressDeleted("10.4.9.9/32".into()).strike(node)?.heal()?;
        Fault::RulesetFlushed.strike(node)?.heal()?;
        assert!(!node.host.addresses()?.contains(&[10, 4, 9, 9].into()));
        assert_eq!(node.host.output("nft", &["list", "tables"])?, "");
        Ok(())
    });
}

#[test]
fn a_node_killed_outright_leaves_its_address_and_starts_again_when_healed() {
    mainstay_lab::test(|| {
        let (client, cluster) = pair()?;
        let [first, second] = &cluster.nodes[..] else { panic!("two nodes") };
        let family = first.keeper.daemon().tree()?;
        let damage = Fault::KillAll.strike(first)?;
        assert!(!family.iter().any(|pid| process::alive(*pid)));
        wait_until("both hold the vip", LIMIT, || Ok(holds(first)? && holds(second)?))?;
        let healed = Instant::now();
        damage.heal()?;
        client.wait_for_steady("web-1", CALM, LIMIT)?;
        assert!(first.keeper.daemon().running() && healed.elapsed() < LIMIT);
        Ok(())
    });
}
