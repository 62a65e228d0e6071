//! Three nodes, a fault every other second: whatever happened, peace brings every letter back.

mod world;

use std::time::Duration;

use mainstay_core::name::NodeId;
use world::{CALM, Weather, World, keys, numbers, spec};

const MS: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);
const KEY: &[u8] = b"a cluster key of thirty-two bytes";
const NODES: [u8; 3] = [1, 2, 3];

fn others(node: u8) -> impl Iterator<Item = u8> {
    NODES.into_iter().filter(move |other| *other != node)
}

fn pick<const N: usize>(world: &mut World, of: [u8; N]) -> u8 {
    of[usize::try_from(world.chance.next() % N as u64).expect("small")]
}

/// One fault, or the end of some.
fn fault(world: &mut World, pinned: bool) {
    let node = pick(world, NODES);
    let peer = pick(world, NODES);
    let wire = pick(world, [0, 1]);
    match world.chance.next() % 8 {
        0 => world.cuts.clear(),
        1 | 2 => world.cuts.push((node, peer, wire)),
        3 => world.cuts.extend([0, 1].map(|wire| (node, peer, wire))),
        4 => {
            let lost = world.chance.next() % 60;
            world.weather = Weather { lost, doubled: 10, altered: 5, delay: MS, more: 40 * MS };
        }
        5 => world.weather = CALM,
        6 => {
            // A restart; keys that were enrolled may be forgotten with it.
            let pin = |peer: u8| if pinned { Some(keys(peer).public) } else { None };
            world.start(node, others(node).map(|peer| spec(peer, pin(peer))).collect(), Some(KEY));
        }
        _ => {
            let time = MS * u32::try_from(world.chance.next() % 12_000).expect("small");
            world.freeze(node, time);
        }
    }
}

#[test]
fn after_any_faults_everybody_hears_everybody() {
    for seed in 0..6 {
        let pinned = seed % 2 == 0;
        let mut world = World::empty(seed);
        for node in NODES {
            let pin = |peer: u8| pinned.then(|| keys(peer).public);
            world.start(node, others(node).map(|peer| spec(peer, pin(peer))).collect(), Some(KEY));
        }
        for _ in 0..40 {
            let time = MS * u32::try_from(world.chance.next() % 4_000).expect("small");
            world.run(time);
            fault(&mut world, pinned);
        }
        world.cuts.clear();
        world.weather = CALM;
        world.run(3 * SECOND);
        for node in NODES {
            world.node(node).heard.clear();
        }
        world.run(SECOND);
        for node in NODES {
            for peer in others(node) {
                let heard = numbers(&world.nodes[&node].heard, peer);
                let is_next = |pair: &[u64]| pair[1] == pair[0] + 1;
                assert!(heard.len() >= 19, "seed {seed}: {node} heard {heard:?} from {peer}");
                assert!(heard.windows(2).all(is_next), "seed {seed}: {node} heard {heard:?} from {peer}");
            }
            let view = world.nodes[&node].sessions.view(world.now);
            assert!(view.peers.iter().all(|peer| peer.wires.iter().all(|wire| !wire.lost)), "{view:#?}");
            assert_eq!(view.causes.bad_letter, 0);
            assert_eq!(world.nodes[&node].sessions.node(), NodeId(node.into()));
        }
    }
}
