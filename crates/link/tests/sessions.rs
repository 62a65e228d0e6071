//! Sessions between nodes that know each other's keys: made, lost and replaced in any weather.

mod world;

use std::net::SocketAddr;
use std::time::Duration;

use mainstay_core::name::NodeId;
use mainstay_link::Event;
use world::{BEAT, CALM, Weather, World, addr, keys, numbers, spec};

const MS: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);

fn both(world: &World) -> bool {
    world.has_session(1, 2) && world.has_session(2, 1)
}

/// Two nodes with a session.
fn pair(seed: u64) -> World {
    let mut world = World::pinned(seed, 2);
    world.wait(50 * MS, "a session", |w| both(w));
    world.run(100 * MS);
    world
}

fn initiated(world: &World, node: u8) -> bool {
    world.nodes[&node].sessions.view(world.now).peers[0].session.expect("a session").initiated
}

fn count(world: &World, node: u8, event: &Event) -> usize {
    world.events(node).iter().filter(|one| *one == event).count()
}

/// Nothing twice.
fn assert_once(heard: &[u64]) {
    let mut sorted = heard.to_vec();
    sorted.sort_unstable();
    sorted.dedup();
    assert_eq!(sorted.len(), heard.len(), "a letter was heard twice");
}

#[test]
fn two_nodes_that_start_at_once_have_one_session_in_two_round_trips() {
    let mut world = World::pinned(1, 2);
    let took = world.wait(50 * MS, "a session", |w| both(w));
    assert!(took <= 4 * MS, "{took:?}");
    world.run(500 * MS);
    for (node, peer) in [(1, 2), (2, 1)] {
        let heard = numbers(&world.nodes[&node].heard, peer);
        assert_eq!(heard, (1..=heard.len() as u64).collect::<Vec<_>>());
        assert!(heard.len() >= 9, "{heard:?}");
        assert_eq!(count(&world, node, &Event::Established { node: NodeId(peer.into()) }), 1);
    }
    assert_ne!(initiated(&world, 1), initiated(&world, 2), "both use the same of the sessions that crossed");
}

#[test]
fn in_bad_weather_nothing_is_heard_twice_and_most_is_heard() {
    for seed in 0..6 {
        let mut world = World::pinned(seed, 3);
        world.weather = Weather { lost: 30, doubled: 20, altered: 10, delay: MS, more: 80 * MS };
        world.run(30 * SECOND);
        for node in 1..=3 {
            for peer in (1..=3).filter(|peer| *peer != node) {
                let heard = numbers(&world.nodes[&node].heard, peer);
                assert_once(&heard);
                // Of two copies each arrives intact with 63 in 100: 86 in 100 are heard.
                assert!(heard.len() > 450, "seed {seed}: {node} heard {} of 600 from {peer}", heard.len());
            }
            let causes = world.nodes[&node].sessions.view(world.now).causes;
            assert!(causes.undecryptable > 0 && causes.bad_letter == 0, "{causes:?}");
        }
        world.weather = CALM;
        world.run(2 * SECOND);
        for node in 1..=3 {
            let view = world.nodes[&node].sessions.view(world.now);
            assert!(view.peers.iter().all(|peer| peer.tries == 0 && peer.session.is_some()), "{view:#?}");
        }
    }
}

