//! Interfaces that are not there yet, go, come back, change their name or lose their carrier.

use anyhow::Result;
use mainstay_lab::peer::Mainstay;

use crate::rig::{LIMIT, Rig, VIP, cluster, front, has, vip, wait_for_address};

fn waiting(rig: &Rig, name: &str) -> Result<Mainstay> {
    let config = cluster(1, 1) + &front(150, "").replace("eth0", name);
    let node = rig.start(1, &config)?;
    node.wait_for_state("front", "fault", LIMIT)?;
    assert!(node.vip("front")?["why"].as_str().is_some_and(|why| why.contains("interface is missing")));
    Ok(node)
}

#[test]
fn a_missing_interface_is_a_fault_until_it_appears_with_an_address() {
    mainstay_lab::test(|| {
        let rig = Rig::new(1)?;
        let node = waiting(&rig, "eth1")?;
        let late = rig.lab.segment("late")?;
        rig.host(1).plug(&late, "eth1", &[])?;
        rig.host(1).ip("addr add 10.0.5.1/24 dev eth1")?;
        node.wait_for_state("front", "active", LIMIT)?;
        let shown = rig.host(1).output("ip", &["-o", "addr", "show", "dev", "eth1"])?;
        assert!(shown.contains(VIP), "{shown}");
        rig.host(1).ip("link del eth1")?;
        node.wait_for_state("front", "fault", LIMIT)
    });
}

#[test]
fn a_renamed_interface_is_lost_under_its_old_name_and_found_under_its_new() {
    mainstay_lab::test(|| {
        let rig = Rig::new(1)?;
        let node = waiting(&rig, "lan0")?;
        let rename = |from: &str, to: &str| {
            rig.host(1).ip(&format!("link set {from} down\nlink set {from} name {to}\nlink set {to} up"))
        };
        rename("eth0", "lan0")?;
        node.wait_for_state("front", "active", LIMIT)?;
        assert!(has(rig.host(1), VIP)?);
        rename("lan0", "eth0")?;
        node.wait_for_state("front", "fault", LIMIT)?;
        wait_for_address(rig.host(1), VIP, false)?;
        assert!(!rig.host(1).output("ip", &["-o", "addr"])?.contains(VIP), "not even where it is down");
        Ok(())
    });
}

/// The vip moves to n2 while something is wrong with n1, and comes back.
fn comes_back(wrong: impl FnOnce(&Rig) -> Result<()>, right: impl FnOnce(&Rig) -> Result<()>) -> Result<()> {
    let rig = Rig::new(2)?;
    let both = |n, priority| {
        let six = vip("six", "fd00:4::99", 51, priority, "");
        cluster(n, 2) + &front(priority, "") + &six
    };
    let first = rig.start(1, &both(1, 150))?;
    let second = rig.start(2, &both(2, 100))?;
    for name in ["front", "six"] {
        first.wait_for_state(name, "active", LIMIT)?;
        second.wait_for_state(name, "backup", LIMIT)?;
    }
    wrong(&rig)?;
    for name in ["front", "six"] {
        second.wait_for_state(name, "active", LIMIT)?;
        first.wait_for_state(name, "fault", LIMIT)?;
    }
    assert!(!rig.host(1).output("ip", &["-o", "addr"])?.contains(VIP));
    right(&rig)?;
    for (name, addr) in [("front", VIP), ("six", "fd00:4::99")] {
        first.wait_for_state(name, "active", LIMIT)?;
        second.wait_for_state(name, "backup", LIMIT)?;
        wait_for_address(rig.host(1), addr, true)?;
        wait_for_address(rig.host(2), addr, false)?;
        rig.watcher.output("ping", &["-c1", "-W2", addr])?;
    }
    Ok(())
}

#[test]
fn a_link_set_down_moves_the_vips_of_both_families_and_up_brings_them_back() {
    mainstay_lab::test(|| {
        comes_back(
            |rig| rig.host(1).ip("link set eth0 down"),
            // The kernel forgets IPv6 addresses of a link that is down, the node's own too.
            |rig| rig.host(1).ip("link set eth0 up\naddr replace fd00:4::1/64 dev eth0 nodad"),
        )
    });
}

#[test]
fn a_lost_carrier_moves_the_vips_of_both_families_and_its_return_brings_them_back() {
    mainstay_lab::test(|| {
        comes_back(
            |rig| rig.host(1).port("eth0")?.set_carrier(false),
            |rig| rig.host(1).port("eth0")?.set_carrier(true),
        )
    });
}

#[test]
fn an_address_on_another_interface_comes_and_goes_with_it_and_the_vip_stays() {
    mainstay_lab::test(|| {
        let rig = Rig::new(1)?;
        let other = "unadvertised = [{ addr = \"10.0.5.99\", interface = \"eth1\" }, { addr = \"fd00:5::99\", \
                     interface = \"eth1\" }]";
        let node = rig.start(1, &(cluster(1, 1) + &front(150, other)))?;
        node.wait_for_state("front", "active", LIMIT)?;
        let late = rig.lab.segment("late")?;
        rig.host(1).plug(&late, "eth1", &["10.0.5.1/24"])?;
        let both = |there| -> Result<()> {
            wait_for_address(rig.host(1), "10.0.5.99", there)?;
            wait_for_address(rig.host(1), "fd00:5::99", there)
        };
        both(true)?;
        rig.host(1).ip("link set eth1 down")?;
        rig.host(1).ip("link set eth1 up")?;
        both(true)?;
        rig.host(1).ip("link del eth1")?;
        both(false)?;
        assert_eq!(node.vip("front")?["epoch"], 1);
        assert!(has(rig.host(1), VIP)?);
        Ok(())
    });
}
