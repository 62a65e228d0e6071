//! The cluster: what its table means, and what is refused with which words.

use std::time::Duration;

use mainstay_config::plan::Plan;
use mainstay_config::plan::cluster::{Access, Cluster, External};
use mainstay_config::{Checks, Diagnostic, Report, Severity, parse_str};
use mainstay_core::election::Guard;
use mainstay_core::name::NodeId;

fn read(text: &str) -> Result<Plan, Report> {
    parse_str("t.toml", text, &|_| None, Checks::NONE).map(|loaded| loaded.plan)
}

#[track_caller]
fn plan(text: &str) -> Plan {
    read(text).unwrap_or_else(|report| panic!("{report}"))
}

#[track_caller]
fn cluster(text: &str) -> Cluster {
    plan(text).cluster.expect("the nodes speak with each other")
}

/// Asserts that some error of the report stands in `line`, says `says` and advises `advises`.
#[track_caller]
fn refused(text: &str, line: usize, says: &str, advises: &str) {
    let Err(report) = read(text) else { panic!("accepted:\n{text}") };
    let hit = report.diagnostics.iter().any(|d| {
        d.severity == Severity::Error
            && (d.place.file.as_str(), d.place.line) == ("t.toml", line)
            && d.message.contains(says)
            && d.help.as_deref().unwrap_or_default().contains(advises)
    });
    assert!(hit, "no error in line {line} says {says:?} and advises {advises:?}; the report is\n{report}");
}

/// Two nodes and a witness, read on `node`.
fn shop(node: &str) -> String {
    format!(
        r#"[node]
id = "{node}"
[cluster]
name = "shop"
key = "0123456789abcdef"
peers = [
    {{ id = "witness", addrs = ["10.0.5.9"], witness = true }},
    {{ id = "web-2", addrs = ["10.0.4.21", "10.1.4.21:5113", "2001:db8::21"] }},
    {{ id = "web-1", addrs = ["10.0.4.20", "10.1.4.20"] }},
]
"#
    )
}

/// The shop's vip; it begins in line 11, its extra keys in line 16.
fn front(extra: &str) -> String {
    format!(
        "{}[[vip]]\nname = \"front\"\naddrs = [\"10.0.4.99\"]\ninterface = \"eth0\"\nguard = \"quorum\"\n{extra}\n",
        shop("web-1")
    )
}

/// `[cluster]` in line 3 with these lines from line 5 on.
fn with(lines: &str) -> String {
    format!("[node]\nid = \"web-1\"\n[cluster]\nname = \"shop\"\n{lines}\n")
}

const KEY: &str = "key = \"0123456789abcdef\"";
const PIN: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";

#[test]
fn every_node_has_the_same_list_from_the_same_file() {
    let (one, two, witness) = (cluster(&shop("web-1")), cluster(&shop("web-2")), cluster(&shop("witness")));
    assert!(one.list == two.list && two.list == witness.list);
    assert_eq!((one.me, two.me, witness.me), (NodeId(0), NodeId(1), NodeId(2)));
    let shown: Vec<_> = one.list.members.iter().map(|m| (m.id.as_str(), m.votes, m.holds)).collect();
    assert_eq!(shown, [("web-1", true, true), ("web-2", true, true), ("witness", true, false)]);
    assert!(witness.is_witness() && !one.is_witness());
    assert_eq!(one.list.mark(one.salt), witness.list.mark(witness.salt));
    let ids: Vec<_> = one.peers.iter().map(|peer| (peer.node, peer.id.as_str(), peer.witness)).collect();
    assert_eq!(ids, [(NodeId(1), "web-2", false), (NodeId(2), "witness", true)]);
    let wires: Vec<String> = one.peers[0].addrs.iter().map(ToString::to_string).collect();
    assert_eq!(wires, ["10.0.4.21:5112", "10.1.4.21:5113", "[2001:db8::21]:5112"]);
    assert_eq!(one.listen, ["[::]:5112".parse().unwrap()]);
    let without_itself =
        shop("web-1").replace("    { id = \"web-1\", addrs = [\"10.0.4.20\", \"10.1.4.20\"] },\n", "");
    let expected = Cluster { own_addrs: Vec::new(), ..one };
    assert_eq!(
        cluster(&without_itself),
        expected,
        "but for where it is heard, which only its own entry tells"
    );
}