#[test]
fn everything_that_was_ever_said_may_be_said_again() {
    let mut world = World::empty(3);
    world.taping = true;
    for node in [1, 2] {
        world.start(node, vec![spec(3 - node, Some(keys(3 - node).public))], None);
    }
    world.run(130 * SECOND);
    let before: Vec<usize> = [1, 2].map(|node| world.events(node).len()).to_vec();
    assert!(before.iter().all(|events| *events >= 2), "one session and one that replaced it");
    world.taping = false;
    let mut tape = std::mem::take(&mut world.tape);
    for at in (1..tape.len()).rev() {
        let other = usize::try_from(world.chance.next()).unwrap() % (at + 1);
        tape.swap(at, other);
    }
    for some in tape.chunks(40) {
        for (from, to, bytes) in some {
            world.fly(*from, *to, bytes.clone());
        }
        world.run(10 * MS);
    }
    world.run(SECOND);
    for (node, peer) in [(1, 2), (2, 1)] {
        let heard = numbers(&world.nodes[&node].heard, peer);
        assert_once(&heard);
        let last = world.nodes[&peer].number;
        assert_eq!(heard.last(), Some(&last), "what is new arrives");
        assert_eq!(heard.len() as u64, last, "and nothing is missing");
        assert_eq!(world.events(node).len(), before[usize::from(node) - 1], "{:?}", world.events(node));
        let causes = world.nodes[&node].sessions.view(world.now).causes;
        assert!(causes.repeated + causes.too_old > 0, "{causes:?}");
    }
}

#[test]
fn a_hello_that_was_seen_is_no_handshake_again() {
    let mut world = World::empty(14);
    world.taping = true;
    world.weather.lost = 70;
    for node in [1, 2] {
        world.start(node, vec![spec(3 - node, Some(keys(3 - node).public))], None);
    }
    world.run(3 * SECOND);
    world.weather = CALM;
    world.run(130 * SECOND);
    world.taping = false;
    let handshakes = |w: &World| [1, 2].map(|node| w.nodes[&node].sessions.view(w.now).peers[0].handshakes);
    let tape = std::mem::take(&mut world.tape);
    let mut before = [0; 2];
    // The first time some come that had been lost: nobody can tell them from late ones.
    for _ in 0..2 {
        before = handshakes(&world);
        for (from, to, bytes) in tape.iter().filter(|(_, _, bytes)| bytes[0] == 0xd1) {
            world.fly(*from, *to, bytes.clone());
            world.run(30 * MS);
        }
        world.run(11 * SECOND);
    }
    assert_eq!(handshakes(&world), before);
    let repeated = [1, 2].map(|node| world.nodes[&node].sessions.view(world.now).causes.repeated);
    assert!(repeated.iter().all(|count| *count > 0), "{repeated:?}");
}

#[test]
fn a_node_that_restarts_is_back_two_round_trips_after_its_first_hello() {
    let mut world = World::pinned(4, 3);
    world.weather.delay = 5 * MS;
    world.run(5 * SECOND);
    world.start(2, [1, 3].map(|peer| spec(peer, Some(keys(peer).public))).to_vec(), None);
    for node in [1, 3] {
        world.node(node).events.clear();
    }
    let back = |w: &World, node: u8| {
        w.has_session(2, node) && w.events(node).contains(&Event::Established { node: NodeId(2) })
    };
    let took = world.wait(100 * MS, "new sessions", |w| back(w, 1) && back(w, 3));
    assert!(took <= 20 * MS, "{took:?}");
    for node in [1, 3] {
        world.node(node).heard.clear();
    }
    world.run(SECOND);
    assert!(numbers(&world.nodes[&1].heard, 2).len() >= 18);
    assert!(numbers(&world.nodes[&2].heard, 3).len() >= 18);
}

#[test]
fn a_node_that_restarts_as_soon_as_it_was_met_is_met_again() {
    for node in [1, 2] {
        let mut world = pair(13);
        let other = 3 - node;
        world.start(node, vec![spec(other, Some(keys(other).public))], None);
        world.node(other).events.clear();
        world.node(other).heard.clear();
        world.run(10 * BEAT);
        assert_eq!(world.events(other)[0], Event::Established { node: NodeId(node.into()) });
        assert!(numbers(&world.nodes[&other].heard, node).len() >= 9);
        assert!(numbers(&world.nodes[&node].heard, other).len() >= 9);
    }
}

