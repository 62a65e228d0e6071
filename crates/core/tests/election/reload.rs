//! Reloads: what did not change is not touched.

use std::time::Duration;

use mainstay_core::election::{Next, State, VipSpec};
use mainstay_core::name::{LinkId, VipId};

use crate::rig::{MS, Rig, V, ip, spec};

fn next(specs: Vec<VipSpec>) -> Next {
    Next { specs, groups: vec![], links: vec![Some(LinkId(0)), Some(LinkId(1))], probes: vec![] }
}

fn reload(rig: &mut Rig, next: Next) {
    rig.vips.retire(&next, rig.now);
    while let Some(effect) = rig.vips.poll_effect() {
        rig.log.push((rig.now, effect));
    }
    assert!(rig.vips.apply(next, rig.now).is_empty());
    while let Some(effect) = rig.vips.poll_effect() {
        rig.log.push((rig.now, effect));
    }
}

#[test]
fn an_unchanged_vip_is_not_touched_even_when_its_number_changes() {
    let mut rig = Rig::active(|_| {});
    let due = rig.vips.poll_timeout();
    let mut other = spec("other");
    other.vrid = 9;
    reload(&mut rig, next(vec![other, spec("web")]));
    assert_eq!(rig.words(), ["0 Fault->Backup"]);
    assert_eq!(rig.state_of(VipId(1)), State::Active);
    assert_eq!(rig.vips.poll_timeout(), due);
    rig.pass(100 * MS);
    assert_eq!(rig.deeds(), ["advert 1 100"]);
}

#[test]
fn a_removed_vip_is_given_up_under_its_old_number() {
    let mut rig = Rig::active(|_| {});
    reload(&mut rig, next(vec![]));
    assert_eq!(rig.words(), ["release 0", "advert 0 0", "0 Active->Backup"]);
    assert_eq!(rig.vips.poll_timeout(), None);
}

#[test]
fn without_retire_the_release_of_what_is_gone_is_handed_back() {
    let mut rig = Rig::active(|_| {});
    let left = rig.vips.apply(next(vec![]), rig.now);
    assert_eq!(left.len(), 3);
}

#[test]
fn priority_preemption_and_delays_change_in_place() {
    let mut rig = Rig::active(|_| {});
    let mut changed = spec("web");
    (changed.priority, changed.preempt, changed.announce.refresh) = (70, false, Duration::from_secs(9));
    reload(&mut rig, next(vec![changed]));
    assert_eq!(rig.deeds(), ["advert 0 70"]);
    assert_eq!(rig.state(), State::Active);
}

#[test]
fn another_address_list_is_taken_over_by_the_holder_without_a_gap() {
    let mut rig = Rig::active(|_| {});
    let mut changed = spec("web");
    changed.addrs = vec![ip("10.0.4.98"), ip("10.0.4.97")];
    reload(&mut rig, next(vec![changed]));
    assert_eq!(rig.deeds(), [""; 0]);
    assert_eq!(rig.state(), State::Active);
}

#[test]
fn another_vrid_starts_the_vip_anew_and_its_epoch_goes_on() {
    let mut rig = Rig::active(|_| {});
    let mut changed = spec("web");
    changed.vrid = 77;
    reload(&mut rig, next(vec![changed]));
    assert_eq!(rig.deeds(), ["release 0", "advert 0 0"]);
    assert_eq!(rig.state(), State::Backup);
    rig.pass(Duration::from_secs(1));
    assert_eq!(rig.state(), State::Active);
    assert_eq!(rig.vips.view(V).unwrap().epoch, 2);
}

#[test]
fn a_link_that_is_renumbered_is_still_the_same_link() {
    let mut rig = Rig::active(|_| {});
    let mut moved = spec("web");
    moved.link = LinkId(1);
    let links = vec![Some(LinkId(1)), Some(LinkId(0))];
    reload(&mut rig, Next { specs: vec![moved], groups: vec![], links, probes: vec![] });
    assert!(rig.words().is_empty());
    assert_eq!(rig.state(), State::Active);
}
