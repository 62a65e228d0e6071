//! The head of a request: request line, fields, and what they say of the body (RFC 9112 sections 3, 5 and 6).

use super::fields::{self, contains_token, tokens};
use super::{BodyLength, Field, HeadLimits, Reject, Span, authority_is_valid};

/// Empty lines before a request line that are skipped (RFC 9112 2.2).
const EMPTY_LINES: usize = 4;

/// Longest method.
const METHOD_MAX: usize = 32;

/// A request's head. All spans are of the bytes that it was parsed from, the empty lines before it among them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequestHead {
    /// Bytes of the head, with the empty line behind it.
    pub length: usize,
    /// Method.
    pub method: Span,
    /// Target in origin form, or `*`; scheme and authority of an absolute form are cut off.
    pub target: Span,
    /// The target is a query alone: a `/` belongs before it (`http://host?query`).
    pub target_lacks_slash: bool,
    /// Host with port, of the absolute form, else of the Host header; empty when neither is there.
    pub authority: Span,
    /// Minor version: 0, or 1 for everything above.
    pub minor: u8,
    /// How the body is delimited.
    pub body: BodyLength,
    /// The connection ends after this request.
    pub close: bool,
    /// The protocols of an Upgrade that `Connection` names.
    pub upgrade: Option<Span>,
    /// `Expect: 100-continue`.
    pub expects_continue: bool,
}

/// Parses a head; `None` when more bytes are needed. Each field is given to `out`, which is only of use when a
/// head was returned.
///
/// # Errors
///
/// When the head breaks a rule, or is longer than it may be.
pub fn request(
    bytes: &[u8],
    limits: &HeadLimits,
    mut out: impl FnMut(Field),
) -> Result<Option<RequestHead>, Reject> {
    let Some(start) = first_line(bytes, limits.bare_lf)? else { return Ok(None) };
    let Some((line, at)) = request_line(bytes, start, limits)? else { return Ok(None) };
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
    finish(bytes, length, &line, &said).map(Some)
}

/// Whether a head that was not whole at `seen` bytes may be by now: an empty line ends among the new ones. Saves
/// parsing again for each byte of those who send byte by byte.
#[must_use]
pub fn head_may_be_whole(bytes: &[u8], seen: usize) -> bool {
    let from = seen.saturating_sub(2);
    let new = &bytes[from.min(bytes.len())..];
    new.windows(2).any(|pair| pair == b"\n\n") || new.windows(3).any(|three| three == b"\n\r\n")
}

/// The first byte that is not of an empty line.
fn first_line(bytes: &[u8], bare_lf: bool) -> Result<Option<usize>, Reject> {
    let mut at = 0;
    while let Some(first) = bytes.get(at) {
        match first {
            b'\r' => match bytes.get(at + 1) {
                Some(b'\n') if at < EMPTY_LINES * 2 => at += 2,
                Some(b'\n') => return Err(Reject::RequestLine),
                Some(_) => return Err(Reject::BareCr),
                None => return Ok(None),
            },
            b'\n' if bare_lf && at < EMPTY_LINES * 2 => at += 1,
            b'\n' => return Err(Reject::BareLf),
            b' ' | b'\t' => return Err(Reject::Fold),
            _ => return Ok(Some(at)),
        }
    }
    Ok(None)
}

/// The parts of a request line.
struct Line {
    method: Span,
    target: Span,
    lacks_slash: bool,
    authority: Option<Span>,
    minor: u8,
}

/// The request line and the byte behind it.
fn request_line(bytes: &[u8], start: usize, limits: &HeadLimits) -> Result<Option<(Line, usize)>, Reject> {
    let rest = &bytes[start..];
    let blank = rest.iter().take(METHOD_MAX + 1).position(|b| !is_method_byte(*b));
    let Some(blank) = blank else {
        return if rest.len() > METHOD_MAX { Err(Reject::Method) } else { Ok(None) };
    };
    match rest[blank] {
        b' ' if blank > 0 => {}
        b' ' | b'\t' => return Err(Reject::RequestLine),
        b'\n' => return Err(Reject::BareLf),
        b'\r' => return Err(Reject::RequestLine),
        _ => return Err(Reject::Method),
    }
    let from = blank + 1;
    let Some(end) = rest[from..].iter().position(|b| !is_target_byte(*b)).map(|n| n + from) else {
        return if bytes.len() >= limits.bytes as usize { Err(Reject::LineTooLong) } else { Ok(None) };
    };
    if end == from {
        return Err(if rest[end] == b'#' { Reject::Target } else { Reject::RequestLine });
    }
    if rest[end] != b' ' {
        return Err(if matches!(rest[end], b'\r' | b'\n' | b'\t') {
            Reject::RequestLine
        } else {
            Reject::Target
        });
    }
    let Some((minor, length)) = version(&rest[end + 1..], limits.bare_lf)? else { return Ok(None) };
    let behind = start + end + 1 + length;
    if behind > limits.bytes as usize {
        return Err(Reject::LineTooLong);
    }
    let method = Span::new(start, start + blank);
    let (target, authority, lacks_slash) = target(bytes, start + from, start + end, method.of(bytes))?;
    Ok(Some((Line { method, target, lacks_slash, authority, minor }, behind)))
}