#[test]
fn the_times_have_defaults_and_what_must_agree_is_in_the_mark() {
    let usual = cluster(&with(KEY));
    assert_eq!(usual.terms.term, Duration::from_millis(1500));
    assert_eq!((usual.terms.term_max, usual.terms.drift_ppm), (usual.terms.term, 10_000));
    let other = cluster(&with(&format!(
        "{KEY}\nterm = \"300ms\"\nterm_max = \"2s\"\nclock_drift = \"0.5%\"\nlisten = [\"10.0.4.20\", \"[::1]:6000\"]"
    )));
    assert_eq!((other.terms.term, other.terms.drift_ppm), (Duration::from_millis(300), 5000));
    assert_eq!(other.terms.term_max, Duration::from_secs(2));
    assert_eq!(other.listen, ["10.0.4.20:5112".parse().unwrap(), "[::1]:6000".parse().unwrap()]);
    assert_ne!(other.salt, usual.salt);
    assert_ne!(cluster(&with(KEY).replace("shop", "shoq")).salt, usual.salt);
    let quicker = cluster(&with(&format!("{KEY}\nterm = \"1s\"\nterm_max = \"1500ms\"")));
    assert_eq!(quicker.salt, usual.salt, "a shorter term may be tried on one node");
}

#[test]
fn without_keys_the_table_only_tells_how_many_nodes_there_are() {
    let vip = "[[vip]]\nname = \"v\"\naddrs = [\"10.0.4.99\"]\ninterface = \"eth0\"\nvrid = 1\n";
    let pair = plan(&format!("{}{vip}", with("peers = [{ id = \"web-2\", addrs = [\"10.0.4.21\"] }]")));
    assert!(pair.cluster.is_none() && pair.vips[0].spec.sole_successor);
    let three = format!("{}{vip}", with("peers = [{ id = \"b\" }, { id = \"c\" }]"));
    assert!(!plan(&three).vips[0].spec.sole_successor);
    let witnessed = shop("web-1") + vip;
    assert!(plan(&witnessed).vips[0].spec.sole_successor, "a witness competes for nothing");
}

#[test]
fn pinned_keys_need_no_cluster_key() {
    let text = with(&format!(
        "peers = [{{ id = \"web-2\", addrs = [\"10.0.4.21\"], key = \"{PIN}\" }}, {{ id = \"web-1\", key = \"{PIN}\" }}]"
    ));
    let read = cluster(&text);
    let counted: [u8; 32] = std::array::from_fn(|at| u8::try_from(at).unwrap());
    assert_eq!((read.key, read.peers[0].key, read.own_key), (None, Some(counted), Some(counted)));
}

#[test]
fn the_cluster_key_is_never_shown() {
    let text = front("").replace("0123456789abcdef", "correct horse battery");
    let plan = plan(&text);
    assert_eq!(plan.cluster.as_ref().unwrap().key.as_ref().unwrap().as_bytes(), b"correct horse battery");
    assert!(!format!("{plan:?}").contains("horse"));
    assert_eq!(plan.cluster.unwrap().without_secrets().key, None);
    let short = with("key = \"battery\"");
    refused(&short, 5, "the key has 7 characters", "openssl rand");
    let Err(report) = read(&short) else { unreachable!() };
    assert!(!report.to_string().contains("battery"), "{report}");
}

