//! Sync groups.

use std::time::Duration;

use mainstay_core::election::{GroupSpec, Operator, Reason, State, VipSpec};
use mainstay_core::name::{LinkId, VipId};

use crate::rig::{LINK, MS, Rig, spec};

const A: VipId = VipId(0);
const B: VipId = VipId(1);

fn pair_specs() -> Vec<VipSpec> {
    let mut outer = spec("outer");
    (outer.vrid, outer.link) = (52, LinkId(1));
    vec![spec("inner"), outer]
}

fn pair_groups() -> Vec<GroupSpec> {
    vec![GroupSpec { name: "both".into(), vips: vec!["inner".into(), "outer".into()] }]
}

/// Two vips on two links, moving together.
fn pair() -> Rig {
    let mut rig = Rig::new(pair_specs(), pair_groups());
    rig.log.clear();
    rig
}

fn active() -> Rig {
    let mut rig = pair();
    rig.pass(Duration::from_secs(1));
    assert_eq!(states(&rig), (State::Active, State::Active));
    rig.log.clear();
    rig
}

fn states(rig: &Rig) -> (State, State) {
    (rig.state_of(A), rig.state_of(B))
}

#[test]
fn a_group_is_told_of_nothing_before_all_its_links_are_known() {
    let mut rig = Rig::unlinked(pair_specs(), pair_groups());
    rig.link(LINK, true);
    assert!(rig.words().is_empty());
    rig.link(LinkId(1), true);
    assert_eq!(rig.words(), ["0 Fault->Backup", "1 Fault->Backup"]);
}

#[test]
fn a_group_is_taken_in_one_step() {
    let mut rig = pair();
    rig.pass(361 * MS);
    assert_eq!(states(&rig), (State::Active, State::Active));
}

#[test]
fn a_member_that_still_hears_an_active_node_keeps_the_group_from_being_taken() {
    let mut rig = pair();
    for _ in 0..20 {
        rig.hear_for(B, "10.0.4.20", 200);
        rig.pass(100 * MS);
    }
    assert_eq!(states(&rig), (State::Backup, State::Backup));
    rig.pass(400 * MS);
    assert_eq!(states(&rig), (State::Active, State::Active));
}

#[test]
fn a_fault_of_one_member_takes_the_group_down_and_its_end_brings_it_back() {
    let mut rig = active();
    rig.link(LinkId(1), false);
    assert_eq!(states(&rig), (State::Fault, State::Fault));
    assert_eq!(rig.reason(), Reason::Group { vip: "outer".into() });
    assert_eq!(rig.deeds(), ["release 1", "release 0", "advert 0 0"]);
    rig.link(LinkId(1), true);
    rig.pass(Duration::from_secs(1));
    assert_eq!(states(&rig), (State::Active, State::Active));
}

#[test]
fn an_outranked_member_takes_the_group_with_it() {
    let mut rig = active();
    rig.hear_for(A, "10.0.4.20", 200);
    assert_eq!(states(&rig), (State::Backup, State::Backup));
    assert_eq!(rig.deeds(), ["release 0", "advert 0 100", "release 1", "advert 1 0"]);
}

#[test]
fn crossed_priorities_do_not_pass_the_group_to_and_fro() {
    let mut rig = pair();
    for _ in 0..50 {
        rig.hear_for(A, "10.0.4.20", 50);
        rig.hear_for(B, "10.0.4.20", 150);
        rig.pass(100 * MS);
        assert_eq!(states(&rig), (State::Backup, State::Backup));
    }
}

#[test]
fn of_two_nodes_with_crossed_priorities_the_first_vip_of_the_group_decides() {
    let mut rig = active();
    rig.hear_for(B, "10.0.4.20", 200);
    rig.pass(50 * MS);
    rig.hear_for(A, "10.0.4.20", 50);
    assert_eq!(states(&rig), (State::Active, State::Active));
    for _ in 0..5 {
        rig.hear_for(B, "10.0.4.20", 200);
        rig.pass(100 * MS);
    }
    assert_eq!(states(&rig), (State::Backup, State::Backup), "but not for ever");
}

#[test]
fn draining_a_member_drains_the_group() {
    let mut rig = active();
    rig.tell(Operator::Drain(B));
    rig.pass(Duration::from_secs(5));
    assert_eq!(states(&rig), (State::Backup, State::Backup));
    rig.tell(Operator::Ready(A));
    rig.pass(Duration::from_secs(1));
    assert_eq!(states(&rig), (State::Active, State::Active));
}

#[test]
fn a_late_member_takes_the_group_with_it() {
    let mut rig = active();
    rig.link(LINK, true);
    rig.oversleep(500 * MS);
    assert_eq!(states(&rig), (State::Backup, State::Backup));
    assert_eq!(rig.deeds(), ["release 0", "release 1", "advert 0 0", "advert 1 0"]);
}
