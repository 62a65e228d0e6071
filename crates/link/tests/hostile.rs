//! What strangers, replays and damage can do: nothing but be counted.

mod world;

use std::net::SocketAddr;
use std::time::Duration;

use mainstay_core::lease::{Letter, Mark, Member, Message, Standing, VoterList};
use mainstay_core::name::NodeId;
use mainstay_link::{Causes, DATAGRAM_MAX, Event, Intrusion, Keys};
use world::{BEAT, Seeded, World, addr, keys, letter, numbers, spec};

const MS: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);

fn total(causes: &Causes) -> u64 {
    causes.malformed
        + causes.bad_code
        + causes.unproven
        + causes.limited
        + causes.bad_handshake
        + causes.repeated
        + causes.unknown_key
        + causes.unasked
        + causes.unknown_session
        + causes.undecryptable
        + causes.too_old
        + causes.bad_letter
}

/// Two nodes with a session, and all that they said for two seconds.
fn taped(seed: u64) -> World {
    let mut world = World::empty(seed);
    world.taping = true;
    for node in [1, 2] {
        world.start(node, vec![spec(3 - node, Some(keys(3 - node).public))], Some(b"key"));
    }
    world.run(2 * SECOND);
    world.taping = false;
    world
}

#[test]
fn random_and_damaged_datagrams_are_counted_and_that_is_all() {
    let mut world = taped(1);
    let tape = world.tape.clone();
    let mut chance = Seeded(99);
    world.node(1).events.clear();
    let before = total(&world.nodes[&1].sessions.view(world.now).causes);
    let mut answered = 0;
    for n in 0..10_000_u64 {
        let mut bytes;
        if n % 2 == 0 {
            let len = usize::try_from(chance.next() % 700).unwrap();
            bytes = vec![0; len];
            mainstay_link::Entropy::fill(&mut chance, &mut bytes);
            if n % 4 == 0 && !bytes.is_empty() {
                bytes[0] = 0xd0 + u8::try_from(chance.next() % 9).unwrap();
            }
        } else {
            let at = usize::try_from(chance.next()).unwrap() % tape.len();
            bytes = tape[at].2.clone();
            let at = usize::try_from(chance.next()).unwrap() % bytes.len();
            bytes[at] ^= 1 << (chance.next() % 8);
            if chance.chance(20) {
                bytes.truncate(at);
            }
        }
        let from = SocketAddr::from(([192, 0, 2, u8::try_from(n % 250).unwrap()], 7474));
        let now = world.now;
        let sessions = &mut world.node(1).sessions;
        assert_eq!(sessions.receive(from, &bytes, now), None);
        while let Some(transmit) = sessions.poll_transmit() {
            assert!(transmit.bytes.len() <= bytes.len());
            answered += 1;
        }
        if n % 500 == 0 {
            world.run(BEAT);
        }
    }
    let told = world.events(1);
    let once = |event: &Event| matches!(event, Event::Intruder { why: Intrusion::Unproven, .. });
    assert!(told.len() <= 1 && told.iter().all(once), "ten thousand make one line: {told:?}");
    let after = total(&world.nodes[&1].sessions.view(world.now).causes);
    assert!(after - before > 9_900, "{} of 10,000 were counted", after - before);
    assert_eq!(answered, 0);
    world.run(SECOND + 5 * MS);
    let heard = numbers(&world.nodes[&1].heard, 2);
    assert_eq!(heard.len() as u64, world.nodes[&2].number, "the session lives on");
}

#[test]
fn a_stranger_who_knows_the_key_of_a_node_is_limited_and_never_answered_at_length() {
    let mut world = World::empty(2);
    world.start(1, vec![spec(2, Some(keys(2).public))], None);
    // The stranger: dials node 1, whose public key it knows; its hellos open.
    let made = Keys::generate(&mut Seeded(5));
    let config = World::config(9, &made, vec![spec(1, Some(keys(1).public))], None);
    world.put(9, config, made);
    let mut hello = Vec::new();
    let now = world.now;
    let stranger = &mut world.node(9).sessions;
    stranger.tick(now);
    while let Some(transmit) = stranger.poll_transmit() {
        hello = transmit.bytes;
    }
    world.nodes.remove(&9);
    let answers = |sources: u32, world: &mut World| {
        let mut count = 0;
        for n in 0..2_000_u32 {
            let from = SocketAddr::from((std::net::Ipv4Addr::from(0xc633_6400 + n % sources), 9));
            let now = world.now;
            let sessions = &mut world.node(1).sessions;
            sessions.receive(from, &hello, now);
            while let Some(transmit) = sessions.poll_transmit() {
                assert!(transmit.to == from && transmit.bytes.len() <= hello.len());
                count += 1;
            }
        }
        count
    };
    assert_eq!(answers(1, &mut world), 10);
    assert_eq!(answers(1_000, &mut world), 90);
    world.run(SECOND);
    assert_eq!(answers(1, &mut world), 10);
    let causes = world.nodes[&1].sessions.view(world.now).causes;
    assert_eq!((causes.limited, causes.unknown_key), (5_890, 110));
    assert_eq!(world.events(1), [], "its id is in no list");
    // A peer has an allowance of its own.
    world.start(2, vec![spec(1, Some(keys(1).public))], None);
    let took = world.wait(SECOND, "a session", |w| w.has_session(1, 2));
    assert!(took <= 4 * MS, "{took:?}");
}