#[test]
fn an_etcd_cluster_votes_when_the_term_leaves_it_time() {
    let etcd = "peers = [{ id = \"web-2\", addrs = [\"10.0.4.21\"] }, { id = \"etcd\", etcd = [\"http://10.0.5.1:2379/\"] }]";
    let plan = plan(&with(&format!("{KEY}\nterm = \"5s\"\n{etcd}")));
    let cluster = plan.cluster.unwrap();
    let (peer, External::Etcd { endpoints, access }) = cluster.external().unwrap();
    assert_eq!((peer.id.as_str(), endpoints.as_slice()), ("etcd", &["http://10.0.5.1:2379".to_owned()][..]));
    assert_eq!(*access, Access::default());
    assert_eq!((cluster.list.voters().count(), cluster.list.majority()), (3, 2));
    assert!(!cluster.list.members[peer.node.index()].holds);
    refused(
        &with(&format!("{KEY}\n{etcd}")),
        6,
        "etcd \"etcd\" can't vote with a term of 1500ms",
        "term = \"5s\"",
    );
    let wrong = |entry: &str| with(&format!("{KEY}\nterm = \"5s\"\npeers = [{entry}]"));
    let with_keys = |keys: &str| wrong(&format!("{{ id = \"e\", etcd = [\"https://h:1\"], {keys} }}"));
    refused(&wrong("{ id = \"e\", etcd = [] }"), 7, "`etcd` has 0 URLs", "2379");
    refused(&wrong("{ id = \"e\", etcd = [\"10.0.5.1:2379\"] }"), 7, "does not start with http://", "2379");
    refused(&wrong("{ id = \"e\", etcd = [\"http://h:1\", \"http://h:1/\"] }"), 7, "listed twice", "2379");
    refused(&wrong("{ id = \"e\", etcd = [\"http://h:1/a\"] }"), 7, "not a member of etcd", "2379");
    refused(
        &wrong("{ id = \"e\", etcd = [\"http://h:1\", \"https://i:1\"] }"),
        7,
        "others without",
        "https:// for all",
    );
    refused(&with_keys("cert = \"/c.pem\""), 7, "`cert` and `cert_key` belong together", "both");
    refused(&with_keys("user = \"u\""), 7, "`user` and `password` belong together", "both");
    refused(
        &wrong("{ id = \"e\", etcd = [\"http://h:1\"], ca = \"/c\" }"),
        7,
        "`ca` means nothing",
        "https://",
    );
    refused(
        &wrong("{ id = \"e\", addrs = [\"10.0.4.9\"], user = \"u\" }"),
        7,
        "without `etcd`",
        "take `user`",
    );
    refused(
        &wrong("{ id = \"e\", etcd = [\"http://h:1\"], witness = true }"),
        7,
        "`witness` means nothing",
        "take",
    );
    let two = "{ id = \"e\", etcd = [\"http://h:1\"] }, { id = \"f\", etcd = [\"http://h:2\"] }";
    refused(&wrong(two), 7, "\"f\" is a second external voter beside \"e\"", "keep one");
    refused(&wrong("{ id = \"web-1\", etcd = [\"http://h:1\"] }"), 7, "is this node's own id", "its own id");
}

#[test]
fn what_etcd_knows_us_by_stays_with_the_role_that_tells_it() {
    let keys =
        "ca = \"/ca.pem\", cert = \"/c.pem\", cert_key = \"/k.pem\", user = \"u\", password = \"hush-hush\"";
    let etcd = format!("peers = [{{ id = \"e\", etcd = [\"https://h:1\"], {keys} }}]");
    let cluster = plan(&with(&format!("{KEY}\nterm = \"5s\"\n{etcd}"))).cluster.unwrap();
    let (_, External::Etcd { access, .. }) = cluster.external().unwrap();
    assert_eq!(access.user.as_ref().map(|(user, _)| user.as_str()), Some("u"));
    assert!(access.ca.is_some() && access.client.is_some());
    assert!(!format!("{cluster:?}").contains("hush-hush"));
    let bare = cluster.without_access();
    let (_, External::Etcd { access, .. }) = bare.external().unwrap();
    assert_eq!(*access, Access::default());
}

