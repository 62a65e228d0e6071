//! Preconditions (RFC 9110 13), in nginx's order and with its default for dates: only the very same one is a match.

use crate::request::Request;
use crate::route::date;

/// What the preconditions say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// The file is sent.
    Send,
    /// The client has it: 304.
    NotModified,
    /// The client would not have it: 412.
    Failed,
}

/// Compares what the client knows with what there is; with `later` a date after the file's own counts as its own.
pub(super) fn judge(request: &Request, etag: Option<&str>, modified: i64, later: bool) -> Verdict {
    let (mut since, mut none_match) = (None, false);
    let mut failed = false;
    for (name, value) in request.fields() {
        // The names begin with `If-`, have 8 letters or more, and most requests have none.
        if name.len() < 8 || !name[..3].eq_ignore_ascii_case(b"if-") {
            continue;
        }
        match name.to_ascii_lowercase().as_slice() {
            b"if-unmodified-since" => failed |= date::parse(value).is_none_or(|at| at < modified),
            b"if-match" => failed |= !is_in_any(request, "if-match", etag, false),
            b"if-modified-since" => since = since.or(Some(date::parse(value))),
            b"if-none-match" => none_match = true,
            _ => {}
        }
    }
    if failed {
        return Verdict::Failed;
    }
    if since.is_none() && !none_match {
        return Verdict::Send;
    }
    let has =
        |at: Option<i64>| if later { at.is_some_and(|at| at >= modified) } else { at == Some(modified) };
    if since.is_some_and(|at| !has(at)) {
        return Verdict::Send;
    }
    if none_match && !is_in_any(request, "if-none-match", etag, true) {
        return Verdict::Send;
    }
    Verdict::NotModified
}

/// Whether a tag is in the lists of a field; a weak comparison ignores `W/`.
fn is_in_any(request: &Request, name: &str, etag: Option<&str>, weak: bool) -> bool {
    request
        .fields()
        .filter(|(n, _)| n.eq_ignore_ascii_case(name.as_bytes()))
        .any(|(_, list)| list.trim_ascii() == b"*" || etag.is_some_and(|etag| is_in(list, etag, weak)))
}

fn is_in(list: &[u8], etag: &str, weak: bool) -> bool {
    let bare = |tag: &[u8]| -> Option<Vec<u8>> {
        match tag.strip_prefix(b"W/") {
            Some(rest) if weak => Some(rest.to_vec()),
            Some(_) => None,
            None => Some(tag.to_vec()),
        }
    };
    let Some(ours) = bare(etag.as_bytes()) else { return false };
    let mut rest = list;
    while let Some((tag, behind)) = next_tag(rest) {
        if bare(tag).is_some_and(|tag| tag == ours) {
            return true;
        }
        rest = behind;
    }
    false
}

/// The next tag of a list, and what comes behind it; a comma in quotes is part of a tag.
fn next_tag(list: &[u8]) -> Option<(&[u8], &[u8])> {
    let start = list.iter().position(|byte| !matches!(byte, b' ' | b'\t' | b','))?;
    let list = &list[start..];
    let mut quoted = false;
    let end = list
        .iter()
        .position(|byte| {
            quoted ^= *byte == b'"';
            *byte == b',' && !quoted
        })
        .unwrap_or(list.len());
    Some((list[..end].trim_ascii(), &list[end..]))
}
