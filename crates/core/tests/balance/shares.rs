//! Who gets how much.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

use mainstay_core::balance::{Admits, Input, Latency, MemberSpec, Nobody, Order, Policy, Roster, View};
use mainstay_core::election::Verdict;
use mainstay_core::time::Boot;

use crate::rig::{Draw, World, members, ms, pick, roster, spec};

#[test]
fn turns_are_smooth() {
    let mut roster = roster(Policy::Turns, &[5, 1, 1]);
    let turns: Vec<usize> = (0..14).map(|_| next(&mut roster, &World::of(3))).collect();
    assert_eq!(turns, [0, 0, 1, 0, 2, 0, 0, 0, 0, 1, 0, 2, 0, 0], "nginx's own example");
}

#[test]
fn turns_are_exact_for_any_weights() {
    for seed in 0..200 {
        let mut draw = Draw(seed);
        let weights: Vec<u32> = (0..=draw.below(8)).map(|_| 1 + draw.below(20) as u32).collect();
        let mut roster = roster(Policy::Turns, &weights);
        let world = World::of(weights.len());
        let mut got = vec![0; weights.len()];
        (0..weights.iter().sum::<u32>() * 3).for_each(|_| got[next(&mut roster, &world)] += 1);
        let wanted: Vec<u32> = weights.iter().map(|weight| weight * 3).collect();
        assert_eq!(got, wanted, "seed {seed}");
    }
}

#[test]
fn chance_follows_weights() {
    for seed in 0..20 {
        let mut roster = roster(Policy::Random, &[1, 2, 3, 4]);
        let (mut draw, world, mut got) = (Draw(seed), World::of(4), [0_u32; 4]);
        for _ in 0..50_000 {
            got[pick(&mut roster, 0, &mut draw, &world).expect("somebody is in use").member()] += 1;
        }
        for (member, got) in got.into_iter().enumerate() {
            let wanted = 5000.0 * (member as f64 + 1.0);
            assert!((f64::from(got) / wanted - 1.0).abs() < 0.06, "seed {seed}: {got} of {wanted}");
        }
    }
}

#[test]
fn keys_follow_weights() {
    let mut roster = roster(Policy::Hash, &[1, 1, 2, 4]);
    let (mut draw, world, mut got) = (Draw(1), World::of(4), [0_u32; 4]);
    for _ in 0..80_000 {
        let key = draw.next();
        got[pick(&mut roster, key, &mut draw, &world).expect("somebody is in use").member()] += 1;
    }
    for (got, wanted) in got.into_iter().zip([10_000, 10_000, 20_000, 40_000]) {
        assert!((f64::from(got) / f64::from(wanted) - 1.0).abs() < 0.05, "{got} of {wanted}");
    }
}

#[test]
fn idle_backends_with_the_least_load_take_turns() {
    let mut roster = roster(Policy::Least, &[2, 1, 1]);
    let mut got = [0; 3];
    (0..40).for_each(|_| got[next(&mut roster, &World::of(3))] += 1);
    assert_eq!(got, [20, 10, 10], "no starvation when nothing is under way");
    let world = World { loads: vec![3, 1, 2], ..World::of(3) };
    assert_eq!((0..5).map(|_| next(&mut roster, &world)).collect::<Vec<_>>(), [1; 5]);
    let world = World { loads: vec![3, 2, 2], ..World::of(3) };
    assert_eq!(next(&mut roster, &world), 0, "3 of 2 is less than 2 of 1");
}

#[test]
fn the_least_loaded_and_two_choices_give_less_to_the_slow_and_starve_nobody() {
    for policy in [Policy::Least, Policy::TwoChoices] {
        for seed in 0..20 {
            let service = [5, 5, 5, 50].map(Duration::from_millis);
            let (got, worst) = Farm::new(policy, seed).run(&service, 20_000);
            let fast = got[..3].iter().min().expect("somebody is in use");
            assert!(got[3] * 4 < *fast, "{policy:?}, seed {seed}: {got:?}");
            assert!(got[3] > 5, "{policy:?}, seed {seed}: {got:?} starves one");
            assert!(worst <= 20, "{policy:?}, seed {seed}: {worst} under way at one");
        }
    }
}

#[test]
fn who_comes_back_gets_more_and_more() {
    let slow = mainstay_core::balance::Spec { slow_start: Duration::from_secs(10), ..spec(Policy::Turns) };
    let mut roster = roster(Policy::Turns, &[1, 1]);
    roster.replace(slow, &members(&[1, 1]), ms(0));
    assert_eq!(roster.poll_timeout(), Boot::NEVER, "at the start there is no way up");
    roster.handle(Input::Verdict { member: 0, verdict: Verdict::Down }, ms(1000));
    roster.handle(Input::Verdict { member: 0, verdict: Verdict::Up }, ms(2000));
    let mut last = 0;
    for second in 2..12 {
        let mut got = 0;
        for step in 0..100 {
            let now = ms(second * 1000 + step * 10);
            if roster.poll_timeout() <= now {
                roster.handle(Input::Tick, now);
            }
            got += usize::from(next(&mut roster, &World::of(2)) == 0);
        }
        assert!(got + 2 >= last, "second {second}: {got} after {last}");
        assert!(got >= 5 && got <= 5 + (second as usize - 1) * 5, "second {second}: {got} of 100");
        last = got;
    }
    roster.handle(Input::Tick, ms(12_000));
    assert_eq!(roster.poll_timeout(), Boot::NEVER);
    let even = (0..100).filter(|_| next(&mut roster, &World::of(2)) == 0).count();
    assert_eq!(even, 50);
}

