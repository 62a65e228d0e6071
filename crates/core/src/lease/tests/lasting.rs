//! Two nodes without a witness (guard `strict`): a lone backup never takes over, a lone holder keeps.

use super::rig::{A, B, Net, RIGHT, frees, ms, ready};
use crate::lease::{Ending, Input, Message, NotTaken, Refused, Stance, VoterList};
use crate::name::NodeId;

const TERM: u64 = 1_500;

/// `a` holds, `b` could.
fn pair() -> Net {
    let mut net = Net::pair(TERM);
    net.stance(A, ready(150));
    net.stance(B, ready(100));
    net.until(ms(1_500), |net| net.holder() == Some(A));
    net.run(ms(3_000));
    net
}

fn cut(net: &mut Net) {
    net.loss = Box::new(|_, _, _| true);
}

fn heal(net: &mut Net) {
    net.loss = Box::new(|_, _, _| false);
}

#[test]
fn a_lone_holder_keeps_and_a_lone_backup_never_takes() {
    let mut net = pair();
    cut(&mut net);
    for _ in 0..100 {
        net.run(ms(1_000));
        assert_eq!(net.holder(), Some(A), "at every look");
    }
    heal(&mut net);
    net.run(ms(10_000));
    assert_eq!((net.holder(), net.takes.len(), net.yields.len()), (Some(A), 1, 0));
}

#[test]
fn the_holders_death_leaves_nobody_until_its_host_is_back() {
    let mut net = pair();
    net.crash(A);
    net.run(ms(60_000));
    assert_eq!(net.holder(), None);
    // After a reboot: it does not even know which process ran before.
    net.start(A, false, None);
    net.stance(A, ready(150));
    // Whoever is first: the backup has been ready all the time, and hears that the holder's process is gone.
    let took = net.until(ms(1_500), |net| net.holder().is_some());
    assert!(took <= ms(600), "{took:?}");
    assert!(net.takes[1].2 > net.takes[0].2);
    net.run(ms(20_000));
    assert_eq!(net.takes.len(), 2);
}

#[test]
fn a_host_that_comes_back_and_cannot_hold_it_lets_the_other_have_it() {
    let mut net = pair();
    net.crash(A);
    net.run(ms(5_000));
    net.start(A, false, None);
    let took = net.until(ms(3_000), |net| net.holder() == Some(B));
    assert!(took <= ms(1_000), "{took:?}");
}

#[test]
fn a_backup_that_starts_again_alone_takes_nothing_and_with_the_holder_nothing_either() {
    let mut net = pair();
    cut(&mut net);
    net.crash(B);
    net.start(B, false, None);
    net.stance(B, ready(200));
    net.run(ms(20_000));
    heal(&mut net);
    net.run(ms(20_000));
    assert_eq!((net.holder(), net.takes.len(), net.yields.len()), (Some(A), 1, 0));
}

#[test]
fn after_a_power_cut_both_come_up_by_themselves() {
    let mut net = pair();
    for node in [A, B] {
        net.crash(node);
    }
    for node in [B, A] {
        net.start(node, false, None);
        net.stance(node, ready(100));
        net.run(ms(200));
    }
    net.until(ms(1_500), |net| net.holder().is_some());
    net.run(ms(10_000));
    assert_eq!(net.takes.len(), 2);
}

#[test]
fn a_hand_off_takes_one_way_when_the_other_has_asked_before() {
    let mut net = pair();
    net.stance(A, Stance::Unable);
    net.run(ms(40));
    net.gone(A);
    let took = net.until(ms(100), |net| net.holder() == Some(B));
    assert!(took <= ms(2), "{took:?}");
    net.run(ms(10_000));
    assert_eq!(net.takes.len(), 2);
}

#[test]
fn a_release_that_is_lost_is_asked_for() {
    let mut net = pair();
    net.loss = Box::new(|from, _, letter| from == A && letter.messages.iter().any(|m| frees(m).is_some()));
    net.stance(A, Stance::Unable);
    net.gone(A);
    net.run(ms(1_000));
    assert_eq!(net.holder(), None, "b can't know");
    heal(&mut net);
    let took = net.until(ms(1_500), |net| net.holder() == Some(B));
    assert!(took <= ms(800), "{took:?}");
}

#[test]
fn who_lets_go_alone_keeps_the_right_and_takes_the_address_again() {
    let mut net = pair();
    cut(&mut net);
    net.run(ms(2_000));
    net.stance(A, Stance::Unable);
    net.gone(A);
    net.run(ms(5_000));
    assert_eq!(net.holder(), None);
    net.stance(A, ready(150));
    net.until(ms(1_000), |net| net.holder() == Some(A));
    net.stance(A, Stance::Unable);
    net.gone(A);
    net.run(ms(5_000));
    heal(&mut net);
    net.until(ms(1_000), |net| net.holder() == Some(B));
}

