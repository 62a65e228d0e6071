//! What came for a stream whose reader was not ready.

use std::collections::VecDeque;

/// Small pieces share a chunk of this size.
const CHUNK: usize = 4 << 10;

/// Bytes, or datagrams, in the order in which they came.
#[derive(Debug, Default)]
pub(crate) struct Inbox {
    chunks: VecDeque<Vec<u8>>,
    /// Bytes of the first chunk that were taken.
    at: usize,
    len: usize,
}

impl Inbox {
    /// Unread bytes.
    pub(crate) const fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.chunks.is_empty()
    }

    pub(crate) fn push(&mut self, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        self.len += bytes.len();
        if let Some(last) = self.chunks.back_mut()
            && last.capacity() - last.len() >= bytes.len()
        {
            last.extend_from_slice(bytes);
            return;
        }
        // The first piece of few bytes is often the last: it gets what it needs.
        let room = if self.chunks.is_empty() { bytes.len() } else { bytes.len().max(CHUNK) };
        let mut chunk = Vec::with_capacity(room);
        chunk.extend_from_slice(bytes);
        self.chunks.push_back(chunk);
    }

    pub(crate) fn front(&self) -> &[u8] {
        self.chunks.front().map_or(&[], |chunk| &chunk[self.at..])
    }

    /// Forgets bytes of the front; no more than it has.
    pub(crate) fn advance(&mut self, count: usize) {
        debug_assert!(count <= self.front().len());
        self.at += count;
        self.len -= count;
        if self.chunks.front().is_some_and(|chunk| chunk.len() == self.at) {
            self.chunks.pop_front();
            self.at = 0;
        }
    }

    /// A datagram, kept apart from others.
    pub(crate) fn push_datagram(&mut self, bytes: Vec<u8>) {
        self.len += bytes.len();
        self.chunks.push_back(bytes);
    }

    pub(crate) fn pop_datagram(&mut self) -> Option<Vec<u8>> {
        let bytes = self.chunks.pop_front()?;
        self.len -= bytes.len();
        Some(bytes)
    }
}
