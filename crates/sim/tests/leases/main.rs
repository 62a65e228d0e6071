//! The rules of leases, exhausted: with all of them there are never two holders, and without any one of them there are.
//!
//! Every order of events within a budget is tried. MAINSTAY_MODEL=deep adds budgets that take minutes to hours.

mod model;
mod strict;

use model::{Budget, Cluster, Margin, NOTHING};
use stateright::{Checker, HasDiscoveries, Model};

const TWO: &str = "never two holders";

/// Looks at every state; panics unless there is never more than one holder, and each candidate could be it.
fn safe(budget: Budget) {
    let checker = Cluster::<0> { budget, margin: Margin::Kept }.checker().threads(2).spawn_dfs().join();
    checker.assert_properties();
    println!("{budget:?}: {} states", checker.unique_state_count());
}

/// Two holders, if rule `WITHOUT` is left out.
fn broken<const WITHOUT: u8>(budget: Budget, margin: Margin) {
    let found = HasDiscoveries::AnyOf([TWO].into());
    let checker =
        Cluster::<WITHOUT> { budget, margin }.checker().threads(2).finish_when(found).spawn_dfs().join();
    assert!(
        checker.discovery(TWO).is_some(),
        "nothing breaks: the rule is not needed, or the model does not see it"
    );
    println!("broken after {} states", checker.unique_state_count());
}

/// Everything at once, as far as so many steps.
fn safe_for(steps: usize, budget: Budget) {
    let checker = Cluster::<0> { budget, margin: Margin::Kept }.checker().threads(2);
    let checker = checker.target_max_depth(steps).spawn_bfs().join();
    assert!(checker.discovery(TWO).is_none(), "{:?}", checker.discovery(TWO));
    println!("{budget:?}: {} states within {steps} steps", checker.unique_state_count());
}

#[test]
fn two_that_ask_and_renew_are_never_both_holders() {
    safe(Budget { ticks: 6, renewals: [1, 1], ..NOTHING });
}

#[test]
fn a_release_makes_no_second_holder() {
    safe(Budget { delay: 1, frees: [1, 0], ..NOTHING });
}

#[test]
fn a_split_vote_that_is_given_back_and_tried_again_makes_no_second_holder() {
    safe(Budget { delay: 1, asks: [1, 2], frees: [0, 1], ..NOTHING });
}

#[test]
fn a_voter_that_starts_again_at_any_moment_makes_no_second_holder() {
    safe(Budget { ticks: 8, restarts: 1, ..NOTHING });
}

#[test]
fn a_clock_that_is_as_slow_as_is_assumed_makes_no_second_holder() {
    safe(Budget { ticks: 6, renewals: [1, 0], slow: 1, ..NOTHING });
}

#[test]
fn the_heir_of_a_dead_process_makes_no_second_holder() {
    safe(Budget { delay: 1, asks: [2, 1], heirs: 1, ..NOTHING });
}

#[test]
fn two_changes_of_the_list_make_no_second_holder() {
    safe(Budget { ticks: 6, delay: 1, changes: 2, ..NOTHING });
}

#[test]
fn all_faults_together_make_no_second_holder_within_nine_steps() {
    let all = Budget {
        ticks: 9,
        asks: [2, 2],
        renewals: [2, 2],
        frees: [1, 1],
        restarts: 1,
        slow: 1,
        heirs: 1,
        ..NOTHING
    };
    safe_for(9, all);
}

#[test]
fn without_rule_1_there_are_two_holders() {
    // Counted from the reply; and with a term that leaves nothing for a slow clock.
    broken::<1>(NOTHING, Margin::Kept);
    broken::<0>(Budget { slow: 1, ..NOTHING }, Margin::None);
}

#[test]
fn without_rule_3_there_are_two_holders() {
    // A voter that promises to a second; and a holder that gives back what it still uses.
    broken::<3>(NOTHING, Margin::Kept);
    broken::<30>(Budget { frees: [1, 0], ..NOTHING }, Margin::Kept);
}

#[test]
fn without_rule_4_there_are_two_holders() {
    broken::<4>(Budget { restarts: 1, ..NOTHING }, Margin::Kept);
}

#[test]
fn without_rule_5_there_are_two_holders() {
    // One vote is enough; any list counts; the next list does not wait.
    broken::<50>(NOTHING, Margin::Kept);
    let changes = Budget { ticks: 6, delay: 1, changes: 2, ..NOTHING };
    broken::<5>(changes, Margin::Kept);
    broken::<0>(changes, Margin::Impatient);
}

#[test]
fn larger_budgets_make_no_second_holder_either() {
    if std::env::var_os("MAINSTAY_MODEL").is_none_or(|depth| depth != "deep") {
        return;
    }
    for budget in [
        Budget { frees: [1, 1], ..NOTHING },
        Budget { ticks: 7, renewals: [2, 1], ..NOTHING },
        Budget { ticks: 8, renewals: [1, 1], restarts: 1, ..NOTHING },
        Budget { ticks: 8, frees: [1, 0], restarts: 1, ..NOTHING },
        Budget { ticks: 6, frees: [1, 0], renewals: [1, 0], slow: 1, ..NOTHING },
        Budget { ticks: 8, delay: 1, changes: 2, renewals: [1, 0], ..NOTHING },
        Budget { ticks: 8, delay: 2, restarts: 1, slow: 1, ..NOTHING },
    ] {
        safe(budget);
    }
}
