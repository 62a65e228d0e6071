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

/// The time as it was when this thread last read from a connection, or less than a tenth of a second ago while it serves
/// any: good enough for what is told to people in milliseconds, and free.
#[must_use]
pub fn recent() -> Boot {
    match RECENT.get() {
        Boot::ZERO => refresh(),
        recent => recent,
    }
}

/// Looks at the clock for those who ask [`recent`].
pub fn refresh() -> Boot {
    let now = boot_now();
    RECENT.set(now);
    now
}
