//! `mainstay doctor` names the cause in real pairs that don't hear each other, and finds nothing in one that does.

use std::path::Path;
use std::process::Output;
use std::time::Duration;

use anyhow::{Result, ensure};
use mainstay_lab::peer::{Keepalived, Mainstay};
use mainstay_lab::{Host, Lab, Segment, wait_until};

const BINARY: &str = env!("CARGO_BIN_EXE_mainstay");
const LIMIT: Duration = Duration::from_secs(20);
/// Drops VRRP in one hook.
const DROP: &str = "table inet filter { chain HOOK { type filter hook HOOK priority 0; policy accept; ip protocol 112 drop; }; }";

/// Two hosts on two segments, 10.0.4.21 and .22 on eth0, 10.0.5.21 and .22 on eth1.
struct Bed {
    web_1: Host,
    web_2: Host,
    _segments: [Segment; 2],
    // Dropped last: everything is in it.
    _lab: Lab,
}

fn bed() -> Result<Bed> {
    let lab = Lab::new("doctor")?;
    let segments = [lab.segment("lan")?, lab.segment("other")?];
    let host = |name: &str, last: u8| -> Result<Host> {
        let host = lab.host(name)?;
        host.plug(&segments[0], "eth0", &[&format!("10.0.4.{last}/24")])?;
        host.plug(&segments[1], "eth1", &[&format!("10.0.5.{last}/24")])?;
        Ok(host)
    };
    let (web_1, web_2) = (host("web-1", 21)?, host("web-2", 22)?);
    Ok(Bed { web_1, web_2, _segments: segments, _lab: lab })
}

/// A node's configuration; `vip` overrides the lines of the vip that have the same key.
fn config(host: &Host, priority: u8, vip: &[&str]) -> String {
    let peer = if host.name() == "web-1" { ("web-2", "10.0.4.22") } else { ("web-1", "10.0.4.21") };
    let mut text = format!(
        "[node]\nid = \"{}\"\n\n[cluster]\nname = \"shop\"\npeers = [{{ id = \"{}\", addrs = [\"{}\"] }}]\n\n[[vip]]\nname = \"front\"\n",
        host.name(),
        peer.0,
        peer.1
    );
    let priority = format!("priority = {priority}");
    let lines =
        ["addrs = [\"10.0.4.99\"]", "interface = \"eth0\"", "vrid = 51", "advert = \"100ms\"", &priority];
    let key = |line: &str| line.split(' ').next().map(str::to_owned);
    for line in lines
        .into_iter()
        .filter(|line| !vip.iter().any(|other| key(other) == key(line)))
        .chain(vip.iter().copied())
    {
        text += &format!("{line}\n");
    }
    text
}

fn start(host: &Host, priority: u8, vip: &[&str]) -> Result<Mainstay> {
    Mainstay::start(host, Path::new(BINARY), &config(host, priority, vip))
}

/// A keepalived that speaks a version of VRRP at a pace and whose instance has these lines besides.
fn keepalived(host: &Host, version: u8, advert: &str, lines: &str) -> Result<Keepalived> {
    let config = format!(
        "global_defs {{\n router_id {}\n vrrp_version {version}\n}}\nvrrp_instance front {{\n state BACKUP\n \
         interface eth0\n virtual_router_id 51\n priority 150\n advert_int {advert}\n virtual_ipaddress {{ 10.0.4.99/32 }}\n\
         {lines}\n}}\n",
        host.name()
    );
    let keepalived = Keepalived::start(host, &config)?;
    wait_until("keepalived is active", LIMIT, || Ok(keepalived.state("front").as_deref() == Some("MASTER")))?;
    Ok(keepalived)
}

/// Runs the doctor on a host with the configuration of its node: the exit code and what it printed.
fn doctor(host: &Host) -> Result<(i32, String)> {
    doctor_with(host, "mainstay.toml")
}

fn doctor_with(host: &Host, config: &str) -> Result<(i32, String)> {
    // Commands run in the host's own directory.
    let Output { status, stdout, stderr } =
        Mainstay::ctl_on(host, Path::new(BINARY), &["doctor", "--config", config, "--listen", "1"])?;
    let said = [stdout, stderr].concat();
    Ok((status.code().unwrap_or(-1), String::from_utf8_lossy(&said).into_owned()))
}

/// The doctor finds something wrong and says all of this.
fn blames(host: &Host, words: &[&str]) -> Result<()> {
    judge(doctor(host)?, words)
}