/// Whether this is a method: upper-case letters, digits, `-` and `_`.
pub(crate) fn method_is_valid(method: &[u8]) -> bool {
    !method.is_empty() && method.len() <= METHOD_MAX && method.iter().all(|b| is_method_byte(*b))
}

/// Whether nothing is in a target that may not be in one.
pub(crate) fn target_is_valid(target: &[u8]) -> bool {
    target.iter().all(|b| is_target_byte(*b))
}

const fn is_method_byte(b: u8) -> bool {
    b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'-' || b == b'_'
}

/// Everything printable; `#` never leaves a client, and bytes above ASCII are let through as nginx does.
const fn is_target_byte(b: u8) -> bool {
    b > b' ' && b != 0x7f && b != b'#'
}

/// The minor version of `HTTP/1.x\r\n`, and how long that is.
fn version(text: &[u8], bare_lf: bool) -> Result<Option<(u8, usize)>, Reject> {
    const PREFIX: &[u8] = b"HTTP/";
    let known = text.len().min(PREFIX.len());
    if text[..known] != PREFIX[..known] {
        return Err(Reject::VersionSyntax);
    }
    let digit = |at: usize| match text.get(at) {
        Some(b) if b.is_ascii_digit() => Ok(Some(*b - b'0')),
        Some(_) => Err(Reject::VersionSyntax),
        None => Ok(None),
    };
    let Some(major) = digit(5)? else { return Ok(None) };
    if text.get(6).is_some_and(|b| *b != b'.') {
        return Err(Reject::VersionSyntax);
    }
    let Some(minor) = digit(7)? else { return Ok(None) };
    let length = match (text.get(8), text.get(9)) {
        (Some(b'\r'), Some(b'\n')) => 10,
        (Some(b'\n'), _) if bare_lf => 9,
        (Some(b'\r'), None) | (None, _) => return Ok(None),
        (Some(b'\r'), Some(_)) => return Err(Reject::BareCr),
        (Some(b'\n'), _) => return Err(Reject::BareLf),
        (Some(_), _) => return Err(Reject::VersionSyntax),
    };
    if major != 1 {
        return Err(Reject::Version);
    }
    Ok(Some((minor.min(1), length)))
}

/// Target, authority of an absolute form, and whether the target lacks its slash.
fn target(
    bytes: &[u8],
    start: usize,
    end: usize,
    method: &[u8],
) -> Result<(Span, Option<Span>, bool), Reject> {
    let text = &bytes[start..end];
    match method {
        b"CONNECT" => return Err(Reject::Connect),
        b"TRACE" => return Err(Reject::Trace),
        _ => {}
    }
    match text.first() {
        Some(b'/') => return Ok((Span::new(start, end), None, false)),
        Some(b'*') if text == b"*" && method == b"OPTIONS" => {
            return Ok((Span::new(start, end), None, false));
        }
        Some(_) => {}
        None => return Err(Reject::RequestLine),
    }
    let scheme = [&b"http://"[..], b"https://"]
        .into_iter()
        .find(|s| text.get(..s.len()).is_some_and(|begin| begin.eq_ignore_ascii_case(s)))
        .ok_or(Reject::Target)?;
    let host = start + scheme.len();
    let path = bytes[host..end].iter().position(|b| matches!(b, b'/' | b'?')).map_or(end, |n| host + n);
    if !authority_is_valid(&bytes[host..path]) {
        return Err(Reject::Host);
    }
    let authority = Some(Span::new(host, path));
    if path == end {
        // The second slash of the scheme stands for the missing path; OPTIONS of a whole server has the asterisk.
        return Ok((Span::new(host - 1, host), authority, false));
    }
    Ok((Span::new(path, end), authority, bytes[path] == b'?'))
}

/// What the fields said that matters here.
#[derive(Default)]
struct Said {
    host: Option<Span>,
    length: Option<u64>,
    /// What Transfer-Encoding said.
    coding: Option<Result<(), Reject>>,
    close: bool,
    keep_alive: bool,
    names_upgrade: bool,
    upgrade: Option<Span>,
    expects_continue: bool,
    /// Which of [`ONCE`] came.
    once: u8,
}

