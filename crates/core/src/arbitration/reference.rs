//! Whether a set of reference addresses answers: asked at a steady pace, lost after some silence, back after more.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::time::Boot;

/// A reference that was lost must answer this many times as often in a row as it had to be missed: a wire that comes
/// and goes must not take the address to and fro.
const PROOF: u32 = 3;

/// How a reference is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReferenceTerms {
    /// Time between two questions.
    pub interval: Duration,
    /// Questions in a row that nobody answered until the next one is due, after which it is lost.
    pub missed: u32,
}

impl ReferenceTerms {
    /// From the last answer that could be had to the verdict, at the most.
    #[must_use]
    pub fn bound(&self) -> Duration {
        self.interval * self.missed.saturating_add(1)
    }

    /// From the first answer after a loss to the verdict that it is back, at the most.
    #[must_use]
    pub fn proof(&self) -> Duration {
        self.interval * self.answers().saturating_add(1)
    }

    const fn answers(&self) -> u32 {
        self.missed.saturating_mul(PROOF)
    }
}

/// One set of addresses, any of which is enough.
#[derive(Clone, Debug)]
pub(super) struct Reference {
    pub(super) terms: ReferenceTerms,
    /// Whether it answers, once that is known.
    pub(super) up: Option<bool>,
    pub(super) since: Boot,
    /// The question in hand was asked, and answered.
    asked: bool,
    answered: bool,
    missed: u32,
    run: u32,
    next: Boot,
}

impl Reference {
    pub(super) fn new(terms: ReferenceTerms, now: Boot) -> Self {
        Self { terms, up: None, since: now, asked: false, answered: false, missed: 0, run: 0, next: now }
    }

    /// Somebody of the set has answered; says whether that changed the verdict.
    pub(super) fn hear(&mut self, now: Boot) -> bool {
        self.answered = true;
        if self.up.is_none() {
            self.settle(true, now);
            return true;
        }
        false
    }

    /// Judges the last question and asks the next when it is time: whether to ask, and whether the verdict changed.
    pub(super) fn tick(&mut self, now: Boot) -> (bool, bool) {
        if now < self.next {
            return (false, false);
        }
        let before = self.up;
        if std::mem::replace(&mut self.asked, true) {
            if std::mem::take(&mut self.answered) {
                self.missed = 0;
                self.run = self.run.saturating_add(1);
            } else {
                self.run = 0;
                self.missed = self.missed.saturating_add(1);
            }
        }
        if self.missed >= self.terms.missed.max(1) && self.up != Some(false) {
            self.settle(false, now);
        } else if self.up == Some(false) && self.run >= self.terms.answers() {
            self.settle(true, now);
        }
        // A tick that is a little late does not make the next question later; after a sleep nothing is made up for.
        self.next = (self.next + self.terms.interval).max(now + self.terms.interval / 2);
        (true, self.up != before)
    }

    /// Lost, and the last question was not answered either: one that is about to come back is not.
    pub(super) fn is_silent(&self) -> bool {
        self.up == Some(false) && self.run == 0
    }

    pub(super) const fn due(&self) -> Boot {
        self.next
    }

    fn settle(&mut self, up: bool, now: Boot) {
        self.up = Some(up);
        self.since = now;
        self.run = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STEP: Duration = Duration::from_millis(100);

    fn terms() -> ReferenceTerms {
        ReferenceTerms { interval: STEP, missed: 3 }
    }

    /// Plays so many questions, each answered or not; the verdict after each.
    fn play(reference: &mut Reference, now: &mut Boot, answers: &[bool]) -> Vec<Option<bool>> {
        let mut all = Vec::new();
        for answer in answers {
            assert!(reference.tick(*now).0, "a question is due");
            if *answer {
                reference.hear(*now + STEP / 10);
            }
            *now += STEP;
            all.push(reference.up);
        }
        all
    }

    #[test]
    fn the_first_answer_decides_and_three_missed_ones_lose_it_within_the_bound() {
        let (mut reference, mut now) = (Reference::new(terms(), Boot::ZERO), Boot::ZERO);
        assert_eq!(play(&mut reference, &mut now, &[true]), [Some(true)]);
        let last = now;
        assert_eq!(play(&mut reference, &mut now, &[false; 3]), [Some(true); 3]);
        assert!(reference.tick(now).1);
        assert_eq!(reference.up, Some(false));
        assert!(now.since(last) <= terms().bound());
    }

    #[test]
    fn one_answer_in_three_keeps_it_and_does_not_bring_it_back() {
        let (mut reference, mut now) = (Reference::new(terms(), Boot::ZERO), Boot::ZERO);
        let spotty = [true, false, false].repeat(20);
        assert!(play(&mut reference, &mut now, &spotty).iter().all(|up| *up == Some(true)));
        play(&mut reference, &mut now, &[false; 5]);
        assert!(play(&mut reference, &mut now, &spotty).iter().all(|up| *up == Some(false)));
        let back = play(&mut reference, &mut now, &[true; 12]);
        assert_eq!(back.iter().position(|up| *up == Some(true)), Some(9));
    }

    #[test]
    fn nothing_is_known_until_it_was_asked_often_enough() {
        let (mut reference, mut now) = (Reference::new(terms(), Boot::ZERO), Boot::ZERO);
        assert_eq!(play(&mut reference, &mut now, &[false; 3]), [None; 3]);
        reference.tick(now);
        assert_eq!(reference.up, Some(false));
    }

    #[test]
    fn a_long_sleep_is_one_missed_question_at_the_most() {
        let (mut reference, mut now) = (Reference::new(terms(), Boot::ZERO), Boot::ZERO);
        play(&mut reference, &mut now, &[true, true]);
        now += Duration::from_secs(60);
        play(&mut reference, &mut now, &[true]);
        assert_eq!(reference.up, Some(true));
    }
}
