//! Rule 9, the gate, and ticks that come too late.

use std::time::Duration;

use mainstay_core::election::{Effect, Reason, State};

use crate::rig::{MS, Rig, V};

#[test]
fn an_active_node_is_armed_again_before_its_gate_closes_whatever_the_interval() {
    for advert in [10, 100, 1_000, 5_000] {
        let mut rig = Rig::one(|s| s.advert = advert * MS);
        rig.pass(Duration::from_secs(40));
        assert_eq!(rig.state(), State::Active);
        let mut until = None;
        for (at, effect) in &rig.log {
            if let Effect::Arm { until: next, .. } = effect {
                assert!(until.is_none_or(|until| *at < until));
                until = Some(*next);
            }
        }
        assert!(until > Some(rig.now));
    }
}

#[test]
fn a_node_that_wakes_after_its_gate_has_closed_lets_go_before_anything_else() {
    let mut rig = Rig::active(|_| {});
    rig.oversleep(310 * MS);
    assert_eq!(rig.words(), ["release 0", "0 Active->Backup", "advert 0 0"]);
    assert!(matches!(rig.reason(), Reason::Late { .. }));
    rig.pass(300 * MS);
    assert_eq!(rig.state(), State::Backup);
    rig.pass(200 * MS);
    assert_eq!(rig.state(), State::Active);
}

#[test]
fn a_packet_after_the_gate_has_closed_finds_the_vip_released() {
    let mut rig = Rig::active(|_| {});
    rig.now += 400 * MS;
    rig.hear("10.0.4.20", 50);
    assert_eq!(rig.words(), ["release 0", "0 Active->Backup", "advert 0 0", "advert 0 1"]);
}

#[test]
fn a_late_tick_judges_nobody_and_a_punctual_one_an_interval_later_does() {
    let mut rig = Rig::one(|_| {});
    rig.hear("10.0.4.20", 200);
    rig.oversleep(500 * MS);
    assert_eq!(rig.state(), State::Backup);
    rig.hear("10.0.4.20", 200);
    rig.pass(350 * MS);
    assert_eq!(rig.state(), State::Backup);
    rig.pass(100 * MS);
    assert_eq!(rig.state(), State::Active);
}

#[test]
fn a_host_that_is_always_late_takes_over_in_the_end() {
    let mut rig = Rig::one(|s| s.gate = Duration::from_secs(10));
    for _ in 0..5 {
        let due = rig.vips.poll_timeout().unwrap();
        rig.now = due + 60 * MS;
        rig.give(mainstay_core::election::Input::Tick);
    }
    assert_eq!(rig.state(), State::Active);
}

#[test]
fn three_late_ticks_running_are_a_fault_that_three_punctual_ones_end() {
    let mut rig = Rig::active(|_| {});
    for _ in 0..3 {
        let due = rig.vips.poll_timeout().unwrap();
        rig.now = due + 400 * MS;
        rig.give(mainstay_core::election::Input::Tick);
    }
    assert_eq!(rig.state(), State::Fault);
    assert!(matches!(rig.reason(), Reason::Late { .. }));
    rig.pass(250 * MS);
    assert_eq!(rig.state(), State::Fault);
    rig.pass(100 * MS);
    assert_eq!((rig.state(), rig.reason()), (State::Backup, Reason::Recovered));
    assert!(rig.vips.view(V).unwrap().counters.late >= 1);
}
