//! Bytes that are taken from the front, piece by piece.

use crate::tunnel::hello::{NAME_MAX, TEXT_MAX, Wrong};

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

    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N], Wrong> {
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

    /// The next field: its type and what is in it.
    pub(super) fn field(&mut self) -> Result<Option<(u8, Self)>, Wrong> {
        if self.is_empty() {
            return Ok(None);
        }
        let (kind, length) = (self.byte()?, self.u16()?);
        Ok(Some((kind, Cursor(self.take(length.into())?))))
    }

    /// A text behind a byte that says how long it is.
    pub(super) fn text(&mut self) -> Result<String, Wrong> {
        let length = usize::from(self.byte()?);
        text(self.take(length)?)
    }

    /// Everything that is left, as the name of something.
    pub(super) fn name(self) -> Result<String, Wrong> {
        name(text(self.0)?)
    }

    /// Everything that is left, as a text that may be empty.
    pub(super) fn rest(self) -> Result<String, Wrong> {
        text(self.0)
    }
}

fn text(bytes: &[u8]) -> Result<String, Wrong> {
    let text = std::str::from_utf8(bytes).map_err(|_| Wrong::Text)?;
    if fits(text, TEXT_MAX) { Ok(text.to_owned()) } else { Err(Wrong::Text) }
}

/// A name: a text that is not empty, and shorter.
pub(super) fn name(text: String) -> Result<String, Wrong> {
    if !text.is_empty() && text.len() <= NAME_MAX { Ok(text) } else { Err(Wrong::Name) }
}

/// Whether this can be shown to a person: so short, and without control characters.
pub(super) fn fits(text: &str, most: usize) -> bool {
    text.len() <= most && !text.chars().any(char::is_control)
}
