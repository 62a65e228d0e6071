//! Which numbers of a session have come: each is taken once, however many wires bring it (RFC 6479's ring).

/// How far behind the highest number one may come, in words of 64.
const WORDS: usize = 32;
const WIDTH: u64 = 64 * (WORDS as u64 - 1);

/// The numbers that were taken, from the highest back.
#[derive(Clone, Debug)]
pub(crate) struct Window {
    /// One more than the highest.
    top: u64,
    seen: [u64; WORDS],
}

/// What a number is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    Fresh,
    Taken,
    /// So far behind that nobody remembers.
    Old,
}

impl Window {
    pub(crate) const fn new() -> Self {
        Self { top: 0, seen: [0; WORDS] }
    }

    /// What the number is, before it is known to be authentic.
    pub(crate) fn place(&self, n: u64) -> Place {
        let (word, bit) = at(n);
        if n >= self.top {
            Place::Fresh
        } else if self.top - n > WIDTH {
            Place::Old
        } else if self.seen[word] & bit == 0 {
            Place::Fresh
        } else {
            Place::Taken
        }
    }

    /// Takes a number that is authentic.
    pub(crate) fn take(&mut self, n: u64) {
        if n >= self.top {
            // The words between the highest one so far and this one's hold numbers of a ring ago.
            let from = self.top.checked_sub(1).map_or(0, |last| last / 64 + 1);
            let words = (n / 64 + 1).saturating_sub(from).min(WORDS as u64);
            for step in 0..words {
                self.seen[at((n / 64 - step) * 64).0] = 0;
            }
            self.top = n.saturating_add(1);
        }
        let (word, bit) = at(n);
        self.seen[word] |= bit;
    }
}

fn at(n: u64) -> (usize, u64) {
    let word = usize::try_from((n / 64) % WORDS as u64).expect("smaller than 32");
    (word, 1 << (n % 64))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn a_number_is_taken_once_in_any_order() {
        let mut window = Window::new();
        let mut taken = BTreeSet::new();
        let mut state = 7_u64;
        for step in 0..200_000_u64 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            // Runs forwards, with leaps now and then, and looks back by up to 4,000.
            let base = step / 3 + (step / 20_000) * 10_000;
            let n = (base + 4_000).saturating_sub((state >> 33) % 4_000);
            let top = taken.last().map_or(0, |last| last + 1);
            match window.place(n) {
                Place::Fresh => {
                    assert!(taken.insert(n), "{n} is taken twice");
                    window.take(n);
                }
                Place::Taken => assert!(taken.contains(&n), "{n} was never taken"),
                Place::Old => assert!(n < top && top - n > WIDTH, "{n} of {top} is not old"),
            }
        }
    }

    #[test]
    fn a_thousand_behind_is_still_taken() {
        let mut window = Window::new();
        window.take(5_000);
        assert_eq!(window.place(5_000 - 1_024), Place::Fresh);
        assert_eq!(window.place(5_000 - WIDTH), Place::Old);
        assert_eq!(window.place(5_000), Place::Taken);
        window.take(u64::MAX / 2);
        assert_eq!(window.place(5_001), Place::Old);
    }
}
