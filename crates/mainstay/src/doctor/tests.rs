//! Synthetic observations and what is found in them.

use std::net::IpAddr;
use std::time::Duration;

use mainstay_config::plan::Plan;
use mainstay_config::{Checks, parse_str};
use mainstay_core::election::State;
use mainstay_core::vrrp::{Advert, Checksum, TTL, Version, encode};
use mainstay_sys::netlink::{IfAddr, Link};

use super::analyse::analyse;
use super::finding::{Finding, Grade};
use super::observed::{Claim, Daemon, Heard, Observed, Passed};
use crate::status::{Counter, Status, VipStatus};

const PEER_MAC: [u8; 6] = [2, 0, 0, 0, 0, 22];
const OUR_MAC: [u8; 6] = [2, 0, 0, 0, 0, 21];

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn plan(lines: &str) -> Plan {
    let text = format!(
        "[node]\nid = \"web-1\"\n[[vip]]\nname = \"front\"\naddrs = [\"10.0.4.99\"]\ninterface = \"eth0\"\nvrid = 51\n\
         priority = 150\n{lines}\n"
    );
    parse_str("test.toml", &text, &|_| None, Checks::NONE).unwrap().plan
}

fn link(name: &str, index: u32) -> Link {
    Link {
        index,
        name: name.into(),
        up: true,
        carrier: true,
        mac: Some(OUR_MAC),
        mtu: 1500,
        loopback: false,
        ethernet: true,
        port: false,
    }
}

fn addr(text: &str, index: u32) -> IfAddr {
    IfAddr {
        index,
        addr: ip(text),
        prefix: 24,
        valid: None,
        preferred: None,
        proto: None,
        tentative: false,
        duplicate: false,
        link_local: false,
    }
}

/// A host with eth0 and eth1 on which nothing was heard.
fn quiet() -> Observed {
    Observed {
        links: vec![link("eth0", 2), link("eth1", 3)],
        addrs: vec![addr("10.0.4.21", 2), addr("10.0.5.21", 3)],
        ..Observed::default()
    }
}

fn advert() -> Advert {
    let addrs = vec![ip("10.0.4.99")];
    Advert {
        version: Version::V3,
        vrid: 51,
        priority: 100,
        interval: Duration::from_secs(1),
        addrs,
        password: None,
    }
}

/// Four adverts in four seconds, before the firewall.
fn heard(advert: &Advert, from: &str, to: &str) -> Heard {
    let (from, to) = (ip(from), ip(to));
    let mut payload = Vec::new();
    encode(advert, from, to, Checksum::PseudoHeader, &mut payload);
    let (first, last) = (Duration::ZERO, Duration::from_secs(4));
    Heard {
        index: 2,
        outgoing: false,
        vlan: None,
        mac: PEER_MAC,
        from,
        to,
        ttl: TTL,
        payload,
        count: 4,
        first,
        last,
    }
}

fn passed() -> Passed {
    Passed { index: 2, from: ip("10.0.4.22"), to: ip("224.0.0.18"), count: 4 }
}

fn status(state: State, adverts: &[(&str, u64)]) -> Status {
    let mut status = Status::empty("web-1");
    let adverts = adverts.iter().map(|(result, value)| Counter {
        name: "vip_adverts_total".into(),
        labels: vec![("result".into(), (*result).into())],
        value: *value,
    });
    status.vips.push(VipStatus { state, adverts: adverts.collect(), ..crate::status::tests::vip() });
    status
}

fn runs(state: State, before: &[(&str, u64)], after: &[(&str, u64)]) -> Daemon {
    Daemon::Runs(Box::new((status(state, before), status(state, after))))
}

/// What is said of the vip and what is wrong with it, as text.
fn wrong(plan: &Plan, seen: &Observed) -> String {
    let report = analyse(plan, seen);
    let all = report.node.iter().chain(&report.vips[0]);
    let lines = all.filter(|f| f.grade == Grade::Wrong).map(|f| format!("{} -> {}", f.says, f.todo));
    lines.collect::<Vec<_>>().join("\n")
}

fn says(plan: &Plan, seen: &Observed, words: &str) {
    let text = wrong(plan, seen);
    assert!(text.contains(words), "{words:?} is not in {text:?}");
}

/// One sender whose adverts pass the firewall.
fn one(advert: &Advert, to: &str) -> Observed {
    Observed { heard: vec![heard(advert, "10.0.4.22", to)], passed: vec![passed()], ..quiet() }
}

#[test]
fn an_advert_that_the_election_takes_is_no_fault() {
    let seen = one(&advert(), "224.0.0.18");
    assert_eq!(wrong(&plan(""), &seen), "");
    let good = analyse(&plan(""), &seen).vips.remove(0);
    assert!(good.contains(&Finding::good("10.0.4.22 is heard: 4 adverts, priority 100")), "{good:?}");
}