fn judge((code, said): (i32, String), words: &[&str]) -> Result<()> {
    println!("{said}");
    for word in words {
        ensure!(said.contains(word), "{word:?} is not in\n{said}");
    }
    ensure!(code == 4, "exit code {code}\n{said}");
    Ok(())
}

fn both_active(nodes: [&Mainstay; 2]) -> Result<()> {
    nodes.iter().try_for_each(|node| node.wait_for_state("front", "active", LIMIT))
}

#[test]
fn in_a_pair_that_is_well_nothing_is_wrong() {
    mainstay_lab::test(|| {
        let bed = bed()?;
        let first = start(&bed.web_1, 150, &[])?;
        first.wait_for_state("front", "active", LIMIT)?;
        let second = start(&bed.web_2, 100, &[])?;
        second.wait_for_state("front", "backup", LIMIT)?;
        for (host, word) in [(&bed.web_1, "its adverts leave eth0"), (&bed.web_2, "10.0.4.21 is heard")] {
            let (code, said) = doctor(host)?;
            ensure!(code == 0 && said.contains("nothing is wrong") && said.contains(word), "{code}\n{said}");
        }
        Ok(())
    });
}

#[test]
fn an_ipv6_pair_is_looked_at_in_the_same_way() {
    mainstay_lab::test(|| {
        let bed = bed()?;
        for (host, last) in [(&bed.web_1, 21), (&bed.web_2, 22)] {
            host.ip(&format!("addr add fd00:4::{last}/64 dev eth0 nodad"))?;
        }
        let six = ["addrs = [\"fd00:4::99\"]"];
        let first = start(&bed.web_1, 150, &six)?;
        first.wait_for_state("front", "active", LIMIT)?;
        let second = start(&bed.web_2, 100, &six)?;
        second.wait_for_state("front", "backup", LIMIT)?;
        let (code, said) = doctor(&bed.web_2)?;
        ensure!(code == 0 && said.contains("fe80::") && said.contains("is heard"), "{code}\n{said}");
        bed.web_2.nft(&DROP.replace("HOOK", "input").replace("ip protocol", "ip6 nexthdr"))?;
        second.wait_for_state("front", "active", LIMIT)?;
        blames(&bed.web_2, &["a firewall of this host drops them", "nexthdr", "2 hosts have fd00:4::99"])
    });
}

#[test]
fn a_firewall_on_the_way_in_is_named_with_its_rule_and_its_remedy() {
    mainstay_lab::test(|| {
        let bed = bed()?;
        let first = start(&bed.web_1, 150, &[])?;
        bed.web_2.nft(&DROP.replace("HOOK", "input"))?;
        let second = start(&bed.web_2, 100, &[])?;
        both_active([&first, &second])?;
        blames(
            &bed.web_2,
            &[
                "adverts of 10.0.4.21 arrive on eth0, but a firewall of this host drops them",
                "drop` in inet filter input",
                "-> nft insert rule inet filter input meta l4proto 112 accept",
                "2 nodes act as active at once: 10.0.4.21 and this host",
                "2 hosts have 10.0.4.99",
            ],
        )?;
        blames(&bed.web_1, &["run mainstay doctor on 10.0.4.22, which does not hear them"])
    });
}

#[test]
fn a_firewall_on_the_way_out_is_named() {
    mainstay_lab::test(|| {
        let bed = bed()?;
        bed.web_1.nft(&DROP.replace("HOOK", "output"))?;
        let first = start(&bed.web_1, 150, &[])?;
        let second = start(&bed.web_2, 100, &[])?;
        both_active([&first, &second])?;
        blames(
            &bed.web_1,
            &[
                "none to 224.0.0.18 leaves eth0: a firewall of this host drops them on the way out",
                "-> nft insert rule inet filter output meta l4proto 112 accept",
            ],
        )
    });
}

#[test]
fn multicast_against_unicast_is_named_on_both_sides() {
    mainstay_lab::test(|| {
        let bed = bed()?;
        let first = start(&bed.web_1, 150, &["unicast = [\"10.0.4.22\"]"])?;
        let second = start(&bed.web_2, 100, &[])?;
        both_active([&first, &second])?;
        blames(&bed.web_1, &["10.0.4.22 sends by multicast (to 224.0.0.18), here the vip is unicast"])?;
        blames(&bed.web_2, &["10.0.4.21 sends by unicast", "set `unicast = [\"10.0.4.21\"]` here"])
    });
}

