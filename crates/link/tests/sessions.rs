//! Sessions between nodes that know each other's keys: making, losing, replacing them in any weather.

mod world;

use std::time::Duration;

use mainstay_core::name::NodeId;
use mainstay_link::Event;
use world::{BEAT, World, letter, numbers};

const MS: Duration = Duration::from_millis(1);

#[test]
fn two_nodes_that_start_at_once_have_one_session_in_two_round_trips() {
    let mut world = World::pinned(1, 2);
    let took = world.wait(50 * MS, "a session", |w| w.has_session(1, 2) && w.has_session(2, 1));
    assert!(took <= 4 * MS, "{took:?}");
    world.run(500 * MS);
    for (node, peer) in [(1, 2), (2, 1)] {
        let view = world.nodes[&node].sessions.view(world.now);
        let sides: Vec<bool> = view.peers.iter().filter_map(|peer| Some(peer.session?.initiated)).collect();
        let heard = numbers(&world.nodes[&node].heard, peer);
        assert_eq!(heard, (1..=heard.len() as u64).collect::<Vec<_>>());
        assert!(heard.len() >= 9, "{heard:?}");
        assert_eq!(sides.len(), 1);
        let established = Event::Established { node: NodeId(peer.into()) };
        assert_eq!(world.events(node).iter().filter(|event| **event == established).count(), 1);
    }
    let initiated =
        |node: u8| world.nodes[&node].sessions.view(world.now).peers[0].session.unwrap().initiated;
    assert_ne!(initiated(1), initiated(2), "both use the same of the two sessions that crossed");
    let _ = (BEAT, letter(1));
}
