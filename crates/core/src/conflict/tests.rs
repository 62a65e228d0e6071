//! Strangers, peers, ordinary hand-offs and floods.

use std::time::Duration;

use super::*;
use crate::time::Boot;

const A: Mac = [2, 0, 0, 0, 0, 1];
const B: Mac = [2, 0, 0, 0, 0, 2];
const X: Mac = [2, 0, 0, 0, 0, 66];

fn at(ms: u64) -> Boot {
    Boot::from_nanos((100_000 + ms) * 1_000_000)
}

fn said(conflict: &mut Conflict) -> Vec<Effect> {
    std::iter::from_fn(|| conflict.poll_effect()).collect()
}

const fn began(mac: Mac) -> Effect {
    Effect::Began { who: Claimant::Station(mac) }
}

#[test]
fn a_stranger_who_claims_what_is_held_here_is_told_of_at_once_and_answered() {
    let mut conflict = Conflict::default();
    conflict.moved(at(0));
    conflict.claimed(X, Whose::Unknown, Place::Here, at(5_000));
    assert_eq!(said(&mut conflict), [began(X), Effect::Answer]);
    assert_eq!(conflict.standing().map(|now| (now.claims, now.by)), Some((1, &[Claimant::Station(X)][..])));
}

#[test]
fn a_flood_of_frames_of_many_stations_is_one_conflict_with_a_few_names_and_a_count() {
    let mut conflict = Conflict::default();
    let mut told = Vec::new();
    for n in 0..10_000_u64 {
        let [.., c, d] = n.to_be_bytes();
        conflict.claimed([2, 9, 9, 9, c, d], Whose::Unknown, Place::Here, at(5_000 + n / 10));
        told.extend(said(&mut conflict).into_iter().filter(|effect| *effect != Effect::Answer));
    }
    assert_eq!(told.len(), NAMED, "{told:?}");
    let ends = conflict.poll_timeout().expect("it ends");
    assert_eq!(ends, at(5_999) + QUIET);
    conflict.tick(ends - Duration::from_millis(1));
    assert_eq!(said(&mut conflict), []);
    conflict.tick(ends);
    let lasted = Duration::from_millis(999);
    assert_eq!(said(&mut conflict), [Effect::Over { claims: 10_000, lasted }]);
    assert_eq!((conflict.standing(), conflict.poll_timeout()), (None, None));
    assert_eq!(conflict.counts(), Counts { conflicts: 10_000, episodes: 1, late: 0, own: 0 });
}

#[test]
fn a_conflict_that_comes_again_and_again_is_over_only_after_twice_the_silence() {
    let mut conflict = Conflict::default();
    let mut now = at(5_000);
    let mut silences = Vec::new();
    for _ in 0..8 {
        conflict.claimed(X, Whose::Unknown, Place::Here, now);
        let ends = conflict.poll_timeout().expect("it ends");
        silences.push(ends.since(now).as_secs());
        conflict.tick(ends);
        now = ends + Duration::from_secs(1);
    }
    assert_eq!(silences, [10, 20, 40, 80, 160, 320, 320, 320]);
    conflict.claimed(X, Whose::Unknown, Place::Here, now + AGAIN);
    assert_eq!(conflict.poll_timeout(), Some(now + AGAIN + QUIET), "after ten minutes it is another");
}

#[test]
fn the_old_holders_last_frames_after_a_hand_off_are_no_conflict_and_later_ones_are() {
    let mut conflict = Conflict::default();
    conflict.claimed(A, Whose::Unknown, Place::There, at(0));
    conflict.moved(at(1_000));
    conflict.claimed(A, Whose::Unknown, Place::Here, at(1_900));
    assert_eq!(said(&mut conflict), [Effect::Answer]);
    conflict.claimed(A, Whose::Unknown, Place::Here, at(2_001));
    assert_eq!(said(&mut conflict), [began(A), Effect::Answer]);
    assert_eq!(conflict.counts().late, 1);
}

