//! Header fields and trailers: `httparse` finds them, what it lets through beyond RFC 9112 section 5 is refused here.

use httparse::{EMPTY_HEADER, Error, Header, Status};

use super::{Field, HeadLimits, Reject, Span};

/// Fields that are parsed without asking for memory.
const FEW: usize = 32;

/// The fields of `head[from..]`, until the empty line, and the byte behind it; `None` when more bytes are needed.
pub(super) fn parse(
    head: &[u8],
    from: usize,
    limits: &HeadLimits,
    visit: &mut impl FnMut(Field) -> Result<(), Reject>,
) -> Result<Option<usize>, Reject> {
    let mut few = [EMPTY_HEADER; FEW];
    match attempt(head, from, limits, &mut few[..FEW.min(limits.fields as usize)], visit) {
        Err(Reject::TooManyFields) if limits.fields as usize > FEW => {}
        done => return done,
    }
    let mut many = vec![EMPTY_HEADER; limits.fields as usize];
    attempt(head, from, limits, &mut many, visit)
}

fn attempt<'h>(
    head: &'h [u8],
    from: usize,
    limits: &HeadLimits,
    room: &mut [Header<'h>],
    visit: &mut impl FnMut(Field) -> Result<(), Reject>,
) -> Result<Option<usize>, Reject> {
    let block = &head[from..];
    let (length, found) = match httparse::parse_headers(block, room) {
        Ok(Status::Complete(done)) => done,
        Ok(Status::Partial) => return Ok(None),
        Err(Error::TooManyHeaders) => return Err(Reject::TooManyFields),
        Err(error) => return Err(diagnose(block, error, limits.bare_lf)),
    };
    // Between a value's end and the next name there must be blanks and CRLF, nothing else.
    let base = head.as_ptr() as usize;
    let mut at = from;
    for header in found {
        let colon = at + header.name.len();
        let start = if header.value.is_empty() { colon + 1 } else { header.value.as_ptr() as usize - base };
        let end = start + header.value.len();
        at = line_end(head, end, limits.bare_lf)?;
        if limits.drop_underscores && header.name.contains('_') {
            continue;
        }
        visit(Field { name: Span::new(colon - header.name.len(), colon), value: Span::new(start, end) })?;
    }
    if head.get(at) != Some(&b'\r') && !limits.bare_lf {
        return Err(Reject::BareLf);
    }
    Ok(Some(from + length))
}

/// The first byte of the next line: blanks and CRLF are skipped.
fn line_end(head: &[u8], mut at: usize, bare_lf: bool) -> Result<usize, Reject> {
    while matches!(head.get(at), Some(b' ' | b'\t')) {
        at += 1;
    }
    match head.get(at..at + 2) {
        Some(b"\r\n") => Ok(at + 2),
        Some([b'\n', _]) if bare_lf => Ok(at + 1),
        _ => Err(Reject::BareLf),
    }
}

/// What is wrong with a block of fields that could not be parsed: the first line that is.
#[cold]
fn diagnose(block: &[u8], error: Error, bare_lf: bool) -> Reject {
    let mut rest = block;
    while let Some(end) = rest.iter().position(|b| *b == b'\n') {
        if let Some(wrong) = wrong_line(&rest[..end], true, bare_lf) {
            return wrong;
        }
        rest = &rest[end + 1..];
    }
    wrong_line(rest, false, bare_lf).unwrap_or(match error {
        Error::HeaderValue => Reject::FieldValue,
        Error::NewLine => Reject::BareCr,
        Error::HeaderName | Error::Status | Error::Token | Error::TooManyHeaders | Error::Version => {
            Reject::FieldName
        }
    })
}

/// What is wrong with a line, its LF cut off when it is whole.
fn wrong_line(line: &[u8], whole: bool, bare_lf: bool) -> Option<Reject> {
    let text = match line.strip_suffix(b"\r") {
        Some(text) => text,
        None if whole && !bare_lf => return Some(Reject::BareLf),
        None => line,
    };
    if text.contains(&b'\r') {
        return Some(Reject::BareCr);
    }
    if text.is_empty() {
        return None;
    }
    if matches!(text[0], b' ' | b'\t') {
        return Some(Reject::Fold);
    }
    let colon = text.iter().position(|b| *b == b':');
    let (name, value) = text.split_at(colon.unwrap_or(text.len()));
    if name.is_empty() {
        return Some(Reject::EmptyName);
    }
    if matches!(name.last(), Some(b' ' | b'\t')) {
        return Some(Reject::SpaceBeforeColon);
    }
    if !is_token(name) {
        return Some(Reject::FieldName);
    }
    if value.iter().any(|b| (*b < b' ' && *b != b'\t') || *b == 0x7f) {
        return Some(Reject::FieldValue);
    }
    (whole && colon.is_none()).then_some(Reject::FieldName)
}

/// Whether this is a token (RFC 9110 5.6.2).
#[must_use]
pub fn is_token(text: &[u8]) -> bool {
    let of_token = |b: &u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(b);
    !text.is_empty() && text.iter().all(of_token)
}

/// The members of a comma-separated list, without the empty ones.
pub fn tokens(list: &[u8]) -> impl Iterator<Item = &[u8]> {
    list.split(|b| *b == b',').map(<[u8]>::trim_ascii).filter(|member| !member.is_empty())
}

/// Whether a comma-separated list holds a token; `token` in any case.
#[must_use]
pub fn contains_token(list: &[u8], token: &str) -> bool {
    tokens(list).any(|member| member.eq_ignore_ascii_case(token.as_bytes()))
}
