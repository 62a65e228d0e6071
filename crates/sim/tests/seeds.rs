//! A thousand seeds keep every promise, and each broken machine is caught.

use mainstay_sim::{Mutant, REGRESSIONS, run, seeds};

#[test]
fn seeds_that_once_failed_keep_every_promise() {
    for seed in seeds(REGRESSIONS) {
        assert_eq!(run(seed, Mutant::None, false).failure, None, "seed {seed}");
    }
}

#[test]
fn a_thousand_seeds_keep_every_promise() {
    let mut claims = 0;
    for seed in 0..1_000 {
        let outcome = run(seed, Mutant::None, false);
        assert_eq!(outcome.failure, None, "seed {seed}: cargo run -p mainstay-sim -- --seed {seed} --trace");
        claims += outcome.claims;
    }
    assert!(claims > 5_000, "something happened: {claims} claims");
}

#[test]
fn every_broken_machine_is_caught_by_the_promise_that_it_breaks() {
    let expected = |mutant| match mutant {
        Mutant::None => "nothing",
        Mutant::Proud | Mutant::Clinging => "promise 1:",
        Mutant::Mute => "promise 2",
        Mutant::Idle | Mutant::Patient => "promise 3",
        Mutant::Once => "promise 4",
        Mutant::Deaf => "promise 5",
        Mutant::Loner => "promise 6",
        Mutant::Stubborn => "promise 7",
        Mutant::Sleepwalker | Mutant::Unarmed => "promise 8",
        Mutant::Hasty => "promise 9",
    };
    for mutant in Mutant::ALL {
        let caught = (0..2_000).find(|seed| {
            run(*seed, mutant, false).failure.is_some_and(|failure| failure.contains(expected(mutant)))
        });
        assert!(caught.is_some(), "{mutant:?} does not break {} in 2,000 seeds", expected(mutant));
    }
}

#[test]
fn a_seed_is_played_the_same_way_twice() {
    let [one, two] = [7, 7].map(|seed| run(seed, Mutant::None, true).trace);
    assert!(!one.is_empty() && one == two);
}
