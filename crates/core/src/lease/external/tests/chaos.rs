//! Seeded faults: however steps are lost, late or doubled, and the store forgets, no two nodes may believe its promise of
//! one right at one moment.

use std::time::Duration;

use super::shelf::{Shelf, Side, ms, terms};
use crate::lease::Outcome;
use crate::lease::external::{Input, Step};
use crate::time::Boot;

/// Numbers from a seed (splitmix64).
pub(super) struct Dice(pub(super) u64);

impl Dice {
    pub(super) fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % sides
    }
}

/// A step on its way: when it is taken, when its answer arrives, and whose it is.
struct Flying {
    taken: Boot,
    /// When its promises are given their time: at some moment before it is taken.
    granted: Boot,
    answer: Option<Boot>,
    side: usize,
    step: u64,
    what: Step,
}

/// What one node believes: since it knows, until the moment that it counts, under which epoch.
#[derive(Clone, Copy, Debug)]
struct Belief {
    until: Boot,
    epoch: u64,
}

struct Run {
    dice: Dice,
    shelf: Shelf,
    sides: Vec<Side>,
    /// By how many millionths each node's clock is fast.
    fast: Vec<i64>,
    /// For each node, when each request was stamped, in true time.
    stamps: Vec<Vec<(u64, Boot)>>,
    asked: Vec<u64>,
    beliefs: Vec<Option<Belief>>,
    heard: Vec<usize>,
    flying: Vec<Flying>,
    answers: Vec<(Boot, usize, Input)>,
    /// When each node gives a step up.
    deadlines: Vec<Option<(Boot, u64)>>,
    now: Boot,
    /// A deputy that does not wait after the store has lost everything.
    hasty: bool,
    granted: u64,
}

impl Run {
    fn new(seed: u64, hasty: bool) -> Self {
        let (mut dice, now) = (Dice(seed), Boot::from_nanos(1_000_000_000_000));
        let drift = |dice: &mut Dice| [-10_000, 0, 10_000][dice.roll(3) as usize];
        let fast = (0..3).map(|_| drift(&mut dice)).collect();
        let sides = (0..3).map(|n| Side::new(&format!("n{n}"), 100 + n, now));
        Self {
            sides: sides.collect(),
            fast,
            shelf: Shelf { percent: 101, ..Shelf::new() },
            stamps: vec![Vec::new(); 3],
            asked: vec![0; 3],
            beliefs: vec![None; 3],
            heard: vec![0; 3],
            flying: Vec::new(),
            answers: Vec::new(),
            deadlines: vec![None; 3],
            now,
            dice,
            hasty,
            granted: 0,
        }
    }

    /// What a node's clock shows.
    fn local(&self, n: usize) -> Boot {
        let nanos = i128::from(self.now.as_nanos());
        Boot::from_nanos(u64::try_from(nanos + nanos * i128::from(self.fast[n]) / 1_000_000).unwrap())
    }

    /// For how long in true time a node acts on a grant.
    fn hold(&self, n: usize) -> Duration {
        let nanos = terms().hold().as_nanos() as i128;
        Duration::from_nanos(u64::try_from(nanos - nanos * i128::from(self.fast[n]) / 1_000_000).unwrap())
    }

    fn step(&mut self) -> Result<(), String> {
        self.now += ms(1 + self.dice.roll(120));
        for belief in &mut self.beliefs {
            *belief = belief.filter(|belief| belief.until > self.now);
        }
        self.land();
        let n = self.dice.roll(3) as usize;
        match self.dice.roll(40) {
            0 if self.dice.roll(8) == 0 => self.wipe(),
            1..=14 => self.ask(n),
            15 | 16 => self.free(n),
            17 if self.dice.roll(10) == 0 => self.restart(n),
            _ => {}
        }
        for n in 0..3 {
            self.tick(n);
        }
        self.look()
    }

    fn ask(&mut self, n: usize) {
        let (local, renewal) = (self.local(n), self.beliefs[n].is_some());
        // Epochs as the leases choose them: above all that is known, kept while the right is held.
        let epoch = match self.beliefs[n] {
            Some(belief) => belief.epoch,
            None => self.asked[n].max(self.now.as_nanos() / 1_000_000),
        };
        self.asked[n] = epoch;
        let number = self.sides[n].ask(epoch, renewal, local);
        self.stamps[n].push((number, self.now));
        self.launch(n);
    }

    fn free(&mut self, n: usize) {
        let Some(belief) = self.beliefs[n].take() else { return };
        let local = self.local(n);
        self.sides[n].free(belief.epoch, local);
        self.asked[n] = belief.epoch + 1;
        self.launch(n);
    }

    /// Its process dies with all that it believed.
    fn restart(&mut self, n: usize) {
        let (local, instance) = (self.local(n), self.sides[n].instance);
        self.beliefs[n] = None;
        self.deadlines[n] = None;
        self.answers.retain(|(_, side, _)| *side != n);
        for flying in self.flying.iter_mut().filter(|flying| flying.side == n) {
            flying.answer = None;
        }
        let fresh = Side::new(&format!("n{n}"), instance + 10, local);
        let heir_of = (self.dice.roll(2) == 0).then_some(instance);
        self.sides[n] = Side { heir_of, number: self.sides[n].number, ..fresh };
        (self.heard[n], self.asked[n]) = (0, 0);
    }

