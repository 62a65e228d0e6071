//! What a configuration means once it is accepted.

use std::net::IpAddr;
use std::time::Duration;

use mainstay_config::plan::{Check, NotifyHow, NotifyOn};
use mainstay_config::{Checks, Loaded, load_with, parse_str};
use mainstay_core::vrrp::{Checksum, Version};

fn env(name: &str) -> Option<String> {
    match name {
        "HOST" => Some("web-9".to_owned()),
        "PRIO" => Some("150".to_owned()),
        "PASS" => Some("s3cret".to_owned()),
        _ => None,
    }
}

fn accepted(text: &str) -> Loaded {
    parse_str("t.toml", text, &env, Checks::NONE).unwrap_or_else(|report| panic!("{report}"))
}

const PAIR: &str = r#"
[node]
id = "web-1"
start_delay = "2s"
metrics = "127.0.0.1:9105"

[cluster]
name = "shop"
peers = [{ id = "web-1" }, { id = "web-2", addrs = ["10.0.4.21"] }]

[mail]
smtp = "localhost:25"
from = "a@example.com"
to = ["b@example.com"]

[[vip]]
name = "front"
addrs = ["10.0.4.99", { addr = "10.0.4.98/24", interface = "eth1" }]
unadvertised = ["2001:db8::99"]
interface = "eth0"
vrid = 51
requires = ["nginx"]
owns = [{ unit = "worker.service" }, { start = ["/bin/true"], stop = ["/bin/false"], timeout = "9s" }]
notify = [
    { on = ["active"], exec = ["/bin/n", "MASTER"] },
    { exec = ["/bin/n"], args = true, user = "ops", timeout = "7s" },
    { webhook = "https://hook.example.com/x", headers = { Authorization = { env = "PASS" } } },
    { mail = true },
]

[[probe]]
name = "nginx"
http = "http://127.0.0.1:80/healthz"
status = [200, "300-399"]
body = "ok|fine"
interval = "500ms"
fall = 2
restart = { exec = ["/bin/systemctl", "restart", "nginx"], wait = "3s" }
"#;

#[test]
fn defaults_are_those_of_the_reference() {
    let loaded = accepted(PAIR);
    let spec = &loaded.plan.vips[0].spec;
    assert_eq!(spec.version, Version::V3);
    assert_eq!((spec.priority, spec.preempt, spec.down_adverts, spec.ttl_min), (100, true, 3, 255));
    assert_eq!((spec.advert, spec.gate), (Duration::from_secs(1), Duration::from_secs(3)));
    assert_eq!(spec.checksum, Checksum::PseudoHeader);
    assert!(spec.checksum_any && spec.check_addrs && !spec.check_source && spec.owns);
    assert_eq!((spec.announce.repeat, spec.announce.delay), (5, Duration::from_secs(5)));
    assert_eq!(spec.start_delay, Duration::from_secs(2));
    let probe = &loaded.plan.probes[0];
    assert_eq!((probe.timeout, probe.rise, probe.initial), (Duration::from_millis(500), 1, None));
    assert!(loaded.warnings.is_empty(), "{:?}", loaded.warnings);
}

#[test]
fn addresses_are_host_routes_unless_a_prefix_is_asked_for_and_stand_where_they_say() {
    let plan = accepted(PAIR).plan;
    let vip = &plan.vips[0];
    let shown: Vec<(String, u8, &str)> = vip
        .addrs
        .iter()
        .map(|a| (a.addr.to_string(), a.prefix, plan.links[a.link.index()].as_str()))
        .collect();
    assert_eq!(
        shown,
        [
            ("10.0.4.99".to_owned(), 32, "eth0"),
            ("10.0.4.98".to_owned(), 24, "eth1"),
            ("2001:db8::99".to_owned(), 128, "eth0")
        ]
    );
    assert_eq!(vip.spec.addrs, ["10.0.4.99", "10.0.4.98"].map(|a| a.parse::<IpAddr>().unwrap()));
}

#[test]
fn commands_have_a_user_and_a_deadline_and_stand_once_in_the_list() {
    let plan = accepted(PAIR).plan;
    let shown: Vec<(String, &str, u64)> = plan
        .commands
        .iter()
        .map(|c| (c.argv.join(" "), c.user.as_deref().unwrap(), c.timeout.as_secs()))
        .collect();
    for expected in [
        ("/bin/n MASTER".to_owned(), "mainstay", 60),
        ("/bin/n".to_owned(), "ops", 7),
        ("/usr/bin/systemctl start worker.service".to_owned(), "root", 30),
        ("/bin/true".to_owned(), "root", 9),
        ("/bin/systemctl restart nginx".to_owned(), "root", 30),
    ] {
        assert!(shown.contains(&expected), "{expected:?} is not in {shown:?}");
    }
}

#[test]
fn notify_keeps_its_order_its_changes_and_its_secret_headers() {
    let plan = accepted(PAIR).plan;
    let notify = &plan.vips[0].notify;
    assert_eq!(notify[0].on, [NotifyOn::Active]);
    let NotifyHow::Webhook { headers, retries, .. } = &notify[2].how else { panic!("{notify:?}") };
    assert_eq!(headers, &[("Authorization".to_owned(), "s3cret".to_owned())]);
    assert_eq!(*retries, 3);
    assert_eq!(notify[3].how, NotifyHow::Mail);
    assert!(matches!(&plan.probes[0].check, Check::Http(http) if http.status == [(200, 200), (300, 399)]));
}

