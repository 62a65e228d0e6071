//! Changes of the list of voters.

use super::rig::{A, B, C, Net, list, ms, ready, terms};
use crate::lease::{Input, LIST_EPOCH_MAX, Member, Message, Notice, Refused, VoterList};
use crate::name::NodeId;

fn next(before: &VoterList, add: &[&str]) -> VoterList {
    let mut after = before.clone();
    after.epoch += 1;
    after.members.extend(add.iter().map(|id| Member { id: (*id).into(), votes: true, holds: true }));
    after
}

fn three() -> Net {
    let mut net = Net::new(terms(1500), &["a", "b", "w"]);
    net.stance(A, ready(150));
    net.stance(B, ready(100));
    net.until(ms(1500), |net| net.holder() == Some(A));
    net.run(ms(3000));
    net
}

fn change(net: &mut Net, node: usize, list: &VoterList) -> Result<(), Refused> {
    let now = net.now;
    let result = net.nodes[node].as_mut().unwrap().change(list, now);
    net.give(node, &Input::Tick);
    result
}

#[test]
fn a_list_with_one_voter_more_is_taken_by_all_and_the_holder_goes_on() {
    let mut net = three();
    let after = next(&list(&["a", "b", "w"]), &["d"]);
    assert_eq!(change(&mut net, C, &after), Ok(()));
    net.run(ms(10));
    for node in [A, B, C] {
        assert_eq!(net.node(node).list(), &after, "{node}");
    }
    net.run(ms(10_000));
    assert_eq!((net.holder(), net.takes.len(), net.yields.len()), (Some(A), 1, 0));
    assert!(!net.notices.iter().any(|(_, notice)| matches!(notice, Notice::Mismatch { .. })));
}

#[test]
fn a_node_with_another_list_is_told_of_once_and_gets_no_vote() {
    let mut net = three();
    net.crash(B);
    let mut other = list(&["a", "b", "w"]);
    other.members[2].id = "v".into();
    net.set_list(other);
    net.start(B, true, None);
    net.stance(B, ready(200));
    net.run(ms(10_000));
    assert_eq!((net.holder(), net.takes.len()), (Some(A), 1));
    let told =
        net.notices.iter().filter(|(node, notice)| *node == A && matches!(notice, Notice::Mismatch { .. }));
    assert_eq!(told.count(), 1);
    net.crash(A);
    net.run(ms(10_000));
    assert_eq!(net.holder(), None, "the two that are left don't count each other");
}

#[test]
fn nodes_that_move_in_the_list_keep_their_promises() {
    let mut net = three();
    // A fourth, without a vote, comes first: every node has another number in the new list.
    let mut after = list(&["a", "b", "w"]);
    after.epoch += 1;
    after.members.insert(0, Member { id: "z".into(), votes: false, holds: false });
    let until = net.held[A].unwrap().1;
    assert_eq!(change(&mut net, A, &after), Ok(()));
    let node = net.node(A);
    assert_eq!(node.held(net.now).map(|(_, _, until)| until).collect::<Vec<_>>(), [until]);
    assert!(
        node.voters(net.now)[2].reachable
            && node.voters(net.now)[3].reachable
            && !node.voters(net.now)[0].reachable
    );
}

#[test]
fn a_change_waits_for_the_one_before_and_for_a_majority() {
    let mut net = three();
    let two = next(&list(&["a", "b", "w"]), &["d"]);
    let three = next(&two, &["e"]);
    assert_eq!(change(&mut net, C, &three), Err(Refused::Epoch { epoch: 3, next: 2 }));
    assert_eq!(change(&mut net, C, &two), Ok(()));
    assert_eq!(change(&mut net, C, &three), Err(Refused::NoMajority));
    net.run(ms(1000));
    assert!(matches!(change(&mut net, C, &three), Err(Refused::TooSoon(_))));
    net.run(ms(1000));
    assert_eq!(change(&mut net, C, &three), Ok(()));
}

#[test]
fn two_voters_at_once_a_flaw_and_ones_own_end_are_refused() {
    let mut net = three();
    let now = list(&["a", "b", "w"]);
    assert_eq!(change(&mut net, A, &next(&now, &["d", "e"])), Err(Refused::TooMany(2)));
    assert!(matches!(change(&mut net, A, &next(&now, &["b"])), Err(Refused::Flaw(_))));
    let mut without = next(&now, &[]);
    without.members.remove(0);
    assert_eq!(change(&mut net, A, &without), Err(Refused::Myself));
    assert_eq!(change(&mut net, B, &without), Ok(()));
}

#[test]
fn a_node_that_missed_a_change_hears_of_it_and_cannot_hold_before() {
    let mut net = three();
    net.loss = Box::new(|from, to, _| from == A || to == A);
    net.run(ms(100));
    let after = next(&list(&["a", "b", "w"]), &[]);
    assert_eq!(change(&mut net, B, &after), Ok(()));
    net.until(ms(3000), |net| net.holder() == Some(B));
    assert_eq!(net.node(A).mark().epoch, 1);
    net.loss = Box::new(|_, _, _| false);
    net.run(ms(500));
    assert_eq!(net.node(A).mark(), net.node(B).mark());
}

#[test]
fn a_peer_s_list_differs_by_no_more_voters_than_there_were_changes_and_its_epoch_is_one_that_can_be() {
    let now = list(&["a", "b", "w"]);
    let tell = |net: &mut Net, list: VoterList| {
        let letter = net.node(B).letter(vec![Message::List(list)]);
        net.give(A, &Input::Heard { from: NodeId(1), letter: &letter });
        net.node(A).list().epoch
    };
    // An epoch that nobody could count on from there.
    for epoch in [0, LIST_EPOCH_MAX + 1, u32::MAX] {
        let mut net = three();
        assert_eq!(tell(&mut net, VoterList { epoch, ..now.clone() }), 1);
    }
    // Only this node and who tells it: two voters less is two changes.
    let mut usurped = list(&["a"]);
    usurped.epoch = 2;
    let mut net = three();
    assert_eq!(tell(&mut net, usurped.clone()), 1);
    usurped.epoch = 3;
    assert_eq!(tell(&mut net, usurped), 3);
}
