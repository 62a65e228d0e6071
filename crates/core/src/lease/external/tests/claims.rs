//! One claim each.

use super::shelf::{RIGHT, Shelf, Side, list, ms, terms};
use crate::lease::external::{Done, Input, Step};
use crate::lease::{Asked, Asker, Asking, Outcome, Verdict, Voter};
use crate::name::NodeId;
use crate::time::Boot;

const START: Boot = Boot::from_nanos(10_000_000_000);

/// A store that promises, and two sides of it.
fn open() -> (Shelf, Side, Side, Boot) {
    let (mut shelf, mut one, two) = (Shelf::new(), Side::new("n1", 11, START), Side::new("n2", 22, START));
    one.ask(5, false, START);
    one.settle(&mut shelf, START);
    assert!(matches!(one.said(), Some((_, Outcome::Mute { .. }))), "{:?}", one.said());
    let now = START + terms().mute() + ms(600);
    one.pass(&mut shelf, START, now);
    assert!(shelf.voter.as_ref().is_some_and(|(voter, _)| !voter.open), "nobody asks any more");
    one.ask(5, false, now);
    one.settle(&mut shelf, now);
    assert!(shelf.voter.as_ref().is_some_and(|(voter, _)| voter.open));
    (shelf, one, two, now)
}

/// The same, and the first side has the right under an epoch that is returned.
fn held() -> (Shelf, Side, Side, Boot, u64) {
    let (mut shelf, mut one, two, now) = open();
    let Some((_, Outcome::Stale { epoch })) = one.said() else { panic!("{:?}", one.said()) };
    let number = one.ask(epoch + 1, false, now);
    one.settle(&mut shelf, now);
    assert_eq!(one.said(), Some((number, Outcome::Granted { epoch: epoch + 1 })));
    (shelf, one, two, now, epoch + 1)
}

#[test]
fn a_new_store_promises_nothing_below_its_own_start() {
    let (_, one, ..) = open();
    // The floor of its first deputy, and what has passed until it was born.
    assert!(matches!(one.said(), Some((_, Outcome::Stale { epoch: 1_000.. }))), "{:?}", one.said());
}

#[test]
fn a_store_that_lost_everything_is_mute_again_for_as_long_by_each_ones_clock() {
    let (mut shelf, mut one, mut two, now, epoch) = held();
    shelf.wipe();
    two.ask(epoch + 5, false, now);
    two.settle(&mut shelf, now);
    assert!(matches!(two.said(), Some((_, Outcome::Mute { .. }))));
    // It loses everything once more; what the second has waited until then is nothing.
    let half = now + terms().mute() / 2;
    two.pass(&mut shelf, now, half);
    shelf.wipe();
    let whole = now + terms().mute() + ms(100);
    two.ask(epoch + 5, false, whole);
    two.settle(&mut shelf, whole);
    assert!(matches!(two.said(), Some((_, Outcome::Mute { .. }))), "{:?}", two.said());
    one.ask(epoch, true, whole);
    one.settle(&mut shelf, whole);
    assert!(matches!(one.said(), Some((_, Outcome::Mute { .. }))));
    let later = whole + terms().mute();
    two.ask(u64::MAX / 2, false, later);
    two.settle(&mut shelf, later);
    assert!(matches!(two.said(), Some((_, Outcome::Granted { .. }))), "{:?}", two.said());
}

#[test]
fn a_store_that_was_set_back_or_is_another_is_mute() {
    let (mut shelf, mut one, _, now, epoch) = held();
    let before = shelf.clone();
    one.ask(epoch, true, now);
    one.settle(&mut shelf, now);
    assert!(matches!(one.said(), Some((_, Outcome::Granted { .. }))));
    shelf = before;
    one.ask(epoch, true, now + ms(10));
    one.settle(&mut shelf, now + ms(10));
    one.pass(&mut shelf, now + ms(10), now + ms(600));
    assert!(shelf.voter.as_ref().is_some_and(|(voter, _)| !voter.open), "{:?}", one.said());
    let (mut shelf, mut one, _, now, epoch) = held();
    shelf.store = 78;
    one.ask(epoch, true, now);
    one.settle(&mut shelf, now);
    one.pass(&mut shelf, now, now + ms(600));
    assert!(shelf.voter.as_ref().is_some_and(|(voter, _)| !voter.open && voter.store == 78));
}

#[test]
fn who_was_refused_gets_the_right_in_a_reply_to_the_same_request() {
    let (mut shelf, one, mut two, now, epoch) = held();
    let at = now + ms(3_000);
    let number = two.ask(epoch + 1, false, at);
    two.settle(&mut shelf, at);
    let Some((_, Outcome::Held { by, epoch: theirs, left })) = two.said() else { panic!("{:?}", two.said()) };
    assert_eq!((by.as_str(), theirs, left), ("n1", epoch, ms(5_000)), "seen for the first time");
    let said = two.heard.len();
    two.pass(&mut shelf, at, now + ms(4_900));
    assert_eq!(two.heard.len(), said, "it is told once");
    two.pass(&mut shelf, now + ms(4_900), now + ms(5_600));
    assert_eq!(two.said(), Some((number, Outcome::Granted { epoch: epoch + 1 })));
    drop(one);
}

