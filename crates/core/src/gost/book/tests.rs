//! What is promised of plugins that are slow, gone, flushed, hung and lying.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::world::{DEADLINE, LASTS, Mood, RENEW, World, ms, service, settings};
use super::*;

const SECOND: Duration = Duration::from_secs(1);

/// Two hubs, a client of tunnel 1 at the first, known to the second.
fn pair() -> World {
    let mut world = World::new(2, 7);
    world.bind(0, 1);
    world.pass(SECOND);
    assert_eq!(world.rule(1, "h1"), Look::Asked);
    assert_eq!(world.nodes(1, "t1"), Look::Asked);
    world.pass(SECOND);
    assert_known(&mut world);
    world
}

/// The second hub knows host and node of tunnel 1.
#[track_caller]
fn assert_known(world: &mut World) {
    let Look::Known(rule) = world.rule(1, "h1") else { panic!("the host is not known") };
    assert_eq!(rule.tunnel, "t1");
    let Look::Known(nodes) = world.nodes(1, "t1") else { panic!("no node is known") };
    assert!(nodes.iter().any(|node| node.address == "10.0.0.0:80"), "{nodes:?}");
}

/// Each 100 ms, for so long.
#[track_caller]
fn assert_known_for(world: &mut World, time: Duration) {
    for _ in 0..time.as_millis() / 100 {
        assert_known(world);
        world.pass(ms(100));
    }
}

fn count(world: &World, is: impl Fn(&Call) -> bool) -> usize {
    world.calls.iter().filter(|(_, _, call)| is(call)).count()
}

#[test]
fn a_client_is_registered_renewed_and_taken_back() {
    let mut world = World::new(1, 1);
    let id = world.bind(0, 1);
    world.pass(SECOND);
    let said: Vec<_> = world.calls.drain(..).map(|(_, _, call)| call).collect();
    let tunnel = "t1".to_owned();
    let register = Call::Register { id: id.clone(), tunnel: tunnel.clone(), datagrams: false };
    assert_eq!(said, [register, Call::Lead { host: "h1".into(), tunnel: tunnel.clone() }]);
    world.pass(RENEW);
    let said: Vec<_> = world.calls.drain(..).map(|(_, _, call)| call).collect();
    assert!(
        said.contains(&Call::Renew { id: id.clone(), tunnel: tunnel.clone(), datagrams: false }),
        "{said:?}"
    );
    assert!(said.contains(&Call::Lead { host: "h1".into(), tunnel: tunnel.clone() }), "{said:?}");
    assert_eq!(said.len(), 2);
    world.unbind(0, &id);
    world.pass(RENEW * 2);
    let said: Vec<_> = world.calls.drain(..).map(|(_, _, call)| call).collect();
    assert_eq!(said, [Call::Deregister { id, tunnel, datagrams: false }]);
    world.agrees().unwrap();
}

#[test]
fn a_client_that_goes_while_it_is_registered_is_taken_back() {
    let mut world = World::new(1, 1);
    let id = world.bind(0, 1);
    world.unbind(0, &id);
    world.pass(SECOND);
    assert_eq!(count(&world, |call| matches!(call, Call::Deregister { .. })), 1);
    world.agrees().unwrap();
}

#[test]
fn a_host_lives_as_long_as_its_client() {
    let mut world = pair();
    // Rules end after LASTS however often they are set meanwhile: they are set again when they have.
    assert_known_for(&mut world, LASTS * 4);
}

#[test]
fn a_flush_heals_and_nobody_notices() {
    let mut world = pair();
    for _ in 0..3 {
        world.flush();
        assert_known_for(&mut world, RENEW * 2);
        world.agrees().unwrap();
    }
    let told = world.news.iter().filter(|(_, news)| *news == News::Forgot(Plugin::Sd)).count();
    assert!((1..=3).contains(&told), "{told}");
}