#[test]
fn what_is_wrong_in_the_cluster_is_named() {
    let keyed = |lines: &str| with(&format!("{KEY}\n{lines}"));
    refused(&keyed("term = \"100ms\""), 6, "term 100ms is out of range", "200ms to 60s");
    refused(
        &keyed("term = \"2s\"\nterm_max = \"1s\""),
        7,
        "term_max 1s is shorter than the term",
        "write 2s",
    );
    refused(&keyed("clock_drift = 999"), 6, "999 parts per million is out of range", "\"0.1%\" to \"10%\"");
    refused(&keyed("clock_drift = \"1,5%\""), 6, "\"1,5%\" is not a rate", "parts per million");
    refused(&keyed("listen = []"), 6, "`listen` has 0 places", "[::]:5112");
    refused(&keyed("listen = [\"eth0\"]"), 6, "\"eth0\" is not an address", "10.0.4.21:5112");
    let peer = |keys: &str| keyed(&format!("peers = [{{ id = \"b\"{keys} }}]"));
    refused(&peer(""), 6, "\"b\" has no address to speak to", "one for each wire");
    refused(&peer(", addrs = [\"10.0.0.1:0\"]"), 6, "\"10.0.0.1:0\" is not an address", "10.0.4.21");
    refused(&peer(", addrs = [\"0.0.0.0\"]"), 6, "not the address of a host", "always has");
    refused(&peer(", addrs = [\"10.0.0.1\", \"10.0.0.1\"]"), 6, "listed twice", "once");
    refused(
        &peer(", addrs = [\"10.0.0.1\"], key = \"AAAA\""),
        6,
        "\"AAAA\" is not a node's public key",
        "node key",
    );
    let same =
        keyed("peers = [{ id = \"b\", addrs = [\"10.0.0.1\"] }, { id = \"c\", addrs = [\"10.0.0.1\"] }]");
    refused(&same, 6, "the address of \"b\" as well as of \"c\"", "its own");
    let own = same.replace("\"b\"", "\"web-1\"");
    refused(&own, 6, "the address of \"web-1\" as well as of \"c\"", "its own");
    let twice =
        keyed("peers = [{ id = \"b\", addrs = [\"10.0.0.1\"] }, { id = \"b\", addrs = [\"10.0.0.2\"] }]");
    refused(&twice, 6, "\"b\" is already listed at t.toml:6", "its own id");
    let half = with(&format!(
        "peers = [{{ id = \"b\", addrs = [\"10.0.0.1\"], key = \"{PIN}\" }}, {{ id = \"c\", addrs = [\"10.0.0.2\"] }}]"
    ));
    let loaded =
        parse_str("t.toml", &half, &|_| None, Checks::NONE).unwrap_or_else(|report| panic!("{report}"));
    let told = |d: &Diagnostic| {
        d.place.line == 5 && d.message.contains("\"c\" has no `key`, and there is no cluster key")
    };
    assert!(loaded.warnings.iter().any(told), "a token enrols it: {:?}", loaded.warnings);
}

#[test]
fn what_needs_sessions_is_refused_without_keys() {
    for (line, key) in [
        ("listen = [\"[::]:5112\"]", "listen"),
        ("term = \"2s\"", "term"),
        ("term_max = \"2s\"", "term_max"),
        ("clock_drift = \"1%\"", "clock_drift"),
        ("peers = [{ id = \"b\", witness = true }]", "witness"),
        ("peers = [{ id = \"b\", etcd = [\"http://h:1\"] }]", "etcd"),
    ] {
        refused(&with(line), 5, &format!("`{key}` means nothing while nodes don't speak"), "cluster.key");
    }
}

#[test]
fn a_vip_of_guard_quorum_needs_no_vrid_and_its_gate_is_the_lease_s() {
    let plan = plan(&front("advert = \"100ms\""));
    let spec = &plan.vips[0].spec;
    assert_eq!((spec.guard, spec.vrid), (Guard::Quorum, 0));
    assert_eq!(spec.gate, plan.cluster.unwrap().terms.hold());
    refused(&front("vrid = 300"), 16, "vrid 300 is out of range", "1 to 255");
    refused(&front("").replace("quorum", "best-effort"), 11, "`vrid` is missing", "write vrid");
}

#[test]
fn what_makes_quorum_impossible_is_named() {
    let none = front("").replace("key = \"0123456789abcdef\"\n", "").replace(", witness = true", "");
    refused(&none, 14, "guard \"quorum\" needs nodes that speak", "cluster.key");
    let two = front("").replace("    { id = \"witness\", addrs = [\"10.0.5.9\"], witness = true },\n", "");
    refused(&two, 14, "needs three voters, here are two", "witness = true");
    refused(&front("version = 2"), 16, "`version` is VRRP's", "keepalived");
    refused(&front("password = \"s\""), 16, "`password` is VRRP's", "keepalived");
    refused(&front("multicast = \"224.0.0.18\""), 16, "`multicast` is VRRP's", "keepalived");
    refused(&front("unicast = [\"10.0.4.77\"]"), 16, "10.0.4.77 is no node of [cluster]", "keepalived");
    refused(&front("unicast = [\"10.0.4.21\"]"), 16, "`unicast` is VRRP's", "take it out");
    refused(&front("priority = 255"), 16, "holds it without asking", "up to 254");
    let witness = front("").replace("id = \"web-1\"\n[", "id = \"witness\"\n[");
    refused(&witness, 12, "this node is a witness", "take the vip out");
    let second = "[[vip]]\nname = \"back\"\naddrs = [\"10.0.4.98\"]\ninterface = \"eth0\"\nvrid = 1\n";
    let group = format!("{}{second}[[group]]\nname = \"g\"\nvips = [\"front\", \"back\"]\n", front(""));
    refused(&group, 24, "vip \"back\" has guard \"best-effort\", vip \"front\" has \"quorum\"", "same guard");
}

