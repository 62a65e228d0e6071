//! What each aid of two nodes without a vote is good for, counted over seeds, and that nothing helps without one.

use std::time::Duration;

use mainstay_sim::arbitration::{Aids, Fault, Outcome, SLACK, run};

const SEEDS: u64 = 100;
const REFERENCE: Aids = Aids { reference: true, lock: false };
const LOCK: Aids = Aids { reference: false, lock: true };
const BOTH: Aids = Aids { reference: true, lock: true };
const NONE: Aids = Aids { reference: false, lock: false };

fn each(fault: Fault, aids: Aids, judge: impl Fn(u64, &Outcome)) -> Duration {
    let mut worst = Duration::ZERO;
    for seed in 0..SEEDS {
        let outcome = run(seed, fault, aids);
        assert_eq!(outcome.holders, 1, "seed {seed}: in the end one holds it: {outcome:?}");
        worst = worst.max(outcome.dual);
        judge(seed, &outcome);
    }
    worst
}

fn never_two(seed: u64, outcome: &Outcome) {
    assert!(outcome.dual <= SLACK, "seed {seed}: {outcome:?}");
}

fn never_moves(seed: u64, outcome: &Outcome) {
    never_two(seed, outcome);
    assert_eq!((outcome.moves, outcome.dark), (0, Duration::ZERO), "seed {seed}: {outcome:?}");
}

#[test]
fn without_an_aid_a_partition_has_two_holders() {
    let worst = each(Fault::Parted, NONE, |_, _| ());
    assert!(worst > Duration::from_secs(5), "{worst:?}");
    assert!(each(Fault::Vrrp, NONE, |_, _| ()) > Duration::from_secs(5));
}

#[test]
fn with_a_reference_on_one_side_there_are_never_two() {
    for aids in [REFERENCE, BOTH] {
        each(Fault::PartedFromReference, aids, never_two);
    }
    // On both sides it tells nothing.
    assert!(each(Fault::Parted, REFERENCE, |_, _| ()) > Duration::from_secs(5));
}

#[test]
fn a_gateway_that_dies_for_both_and_a_cut_of_vrrp_alone_move_nothing() {
    for aids in [REFERENCE, BOTH] {
        each(Fault::Gateway, aids, never_moves);
        each(Fault::Vrrp, aids, never_moves);
    }
    each(Fault::Vrrp, LOCK, never_moves);
}

#[test]
fn a_holder_that_alone_lost_the_reference_hands_over_once() {
    for aids in [REFERENCE, BOTH] {
        each(Fault::HolderLosesReference, aids, |seed, outcome| {
            never_two(seed, outcome);
            assert_eq!(outcome.moves, 1, "seed {seed}: {outcome:?}");
            assert!(outcome.dark < Duration::from_millis(50), "seed {seed}: {outcome:?}");
        });
    }
}

#[test]
fn with_a_lock_there_are_never_two_and_the_holder_stays() {
    for aids in [LOCK, BOTH] {
        each(Fault::Parted, aids, never_moves);
        each(Fault::OneWay, aids, never_moves);
        each(Fault::PartedAndHung, aids, never_two);
    }
}

#[test]
fn a_crash_is_followed_within_the_bound_of_the_aid() {
    let within = |bound: Duration| {
        move |seed: u64, outcome: &Outcome| {
            never_two(seed, outcome);
            assert!(outcome.dark <= bound, "seed {seed}: {outcome:?}");
        }
    };
    // Three adverts, and the skew of one that is not the first.
    each(Fault::Crash, NONE, within(Duration::from_millis(620)));
    each(Fault::Crash, REFERENCE, within(Duration::from_millis(620)));
    // The session's silence, the head start, two reads, a write, and the time between them.
    each(Fault::Crash, LOCK, within(Duration::from_millis(2_700)));
}