#[test]
fn letters_of_a_forgotten_session_call_for_a_new_one_at_once() {
    for seed in 50..60 {
        let mut world = pair(seed);
        // All that the new process says is lost for a while, until the pauses between its tries are long.
        world.cuts = [0, 1].map(|wire| [(1, 2, wire), (2, 1, wire)]).concat();
        world.start(2, vec![spec(1, Some(keys(1).public))], None);
        world.run(5 * SECOND);
        world.cuts.clear();
        let took = world.wait(SECOND, "a session", |w| both(w) && w.has_session(2, 1));
        assert!(took <= BEAT + 4 * MS, "{took:?}");
        world.node(1).heard.clear();
        world.run(SECOND);
        assert!(numbers(&world.nodes[&1].heard, 2).len() >= 19);
    }
}

#[test]
fn sessions_are_replaced_every_two_minutes_and_no_letter_is_lost() {
    let mut world = pair(6);
    world.run(Duration::from_secs(610));
    for (node, peer) in [(1, 2), (2, 1)] {
        let heard = numbers(&world.nodes[&node].heard, peer);
        assert_eq!(heard, (1..=world.nodes[&peer].number).collect::<Vec<_>>());
        let replaced = count(&world, node, &Event::Replaced { node: NodeId(peer.into()) });
        assert!((4..=6).contains(&replaced), "{replaced} in 610 s");
    }
    assert_ne!(initiated(&world, 1), initiated(&world, 2));
}

#[test]
fn a_wire_that_is_cut_is_told_and_costs_no_letter() {
    let mut world = pair(7);
    world.cuts = vec![(1, 2, 1), (2, 1, 1)];
    let lost = Event::WireLost { node: NodeId(2), wire: 1 };
    let took = world.wait(SECOND, "the loss", |w| count(w, 1, &lost) > 0);
    assert!(took <= BEAT * 4, "{took:?}");
    world.run(5 * SECOND);
    world.cuts.clear();
    let back = Event::WireBack { node: NodeId(2), wire: 1 };
    let took = world.wait(SECOND, "the return", |w| count(w, 1, &back) > 0);
    assert!(took <= BEAT * 4, "{took:?}");
    world.run(5 * SECOND);
    for (node, peer) in [(1, 2), (2, 1)] {
        let heard = numbers(&world.nodes[&node].heard, peer);
        assert_eq!(heard, (1..=world.nodes[&peer].number).collect::<Vec<_>>());
        let of_wires = |event: &Event| matches!(event, Event::WireLost { .. } | Event::WireBack { .. });
        assert_eq!(world.events(node).iter().filter(|event| of_wires(event)).count(), 2);
        let wires = &world.nodes[&node].sessions.view(world.now).peers[0].wires;
        assert!(wires.iter().all(|wire| !wire.lost && wire.rtt == Some(2 * MS)), "{wires:?}");
    }
}

#[test]
fn a_peer_that_comes_back_after_an_hour_is_met_within_the_longest_pause() {
    let mut world = pair(8);
    world.cuts = [0, 1].map(|wire| [(1, 2, wire), (2, 1, wire)]).concat();
    world.run(Duration::from_secs(3600));
    assert!(!both(&world));
    assert_eq!(count(&world, 1, &Event::Lost { node: NodeId(2) }), 1);
    world.cuts.clear();
    let took = world.wait(2 * SECOND, "a session", |w| both(w));
    assert!(took <= SECOND * 5 / 4 + 4 * MS, "{took:?}");
}

#[test]
fn one_way_loss_ends_and_nothing_is_stuck() {
    for blind in [(1, 2), (2, 1)] {
        let mut world = pair(9);
        world.cuts = [0, 1].map(|wire| (blind.0, blind.1, wire)).to_vec();
        world.run(20 * SECOND);
        let (deaf, heard) = (blind.1, numbers(&world.nodes[&blind.0].heard, blind.1));
        assert_eq!(heard.last(), Some(&world.nodes[&deaf].number), "the other way carries");
        world.cuts.clear();
        world.run(SECOND);
        world.node(deaf).heard.clear();
        world.run(SECOND);
        assert!(numbers(&world.nodes[&deaf].heard, blind.0).len() >= 19);
    }
}