#[test]
fn a_newcomer_has_a_way_up_and_a_first_list_has_none() {
    let slow = mainstay_core::balance::Spec { slow_start: Duration::from_secs(10), ..spec(Policy::Turns) };
    let mut roster = Roster::new(slow);
    roster.replace(slow, &members(&[1, 1]), ms(0));
    assert_eq!(roster.view(0, ms(0)).expect("somebody is in use").share, 100);
    roster.replace(slow, &members(&[1, 1, 1]), ms(5000));
    let shares: Vec<u32> =
        (0..3).map(|one| roster.view(one, ms(6000)).expect("somebody is in use").share).collect();
    assert_eq!(shares, [100, 100, 9], "and a tenth at least, rounded down");
}

#[test]
fn the_operators_weight_counts_at_once_and_zero_drains() {
    let mut roster = roster(Policy::Turns, &[1, 1]);
    roster.handle(Input::Order { member: 0, order: Order::Weight(3) }, ms(0));
    let got = (0..40).filter(|_| next(&mut roster, &World::of(2)) == 0).count();
    assert_eq!(got, 30);
    roster.handle(Input::Order { member: 0, order: Order::Weight(0) }, ms(0));
    assert!((0..10).all(|_| next(&mut roster, &World::of(2)) == 1));
    assert!(roster.bound(0).is_some(), "its own clients keep it");
}

#[test]
fn backups_are_asked_when_nobody_else_is_left_and_not_when_others_are_only_full() {
    let list = [members(&[1, 1])[0], MemberSpec { backup: true, ..members(&[1, 1])[1] }];
    let mut roster = Roster::new(spec(Policy::Turns));
    roster.replace(spec(Policy::Turns), &list, ms(0));
    assert!((0..10).all(|_| next(&mut roster, &World::of(2)) == 0));
    let full = World { full: vec![0], ..World::of(2) };
    assert_eq!(pick(&mut roster, 0, &mut Draw(0), &full), Err(Nobody::Full));
    let tried = World { tried: vec![0], ..World::of(2) };
    assert_eq!(next(&mut roster, &tried), 1);
    let spent = World { tried: vec![0, 1], ..World::of(2) };
    assert_eq!(pick(&mut roster, 0, &mut Draw(0), &spent), Err(Nobody::Spent));
    roster.handle(Input::Verdict { member: 0, verdict: Verdict::Down }, ms(0));
    assert_eq!(next(&mut roster, &World::of(2)), 1);
    roster.handle(Input::Verdict { member: 1, verdict: Verdict::Down }, ms(0));
    assert_eq!(pick(&mut roster, 0, &mut Draw(0), &World::of(2)), Err(Nobody::Out));
}

/// Requests that come at random and take each backend its time; many are under way at once.
struct Farm {
    roster: Roster,
    draw: Draw,
    world: World,
    latencies: Vec<Latency>,
    under_way: BinaryHeap<Reverse<(Boot, usize, Boot)>>,
}

impl Farm {
    fn new(policy: Policy, seed: u64) -> Self {
        Self {
            roster: roster(policy, &[1; 4]),
            draw: Draw(seed),
            world: World::of(4),
            latencies: vec![Latency::default(); 4],
            under_way: BinaryHeap::new(),
        }
    }

    /// Returns how many each has got, and the most that were under way at one.
    fn run(mut self, service: &[Duration; 4], requests: u32) -> ([u64; 4], u64) {
        let (mut now, mut got, mut worst) = (ms(0), [0; 4], 0);
        for _ in 0..requests {
            now += Duration::from_micros(self.draw.below(1000));
            self.finish(now);
            for (member, latency) in self.latencies.iter().enumerate() {
                self.world.latencies[member] = latency.at(now);
            }
            let member =
                pick(&mut self.roster, 0, &mut self.draw, &self.world).expect("somebody is in use").member();
            got[member] += 1;
            self.world.loads[member] += 1;
            worst = worst.max(self.world.loads[member]);
            let jitter = Duration::from_micros(self.draw.below(1000));
            self.under_way.push(Reverse((now + service[member] + jitter, member, now)));
        }
        (got, worst)
    }

    fn finish(&mut self, now: Boot) {
        while let Some(Reverse((end, member, start))) = self.under_way.peek().copied()
            && end <= now
        {
            self.under_way.pop();
            self.world.loads[member] -= 1;
            self.latencies[member].observe(end.since(start), end);
        }
    }
}

fn next(roster: &mut Roster, world: &World) -> usize {
    pick(roster, 0, &mut Draw(0), world).expect("somebody is in use").member()
}

#[test]
fn a_backend_that_gets_room_while_one_is_picked_was_not_asked() {
    /// Full when it is looked at for the first time.
    struct Freed(std::cell::Cell<bool>);

    impl View for Freed {
        fn admits(&self, _member: usize) -> Admits {
            if self.0.replace(true) { Admits::Yes } else { Admits::Full }
        }

        fn load(&self, _member: usize) -> u64 {
            0
        }

        fn latency(&self, _member: usize) -> Duration {
            Duration::ZERO
        }
    }

    for policy in [Policy::Turns, Policy::Least, Policy::Random] {
        let mut roster = roster(policy, &[1]);
        let picked = roster.pick(0, &mut || 7, &Freed(std::cell::Cell::new(false)));
        assert_ne!(picked, Err(Nobody::Spent), "{policy:?}");
    }
}