#[test]
fn what_is_known_stands_while_plugins_are_silent() {
    for mood in [Mood::Hung, Mood::Gone] {
        let mut world = pair();
        world.mood = mood;
        assert_known_for(&mut world, Duration::from_secs(300));
        let told: Vec<_> = world.news.drain(..).filter(|(hub, _)| *hub == 1).collect();
        assert_eq!(told.len(), 2, "{told:?}");
        assert!(told.iter().all(|(_, news)| matches!(news, News::Silent(..))), "{told:?}");
        world.mood = Mood::Well;
        assert_known_for(&mut world, RENEW * 2);
        world.agrees().unwrap();
        let told: Vec<_> = world.news.drain(..).filter(|(hub, _)| *hub == 1).collect();
        assert!(told.iter().all(|(_, news)| matches!(news, News::Returned(..))), "{told:?}");
        assert_eq!(told.len(), 2);
    }
}

#[test]
fn nobody_waits_for_a_plugin_that_is_silent() {
    let mut world = pair();
    world.mood = Mood::Hung;
    assert_eq!(world.rule(1, "new"), Look::Asked, "it is not known to be silent yet");
    world.pass(DEADLINE * 3);
    assert!(world.longest_wait <= DEADLINE, "{:?}", world.longest_wait);
    assert_eq!(world.rule(1, "new"), Look::Asked, "one failure is no silence");
    assert_eq!(world.nodes(1, "new"), Look::Asked);
    world.pass(DEADLINE * 3);
    for n in 0..100 {
        assert_eq!(world.rule(1, &format!("new-{n}")), Look::Nobody);
    }
    assert!(world.longest_wait <= DEADLINE, "{:?}", world.longest_wait);
    // And it is not hammered: one call at a time.
    world.calls.clear();
    world.pass(Duration::from_secs(60));
    let calls = count(&world, |call| matches!(call, Call::Rule { .. } | Call::Lead { .. }));
    assert!(calls <= 2 * 60, "{calls} calls in a minute");
}

#[test]
fn what_nobody_knows_is_not_asked_for_again_at_once() {
    let mut world = World::new(1, 3);
    assert_eq!(world.rule(0, "nobody"), Look::Asked);
    assert_eq!(world.rule(0, "nobody"), Look::Asked, "many wait for one call");
    world.pass(ms(100));
    assert_eq!(count(&world, |call| matches!(call, Call::Rule { .. })), 1);
    assert_eq!(world.rule(0, "nobody"), Look::Nobody);
    world.pass(NEGATIVE);
    assert_eq!(world.rule(0, "nobody"), Look::Asked);
}

#[test]
fn a_flood_of_hosts_costs_a_bounded_memory_and_no_renewal() {
    let mut world = World::new(1, 4);
    world.bind(0, 1);
    world.pass(SECOND);
    for n in 0..20_000 {
        let look = world.rule(0, &format!("junk-{n}"));
        assert!(look == Look::Asked || look == Look::Nobody);
        if n % 100 == 0 {
            world.pass(ms(10));
        }
    }
    world.pass(RENEW * 3);
    world.agrees().unwrap();
    assert!(world.longest_wait < SECOND * 2, "{:?}", world.longest_wait);
}

#[test]
fn a_tunnels_nodes_are_others_and_can_be_dialled() {
    let mut book = Book::new(settings(0), 1, Boot::ZERO);
    let node =
        |node: &str, address: &str| Node { node: node.into(), address: address.into(), datagrams: false };
    assert_eq!(book.nodes("t", Boot::ZERO), Look::Asked);
    let Some(Effect::Call { call, .. }) = book.poll_effect() else { panic!("it is asked for") };
    let mut nodes = vec![
        node("h0", "10.0.0.9:80"),
        node("other", "10.0.0.0:80"),
        node("a", ":80"),
        node("a", "10.0.0.1"),
        node("a", "10.0.0.1:0"),
        node("a", "0.0.0.0:80"),
        node("a", "x/y:80"),
        node("a", "10.0.0.1:80"),
        node("a", "10.0.0.1:80"),
        node("b", "[2001:db8::1]:8080"),
        node("c", "gost-1.gost:80"),
    ];
    nodes.extend((0..100).map(|n| node("many", &format!("10.1.0.{n}:80"))));
    book.handle(Input::Answered { call, answer: Answer::Nodes(nodes) }, Boot::ZERO);
    let known: Vec<_> = book.known_nodes("t").into_iter().map(|node| node.address).collect();
    assert_eq!(known[..3], ["10.0.0.1:80", "[2001:db8::1]:8080", "gost-1.gost:80"]);
    assert_eq!(known.len(), NODES_MAX);
}

