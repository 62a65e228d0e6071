//! Bytes that are staged to be sent: whole frames, one after the other in one buffer.

use super::frame::{DATA, Header, OPEN};
use super::{HEADER, STAGE, TURN};

/// What the buffer has at first, and comes back to when little is sent.
const SMALL: usize = TURN / 4;

/// What nobody reads is staged up to here: answers, credits, resets; beyond it the other side is to blame.
pub(crate) const OUTBOX_MAX: usize = 1 << 20;

/// The buffer. Its bytes are made once: room that is lent is not cleared again.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    buf: Vec<u8>,
    head: usize,
    tail: usize,
    /// Where the last header stands, when a frame was staged.
    last: Option<usize>,
    /// The most that was staged since it was asked.
    most: usize,
}

impl Outbox {
    pub(crate) const fn staged(&self) -> usize {
        self.tail - self.head
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.buf[self.head..self.tail]
    }

    pub(crate) fn sent(&mut self, count: usize) {
        self.head += count.min(self.staged());
        if self.head == self.tail {
            (self.head, self.tail, self.last) = (0, 0, None);
        }
    }

    /// Room for the payload of a frame, as long as wanted.
    pub(crate) fn room(&mut self, len: usize) -> &mut [u8] {
        self.reserve(HEADER + len);
        &mut self.buf[self.tail + HEADER..][..len]
    }

    /// Makes what stands in the room a frame.
    pub(super) fn commit(&mut self, header: Header) {
        self.commit_as(header.bytes(), header.len.into());
    }

    /// The same under a header of another protocol, which has as many bytes.
    pub(crate) fn commit_as(&mut self, header: [u8; HEADER], len: usize) {
        self.buf[self.tail..][..HEADER].copy_from_slice(&header);
        self.last = Some(self.tail);
        self.tail += HEADER + len;
        self.most = self.most.max(self.staged());
    }

    /// A frame from its parts, which are as long together as its header says.
    pub(super) fn push(&mut self, header: Header, parts: &[&[u8]]) {
        self.push_as(header.bytes(), header.len.into(), parts);
    }

    /// The same under a header of another protocol.
    pub(crate) fn push_as(&mut self, header: [u8; HEADER], len: usize, parts: &[&[u8]]) {
        let mut room = self.room(len);
        for part in parts {
            let (now, rest) = room.split_at_mut(part.len());
            now.copy_from_slice(part);
            room = rest;
        }
        debug_assert!(room.is_empty());
        self.commit_as(header, len);
    }

    /// Bytes that are no frame.
    pub(crate) fn raw(&mut self, bytes: &[u8]) {
        self.reserve(bytes.len());
        self.buf[self.tail..][..bytes.len()].copy_from_slice(bytes);
        self.last = None;
        self.tail += bytes.len();
    }

    /// Adds a flag to the last frame, when it is one of this stream's and was not sent.
    pub(crate) fn flag(&mut self, id: u32, flag: u8) -> bool {
        let Some(at) = self.last.filter(|at| *at >= self.head) else { return false };
        let Some(header) = self.buf[at..].first_chunk().map(|bytes| Header::read(*bytes)) else {
            return false;
        };
        let ours = header.id == id && matches!(header.kind, DATA | OPEN);
        if ours {
            self.buf[at + HEADER - 1] |= flag;
        }
        ours
    }

    /// Gives memory back that was not needed of late.
    pub(crate) fn rest(&mut self) {
        let needed = std::mem::take(&mut self.most);
        if self.staged() == 0 && self.buf.len() > SMALL && needed < self.buf.len() / 4 {
            self.buf = Vec::new();
        }
    }

    fn reserve(&mut self, len: usize) {
        if self.tail + len <= self.buf.len() {
            return;
        }
        if self.head > 0 {
            self.buf.copy_within(self.head..self.tail, 0);
            self.last = self.last.and_then(|at| at.checked_sub(self.head));
            self.tail -= self.head;
            self.head = 0;
        }
        if self.tail + len > self.buf.len() {
            let size = (self.tail + len).next_power_of_two().max(SMALL);
            // A full stage with one more turn is a size of its own.
            let full = STAGE + TURN + 2 * HEADER;
            self.buf.resize(if self.tail + len <= full { size.min(full) } else { size }, 0);
        }
    }
}
