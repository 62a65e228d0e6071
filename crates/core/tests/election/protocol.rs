//! RFC 9568 6.4: who is active, when, and what he says.

use std::time::Duration;

use mainstay_core::election::{Announce, Input, Operator, Packet, Reason, State, VipSpec};
use mainstay_core::vrrp::hostile::{Attack, Hostile, hostile};
use mainstay_core::vrrp::{Advert, Checksum, Version};

use crate::rig::{GROUP, LINK, MS, Rig, V, ip};

#[test]
fn a_lone_node_takes_the_vip_after_the_down_interval_and_in_order() {
    let mut rig = Rig::one(|_| {});
    rig.log.clear();
    let down = 300 * MS + 100 * MS * (256 - 100) / 256;
    rig.pass(down - MS);
    assert_eq!(rig.state(), State::Backup);
    rig.pass(MS);
    assert_eq!(rig.words(), ["arm 0", "take 0", "advert 0 100", "announce 0", "0 Backup->Active"]);
    assert_eq!(rig.reason(), Reason::Silence { last: None });
}

#[test]
fn the_owner_takes_it_at_once() {
    let mut rig = Rig::one(|s| s.priority = 255);
    rig.pass(Duration::ZERO);
    assert_eq!((rig.state(), rig.reason()), (State::Active, Reason::Owner));
}

#[test]
fn the_skew_of_version_2_is_of_a_second_whatever_the_interval() {
    let mut rig = Rig::one(|s| (s.version, s.advert) = (Version::V2, Duration::from_secs(2)));
    let down = Duration::from_secs(6) + Duration::from_secs(1) * 156 / 256;
    rig.pass(down - MS);
    assert_eq!(rig.state(), State::Backup);
    rig.pass(MS);
    assert_eq!(rig.state(), State::Active);
}

#[test]
fn a_backup_judges_a_version_3_active_by_the_interval_that_it_announces() {
    let mut rig = Rig::one(|_| {});
    let mut slow = Rig::one(|s| s.advert = Duration::from_secs(2));
    let mut payload = Vec::new();
    slow.vips.packet(V, 200, ip("10.0.4.20"), ip(GROUP), &mut payload);
    slow.pass(MS);
    let from = ip("10.0.4.20");
    rig.give(Input::Packet(Packet { link: LINK, from, to: ip(GROUP), ttl: 255, payload: &payload }));
    rig.pass(Duration::from_secs(6));
    assert_eq!(rig.state(), State::Backup);
    rig.pass(Duration::from_secs(2));
    assert_eq!(rig.reason(), Reason::Silence { last: Some(from) });
}

#[test]
fn higher_and_equal_adverts_hold_a_backup_back() {
    for priority in [100, 101, 255] {
        let mut rig = Rig::one(|_| {});
        rig.pass_hearing("10.0.4.20", priority, 20);
        assert_eq!(rig.state(), State::Backup, "{priority}");
    }
}

#[test]
fn a_lower_active_is_preempted_within_the_down_interval_or_not_at_all() {
    let mut rig = Rig::one(|_| {});
    rig.pass_hearing("10.0.4.20", 50, 4);
    let peer = ip("10.0.4.20");
    assert_eq!(
        (rig.state(), rig.reason()),
        (State::Active, Reason::Preempting { peer, theirs: 50, ours: 100 })
    );

    let mut rig = Rig::one(|s| s.preempt = false);
    rig.pass_hearing("10.0.4.20", 50, 40);
    assert_eq!(rig.state(), State::Backup);
}

#[test]
fn a_preempt_delay_counts_from_the_first_lower_advert() {
    let mut rig = Rig::one(|s| s.preempt_delay = Duration::from_secs(1));
    rig.pass_hearing("10.0.4.20", 50, 9);
    assert_eq!(rig.state(), State::Backup);
    rig.pass_hearing("10.0.4.20", 50, 3);
    assert_eq!(rig.state(), State::Active);
}

#[test]
fn nothing_is_taken_before_the_start_delay_has_passed() {
    let mut rig = Rig::one(|s| (s.start_delay, s.priority) = (Duration::from_secs(2), 255));
    rig.pass(Duration::from_millis(1_999));
    assert_eq!(rig.state(), State::Backup);
    rig.pass(MS);
    assert_eq!(rig.state(), State::Active);
}

#[test]
fn priority_zero_of_the_active_node_leaves_the_skew_and_a_sole_successor_none() {
    for (sole, wait) in [(false, 100 * MS * 156 / 256), (true, Duration::ZERO)] {
        let mut rig = Rig::one(|s| s.sole_successor = sole);
        rig.pass_hearing("10.0.4.20", 200, 3);
        rig.hear("10.0.4.20", 0);
        rig.pass(wait);
        assert_eq!((rig.state(), rig.reason()), (State::Active, Reason::Resigned { peer: ip("10.0.4.20") }));
    }
}