#[test]
fn a_cluster_key_that_everybody_may_read_is_warned_of() {
    use std::os::unix::fs::PermissionsExt as _;
    let path = std::env::temp_dir().join(format!("mainstay-cluster-key-{}", std::process::id()));
    std::fs::write(&path, "0123456789abcdef\n").unwrap();
    let text = with(&format!(
        "key = {{ file = \"{}\" }}\npeers = [{{ id = \"b\", addrs = [\"10.0.0.1\"] }}]",
        path.display()
    ));
    let warned = |mode| {
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        let loaded =
            parse_str("t.toml", &text, &|_| None, Checks::ALL).unwrap_or_else(|report| panic!("{report}"));
        loaded
            .warnings
            .iter()
            .any(|d| d.place.line == 5 && d.message.contains("every user of this host may read"))
    };
    let seen = [warned(0o644), warned(0o640), warned(0o600)];
    std::fs::remove_file(&path).unwrap();
    assert_eq!(seen, [true, false, false]);
}

#[test]
fn a_strict_guard_is_for_two_nodes_that_speak_with_each_other() {
    let vip = |more: &str| {
        format!(
            "[[vip]]\nname = \"v\"\naddrs = [\"10.0.4.99\"]\ninterface = \"eth0\"\nguard = \"strict\"\n{more}\n"
        )
    };
    let web_2 = "{ id = \"web-2\", addrs = [\"10.0.4.21\"] }";
    let keyed = |peers: &str| with(&format!("{KEY}\n{peers}"));
    let of = |peers: &str, more: &str| keyed(&format!("peers = [{peers}]")) + &vip(more);
    let pair = plan(&of(web_2, ""));
    let spec = &pair.vips[0].spec;
    let cluster = pair.cluster.unwrap();
    assert_eq!((spec.guard, spec.vrid, spec.gate), (Guard::Strict, 0, cluster.terms.hold()));
    let other = plan(&keyed(&format!("peers = [{web_2}]"))).cluster.unwrap();
    assert!(cluster.strict && !other.strict);
    assert_ne!(cluster.salt, other.salt, "a node for which promises end does not count them");

    refused(&vip(""), 5, "needs nodes that speak", "cluster.key");
    refused(&(with(&format!("peers = [{web_2}]")) + &vip("")), 10, "needs nodes that speak", "cluster.key");
    refused(&(keyed("peers = []") + &vip("")), 11, "needs two nodes, here is one", "web-2");
    let witness = format!("{web_2}, {{ id = \"w\", addrs = [\"10.0.5.9\"], witness = true }}");
    refused(&of(&witness, ""), 11, "here are 3 voters, 2 of which hold vips", "quorum");
    let alone = "{ id = \"w\", addrs = [\"10.0.5.9\"], witness = true }";
    refused(&of(alone, ""), 11, "here are 2 voters, 1 of which hold vips", "quorum");
    refused(
        &of(web_2, "version = 2"),
        12,
        "`version` is VRRP's, and guard \"strict\" sends none",
        "keepalived",
    );
    refused(&of(web_2, "unicast = [\"10.0.4.77\"]"), 12, "so guard \"strict\" can't bind it", "keepalived");
    refused(&of(web_2, "priority = 255"), 12, "holds it without asking", "up to 254");
    let both =
        of(web_2, "") + &vip("").replace("\"v\"", "\"q\"").replace("99", "98").replace("strict", "quorum");
    refused(&both, 17, "guard \"quorum\" needs three voters, here are two", "witness");
}
