//! How nodes learn each other's keys, and how they tell an impostor.

mod world;

use std::time::Duration;

use mainstay_core::name::NodeId;
use mainstay_link::{Config, Event, Intrusion, Keys, Means, Refusal, Token};
use world::{BEAT, Seeded, Weather, World, addr, keys, numbers, spec};

const MS: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);
const KEY: &[u8] = b"a cluster key of thirty-two bytes";

fn strangers(seed: u64, count: u8) -> World {
    let mut world = World::empty(seed);
    for node in 1..=count {
        let peers = (1..=count).filter(|peer| *peer != node);
        world.start(node, peers.map(|peer| spec(peer, None)).collect(), Some(KEY));
    }
    world
}

fn all_meet(world: &World, count: u8) -> bool {
    (1..=count).all(|node| (1..=count).all(|peer| node == peer || world.has_session(node, peer)))
}

fn enrolled(peer: u8) -> Event {
    Event::Enrolled { node: NodeId(peer.into()), key: keys(peer).public, means: Means::ClusterKey }
}

fn count(world: &World, node: u8, event: &Event) -> usize {
    world.events(node).iter().filter(|one| *one == event).count()
}

/// Another host with a node's id and a key of its own, at place 9 of the world.
fn impostor(world: &mut World, id: &str, key_of_one: Option<[u8; 32]>, cluster_key: Option<&[u8]>) {
    let made = Keys::generate(&mut Seeded(666));
    let mut config = World::config(9, &made, vec![spec(1, key_of_one)], cluster_key);
    (config.me.id, config.me.node) = (id.to_owned(), NodeId(2));
    world.put(9, config, made);
}

#[test]
fn nodes_with_the_cluster_key_pin_each_other_once() {
    let mut world = strangers(1, 3);
    let took = world.wait(SECOND, "sessions", |w| all_meet(w, 3));
    assert!(took <= 20 * MS, "{took:?}");
    world.run(5 * SECOND);
    for node in 1..=3 {
        for peer in (1..=3).filter(|peer| *peer != node) {
            assert_eq!(count(&world, node, &enrolled(peer)), 1);
            assert!(numbers(&world.nodes[&node].heard, peer).len() > 90);
        }
        let told = world.events(node);
        assert!(!told.iter().any(|event| matches!(event, Event::Refused { .. } | Event::KeyMismatch { .. })));
    }
}

#[test]
fn nodes_enrol_in_bad_weather() {
    for seed in 10..20 {
        let mut world = strangers(seed, 2);
        world.weather = Weather { lost: 50, doubled: 20, altered: 10, delay: MS, more: 150 * MS };
        world.wait(60 * SECOND, "sessions", |w| all_meet(w, 2));
        assert_eq!((count(&world, 1, &enrolled(2)), count(&world, 2, &enrolled(1))), (1, 1));
    }
}

#[test]
fn another_key_or_another_cluster_is_a_stranger() {
    for other in [true, false] {
        let mut world = strangers(2, 2);
        let two = keys(2);
        let key = if other { b"some other key of this length...." } else { KEY };
        let mut config = World::config(2, &two, vec![spec(1, None)], Some(key));
        if !other {
            config.cluster = "another".to_owned();
        }
        world.put(2, config, two);
        world.run(10 * SECOND);
        assert!(!world.has_session(1, 2) && !world.has_session(2, 1));
        let warned = |events: Vec<Event>| {
            let one = |event: &Event| matches!(event, Event::Intruder { why: Intrusion::Unproven, .. });
            matches!(&events[..], [event] if one(event))
        };
        assert!(warned(world.events(1)) && warned(world.events(2)), "{:?}", world.events(1));
        assert!(world.nodes[&1].sessions.view(world.now).causes.unproven > 0);
    }
}

