//! A vip never becomes a source address by accident.

use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};

use anyhow::Result;
use mainstay_lab::peer::Mainstay;
use mainstay_lab::{Host, wait_until};

use crate::rig::{LIMIT, Rig, VIP, cluster, front, has, vip};

const VIP6: &str = "fd00:4::99";

fn both(rig: &Rig) -> Result<Mainstay> {
    let config = cluster(1, 1) + &front(150, "") + &vip("six", VIP6, 51, 150, "");
    let node = rig.start(1, &config)?;
    node.wait_for_state("front", "active", LIMIT)?;
    node.wait_for_state("six", "active", LIMIT)?;
    Ok(node)
}

/// Which address a TCP connection of `from` shows to `to`.
fn seen(from: &Host, to: &Host, target: &str) -> Result<IpAddr> {
    let target: SocketAddr = target.parse()?;
    let listener = to.run(|| TcpListener::bind(target))??;
    let _stream = from.run(|| TcpStream::connect_timeout(&target, LIMIT))??;
    Ok(listener.accept()?.1.ip())
}

#[test]
fn connections_of_the_holder_come_from_its_own_address_in_both_families() {
    mainstay_lab::test(|| {
        let rig = Rig::new(1)?;
        let _node = both(&rig)?;
        assert_eq!(seen(rig.host(1), &rig.client, "10.0.4.200:9000")?, IpAddr::from([10, 0, 4, 1]));
        assert_eq!(seen(rig.host(1), &rig.client, "[fd00:4::c8]:9000")?, "fd00:4::1".parse::<IpAddr>()?);
        for (target, own) in [("10.0.4.200", "src 10.0.4.1 "), ("fd00:4::c8", "src fd00:4::1 ")] {
            let way = rig.host(1).output("ip", &["-o", "route", "get", target])?;
            assert!(way.contains(own), "{way}");
        }
        Ok(())
    });
}

#[test]
fn an_ipv6_vip_waits_for_no_duplicate_detection_and_is_not_preferred() {
    mainstay_lab::test(|| {
        let rig = Rig::new(1)?;
        for name in ["all", "default", "eth0"] {
            rig.host(1).sysctl(&format!("net.ipv6.conf.{name}.accept_dad"), "1")?;
        }
        let _node = both(&rig)?;
        wait_until("the address stands there", LIMIT, || has(rig.host(1), VIP6))?;
        let shown = rig.host(1).output("ip", &["-o", "addr", "show", "dev", "eth0", "to", VIP6])?;
        assert!(shown.contains("/128") && !shown.contains("tentative"), "{shown}");
        assert!(shown.contains("preferred_lft 0sec") && shown.contains("nodad"), "{shown}");
        rig.client.output("ping", &["-c1", "-W2", VIP6])?;
        let four = rig.host(1).output("ip", &["-o", "addr", "show", "dev", "eth0", "to", VIP])?;
        assert!(four.contains("/32") && four.contains("noprefixroute"), "{four}");
        Ok(())
    });
}

#[test]
fn a_node_that_loses_its_own_address_for_a_moment_does_not_speak_from_the_vip() {
    mainstay_lab::test(|| {
        let rig = Rig::new(1)?;
        let node = both(&rig)?;
        rig.host(1).ip("addr del 10.0.4.1/24 dev eth0")?;
        node.wait_for_state("front", "fault", LIMIT)?;
        assert!(!has(rig.host(1), VIP)?);
        rig.host(1).ip("addr add 10.0.4.1/24 dev eth0")?;
        node.wait_for_state("front", "active", LIMIT)?;
        assert_eq!(seen(rig.host(1), &rig.client, "10.0.4.200:9000")?, IpAddr::from([10, 0, 4, 1]));
        Ok(())
    });
}
