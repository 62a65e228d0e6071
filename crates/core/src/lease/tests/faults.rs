//! Loss, restarts, splits, strangers and lateness.

use super::rig::{A, B, C, Net, RIGHT, list, ms, ready, terms};
use crate::lease::{Asked, Ending, Input, Message, Notice, Request, Stance};
use crate::name::NodeId;

fn three(term: u64) -> Net {
    let mut net = Net::new(terms(term), &["a", "b", "w"]);
    net.stance(A, ready(150));
    net.stance(B, ready(100));
    net.until(ms(term), |net| net.holder() == Some(A));
    net.run(ms(2 * term));
    net
}

#[test]
fn two_that_ask_at_once_end_with_one_holder_soon() {
    for (first, second) in [(100, 100), (100, 150), (150, 100)] {
        let mut net = Net::new(terms(1500), &["a", "b", "w"]);
        // Each is deaf to the other until both have asked: neither knows its rank.
        let start = net.now;
        net.loss = Box::new(move |from, to, _| from + to == 1 && from < 2);
        net.run(ms(400));
        net.stance(A, ready(first));
        net.stance(B, ready(second));
        net.loss = Box::new(|_, _, _| false);
        net.until(ms(1500), |net| net.holder().is_some());
        assert!(net.now.since(start) < ms(2000));
        net.run(ms(5000));
        assert_eq!(net.takes.len(), 1, "{:?}", net.takes);
    }
}

#[test]
fn a_vote_split_over_four_voters_is_mended() {
    let mut net = Net::new(terms(1500), &["a", "b", "w1", "w2"]);
    net.loss = Box::new(|from, to, _| matches!((from, to), (0, 1 | 3) | (1, 0 | 2)));
    net.stance(A, ready(100));
    net.stance(B, ready(100));
    net.run(ms(600));
    assert_eq!(net.holder(), None);
    net.loss = Box::new(|_, _, _| false);
    let took = net.until(ms(3000), |net| net.holder().is_some());
    assert!(took <= ms(1600), "{took:?}");
    net.run(ms(5000));
    assert_eq!(net.takes.len(), 1);
}

#[test]
fn a_candidate_that_hears_nobody_but_is_heard_takes_nothing_and_disturbs_nobody() {
    let mut net = three(1500);
    net.loss = Box::new(|_, to, _| to == B);
    net.run(ms(20_000));
    assert_eq!((net.holder(), net.takes.len(), net.yields.len()), (Some(A), 1, 0));
    net.loss = Box::new(|_, _, _| false);
    net.run(ms(5_000));
    assert_eq!((net.holder(), net.takes.len(), net.yields.len()), (Some(A), 1, 0));
}

#[test]
fn a_holder_that_is_not_heard_by_its_backup_goes_on() {
    let mut net = three(1500);
    net.loss = Box::new(|from, to, _| (from, to) == (A, B));
    net.run(ms(20_000));
    assert_eq!((net.holder(), net.takes.len(), net.yields.len()), (Some(A), 1, 0));
}

#[test]
fn an_isolated_holder_leaves_before_its_right_ends_and_the_other_takes_over_after() {
    let mut net = three(1500);
    let cut = net.now;
    net.loss = Box::new(|from, to, _| from == A || to == A);
    net.until(ms(1500), |net| net.holder().is_none());
    assert_eq!(net.yields, [(A, Ending::Unrenewed)]);
    net.until(ms(300), |net| net.holder() == Some(B));
    assert!(net.now.since(cut) <= ms(1510));
    net.loss = Box::new(|_, _, _| false);
    net.run(ms(10_000));
    assert_eq!((net.holder(), net.takes.len()), (Some(B), 2));
    assert!(net.notices.contains(&(A, Notice::NoQuorum)));
}

#[test]
fn any_third_of_letters_lost_costs_no_holder() {
    let mut net = three(1500);
    let mut count = 0_u64;
    net.loss = Box::new(move |_, _, _| {
        count = count.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (count >> 33).is_multiple_of(3)
    });
    net.run(ms(60_000));
    assert_eq!((net.holder(), net.takes.len(), net.yields.len()), (Some(A), 1, 0));
}

#[test]
fn a_voter_that_starts_again_is_mute_for_the_longest_term() {
    let mut net = three(1500);
    // The other voter falls away at the same moment: what is left is no majority while the restarted one is mute.
    net.crash(B);
    net.crash(C);
    net.start(C, false, None);
    net.run(ms(320));
    let mute = net.node(A).voters(net.now)[C].mute;
    assert!(mute > ms(1000) && mute < ms(1510), "{mute:?}");
    net.until(ms(1180), |net| net.holder().is_none());
    net.until(ms(1000), |net| net.holder() == Some(A));
    assert_eq!(net.takes.len(), 2);
}

#[test]
fn the_process_that_follows_on_the_same_host_takes_its_right_over_at_once() {
    let mut net = three(1500);
    let before = net.node(B).voters(net.now)[A].instance.unwrap();
    net.crash(A);
    net.start(A, false, Some(before));
    net.stance(A, ready(150));
    let took = net.until(ms(1600), |net| net.holder() == Some(A));
    // Its own voter is mute; the two others are a majority.
    assert!(took <= ms(400), "{took:?}");
    assert!(net.takes[1].2 > net.takes[0].2);
}

#[test]
fn a_holder_that_was_paused_past_its_end_yields_and_takes_nothing_back() {
    let mut net = three(1500);
    let paused = net.nodes[A].take();
    net.until(ms(1600), |net| net.holder() == Some(B));
    net.nodes[A] = paused;
    net.give(A, &Input::Tick);
    assert!(net.yields.iter().any(|(node, why)| (*node, *why) == (A, Ending::Unrenewed)), "{:?}", net.yields);
    net.run(ms(10_000));
    assert_eq!((net.holder(), net.takes.len()), (Some(B), 2));
}