#[test]
fn a_second_node_with_the_same_id_is_told_who_has_it_and_the_first_notices_nothing() {
    // It knows nothing but the cluster key, or has a copy of the first one's pinned keys.
    for pinned in [None, Some(keys(1).public)] {
        let mut world = strangers(3, 2);
        world.wait(SECOND, "sessions", |w| all_meet(w, 2));
        world.run(5 * SECOND);
        for node in [1, 2] {
            world.node(node).events.clear();
        }
        impostor(&mut world, "n2", pinned, Some(KEY));
        let refused = |w: &World, why: Refusal| {
            w.events(9)
                .iter()
                .any(|event| matches!(event, Event::Refused { by: NodeId(1), why: one, .. } if *one == why))
        };
        let holder = Some(addr(2, 0));
        let took = world.wait(SECOND, "a refusal", |w| refused(w, Refusal::InUse { holder }));
        assert!(took <= 20 * MS, "{took:?}");
        world.run(30 * SECOND);
        assert!(!world.has_session(9, 1));
        assert_eq!(world.events(2), []);
        let mismatch = |event: &Event| matches!(event, Event::KeyMismatch { node: NodeId(2), addr: from } if *from == addr(9, 0) || *from == addr(9, 1));
        assert!(world.events(1).iter().all(mismatch), "{:?}", world.events(1));
        assert!((1..=6).contains(&world.events(1).len()), "told, and not at each try");
        assert_eq!(numbers(&world.nodes[&1].heard, 2).len() as u64, world.nodes[&2].number);
    }
}

#[test]
fn an_id_that_is_in_no_list_is_refused() {
    let mut world = strangers(4, 2);
    impostor(&mut world, "n7", None, Some(KEY));
    world.run(SECOND);
    let no = |event: &Event| matches!(event, Event::Refused { why: Refusal::NotMember, .. });
    assert!(world.events(9).iter().any(no));
    assert!(!world.has_session(9, 1));
}

#[test]
fn the_id_of_the_node_itself_is_in_use() {
    let mut world = strangers(5, 2);
    impostor(&mut world, "n1", None, Some(KEY));
    world.run(SECOND);
    let no = |event: &Event| matches!(event, Event::Refused { why: Refusal::InUse { .. }, .. });
    assert!(world.events(9).iter().any(no), "{:?}", world.events(9));
}

#[test]
fn a_key_of_another_node_is_nobodys() {
    let mut world = strangers(8, 3);
    world.wait(SECOND, "sessions", |w| all_meet(w, 3));
    // Node 3's state on a host that calls itself node 2, and node 1 has forgotten node 2.
    let now = world.now;
    world.nodes.remove(&2);
    world.node(1).sessions.forget(NodeId(2), now);
    let (made, key_of_one) = (keys(3), Some(keys(1).public));
    for pinned in [key_of_one, None] {
        let mut config = World::config(9, &made, vec![spec(1, pinned)], Some(KEY));
        config.me.id = "n2".to_owned();
        world.put(9, config, made.clone());
        world.run(5 * SECOND);
        assert!(!world.has_session(9, 1));
        assert!(
            world
                .events(9)
                .iter()
                .any(|event| matches!(event, Event::Refused { why: Refusal::NotMember, .. }))
        );
    }
    assert!(world.has_session(1, 3));
}

#[test]
fn a_copy_of_a_node_with_its_key_is_told() {
    let mut world = strangers(9, 2);
    world.wait(SECOND, "sessions", |w| all_meet(w, 2));
    world.run(SECOND);
    let twin = |w: &World| {
        w.events(1).iter().filter(|event| matches!(event, Event::Twin { node: NodeId(2), .. })).count()
    };
    assert_eq!(twin(&world), 0);
    // A restart is none.
    world.start(2, vec![spec(1, Some(keys(1).public))], Some(KEY));
    world.run(5 * SECOND);
    assert_eq!(twin(&world), 0);
    let made = keys(2);
    let mut config = World::config(9, &made, vec![spec(1, Some(keys(1).public))], None);
    config.me.id = "n2".to_owned();
    // It speaks from the first one's addresses, and hears what is said to one of them.
    world.put(9, config, made);
    let place = |wire| move |at: &std::net::SocketAddr| *at == addr(9, wire);
    for _ in 0..5_000 {
        world.run(MS);
        for (from, to, _) in world.flying.values_mut() {
            for wire in [0, 1] {
                if place(wire)(from) {
                    *from = addr(2, wire);
                }
            }
            if *to == addr(2, 1) {
                *to = addr(9, 1);
            }
        }
    }
    assert!((1..=2).contains(&twin(&world)), "{:?}", world.events(1));
}