#[test]
fn another_router_id_is_named() {
    mainstay_lab::test(|| {
        let bed = bed()?;
        let first = start(&bed.web_1, 150, &[])?;
        let second = start(&bed.web_2, 100, &["vrid = 52"])?;
        both_active([&first, &second])?;
        blames(&bed.web_1, &["10.0.4.22 advertises 10.0.4.99 under router id 52, here it is 51"])
    });
}

#[test]
fn another_address_list_is_named() {
    mainstay_lab::test(|| {
        let bed = bed()?;
        let first = start(&bed.web_1, 150, &[])?;
        let second = start(&bed.web_2, 100, &["addrs = [\"10.0.4.99\", \"10.0.4.98\"]"])?;
        both_active([&first, &second])?;
        blames(&bed.web_1, &["here `addrs` is 10.0.4.99", "add 10.0.4.98 to `addrs`"])
    });
}

#[test]
fn the_wrong_interface_is_named() {
    mainstay_lab::test(|| {
        let bed = bed()?;
        let first = start(&bed.web_1, 150, &[])?;
        let second = start(&bed.web_2, 100, &["interface = \"eth1\""])?;
        both_active([&first, &second])?;
        blames(&bed.web_1, &["adverts of 10.0.5.22 arrive on eth1, here `interface` is eth0"])
    });
}

#[test]
fn another_password_and_another_version_of_keepalived_are_named() {
    mainstay_lab::test(|| {
        let bed = bed()?;
        let host = &bed.web_1;
        let v2 = ["version = 2", "advert = \"1s\"", "password = \"another\""];
        std::fs::write(host.directory().join("v2.toml"), config(host, 150, &v2))?;
        std::fs::write(host.directory().join("v3.toml"), config(host, 150, &["advert = \"700ms\""]))?;
        let password = " authentication {\n auth_type PASS\n auth_pass secret\n }";
        let _peer = keepalived(&bed.web_2, 2, "1", password)?;
        std::thread::scope(|scope| {
            let second = scope.spawn(|| doctor_with(host, "v2.toml"));
            judge(
                doctor_with(host, "v3.toml")?,
                &["10.0.4.22 speaks VRRP version 2, here it is version 3", "`vrrp_version 3`"],
            )?;
            let second = second.join().map_err(|_| anyhow::anyhow!("the other doctor panicked"))??;
            judge(second, &["10.0.4.22 uses another password", "auth_pass"])
        })
    });
}

#[test]
fn a_keepalived_that_our_adverts_silence_is_suspected() {
    mainstay_lab::test(|| {
        let bed = bed()?;
        let _peer = keepalived(&bed.web_2, 3, "0.1", "")?;
        // Each advert that it refuses puts keepalived's own off: it holds the address and says nothing.
        let other = ["advert = \"50ms\"", "addrs = [\"10.0.4.99\", \"10.0.4.98\"]"];
        let first = start(&bed.web_1, 150, &other)?;
        first.wait_for_state("front", "active", LIMIT)?;
        blames(&bed.web_1, &["2 hosts have 10.0.4.99", "falls silent while it refuses ours"])
    });
}

#[test]
fn without_a_running_node_the_wire_is_looked_at_all_the_same() {
    mainstay_lab::test(|| {
        let bed = bed()?;
        let path = bed.web_1.directory().join("mainstay.toml");
        std::fs::write(path, config(&bed.web_1, 100, &[]))?;
        blames(&bed.web_1, &["no node runs here", "no advert for router id 51 arrives on eth0"])?;
        let _peer = keepalived(&bed.web_2, 3, "0.1", "")?;
        let (code, said) = doctor(&bed.web_1)?;
        ensure!(code == 0 && said.contains("10.0.4.22 is heard"), "{code}\n{said}");
        Ok(())
    });
}

#[test]
fn without_privilege_it_says_so_and_exits_with_5() {
    mainstay_lab::test(|| {
        let bed = bed()?;
        let path = bed.web_1.directory().join("mainstay.toml");
        std::fs::write(&path, config(&bed.web_1, 100, &[]))?;
        let mut command = bed.web_1.command("setpriv");
        command.args(["--bounding-set=-all", "--inh-caps=-all", BINARY, "doctor", "--config"]).arg(&path);
        let output = command.output()?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(
            output.status.code() == Some(5) && said.contains("CAP_NET_RAW"),
            "{:?}: {said}",
            output.status
        );
        Ok(())
    });
}