#[test]
fn nobody_is_judged_by_who_was_late_itself() {
    let mut net = three(1500);
    let paused = net.nodes[B].take();
    net.run(ms(700));
    net.nodes[B] = paused;
    net.notices.clear();
    net.give(B, &Input::Tick);
    net.run(ms(1000));
    assert!(!net.notices.iter().any(|(node, notice)| *node == B && matches!(notice, Notice::Silent(_))));
}

#[test]
fn letters_that_come_twice_or_in_another_order_change_nothing() {
    let mut net = three(1500);
    let old = net.node(A).letter(vec![]);
    net.run(ms(2000));
    net.give(B, &Input::Heard { from: NodeId(0), letter: &old });
    let stale = Message::Free(vec![crate::lease::Freed {
        right: "vip/web".into(),
        epoch: 3,
        next: Some("b".into()),
    }]);
    net.forge(A, B, vec![stale.clone(), stale.clone()]);
    net.forge(A, C, vec![stale.clone(), stale]);
    net.run(ms(5000));
    assert_eq!((net.holder(), net.takes.len()), (Some(A), 1));
}

/// The first node holds the right to its own id.
fn named() -> Net {
    let mut net = Net::new(terms(1500), &["a", "b", "w"]);
    net.names = vec!["node/a".into()];
    for node in [A, B, C] {
        net.start(node, true, None);
    }
    net.stance(A, ready(1));
    net.until(ms(1500), |net| net.holder() == Some(A));
    net
}

fn duplicate(net: &Net) -> bool {
    net.notices.contains(&(A, Notice::Duplicate { right: RIGHT }))
}

#[test]
fn a_second_process_of_our_name_is_told_while_the_first_renews() {
    let mut net = named();
    let (epoch, _) = net.held[A].unwrap();
    let first = net.nodes[A].take().unwrap();
    net.held[A] = None;
    net.start(A, false, None);
    net.stance(A, ready(1));
    let start = net.now;
    // The first process is somewhere else and renews there.
    for number in 0..10 {
        let asked = vec![Asked { right: "node/a".into(), epoch, renewal: true }];
        let letter = first.letter(vec![Message::Request(Request { number, term: ms(1500), rights: asked })]);
        for voter in [B, C] {
            net.give(voter, &Input::Heard { from: NodeId(0), letter: &letter });
        }
        net.run(ms(190));
    }
    assert!(duplicate(&net));
    assert!(net.now.since(start) <= ms(2000));
    assert_eq!(net.holder(), None, "the second one never held it");
}

#[test]
fn after_a_reboot_within_the_term_the_promise_to_the_process_before_is_no_duplicate() {
    let mut net = named();
    net.run(ms(2000));
    net.crash(A);
    net.start(A, false, None);
    net.stance(A, ready(1));
    net.until(ms(2000), |net| net.holder() == Some(A));
    assert!(!duplicate(&net));
}

#[test]
fn voters_that_tell_differently_of_the_process_before_are_no_duplicate() {
    let mut net = named();
    net.run(ms(2000));
    // The last renewals do not reach the first voter.
    net.loss = Box::new(|from, to, _| (from, to) == (A, B));
    net.run(ms(700));
    net.crash(A);
    net.loss = Box::new(|_, _, _| false);
    net.start(A, false, None);
    net.stance(A, ready(1));
    net.until(ms(2500), |net| net.holder() == Some(A));
    assert!(!duplicate(&net), "{:?}", net.notices);
}

#[test]
fn a_store_tells_of_a_duplicate_when_its_promise_has_moved_on_twice() {
    for (renewals, living) in [(1, false), (10, true)] {
        let mut net = named();
        let (epoch, _) = net.held[A].unwrap();
        let first = net.nodes[A].take().unwrap();
        net.held[A] = None;
        net.crash(B);
        // Who says no beats is a store.
        let beats = |message: &Message| matches!(message, Message::Beat(_));
        net.loss = Box::new(move |from, _, letter| from == C && letter.messages.iter().any(beats));
        net.start(A, false, None);
        net.stance(A, ready(1));
        net.until(ms(1500), |net| net.node(A).view(RIGHT, net.now).unwrap().refused > 0);
        for number in 0..renewals {
            let asked = vec![Asked { right: "node/a".into(), epoch, renewal: true }];
            net.run(ms(190));
            let request = Request { number, term: ms(1500), rights: asked };
            let letter = first.letter(vec![Message::Request(request)]);
            net.give(C, &Input::Heard { from: NodeId(0), letter: &letter });
        }
        net.run(ms(1400));
        assert_eq!(duplicate(&net), living, "{renewals} renewals: {:?}", net.notices);
    }
}

#[test]
fn an_epoch_above_ours_in_a_holders_beat_ends_our_right() {
    let mut net = three(1500);
    let standing = crate::lease::Standing {
        right: "vip/web".into(),
        epoch: 1_000_000,
        ready: true,
        preempts: false,
        priority: 1,
    };
    let beat = crate::lease::Beat { number: 1_000_000, rights: vec![standing] };
    net.forge(B, A, vec![Message::Beat(beat)]);
    assert_eq!(net.yields, [(A, Ending::Superseded { epoch: 1_000_000 })]);
}

#[test]
fn a_node_that_cannot_hold_it_any_more_renews_until_the_address_is_gone() {
    let mut net = three(1500);
    net.stance(A, Stance::Unable);
    net.run(ms(6_000));
    assert_eq!(net.holder(), Some(A));
}

#[test]
fn the_list_of_the_rig_has_a_witness_that_holds_nothing() {
    assert_eq!(list(&["a", "w"]).members.iter().filter(|member| member.holds).count(), 1);
}
