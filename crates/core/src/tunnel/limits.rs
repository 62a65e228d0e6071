//! What a side allows the other, which its first frame says.

use std::time::Duration;

use super::RESERVE;
use super::fields::{Broken, Fields, number, put};

const BUDGET: u8 = 1;
const STREAMS: u8 = 2;
pub(super) const WINDOW: u8 = 3;

/// What each side allows at least, and what the other goes by until it has been told more.
pub(super) const LEAST: Granted = Granted { budget: 64 << 10, streams: 256, window: 16 << 10 };

/// What one side of a session allows the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Unread bytes that the streams may make us hold, beyond [`RESERVE`] for each; at least 64 KiB.
    pub budget: u32,
    /// Streams of the other side's that may be open at once; at least 256.
    pub streams: u32,
    /// Credit of a new stream; at least 16 KiB.
    pub window: u32,
    /// Credit that a stream may grow to when it is drained so fast that it needs it.
    pub window_max: u32,
    /// How often we ask whether the other side is there.
    pub ping: Duration,
    /// Silence after which it is not.
    pub silence: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            budget: 64 << 20,
            streams: 16_384,
            window: 256 << 10,
            window_max: 4 << 20,
            ping: Duration::from_secs(1),
            silence: Duration::from_secs(3),
        }
    }
}

impl Limits {
    /// The most unread bytes that streams of the other side's can make us keep; each of our own adds [`RESERVE`].
    #[must_use]
    pub const fn memory_max(&self) -> u64 {
        self.budget as u64 + self.streams as u64 * RESERVE as u64
    }

    /// With everything at least as large as the other side may take for granted.
    pub(super) fn sound(mut self) -> Self {
        self.budget = self.budget.clamp(LEAST.budget, 1 << 30);
        self.streams = self.streams.clamp(LEAST.streams, 1 << 20);
        self.window = self.window.clamp(LEAST.window, self.budget);
        self.window_max = self.window_max.clamp(self.window, 1 << 30);
        self
    }

    pub(super) fn write(&self, out: &mut Vec<u8>) {
        put(out, BUDGET, &self.budget.to_be_bytes());
        put(out, STREAMS, &self.streams.to_be_bytes());
        put(out, WINDOW, &self.window.to_be_bytes());
    }
}

/// What the other side allows us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Granted {
    pub(super) budget: u32,
    pub(super) streams: u32,
    pub(super) window: u32,
}

impl Granted {
    /// Reads what the other side says; never less than what it must allow.
    pub(super) fn read(bytes: &[u8]) -> Result<Self, Broken> {
        let mut granted = LEAST;
        for field in Fields(bytes) {
            let (kind, bytes) = field?;
            match kind {
                BUDGET => granted.budget = number(bytes)?.clamp(LEAST.budget, 1 << 30),
                STREAMS => granted.streams = number(bytes)?.clamp(LEAST.streams, 1 << 20),
                WINDOW => granted.window = number(bytes)?.clamp(LEAST.window, 1 << 30),
                _ => {}
            }
        }
        Ok(granted)
    }
}
