//! Streams: what is known of each, and where they are kept.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

use super::Code;
use super::head::{RequestHead, ResponseHead, Trailer};
use crate::time::Boot;

/// Names a stream from when it is opened until it is forgotten.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Key(pub(super) u32);

impl Key {
    /// A small number that no other living stream has.
    #[must_use]
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

/// What there is to take of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taken {
    /// Bytes, which were taken.
    Data,
    /// The peer's side has ended; trailers are there if any came.
    End,
    /// Nothing yet: [`super::Event::Readable`] will tell.
    Later,
    /// The stream was reset, by the peer or for what it sent.
    Reset(Code),
}

/// Head of the message that a peer sent.
#[derive(Debug)]
pub(super) enum Head {
    Request(Box<RequestHead>),
    /// Interim ones and the final one, those that were not taken yet.
    Responses(Vec<ResponseHead>),
}

/// A stream.
#[derive(Debug)]
pub(super) struct Stream {
    pub(super) id: u32,
    pub(super) head: Option<Head>,
    /// Bytes that nobody took yet.
    pub(super) received: Vec<u8>,
    /// The peer has ended its side.
    pub(super) received_end: bool,
    /// What the peer may still send.
    pub(super) receive_window: i64,
    /// What was taken and the peer was not told of.
    pub(super) credit: u32,
    /// What is missing of content-length.
    pub(super) missing: Option<u64>,
    pub(super) trailers: Vec<Trailer>,
    /// The final head of a response has come.
    pub(super) answered: bool,
    /// The response is one to HEAD: it has no body whatever its fields say.
    pub(super) to_head: bool,
    /// What we may still send.
    pub(super) send_window: i64,
    /// We have ended our side.
    pub(super) sent_end: bool,
    /// The beginning of its last frame, counted from the connection's first byte: END_STREAM may be added while it is not sent.
    pub(super) last_frame: Option<u64>,
    pub(super) reset: Option<Code>,
    /// Somebody waits for something to take.
    pub(super) wants_read: bool,
    /// Somebody waits for room to send.
    pub(super) wants_write: bool,
    /// It is in the queue of those who wait for room.
    pub(super) queued: bool,
    /// It was forgotten with its response sent; what still comes of its request is thrown away.
    pub(super) lingers: bool,
    /// Bytes that may still be thrown away so; none behind a refusal.
    pub(super) spare: u32,
    /// When data came last while it lingers.
    pub(super) heard: Boot,
}

impl Stream {
    pub(super) fn new(id: u32, receive_window: u32, send_window: i64) -> Self {
        Self {
            id,
            head: None,
            received: Vec::new(),
            received_end: false,
            receive_window: i64::from(receive_window),
            credit: 0,
            missing: None,
            trailers: Vec::new(),
            answered: false,
            to_head: false,
            send_window,
            sent_end: false,
            last_frame: None,
            reset: None,
            wants_read: false,
            wants_write: false,
            queued: false,
            lingers: false,
            spare: 0,
            heard: Boot::ZERO,
        }
    }

    /// Neither side may send any more.
    pub(super) const fn is_over(&self) -> bool {
        self.reset.is_some() || (self.received_end && self.sent_end)
    }
}

/// Identifiers need no better hash than themselves: their number is bounded.
#[derive(Default)]
pub(super) struct Plain(u64);

impl Hasher for Plain {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0 << 8 | u64::from(*byte);
        }
    }

    fn write_u32(&mut self, id: u32) {
        self.0 = u64::from(id).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }
}

/// How a stream came to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// Both sides have said all they had to say.
    Whole,
    /// We have reset it: the peer may not know yet.
    ByUs,
    /// The peer has reset it.
    ByPeer,
}

/// How many closed streams are remembered.
const CLOSED: usize = 64;

/// The streams of a connection.
#[derive(Debug, Default)]
pub(super) struct Streams {
    places: Vec<Option<Stream>>,
    free: Vec<u32>,
    /// Those that are not over, by identifier.
    living: HashMap<u32, Key, BuildHasherDefault<Plain>>,
    /// Identifiers of those that ended last.
    closed: Vec<(u32, End)>,
    next_closed: usize,
}

impl Streams {
    pub(super) fn insert(&mut self, stream: Stream) -> Key {
        let id = stream.id;
        let key = match self.free.pop() {
            Some(at) => {
                self.places[at as usize] = Some(stream);
                Key(at)
            }
            None => {
                self.places.push(Some(stream));
                Key(self.places.len() as u32 - 1)
            }
        };
        self.living.insert(id, key);
        key
    }

    pub(super) fn get(&mut self, key: Key) -> Option<&mut Stream> {
        self.places.get_mut(key.index())?.as_mut()
    }

    pub(super) fn look(&self, key: Key) -> Option<&Stream> {
        self.places.get(key.index())?.as_ref()
    }

    /// The living stream with this identifier.
    pub(super) fn find(&self, id: u32) -> Option<Key> {
        self.living.get(&id).copied()
    }

    /// A stream is over: frames for it have no effect any more.
    pub(super) fn close(&mut self, id: u32, how: End) {
        if self.living.remove(&id).is_some() {
            self.remember(id, how);
        }
    }

    /// Remembers the end of a stream that may never have lived.
    pub(super) fn remember(&mut self, id: u32, how: End) {
        if self.closed.len() < CLOSED {
            self.closed.push((id, how));
        } else {
            self.closed[self.next_closed] = (id, how);
            self.next_closed = (self.next_closed + 1) % CLOSED;
        }
    }

    /// A stream that is over is reset as well: whether it is among the last ones.
    pub(super) fn reset_again(&mut self, id: u32, how: End) -> bool {
        let known = self.closed.iter_mut().find(|(closed, _)| *closed == id);
        known.map(|(_, end)| *end = how).is_some()
    }

    /// How a stream ended that is over; `None` when it is not among the last ones.
    pub(super) fn end_of(&self, id: u32) -> Option<End> {
        self.closed.iter().find(|(closed, _)| *closed == id).map(|(_, how)| *how)
    }

    pub(super) fn remove(&mut self, key: Key) -> Option<Stream> {
        let stream = self.places.get_mut(key.index())?.take()?;
        self.free.push(key.0);
        Some(stream)
    }

    /// Streams that are not over.
    pub(super) fn living(&self) -> usize {
        self.living.len()
    }

    /// Streams that were not forgotten.
    pub(super) fn kept(&self) -> usize {
        self.places.len() - self.free.len()
    }

    pub(super) fn keys(&self) -> impl Iterator<Item = Key> {
        self.living.values().copied()
    }
}