#[test]
fn a_place_that_cannot_carry_the_vip_is_named() {
    let mut seen = quiet();
    seen.links[0].carrier = false;
    says(&plan(""), &seen, "interface eth0 is up and has no carrier");
    seen.links[0].up = false;
    says(&plan(""), &seen, "interface eth0 is down -> ip link set eth0 up");
    seen.links.remove(0);
    says(&plan(""), &seen, "interface eth0 does not exist on this host -> set `interface` to one of: eth1");
    let mut seen = quiet();
    seen.addrs.remove(0);
    says(&plan(""), &seen, "eth0 has no address of its own (IPv4)");
    seen.addrs[0] = addr("192.168.7.1", 2);
    let report = analyse(&plan(""), &seen);
    assert!(report.vips[0].iter().any(|f| f.says == "10.0.4.99 lies in no subnet of eth0"), "{report:?}");
    says(
        &plan("unicast = [\"192.168.7.1\"]"),
        &seen,
        "`unicast` names 192.168.7.1, which is an address of this",
    );
}

#[test]
fn silence_says_where_to_look_next() {
    says(&plan(""), &quiet(), "set `unicast` on all nodes");
    let unicast = plan("unicast = [\"10.0.4.22\"]");
    says(&unicast, &quiet(), "drops IP protocol 112");
    let seen = Observed { asked: vec![(2, ip("10.0.4.22"))], ..quiet() };
    says(&unicast, &seen, "peer 10.0.4.22 does not answer ARP on eth0");
    let other = Advert { vrid: 7, addrs: vec![ip("10.0.4.77")], ..advert() };
    says(&plan(""), &one(&other, "224.0.0.18"), "what arrives is router id 7 of 10.0.4.22 for 10.0.4.77");
}

#[test]
fn every_difference_of_an_advert_is_named() {
    let group = "224.0.0.18";
    let v2 = Advert { version: Version::V2, ..advert() };
    let cases: [(&str, Advert, &str, &str); 9] = [
        ("", Advert { vrid: 52, ..advert() }, group, "under router id 52, here it is 51"),
        ("", v2.clone(), group, "speaks VRRP version 2, here it is version 3"),
        ("version = 2", Advert { password: Some([7; 8]), ..v2.clone() }, group, "uses a password, here none"),
        ("version = 2\npassword = \"a\"", v2.clone(), group, "uses no password, here one is set"),
        ("version = 2", Advert { interval: Duration::from_secs(3), ..v2 }, group, "every 3s, here it is 1s"),
        ("", advert(), "10.0.4.21", "sends by unicast (to 10.0.4.21)"),
        ("unicast = [\"10.0.4.22\"]", advert(), group, "sends by multicast (to 224.0.0.18)"),
        ("multicast = \"224.0.0.77\"", advert(), group, "to the group 224.0.0.18, here it is 224.0.0.77"),
        ("", Advert { addrs: vec![ip("10.0.4.1")], ..advert() }, group, "router id 51 for other addresses"),
    ];
    for (lines, advert, to, words) in cases {
        says(&plan(lines), &one(&advert, to), words);
    }
    let strict = plan("unicast = [\"10.0.4.23\"]\ncheck_source = true");
    says(&strict, &one(&advert(), "10.0.4.21"), "10.0.4.22 is not among the peers");
}

#[test]
fn what_cannot_be_read_is_said_too() {
    let mut seen = one(&advert(), "224.0.0.18");
    seen.heard[0].ttl = 254;
    says(&plan(""), &seen, "came over a router");
    seen.heard[0].ttl = TTL;
    seen.heard[0].payload[6] ^= 1;
    says(&plan(""), &seen, "address translation");
}

#[test]
fn adverts_that_stop_at_the_firewall_are_told_from_those_that_stop_at_the_node() {
    let mut seen = one(&advert(), "224.0.0.18");
    seen.daemon = runs(State::Backup, &[("received", 5)], &[("received", 5)]);
    says(&plan(""), &seen, "the running node does not count them");
    let refused = [("received", 5), ("wrong-password", 4)];
    seen.daemon = runs(State::Backup, &[("received", 5)], &refused);
    says(&plan(""), &seen, "refuses adverts of 10.0.4.22 (wrong-password)");
    seen.passed.clear();
    says(&plan(""), &seen, "4 adverts of 10.0.4.22 arrive on eth0, but a firewall of this host drops them");
    assert!(wrong(&plan(""), &seen).contains("rp_filter"), "no rule is known");
}