#[test]
fn a_holder_that_slept_past_its_gate_asks_and_goes_on() {
    let mut net = pair();
    let asleep = net.nodes[A].take();
    net.run(ms(20_000));
    assert_eq!(net.holder(), None, "its gate is closed");
    net.nodes[A] = asleep;
    // As the election does: what was held past its gate is let go before anything else.
    net.gone(A);
    let took = net.until(ms(1_000), |net| net.holder() == Some(A));
    assert!(took <= ms(5), "{took:?}");
    cut(&mut net);
    net.run(ms(2_000));
    let asleep = net.nodes[A].take();
    net.run(ms(20_000));
    net.nodes[A] = asleep;
    net.gone(A);
    let took = net.until(ms(1_500), |net| net.holder() == Some(A));
    assert!(took <= ms(700), "nobody answers, and it keeps: {took:?}");
}

#[test]
fn an_operator_who_fenced_the_holder_gives_it_to_the_other() {
    let mut net = pair();
    let now = net.now;
    let other = NodeId(0);
    let refused = net.nodes[B].as_mut().unwrap().take(RIGHT, other, now);
    assert_eq!(refused, Err(NotTaken::Heard));
    net.crash(A);
    net.run(ms(3_000));
    let now = net.now;
    let taken = net.nodes[B].as_mut().unwrap().take(RIGHT, other, now);
    assert!(taken.is_ok(), "{taken:?}");
    net.give(B, &Input::Tick);
    assert_eq!(net.holder(), Some(B));
    net.run(ms(20_000));
    assert_eq!(net.holder(), Some(B), "it keeps");
    net.start(A, false, None);
    net.stance(A, ready(150));
    net.run(ms(20_000));
    assert_eq!((net.holder(), net.takes.len()), (Some(B), 2));
    assert!(net.takes[1].2 > net.takes[0].2);
}

#[test]
fn a_holder_that_was_said_to_be_fenced_and_was_not_gives_way_when_they_meet() {
    let mut net = pair();
    let asleep = net.nodes[A].take();
    net.run(ms(5_000));
    let now = net.now;
    net.nodes[B].as_mut().unwrap().take(RIGHT, NodeId(0), now).unwrap();
    net.give(B, &Input::Tick);
    // It wakes, its gate is closed, it asks before it opens it again.
    net.nodes[A] = asleep;
    net.give(A, &Input::Tick);
    net.run(ms(20_000));
    assert_eq!((net.holder(), net.takes.len()), (Some(B), 2));
    assert!(net.yields.iter().any(|(node, why)| *node == A && matches!(why, Ending::Superseded { .. })));
}

#[test]
fn of_two_there_is_no_list_to_change_and_nothing_to_take_that_is_not_there() {
    let mut net = pair();
    let now = net.now;
    let mut list: VoterList = net.node(A).list().clone();
    (list.epoch, list.members) = (2, list.members[..1].to_vec());
    let a = net.nodes[A].as_mut().unwrap();
    assert_eq!(a.change(&list, now), Err(Refused::Lasting));
    assert_eq!(a.take(RIGHT, NodeId(1), now), Err(NotTaken::Held));
    assert_eq!(a.take(RIGHT, NodeId(7), now), Err(NotTaken::Unknown));
    net.forge(A, B, vec![Message::List(list)]);
    assert_eq!(net.node(B).list().epoch, 1);
}

#[test]
fn a_dead_process_is_not_listened_to_when_its_successor_speaks() {
    let mut net = pair();
    let old = net.nodes[A].take().unwrap();
    let (epoch, _) = net.held[A].unwrap();
    net.held[A] = None;
    net.start(A, false, None);
    net.stance(A, ready(150));
    net.until(ms(1_500), |net| net.holder().is_some());
    let holder = net.holder();
    let freed = crate::lease::Freed { right: "vip/web".into(), epoch: epoch + 1, next: None };
    let letter = old.letter(vec![Message::Free(vec![freed])]);
    let before = net.node(B).counters().rejected;
    net.give(B, &Input::Heard { from: NodeId(0), letter: &letter });
    assert_eq!(net.node(B).counters().rejected, before + 1);
    net.run(ms(5_000));
    assert_eq!((net.holder(), net.takes.len()), (holder, 2));
}