#[test]
fn a_promise_that_is_renewed_stays_and_one_that_is_given_back_goes_at_once() {
    let (mut shelf, mut one, mut two, now, epoch) = held();
    for round in 1..20 {
        let at = now + ms(1_000) * round;
        let number = one.ask(epoch, true, at);
        one.settle(&mut shelf, at);
        assert_eq!(one.said(), Some((number, Outcome::Granted { epoch })));
        two.ask(epoch + 9, false, at);
        two.settle(&mut shelf, at);
        assert!(matches!(two.said(), Some((_, Outcome::Held { .. }))));
    }
    let at = now + ms(19_500);
    one.free(epoch, at);
    one.settle(&mut shelf, at);
    assert!(shelf.promises.is_empty());
    two.pass(&mut shelf, at, at + ms(600));
    assert!(matches!(two.said(), Some((_, Outcome::Granted { .. }))));
    // Somebody else's right is not the first one's to give.
    one.free(epoch + 9, at + ms(700));
    one.settle(&mut shelf, at + ms(700));
    assert_eq!(shelf.promises[RIGHT].0.node, "n2");
}

#[test]
fn a_renewal_counts_from_its_own_stamp_whatever_an_earlier_one_does_late() {
    let (mut shelf, mut one, _, now, epoch) = held();
    one.ask(epoch, true, now + ms(1_000));
    let (step, late) = one.steps.remove(0);
    // Nobody knows what became of it.
    one.give(Input::Failed { step }, now + ms(1_500));
    let number = one.ask(epoch, true, now + ms(2_000));
    one.settle(&mut shelf, now + ms(2_000));
    assert_eq!(one.said(), Some((number, Outcome::Granted { epoch })));
    let until = shelf.promises[RIGHT].2;
    let done = shelf.take(&late, now + ms(1_000), now + ms(2_500));
    assert!(matches!(done, Some(Done::Changed(_))), "{done:?}");
    assert_eq!(shelf.promises[RIGHT].2, until);
    let said = one.heard.len();
    one.give(Input::Done { step, done: Done::Written { store: 77, revision: 999 } }, now + ms(2_600));
    assert_eq!(one.heard.len(), said, "the answer to a step that was given up counts for nothing");
}

#[test]
fn what_was_asked_for_and_may_yet_be_written_is_not_after_it_was_given_back() {
    let (mut shelf, mut one, _, now, epoch) = held();
    one.free(epoch, now);
    one.settle(&mut shelf, now);
    one.ask(epoch + 1, false, now);
    let (step, mut what) = one.steps.remove(0);
    if matches!(what, Step::Read(_)) {
        let done = shelf.take(&what, now, now).unwrap();
        one.give(Input::Done { step, done }, now);
        what = one.steps.remove(0).1;
    }
    let step = one.deputy.step;
    assert!(matches!(what, Step::Write(_)));
    one.give(Input::Failed { step }, now + ms(100));
    one.free(epoch + 1, now + ms(200));
    one.pass(&mut shelf, now + ms(200), now + ms(600));
    assert!(matches!(shelf.take(&what, now, now + ms(700)), Some(Done::Changed(_))));
    assert!(shelf.promises.is_empty());
}

#[test]
fn the_heir_takes_over_and_a_twin_does_not() {
    let (mut shelf, _, _, now, epoch) = held();
    let mut twin = Side::new("n1", 12, now);
    twin.ask(epoch + 1, false, now);
    twin.settle(&mut shelf, now);
    assert!(matches!(twin.said(), Some((_, Outcome::Held { .. }))), "{:?}", twin.said());
    let mut heir = Side { heir_of: Some(11), ..Side::new("n1", 13, now) };
    heir.ask(epoch, false, now);
    heir.settle(&mut shelf, now);
    assert!(matches!(heir.said(), Some((_, Outcome::Stale { .. }))), "under an epoch of its own");
    heir.ask(epoch + 1, false, now);
    heir.settle(&mut shelf, now);
    assert!(matches!(heir.said(), Some((_, Outcome::Granted { .. }))));
}

#[test]
fn an_older_list_is_refused_and_told_the_newer_one() {
    let (mut shelf, mut one, mut two, now, epoch) = held();
    one.list = list(2, &["n1", "n2", "n3", "etcd"]);
    one.ask(epoch, true, now);
    one.settle(&mut shelf, now);
    assert!(matches!(one.said(), Some((_, Outcome::Granted { .. }))));
    assert_eq!(shelf.voter.as_ref().map(|(voter, _)| voter.mark), Some(one.mark()));
    two.ask(epoch + 1, false, now);
    two.settle(&mut shelf, now);
    assert!(matches!(two.said(), Some((_, Outcome::Mismatch { .. }))));
    let heard = two.heard.last().unwrap();
    assert_eq!((heard.mark, heard.list.as_ref()), (one.mark(), Some(&one.list)));
    // Two voters at once.
    two.list = list(3, &["n1", "n2", "n4", "etcd"]);
    two.ask(epoch + 1, false, now);
    two.settle(&mut shelf, now);
    assert!(matches!(two.said(), Some((_, Outcome::Mismatch { .. }))));
}

