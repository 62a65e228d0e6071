//! What is known of each stream. Counts of bytes go round at 2^32, as they do on the wire.

use super::INITIAL_WINDOW;
use crate::time::Boot;
use crate::tunnel::Code;
use crate::tunnel::inbox::Inbox;
use crate::tunnel::stream::Numbered;

/// A stream. Idle ones are many: what is rare is boxed.
#[derive(Debug)]
pub(in super::super) struct Stream {
    pub(super) id: u32,
    pub(super) ours: bool,
    /// What we sent so far, what of it was read, and how much may be unread.
    pub(super) sent: u32,
    pub(super) acked: u32,
    pub(super) send_window: u32,
    /// What came so far, what of it was taken here, and what of that the other side was told.
    pub(super) received: u32,
    pub(super) taken: u32,
    pub(super) told: u32,
    /// The window that was told last.
    pub(super) window: u32,
    /// Where what the other side may send ends: it never moves back.
    pub(super) edge: u32,
    pub(in super::super) inbox: Option<Box<Inbox>>,
    /// Taken off the wire and not yet given on, as a part of a datagram is.
    pub(super) held: u32,
    /// The most bytes that are lent at once; 0: any.
    pub(super) cut: u32,
    pub(super) reset: Option<Code>,
    /// We sent our end.
    pub(super) finished: bool,
    /// The other side's end has come.
    pub(super) ended: bool,
    /// Nobody here knows of it any more.
    pub(super) forgotten: bool,
    pub(super) wants_credit: bool,
    /// Since when it waits for credit of a side that has ended.
    pub(super) starves: Option<Boot>,
    /// It is in the list of those who do, or did.
    pub(super) listed: bool,
    /// It waits for its turn.
    pub(super) queued: bool,
    /// It has its turn.
    pub(super) granted: bool,
}

impl Numbered for Stream {
    fn id(&self) -> u32 {
        self.id
    }
}

impl Stream {
    pub(super) const fn new(id: u32, ours: bool) -> Self {
        Self {
            id,
            ours,
            sent: 0,
            acked: 0,
            send_window: INITIAL_WINDOW,
            received: 0,
            taken: 0,
            told: 0,
            window: INITIAL_WINDOW,
            edge: INITIAL_WINDOW,
            inbox: None,
            held: 0,
            cut: 0,
            reset: None,
            finished: false,
            ended: false,
            forgotten: false,
            wants_credit: false,
            starves: None,
            listed: false,
            queued: false,
            granted: false,
        }
    }

    /// Bytes that may be sent.
    pub(super) const fn affordable(&self) -> usize {
        self.send_window.saturating_sub(self.sent.wrapping_sub(self.acked)) as usize
    }

    /// Bytes that the other side may send.
    pub(super) const fn open(&self) -> u32 {
        self.edge.wrapping_sub(self.received)
    }

    pub(super) fn has_unread(&self) -> bool {
        self.inbox.as_ref().is_some_and(|inbox| !inbox.is_empty())
    }

    /// Bytes that are kept for it, in the inbox or in parts.
    pub(super) fn unread(&self) -> u64 {
        self.inbox.as_ref().map_or(0, |inbox| inbox.len() as u64) + u64::from(self.held)
    }

    pub(super) const fn is_over(&self) -> bool {
        self.reset.is_some() || (self.finished && self.ended)
    }
}