/// A copy of node 2's state on a host of its own, at place 9 of the world.
fn copy_of_two(world: &mut World) {
    let made = keys(2);
    let mut config = World::config(9, &made, vec![spec(1, Some(keys(1).public))], Some(KEY));
    (config.me.id, config.me.node) = ("n2".to_owned(), NodeId(2));
    world.put(9, config, made);
}

fn in_use(world: &World, node: u8) -> usize {
    let told = |event: &Event| {
        let Event::Refused { by: NodeId(1), why: Refusal::InUse { holder: Some(holder) }, .. } = event else {
            return false;
        };
        [addr(2, 0), addr(2, 1)].contains(holder)
    };
    world.events(node).iter().filter(|event| told(event)).count()
}

#[test]
fn a_copy_of_a_node_elsewhere_is_told_who_has_its_id_and_the_first_keeps_its_session() {
    let mut world = strangers(10, 2);
    world.wait(SECOND, "sessions", |w| all_meet(w, 2));
    world.run(SECOND);
    for node in [1, 2] {
        world.node(node).events.clear();
    }
    copy_of_two(&mut world);
    let took = world.wait(SECOND, "a refusal", |w| in_use(w, 9) > 0);
    assert!(took > BEAT * 3, "once could be a hello that was sent on: {took:?}");
    world.run(5 * SECOND);
    assert!(!world.has_session(9, 1));
    assert_eq!(world.events(2), []);
    let twin = |event: &Event| matches!(event, Event::Twin { node: NodeId(2), addr: from } if *from == addr(9, 0) || *from == addr(9, 1));
    assert!(matches!(&world.events(1)[..], [one] if twin(one)), "{:?}", world.events(1));
    assert_eq!(numbers(&world.nodes[&1].heard, 2).len() as u64, world.nodes[&2].number, "nothing was lost");
}

#[test]
fn a_copy_of_a_node_that_is_silent_is_not_refused() {
    let mut world = strangers(11, 2);
    world.wait(SECOND, "sessions", |w| all_meet(w, 2));
    world.nodes.remove(&2);
    world.run(BEAT * 4);
    copy_of_two(&mut world);
    world.run(5 * SECOND);
    assert_eq!(in_use(&world, 9), 0, "{:?}", world.events(9));
}

#[test]
fn a_restart_whose_hello_somebody_sends_on_from_elsewhere_is_not_ended_by_it() {
    let mut world = strangers(12, 2);
    world.wait(SECOND, "sessions", |w| all_meet(w, 2));
    world.run(SECOND);
    world.start(2, vec![spec(1, Some(keys(1).public))], Some(KEY));
    let begun = world.now;
    // All that it says for a while comes from elsewhere, and all that is said to there is given to it.
    while world.now.since(begun) < 2 * SECOND {
        for (from, to, _) in world.flying.values_mut() {
            if *from == addr(2, 0) || *from == addr(2, 1) {
                *from = addr(9, 0);
            } else if *to == addr(9, 0) {
                *to = addr(2, 0);
            }
        }
        world.run(MS / 2);
    }
    assert!(
        world.nodes[&1].events.iter().any(|(_, event)| matches!(event, Event::Twin { .. })),
        "it was refused"
    );
    assert_eq!(in_use(&world, 2), 0, "{:?}", world.events(2));
    world.wait(SECOND, "sessions", |w| all_meet(w, 2));
}

#[test]
fn a_node_that_forgot_its_peers_is_met_again() {
    let mut world = strangers(6, 2);
    world.wait(SECOND, "sessions", |w| all_meet(w, 2));
    world.run(SECOND);
    // The same key, no pins.
    world.start(2, vec![spec(1, None)], Some(KEY));
    world.node(1).events.clear();
    world.wait(SECOND, "sessions", |w| {
        all_meet(w, 2) && w.events(1).contains(&Event::Established { node: NodeId(2) })
    });
    assert_eq!(count(&world, 1, &enrolled(2)), 0, "node 1 had it pinned all the time");
    // And one that is forgotten by its peer learns it from the refusal.
    let now = world.now;
    world.node(1).sessions.forget(NodeId(2), now);
    world.wait(2 * SECOND, "an enrolment", |w| count(w, 1, &enrolled(2)) == 1);
    world.wait(2 * SECOND, "sessions", |w| all_meet(w, 2));
}

