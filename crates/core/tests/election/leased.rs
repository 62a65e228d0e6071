//! Vips under a lease: what the election does when voters grant, renew and end a right.

use std::time::Duration;

use mainstay_core::election::{GroupSpec, Guard, Input, Operator, Reason, State, Verdict, VipSpec};
use mainstay_core::lease::Ending;
use mainstay_core::name::{NodeId, ProbeId, RightId, VipId};

use crate::rig::{MS, Rig, V, spec};

const RIGHT: RightId = RightId(0);

fn leased(name: &str) -> VipSpec {
    VipSpec { guard: Guard::Quorum, ..spec(name) }
}

fn started(specs: Vec<VipSpec>) -> Rig {
    Rig::new(specs, vec![])
}

impl Rig {
    fn held(&mut self, epoch: u64, length: Duration) {
        let until = self.now + length;
        self.give(Input::Held { right: RIGHT, epoch, until });
    }
}

#[test]
fn a_leased_vip_waits_for_the_grant_however_long_nobody_is_heard_and_sends_nothing() {
    let mut node = started(vec![leased("a")]);
    assert_eq!(node.words(), ["unable 0", "0 Fault->Backup", "ready 0 100 preempts"]);
    node.pass(60_000 * MS);
    assert_eq!(node.state(), State::Backup);
    assert_eq!(node.words(), Vec::<String>::new());
    node.held(7, 1_000 * MS);
    assert_eq!(node.reason(), Reason::Granted { epoch: 7 });
    let words = node.words();
    assert_eq!(words[..3], ["arm 0", "take 0", "announce 0"]);
    assert!(!words.iter().any(|word| word.starts_with("advert")), "{words:?}");
    assert_eq!(node.vips.view(V).unwrap().epoch, 7);
}

#[test]
fn the_gate_is_armed_to_the_end_of_the_right_and_moves_only_with_it() {
    let mut node = started(vec![leased("a")]);
    node.held(1, 1_000 * MS);
    let until = node.now + 1_000 * MS;
    assert_eq!(node.vips.view(V).unwrap().armed, Some(until));
    node.pass(900 * MS);
    assert_eq!(node.vips.view(V).unwrap().armed, Some(until), "nobody renewed it");
    node.held(1, 1_000 * MS);
    assert_eq!(node.vips.view(V).unwrap().armed, Some(node.now + 1_000 * MS));
    assert_eq!(node.state(), State::Active);
}

#[test]
fn a_right_that_ends_is_let_go_before_it_is_given_back() {
    for (why, reason) in [
        (Ending::Unrenewed, Reason::Unrenewed),
        (Ending::Superseded { epoch: 9 }, Reason::Superseded { epoch: 9 }),
        (Ending::Preempted { by: NodeId(1) }, Reason::HandedOver { to: NodeId(1) }),
    ] {
        let mut node = started(vec![leased("a")]);
        node.held(1, 1_000 * MS);
        node.words();
        node.give(Input::Yield { right: RIGHT, why });
        assert_eq!(node.words(), ["release 0", "0 Active->Backup", "gone 0"]);
        assert_eq!(node.reason(), reason);
    }
}

#[test]
fn a_failed_probe_a_drain_and_a_stop_give_the_right_back_at_once() {
    let mut node = started(vec![VipSpec { requires: vec![ProbeId(0)], ..leased("a") }]);
    node.give(Input::Probe { probe: ProbeId(0), verdict: Verdict::Up });
    node.held(1, 1_000 * MS);
    node.words();
    node.give(Input::Probe { probe: ProbeId(0), verdict: Verdict::Down });
    assert_eq!(node.words(), ["release 0", "0 Active->Fault", "unable 0", "gone 0"]);

    node.give(Input::Probe { probe: ProbeId(0), verdict: Verdict::Up });
    node.held(2, 1_000 * MS);
    node.words();
    node.give(Input::Operator(Operator::Drain(V)));
    assert_eq!(node.words(), ["release 0", "0 Active->Backup", "unable 0", "gone 0"]);

    node.give(Input::Operator(Operator::Ready(V)));
    node.held(3, 1_000 * MS);
    node.words();
    node.give(Input::Shutdown);
    assert_eq!(node.words(), ["release 0", "0 Active->Backup", "unable 0", "gone 0"]);
    assert!(node.vips.is_idle());
}