#[test]
fn a_rule_that_is_taken_away_ends_and_a_made_one_lives_with_its_tunnel() {
    let mut now = Boot::from_nanos(1_000_000_000);
    let mut book = Book::new(settings(0), 1, now);
    let mut rules = BTreeMap::new();
    for host in ["own", "made"] {
        rules.insert(host, Some(Rule { tunnel: "t1".into(), private: false, made: host == "made" }));
    }
    book.handle(Input::Bound(service(1, "c")), now);
    let until = now + RENEW * (PATIENCE + 2);
    let mut last = BTreeMap::new();
    let mut taken = false;
    while now < until {
        for host in ["own", "made"] {
            last.insert(host, matches!(book.rule(host, now), Look::Known(_)));
        }
        while let Some(effect) = book.poll_effect() {
            if let Effect::Call { call, what } = effect {
                let answer = match what {
                    Call::Rule { host } => Answer::Rule(rules[host.as_str()].clone()),
                    Call::Nodes { .. } => Answer::Nodes(Vec::new()),
                    _ => Answer::Done(true),
                };
                book.handle(Input::Answered { call, answer }, now);
            }
        }
        if !taken && last["own"] {
            rules.values_mut().for_each(|rule| *rule = None);
            taken = true;
        }
        now += ms(500);
        book.handle(Input::Tick, now);
    }
    assert!(taken && last["made"], "a made host lives with its tunnel");
    assert!(!last["own"], "what the operator takes away ends");
}

#[test]
fn another_plugin_is_told_everything_and_believed_nothing_of_the_first() {
    let mut world = pair();
    world.flush();
    world.give(1, Input::Settings { settings: settings(1), anew: vec![Plugin::Sd, Plugin::Ingress] });
    assert_eq!(world.rule(1, "h1"), Look::Asked);
    world.give(0, Input::Settings { settings: settings(0), anew: vec![Plugin::Sd, Plugin::Ingress] });
    world.pass(SECOND);
    world.agrees().unwrap();
    world.pass(NEGATIVE);
    world.rule(1, "h1");
    world.nodes(1, "t1");
    world.pass(SECOND);
    assert_known(&mut world);
    let none = Settings { sd: false, ingress: false, ..settings(1) };
    world.give(1, Input::Settings { settings: none, anew: Vec::new() });
    assert_eq!(world.rule(1, "h1"), Look::Nobody);
    assert_eq!(world.nodes(1, "t1"), Look::Nobody);
}

#[test]
fn a_node_that_failed_somebody_is_asked_for_again_at_once() {
    let mut world = pair();
    let id = world.client_of(0).unwrap();
    world.unbind(0, &id);
    world.pass(SECOND);
    world.bind(0, 1);
    world.calls.clear();
    world.give(1, Input::Doubt("t1".into()));
    world.give(1, Input::Doubt("t1".into()));
    world.pass(RETRY * 2);
    assert_eq!(count(&world, |call| matches!(call, Call::Nodes { .. })), 1);
}

#[test]
fn wanted_tunnels_are_known_without_a_question() {
    let mut world = World::new(2, 5);
    world.give(1, Input::Wanted(BTreeSet::from(["t1".to_owned()])));
    world.bind(0, 1);
    world.pass(FRESH * 2);
    assert_eq!(world.book(1).known_nodes("t1").len(), 1);
    world.mood = Mood::Gone;
    world.pass(SECOND * 20);
    world.mood = Mood::Well;
    let id = world.client_of(0).unwrap();
    world.unbind(0, &id);
    world.pass(RENEW * (PATIENCE + 1));
    assert_eq!(world.book(1).known_nodes("t1").len(), 0);
}

