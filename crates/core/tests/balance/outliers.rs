//! Who is set aside, for how long, and that nobody is lost by it.

use std::time::Duration;

use mainstay_core::balance::{Effect, Input, MemberSpec, Nobody, Order, Policy, Roster, State, Ticket};
use mainstay_core::election::Verdict;
use mainstay_core::time::Boot;

use crate::rig::{Draw, World, member, members, ms, pick, roster, spec};

#[test]
fn a_backend_aside_gets_one_request_when_its_time_is_over() {
    let mut roster = roster(Policy::Turns, &[1, 1, 1]);
    fail(&mut roster, 0, 3, ms(0));
    assert_eq!(effects(&mut roster), [Effect::Aside { member: 0, until: ms(10_000) }]);
    assert_eq!(roster.poll_timeout(), ms(10_000));
    assert!((0..30).all(|_| next(&mut roster).member() != 0));
    roster.handle(Input::Tick, ms(10_000));
    let trial =
        std::iter::repeat_with(|| next(&mut roster)).take(3).find(|ticket| ticket.member() == 0).unwrap();
    assert!(trial.trial);
    roster.handle(Input::Sent(trial), ms(10_000));
    assert!((0..30).all(|_| next(&mut roster).member() != 0), "one, not two");
    roster.handle(Input::Unanswered(trial), ms(10_001));
    assert!((0..3).any(|_| next(&mut roster).member() == 0), "that one was given up: another may go");
    roster.handle(Input::Sent(trial), ms(10_002));
    roster.handle(Input::Answered(trial), ms(10_003));
    assert!(matches!(effects(&mut roster)[..], [Effect::Back { member: 0, .. }]));
    assert_eq!((roster.asides(), roster.poll_timeout()), (0, Boot::NEVER));
}

#[test]
fn when_its_trial_fails_it_stays_away_twice_as_long() {
    let mut roster = roster(Policy::Turns, &[1, 1]);
    fail(&mut roster, 0, 3, ms(0));
    roster.handle(Input::Tick, ms(10_000));
    let trial = roster.bound(0).unwrap();
    roster.handle(Input::Sent(trial), ms(10_000));
    roster.handle(Input::Failed(trial), ms(10_500));
    assert_eq!(roster.poll_timeout(), ms(30_500));
}

#[test]
fn a_trial_that_lasts_for_days_leaves_room_for_another() {
    let mut roster = roster(Policy::Turns, &[1, 1]);
    fail(&mut roster, 0, 3, ms(0));
    roster.handle(Input::Tick, ms(10_000));
    roster.handle(Input::Sent(roster.bound(0).unwrap()), ms(10_000));
    assert_eq!(roster.bound(0), None);
    let again = roster.poll_timeout();
    assert_eq!(again, ms(20_000));
    roster.handle(Input::Tick, again);
    assert!(roster.bound(0).is_some_and(|ticket| ticket.trial));
}

#[test]
fn all_aside_and_none_down_are_still_used() {
    let all = mainstay_core::balance::Spec { share_max: 100, ..spec(Policy::Turns) };
    let mut roster = Roster::new(all);
    roster.replace(all, &members(&[1, 1]), ms(0));
    fail(&mut roster, 0, 3, ms(0));
    fail(&mut roster, 1, 3, ms(0));
    assert_eq!(roster.asides(), 2);
    let first = next(&mut roster);
    assert_ne!(first.member(), next(&mut roster).member());
    roster.handle(Input::Verdict { member: 0, verdict: Verdict::Down }, ms(1));
    assert!((0..4).all(|_| next(&mut roster).member() == 1), "not one that its probe says is down");
    let answered = next(&mut roster);
    roster.handle(Input::Answered(answered), ms(2));
    assert_eq!(roster.view(1, ms(2)).unwrap().state, State::Up);
}

#[test]
fn a_pool_of_one_never_loses_it() {
    let mut roster = roster(Policy::Turns, &[1]);
    fail(&mut roster, 0, 100, ms(0));
    assert_eq!(roster.asides(), 0);
    assert_eq!(next(&mut roster).member(), 0);
}