#[test]
fn adverts_that_do_not_leave_are_the_firewalls_or_the_peers_fault() {
    let mut seen = quiet();
    seen.daemon = runs(State::Active, &[("sent", 5)], &[("sent", 9)]);
    says(&plan(""), &seen, "none to 224.0.0.18 leaves eth0");
    let unicast = plan("unicast = [\"10.0.4.22\"]");
    seen.asked = vec![(2, ip("10.0.4.22"))];
    let text = wrong(&unicast, &seen);
    assert!(text.contains("peer 10.0.4.22 does not answer ARP") && !text.contains("firewall"), "{text}");
    seen.claims = vec![Claim { index: 2, addr: ip("10.0.4.22"), mac: PEER_MAC }];
    says(&unicast, &seen, "none to 10.0.4.22 leaves eth0");
}

#[test]
fn two_who_advertise_at_once_are_named_and_one_after_the_other_is_a_failover() {
    let ours = Advert { priority: 150, ..advert() };
    let mut seen = one(&advert(), "224.0.0.18");
    let out = Heard { outgoing: true, mac: OUR_MAC, ..heard(&ours, "10.0.4.21", "224.0.0.18") };
    seen.heard.push(out);
    seen.daemon = runs(State::Active, &[("sent", 1), ("received", 1)], &[("sent", 5), ("received", 5)]);
    says(&plan(""), &seen, "2 nodes act as active at once: this host and 10.0.4.22");
    says(&plan(""), &seen, "run mainstay doctor on 10.0.4.22, which does not hear them");
    seen.heard[0].last = Duration::from_secs(1);
    seen.heard[1].first = Duration::from_secs(2);
    assert_eq!(wrong(&plan(""), &seen), "");
}

#[test]
fn whoever_answers_for_the_address_is_counted() {
    let mut seen = one(&advert(), "224.0.0.18");
    seen.asked = vec![(2, ip("10.0.4.99"))];
    says(&plan(""), &seen, "10.0.4.22 advertises the vip, and nobody answers for 10.0.4.99");
    let claim = |mac| Claim { index: 2, addr: ip("10.0.4.99"), mac };
    seen.claims = vec![claim(PEER_MAC)];
    assert_eq!(wrong(&plan(""), &seen), "");
    seen.claims.push(claim([2, 0, 0, 0, 0, 9]));
    let both = "2 hosts have 10.0.4.99: 02:00:00:00:00:09 and 02:00:00:00:00:16 (10.0.4.22)";
    says(&plan(""), &seen, both);
    let mut seen = quiet();
    seen.asked = vec![(2, ip("10.0.4.99"))];
    seen.addrs.push(addr("10.0.4.99", 2));
    says(&plan(""), &seen, "10.0.4.99 stands on this host, and nobody here advertises it");
}

#[test]
fn the_vip_on_another_interface_or_vlan_is_found_there() {
    let mut seen = one(&advert(), "224.0.0.18");
    seen.heard[0].index = 3;
    says(&plan(""), &seen, "arrive on eth1, here `interface` is eth0 -> set `interface = \"eth1\"`");
    seen.heard[0].index = 2;
    seen.heard[0].vlan = Some(7);
    says(&plan(""), &seen, "arrive on eth0 with the tag of VLAN 7");
}

#[test]
fn a_host_with_our_address_and_a_second_program_on_ours_are_named() {
    let mut seen = one(&advert(), "224.0.0.18");
    seen.heard[0].from = ip("10.0.4.21");
    says(&plan(""), &seen, "from 02:00:00:00:00:16: two nodes have one address");
    let mut seen = quiet();
    seen.heard = vec![Heard { outgoing: true, ..heard(&advert(), "10.0.4.21", "224.0.0.18") }];
    says(&plan(""), &seen, "is keepalived still running?");
}

#[test]
fn what_the_node_says_of_itself_is_passed_on() {
    let mut seen = one(&advert(), "224.0.0.18");
    seen.daemon = runs(State::Backup, &[("received", 1)], &[("received", 5)]);
    assert_eq!(wrong(&plan(""), &seen), "");
    says(
        &plan("advert = \"2s\""),
        &seen,
        "the running node still has advert 1s instead of 2s -> mainstay reload",
    );
    let Daemon::Runs(both) = &mut seen.daemon else { panic!("it runs") };
    both.1.degraded.push("no gate".into());
    says(&plan(""), &seen, "no gate");
    seen.daemon = Daemon::Dumb("it hangs".into());
    says(&plan(""), &seen, "cannot be asked: it hangs");
}

#[test]
fn a_slower_peer_and_an_equal_priority_are_notes() {
    let slow = Advert { interval: Duration::from_secs(3), priority: 150, ..advert() };
    let report = analyse(&plan(""), &one(&slow, "224.0.0.18"));
    let notes = report.vips[0].iter().filter(|f| f.grade == Grade::Hint).count();
    assert_eq!((notes, report.wrong()), (2, 0), "{report:?}");
}
