//! References, the lock and what becomes of a node that is alone: what is understood, and what is refused.

mod finding;

use std::time::Duration;

use finding::{assert_finding, no_env, refused};
use mainstay_config::plan::arbitration::{IsolatedAction, Method};
use mainstay_config::{Checks, parse_str};

const HEAD: &str = "[node]
id = \"a\"
[cluster]
name = \"c\"
key = \"0123456789abcdef\"
peers = [{ id = \"b\", addrs = [\"10.0.4.2\"] }]
";
const VIP: &str = "[[vip]]
name = \"front\"
addrs = [\"10.0.4.99\"]
interface = \"eth0\"
vrid = 51
";

fn with(cluster: &str, vip: &str) -> String {
    format!("{HEAD}{cluster}\n{VIP}{vip}\n")
}

#[test]
fn defaults_follow_the_advert_and_the_promise_says_what_they_add() {
    let text = with(
        "lock = { path = \"/mnt/lock\" }\nisolated = { after = \"30s\", watchdog = \"/dev/watchdog\" }",
        "reference = { addrs = [\"10.0.4.1\", \"fe80::1\"] }",
    );
    let plan = parse_str("t.toml", &text, &no_env, Checks::NONE).expect("good").plan;
    let reference = plan.vips[0].reference.as_ref().expect("a reference");
    assert_eq!(reference.addrs.len(), 2);
    assert_eq!((reference.terms.interval, reference.terms.missed), (Duration::from_secs(1) / 3, 3));
    let cluster = plan.cluster.as_ref().expect("a cluster");
    let lock = cluster.lock.as_ref().expect("a lock");
    assert_eq!((lock.terms.stale, lock.terms.timeout), (Duration::from_secs(10), Duration::from_millis(500)));
    assert_eq!(plan.commands[lock.command.index()].argv, ["/proc/self/exe", "lock", "/mnt/lock"]);
    let isolated = cluster.isolated.as_ref().expect("something is done");
    assert_eq!(isolated.action, IsolatedAction::Watchdog("/dev/watchdog".into()));
    let promise = plan.promise(&plan.vips[0]);
    assert!(promise.starts_with("best effort: "), "{promise}");
    assert!(promise.contains("its reference") && promise.contains("has the lock"), "{promise}");
    let short = with("", "advert = \"20ms\"\nreference = { addrs = [\"10.0.4.1\"] }");
    let plan = parse_str("t.toml", &short, &no_env, Checks::NONE).expect("good").plan;
    assert_eq!(plan.vips[0].reference.as_ref().map(|of| of.terms.interval), Some(Duration::from_millis(20)));
    assert!(!plan.promise(&plan.vips[0]).contains("lock"));
}

#[test]
fn a_reference_that_tells_nothing_is_refused() {
    for (addr, why) in [
        ("10.0.4.99", "this node's own"),
        ("10.0.4.2", "is a peer's"),
        ("224.0.0.1", "not the address of another host"),
        ("255.255.255.255", "not the address of another host"),
        ("10.0.4", "is not an address"),
    ] {
        let text = with("", &format!("reference = {{ addrs = [\"{addr}\"] }}"));
        assert_finding(&text, 13, why, "");
    }
    assert_finding(&with("", "reference = { addrs = [] }"), 13, "0 addresses", "the gateway's");
    assert_finding(&with("", "reference = { missed = 3 }"), 13, "`addrs` is missing", "");
}

#[test]
fn a_reference_is_asked_by_arp_unless_ping_is_asked_for() {
    for (more, method) in
        [("", Method::Arp), (", method = \"arp\"", Method::Arp), (", method = \"ping\"", Method::Ping)]
    {
        let text = with("", &format!("reference = {{ addrs = [\"192.0.2.1\", \"fe80::1\"]{more} }}"));
        let plan = parse_str("t.toml", &text, &no_env, Checks::NONE).expect("good").plan;
        assert_eq!(plan.vips[0].reference.as_ref().map(|of| of.method), Some(method));
    }
    let text = with("", "reference = { addrs = [\"192.0.2.1\"], method = \"icmp\" }");
    assert_finding(&text, 13, "icmp", "arp, ping");
}

#[test]
fn arp_beyond_the_network_that_the_vip_was_written_with_is_warned_of() {
    let warned = |vip: &str, addr: &str, method: &str| {
        let vip = VIP.replace("10.0.4.99", vip);
        let text = format!("{HEAD}\n{vip}reference = {{ addrs = [\"{addr}\"]{method} }}\n");
        let loaded = parse_str("t.toml", &text, &no_env, Checks::NONE).expect("good");
        let told = format!("{:?}", loaded.warnings);
        assert_eq!(told.contains("does not pass a router"), told.contains("method = \\\"ping"), "{told}");
        told.contains("does not pass a router")
    };
    for (vip, far, near) in
        [("10.0.4.99/24", "192.0.2.1", "10.0.4.1"), ("fd00:4::99/64", "fd00:5::1", "fd00:4::1")]
    {
        assert!(warned(vip, far, ""));
        assert!(!warned(vip, far, ", method = \"ping\""));
        assert!(!warned(vip, near, ""));
        assert!(!warned(vip, "fe80::1", ""), "a link-local address is on every wire");
    }
    assert!(!warned("10.0.4.99", "192.0.2.1", ""), "nobody knows which networks the interface is on");
}

#[test]
fn a_lock_that_cannot_decide_is_refused() {
    let lock = "lock = { path = \"/mnt/lock\" }";
    assert_finding(&with("lock = { path = \"lock\" }", ""), 7, "not an absolute path", "");
    assert_finding(
        &with("lock = { path = \"/mnt/lock\", timeout = \"1s\", stale = \"5s\" }", ""),
        7,
        "too short for reads of",
        "10s",
    );
    let three = with(lock, "").replace("}]", "}, { id = \"d\", addrs = [\"10.0.4.4\"] }]");
    assert_finding(&three, 7, "here are 3", "quorum");
    let plain = with(lock, "").replace("key = \"0123456789abcdef\"\n", "");
    assert_finding(&plain, 6, "`lock` means nothing while nodes don't speak", "key =");
}

#[test]
fn a_node_that_cannot_tell_whether_it_is_alone_does_nothing_about_it() {
    let reboot = "isolated = { after = \"30s\", exec = [\"/sbin/reboot\"] }";
    assert_finding(&with(reboot, ""), 7, "no vip has a reference", "reference = ");
    let reference = "reference = { addrs = [\"10.0.4.1\"] }";
    let both = "isolated = { after = \"30s\", exec = [\"/sbin/reboot\"], watchdog = \"/dev/watchdog\" }";
    assert_finding(&with(both, reference), 7, "exactly one", "");
    assert_finding(&with("isolated = { after = \"30s\" }", reference), 7, "exactly one", "");
    assert_finding(&with("isolated = { exec = [\"/sbin/reboot\"] }", reference), 7, "`after` is missing", "");
    assert!(
        !refused(&with("isolated = { after = \"0s\", watchdog = \"/w\" }", reference)).to_string().is_empty()
    );
}
