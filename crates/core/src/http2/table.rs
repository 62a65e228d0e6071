//! The tables of HPACK: fields that have a number (RFC 7541 section 2.3 and appendix A).

use std::collections::VecDeque;

/// Bytes that an entry counts beyond its name and value (RFC 7541 section 4.1).
pub(super) const ENTRY: usize = 32;

/// Fields with a fixed number, from 1 on.
#[rustfmt::skip]
pub(super) const STATIC: [(&str, &str); 61] = [
    (":authority", ""),
    (":method", "GET"),
    (":method", "POST"),
    (":path", "/"),
    (":path", "/index.html"),
    (":scheme", "http"),
    (":scheme", "https"),
    (":status", "200"),
    (":status", "204"),
    (":status", "206"),
    (":status", "304"),
    (":status", "400"),
    (":status", "404"),
    (":status", "500"),
    ("accept-charset", ""),
    ("accept-encoding", "gzip, deflate"),
    ("accept-language", ""),
    ("accept-ranges", ""),
    ("accept", ""),
    ("access-control-allow-origin", ""),
    ("age", ""),
    ("allow", ""),
    ("authorization", ""),
    ("cache-control", ""),
    ("content-disposition", ""),
    ("content-encoding", ""),
    ("content-language", ""),
    ("content-length", ""),
    ("content-location", ""),
    ("content-range", ""),
    ("content-type", ""),
    ("cookie", ""),
    ("date", ""),
    ("etag", ""),
    ("expect", ""),
    ("expires", ""),
    ("from", ""),
    ("host", ""),
    ("if-match", ""),
    ("if-modified-since", ""),
    ("if-none-match", ""),
    ("if-range", ""),
    ("if-unmodified-since", ""),
    ("last-modified", ""),
    ("link", ""),
    ("location", ""),
    ("max-forwards", ""),
    ("proxy-authenticate", ""),
    ("proxy-authorization", ""),
    ("range", ""),
    ("referer", ""),
    ("refresh", ""),
    ("retry-after", ""),
    ("server", ""),
    ("set-cookie", ""),
    ("strict-transport-security", ""),
    ("transfer-encoding", ""),
    ("user-agent", ""),
    ("vary", ""),
    ("via", ""),
    ("www-authenticate", ""),
];

/// Fields that were numbered on this connection; the newest has the lowest number.
#[derive(Debug)]
pub(super) struct Table {
    /// Names and values, oldest first.
    bytes: Vec<u8>,
    /// Bytes that were cut off the front of `bytes`.
    gone: usize,
    /// Newest first.
    entries: VecDeque<Entry>,
    size: usize,
    max: usize,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    /// Where its name begins, counted from the table's first byte ever.
    at: usize,
    name: u32,
    value: u32,
    /// See [`Table::find`].
    hash: u32,
}

impl Entry {
    const fn size(self) -> usize {
        self.name as usize + self.value as usize + ENTRY
    }
}

impl Table {
    pub(super) const fn new(max: usize) -> Self {
        Self { bytes: Vec::new(), gone: 0, entries: VecDeque::new(), size: 0, max }
    }

    pub(super) const fn max(&self) -> usize {
        self.max
    }

    /// Bounds the table anew; the oldest entries go.
    pub(super) fn resize(&mut self, max: usize) {
        self.max = max;
        self.shrink_to(max);
    }

    /// The entry with a number (0 is the newest).
    pub(super) fn get(&self, number: usize) -> Option<(&[u8], &[u8])> {
        self.entries.get(number).map(|entry| self.text(*entry))
    }

    fn text(&self, entry: Entry) -> (&[u8], &[u8]) {
        let at = entry.at - self.gone;
        let (name, value) = (entry.name as usize, entry.value as usize);
        (&self.bytes[at..at + name], &self.bytes[at + name..at + name + value])
    }

    /// The number of this field.
    pub(super) fn find(&self, hash: u32, name: &[u8], value: &[u8]) -> Option<usize> {
        let same = |entry: &Entry| entry.hash == hash && self.text(*entry) == (name, value);
        self.entries.iter().position(same)
    }

    /// The number of a field with this name.
    pub(super) fn find_name(&self, name: &[u8]) -> Option<usize> {
        self.entries.iter().position(|entry| entry.name as usize == name.len() && self.text(*entry).0 == name)
    }

    /// A new entry; one that is larger than the table empties it.
    pub(super) fn insert(&mut self, hash: u32, name: &[u8], value: &[u8]) {
        let size = name.len() + value.len() + ENTRY;
        if size > self.max {
            self.shrink_to(0);
            return;
        }
        self.shrink_to(self.max - size);
        self.compact();
        let at = self.gone + self.bytes.len();
        self.bytes.extend_from_slice(name);
        self.bytes.extend_from_slice(value);
        // Both are shorter than the table.
        let (name, value) = (name.len() as u32, value.len() as u32);
        self.entries.push_front(Entry { at, name, value, hash });
        self.size += size;
    }

    fn shrink_to(&mut self, size: usize) {
        while self.size > size {
            let Some(oldest) = self.entries.pop_back() else { return };
            self.size -= oldest.size();
        }
    }

    /// Cuts off what no entry stands for any more, once that is more than all entries may be.
    fn compact(&mut self) {
        let first = self.entries.back().map_or(self.gone + self.bytes.len(), |oldest| oldest.at);
        let dead = first - self.gone;
        if dead > 0 && dead >= self.max.min(self.bytes.len()) {
            self.bytes.drain(..dead);
            self.gone = first;
        }
    }
}
