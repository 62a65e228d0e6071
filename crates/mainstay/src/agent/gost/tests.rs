//! What an agent at gost's servers takes, and where it says that it is reached.

use std::time::Duration;

use mainstay_core::gost::relay::{Addr, Login};
use mainstay_link::SystemEntropy;
use mainstay_link::tunnel::carrier::{Dialing, trusting};
use mainstay_link::tunnel::keys::SigningKey;

use super::keep::url;
use super::{Servers, servers, target};
use crate::agent::{Listen, Service, Settings, Wish};

const UUID: &str = "381433e1-7980-11ee-bbdb-60f262c1e32d";

fn settings(hubs: &[&str]) -> Settings {
    Settings {
        hubs: hubs.iter().map(|hub| hub.parse().expect("an address")).collect(),
        name: "a".to_owned(),
        key: SigningKey::generate(&mut SystemEntropy),
        login: None,
        key_file: None,
        dialing: Dialing { tls: trusting(None).expect("TLS"), proxy: None },
        services: vec![Service::new(UUID)],
        wishes: Vec::new(),
        drain: Duration::ZERO,
    }
}

fn refused(settings: &Settings) -> String {
    servers(settings).map(|_| ()).expect_err("it is refused").to_string()
}

#[test]
fn hubs_are_gosts_or_ours_and_what_either_does_not_know_is_refused() {
    assert!(servers(&settings(&["tcp://a"])).unwrap().is_none());
    let of = |servers: Option<Servers>| servers.map(|servers| servers.all.len());
    assert_eq!(of(servers(&settings(&["gost+tcp://a", "gost+wss://b"])).unwrap()), Some(2));
    assert!(refused(&settings(&["gost+tcp://a", "tcp://a"])).contains("all hubs"));

    let login = Some(Login { user: "ada".into(), password: "x".repeat(256) });
    let mut ours = Settings { login: login.clone(), ..settings(&["tcp://a"]) };
    assert!(refused(&ours).contains("no user"));
    ours.login = None;
    ours.wishes = vec![Wish { host: Some("b".into()), ..Wish::new(UUID, Listen::Stdio, false) }];
    assert!(refused(&ours).contains("no host"));

    let gosts = || settings(&["gost+tcp://a"]);
    assert!(refused(&Settings { login, ..gosts() }).contains("255 bytes"));
    let service = |id, weight| vec![Service { weight, ..Service::new(id) }];
    assert!(refused(&Settings { services: service("office", 1), ..gosts() }).contains("UUID"));
    assert!(refused(&Settings { services: service(UUID, 256), ..gosts() }).contains("255, not 256"));
}

#[test]
fn a_wanted_host_has_a_port_or_none() {
    assert_eq!(target(None).unwrap(), Addr::NONE);
    assert_eq!(target(Some(&"dash".into())).unwrap(), Addr::new("dash", 0));
    assert_eq!(target(Some(&"[::1]:9".into())).unwrap(), Addr::new("::1", 9));
    assert!(target(Some(&"a b".into())).is_err());
}

#[test]
fn what_a_server_grants_is_told_as_the_address_of_a_page() {
    assert_eq!(url("gost.local", Some("b7de88a94729b931")).unwrap(), "http://b7de88a94729b931.gost.local");
    assert_eq!(url("10.0.0.1", Some("dash.example.com")).unwrap(), "http://dash.example.com");
    assert_eq!((url("10.0.0.1", Some("dash")), url("gost.local", None)), (None, None));
}
