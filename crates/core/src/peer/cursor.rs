//! Bytes that are taken from the front, piece by piece.

use std::time::Duration;

use crate::peer::{NAME_MAX, Wrong};

/// What is left to read.
#[derive(Clone, Copy)]
pub(super) struct Cursor<'a>(pub(super) &'a [u8]);

impl<'a> Cursor<'a> {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn take(&mut self, n: usize) -> Result<&'a [u8], Wrong> {
        let (head, tail) = self.0.split_at_checked(n).ok_or(Wrong::Short)?;
        self.0 = tail;
        Ok(head)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Wrong> {
        let (head, tail) = self.0.split_first_chunk::<N>().ok_or(Wrong::Short)?;
        self.0 = tail;
        Ok(*head)
    }

    pub(super) fn byte(&mut self) -> Result<u8, Wrong> {
        self.array::<1>().map(|[byte]| byte)
    }

    pub(super) fn u16(&mut self) -> Result<u16, Wrong> {
        self.array().map(u16::from_be_bytes)
    }

    pub(super) fn u32(&mut self) -> Result<u32, Wrong> {
        self.array().map(u32::from_be_bytes)
    }

    pub(super) fn u64(&mut self) -> Result<u64, Wrong> {
        self.array().map(u64::from_be_bytes)
    }

    /// Nanoseconds.
    pub(super) fn duration(&mut self) -> Result<Duration, Wrong> {
        self.u64().map(Duration::from_nanos)
    }

    /// What is told to be so long in two bytes before it.
    pub(super) fn block(&mut self) -> Result<Self, Wrong> {
        let n = self.u16()?;
        self.take(n.into()).map(Cursor)
    }

    /// A name: one byte for its length, then its bytes.
    pub(super) fn name(&mut self) -> Result<String, Wrong> {
        let n = usize::from(self.byte()?);
        let bytes = self.take(n)?;
        let text = std::str::from_utf8(bytes).map_err(|_| Wrong::Name)?;
        if fits(text) { Ok(text.to_owned()) } else { Err(Wrong::Name) }
    }
}

/// Whether this can be a name of a node or a right.
pub(super) fn fits(name: &str) -> bool {
    !name.is_empty() && name.len() <= NAME_MAX && !name.chars().any(char::is_control)
}
