//! The head of a backend's response, and how its body is delimited (RFC 9112 sections 4 and 6).

use super::fields::{self, tokens};
use super::request::number;
use super::{Field, HeadLimits, Reject, Span};

/// How a response's body is delimited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// No body.
    None,
    /// So many bytes; zero is an empty body.
    Known(u64),
    /// Chunks.
    Chunked,
    /// Everything until the connection ends.
    Close,
}

/// A response's head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ResponseHead {
    /// Bytes of the head, with the empty line behind it.
    pub length: usize,
    /// Status.
    pub status: u16,
    /// The phrase behind it.
    pub reason: Span,
    /// Minor version: 0, or 1 for everything above.
    pub minor: u8,
    /// How the body is delimited, the request's method considered.
    pub framing: Framing,
    /// Content-Length, which a response to HEAD and 304 may have without a body.
    pub content_length: Option<u64>,
    /// The connection ends after this response, or is not to be trusted with another one.
    pub close: bool,
}

/// Parses a head; `None` when more bytes are needed. Each field is given to `out`, which is only of use when a
/// head was returned. `to_head` says that the request was HEAD.
///
/// # Errors
///
/// When the head breaks a rule or could be understood in two ways.
pub fn response(
    bytes: &[u8],
    limits: &HeadLimits,
    to_head: bool,
    mut out: impl FnMut(Field),
) -> Result<Option<ResponseHead>, Reject> {
    let Some((status, reason, minor, at)) = status_line(bytes, limits.bare_lf)? else {
        return if bytes.len() >= limits.bytes as usize { Err(Reject::HeadTooLarge) } else { Ok(None) };
    };
    let mut said = Said::default();
    let length = fields::parse(bytes, at, limits, &mut |field| {
        said.hear(bytes, field)?;
        out(field);
        Ok(())
    })?;
    let Some(length) = length else {
        return if bytes.len() >= limits.bytes as usize { Err(Reject::HeadTooLarge) } else { Ok(None) };
    };
    if length > limits.bytes as usize {
        return Err(Reject::HeadTooLarge);
    }
    if said.chunked && said.length.is_some() {
        return Err(Reject::LengthAndEncoding);
    }
    if said.chunked && minor == 0 {
        return Err(Reject::EncodingInHttp10);
    }
    if status < 200 && status != 101 && (said.chunked || said.length.is_some_and(|n| n > 0)) {
        // The body that it announces would pass for the response that is still to come.
        return Err(Reject::Length);
    }
    let bare = status < 200 || status == 204;
    let framing = match said.length {
        _ if bare || status == 304 || to_head => Framing::None,
        _ if said.chunked => Framing::Chunked,
        Some(count) => Framing::Known(count),
        None => Framing::Close,
    };
    // A body that may not be there may come all the same: the bytes would pass for the next response.
    let doubtful = bare && (said.chunked || said.length.is_some_and(|n| n > 0));
    let close = said.close || (minor == 0 && !said.keep_alive) || framing == Framing::Close || doubtful;
    let content_length = said.length.filter(|_| !bare);
    Ok(Some(ResponseHead { length, status, reason, minor, framing, content_length, close }))
}

/// Status, phrase, minor version, and the byte behind the line.
fn status_line(bytes: &[u8], bare_lf: bool) -> Result<Option<(u16, Span, u8, usize)>, Reject> {
    const PREFIX: &[u8] = b"HTTP/1.";
    let known = bytes.len().min(PREFIX.len());
    if bytes[..known] != PREFIX[..known] {
        return Err(Reject::StatusLine);
    }
    if bytes.len() < 13 {
        return if bytes.contains(&b'\n') { Err(Reject::StatusLine) } else { Ok(None) };
    }
    let digits = &bytes[9..12];
    if !bytes[7].is_ascii_digit() || bytes[8] != b' ' || !digits.iter().all(u8::is_ascii_digit) {
        return Err(Reject::StatusLine);
    }
    let status = digits.iter().fold(0_u16, |n, b| n * 10 + u16::from(b - b'0'));
    if !(100..=999).contains(&status) {
        return Err(Reject::StatusLine);
    }
    let start = match bytes[12] {
        b' ' => 13,
        b'\r' => 12,
        b'\n' if bare_lf => 12,
        _ => return Err(Reject::StatusLine),
    };
    let text = &bytes[start..];
    let Some(end) = text.iter().position(|b| (*b < b' ' && *b != b'\t') || *b == 0x7f) else {
        return Ok(None);
    };
    let break_length = match (text[end], text.get(end + 1)) {
        (b'\r', Some(b'\n')) => 2,
        (b'\n', _) if bare_lf => 1,
        (b'\r', None) => return Ok(None),
        (b'\r', Some(_)) => return Err(Reject::BareCr),
        (b'\n', _) => return Err(Reject::BareLf),
        _ => return Err(Reject::StatusLine),
    };
    let minor = (bytes[7] - b'0').min(1);
    Ok(Some((status, Span::new(start, start + end), minor, start + end + break_length)))
}

/// What the fields said that matters here.
#[derive(Default)]
struct Said {
    length: Option<u64>,
    chunked: bool,
    close: bool,
    keep_alive: bool,
}

impl Said {
    fn hear(&mut self, bytes: &[u8], field: Field) -> Result<(), Reject> {
        let name = field.name.of(bytes);
        let value = field.value.of(bytes);
        match name.len() {
            10 if name.eq_ignore_ascii_case(b"connection") => {
                for token in tokens(value) {
                    self.close |= token.eq_ignore_ascii_case(b"close");
                    self.keep_alive |= token.eq_ignore_ascii_case(b"keep-alive");
                }
            }
            14 if name.eq_ignore_ascii_case(b"content-length")
                && self.length.replace(number(value).ok_or(Reject::Length)?).is_some() =>
            {
                return Err(Reject::LengthTwice);
            }
            17 if name.eq_ignore_ascii_case(b"transfer-encoding") => {
                if std::mem::replace(&mut self.chunked, true) {
                    return Err(Reject::EncodingTwice);
                }
                if !value.eq_ignore_ascii_case(b"chunked") {
                    return Err(Reject::Encoding);
                }
            }
            _ => {}
        }
        Ok(())
    }
}