#[test]
fn over_many_seeds_the_share_holds_and_who_works_again_comes_back() {
    for seed in 0..300 {
        let mut draw = Draw(seed);
        let policies = [Policy::Turns, Policy::Least, Policy::TwoChoices, Policy::Hash, Policy::Random];
        let policy = policies[draw.below(5) as usize];
        let share_max = [0, 10, 34, 50, 100][draw.below(5) as usize];
        let pool = mainstay_core::balance::Spec { share_max, ..spec(policy) };
        let mut list: Vec<MemberSpec> = (0..=draw.below(9) as usize).map(member).collect();
        let mut roster = Roster::new(pool);
        roster.replace(pool, &list, ms(0));
        let mut now = ms(0);
        for _ in 0..2000 {
            now += Duration::from_millis(draw.below(100));
            if draw.below(200) == 0 {
                let at = draw.below(list.len() as u64) as usize;
                if draw.below(2) == 0 && list.len() > 1 {
                    list.remove(at);
                } else {
                    list.push(member(20 + at));
                }
                list.sort_by_key(|one| one.key);
                list.dedup_by_key(|one| one.key);
                roster.replace(pool, &list, now);
            }
            let failing = |member: usize| list[member].key % 3 == 0;
            step(&mut roster, &mut draw, now, failing);
            assert!(roster.asides() * 100 <= share_max as usize * list.len(), "seed {seed}");
        }
        for _ in 0..6000 {
            now += Duration::from_millis(draw.below(100));
            step(&mut roster, &mut draw, now, |_| false);
        }
        assert_eq!(roster.asides(), 0, "seed {seed}: everybody answers, nobody stays aside");
    }
}

#[test]
fn only_down_and_drained_backends_leave_a_pool_without_any() {
    for seed in 0..200 {
        let mut draw = Draw(seed);
        let size = 1 + draw.below(5) as usize;
        let mut roster = roster(Policy::Turns, &vec![1; size]);
        let mut now = ms(0);
        for _ in 0..500 {
            now += Duration::from_millis(draw.below(2000));
            let member = draw.below(size as u64) as usize;
            match draw.below(4) {
                0 => fail(&mut roster, member, 3, now),
                1 => {
                    let verdict = [Verdict::Up, Verdict::Down, Verdict::Unknown][draw.below(3) as usize];
                    roster.handle(Input::Verdict { member, verdict }, now);
                }
                2 => {
                    let orders =
                        [Order::Ready, Order::Drain, Order::Down, Order::Weight(0), Order::AsWritten];
                    roster.handle(Input::Order { member, order: orders[draw.below(5) as usize] }, now);
                }
                _ => roster.handle(Input::Tick, now),
            }
            let picked = pick(&mut roster, 0, &mut draw, &World::of(size));
            let out = |one: usize| {
                let state = roster.view(one, now).unwrap().state;
                matches!(
                    state,
                    State::DownByProbe | State::DownByOrder | State::DownAsWritten | State::Drained
                )
            };
            match picked {
                Ok(ticket) => assert!(!out(ticket.member()), "seed {seed}"),
                Err(why) => assert!(why == Nobody::Out && (0..size).all(out), "seed {seed}: {why:?}"),
            }
        }
    }
}

/// One request, at its end at once.
fn step(roster: &mut Roster, draw: &mut Draw, now: Boot, failing: impl Fn(usize) -> bool) {
    if roster.poll_timeout() <= now {
        roster.handle(Input::Tick, now);
    }
    let world = World::of(roster.len());
    let ticket = pick(roster, draw.next(), draw, &world).unwrap();
    roster.handle(Input::Sent(ticket), now);
    let failed = failing(ticket.member()) && draw.below(10) > 0;
    roster.handle(if failed { Input::Failed(ticket) } else { Input::Answered(ticket) }, now);
}

fn fail(roster: &mut Roster, member: usize, times: u32, now: Boot) {
    let Some(term) = roster.bound(member).map(|ticket| ticket.term) else { return };
    for _ in 0..times {
        let member = u32::try_from(member).unwrap();
        roster.handle(Input::Failed(Ticket { member, term, trial: false }), now);
    }
}

fn effects(roster: &mut Roster) -> Vec<Effect> {
    std::iter::from_fn(|| roster.poll_effect()).collect()
}

fn next(roster: &mut Roster) -> Ticket {
    let world = World::of(roster.len());
    pick(roster, 0, &mut Draw(0), &world).unwrap()
}