#[test]
fn a_forgotten_node_may_come_back_with_another_key() {
    let mut world = strangers(7, 2);
    world.wait(SECOND, "sessions", |w| all_meet(w, 2));
    let fresh = Keys::generate(&mut Seeded(77));
    let config = World::config(2, &fresh, vec![spec(1, None)], Some(KEY));
    world.put(2, config, fresh.clone());
    world.run(5 * SECOND);
    assert!(!world.has_session(2, 1), "its key is another one");
    let now = world.now;
    world.node(1).sessions.forget(NodeId(2), now);
    world.wait(10 * SECOND, "sessions", |w| all_meet(w, 2));
    assert_eq!(
        count(&world, 1, &Event::Enrolled { node: NodeId(2), key: fresh.public, means: Means::ClusterKey }),
        1
    );
}

/// A node 2 without the cluster key, with a token; node 1 has given it out.
fn with_token(seed: u64, id: Option<&str>, until: Duration) -> World {
    let mut world = World::empty(seed);
    world.start(1, vec![spec(2, None), spec(3, None)], Some(KEY));
    offer(&mut world, id, until);
    world
}

fn offer(world: &mut World, id: Option<&str>, until: Duration) {
    let now = world.now;
    let token = Token { secret: b"token".to_vec(), id: id.map(str::to_owned), until: now + until };
    assert!(world.node(1).sessions.offer(&token, now));
}

fn bearer(node: u8) -> (Config, Keys) {
    let keys = keys(node);
    let mut config = World::config(node, &keys, vec![spec(1, None)], None);
    config.token = Some(b"token".to_vec());
    (config, keys)
}

fn enrolments(world: &World, at: u8, of: u8) -> Vec<Means> {
    let of = NodeId(of.into());
    let events = world.events(at).into_iter().filter_map(|event| match event {
        Event::Enrolled { node, means, .. } if node == of => Some(means),
        _ => None,
    });
    events.collect()
}

#[test]
fn a_token_enrols_one_node_even_when_the_verdict_is_lost() {
    for seed in 30..40 {
        let mut world = with_token(seed, None, Duration::from_secs(600));
        let (config, two) = bearer(2);
        world.put(2, config, two);
        world.weather = Weather { lost: 60, ..world::CALM };
        world.wait(60 * SECOND, "a session", |w| w.has_session(1, 2) && w.has_session(2, 1));
        assert_eq!(enrolments(&world, 1, 2), [Means::Token]);
        world.weather = world::CALM;
        let (config, three) = bearer(3);
        world.put(3, config, three);
        world.run(10 * SECOND);
        assert_eq!(enrolments(&world, 1, 3), [], "once");
        assert!(!world.has_session(3, 1));
        let used = Intrusion::Used { id: "n3".into() };
        let told = |event: &Event| matches!(event, Event::Intruder { why, .. } if *why == used);
        assert!(world.events(1).iter().any(told), "{:?}", world.events(1));
    }
}

#[test]
fn a_token_is_for_its_node_and_for_its_time() {
    let mut world = with_token(40, Some("n2"), 5 * SECOND);
    let (config, three) = bearer(3);
    world.put(3, config, three);
    world.run(SECOND);
    assert!(!world.has_session(3, 1), "it is for node 2");
    world.nodes.remove(&3);
    world.run(5 * SECOND);
    let (config, two) = bearer(2);
    world.put(2, config, two);
    world.run(10 * SECOND);
    assert!(!world.has_session(2, 1), "its time is over");
    offer(&mut world, Some("n2"), SECOND * 60);
    world.wait(2 * SECOND, "a session", |w| w.has_session(2, 1));
}

