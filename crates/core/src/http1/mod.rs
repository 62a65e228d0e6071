//! HTTP/1.1 messages as bytes (RFC 9112), read strictly: what two readers could understand in two ways is refused.
//!
//! Heads are parsed into [`Span`]s of the bytes that came, bodies are cut by [`Framing`] and [`Decoder`]. A head that is
//! not whole yet is no error; a head or a chunk that breaks a rule is a [`Reject`] with a name to count it by.

mod authority;
mod chunked;
mod fields;
mod reject;
mod request;
mod response;
#[cfg(test)]
mod tests;

use serde::{Deserialize, Serialize};

pub use authority::authority_is_valid;
pub use chunked::{Decoder, Step};
pub use fields::{contains_token, is_token, tokens};
pub use reject::Reject;
pub use request::{RequestHead, head_may_be_whole, request};
pub(crate) use request::{method_is_valid, number, target_is_valid};
pub use response::{Framing, ResponseHead, response};

/// A part of a head's bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Span {
    /// First byte.
    pub start: u32,
    /// Byte behind the last one.
    pub end: u32,
}

impl Span {
    /// The bytes of `raw` that it stands for.
    #[must_use]
    pub fn of(self, raw: &[u8]) -> &[u8] {
        &raw[self.start as usize..self.end as usize]
    }

    fn new(start: usize, end: usize) -> Self {
        let cut = |at: usize| u32::try_from(at).unwrap_or(u32::MAX);
        Self { start: cut(start), end: cut(end) }
    }
}

/// One header field.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Field {
    /// Its name, as it came (HTTP/2: lower case).
    pub name: Span,
    /// Its value, without blanks around it.
    pub value: Span,
}

/// How a request's body is delimited; what is ambiguous never comes this far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyLength {
    /// No body.
    None,
    /// So many bytes, at least one.
    Known(u64),
    /// Chunked, or an HTTP/2 stream without content-length.
    Open,
}

/// Bounds of a head.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeadLimits {
    /// Bytes in all; a first line alone that is longer has a cause of its own.
    pub bytes: u32,
    /// Fields.
    pub fields: u32,
    /// Whether fields with `_` in their names are left out, as nginx does: what reads headers as environment variables
    /// takes `_` and `-` for the same.
    pub drop_underscores: bool,
    /// Whether a line may end in LF alone (RFC 9112 2.2 allows it to a reader).
    pub bare_lf: bool,
}
