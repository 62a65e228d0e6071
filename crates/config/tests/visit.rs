//! `[[visit]]`: what it comes to mean, and each mistake with its sentence.

mod finding;

use std::time::Duration;

use finding::{assert_finding, no_env};
use mainstay_config::plan::Plan;
use mainstay_config::plan::visit::Door;
use mainstay_config::{Checks, diff, parse_str};

const GOOD: &str = "[node]
id = \"desk\"
[[visit]]
hubs = [\"wss://edge.example.com\"]
key = \"mst1_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\"
[[visit.tunnel]]
id = \"office\"
listen = \"127.0.0.1:8022\"
";

fn plan(text: &str) -> Plan {
    parse_str("t.toml", text, &no_env, Checks::NONE).unwrap_or_else(|report| panic!("{report}")).plan
}

#[track_caller]
fn instead(line: &str, by: &str) -> String {
    assert!(GOOD.contains(line), "{line}");
    GOOD.replace(line, by)
}

fn with(line: &str) -> String {
    format!("{GOOD}{line}\n")
}

#[test]
fn a_visit_is_called_as_its_node_and_has_a_door_for_each_tunnel() {
    let visits = plan(&with("udp = true")).visits;
    let [visit] = &visits[..] else { panic!("{visits:?}") };
    assert_eq!((visit.name.as_str(), visit.drain), ("desk", Duration::from_secs(30)));
    let listen = "127.0.0.1:8022".parse().unwrap();
    assert_eq!(visit.doors, [Door { tunnel: "office".into(), listen, udp: true, host: None }]);
    assert!(!format!("{visit:?}").contains("mst1_"), "a key is never shown");
}

#[test]
fn what_a_reload_changes_is_told_by_name() {
    let old = plan(GOOD);
    assert_eq!(diff(&old, &plan(&instead("8022", "8023"))).to_string(), "visit \"desk\" has other doors");
    assert_eq!(diff(&old, &plan("[node]\nid = \"desk\"\n")).to_string(), "visit \"desk\" is gone");
}

#[test]
fn each_mistake_has_its_sentence() {
    assert_finding(&instead("wss://", "https://"), 4, "is no address of a hub", "wss://edge.example.com");
    assert_finding(&instead("mst1_", "mst2_"), 5, "no secret of a tunnel key", "mainstay tunnel key");
    let door = "[[visit.tunnel]]\nid = \"office\"\nlisten = \"127.0.0.1:8022\"\n";
    assert_finding(&instead(door, ""), 3, "reaches no tunnel", "[[visit.tunnel]]");
    assert_finding(&instead("id = \"office\"\n", ""), 6, "`id` is missing", "");
    assert_finding(&instead("\"office\"", "\"\""), 7, "can't be the id of a tunnel", "");
    assert_finding(&instead("listen = \"127.0.0.1:8022\"\n", ""), 6, "`listen` is missing", "127.0.0.1:8022");
    assert_finding(&instead("127.0.0.1:8022", "localhost"), 8, "is no address with a port", "127.0.0.1:8022");
    assert_finding(&instead("127.0.0.1:8022", "127.0.0.1:0"), 8, "is no address with a port", "");
    assert_finding(&with(door), 9, "twice in the same way", "one `listen`");
    assert_finding(&with(&door.replace("office", "depot")), 11, "is taken, at", "another port");
    assert!(parse_str("t.toml", &with(&format!("{door}udp = true")), &no_env, Checks::NONE).is_ok());
    let second = GOOD.split_once("[[visit]]").unwrap().1;
    assert_finding(&with(&format!("[[visit]]{second}")), 9, "already a visit \"desk\"", "its own name");
}

#[test]
fn a_door_that_others_reach_is_warned_of() {
    let loaded = parse_str("t.toml", &instead("127.0.0.1", "0.0.0.0"), &no_env, Checks::NONE).unwrap();
    let warned = loaded.warnings.iter().any(|warning| warning.message.contains("without a key"));
    assert!(warned, "{:?}", loaded.warnings);
}
