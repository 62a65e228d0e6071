//! Where hubs find each other, and what is refused of it.

use std::time::Duration;

use mainstay_config::plan::registry::{Redis, Registry, Store};
use mainstay_config::{Checks, diff, parse_str};

/// A hub that speaks to others.
const HUB: &str = "[hub]\nbind = \"10.0.4.20:7001\"\nkey = \"0123456789abcdef\"\n";

fn registry(table: &str) -> Registry {
    let text = format!("{HUB}[registry]\n{table}\n");
    let loaded = parse_str("t.toml", &text, &|_| None, Checks::NONE);
    loaded.unwrap_or_else(|report| panic!("{report}")).plan.registry.expect("there is one")
}

fn refused(table: &str, says: &str) {
    let text = format!("{HUB}[registry]\n{table}\n");
    let Err(report) = parse_str("t.toml", &text, &|_| None, Checks::NONE) else {
        panic!("accepted:\n{text}")
    };
    let report = report.to_string();
    assert!(report.contains(says), "nothing says {says:?}; the report is\n{report}");
}

fn place(host: &str, port: u16, database: u16, tls: bool) -> Redis {
    Redis { host: host.into(), port, database, tls }
}

#[test]
fn a_redis_is_a_list_of_addresses_with_a_database_each() {
    let urls = "redis = [\"redis://10.0.4.30\", \"redis://name:6380/3\", \"redis://[2001:db8::1]/1\", \"redis://[2001:db8::2]:7\"]";
    let all = registry(urls);
    let Store::Redis(places) = &all.store else { panic!("{all:?}") };
    let expected = [
        place("10.0.4.30", 6379, 0, false),
        place("name", 6380, 3, false),
        place("[2001:db8::1]", 6379, 1, false),
        place("[2001:db8::2]", 7, 0, false),
    ];
    assert_eq!(places[..], expected);
    assert_eq!((all.prefix.as_str(), all.ttl), ("mainstay", Duration::from_secs(10)));
    assert_eq!(expected[2].to_string(), "[2001:db8::1]:6379");
}

#[test]
fn what_the_store_knows_us_by_is_as_with_an_etcd_that_votes_and_a_redis_may_have_no_users() {
    let secure = registry("redis = [\"rediss://h\"]\npassword = \"p\"\nprefix = \"shop\"\nttl = \"30s\"");
    let Store::Redis(places) = &secure.store else { panic!("{secure:?}") };
    assert!(places[0].tls);
    assert_eq!((secure.prefix.as_str(), secure.ttl), ("shop", Duration::from_secs(30)));
    let (user, password) = secure.access.user.clone().expect("who we are");
    assert_eq!((user.as_str(), password.text()), ("", "p"));
    assert!(!format!("{secure:?}").contains("\"p\""), "it is shown nowhere");
    let etcd = registry(
        "etcd = [\"https://a:2379\", \"https://b:2379/\"]\nuser = \"u\"\npassword = \"p\"\nca = \"/ca.pem\"",
    );
    assert_eq!(etcd.store, Store::Etcd(vec!["https://a:2379".into(), "https://b:2379".into()]));
    assert!(etcd.access.ca.is_some());
}

#[test]
fn every_key_has_a_name_in_the_environment() {
    let env = |name: &str| match name {
        "MAINSTAY_REGISTRY_REDIS" => Some("[\"redis://h:1\"]".to_owned()),
        "MAINSTAY_REGISTRY_TTL" => Some("5s".to_owned()),
        _ => None,
    };
    let plan = parse_str("t.toml", HUB, &env, Checks::NONE).unwrap_or_else(|report| panic!("{report}")).plan;
    assert_eq!(plan.registry.expect("there is one").ttl, Duration::from_secs(5));
}

#[test]
fn what_is_no_store_is_refused_with_what_to_write() {
    for (table, says) in [
        ("prefix = \"a\"", "neither `redis` nor `etcd`"),
        ("redis = [\"redis://h\"]\netcd = [\"http://h:1\"]", "are both there"),
        ("redis = []", "`redis` has 0 URLs"),
        ("redis = [\"h:6379\"]", "does not start with redis:// or rediss://"),
        ("redis = [\"redis://u:p@h\"]", "stands in `user` and `password`"),
        ("redis = [\"redis://h/one\"]", "a database is a number"),
        ("redis = [\"redis://h:0\"]", "a port is a number"),
        ("redis = [\"redis://h\", \"redis://h/\"]", "listed twice"),
        ("redis = [\"redis://h\", \"rediss://i\"]", "write rediss:// for all"),
        ("redis = [\"redis://h\"]\nca = \"/c\"", "`ca` means nothing with redis://"),
        ("redis = [\"redis://h\"]\nuser = \"u\"", "`user` and `password` belong together"),
        ("etcd = [\"http://h:1\"]\npassword = \"p\"", "`user` and `password` belong together"),
        ("etcd = [\"http://h\"]", "the port is missing"),
        ("redis = [\"redis://h\"]\nttl = \"2s\"", "ttl 2s is out of range"),
        ("redis = [\"redis://h\"]\nprefix = \"\"", "can't begin a key"),
        ("redis = [\"redis://h\"]\nprefix = \"a b\"", "can't begin a key"),
    ] {
        refused(table, says);
    }
}

#[test]
fn a_hub_that_speaks_to_no_other_has_no_use_for_one() {
    let Err(report) = parse_str("t.toml", "[registry]\nredis = [\"redis://h\"]\n", &|_| None, Checks::NONE)
    else {
        panic!("accepted")
    };
    assert!(report.to_string().contains("this hub speaks to no other"), "{report}");
}

#[test]
fn a_password_without_tls_is_warned_of() {
    let text = format!("{HUB}[registry]\nredis = [\"redis://h\"]\npassword = \"p\"\n");
    let loaded =
        parse_str("t.toml", &text, &|_| None, Checks::NONE).unwrap_or_else(|report| panic!("{report}"));
    let warnings = format!("{:?}", loaded.warnings);
    assert!(warnings.contains("the password goes to redis unencrypted"), "{warnings}");
}

#[test]
fn a_reload_says_what_is_other_about_it() {
    let plan = |text: &str| {
        let text = format!("{HUB}{text}");
        parse_str("t.toml", &text, &|_| None, Checks::NONE).unwrap_or_else(|report| panic!("{report}")).plan
    };
    let (without, one) = (plan(""), plan("[registry]\nredis = [\"redis://h\"]\n"));
    let other = plan("[registry]\nredis = [\"redis://i\"]\nttl = \"9s\"\n");
    assert!(diff(&without, &one).to_string().contains("the registry has other stores"));
    assert_eq!(diff(&one, &other).to_string(), "the registry has other addresses, ttl");
    assert!(diff(&one, &one).is_empty());
}