/// Plugins change their mood at random, clients come and go, the store is flushed. What a hub has once learnt of a tunnel that is served
/// all the while stays known, nobody waits longer than for two calls, and the store is right when all is well again.
#[test]
fn by_any_schedule_what_is_served_stays_known() {
    let seeds = std::env::var("MAINSTAY_SEEDS").ok().and_then(|text| text.parse().ok()).unwrap_or(25);
    for seed in 0..seeds {
        random_schedule(seed);
    }
}

fn random_schedule(seed: u64) {
    let mut world = World::new(3, seed);
    // Tunnel 9 is served by the first hub from the beginning to the end.
    world.bind(0, 9);
    world.pass(SECOND);
    world.rule(2, "h9");
    world.nodes(2, "t9");
    world.pass(SECOND);
    let mut lied = false;
    for step in 0..300 {
        match world.dice.roll(20) {
            0 => world.mood = Mood::Well,
            1 => world.mood = Mood::Slow,
            2 => world.mood = Mood::Hung,
            3 => world.mood = Mood::Gone,
            4 if seed % 5 == 4 => (world.mood, lied) = (Mood::Lying, true),
            5 => world.flush(),
            6 | 7 => {
                let (hub, n) = (world.dice.roll(3) as usize, world.dice.roll(6));
                world.bind(hub, n);
            }
            8 => {
                let hub = 1 + world.dice.roll(2) as usize;
                world.client_of(hub).into_iter().for_each(|id| world.unbind(hub, &id));
            }
            _ => {
                let (hub, n) = (world.dice.roll(3) as usize, world.dice.roll(8));
                world.rule(hub, &format!("h{n}"));
                world.nodes(hub, &format!("t{n}"));
            }
        }
        if !lied {
            let look = world.rule(2, "h9");
            assert!(matches!(look, Look::Known(_)), "seed {seed} step {step}: {look:?}");
            let look = world.nodes(2, "t9");
            assert!(matches!(look, Look::Known(_)), "seed {seed} step {step}: {look:?}");
        }
        let time = world.dice.roll(4_000);
        world.pass(ms(time));
    }
    assert!(world.longest_wait <= DEADLINE * 2, "seed {seed}: {:?}", world.longest_wait);
    // A mended store is right as soon as everybody has said who it is, and what was left behind has ended.
    world.mood = Mood::Well;
    world.pass(LASTS + RENEW * 2);
    world.agrees().unwrap_or_else(|why| panic!("seed {seed}: {why}"));
    for n in world.served() {
        for hub in 0..3 {
            // A rule that is set again does not last longer: between its end and the next renewal a store like this has none.
            let known = (0..(RENEW.as_millis() / 500) + 4).any(|_| {
                let look = world.rule(hub, &format!("h{n}"));
                world.pass(ms(500));
                matches!(look, Look::Known(_))
            });
            assert!(known, "seed {seed}: h{n} at {hub}");
        }
    }
}

#[test]
fn a_host_that_is_made_of_an_id_is_no_other_tunnels() {
    let hosts = |tunnel: u64, hosts: &[&str]| Service {
        hosts: hosts.iter().map(|host| (*host).to_owned()).collect(),
        ..service(tunnel, &format!("c{tunnel}"))
    };
    let first = [hosts(1, &["h1"]), hosts(2, &["h2", "h1"])];
    let last = [hosts(2, &["h2", "h1"]), hosts(1, &["h1"])];
    for order in [first, last] {
        let mut world = World::new(1, 1);
        for one in order {
            world.give(0, Input::Bound(one));
        }
        world.pass(SECOND + RENEW);
        let mut said = world.calls.iter().filter_map(|(_, _, call)| match call {
            Call::Lead { host, tunnel } if host == "h1" => Some(tunnel.clone()),
            _ => None,
        });
        assert_eq!(said.next_back().as_deref(), Some("t1"));
        world.give(0, Input::Unbound("c2".to_owned()));
        world.give(0, Input::Unbound("c1".to_owned()));
        assert!(world.book(0).own.counts().2 == 0, "hosts are counted as they came");
    }
}