#[test]
fn another_list_of_the_same_epoch_waits_until_nothing_is_promised() {
    let (mut shelf, mut one, mut two, now, epoch) = held();
    two.salt = 4;
    two.ask(epoch + 1, false, now);
    two.settle(&mut shelf, now);
    assert!(matches!(two.said(), Some((_, Outcome::Mismatch { .. }))));
    one.free(epoch, now);
    one.settle(&mut shelf, now);
    let number = two.ask(epoch + 1, false, now);
    two.settle(&mut shelf, now);
    assert_eq!(two.said(), Some((number, Outcome::Granted { epoch: epoch + 1 })));
    one.ask(epoch, true, now);
    one.settle(&mut shelf, now);
    assert!(matches!(one.said(), Some((_, Outcome::Mismatch { .. }))));
}

#[test]
fn a_longer_term_than_agreed_is_refused_and_a_shorter_one_does_not_shorten_a_promise() {
    let (mut shelf, mut one, _, now, epoch) = held();
    one.ask_for(ms(5_001), epoch, true, now);
    one.settle(&mut shelf, now);
    assert!(matches!(one.said(), Some((_, Outcome::Mismatch { .. }))));
    one.ask_for(ms(2_000), epoch, true, now + ms(100));
    one.settle(&mut shelf, now + ms(100));
    assert_eq!(shelf.promises[RIGHT].2, now + ms(5_100));
}

#[test]
fn a_node_that_asks_for_nothing_looks_a_few_times_in_a_term() {
    let (mut shelf, mut one, now) = (Shelf::new(), Side::new("n1", 11, START), START);
    one.give(Input::Tick, now);
    let mut looks = 0;
    for tick in 0..1_000 {
        let at = now + ms(10) * tick;
        one.give(Input::Tick, at);
        looks += one.steps.len();
        one.settle(&mut shelf, at);
    }
    assert!((9..=12).contains(&looks), "{looks} in two terms");
    assert_eq!(shelf.revision, 1, "and writes nothing");
}

#[test]
fn it_judges_as_a_voter_that_is_a_node_does() {
    let mut roll = super::chaos::Dice(7);
    for _ in 0..300 {
        let (mut shelf, one, two, now) = open();
        let floor = shelf.voter.as_ref().map_or(0, |(voter, _)| voter.floor);
        let mark = one.mark();
        let mut voter: Voter = Voter::new(mark, ms(5_000), Boot::ZERO).above(floor);
        let mut sides = [one, two];
        for round in 1..40 {
            let (n, at) = (roll.roll(2) as usize, now + ms(round));
            let (epoch, renewal) = (floor + roll.roll(6), roll.roll(3) == 0);
            let side = &mut sides[n];
            let asker = Asker { node: NodeId(n as u32), instance: side.instance, heir_of: None };
            if roll.roll(4) == 0 {
                voter.free(asker, RIGHT, epoch, None, at, &mut vec![]);
                side.free(epoch, at);
                side.settle(&mut shelf, at);
                side.pass(&mut shelf, at, at);
                continue;
            }
            let asking = Asking { mark, number: round, term: ms(5_000) };
            let asked = Asked { right: RIGHT.into(), epoch, renewal };
            let verdict = voter.ask(asker, asking, &asked, at, &mut vec![]);
            // Who waits is not what is compared.
            let other = Asker { node: NodeId(1 - n as u32), instance: 0, heir_of: None };
            voter.free(other, RIGHT, u64::MAX, None, at, &mut vec![]);
            voter.free(Asker { instance: 0, ..asker }, RIGHT, u64::MAX, None, at, &mut vec![]);
            let number = side.ask(epoch, renewal, at);
            side.settle(&mut shelf, at);
            let said = side.said().filter(|(said, _)| *said == number).map(|(_, outcome)| outcome);
            let same = match (&verdict, &said) {
                (Verdict::Granted { epoch: a }, Some(Outcome::Granted { epoch: b }))
                | (Verdict::Stale { epoch: a }, Some(Outcome::Stale { epoch: b })) => a == b,
                (Verdict::Held { by, epoch: a, .. }, Some(Outcome::Held { by: name, epoch: b, .. })) => {
                    a == b && format!("n{}", by.0 + 1) == *name
                }
                _ => false,
            };
            assert!(same, "{verdict:?} and {said:?} to {asked:?}");
            // Nobody waits.
            side.free(0, at);
            sides[n].post_nothing(at);
        }
    }
}