#[test]
fn an_address_that_is_in_no_list_is_believed_by_its_session_and_never_answered() {
    let mut world = World::pinned(10, 2);
    // Node 1 sends from an address of its own choice.
    let other: SocketAddr = "192.0.2.9:4000".parse().unwrap();
    for _ in 0..400 {
        world.run(MS);
        let flying = std::mem::take(&mut world.flying);
        for (at, (from, to, bytes)) in flying {
            assert_ne!(to, other);
            let from = if from == addr(1, 0) || from == addr(1, 1) { other } else { from };
            world.flying.insert(at, (from, to, bytes));
        }
    }
    assert!(both(&world));
    let heard = &world.nodes[&2].heard;
    assert!(numbers(heard, 1).len() >= 6 && heard.iter().all(|one| one.wire == 0));
}

#[test]
fn an_ipv4_source_told_by_a_socket_for_both_families_is_its_wire() {
    let mut world = pair(12);
    world.node(2).heard.clear();
    for _ in 0..300 {
        world.run(MS);
        for (from, _, _) in world.flying.values_mut() {
            if let std::net::IpAddr::V4(ip) = from.ip() {
                *from = SocketAddr::from((ip.to_ipv6_mapped(), from.port()));
            }
        }
    }
    let before = world.nodes[&2].sessions.view(world.now).peers[0].wires[1].datagrams;
    assert!(before >= 7, "{before}");
}

#[test]
fn a_slow_speaker_is_not_doubted_by_a_fast_one() {
    let mut world = World::empty(15);
    for (node, beat) in [(1, BEAT), (2, 10 * BEAT)] {
        let made = keys(node);
        let mut config = World::config(node, &made, vec![spec(3 - node, Some(keys(3 - node).public))], None);
        config.beat = beat;
        world.put(node, config, made);
    }
    world.run(60 * SECOND);
    for node in [1, 2] {
        let view = world.nodes[&node].sessions.view(world.now);
        assert!(view.peers[0].handshakes <= 2, "{view:#?}");
        assert!(world.events(node).iter().all(|event| !matches!(event, Event::WireLost { .. })));
    }
    // It becomes as fast as the other one, which is told: what is lost is missed sooner.
    let now = world.now;
    world.node(2).pace = BEAT;
    world.node(2).sessions.set_beat(BEAT, now);
    world.run(2 * SECOND);
    world.cuts = vec![(2, 1, 1)];
    let lost = Event::WireLost { node: NodeId(2), wire: 1 };
    let took = world.wait(2 * SECOND, "the loss", |w| count(w, 1, &lost) > 0);
    assert!(took <= 4 * BEAT, "{took:?}");
}

#[test]
fn a_reload_leaves_sessions_alone() {
    let mut world = World::pinned(11, 3);
    world.run(SECOND);
    let now = world.now;
    let node = world.node(1);
    node.events.clear();
    // Node 3 first, with another place; node 2 with one address; a new node 4.
    let three = mainstay_link::PeerSpec { node: NodeId(0), ..spec(3, None) };
    let mut two = spec(2, None);
    two.addrs.pop();
    node.sessions.set_peers(NodeId(1), vec![three, two, spec(4, Some(keys(4).public))], now);
    world.node(1).heard.clear();
    world.run(SECOND);
    assert_eq!(world.events(1), []);
    let heard = &world.nodes[&1].heard;
    assert!(numbers(heard, 0).len() >= 19 && numbers(heard, 2).len() >= 19, "by their new places");
    assert_eq!(world.nodes[&1].sessions.view(now).peers.len(), 3);
    // Node 2 leaves: its letters are nobody's.
    let now = world.now;
    world.node(1).sessions.set_peers(NodeId(1), vec![spec(3, None)], now);
    world.node(1).heard.clear();
    world.run(SECOND);
    assert_eq!(numbers(&world.nodes[&1].heard, 2), []);
    assert!(world.nodes[&1].sessions.view(world.now).causes.unknown_session > 0);
}