#[test]
fn priority_zero_of_another_than_the_active_node_changes_nothing() {
    let mut rig = Rig::one(|_| {});
    rig.hear("10.0.4.20", 200);
    let deadline = rig.vips.poll_timeout();
    rig.hear("10.0.4.30", 0);
    assert_eq!(rig.vips.poll_timeout(), deadline);
}

#[test]
fn an_outranked_node_lets_go_first_then_says_once_that_it_yields() {
    let mut rig = Rig::active(|_| {});
    rig.hear("10.0.4.20", 101);
    assert_eq!(rig.words(), ["release 0", "advert 0 100", "0 Active->Backup"]);
    rig.pass_hearing("10.0.4.20", 101, 5);
    assert!(rig.words().is_empty());
}

#[test]
fn of_two_active_nodes_with_equal_priority_the_lower_address_yields() {
    let mut rig = Rig::active(|_| {});
    rig.hear("10.0.4.9", 100);
    assert_eq!(rig.state(), State::Active);
    rig.hear("10.0.4.11", 100);
    assert_eq!(rig.state(), State::Backup);
}

#[test]
fn of_two_owners_the_lower_address_yields() {
    let mut rig = Rig::active(|s| s.priority = 255);
    rig.hear("10.0.4.11", 255);
    assert_eq!(rig.state(), State::Backup);
}

#[test]
fn a_lower_advert_is_answered_and_announced_over_at_once_later_and_when_it_is_silent() {
    let mut rig = Rig::active(|s| s.announce.lower_repeat = 2);
    rig.hear("10.0.4.20", 50);
    assert_eq!(rig.deeds(), ["advert 0 100", "announce 0", "announce 0"]);
    rig.pass(100 * MS);
    assert_eq!(rig.deeds(), ["advert 0 100", "announce 0", "announce 0"]);
    rig.pass(50 * MS);
    assert_eq!(rig.deeds(), ["announce 0", "announce 0"]);
    rig.pass(40 * MS);
    assert!(rig.deeds().is_empty());
}

#[test]
fn the_losers_last_word_is_announced_over_at_once_too() {
    let mut rig = Rig::active(|_| {});
    rig.hear("10.0.4.20", 50);
    rig.pass(MS);
    rig.log.clear();
    rig.hear("10.0.4.20", 50);
    assert_eq!(rig.deeds(), ["announce 0"]);
}

#[test]
fn a_flood_of_lower_adverts_is_answered_in_moderation() {
    let mut rig = Rig::active(|_| {});
    for _ in 0..1_000 {
        rig.hear("10.0.4.20", 50);
        rig.hear("10.0.4.20", 0);
        rig.pass(MS / 10);
    }
    let deeds = rig.deeds();
    assert!(deeds.iter().filter(|d| d.starts_with("advert")).count() <= 3, "{deeds:?}");
    assert!(deeds.iter().filter(|d| d.starts_with("announce")).count() <= 8, "{deeds:?}");
}

#[test]
fn priority_zero_heard_while_active_is_answered_and_announced_over() {
    let mut rig = Rig::active(|_| {});
    rig.hear("10.0.4.20", 0);
    assert_eq!(rig.deeds(), ["advert 0 100", "announce 0"]);
}

#[test]
fn a_loser_that_yields_does_not_become_the_known_active_node() {
    let mut rig = Rig::one(|s| s.priority = 20);
    rig.hear("10.0.4.20", 200);
    rig.hear("10.0.4.30", 50);
    assert_eq!(rig.vips.view(V).unwrap().holder.unwrap().addr, ip("10.0.4.20"));
    let before = rig.vips.poll_timeout();
    rig.hear("10.0.4.30", 0);
    assert_eq!(rig.vips.poll_timeout(), before);
}

#[test]
fn announcements_follow_their_schedule() {
    let mut rig = Rig::one(|s| {
        s.announce = Announce {
            repeat: 2,
            interval: 10 * MS,
            delay: 50 * MS,
            delay_repeat: 3,
            refresh: 200 * MS,
            refresh_repeat: 1,
            lower_repeat: 1,
        };
    });
    rig.pass(Duration::from_secs(1));
    let times: Vec<_> = rig
        .log
        .iter()
        .filter(|(_, e)| matches!(e, mainstay_core::election::Effect::Announce { .. }))
        .map(|(at, _)| {
            at.since(
                rig.log
                    .iter()
                    .find(|(_, e)| matches!(e, mainstay_core::election::Effect::Take { .. }))
                    .unwrap()
                    .0,
            )
        })
        .take(7)
        .collect();
    assert_eq!(times, [0, 10, 50, 60, 70, 200, 400].map(|ms| ms * MS));
}

