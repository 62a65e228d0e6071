//! The owner's address, vips without an address: what is nobody's to take is left alone.

use std::time::Duration;

use anyhow::Result;
use mainstay_lab::peer::Keeper;

use crate::rig::{LIMIT, Rig, SERVICE, VIP, cluster, front, has, pair, rewrite, vip, wait_for_address};

/// The owner's own static address on n1.
fn owned(rig: &Rig) -> Result<()> {
    rig.host(1).ip(&format!("addr add {VIP}/24 dev eth0"))
}

fn shown(rig: &Rig) -> Result<String> {
    rig.host(1).output("ip", &["-o", "addr", "show", "dev", "eth0", "to", VIP])
}

#[test]
fn the_owners_static_address_is_neither_changed_nor_gated_nor_removed() {
    mainstay_lab::test(|| {
        let rig = Rig::new(2)?;
        owned(&rig)?;
        let before = shown(&rig)?;
        assert!(before.contains("valid_lft forever"), "{before}");
        let second = rig.start(2, &(cluster(2, 2) + &front(100, "")))?;
        second.wait_for_state("front", "active", LIMIT)?;
        let first = rig.start(1, &(cluster(1, 2) + &front(255, "")))?;
        first.wait_for_state("front", "active", LIMIT)?;
        second.wait_for_state("front", "backup", LIMIT)?;
        assert_eq!(shown(&rig)?, before);
        first.say(&["vip", "drain", "front"])?;
        second.wait_for_state("front", "active", LIMIT)?;
        assert_eq!(shown(&rig)?, before);
        // Out, and still the host's own: not gated.
        second.daemon().stop()?;
        second.daemon().wait_ended(LIMIT)?;
        let client = rig.ask(SERVICE, Duration::from_millis(5))?;
        client.wait_for("n1", LIMIT)?;
        first.daemon().stop()?;
        first.daemon().wait_ended(LIMIT)?;
        assert_eq!(shown(&rig)?, before);
        client.wait_for("n1", LIMIT)
    });
}

#[test]
fn an_owner_whose_only_address_is_the_vip_holds_it_and_a_kill_leaves_it() {
    mainstay_lab::test(|| {
        let rig = Rig::new(1)?;
        owned(&rig)?;
        rig.host(1).ip("addr del 10.0.4.1/24 dev eth0")?;
        // The kernel takes secondary addresses of a subnet away with its first.
        if !has(rig.host(1), VIP)? {
            owned(&rig)?;
        }
        let before = shown(&rig)?;
        let node = rig.start(1, &(cluster(1, 1) + &front(255, "")))?;
        node.wait_for_state("front", "active", LIMIT)?;
        let worker = node.worker_pid("vip")?;
        crate::rig::kill(worker)?;
        node.wait_until("another worker is active", LIMIT, |status| {
            status["vips"][0]["state"] == "active" && status["workers"][0]["pid"].as_i64() != Some(0)
        })?;
        assert_eq!(shown(&rig)?, before);
        Ok(())
    });
}

#[test]
fn a_vip_of_priority_255_whose_address_is_not_the_interfaces_own_moves_like_any_other() {
    mainstay_lab::test(|| {
        let rig = Rig::new(2)?;
        let first = rig.start(1, &(cluster(1, 2) + &front(255, "")))?;
        first.wait_for_state("front", "active", LIMIT)?;
        wait_for_address(rig.host(1), VIP, true)?;
        let second = rig.start(2, &(cluster(2, 2) + &front(100, "")))?;
        second.wait_for_state("front", "backup", LIMIT)?;
        first.daemon().stop()?;
        first.daemon().wait_ended(LIMIT)?;
        assert!(!has(rig.host(1), VIP)?);
        wait_for_address(rig.host(2), VIP, true)
    });
}

#[test]
fn a_vip_that_is_not_installed_is_held_without_an_address_and_notifies() {
    mainstay_lab::test(|| {
        let rig = Rig::new(2)?;
        let told = rig.lab.directory().join("told");
        let notify = format!(
            "install = false\nnotify = [{{ exec = [\"/bin/sh\", \"-c\", \"echo $MAINSTAY_NODE $MAINSTAY_STATE \
             $MAINSTAY_ADDRS >> {}\"] }}]",
            told.display()
        );
        let [first, second] = pair(&rig, &notify)?;
        assert!(!has(rig.host(1), VIP)? && !has(rig.host(2), VIP)?);
        first.daemon().stop()?;
        second.wait_for_state("front", "active", LIMIT)?;
        assert!(!has(rig.host(2), VIP)?);
        let heard = || Ok(std::fs::read_to_string(&told)?.contains(&format!("n2 active {VIP}")));
        second.daemon().wait_until("its script is told", LIMIT, heard)?;
        assert!(std::fs::read_to_string(&told)?.contains(&format!("n1 active {VIP}")));
        Ok(())
    });
}

#[test]
fn addresses_that_a_reload_adds_or_drops_follow_without_a_move() {
    mainstay_lab::test(|| {
        let rig = Rig::new(1)?;
        let config = |more: &str| cluster(1, 1) + &front(150, more);
        let node = rig.start(1, &config(""))?;
        node.wait_for_state("front", "active", LIMIT)?;
        let epoch = node.vip("front")?["epoch"].clone();
        rewrite(&node, &config("unadvertised = [\"10.0.4.97\", \"fd00:4::97\"]"))?;
        node.say(&["reload"])?;
        wait_for_address(rig.host(1), "10.0.4.97", true)?;
        wait_for_address(rig.host(1), "fd00:4::97", true)?;
        rig.client.output("ping", &["-c1", "-W2", "10.0.4.97"])?;
        rewrite(&node, &config("install = false"))?;
        node.say(&["reload"])?;
        for addr in [VIP, "10.0.4.97", "fd00:4::97"] {
            wait_for_address(rig.host(1), addr, false)?;
        }
        assert_eq!(node.vip("front")?["epoch"], epoch);
        Ok(())
    });
}

#[test]
fn an_orderly_stop_leaves_nothing_in_the_kernel() {
    mainstay_lab::test(|| {
        for gate in ["tc", "nft"] {
            let rig = Rig::new(1)?;
            let config = cluster(1, 1) + &front(150, "") + &vip("back", "10.0.4.98", 52, 100, "");
            let before = rig.host(1).output("ip", &["-o", "addr", "show", "dev", "eth0"])?;
            let node = rig.start_gated(1, gate, &config)?;
            node.wait_for_state("back", "active", LIMIT)?;
            node.daemon().stop()?;
            node.daemon().wait_ended(LIMIT)?;
            let after = || -> Result<bool> {
                let addrs = rig.host(1).output("ip", &["-o", "addr", "show", "dev", "eth0"])?;
                let queues = rig.host(1).output("tc", &["qdisc", "show", "dev", "eth0"])?;
                let tables = rig.host(1).output("nft", &["list", "tables"])?;
                Ok(addrs == before && !queues.contains("clsact") && tables.is_empty())
            };
            mainstay_lab::wait_until(&format!("nothing of the {gate} gate is left"), LIMIT, after)?;
        }
        Ok(())
    });
}
