//! What we put on the wire, as tshark reads it and as keepalived hears it: nobody finds fault with it.

use std::path::Path;
use std::process::Command;

use anyhow::{Result, ensure};
use mainstay_lab::capture::Capture;
use mainstay_lab::wait_until;

use crate::bed::{Ground, Kind, LIMIT, Member};

/// Four instances that keepalived and we both keep: each version, family and way.
fn conf(own: u8, priority: u8) -> String {
    let instance = |name: &str, vrid: u8, lines: &str, vips: &str| {
        format!(
            "vrrp_instance {name} {{\n  state BACKUP\n  interface eth0\n  virtual_router_id {vrid}\n  priority {priority}\n  \
             garp_master_delay 1\n{lines}  virtual_ipaddress {{\n    {vips}\n  }}\n}}\n"
        )
    };
    let other = 3 - own;
    [
        format!("global_defs {{\n  router_id node-{own}\n}}\n"),
        instance("old", 51, "  authentication {\n    auth_type PASS\n    auth_pass s3cret\n  }\n", "10.0.4.51/24"),
        instance("new", 52, "  version 3\n  advert_int 0.5\n", "10.0.4.52/24"),
        instance(
            "one-by-one",
            53,
            &format!("  version 3\n  advert_int 0.5\n  unicast_src_ip 10.0.4.{own}\n  unicast_peer {{\n    10.0.4.{other}\n  }}\n"),
            "10.0.4.53/24",
        ),
        instance("six", 54, "  version 3\n  advert_int 0.5\n", "fe80::54/64\n    fd00:4::54/64"),
    ]
    .concat()
}

/// Frames of a capture that match, with checksums looked at; one line each.
fn matching(capture: &Path, filter: &str) -> Result<Vec<String>> {
    let output = Command::new("tshark")
        .args(["-n", "-r"])
        .arg(capture)
        .args(["-o", "ip.check_checksum:TRUE", "-o", "vrrp.v3_checksum_as_in_v2:FALSE", "-Y", filter])
        .env("HOME", capture.parent().unwrap_or(Path::new("/")))
        .output()?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect())
}

#[test]
fn tshark_and_keepalived_find_no_fault_with_what_we_send() {
    mainstay_lab::test(|| {
        let ground = Ground::lay("wire")?;
        let keepalived = Member::start(&ground.hosts[1], Kind::Keepalived, &conf(2, 100))?;
        let capture = Capture::of_segment(&ground.lab, &ground.lan)?;
        let ours = Member::start(&ground.hosts[0], Kind::Mainstay, &conf(1, 150))?;
        let mainstay = ours.mainstay.as_ref().expect("it is ours");
        for vip in ["old", "new", "one-by-one", "six"] {
            mainstay.wait_for_state(vip, "active", LIMIT)?;
        }
        // The second series of announcements, a second after the first.
        mainstay.wait_until("all was announced twice", LIMIT, |status| {
            let vips = status["vips"].as_array().into_iter().flatten();
            let counters = vips.filter_map(|vip| vip["counters"].as_array()).flatten();
            let mut announced = counters.filter(|counter| counter["name"] == "vip_announcements_total");
            announced.all(|counter| counter["value"].as_u64() >= Some(10))
        })?;
        ours.node.keeper.daemon().stop()?;
        ours.node.keeper.daemon().wait_ended(LIMIT)?;
        wait_until("keepalived has them all", LIMIT, || {
            Ok(keepalived.holds("10.0.4.51")?
                && keepalived.holds("10.0.4.53")?
                && keepalived.holds("fd00:4::54")?)
        })?;

        let capture = capture.stop()?;
        let mac = ground.hosts[0].mac("eth0")?.map(|byte| format!("{byte:02x}")).join(":");
        let ours = format!("eth.src == {mac} && (vrrp || arp || icmpv6.type == 136)");
        // keepalived may have held an address first, alone for long enough: then it is claimed twice, which is no fault.
        let faulty = "(_ws.expert || _ws.malformed) && !arp.duplicate-address-detected";
        let faults = matching(&capture, &format!("{ours} && {faulty}"))?;
        ensure!(faults.is_empty(), "{}", faults.join("\n"));
        for kind in [
            "vrrp.version == 2 && vrrp.virt_rtr_id == 51 && vrrp.auth_type == 1",
            "vrrp.version == 3 && vrrp.virt_rtr_id == 52 && ip.dst == 224.0.0.18",
            "vrrp.version == 3 && vrrp.virt_rtr_id == 53 && ip.dst == 10.0.4.2",
            "vrrp.version == 3 && vrrp.virt_rtr_id == 54 && ipv6.dst == ff02::12",
            "vrrp.prio == 0 && vrrp.virt_rtr_id == 51",
            "vrrp.prio == 0 && vrrp.virt_rtr_id == 54",
            "vrrp.prio == 150 && vrrp.checksum.status == \"Good\"",
            "arp.isgratuitous == 1 && arp.src.proto_ipv4 == 10.0.4.52",
            "icmpv6.type == 136 && icmpv6.nd.na.target_address == fd00:4::54 && icmpv6.nd.na.flag.o == 1",
        ] {
            ensure!(!matching(&capture, &format!("{ours} && {kind}"))?.is_empty(), "no frame with {kind}");
        }
        for odd in ["!(ip.ttl == 255 || ipv6.hlim == 255)", "!(vrrp.checksum.status == \"Good\")"] {
            let odd = matching(&capture, &format!("eth.src == {mac} && vrrp && {odd}"))?;
            ensure!(odd.is_empty(), "{}", odd.join("\n"));
        }
        no_complaint(&keepalived.node.keeper.daemon().log())
    });
}

/// Keepalived's log speaks of states and of nothing that it did not understand.
pub(crate) fn no_complaint(log: &str) -> Result<()> {
    const COMPLAINTS: [&str; 9] =
        ["bogus", "mismatch", "invalid", "wrong", "ignor", "checksum", "unexpected", "too short", "differ"];
    ensure!(log.contains("Entering BACKUP STATE"), "this is no log of keepalived's:\n{log}");
    let complains =
        |line: &str| COMPLAINTS.iter().any(|complaint| line.to_ascii_lowercase().contains(complaint));
    match log.lines().find(|line| complains(line)) {
        None => Ok(()),
        Some(line) => anyhow::bail!("{line}\n{log}"),
    }
}
