//! How long is waited between two dials of a gost server: as its own clients wait, but not all at the same moment.

use std::time::Duration;

/// After the first dial that came to nothing, the second, and so on.
const STEPS: [u64; 4] = [1, 2, 4, 5];

/// A session that lasted for so long was none that came to nothing.
const STEADY: Duration = Duration::from_secs(5);

/// The waits of one place.
#[derive(Debug, Default)]
pub(super) struct Waits(usize);

impl Waits {
    /// The next: between half of what is usual and all of it.
    pub(super) fn next(&mut self, chance: u64) -> Duration {
        let usual = Duration::from_secs(STEPS[self.0.min(STEPS.len() - 1)]);
        self.0 += 1;
        usual / 2 + usual.mul_f64((chance % 1000) as f64 / 2000.0)
    }

    /// A session has ended.
    pub(super) fn lasted(&mut self, lasted: Duration) {
        if lasted >= STEADY {
            self.reset();
        }
    }

    /// It went well.
    pub(super) const fn reset(&mut self) {
        self.0 = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_to_five_seconds_and_no_two_agents_wait_alike() {
        let mut waits = Waits::default();
        let longest: Vec<u64> = (0..5).map(|_| waits.next(999).as_millis() as u64).collect();
        assert_eq!(longest, [999, 1999, 3998, 4997, 4997]);
        assert_eq!(waits.next(0), Duration::from_millis(2500));
        waits.lasted(STEADY / 2);
        assert_eq!(waits.next(0), Duration::from_millis(2500));
        waits.lasted(STEADY);
        assert_eq!(waits.next(0), Duration::from_millis(500));
    }
}