#[test]
fn a_will_is_taken_once_while_its_session_is_the_one() {
    let mut world = taped(3);
    let (old, third) = (letter(1_000), letter(1_002));
    let will = world.node(1).sessions.seal_will(NodeId(2), &old);
    let unsent = world.node(1).sessions.seal_will(NodeId(2), &letter(1_001));
    assert_eq!((will.len(), unsent.len()), (1, 1));
    let dead = world.nodes.remove(&1).unwrap();
    world.run(10 * BEAT);
    let now = world.now;
    let elsewhere: SocketAddr = "10.0.0.1:50000".parse().unwrap();
    let two = &mut world.node(2).sessions;
    let heard: Vec<_> = (0..3).map(|_| two.receive(elsewhere, &will[0], now)).collect();
    assert_eq!(heard[0].as_ref().map(|heard| (&heard.letter, heard.from)), Some((&old, NodeId(1))));
    assert_eq!(heard[1..], [None, None]);
    let view = &world.nodes[&2].sessions.view(now).peers[0];
    assert!(view.heard > Some(9 * BEAT), "a will is no sign of life");
    // The process was not dead after all: what it says is still heard.
    world.nodes.insert(1, dead);
    world.node(2).heard.clear();
    world.run(SECOND);
    assert!(numbers(&world.nodes[&2].heard, 1).len() >= 19);
    // Once the session was replaced and some time has passed, what was sealed in it is void.
    let will = world.node(1).sessions.seal_will(NodeId(2), &third);
    let late = world.node(1).sessions.seal_will(NodeId(2), &third);
    let replaced = Event::Replaced { node: NodeId(2) };
    world.node(1).events.clear();
    world.wait(150 * SECOND, "another session", |w| w.events(1).contains(&replaced));
    world.run(SECOND);
    let now = world.now;
    let two = &mut world.node(2).sessions;
    assert!(
        two.receive(elsewhere, &will[0], now).is_some(),
        "its author might have died before it sealed anew"
    );
    world.run(11 * SECOND);
    let now = world.now;
    for void in [&unsent[0], &late[0]] {
        assert_eq!(world.node(2).sessions.receive(elsewhere, void, now), None);
    }
    let fresh = world.node(1).sessions.seal_will(NodeId(2), &third);
    assert!(world.node(2).sessions.receive(elsewhere, &fresh[0], now).is_some());
}

#[test]
fn nothing_is_sealed_or_sent_without_a_session() {
    let mut world = World::empty(4);
    world.start(1, vec![spec(2, Some(keys(2).public))], None);
    let now = world.now;
    let one = &mut world.node(1).sessions;
    assert!(one.seal_will(NodeId(2), &letter(1)).is_empty());
    one.send(NodeId(2), &letter(1), now);
    one.send(NodeId(7), &letter(1), now);
    assert_eq!(one.poll_transmit(), None);
    assert_eq!(one.view(now).causes.no_session, 1);
    assert_eq!(one.addrs(NodeId(2)), [addr(2, 0), addr(2, 1)]);
    assert!(one.addrs(NodeId(7)).is_empty());
}

#[test]
fn long_letters_take_several_datagrams_and_the_longest_list_one_that_is_read() {
    let mut world = taped(5);
    world.run(SECOND);
    let standing =
        |n| Standing { right: format!("vip/{n}"), epoch: n, ready: true, preempts: false, priority: 9 };
    let beat = mainstay_core::lease::Beat { number: 5_000, rights: (0..500).map(standing).collect() };
    let now = world.now;
    let member = |n| Member { id: format!("{n:0>128}"), votes: true, holds: true };
    let list = VoterList { epoch: 1, members: (0..64).map(member).collect() };
    let messages = vec![Message::List(list.clone()), Message::Beat(beat)];
    let long = Letter { instance: 1, heir_of: None, mark: Mark::default(), messages };
    world.node(1).sessions.send(NodeId(2), &long, now);
    let (mut rights, mut lists) = (0, 0);
    while let Some(transmit) = world.node(1).sessions.poll_transmit() {
        assert!(transmit.bytes.len() <= DATAGRAM_MAX);
        let heard = world.node(2).sessions.receive(transmit.to, &transmit.bytes, now);
        for message in heard.iter().flat_map(|heard| &heard.letter.messages) {
            match message {
                Message::Beat(beat) => rights += beat.rights.len(),
                Message::List(read) => lists += usize::from(*read == list),
                Message::Request(_) | Message::Reply(_) | Message::Free(_) | Message::Sights(_) => {
                    panic!("never sent")
                }
            }
        }
    }
    assert_eq!((rights, lists), (500, 1));
}
