//! Header blocks, written (RFC 7541). Nothing is packed: what comes twice is numbered instead, which costs neither side time.

use super::table::{STATIC, Table};

/// Bounds our table whatever the peer would allow.
const TABLE_MAX: usize = 4096;

/// Longer names are neither numbered nor looked up.
const NAME_MAX: usize = 64;

/// Longer values are not numbered.
const VALUE_MAX: usize = 512;

/// Fields that were sent once are remembered in so many places, by hash.
const SEEN: usize = 64;

/// What blocks of one direction refer to.
#[derive(Debug)]
pub(super) struct Encoder {
    table: Table,
    /// Hashes of fields that were spelt out: a field is numbered when it comes again, so that what never comes again (dates of
    /// files, tokens) does not drive out what does.
    seen: [u32; SEEN],
    /// The smallest size and the last one that the peer has set and was not told about.
    resized: Option<(usize, usize)>,
}

impl Encoder {
    pub(super) const fn new() -> Self {
        Self { table: Table::new(TABLE_MAX), seen: [0; SEEN], resized: None }
    }

    /// The peer's SETTINGS_HEADER_TABLE_SIZE.
    pub(super) fn resize(&mut self, max: usize) {
        let max = max.min(TABLE_MAX);
        let least = self.resized.map_or(max, |(least, _)| least.min(max));
        if max != self.table.max() || self.resized.is_some() {
            self.resized = Some((least, max));
            self.table.resize(max);
        }
    }

    /// Begins a block.
    pub(super) fn begin(&mut self, out: &mut Vec<u8>) {
        if let Some((least, last)) = self.resized.take() {
            if least < last {
                integer(out, 0x20, 5, least);
                self.table.resize(least);
                self.table.resize(last);
            }
            integer(out, 0x20, 5, last);
        }
    }

    /// `:status`.
    pub(super) fn status(&mut self, status: u16, out: &mut Vec<u8>) {
        let number = match status {
            200 => 8,
            204 => 9,
            206 => 10,
            304 => 11,
            400 => 12,
            404 => 13,
            500 => 14,
            other => {
                let digits = [other / 100 % 10, other / 10 % 10, other % 10].map(|digit| b'0' + digit as u8);
                return self.lower(b":status", &digits, out);
            }
        };
        out.push(0x80 | number);
    }

    /// A field; its name in any case.
    pub(super) fn field(&mut self, name: &[u8], value: &[u8], out: &mut Vec<u8>) {
        let mut lower = [0; NAME_MAX];
        let Some(lower) = lower.get_mut(..name.len()) else {
            out.push(0);
            integer(out, 0, 7, name.len());
            out.extend(name.iter().map(u8::to_ascii_lowercase));
            return text(out, value);
        };
        lower.copy_from_slice(name);
        lower.make_ascii_lowercase();
        self.lower(lower, value, out);
    }

    fn lower(&mut self, name: &[u8], value: &[u8], out: &mut Vec<u8>) {
        let (number, exact) = fixed(name, value);
        if exact {
            return integer(out, 0x80, 7, number);
        }
        if matches!(name, b"authorization" | b"proxy-authorization" | b"set-cookie" | b"cookie") {
            // Neither here nor behind us: what is secret must not be found by guessing (RFC 7541 section 7.1.3).
            integer(out, 0x10, 4, number);
            return text(out, value);
        }
        let hash = hash(name, value);
        if value.len() <= VALUE_MAX
            && let Some(at) = self.table.find(hash, name, value)
        {
            return integer(out, 0x80, 7, STATIC.len() + 1 + at);
        }
        let seen = &mut self.seen[hash as usize % SEEN];
        let keep = *seen == hash && value.len() <= VALUE_MAX;
        *seen = hash;
        let number = if number > 0 {
            number
        } else {
            self.table.find_name(name).map_or(0, |at| STATIC.len() + 1 + at)
        };
        if keep {
            integer(out, 0x40, 6, number);
        } else {
            integer(out, 0, 4, number);
        }
        if number == 0 {
            text(out, name);
        }
        text(out, value);
        if keep {
            self.table.insert(hash, name, value);
        }
    }
}

/// The number of a field in the fixed table, or of its name alone, or 0; and whether the value is the same.
fn fixed(name: &[u8], value: &[u8]) -> (usize, bool) {
    let number = match name {
        b":method" => return pair(2, 3, value),
        b":path" => return pair(4, 5, value),
        b":scheme" => return pair(6, 7, value),
        b":authority" => 1,
        b":status" => 8,
        b"accept-encoding" => return pair(16, 16, value),
        b"accept-language" => 17,
        b"accept-ranges" => 18,
        b"accept" => 19,
        b"access-control-allow-origin" => 20,
        b"age" => 21,
        b"allow" => 22,
        b"authorization" => 23,
        b"cache-control" => 24,
        b"content-disposition" => 25,
        b"content-encoding" => 26,
        b"content-language" => 27,
        b"content-length" => 28,
        b"content-location" => 29,
        b"content-range" => 30,
        b"content-type" => 31,
        b"cookie" => 32,
        b"date" => 33,
        b"etag" => 34,
        b"expires" => 36,
        b"host" => 38,
        b"if-modified-since" => 40,
        b"if-none-match" => 41,
        b"last-modified" => 44,
        b"link" => 45,
        b"location" => 46,
        b"range" => 50,
        b"referer" => 51,
        b"retry-after" => 53,
        b"server" => 54,
        b"set-cookie" => 55,
        b"strict-transport-security" => 56,
        b"user-agent" => 58,
        b"vary" => 59,
        b"via" => 60,
        b"www-authenticate" => 61,
        _ => 0,
    };
    (number, false)
}

/// One of two neighbours in the fixed table.
fn pair(first: usize, second: usize, value: &[u8]) -> (usize, bool) {
    let at = |number: usize| STATIC[number - 1].1.as_bytes() == value;
    if at(first) { (first, true) } else { (second, at(second)) }
}

/// Spreads fields over [`SEEN`] and tells most of them apart; never trusted alone.
fn hash(name: &[u8], value: &[u8]) -> u32 {
    const FACTOR: u64 = 0x9e37_79b9_7f4a_7c15;
    let mut hash = name.len() as u64;
    for text in [name, value] {
        let mut words = text.chunks_exact(8);
        for word in &mut words {
            let word = u64::from_le_bytes(word.try_into().expect("chunks of eight"));
            hash = (hash.rotate_left(5) ^ word).wrapping_mul(FACTOR);
        }
        let rest = words.remainder().iter().fold(0, |rest, byte| rest << 8 | u64::from(*byte));
        hash = (hash.rotate_left(5) ^ rest).wrapping_mul(FACTOR);
    }
    ((hash >> 32) as u32).max(1)
}

fn text(out: &mut Vec<u8>, text: &[u8]) {
    integer(out, 0, 7, text.len());
    out.extend_from_slice(text);
}

/// An integer in `prefix` bits of a byte whose other bits are `flags`, and in the bytes behind it.
fn integer(out: &mut Vec<u8>, flags: u8, prefix: u32, value: usize) {
    let mask = (1_usize << prefix) - 1;
    if value < mask {
        out.push(flags | value as u8);
        return;
    }
    out.push(flags | mask as u8);
    let mut rest = value - mask;
    while rest >= 0x80 {
        out.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    out.push(rest as u8);
}
