//! The one clock of Mainstay: CLOCK_BOOTTIME, which goes on while the host is suspended.

use mainstay_core::time::Boot;
use rustix::time::{ClockId, clock_gettime};

/// The time since the host booted, suspensions included.
#[must_use]
pub fn boot_now() -> Boot {
    let now = clock_gettime(ClockId::Boottime);
    let secs = u64::try_from(now.tv_sec).unwrap_or(0);
    let nanos = u64::try_from(now.tv_nsec).unwrap_or(0);
    Boot::from_nanos(secs.saturating_mul(1_000_000_000).saturating_add(nanos))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clock_never_goes_back_and_is_not_zero() {
        let first = boot_now();
        let second = boot_now();
        assert!(first > Boot::ZERO);
        assert!(second >= first);
    }
}
