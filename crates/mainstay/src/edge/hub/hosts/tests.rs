//! Who has a host, who gets it next, and what nobody gets.

use mainstay_config::{Checks, parse_str};

use super::*;

const ONE: &str = "381433e1-7980-11ee-bbdb-60f262c1e32d";
const TWO: &str = "481433e1-7980-11ee-bbdb-60f262c1e32d";

/// A configuration with listeners for gost's clients and these tables.
fn rules(gost: &str, more: &str) -> Rules {
    let text = format!(
        "[hub]\ndomain = \"gost.local\"\n[[listener]]\nname = \"gost\"\nbind = \":8421\"\nprotocol = \"hub\"\ncompat = \"gost\"\n\
         [[listener]]\nname = \"entry\"\nbind = \":80\"\ncompat = \"gost\"\n[gost]\n{gost}\n{more}"
    );
    Rules::of(&parse_str("t.toml", &text, &|_| None, Checks::NONE).expect("it is good").plan.edge)
}

fn book(gost: &str, more: &str) -> Book {
    let mut book = Book::default();
    book.adopt(rules(gost, more), Boot::ZERO);
    book
}

const ANY: &str = "tunnels = \"any\"\nhosts = \"any\"";

fn at(seconds: u64) -> Boot {
    Boot::ZERO + Duration::from_secs(seconds)
}

fn hosts(hosts: &[&str]) -> Option<Wants> {
    Some(Wants { hosts: hosts.iter().map(|host| (*host).to_owned()).collect(), private: false })
}

fn owner(book: &Book, host: &str) -> Option<String> {
    book.find(host).map(|owner| owner.tunnel.to_string())
}

#[test]
fn a_tunnel_has_its_generated_host_and_what_it_asks_for_and_endings_come_last() {
    let mut book = book(ANY, "");
    assert_eq!(book.hear(ONE, hosts(&["Dash", "*.apps.example"]), at(1)), None);
    assert_eq!(book.hear(TWO, hosts(&["one.apps.example", ".ample.example"]), at(1)), None);
    for (host, tunnel) in [
        ("b7de88a94729b931.gost.local", Some(ONE)),
        ("dash", Some(ONE)),
        ("two.apps.example", Some(ONE)),
        ("a.two.apps.example", Some(ONE)),
        ("apps.example", Some(ONE)),
        ("one.apps.example", Some(TWO)),
        ("other.ample.example", Some(TWO)),
        ("ample.example", Some(TWO)),
        ("example", None),
        ("xdash", None),
        ("", None),
        (".", None),
        ("gost.local", None),
    ] {
        assert_eq!(owner(&book, host).as_deref(), tunnel, "{host}");
    }
    assert_eq!(book.hosts_of(ONE), ["b7de88a94729b931.gost.local", "dash", ".apps.example"]);
    book.hear(ONE, hosts(&[]), at(2));
    assert_eq!(owner(&book, "dash"), None, "nobody wants it any more");
    assert_eq!(owner(&book, "apps.example"), None);
}

#[test]
fn who_came_first_has_a_host_while_it_is_offered_and_then_it_is_the_next_ones() {
    let mut book = book(ANY, "");
    assert_eq!(book.may_have(ONE, "dash"), Ok("dash".to_owned()));
    book.hear(ONE, hosts(&["dash"]), at(1));
    assert_eq!(book.may_have(TWO, "DASH."), Err(format!("host dash is tunnel {ONE}'s")));
    let conflict = book.hear(TWO, hosts(&["dash"]), at(2)).expect("it is told");
    assert!(conflict.contains("host dash is tunnel 381433e1"), "{conflict}");
    assert_eq!(book.hear(TWO, hosts(&["dash"]), at(3)), None, "it is told once");
    assert_eq!(owner(&book, "dash").as_deref(), Some(ONE));
    book.hear(ONE, None, at(4));
    assert_eq!(owner(&book, "dash").as_deref(), Some(TWO));
    // It comes back: what it has lost it has lost.
    assert!(book.hear(ONE, hosts(&["dash"]), at(5)).is_some());
    assert_eq!(owner(&book, "dash").as_deref(), Some(TWO));
    book.hear(TWO, None, at(6));
    assert_eq!(owner(&book, "dash").as_deref(), Some(ONE));
}

