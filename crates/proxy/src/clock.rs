//! The time since boot, suspended time included, as everything here counts it; and the wall clock for people.

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
