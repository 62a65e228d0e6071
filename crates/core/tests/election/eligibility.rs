//! Links, probes, weights and operators.

use std::time::Duration;

use mainstay_core::election::{Effect, Operator, Reason, State, Verdict, Weight};
use mainstay_core::name::ProbeId;

use crate::rig::{LINK, MS, Rig, V};

const P: ProbeId = ProbeId(3);

fn weight(weight: i16, reverse: bool) -> Weight {
    Weight { probe: P, weight, reverse }
}

#[test]
fn a_lost_link_is_a_fault_and_its_return_a_fresh_start() {
    let mut rig = Rig::active(|_| {});
    rig.link(LINK, false);
    assert_eq!(rig.words(), ["release 0", "0 Active->Fault"]);
    rig.link(LINK, true);
    assert_eq!(rig.deeds(), ["advert 0 0"], "the farewell that could not be said");
    assert_eq!((rig.state(), rig.reason()), (State::Backup, Reason::Recovered));
    rig.pass(300 * MS);
    assert_eq!(rig.state(), State::Backup);
    rig.pass(100 * MS);
    assert_eq!(rig.state(), State::Active);
}

#[test]
fn a_required_probe_that_falls_gives_the_vip_up_with_priority_zero() {
    let mut rig = Rig::one(|s| s.requires = vec![P]);
    rig.probe(3, Verdict::Up);
    rig.pass(Duration::from_secs(1));
    rig.log.clear();
    rig.probe(3, Verdict::Down);
    assert_eq!(rig.words(), ["release 0", "advert 0 0", "0 Active->Fault"]);
    assert_eq!(rig.reason(), Reason::ProbeDown { probe: 3 });
}

#[test]
fn a_pending_probe_keeps_a_vip_from_being_taken_and_not_from_being_held() {
    let mut rig = Rig::one(|s| s.requires = vec![P]);
    rig.pass(Duration::from_secs(5));
    assert_eq!(rig.state(), State::Backup);
    assert_eq!(rig.vips.view(V).unwrap().waiting, Some(Reason::ProbePending { probe: 3 }));
    rig.probe(3, Verdict::Up);
    rig.pass(100 * MS);
    assert_eq!(rig.state(), State::Active);
    rig.probe(3, Verdict::Pending);
    rig.pass(Duration::from_secs(1));
    assert_eq!(rig.state(), State::Active);
}

#[test]
fn an_unknown_probe_changes_nothing() {
    let mut rig = Rig::one(|s| s.requires = vec![P]);
    rig.probe(3, Verdict::Up);
    rig.pass(Duration::from_secs(1));
    rig.probe(3, Verdict::Unknown);
    assert_eq!(rig.state(), State::Active);
    rig.probe(3, Verdict::Down);
    rig.probe(3, Verdict::Unknown);
    assert_eq!(rig.state(), State::Fault);
}

#[test]
fn weights_count_as_keepalived_counts_them() {
    for (given, up, down) in [
        (weight(20, false), 120, 100),
        (weight(-20, false), 100, 80),
        (weight(20, true), 80, 100),
        (weight(-20, true), 100, 120),
        (weight(253, false), 254, 100),
        (weight(-253, false), 100, 1),
    ] {
        let mut rig = Rig::one(|s| s.weights = vec![given]);
        rig.probe(3, Verdict::Up);
        assert_eq!(rig.vips.view(V).unwrap().priority, up, "{given:?} up");
        rig.probe(3, Verdict::Down);
        assert_eq!(rig.vips.view(V).unwrap().priority, down, "{given:?} down");
    }
}

#[test]
fn an_active_node_says_its_new_priority_at_once() {
    let mut rig = Rig::active(|s| s.weights = vec![weight(-20, false)]);
    rig.probe(3, Verdict::Down);
    assert_eq!(rig.deeds(), ["advert 0 80"]);
}

#[test]
fn the_owners_priority_is_not_moved() {
    let mut rig = Rig::active(|s| (s.priority, s.weights) = (255, vec![weight(-20, false)]));
    rig.probe(3, Verdict::Down);
    assert_eq!(rig.vips.view(V).unwrap().priority, 255);
}