#[test]
fn a_tunnel_that_nobody_offers_is_remembered_for_a_while_and_then_nothing_is_kept() {
    let mut book = book(ANY, "");
    book.hear(ONE, hosts(&["dash"]), at(1));
    book.hear(TWO, hosts(&[]), at(1));
    book.hear(ONE, None, at(10));
    assert!(book.sweep(at(600)).is_empty());
    assert_eq!(owner(&book, "dash").as_deref(), Some(ONE), "its visitors wait for it");
    assert_eq!(book.may_have(TWO, "dash"), Ok("dash".to_owned()), "but it gives way");
    book.hear(ONE, None, at(800));
    assert_eq!(book.sweep(at(10 + 15 * 60)), [Rc::from(ONE)]);
    book.hear(TWO, None, at(2000));
    assert_eq!(book.sweep(at(4000)), [Rc::from(TWO)]);
    assert!(book.tunnels.is_empty() && book.hosts.is_empty() && book.open == 0);
}

#[test]
fn hosts_of_the_file_generated_ones_of_others_and_nonsense_are_nobodys() {
    let file = "[[route]]\nhost = [\"own.example\", \"*.ours.example\"]\nanswer = { status = 200 }\n";
    let mut book = book(ANY, file);
    for host in [
        "own.example",
        "*.ours.example",
        "0123456789abcdef.gost.local",
        "0123456789abcdef.x.gost.local",
        "*.0123456789ABCDEF.gost.local",
        "0123456789abcdef",
        "gost.local",
        "*.com",
        "localhost",
        "127.1",
        "0x7f.1",
        "0x7f000001",
        "2130706433",
        "a.0x1",
        ".gost.local",
        "*.local",
        "10.0.0.1",
        "a b",
        "",
        "*",
        "a..b",
        "x.*.y",
        "[::1]",
        &"a.".repeat(200),
    ] {
        assert!(book.may_have(ONE, host).is_err(), "{host}");
        assert!(book.hear(ONE, hosts(&[host]), at(1)).is_some(), "{host}");
        assert_eq!(book.hosts_of(ONE).len(), 1, "{host}");
    }
    assert!(book.may_have(ONE, "b7de88a94729b931.gost.local").is_ok(), "its own");
    for host in [
        "b7de88a94729b931",
        "dash.gost.local",
        "dash",
        "0123456789abcdef.example",
        "*.a.example",
        "1.a",
        "0xy",
    ] {
        assert!(book.may_have(ONE, host).is_ok(), "{host}");
    }
    let mut bare = rules(ANY, "");
    bare.domain = None;
    book.adopt(bare, at(2));
    assert!(book.may_have(ONE, "0123456789abcdef.any.domain").is_err(), "a plugin's domain is not known");
    assert!(book.may_have(ONE, "b7de88a94729b931.any.domain").is_ok());
}

#[test]
fn what_the_file_says_of_a_tunnel_holds() {
    let file = format!(
        "[[tunnel]]\nid = \"{ONE}\"\ngost = true\nhosts = [\"app.example\"]\n\
         [[tunnel]]\nid = \"office\"\nagents = [\"ed25519:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=\"]\nhosts = [\"office.example\"]\n"
    );
    let mut listed = book("", &file);
    assert_eq!(listed.may_offer(ONE), Ok(()));
    assert!(listed.may_offer(TWO).is_err() && listed.may_offer("office").is_err());
    assert!(listed.may_have(ONE, "dash").is_err(), "only generated ones");
    assert_eq!(owner(&listed, "app.example").as_deref(), Some(ONE), "before anybody has come");
    assert_eq!(owner(&listed, "b7de88a94729b931.gost.local").as_deref(), Some(ONE));
    assert_eq!(owner(&listed, "office.example"), None);
    listed.hear(ONE, hosts(&["dash"]), at(1));
    listed.hear(TWO, hosts(&[]), at(1));
    assert_eq!((owner(&listed, "dash"), listed.is_open(TWO), listed.is_open(ONE)), (None, false, false));
    let mut any = book(ANY, &file);
    assert!(any.may_offer(TWO).is_ok() && any.may_offer("office").is_err());
    any.hear(TWO, Some(Wants { hosts: vec!["dash".into()], private: true }), at(1));
    assert_eq!(any.find("dash").map(|owner| owner.private), Some(true));
    // A reload that lets them offer nothing takes them away.
    any.adopt(rules("", &file), at(2));
    assert_eq!((owner(&any, "dash"), any.is_open(TWO), any.open), (None, false, 0));
    assert_eq!(owner(&any, "app.example").as_deref(), Some(ONE));
}