#[test]
fn a_cluster_of_two_has_a_sole_successor_and_this_node_does_not_count() {
    assert!(accepted(PAIR).plan.vips[0].spec.sole_successor);
    let three = PAIR.replace("{ id = \"web-1\" }", "{ id = \"web-3\" }");
    assert!(!accepted(&three).plan.vips[0].spec.sole_successor);
    let unicast = three.replace("vrid = 51", "vrid = 51\nunicast = [\"10.0.4.21\"]");
    assert!(accepted(&unicast).plan.vips[0].spec.sole_successor);
}

#[test]
fn no_secret_is_printed_by_debug() {
    let text = PAIR.replace("vrid = 51", "vrid = 51\nversion = 2\npassword = \"hunter2\"");
    let loaded = accepted(&text);
    assert_eq!(loaded.plan.vips[0].spec.password, Some(*b"hunter2\0"));
    let shown = format!("{loaded:?} {:#?}", loaded.plan);
    assert!(
        !shown.contains("hunter2") && !shown.contains("104, 117") && !shown.contains("s3cret"),
        "{shown}"
    );
}

#[test]
fn the_environment_fills_in_texts_and_numbers() {
    let text =
        PAIR.replace("\"web-1\"", "\"${HOST}\"").replace("vrid = 51", "vrid = 51\npriority = \"${PRIO}\"");
    let plan = accepted(&text).plan;
    assert_eq!(plan.node, "web-9");
    assert_eq!(plan.vips[0].spec.priority, 150);
}

#[test]
fn a_variable_stands_over_the_key_of_a_single_table() {
    let env = |name: &str| match name {
        "MAINSTAY_NODE_ID" => Some("from-env".to_owned()),
        "MAINSTAY_NODE_START_DELAY" => Some("9s".to_owned()),
        "MAINSTAY_MAIL_TO" => Some("[\"x@example.com\", \"y@example.com\"]".to_owned()),
        "MAINSTAY_CLUSTER_PEERS" => Some("[{ id = \"a\" }, { id = \"b\" }]".to_owned()),
        "PASS" => Some("p".to_owned()),
        _ => None,
    };
    let plan = parse_str("t.toml", PAIR, &env, Checks::NONE).unwrap_or_else(|report| panic!("{report}")).plan;
    assert_eq!(plan.node, "from-env");
    assert_eq!(plan.vips[0].spec.start_delay, Duration::from_secs(9));
    assert_eq!(plan.mail.unwrap().to, ["x@example.com", "y@example.com"]);
    assert!(!plan.vips[0].spec.sole_successor);

    let bad = |name: &str| (name == "MAINSTAY_NODE_START_DELAY").then(|| "9".to_owned());
    let report = parse_str("t.toml", "", &bad, Checks::NONE).unwrap_err().to_string();
    assert!(
        report.starts_with("environment variable MAINSTAY_NODE_START_DELAY: error: a duration needs a unit"),
        "{report}"
    );
}

#[test]
fn the_gate_is_three_adverts_and_at_least_300_ms() {
    for (advert, gate) in [("1s", 3000), ("100ms", 300), ("10ms", 300), ("200ms", 600)] {
        let text = PAIR.replace("vrid = 51", &format!("vrid = 51\nadvert = \"{advert}\""));
        assert_eq!(accepted(&text).plan.vips[0].spec.gate, Duration::from_millis(gate), "{advert}");
    }
}

#[test]
fn fragments_are_merged_in_the_order_of_their_names() {
    let dir = std::env::temp_dir().join(format!("mainstay-merge-{}", std::process::id()));
    std::fs::create_dir_all(dir.join("conf.d")).unwrap();
    let vip = |name: &str, vrid: u8| {
        format!(
            "[[vip]]\nname = \"{name}\"\naddrs = [\"10.0.4.{vrid}\"]\ninterface = \"eth0\"\nvrid = {vrid}\n"
        )
    };
    let main = dir.join("mainstay.toml");
    std::fs::write(&main, format!("[node]\nid = \"a\"\n{}", vip("main", 1))).unwrap();
    std::fs::write(dir.join("conf.d/20-b.toml"), vip("b", 3)).unwrap();
    std::fs::write(dir.join("conf.d/10-a.toml"), format!("[node]\nstart_delay = \"1s\"\n{}", vip("a", 2)))
        .unwrap();
    std::fs::write(dir.join("conf.d/.hidden.toml"), "nonsense").unwrap();
    std::fs::write(dir.join("conf.d/readme.txt"), "nonsense").unwrap();
    let loaded = load_with(&main, &env, Checks::NONE).unwrap_or_else(|report| panic!("{report}"));
    let names: Vec<&str> = loaded.plan.vips.iter().map(|vip| vip.spec.name.as_str()).collect();
    assert_eq!(names, ["main", "a", "b"]);
    assert_eq!(loaded.plan.vips[0].spec.start_delay, Duration::from_secs(1));
    assert_eq!(loaded.files.len(), 3);

    std::fs::write(dir.join("conf.d/30-c.toml"), format!("[node]\nid = \"z\"\n{}", vip("a", 9))).unwrap();
    let report = load_with(&main, &env, Checks::NONE).unwrap_err().to_string();
    std::fs::remove_dir_all(&dir).unwrap();
    assert!(report.contains("conf.d/30-c.toml:2:6: error: `id` is already set at "), "{report}");
    assert!(report.contains("mainstay.toml:2"), "{report}");
    assert!(report.contains("there is already a vip \"a\" at "), "{report}");
}