#[test]
fn rejected_packets_touch_no_timer() {
    let mut rig = Rig::one(|s| {
        s.unicast = vec![ip("10.0.4.20")];
        s.check_source = true;
    });
    let deadline = rig.vips.poll_timeout();
    let mut good = Vec::new();
    rig.vips.packet(V, 200, ip("10.0.4.20"), ip("10.0.4.10"), &mut good);
    let to = ip("10.0.4.10");
    let hostile = [
        Packet { link: LINK, from: ip("10.0.4.66"), to, ttl: 255, payload: &good },
        Packet { link: LINK, from: ip("10.0.4.10"), to, ttl: 255, payload: &good },
        Packet { link: LINK, from: ip("10.0.4.20"), to, ttl: 254, payload: &good },
        Packet { link: LINK, from: ip("10.0.4.20"), to, ttl: 255, payload: &good[..9] },
        Packet { link: LINK, from: ip("10.0.4.20"), to, ttl: 255, payload: &[] },
    ];
    for packet in hostile {
        rig.give(Input::Packet(packet));
    }
    assert_eq!(rig.vips.poll_timeout(), deadline);
    assert_eq!(rig.vips.view(V).unwrap().counters.rejected.total() + rig.vips.strays().total(), 5);
    rig.pass(MS);
    rig.give(Input::Packet(Packet { link: LINK, from: ip("10.0.4.20"), to, ttl: 255, payload: &good }));
    assert!(rig.vips.poll_timeout() > deadline);
}

#[test]
fn the_outage_runs_from_the_last_advert_to_our_own_taking() {
    let mut rig = Rig::one(|_| {});
    rig.pass_hearing("10.0.4.20", 200, 5);
    rig.pass(Duration::from_secs(1));
    assert_eq!(rig.state(), State::Active);
    let down = 300 * MS + 100 * MS * 156 / 256;
    assert_eq!(rig.vips.view(V).unwrap().outage, down);
}

#[test]
fn whoever_let_go_unheard_says_so_once_more_when_it_hears_an_active_node() {
    let mut rig = Rig::active(|_| {});
    rig.tell(Operator::Move(V));
    rig.log.clear();
    rig.pass_hearing("10.0.4.20", 50, 3);
    assert_eq!(rig.deeds(), ["advert 0 1"]);

    let mut rig = Rig::one(|_| {});
    rig.vips.left_behind(V);
    rig.pass_hearing("10.0.4.20", 200, 3);
    assert_eq!(rig.deeds(), ["advert 0 1"]);
}

#[test]
fn shutting_down_releases_then_resigns_then_is_idle() {
    let mut rig = Rig::active(|_| {});
    assert!(!rig.vips.is_idle());
    rig.give(Input::Shutdown);
    assert_eq!(rig.words(), ["release 0", "advert 0 0", "0 Active->Backup"]);
    assert!(rig.vips.is_idle());
    rig.pass(Duration::from_secs(10));
    assert_eq!(rig.state(), State::Backup);
}

#[test]
fn hostile_adverts_change_nothing_but_a_counter() {
    for version in [Version::V2, Version::V3] {
        for active in [false, true] {
            let set = |s: &mut VipSpec| {
                s.version = version;
                s.advert = Duration::from_secs(1);
                s.gate = Duration::from_secs(3);
                s.addrs = vec![ip("10.0.4.98"), ip("10.0.4.99")];
                s.password = (version == Version::V2).then_some(*b"s3cret\0\0");
                s.checksum_any = false;
            };
            let mut rig = if active { Rig::active(set) } else { Rig::one(set) };
            rig.log.clear();
            let view = rig.vips.view(V).unwrap();
            let good = Advert {
                version,
                vrid: 51,
                priority: 200,
                interval: view.spec.advert,
                addrs: view.spec.addrs.clone(),
                password: view.spec.password,
            };
            let (src, dst, own) = (ip("10.0.4.20"), ip(GROUP), ip("10.0.4.10"));
            let attack = Attack { good, src, dst, own, checksum: Checksum::PseudoHeader };
            let before = (rig.vips.poll_timeout(), rig.state());
            for hostile in hostile(&attack) {
                let told = |rig: &Rig| {
                    let counters = &rig.vips.view(V).unwrap().counters;
                    counters.rejected.get(hostile.reject) + rig.vips.strays().get(hostile.reject)
                };
                let count = told(&rig);
                let Hostile { payload, ttl, src: from, dst: to, .. } = &hostile;
                rig.give(Input::Packet(Packet { link: LINK, from: *from, to: *to, ttl: *ttl, payload }));
                assert_eq!(told(&rig), count + 1, "{version:?} {}: {:?}", hostile.name, hostile.reject);
                assert_eq!((rig.vips.poll_timeout(), rig.state()), before, "{}", hostile.name);
                assert!(rig.words().is_empty(), "{}", hostile.name);
            }
        }
    }
}