#[test]
fn a_grant_that_comes_too_late_is_given_back_untouched() {
    let mut node = started(vec![leased("a")]);
    node.give(Input::Operator(Operator::Drain(V)));
    node.words();
    node.held(1, 1_000 * MS);
    assert_eq!(node.words(), ["gone 0"]);
    assert_eq!(node.state(), State::Backup);
}

#[test]
fn whoever_sleeps_past_the_end_of_its_right_lets_go_before_anything_else() {
    let mut node = started(vec![leased("a")]);
    node.held(1, 1_000 * MS);
    node.words();
    node.now += 1_500 * MS;
    // Even a renewal that was granted meanwhile comes too late: the gate was closed.
    node.held(1, 100 * MS);
    let words = node.words();
    assert_eq!(words[..2], ["release 0", "0 Active->Backup"]);
}

#[test]
fn a_sync_group_stands_under_one_right() {
    let both = GroupSpec { name: "g".into(), vips: vec!["a".into(), "b".into()] };
    let mut node = Rig::new(vec![leased("a"), VipSpec { vrid: 52, ..leased("b") }], vec![both]);
    assert_eq!(node.vips.rights().collect::<Vec<_>>(), ["group/g"]);
    node.held(1, 1_000 * MS);
    assert_eq!(node.state_of(V), State::Active);
    assert_eq!(node.state_of(VipId(1)), State::Active);
    node.words();
    node.give(Input::Yield { right: RIGHT, why: Ending::Unrenewed });
    let words = node.words();
    assert_eq!(words.iter().filter(|word| word.starts_with("release")).count(), 2);
    assert_eq!(words.last().map(String::as_str), Some("gone 0"));
}

#[test]
fn without_a_gate_no_vip_is_held_under_a_lease() {
    let mut node = started(vec![leased("a")]);
    node.held(1, 1_000 * MS);
    node.words();
    node.give(Input::Gate(false));
    assert_eq!(node.words(), ["release 0", "0 Active->Fault", "unable 0", "gone 0"]);
    assert_eq!(node.reason(), Reason::NoGate);
    node.give(Input::Gate(true));
    assert_eq!(node.words(), ["0 Fault->Backup", "ready 0 100 preempts"]);
}

#[test]
fn a_start_delay_and_a_preempt_delay_are_kept() {
    let spec = VipSpec { start_delay: 5_000 * MS, preempt_delay: 10_000 * MS, ..leased("a") };
    let mut node = started(vec![spec]);
    assert_eq!(node.words(), ["unable 0", "0 Fault->Backup"]);
    node.pass(5_001 * MS);
    assert_eq!(node.words(), ["ready 0 100"]);
    node.pass(5_000 * MS);
    assert_eq!(node.words(), ["ready 0 100 preempts"]);
}

#[test]
fn a_vip_that_was_moved_away_asks_for_nothing_until_somebody_holds_it() {
    let mut node = started(vec![leased("a")]);
    node.held(1, 1_000 * MS);
    node.words();
    node.give(Input::Operator(Operator::Move(V)));
    assert_eq!(node.words(), ["release 0", "0 Active->Backup", "unable 0", "gone 0"]);
    node.give(Input::Holder { right: RIGHT, held: true });
    assert_eq!(node.words(), ["ready 0 100"], "and does not take it back by its priority");
}

#[test]
fn adverts_of_a_stranger_are_an_alarm_and_never_end_a_lease() {
    let mut node = started(vec![leased("a")]);
    node.held(1, 10_000 * MS);
    node.words();
    node.hear("10.0.4.9", 255);
    assert_eq!(node.state(), State::Active);
    assert_eq!(node.words(), ["announce 0"]);
    assert_eq!(node.vips.view(V).unwrap().counters.conflicts, 1);
}

#[test]
fn of_many_who_claim_it_none_has_the_last_word() {
    let mut node = started(vec![leased("a")]);
    node.held(1, 60_000 * MS);
    node.words();
    for _ in 0..100 {
        node.give(Input::Conflict { vip: V });
    }
    let at_once = node.words().len();
    assert!((1..=4).contains(&at_once), "{at_once}");
    node.pass(1_000 * MS);
    assert_eq!(node.words(), ["announce 0"], "and once more after the last");
}