    fn wipe(&mut self) {
        self.shelf.wipe();
        // What was under way is lost with the process.
        self.flying.clear();
        if self.hasty
            && let Some(side) = self.sides.first()
        {
            let mut deputy = side.clone();
            let local = self.local(0);
            deputy.ask(1, false, local);
            deputy.settle(&mut self.shelf, local);
            if let Some((voter, _)) = &mut self.shelf.voter {
                voter.open = true;
            }
        }
    }

    fn tick(&mut self, n: usize) {
        let local = self.local(n);
        if let Some((deadline, step)) = self.deadlines[n]
            && deadline <= self.now
        {
            self.deadlines[n] = None;
            self.sides[n].give(Input::Failed { step }, local);
        } else {
            self.sides[n].give(Input::Tick, local);
        }
        self.launch(n);
    }

    /// Steps leave: some are taken at once, some late, some twice; some answers are lost.
    fn launch(&mut self, n: usize) {
        for (step, what) in std::mem::take(&mut self.sides[n].steps) {
            self.deadlines[n] = Some((self.now + ms(1_500), step));
            let slow = self.dice.roll(10) == 0;
            let taken = self.now + ms(self.dice.roll(if slow { 7_000 } else { 60 }));
            let early = self.dice.roll(1 + taken.since(self.now).as_millis() as u64);
            let answer = (self.dice.roll(12) > 0).then(|| taken + ms(self.dice.roll(60)));
            let granted = taken - ms(early);
            let flying = Flying { taken, granted, answer, side: n, step, what };
            self.flying.push(flying);
        }
    }

    fn land(&mut self) {
        self.flying.sort_by_key(|flying| flying.taken);
        while self.flying.first().is_some_and(|flying| flying.taken <= self.now) {
            let flying = self.flying.remove(0);
            let done = self.shelf.take(&flying.what, flying.granted, flying.taken);
            let Some(at) = flying.answer else { continue };
            let step = flying.step;
            let input = done.map_or(Input::Failed { step }, |done| Input::Done { step, done });
            self.answers.push((at, flying.side, input));
        }
        let now = self.now;
        let due: Vec<_> = self.answers.extract_if(.., |(at, ..)| *at <= now).collect();
        for (_, n, input) in due {
            let local = self.local(n);
            self.sides[n].give(input, local);
            self.launch(n);
            self.hear(n);
        }
    }

    /// What a node hears makes it believe, from the stamp of the request that is answered.
    fn hear(&mut self, n: usize) {
        let hold = self.hold(n);
        let fresh = self.sides[n].heard[self.heard[n]..].to_vec();
        self.heard[n] = self.sides[n].heard.len();
        for reply in fresh.iter().flat_map(|heard| &heard.replies) {
            let stamp = self.stamps[n].iter().find(|(number, _)| *number == reply.number);
            let Some((_, stamped)) = stamp.copied() else { continue };
            for answered in &reply.rights {
                match answered.outcome {
                    Outcome::Granted { epoch } if epoch == self.asked[n] => {
                        let until = (stamped + hold).max(self.beliefs[n].map_or(Boot::ZERO, |b| b.until));
                        self.beliefs[n] = Some(Belief { until, epoch }).filter(|b| b.until > self.now);
                        self.granted += 1;
                    }
                    Outcome::Stale { epoch } | Outcome::Held { epoch, .. } if self.beliefs[n].is_none() => {
                        self.asked[n] = self.asked[n].max(epoch + 1);
                    }
                    Outcome::Granted { .. }
                    | Outcome::Stale { .. }
                    | Outcome::Held { .. }
                    | Outcome::Mute { .. }
                    | Outcome::Mismatch { .. }
                    | Outcome::Full => {}
                }
            }
        }
    }

    fn look(&self) -> Result<(), String> {
        let who: Vec<_> = self.beliefs.iter().enumerate().filter(|(_, belief)| belief.is_some()).collect();
        if who.len() > 1 { Err(format!("at {}: {who:?}", self.now)) } else { Ok(()) }
    }
}

fn play(seed: u64, hasty: bool) -> Result<u64, String> {
    let mut run = Run::new(seed, hasty);
    for _ in 0..1_500 {
        run.step()?;
    }
    Ok(run.granted)
}

#[test]
fn no_two_nodes_believe_one_promise() {
    let mut granted = 0;
    for seed in 0..200 {
        granted += play(seed, false).unwrap_or_else(|two| panic!("seed {seed}: {two}"));
    }
    assert!(granted > 10_000, "something was promised: {granted}");
}

#[test]
fn a_store_that_forgets_and_does_not_wait_is_caught() {
    assert!((0..150).any(|seed| play(seed, true).is_err()));
}