/// Fields that two readers would take from different lines when they come twice.
const ONCE: [&[u8]; 8] = [
    b"authorization",
    b"content-range",
    b"expect",
    b"if-match",
    b"if-modified-since",
    b"if-none-match",
    b"if-range",
    b"if-unmodified-since",
];

impl Said {
    /// Whether this is the second of a field that may come once.
    fn repeats(&mut self, name: &[u8]) -> bool {
        if !matches!(name.first(), Some(b'a' | b'A' | b'c' | b'C' | b'e' | b'E' | b'i' | b'I')) {
            return false;
        }
        let Some(at) = ONCE.iter().position(|own| own.eq_ignore_ascii_case(name)) else { return false };
        let bit = 1 << at;
        let seen = self.once & bit != 0;
        self.once |= bit;
        seen
    }

    fn hear(&mut self, bytes: &[u8], field: Field) -> Result<(), Reject> {
        let name = field.name.of(bytes);
        let value = field.value.of(bytes);
        match name.len() {
            _ if self.repeats(name) => return Err(Reject::FieldTwice),
            4 if name.eq_ignore_ascii_case(b"host") => {
                if self.host.replace(field.value).is_some() {
                    return Err(Reject::HostTwice);
                }
                if !authority_is_valid(value) {
                    return Err(Reject::Host);
                }
            }
            6 if name.eq_ignore_ascii_case(b"expect") => {
                self.expects_continue |= value.eq_ignore_ascii_case(b"100-continue");
            }
            7 if name.eq_ignore_ascii_case(b"upgrade") => self.upgrade = Some(field.value),
            10 if name.eq_ignore_ascii_case(b"connection") => {
                for token in tokens(value) {
                    self.close |= token.eq_ignore_ascii_case(b"close");
                    self.keep_alive |= token.eq_ignore_ascii_case(b"keep-alive");
                    self.names_upgrade |= token.eq_ignore_ascii_case(b"upgrade");
                }
            }
            14 if name.eq_ignore_ascii_case(b"content-length")
                && self.length.replace(number(value).ok_or(Reject::Length)?).is_some() =>
            {
                return Err(Reject::LengthTwice);
            }
            17 if name.eq_ignore_ascii_case(b"transfer-encoding") => {
                if self.coding.is_some() {
                    return Err(Reject::EncodingTwice);
                }
                self.coding = Some(coding(value));
            }
            _ => {}
        }
        Ok(())
    }
}

/// A length: digits and nothing else.
pub(crate) fn number(value: &[u8]) -> Option<u64> {
    // 18 digits always fit.
    if value.is_empty() || value.len() > 18 {
        return None;
    }
    value.iter().try_fold(0_u64, |n, b| b.is_ascii_digit().then(|| n * 10 + u64::from(b - b'0')))
}

/// `chunked` and nothing else is served.
fn coding(value: &[u8]) -> Result<(), Reject> {
    if value.eq_ignore_ascii_case(b"chunked") {
        return Ok(());
    }
    let one = fields::is_token(value);
    Err(if one { Reject::UnknownCoding } else { Reject::Encoding })
}

fn finish(bytes: &[u8], length: usize, line: &Line, said: &Said) -> Result<RequestHead, Reject> {
    if said.host.is_none() && line.minor > 0 {
        return Err(Reject::HostMissing);
    }
    said.coding.unwrap_or(Ok(()))?;
    let chunked = said.coding.is_some();
    if chunked && said.length.is_some() {
        return Err(Reject::LengthAndEncoding);
    }
    if chunked && line.minor == 0 {
        return Err(Reject::EncodingInHttp10);
    }
    let body = match said.length {
        _ if chunked => BodyLength::Open,
        None | Some(0) => BodyLength::None,
        Some(count) => BodyLength::Known(count),
    };
    // An upgrade to h2c would let a client speak past every rule here (and RFC 9113 has dropped it).
    let upgrade = said.upgrade.filter(|span| {
        line.minor > 0
            && said.names_upgrade
            && !span.of(bytes).is_empty()
            && !contains_token(span.of(bytes), "h2c")
    });
    Ok(RequestHead {
        length,
        method: line.method,
        target: line.target,
        target_lacks_slash: line.lacks_slash,
        authority: line.authority.or(said.host).unwrap_or_default(),
        minor: line.minor,
        body,
        close: said.close || (line.minor == 0 && !said.keep_alive),
        upgrade,
        expects_continue: said.expects_continue && line.minor > 0,
    })
}
