//! Header blocks, read (RFC 7541).

use super::huffman;
use super::table::{ENTRY, STATIC, Table};
use crate::http1::{Field, Span};

/// Size of the table that we offer, which is the one that a peer has from the start.
pub(super) const TABLE_MAX: usize = 4096;

/// A block that is no HPACK: the connection's tables differ from here on (COMPRESSION_ERROR).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Malformed;

/// What blocks of one direction refer to.
#[derive(Debug)]
pub(super) struct Decoder {
    table: Table,
}

impl Decoder {
    pub(super) const fn new() -> Self {
        Self { table: Table::new(TABLE_MAX) }
    }

    /// Reads a block: each field is appended to `raw` and shown to `visit`, until they are more than `limit` bytes as RFC
    /// 9113 6.5.2 counts them. Then the block is read to its end for the table's sake alone: false.
    pub(super) fn decode(
        &mut self,
        block: &[u8],
        limit: usize,
        raw: &mut Vec<u8>,
        visit: &mut impl FnMut(&[u8], Field),
    ) -> Result<bool, Malformed> {
        let mut input = Input { block, at: 0 };
        let (mut size, mut begun) = (0, false);
        while let Some(&first) = block.get(input.at) {
            let mark = raw.len();
            if first & 0xe0 == 0x20 {
                if begun {
                    return Err(Malformed);
                }
                let max = input.integer(5)?;
                if max > TABLE_MAX {
                    return Err(Malformed);
                }
                self.table.resize(max);
                continue;
            }
            begun = true;
            let over = size > limit;
            let field = if first & 0x80 != 0 {
                let (name, value) = self.field(input.integer(7)?)?;
                if over {
                    continue;
                }
                raw.extend_from_slice(name);
                raw.extend_from_slice(value);
                field(mark, name.len(), raw.len())
            } else {
                self.literal(&mut input, first, raw)?
            };
            size += raw.len() - mark + ENTRY;
            if size > limit {
                raw.truncate(mark);
            } else {
                visit(raw, field);
            }
        }
        Ok(size <= limit)
    }

    /// A field whose value, and perhaps its name, is spelt out.
    fn literal(&mut self, input: &mut Input<'_>, first: u8, raw: &mut Vec<u8>) -> Result<Field, Malformed> {
        let keep = first & 0x40 != 0;
        let number = input.integer(if keep { 6 } else { 4 })?;
        let mark = raw.len();
        if number == 0 {
            input.text(raw)?;
        } else {
            raw.extend_from_slice(self.field(number)?.0);
        }
        let name = raw.len() - mark;
        input.text(raw)?;
        if keep {
            let (name, value) = raw[mark..].split_at(name);
            self.table.insert(0, name, value);
        }
        Ok(field(mark, name, raw.len()))
    }

    fn field(&self, number: usize) -> Result<(&[u8], &[u8]), Malformed> {
        let at = number.checked_sub(1).ok_or(Malformed)?;
        match STATIC.get(at) {
            Some((name, value)) => Ok((name.as_bytes(), value.as_bytes())),
            None => self.table.get(at - STATIC.len()).ok_or(Malformed),
        }
    }
}

fn field(mark: usize, name: usize, end: usize) -> Field {
    // A block is shorter than 4 GiB: it was in a buffer of ours.
    let [start, middle, end] = [mark, mark + name, end].map(|at| u32::try_from(at).unwrap_or(u32::MAX));
    Field { name: Span { start, end: middle }, value: Span { start: middle, end } }
}

struct Input<'b> {
    block: &'b [u8],
    at: usize,
}

impl Input<'_> {
    fn byte(&mut self) -> Result<u8, Malformed> {
        let byte = *self.block.get(self.at).ok_or(Malformed)?;
        self.at += 1;
        Ok(byte)
    }

    /// An integer whose first byte has `prefix` bits for it (RFC 7541 section 5.1); beyond 2^28 there is nothing to count.
    fn integer(&mut self, prefix: u32) -> Result<usize, Malformed> {
        let mask = (1 << prefix) - 1;
        let first = usize::from(self.byte()?) & mask;
        if first < mask {
            return Ok(first);
        }
        let mut value = first;
        for shift in [0, 7, 14, 21] {
            let byte = usize::from(self.byte()?);
            value += (byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(Malformed)
    }

    /// A string, appended to `raw`.
    fn text(&mut self, raw: &mut Vec<u8>) -> Result<(), Malformed> {
        let packed = self.block.get(self.at).ok_or(Malformed)? & 0x80 != 0;
        let length = self.integer(7)?;
        let end = self.at.checked_add(length).ok_or(Malformed)?;
        let text = self.block.get(self.at..end).ok_or(Malformed)?;
        self.at = end;
        if packed {
            return if huffman::unpack(text, raw) { Ok(()) } else { Err(Malformed) };
        }
        raw.extend_from_slice(text);
        Ok(())
    }
}
