//! Chunked bodies (RFC 9112 section 7), read as they come: sizes and extensions are bounded, trailers are checked.

use super::fields;
use super::{Field, HeadLimits, Reject};

/// Longest line of a chunk's size with its extensions, in bytes. Nobody sends extensions but those who probe for readers
/// that differ.
const LINE_MAX: usize = 256;

/// Longest block of trailers, in bytes.
const TRAILERS_MAX: u32 = 8192;

/// Most fields of a block of trailers.
const TRAILER_FIELDS_MAX: u32 = 64;

/// What the bytes at hand begin with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// So many bytes of framing: take them away and ask again.
    Skip(usize),
    /// So many bytes of the body, all of them at hand or the first of more: tell [`Decoder::took`] how many were taken.
    Data(usize),
    /// More bytes are needed.
    More,
    /// The body is over: take so many bytes away; the trailers' spans are of the bytes at hand.
    End(usize, Vec<Field>),
}

/// Where in a chunked body a reader is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Decoder {
    state: State,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    /// Before the line of a size.
    #[default]
    Size,
    /// In a chunk, so many bytes of it left.
    Data(u64),
    /// Before the CRLF behind a chunk.
    DataEnd,
    /// Behind the last chunk.
    Trailers,
    /// Behind everything.
    Over,
}

impl Decoder {
    /// What `bytes` begin with. They must be the bytes that follow those taken away so far.
    ///
    /// # Errors
    ///
    /// When they are no chunked body.
    pub fn step(&mut self, bytes: &[u8]) -> Result<Step, Reject> {
        match self.state {
            State::Size => self.size(bytes),
            State::Data(_) if bytes.is_empty() => Ok(Step::More),
            State::Data(left) => {
                let here = usize::try_from(left).unwrap_or(usize::MAX).min(bytes.len());
                Ok(Step::Data(here))
            }
            State::DataEnd => match bytes {
                [] | [b'\r'] => Ok(Step::More),
                [b'\r', b'\n', ..] => {
                    self.state = State::Size;
                    Ok(Step::Skip(2))
                }
                [b'\r', ..] => Err(Reject::BareCr),
                [b'\n', ..] => Err(Reject::BareLf),
                _ => Err(Reject::ChunkEnd),
            },
            State::Trailers => self.trailers(bytes),
            State::Over => Ok(Step::End(0, Vec::new())),
        }
    }

    /// So many bytes of a chunk were taken away.
    pub fn took(&mut self, count: usize) {
        if let State::Data(left) = self.state {
            let left = left.saturating_sub(count as u64);
            self.state = if left == 0 { State::DataEnd } else { State::Data(left) };
        }
    }

    /// Whether the end was seen.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.state == State::Over
    }

    fn size(&mut self, bytes: &[u8]) -> Result<Step, Reject> {
        let mut size = 0_u64;
        let mut digits = 0;
        for byte in bytes {
            let Some(digit) = (*byte as char).to_digit(16) else { break };
            // Sixteen digits fill 64 bits; a body of 2^60 bytes is none.
            if digits == 16 || size >> 56 != 0 {
                return Err(Reject::ChunkTooLarge);
            }
            size = size << 4 | u64::from(digit);
            digits += 1;
        }
        let rest = &bytes[digits..];
        let Some(first) = rest.first() else { return Ok(Step::More) };
        if digits == 0 {
            return Err(if *first == b'\n' { Reject::BareLf } else { Reject::ChunkSize });
        }
        let Some(line) = size_line_end(rest)? else {
            return if bytes.len() > LINE_MAX { Err(Reject::ChunkExtension) } else { Ok(Step::More) };
        };
        if digits + line > LINE_MAX {
            return Err(Reject::ChunkExtension);
        }
        self.state = if size == 0 { State::Trailers } else { State::Data(size) };
        Ok(Step::Skip(digits + line))
    }

    fn trailers(&mut self, bytes: &[u8]) -> Result<Step, Reject> {
        match bytes {
            [b'\r', b'\n', ..] => {
                self.state = State::Over;
                return Ok(Step::End(2, Vec::new()));
            }
            [] | [b'\r'] => return Ok(Step::More),
            _ => {}
        }
        let limits = HeadLimits {
            bytes: TRAILERS_MAX,
            fields: TRAILER_FIELDS_MAX,
            drop_underscores: false,
            bare_lf: false,
        };
        let mut found = Vec::new();
        let end = fields::parse(bytes, 0, &limits, &mut |field| {
            if forbidden(field.name.of(bytes)) {
                return Err(Reject::Trailer);
            }
            found.push(field);
            Ok(())
        });
        match end {
            Err(Reject::TooManyFields) => Err(Reject::TrailersTooLarge),
            Err(reject) => Err(reject),
            Ok(None) if bytes.len() >= TRAILERS_MAX as usize => Err(Reject::TrailersTooLarge),
            Ok(None) => Ok(Step::More),
            Ok(Some(end)) if end > TRAILERS_MAX as usize => Err(Reject::TrailersTooLarge),
            Ok(Some(end)) => {
                self.state = State::Over;
                Ok(Step::End(end, found))
            }
        }
    }
}

/// The length of what follows a size's digits, CRLF included: nothing, or extensions.
fn size_line_end(rest: &[u8]) -> Result<Option<usize>, Reject> {
    match rest {
        [b'\r', b'\n', ..] => return Ok(Some(2)),
        [b'\r'] => return Ok(None),
        [b'\r', ..] => return Err(Reject::BareCr),
        [b'\n', ..] => return Err(Reject::BareLf),
        _ => {}
    }
    let blanks = rest.iter().take_while(|b| matches!(b, b' ' | b'\t')).count();
    match rest.get(blanks) {
        Some(b';') => {}
        None => return Ok(None),
        Some(_) => return Err(Reject::ChunkSize),
    }
    let Some(end) = rest.iter().position(|b| (*b < b' ' && *b != b'\t') || *b == 0x7f) else {
        return Ok(None);
    };
    match (rest[end], rest.get(end + 1)) {
        (b'\r', Some(b'\n')) => Ok(Some(end + 2)),
        (b'\r', None) => Ok(None),
        (b'\r', Some(_)) => Err(Reject::BareCr),
        (b'\n', _) => Err(Reject::BareLf),
        _ => Err(Reject::ChunkExtension),
    }
}

/// What frames, routes or authenticates a message, or says who sent it, may not come after it (RFC 9110 6.5.1): a reader
/// that merges trailers with the head would believe it.
fn forbidden(name: &[u8]) -> bool {
    const FORWARDED: &[u8] = b"x-forwarded-";
    const NAMES: [&[u8]; 17] = [
        b"transfer-encoding",
        b"content-length",
        b"host",
        b"connection",
        b"trailer",
        b"te",
        b"upgrade",
        b"authorization",
        b"expect",
        b"content-encoding",
        b"content-range",
        b"cookie",
        b"forwarded",
        b"keep-alive",
        b"proxy-authorization",
        b"proxy-connection",
        b"x-real-ip",
    ];
    name.get(..FORWARDED.len()).is_some_and(|begin| begin.eq_ignore_ascii_case(FORWARDED))
        || NAMES.iter().any(|forbidden| name.eq_ignore_ascii_case(forbidden))
}
