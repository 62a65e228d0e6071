//! The time since boot, as the machines count it.

use std::time::Duration;

use mainstay_core::time::Boot;
use rustix::time::{ClockId, clock_gettime};

/// CLOCK_BOOTTIME.
pub(super) fn boot_now() -> Boot {
    let now = clock_gettime(ClockId::Boottime);
    let secs = u64::try_from(now.tv_sec).unwrap_or(0);
    let nanos = u32::try_from(now.tv_nsec).unwrap_or(0);
    Boot::ZERO + Duration::new(secs, nanos)
}
