//! Ten thousand seeds of the lease world keep every promise, and each broken machine is caught.

use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use mainstay_sim::lease::{Mutant, Outcome, REGRESSIONS, run, run_store, run_strict};
use mainstay_sim::seeds;

const SEEDS: u64 = 10_000;

/// So many seeds may a broken machine get through.
const UNNOTICED: u64 = 4_000;

#[test]
fn seeds_that_once_failed_keep_every_promise() {
    for seed in seeds(REGRESSIONS) {
        assert_eq!(run(seed, Mutant::None, false).failure, None, "seed {seed}");
    }
}

/// Plays seeds on every core.
fn all(seeds: u64, world: &str, run: fn(u64, Mutant, bool) -> Outcome) -> Outcome {
    let cores = thread::available_parallelism().map_or(1, usize::from);
    let next = AtomicU64::new(0);
    let play = || {
        let mut sum = Outcome::default();
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= seeds {
                return sum;
            }
            let outcome = run(seed, Mutant::None, false);
            assert_eq!(outcome.failure, None, "cargo xtask sim --world {world} --seed {seed} --trace");
            sum.add(&outcome);
        }
    };
    thread::scope(|scope| {
        let players: Vec<_> = (0..cores).map(|_| scope.spawn(play)).collect();
        players.into_iter().fold(Outcome::default(), |mut sum, player| {
            sum.add(&player.join().expect("a player does not panic unnoticed"));
            sum
        })
    })
}

#[test]
fn ten_thousand_seeds_keep_every_promise() {
    let sum = all(SEEDS, "lease", run);
    // Something has happened, and the promises with a bound were put to the test.
    assert!(sum.changes > 10_000 && sum.lists > 1_000, "{sum}");
    assert!(sum.hand_overs > 300 && sum.takeovers > 300, "{sum}");
}

#[test]
fn ten_thousand_seeds_of_two_nodes_alone_keep_every_promise() {
    let sum = all(SEEDS, "strict", run_strict);
    assert!(sum.changes > 5_000 && sum.fenced > 500, "{sum}");
    assert!(sum.hand_overs > 300 && sum.takeovers == 0, "nobody takes over from a silent holder: {sum}");
}

#[test]
fn two_nodes_and_a_store_that_votes_keep_every_promise() {
    let mut sum = Outcome::default();
    for seed in 0..1_500 {
        let outcome = run_store(seed, false);
        assert_eq!(outcome.failure, None, "seed {seed}");
        sum.add(&outcome);
    }
    assert!(sum.changes > 1_500 && sum.lists > 300 && sum.writes > 20_000, "{} writes, {sum}", sum.writes);
}

#[test]
fn a_store_that_forgets_its_promises_and_does_not_wait_is_caught() {
    let two = |seed| run_store(seed, true).failure.filter(|what| what.contains("promise 1:"));
    assert!((0..UNNOTICED).any(|seed| two(seed).is_some()));
}

#[test]
fn every_broken_rule_is_caught_by_the_promise_that_it_breaks() {
    let expected = |mutant| match mutant {
        Mutant::None => "nothing",
        Mutant::LateStamp | Mutant::NoMargin | Mutant::OpenGate => "promise 1:",
        Mutant::ShortPromise | Mutant::Forgetful | Mutant::Minority => "promise 1:",
        Mutant::AnyList | Mutant::HastyOperator | Mutant::Stubborn | Mutant::WallClock => "promise 1:",
        Mutant::Trusting => "promise 2:",
        Mutant::HastyFree => "promise 3:",
        Mutant::Epochless => "promise 4:",
        Mutant::Clinging | Mutant::Idle => "promise 5:",
        Mutant::Lazy => "promise 6:",
        Mutant::Chatty => "promise 8:",
        Mutant::Sleepwalker | Mutant::EarlyClock => "promise 9:",
        Mutant::Fleeting | Mutant::Usurper | Mutant::Trustful => "of two nodes alone",
    };
    for mutant in Mutant::ALL {
        let caught = (0..UNNOTICED).find(|seed| {
            run(*seed, mutant, false).failure.is_some_and(|failure| failure.contains(expected(mutant)))
        });
        assert!(caught.is_some(), "{mutant:?} does not break {} in {UNNOTICED} seeds", expected(mutant));
    }
}

#[test]
fn every_broken_rule_of_two_nodes_alone_is_caught() {
    let expected = [
        (Mutant::Usurper, "promise 1:"),
        (Mutant::HastyFree, "promise 3:"),
        (Mutant::Clinging, "promise 5:"),
        (Mutant::Idle, "promise 5:"),
        (Mutant::Trustful, "promise 5:"),
        (Mutant::Chatty, "promise 8:"),
        (Mutant::Fleeting, "promise 10:"),
    ];
    assert_eq!(expected.map(|(mutant, _)| mutant).len(), Mutant::STRICT.len());
    for (mutant, promise) in expected {
        assert!(Mutant::STRICT.contains(&mutant));
        let breaks =
            |seed| run_strict(seed, mutant, false).failure.is_some_and(|failure| failure.contains(promise));
        assert!((0..UNNOTICED).any(breaks), "{mutant:?} does not break {promise} in {UNNOTICED} seeds");
    }
}

#[test]
fn a_seed_is_played_the_same_way_twice() {
    let [one, two] = [7, 7].map(|seed| run(seed, Mutant::None, true).trace);
    assert!(!one.is_empty() && one == two);
}
