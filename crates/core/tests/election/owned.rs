//! Services that run only on the holder.

use std::time::Duration;

use mainstay_core::election::{Holding, Input, Operator, Reason, State};

use crate::rig::{MS, Rig, V};

fn owned(rig: &mut Rig, running: bool) {
    rig.give(Input::Owned { vip: V, running });
}

fn serving() -> Rig {
    let mut rig = Rig::active(|s| s.owns = true);
    owned(&mut rig, true);
    rig.log.clear();
    rig
}

#[test]
fn services_start_before_the_address_is_added() {
    let mut rig = Rig::one(|s| s.owns = true);
    rig.pass(380 * MS);
    assert_eq!(rig.words(), ["0 Fault->Backup", "arm 0", "advert 0 100", "start 0", "0 Backup->Active"]);
    assert_eq!(rig.vips.view(V).unwrap().holding, Holding::Starting);
    owned(&mut rig, true);
    assert_eq!(rig.words(), ["arm 0", "take 0", "advert 0 100", "announce 0"]);
}

#[test]
fn a_failed_start_gives_the_vip_up_and_is_a_fault_for_a_while() {
    let mut rig = Rig::active(|s| s.owns = true);
    owned(&mut rig, false);
    assert_eq!(rig.words(), ["release 0", "advert 0 0", "stop 0", "0 Active->Fault"]);
    assert_eq!(rig.reason(), Reason::ServiceFailed);
    owned(&mut rig, false);
    rig.pass(Duration::from_secs(29));
    assert_eq!(rig.state(), State::Fault);
    rig.pass(Duration::from_secs(2));
    assert_eq!(rig.state(), State::Active);
}

#[test]
fn a_voluntary_loss_waits_for_the_services_and_goes_on_advertising() {
    let mut rig = serving();
    rig.tell(Operator::Drain(V));
    assert_eq!(rig.words(), ["stop 0"]);
    rig.pass(100 * MS);
    assert_eq!(rig.deeds(), ["advert 0 100"]);
    owned(&mut rig, false);
    assert_eq!(rig.words(), ["release 0", "advert 0 0", "0 Active->Backup"]);
}

#[test]
fn services_that_do_not_stop_keep_the_address_for_thirty_seconds_at_most() {
    let mut rig = serving();
    rig.give(Input::Shutdown);
    rig.pass(Duration::from_secs(29));
    assert!(!rig.vips.is_idle());
    rig.pass(Duration::from_secs(2));
    assert!(rig.vips.is_idle());
}

#[test]
fn an_involuntary_loss_releases_at_once_and_stops_beside_it() {
    let mut rig = serving();
    rig.hear("10.0.4.20", 200);
    assert_eq!(rig.deeds(), ["release 0", "advert 0 100", "stop 0"]);
}

#[test]
fn the_answer_to_an_old_stop_is_not_a_failed_start() {
    let mut rig = serving();
    rig.hear("10.0.4.20", 200);
    rig.hear("10.0.4.20", 0);
    rig.pass(100 * MS);
    assert_eq!(rig.vips.view(V).unwrap().holding, Holding::Starting);
    owned(&mut rig, false);
    assert_eq!(rig.vips.view(V).unwrap().holding, Holding::Starting);
    owned(&mut rig, true);
    assert_eq!(rig.vips.view(V).unwrap().holding, Holding::Yes);
}
