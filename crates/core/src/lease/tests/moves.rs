//! Taking, keeping, handing over and taking over.

use super::rig::{A, B, C, Net, RIGHT, frees, ms, ready, terms};
use crate::lease::{Ending, Input, Stance};
use crate::name::NodeId;

/// Two nodes that could hold the right, a witness, and the first of them holds it.
fn held_by_a(term: u64) -> Net {
    let mut net = Net::new(terms(term), &["a", "b", "w"]);
    net.stance(A, ready(150));
    net.stance(B, ready(100));
    net.until(ms(term), |net| net.holder() == Some(A));
    net.run(ms(2 * term));
    assert_eq!(net.takes.len(), 1);
    net
}

#[test]
fn the_first_in_rank_takes_a_free_right_and_keeps_it() {
    let mut net = held_by_a(1500);
    net.run(ms(60_000));
    assert_eq!((net.holder(), net.takes.len(), net.yields.len()), (Some(A), 1, 0));
    let view = net.node(B).view(RIGHT, net.now).unwrap();
    assert_eq!(view.holder.map(|holder| holder.node), Some(NodeId(0)));
}

#[test]
fn a_stop_hands_over_within_two_round_trips_of_the_release() {
    let mut net = held_by_a(1500);
    net.stance(A, Stance::Unable);
    net.run(ms(2));
    net.gone(A);
    let took = net.until(ms(100), |net| net.holder() == Some(B));
    assert!(took <= ms(4), "{took:?}");
    assert!(net.takes[1].2 > net.takes[0].2, "epochs rise");
    net.run(ms(10_000));
    assert_eq!(net.takes.len(), 2);
}

#[test]
fn a_successor_that_waits_already_gets_the_right_one_round_trip_after_the_release() {
    let mut net = held_by_a(1500);
    net.stance(A, Stance::Unable);
    net.run(ms(60));
    assert_eq!(net.holder(), Some(A), "held until the address is gone");
    net.gone(A);
    let took = net.until(ms(100), |net| net.holder() == Some(B));
    assert!(took <= net.delay * 2, "{took:?}");
}

#[test]
fn a_lost_release_is_said_again() {
    let mut net = held_by_a(1500);
    let mut lost = 0;
    net.loss = Box::new(move |_, _, letter| {
        let free = letter.messages.iter().any(|message| frees(message).is_some());
        lost += u32::from(free);
        free && lost <= 2
    });
    net.stance(A, Stance::Unable);
    net.gone(A);
    let took = net.until(ms(500), |net| net.holder() == Some(B));
    assert!(took <= ms(60), "{took:?}");
}

#[test]
fn after_a_crash_the_right_moves_when_the_promises_run_out() {
    for (term, most) in [(1500, 1510), (300, 310)] {
        for after in 0..20 {
            let mut net = held_by_a(term);
            net.run(ms(after * term / 60));
            net.crash(A);
            let took = net.until(ms(2 * term), |net| net.holder() == Some(B));
            assert!(took <= ms(most), "{took:?} of {term}");
            assert!(took >= ms(term / 2), "{took:?} of {term}: earlier than a promise can end");
        }
    }
}

#[test]
fn a_higher_priority_that_preempts_gets_the_right_from_a_holder_that_lives() {
    let mut net = held_by_a(1500);
    net.stance(B, Stance::Ready { priority: 200, preempts: true });
    let took = net.until(ms(500), |net| net.holder() == Some(B));
    assert!(took <= ms(50), "{took:?}");
    assert_eq!(net.yields, [(A, Ending::Preempted { by: NodeId(1) })]);
    net.run(ms(10_000));
    assert_eq!(net.takes.len(), 2);
}

#[test]
fn nobody_lets_go_for_a_node_that_has_just_started_and_still_listens() {
    let mut net = held_by_a(1500);
    let before = 2 << 20 | 1;
    net.crash(B);
    net.run(ms(1000));
    net.start(B, false, Some(before));
    net.stance(B, Stance::Ready { priority: 200, preempts: true });
    net.until(ms(1000), |net| net.holder() != Some(A));
    let took = net.until(ms(1000), |net| net.holder() == Some(B));
    assert!(took <= ms(10), "nobody had it for {took:?}");
}

#[test]
fn a_higher_priority_that_does_not_preempt_waits() {
    let mut net = held_by_a(1500);
    net.stance(B, ready(200));
    net.run(ms(10_000));
    assert_eq!((net.holder(), net.takes.len()), (Some(A), 1));
}

#[test]
fn the_operators_successor_follows_before_a_higher_priority() {
    let mut net = Net::new(terms(1500), &["a", "b", "c"]);
    net.stance(A, ready(150));
    net.stance(B, ready(120));
    net.stance(C, ready(100));
    net.until(ms(1500), |net| net.holder() == Some(A));
    net.run(ms(1000));
    net.give(A, &Input::Successor { right: RIGHT, next: NodeId(2) });
    net.stance(A, Stance::Unable);
    net.run(ms(5));
    net.gone(A);
    net.run(ms(10));
    assert_eq!(net.holder(), Some(C));
    net.run(ms(10_000));
    assert_eq!(net.takes.len(), 2);
}
