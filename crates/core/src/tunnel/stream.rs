//! Streams: what is known of each, and where they are kept.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

use super::inbox::Inbox;
use super::{Code, RESERVE};
use crate::time::Boot;

/// Names a stream from when it is opened until it is forgotten.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Key {
    pub(crate) index: u32,
    pub(crate) id: u32,
}

impl Key {
    /// A small number that no other stream has which is not forgotten.
    #[must_use]
    pub const fn index(self) -> usize {
        self.index as usize
    }

    /// The stream's number on the wire.
    #[must_use]
    pub const fn id(self) -> u32 {
        self.id
    }
}

/// A stream. Idle ones are many: what is rare is boxed.
#[derive(Debug)]
pub(super) struct Stream {
    pub(super) id: u32,
    /// What we sent and the other side has not returned.
    pub(super) unacked: u32,
    pub(super) send_window: u32,
    /// What came and we have not returned: unread, or taken.
    pub(super) held: u32,
    /// What was taken and not returned.
    pub(super) taken: u32,
    pub(super) receive_window: u32,
    /// Bytes taken since `measured`.
    pub(super) drained: u32,
    pub(super) measured: Boot,
    /// Bytes a millisecond that were taken when the window was last widened.
    pub(super) pace: u32,
    pub(super) inbox: Option<Box<Inbox>>,
    /// It is over, both ways.
    pub(super) reset: Option<Code>,
    /// The other side has sent its end and hears no more.
    pub(super) deaf: Option<Code>,
    pub(super) ours: bool,
    pub(super) datagrams: bool,
    /// We sent our end.
    pub(super) finished: bool,
    /// The other side's end has come.
    pub(super) ended: bool,
    /// Nobody here knows of it any more.
    pub(super) forgotten: bool,
    /// It waits for credit.
    pub(super) wants_credit: bool,
    /// It waits for the other side's budget.
    pub(super) wants_budget: bool,
    /// It waits for its turn.
    pub(super) queued: bool,
    /// It has its turn.
    pub(super) granted: bool,
}

impl Stream {
    pub(super) fn new(id: u32, ours: bool, send_window: u32, receive_window: u32, now: Boot) -> Self {
        Self {
            id,
            unacked: 0,
            send_window,
            held: 0,
            taken: 0,
            receive_window,
            drained: 0,
            measured: now,
            pace: 0,
            inbox: None,
            reset: None,
            deaf: None,
            ours,
            datagrams: false,
            finished: false,
            ended: false,
            forgotten: false,
            wants_credit: false,
            wants_budget: false,
            queued: false,
            granted: false,
        }
    }

    /// Unread bytes that are kept.
    pub(super) fn unread(&self) -> usize {
        self.inbox.as_ref().map_or(0, |inbox| inbox.len())
    }

    pub(super) fn has_unread(&self) -> bool {
        self.inbox.as_ref().is_some_and(|inbox| !inbox.is_empty())
    }

    /// Whether nothing more will pass between the two sides that either has to remember.
    pub(super) fn is_over(&self) -> bool {
        let sent = self.finished || self.deaf.is_some();
        self.reset.is_some_and(|_| !self.lingers()) || (sent && self.ended && !self.lingers())
    }

    /// Whether the other side may still hold bytes that count against its budget.
    const fn lingers(&self) -> bool {
        self.unacked > RESERVE
    }
}

/// Places that are kept for the streams to come.
const KEPT: usize = 64;

/// What of a stream's bytes counts against a budget.
pub(super) const fn excess(bytes: u32) -> u64 {
    bytes.saturating_sub(RESERVE) as u64
}

/// Numbers of streams rise one by one, which spreads them well enough.
#[derive(Default)]
pub(crate) struct Spread(u64);

impl Hasher for Spread {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u32(u32::from(*byte));
        }
    }

    fn write_u32(&mut self, number: u32) {
        self.0 = (self.0 ^ u64::from(number)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }
}

/// What has a number on the wire.
pub(crate) trait Numbered {
    /// The number.
    fn id(&self) -> u32;
}

impl Numbered for Stream {
    fn id(&self) -> u32 {
        self.id
    }
}

/// All streams of a session.
#[derive(Debug)]
pub(crate) struct Table<S> {
    slots: Vec<Option<S>>,
    free: Vec<u32>,
    /// Those that frames may still be for.
    ids: HashMap<u32, u32, BuildHasherDefault<Spread>>,
}

impl<S> Default for Table<S> {
    fn default() -> Self {
        Self { slots: Vec::new(), free: Vec::new(), ids: HashMap::default() }
    }
}

impl<S: Numbered> Table<S> {
    pub(crate) fn insert(&mut self, stream: S) -> Key {
        let id = stream.id();
        let index = self.free.pop().unwrap_or_else(|| {
            self.slots.push(None);
            (self.slots.len() - 1) as u32
        });
        self.slots[index as usize] = Some(stream);
        self.ids.insert(id, index);
        Key { index, id }
    }

    pub(crate) fn find(&self, id: u32) -> Option<Key> {
        self.ids.get(&id).map(|index| Key { index: *index, id })
    }

    pub(crate) fn get(&self, key: Key) -> Option<&S> {
        self.slots.get(key.index())?.as_ref().filter(|stream| stream.id() == key.id)
    }

    pub(crate) fn get_mut(&mut self, key: Key) -> Option<&mut S> {
        self.slots.get_mut(key.index())?.as_mut().filter(|stream| stream.id() == key.id)
    }

    /// No further frames are for it: those with its number may be for another.
    pub(crate) fn unlist(&mut self, key: Key) {
        if self.ids.get(&key.id) == Some(&key.index) {
            self.ids.remove(&key.id);
        }
    }

    pub(crate) fn remove(&mut self, key: Key) -> Option<S> {
        let slot = self.slots.get_mut(key.index())?;
        if slot.as_ref().is_none_or(|stream| stream.id() != key.id) {
            return None;
        }
        self.free.push(key.index);
        let gone = slot.take();
        self.unlist(key);
        if self.free.len() == self.slots.len() && self.slots.len() > KEPT {
            // A crowd leaves nothing behind.
            *self = Self::default();
        }
        gone
    }

    pub(crate) fn keys(&self) -> impl Iterator<Item = Key> + '_ {
        let named = |(index, slot): (usize, &Option<S>)| {
            slot.as_ref().map(|stream| Key { index: index as u32, id: stream.id() })
        };
        self.slots.iter().enumerate().filter_map(named)
    }

    /// Streams that are not forgotten and over.
    pub(crate) fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }
}
