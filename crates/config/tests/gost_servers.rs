//! `[[agent]]` and `[[visit]]` at gost's servers: what they come to mean, and each mistake with its sentence.

mod finding;

use finding::{assert_finding, no_env};
use mainstay_config::plan::Plan;
use mainstay_config::{Checks, parse_str};

const AGENT: &str = "[node]
id = \"desk\"
[[agent]]
hubs = [\"gost+ws://gost.local:80\", \"gost+tls://10.0.0.1\"]
user = \"ada\"
password = \"secret\"
[[agent.offer]]
tunnel = \"381433e1-7980-11ee-bbdb-60f262c1e32d\"
to = [\"127.0.0.1:8000\"]
weight = 255
";

const VISIT: &str = "[node]
id = \"desk\"
[[visit]]
hubs = [\"gost+wss://gost.local\"]
verify = false
[[visit.tunnel]]
id = \"381433e1-7980-11ee-bbdb-60f262c1e32d\"
listen = \"127.0.0.1:8022\"
host = \"dash:80\"
";

fn plan(text: &str) -> Plan {
    parse_str("t.toml", text, &no_env, Checks::NONE).unwrap_or_else(|report| panic!("{report}")).plan
}

#[track_caller]
fn agent(line: &str, by: &str) -> String {
    assert!(AGENT.contains(line), "{line}");
    AGENT.replace(line, by)
}

#[track_caller]
fn visit(line: &str, by: &str) -> String {
    assert!(VISIT.contains(line), "{line}");
    VISIT.replace(line, by)
}

#[test]
fn gosts_servers_know_a_user_and_want_no_key() {
    let agents = plan(AGENT).agents;
    let [agent] = &agents[..] else { panic!("{agents:?}") };
    assert_eq!(agent.hubs, ["gost+ws://gost.local", "gost+tls://10.0.0.1:8421"]);
    let login = agent.login.as_ref().unwrap();
    assert_eq!((login.user.as_str(), login.password.text(), agent.verify), ("ada", "secret", true));
    assert_eq!((agent.key.text(), agent.offers[0].weight), ("", 255));
    assert!(!format!("{agent:?}").contains("secret"), "a password is never shown");

    let visits = plan(VISIT).visits;
    let [visit] = &visits[..] else { panic!("{visits:?}") };
    assert_eq!((visit.login.is_none(), visit.verify), (true, false));
    assert_eq!(visit.doors[0].host.as_deref(), Some("dash:80"));
}

#[test]
fn each_mistake_has_its_sentence() {
    let key = "key = \"mst1_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\"\nuser";
    assert_finding(&agent("gost+tls", "tls"), 3, "1 of 2 hubs are gost's servers", "or none is");
    assert_finding(&agent("user", key), 5, "`key` means nothing to gost's servers", "take `key` out");
    assert_finding(&agent("user = \"ada\"\n", ""), 5, "`password` without `user`", "user = ");
    assert_finding(&agent("\"ada\"", "\"a\\nb\""), 5, "can't be sent", "255 bytes");
    assert_finding(&agent("381433e1-", "office-"), 7, "the id of a tunnel is a UUID", "381433e1-");
    assert_finding(&agent("255", "256"), 10, "weight 256 is more than gost's servers know", "1 to 255");
    let ours = AGENT.replace("gost+", "");
    assert_finding(&ours, 5, "`user` means nothing to hubs that are not gost's", "take `user` out");

    assert_finding(&visit("dash:80", "a b"), 9, "host \"a b\"", "host = ");
    let ca = visit("verify = false", "verify = false\nca = \"/etc/ca.pem\"");
    assert_finding(&ca, 6, "`ca` means nothing when nothing is checked", "take `ca` or `verify` out");
    let ours = VISIT.replace("gost+", "");
    assert_finding(&ours, 5, "who is not checked may be anybody", "take `verify` out");
    assert_finding(&ours, 9, "`host` means nothing to hubs that are not gost's", "take `host` out");
}

#[test]
fn a_password_that_anybody_can_read_and_a_server_that_anybody_can_be_are_warned_of() {
    let warned = |text: &str, what: &str| {
        let loaded =
            parse_str("t.toml", text, &no_env, Checks::NONE).unwrap_or_else(|report| panic!("{report}"));
        loaded.warnings.iter().any(|warning| warning.message.contains(what))
    };
    assert!(warned(AGENT, "whoever listens on the way to gost+ws://gost.local reads the password"));
    assert!(!warned(&agent("gost+ws://", "gost+wss://"), "reads the password"));
    assert!(warned(VISIT, "whoever stands on the way to a hub can be it"));
    assert!(!warned(&visit("verify = false\n", ""), "on the way"));
}
