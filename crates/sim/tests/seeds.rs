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
fn every_broken_machine_is_caught() {
    for mutant in Mutant::ALL {
        let caught = (0..200).find(|seed| run(*seed, mutant, false).failure.is_some());
        assert!(caught.is_some(), "{mutant:?} breaks no promise in 200 seeds");
    }
}

#[test]
fn a_seed_is_played_the_same_way_twice() {
    let [one, two] = [7, 7].map(|seed| run(seed, Mutant::None, true).trace);
    assert!(!one.is_empty() && one == two);
}