#[test]
fn a_moved_vip_is_left_to_whoever_takes_it() {
    let mut rig = Rig::active(|_| {});
    rig.tell(Operator::Move(V));
    assert_eq!(rig.deeds(), ["release 0", "advert 0 0"]);
    rig.pass_hearing("10.0.4.20", 50, 50);
    assert_eq!(rig.state(), State::Backup, "a lower node is not preempted after a move");
    rig.tell(Operator::Ready(V));
    rig.pass_hearing("10.0.4.20", 50, 5);
    assert_eq!(rig.state(), State::Active);
}

#[test]
fn a_moved_vip_that_nobody_takes_comes_back_after_two_adverts_and_a_little() {
    let mut rig = Rig::active(|_| {});
    rig.tell(Operator::Move(V));
    rig.pass(Duration::from_millis(200));
    assert_eq!(rig.state(), State::Backup, "whoever else is there has a skew, which is less than one advert");
    rig.pass(Duration::from_millis(200));
    assert_eq!(rig.state(), State::Active);
}

#[test]
fn a_drained_vip_stays_out_until_it_is_ready() {
    let mut rig = Rig::active(|_| {});
    rig.tell(Operator::Drain(V));
    rig.pass(Duration::from_secs(60));
    assert_eq!(rig.state(), State::Backup);
    assert!(rig.vips.view(V).unwrap().drained);
    rig.tell(Operator::Ready(V));
    rig.pass(100 * MS);
    assert_eq!(rig.state(), State::Active);
}

#[test]
fn each_acquisition_has_a_higher_epoch() {
    let mut rig = Rig::active(|_| {});
    let mut last = rig.vips.view(V).unwrap().epoch;
    for _ in 0..5 {
        rig.link(LINK, false);
        rig.link(LINK, true);
        rig.pass(Duration::from_secs(1));
        let epoch = rig.vips.view(V).unwrap().epoch;
        assert!(epoch > last);
        last = epoch;
    }
    let told = rig.log.iter().rev().find_map(|(_, e)| match e {
        Effect::Changed { epoch, .. } => Some(*epoch),
        _ => None,
    });
    assert_eq!(told, Some(last));
}

#[test]
fn a_vip_on_hold_is_preempted_by_nobody_until_it_is_ready() {
    let mut rig = Rig::active(|_| {});
    rig.tell(Operator::Hold(V));
    let view = rig.vips.view(V).unwrap();
    assert_eq!(
        (view.pinned, view.priority),
        (true, 254),
        "the wire says so to partners that know no such word"
    );
    rig.pass_hearing("10.0.4.20", 200, 5);
    assert_eq!(rig.state(), State::Active);
    rig.tell(Operator::Ready(V));
    assert_eq!(rig.vips.view(V).unwrap().priority, 100);
    rig.pass_hearing("10.0.4.20", 200, 5);
    assert_eq!(rig.state(), State::Backup);
}

#[test]
fn a_vip_on_hold_that_had_to_go_stays_where_it_went() {
    let mut rig = Rig::one(|s| s.requires = vec![P]);
    rig.probe(3, Verdict::Up);
    rig.pass(Duration::from_secs(1));
    rig.tell(Operator::Hold(V));
    rig.probe(3, Verdict::Down);
    assert_eq!((rig.state(), rig.vips.view(V).unwrap().priority), (State::Fault, 100));
    rig.probe(3, Verdict::Up);
    rig.pass_hearing("10.0.4.20", 50, 50);
    assert_eq!(rig.state(), State::Backup, "a lower node is not preempted either");
    rig.pass(Duration::from_secs(2));
    let view = rig.vips.view(V).unwrap();
    assert_eq!((view.state, view.priority), (State::Active, 254), "nobody else holds it any more");
    rig.tell(Operator::Move(V));
    assert!(!rig.vips.view(V).unwrap().pinned, "the later word counts");
}

#[test]
fn only_what_is_held_can_be_put_on_hold() {
    let mut rig = Rig::active(|_| {});
    rig.tell(Operator::Drain(V));
    rig.tell(Operator::Hold(V));
    assert!(!rig.vips.view(V).unwrap().pinned);
}
