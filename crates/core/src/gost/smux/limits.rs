//! What a session allows, which in smux nobody is told but by windows.

use std::time::Duration;

/// Who is who: streams of the client have odd numbers from 3 on, those of the server even ones from 2 on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// In gost's tunnels the side that was dialled, which opens all streams.
    Client,
    /// The side that dialled.
    Server,
}

/// What one side of a session allows and waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The most unread bytes of one stream; never less than what may be sent before anything was said, 256 KiB.
    pub window: u32,
    /// Unread bytes of all streams, from which on nothing more is to be read; at least 512 KiB.
    pub bucket: u32,
    /// The most payload of a frame that we send.
    pub frame: usize,
    /// Streams of the other side's that may be open at once; more are answered with their end.
    pub streams: u32,
    /// Streams of ours that may be open at once.
    pub own: u32,
    /// How often a sign of life is sent.
    pub ping: Duration,
    /// Silence after which the other side is not there.
    pub silence: Duration,
}

impl Default for Limits {
    /// As gost has them.
    fn default() -> Self {
        Self {
            window: 1 << 20,
            bucket: 4 << 20,
            frame: super::FRAME_MAX,
            streams: 16_384,
            own: 16_384,
            ping: Duration::from_secs(10),
            silence: Duration::from_secs(30),
        }
    }
}

impl Limits {
    pub(super) fn sound(mut self) -> Self {
        self.window = self.window.clamp(64 << 10, 1 << 30);
        self.bucket = self.bucket.clamp(512 << 10, 1 << 30);
        self.frame = self.frame.clamp(1 << 10, usize::from(u16::MAX));
        self
    }
}