#[test]
fn a_backup_takes_the_next_holders_first_frames_for_what_they_are() {
    for first in [0, 1] {
        let mut conflict = Conflict::default();
        conflict.claimed(A, Whose::Unknown, Place::There, at(0));
        // The announcement may come before or after the word that it has moved.
        if first == 0 {
            conflict.claimed(B, Whose::Unknown, Place::There, at(10));
        }
        conflict.moved(at(100));
        conflict.claimed(B, Whose::Unknown, Place::There, at(110));
        conflict.claimed(A, Whose::Unknown, Place::There, at(200));
        conflict.claimed(B, Whose::Unknown, Place::There, at(3_000));
        conflict.tick(at(3_000));
        assert_eq!(said(&mut conflict), [], "{first}");
        assert_eq!(conflict.counts(), Counts { late: 1, ..Counts::default() });
    }
}

#[test]
fn a_backup_tells_of_a_stranger_beside_the_holder_within_its_patience() {
    let mut conflict = Conflict::default();
    conflict.claimed(A, Whose::Peer { holds: true }, Place::There, at(0));
    conflict.claimed(X, Whose::Unknown, Place::There, at(5_000));
    conflict.claimed(X, Whose::Unknown, Place::There, at(5_100));
    assert_eq!(conflict.poll_timeout(), Some(at(5_000) + PATIENCE));
    conflict.tick(at(5_499));
    assert_eq!(said(&mut conflict), []);
    conflict.tick(at(5_500));
    assert_eq!(said(&mut conflict), [began(X)]);
    assert_eq!(conflict.counts().conflicts, 2);
    // The holder's own frames go on meaning nothing.
    conflict.claimed(A, Whose::Peer { holds: true }, Place::There, at(6_000));
    assert_eq!(conflict.counts().conflicts, 2);
}

#[test]
fn a_stranger_who_was_first_does_not_pass_for_the_holder_whose_station_is_known() {
    let mut conflict = Conflict::default();
    conflict.claimed(X, Whose::Unknown, Place::There, at(0));
    conflict.claimed(A, Whose::Peer { holds: true }, Place::There, at(100));
    conflict.claimed(X, Whose::Unknown, Place::There, at(200));
    conflict.tick(at(700));
    assert_eq!(said(&mut conflict), [began(X)]);
}

#[test]
fn another_interface_of_this_host_is_counted_and_nothing_else() {
    let mut conflict = Conflict::default();
    conflict.claimed(X, Whose::Own, Place::Here, at(5_000));
    conflict.claimed(X, Whose::Own, Place::There, at(6_000));
    assert_eq!(said(&mut conflict), []);
    assert_eq!(conflict.counts().own, 2);
}

#[test]
fn a_strangers_advert_is_a_conflict_wherever_the_address_is_and_answered_where_it_is_held() {
    let who = Claimant::Router("10.0.4.66".parse().expect("an address"));
    for (place, answers) in [(Place::Here, 1), (Place::There, 0), (Place::Nowhere, 0)] {
        let mut conflict = Conflict::default();
        conflict.advertised(who, 3, place, at(0));
        let effects = said(&mut conflict);
        assert_eq!(effects[0], Effect::Began { who });
        assert_eq!(effects.len(), 1 + answers, "{place:?}");
        assert_eq!(conflict.counts().conflicts, 3);
    }
}

#[test]
fn who_joins_a_conflict_is_named_once() {
    let mut conflict = Conflict::default();
    let router = Claimant::Router("10.0.4.66".parse().expect("an address"));
    conflict.claimed(X, Whose::Unknown, Place::Here, at(5_000));
    conflict.advertised(router, 1, Place::Here, at(5_001));
    conflict.advertised(router, 1, Place::Here, at(5_002));
    let told: Vec<Effect> = said(&mut conflict).into_iter().filter(|e| *e != Effect::Answer).collect();
    assert_eq!(told, [began(X), Effect::Joined { who: router }]);
}