#[test]
fn a_token_that_is_revoked_or_replaced_is_worth_nothing_and_who_tries_it_is_told_of() {
    let mut world = with_token(41, Some("n2"), 60 * SECOND);
    let now = world.now;
    assert!(world.node(1).sessions.revoke("n2", now) && !world.node(1).sessions.revoke("n2", now));
    let (config, two) = bearer(2);
    world.put(2, config, two);
    world.run(2 * SECOND);
    assert!(!world.has_session(2, 1));
    let told = |event: &Event| matches!(event, Event::Intruder { why: Intrusion::Unproven, .. });
    assert!(world.events(1).iter().any(told), "{:?}", world.events(1));
    assert!(world.node(1).sessions.view(now).causes.unproven > 0);
    offer(&mut world, Some("n2"), 60 * SECOND);
    let another = Token { secret: b"another".to_vec(), id: Some("n2".into()), until: now + 600 * SECOND };
    assert!(world.node(1).sessions.offer(&another, now));
    world.run(2 * SECOND);
    assert!(!world.has_session(2, 1), "the later one replaced it");
}

/// Nodes 1 to 3 that know each other, and node 4, of which only node 1 knows the key, and which knows all of theirs.
fn newcomer(seed: u64) -> World {
    let mut world = World::empty(seed);
    for node in 1..=3 {
        let others = (1..=3).filter(|peer| *peer != node);
        let mut peers: Vec<_> = others.map(|peer| spec(peer, Some(keys(peer).public))).collect();
        peers.push(spec(4, (node == 1).then(|| keys(4).public)));
        world.start(node, peers, None);
    }
    world.wait(SECOND, "sessions", |w| all_meet(w, 3));
    world
}

fn start_four(world: &mut World, keys_of_four: &Keys) {
    let peers = (1..=3).map(|peer| spec(peer, Some(keys(peer).public))).collect();
    world.put(4, World::config(4, keys_of_four, peers, None), keys_of_four.clone());
}

#[test]
fn a_newcomer_that_one_node_knows_is_taken_in_by_all_at_that_nodes_word() {
    for seed in 50..55 {
        let mut world = newcomer(seed);
        world.weather = Weather { lost: 20, ..world::CALM };
        start_four(&mut world, &keys(4));
        world.wait(60 * SECOND, "sessions", |w| all_meet(w, 4));
        for node in [2, 3] {
            let means = enrolments(&world, node, 4);
            assert!(matches!(means[..], [Means::Voucher(by)] if by != NodeId(4)), "{means:?}");
        }
    }
}

#[test]
fn a_key_that_nobody_answers_for_stays_outside_and_a_dispute_is_told() {
    let mut world = newcomer(60);
    let stranger = Keys::generate(&mut Seeded(61));
    start_four(&mut world, &stranger);
    world.run(10 * SECOND);
    assert!((1..=3).all(|node| !world.has_session(node, 4) && enrolments(&world, node, 4).is_empty()));
    let told = Event::Disputed { node: NodeId(4), by: NodeId(1) };
    assert!(world.events(2).contains(&told), "{:?}", world.events(2));
}

#[test]
fn a_key_that_was_forgotten_does_not_come_back_at_anothers_word() {
    let mut world = newcomer(70);
    start_four(&mut world, &keys(4));
    world.wait(20 * SECOND, "sessions", |w| all_meet(w, 4));
    let now = world.now;
    world.node(2).sessions.forget(NodeId(4), now);
    world.node(2).events.clear();
    world.run(20 * SECOND);
    assert!(!world.has_session(2, 4) && world.has_session(3, 4));
    assert_eq!(enrolments(&world, 2, 4), []);
}

#[test]
fn who_knocks_from_elsewhere_does_not_keep_a_newcomer_waiting() {
    let mut world = newcomer(80);
    start_four(&mut world, &keys(4));
    // Three that say they are node 4 too, from other places, and never stop.
    for at in 6..9 {
        let stranger = Keys::generate(&mut Seeded(at.into()));
        let peers = (1..=3).map(|peer| spec(peer, Some(keys(peer).public))).collect();
        world.put(at, World::config(4, &stranger, peers, None), stranger);
    }
    world.wait(20 * SECOND, "sessions", |w| [2, 3].iter().all(|node| w.has_session(*node, 4)));
    assert!((6..9).all(|at| !world.has_session(at, 2) && !world.has_session(at, 3)));
}