#[test]
fn a_reload_keeps_who_has_what_and_a_new_domain_makes_new_hosts() {
    let mut book = book(ANY, "");
    book.hear(ONE, hosts(&["dash"]), at(1));
    book.hear(TWO, hosts(&["dash"]), at(2));
    let mut other = rules(ANY, "");
    other.domain = Some("other.local".to_owned());
    book.adopt(other, at(3));
    assert_eq!(owner(&book, "dash").as_deref(), Some(ONE));
    assert_eq!(owner(&book, "b7de88a94729b931.other.local").as_deref(), Some(ONE));
    assert_eq!(owner(&book, "b7de88a94729b931.gost.local"), None);
    assert_eq!(book.open, 2);
    book.hear(ONE, None, at(4));
    book.adopt(rules(ANY, ""), at(5));
    assert_eq!(book.sweep(at(4 + 15 * 60)), [Rc::from(ONE)], "nobody offered it all the time");
}

#[test]
fn nobody_makes_us_keep_more_than_the_bounds() {
    let mut book = book(ANY, "");
    let many: Vec<String> = (0..HOSTS_MAX + 5).map(|nth| format!("h{nth}")).collect();
    let why = book.hear(ONE, Some(Wants { hosts: many, private: false }), at(1)).expect("it is told");
    assert!(why.contains("16 hosts of its own"), "{why}");
    assert_eq!(book.hosts_of(ONE).len(), HOSTS_MAX + 1);
    for nth in 1..TUNNELS_MAX {
        assert_eq!(book.hear(&format!("t{nth}"), hosts(&[]), at(1)), None);
    }
    let why = book.hear(TWO, hosts(&[]), at(1)).expect("it is told");
    assert!(why.contains("100000 tunnels"), "{why}");
    assert!(book.may_offer(TWO).is_err() && book.may_offer("t7").is_ok());
    assert_eq!(book.tunnels.len(), TUNNELS_MAX);
    for nth in 1..TUNNELS_MAX {
        book.hear(&format!("t{nth}"), None, at(2));
    }
    assert_eq!(book.sweep(at(2 + 15 * 60)).len(), TUNNELS_MAX - 1);
    assert!(book.may_offer(TWO).is_ok());
}

#[test]
fn a_client_that_closes_a_public_tunnel_is_told_of_once() {
    let mut book = book(ANY, "");
    let closed = || Some(Wants { hosts: Vec::new(), private: true });
    assert_eq!(book.hear(ONE, closed(), at(1)), None, "private from the start");
    assert_eq!(book.hear(TWO, hosts(&[]), at(1)), None);
    let told = book.hear(TWO, closed(), at(2)).expect("a sentence");
    assert!(told.contains(TWO) && told.contains("private"), "{told}");
    assert_eq!(book.hear(TWO, closed(), at(3)), None);
    // Nobody is there, then another client: that is its own wish.
    assert_eq!(book.hear(TWO, hosts(&[]), at(4)), None);
    assert_eq!(book.hear(TWO, None, at(5)), None);
    assert_eq!(book.hear(TWO, closed(), at(6)), None);
}

#[test]
fn a_flood_of_tunnels_pushes_out_those_that_nobody_offers_the_longest_alone_first() {
    let mut book = book(ANY, "");
    let id = |number: usize| format!("00000000-0000-4000-8000-{number:012}");
    assert_eq!(book.hear(ONE, hosts(&["dash"]), at(1)), None);
    assert_eq!(book.hear(TWO, hosts(&[]), at(1)), None);
    for number in 2..TUNNELS_MAX {
        assert_eq!(book.hear(&id(number), hosts(&[]), at(2)), None);
        book.hear(&id(number), None, at(3 + number as u64));
    }
    book.hear(TWO, None, at(9));
    assert_eq!(book.open, TUNNELS_MAX);
    assert!(book.pushed_out().is_empty());
    assert_eq!(book.may_offer(&id(0)), Ok(()));
    assert_eq!(book.hear(&id(0), hosts(&[]), at(200_000)), None);
    let gone = book.pushed_out();
    assert_eq!(gone.len(), (TUNNELS_MAX - 1).div_ceil(4));
    assert_eq!((&*gone[0], book.is_open(&id(4))), (&*id(2), false));
    assert!(gone.iter().any(|tunnel| **tunnel == *TWO), "alone since 9");
    assert!(book.is_open(&id(TUNNELS_MAX - 1)) && owner(&book, "dash").is_some());
    assert_eq!(book.open, TUNNELS_MAX - gone.len() + 1);
    assert!(book.pushed_out().is_empty());
}
