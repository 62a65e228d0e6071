//! The time since boot, suspended time included, as everything here counts it; and the wall clock for people.

use std::cell::Cell;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use mainstay_core::time::Boot;
use rustix::time::{ClockId, clock_gettime};

/// CLOCK_BOOTTIME.
#[must_use]
pub fn boot_now() -> Boot {
    let now = clock_gettime(ClockId::Boottime);
    let secs = u64::try_from(now.tv_sec).unwrap_or(0);
    let nanos = u32::try_from(now.tv_nsec).unwrap_or(0);
    Boot::ZERO + Duration::new(secs, nanos)
}

/// Time since 1970.
#[must_use]
pub fn wall() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO)
}

thread_local! {
    static RECENT: Cell<Boot> = const { Cell::new(Boot::ZERO) };
}

/// The time as it was when this thread last read from a connection (or some reads before, all of one turn), or less than a tenth
/// of a second ago while it serves any: good enough for what is told to people in milliseconds, and free.
#[must_use]
pub fn recent() -> Boot {
    match RECENT.get() {
        Boot::ZERO => refresh(),
        recent => recent,
    }
}

/// Reads after which a thread that looks at the clock by itself looks again, however long its turn lasts.
const READS: u32 = 16;

thread_local! {
    /// Reads until the next look; `None` on a thread that does not look by itself.
    static READS_LEFT: Cell<Option<u32>> = const { Cell::new(None) };
}

/// Looks at the clock for a turn: all that this thread was woken for. Called by its runtime each time that it wakes.
pub(crate) fn begin_turn() {
    refresh();
    READS_LEFT.set(Some(READS));
}

/// Something was read from a connection: what was looked at when the turn began is new enough for some reads.
pub(crate) fn has_read() {
    match READS_LEFT.get() {
        Some(left) if left > 0 => READS_LEFT.set(Some(left - 1)),
        Some(_) => begin_turn(),
        None => {
            refresh();
        }
    }
}

/// Looks at the clock for those who ask [`recent`].
pub fn refresh() -> Boot {
    let now = boot_now();
    RECENT.set(now);
    now
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_turn_looks_again_after_some_reads() {
        begin_turn();
        let began = recent();
        while boot_now() == began {}
        for _ in 0..READS {
            has_read();
        }
        assert_eq!(recent(), began);
        has_read();
        assert!(recent() > began);
    }
}
