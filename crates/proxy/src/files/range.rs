//! Parts of a file (RFC 9110 14), read as nginx reads them.

use std::sync::atomic::{AtomicU64, Ordering};

use bytes::{Bytes, BytesMut};

use super::cache::{Content, Entry};
use crate::request::Request;
use crate::response::{Body, FilePiece, Response};
use crate::route::date;

/// What a request asks for.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Ranges {
    /// All of it.
    Whole,
    /// These parts: first byte, and the one behind the last.
    Some(Vec<(u64, u64)>),
    /// Nothing that is there.
    None,
}

/// Reads `Range` and `If-Range`; who asks for more parts than `most` gets the whole file.
pub(super) fn asked(request: &Request, size: u64, etag: Option<&str>, modified: i64, most: u32) -> Ranges {
    if most == 0 {
        return Ranges::Whole;
    }
    let Some(range) = request.field("range") else { return Ranges::Whole };
    if let Some(condition) = request.field("if-range") {
        let holds = if condition.len() >= 2 && condition.ends_with(b"\"") {
            etag.is_some_and(|etag| etag.as_bytes() == condition)
        } else {
            date::parse(condition) == Some(modified)
        };
        if !holds {
            return Ranges::Whole;
        }
    }
    match range.split_at_checked(6) {
        Some((unit, list)) if unit.eq_ignore_ascii_case(b"bytes=") && !list.is_empty() => {
            parse(list, size, most as usize)
        }
        Some(_) | None => Ranges::Whole,
    }
}

/// Reads a list of parts. What is no list can't be satisfied; parts that add up to more than the file are not worth it.
fn parse(list: &[u8], size: u64, most: usize) -> Ranges {
    let (mut ranges, mut sum) = (Vec::new(), 0_u64);
    for part in list.split(|byte| *byte == b',') {
        let Some((start, end)) = part_of(part, size) else { return Ranges::None };
        if start < end {
            sum = sum.saturating_add(end - start);
            if ranges.len() == most {
                return Ranges::Whole;
            }
            ranges.push((start, end));
        } else if start == 0 {
            return Ranges::Whole;
        }
    }
    if ranges.is_empty() {
        return Ranges::None;
    }
    if sum > size { Ranges::Whole } else { Ranges::Some(ranges) }
}

/// `first-last`, `first-` or `-length`, with blanks in between.
fn part_of(part: &[u8], size: u64) -> Option<(u64, u64)> {
    let part = std::str::from_utf8(part).ok()?;
    let (first, last) = part.split_once('-')?;
    let number = |text: &str| -> Option<u64> {
        text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?
    };
    let (first, last) = (first.trim_matches(' '), last.trim_matches(' '));
    if first.is_empty() {
        return Some((size.saturating_sub(number(last)?), size));
    }
    let first = number(first)?;
    if last.is_empty() {
        return Some((first, size));
    }
    Some((first, number(last)?.saturating_add(1).min(size)))
}

/// 206 with these parts.
pub(super) fn response(
    entry: &Entry,
    ranges: &[(u64, u64)],
    mut fields: Vec<(Box<str>, Vec<u8>)>,
    media: &str,
) -> Response {
    let size = entry.size;
    if let [(start, end)] = ranges {
        let value = format!("bytes {start}-{}/{size}", end - 1).into_bytes();
        fields.push(("Content-Range".into(), value));
        return Response { status: 206, fields, body: part(entry, *start, *end) };
    }
    static BOUNDARIES: AtomicU64 = AtomicU64::new(1);
    let boundary = format!("{:020}", BOUNDARIES.fetch_add(1, Ordering::Relaxed));
    fields.retain(|(name, _)| &**name != "Content-Type");
    let value = format!("multipart/byteranges; boundary={boundary}").into_bytes();
    fields.insert(0, ("Content-Type".into(), value));
    let mut pieces = Vec::with_capacity(ranges.len() * 2 + 1);
    let media = if media.is_empty() { String::new() } else { format!("Content-Type: {media}\r\n") };
    for (start, end) in ranges {
        let last = end - 1;
        let head = format!("\r\n--{boundary}\r\n{media}Content-Range: bytes {start}-{last}/{size}\r\n\r\n");
        pieces.push(FilePiece::Text(head.into()));
        pieces.push(FilePiece::Range { start: *start, length: end - start });
    }
    pieces.push(FilePiece::Text(format!("\r\n--{boundary}--\r\n").into()));
    Response { status: 206, fields, body: parts(entry, pieces) }
}

fn part(entry: &Entry, start: u64, end: u64) -> Body {
    match &entry.content {
        Content::Small(bytes) => Body::Bytes(cut(bytes, start, end - start)),
        Content::Large(_) | Content::Directory => {
            parts(entry, vec![FilePiece::Range { start, length: end - start }])
        }
    }
}

fn parts(entry: &Entry, pieces: Vec<FilePiece>) -> Body {
    match &entry.content {
        Content::Small(bytes) => {
            let mut body = BytesMut::new();
            for piece in pieces {
                match piece {
                    FilePiece::Text(text) => body.extend_from_slice(&text),
                    FilePiece::Range { start, length } => body.extend_from_slice(&cut(bytes, start, length)),
                }
            }
            Body::Bytes(body.freeze())
        }
        Content::Large(file) => Body::File { file: std::rc::Rc::clone(file), pieces },
        Content::Directory => Body::Empty,
    }
}

/// Bytes of a file that is in memory; the range lies within it.
fn cut(bytes: &Bytes, start: u64, length: u64) -> Bytes {
    let start = usize::try_from(start).unwrap_or(usize::MAX).min(bytes.len());
    let length = usize::try_from(length).unwrap_or(usize::MAX).min(bytes.len() - start);
    bytes.slice(start..start + length)
}
