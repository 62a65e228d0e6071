//! Request targets and paths: percent-decoding, dot segments and slashes as nginx resolves them, and the way back.
//!
//! A decoded path is text. Bytes of it that are no UTF-8 are kept as characters from U+10FF80 to U+10FFFF, one for each byte
//! from 0x80; what a client writes as such a character counts as four such bytes, so both ways are exact.

use std::borrow::Cow;

/// Where the characters for single bytes begin: U+10FF00 plus the byte.
const BYTE_BASE: u32 = 0x10_ff00;

/// Why a target is refused with 400.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadTarget {
    /// It does not begin with `/`.
    #[error("the target does not begin with /")]
    NotAbsolute,
    /// `%` without two hex digits.
    #[error("the target has a % that two hex digits don't follow")]
    BadEscape,
    /// `..` beyond the root.
    #[error("the target leaves the root")]
    AboveRoot,
    /// A NUL byte.
    #[error("the target has a NUL byte")]
    Nul,
}

/// Splits a target into its path, decoded and normalised, and its query as it came; both buffers are overwritten.
///
/// As in nginx `%2F` is a slash like any other, several slashes are one, and what follows a `#` is dropped.
pub fn split(target: &[u8], path: &mut String, query: &mut String) -> Result<(), BadTarget> {
    path.clear();
    query.clear();
    let mut before = b'\0';
    let mut plain = true;
    let mut end = target.len();
    for (at, &byte) in target.iter().enumerate() {
        match byte {
            b'?' | b'#' => {
                end = at;
                break;
            }
            b'/' | b'.' if before == b'/' => plain = false,
            b'%' | 0 | 0x80.. => plain = false,
            _ => {}
        }
        before = byte;
    }
    let raw = &target[..end];
    if raw.first() != Some(&b'/') {
        return Err(BadTarget::NotAbsolute);
    }
    if let Some(rest) = target[end..].strip_prefix(b"?") {
        let len = rest.iter().position(|b| *b == b'#').unwrap_or(rest.len());
        push_text(&rest[..len], query);
    }
    match std::str::from_utf8(raw) {
        Ok(text) if plain => path.push_str(text),
        _ => push_text(&resolve(raw)?, path),
    }
    Ok(())
}

/// Whether a path has a segment `..`; paths that were put together from variables may.
#[must_use]
pub fn climbs(path: &str) -> bool {
    path.contains("..") && path.split('/').any(|segment| segment == "..")
}

/// Bytes as text, exactly.
#[must_use]
pub fn to_text(bytes: &[u8]) -> Cow<'_, str> {
    match std::str::from_utf8(bytes) {
        Ok(text) if !has_bytes(text) => Cow::Borrowed(text),
        _ => {
            let mut text = String::with_capacity(bytes.len() + 16);
            push_text(bytes, &mut text);
            Cow::Owned(text)
        }
    }
}

/// The bytes that a text stands for.
#[must_use]
pub fn to_bytes(text: &str) -> Cow<'_, [u8]> {
    if !has_bytes(text) {
        return Cow::Borrowed(text.as_bytes());
    }
    let mut bytes = Vec::with_capacity(text.len());
    for c in text.chars() {
        match byte_of(c) {
            Some(byte) => bytes.push(byte),
            None => bytes.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
    Cow::Owned(bytes)
}

/// A decoded path, percent-encoded anew for a request line: what nginx escapes in a URI.
pub fn encode_path(text: &str, out: &mut Vec<u8>) {
    encode(&to_bytes(text), out, |b| matches!(b, b'#' | b'%' | b'?') || is_unsafe(b));
}

/// A decoded text, percent-encoded for a place inside a query: what nginx escapes in arguments.
pub fn encode_argument(text: &str, out: &mut Vec<u8>) {
    let special = |b| matches!(b, b'#' | b'%' | b'&' | b'+' | b';' | b'?') || is_unsafe(b);
    encode(&to_bytes(text), out, special);
}

/// A URL or target that was put together from variables: only what may never stand in one is encoded, so that nothing is
/// encoded twice.
pub fn encode_rest(bytes: &[u8], out: &mut Vec<u8>) {
    encode(bytes, out, |b| !b.is_ascii_graphic());
}

/// The bytes with `%XX` decoded; a `%` without two digits stays.
#[must_use]
pub fn decode(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    while let [first, after @ ..] = rest {
        match (first, after) {
            (b'%', [high, low, behind @ ..]) if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => {
                out.push(hex(*high) << 4 | hex(*low));
                rest = behind;
            }
            _ => {
                out.push(*first);
                rest = after;
            }
        }
    }
    out
}

/// What nginx escapes wherever it escapes: controls, blanks, bytes beyond ASCII, and what RFC 3986 allows nowhere.
const fn is_unsafe(byte: u8) -> bool {
    !byte.is_ascii_graphic() || matches!(byte, b'"' | b'<' | b'>' | b'\\' | b'^' | b'`' | b'{' | b'|' | b'}')
}

fn encode(bytes: &[u8], out: &mut Vec<u8>, special: impl Fn(u8) -> bool) {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    let mut plain = 0;
    for (at, &byte) in bytes.iter().enumerate() {
        if special(byte) {
            out.extend_from_slice(&bytes[plain..at]);
            out.extend([b'%', DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]]);
            plain = at + 1;
        }
    }
    out.extend_from_slice(&bytes[plain..]);
}

/// Decodes and resolves a path that begins with `/`.
fn resolve(raw: &[u8]) -> Result<Vec<u8>, BadTarget> {
    let mut out = Vec::with_capacity(raw.len());
    out.push(b'/');
    let mut segment = 1;
    let mut rest = &raw[1..];
    while let [first, after @ ..] = rest {
        let byte = match (first, after) {
            (b'%', [high, low, behind @ ..]) if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => {
                rest = behind;
                hex(*high) << 4 | hex(*low)
            }
            (b'%', _) => return Err(BadTarget::BadEscape),
            (byte, _) => {
                rest = after;
                *byte
            }
        };
        match byte {
            b'\0' => return Err(BadTarget::Nul),
            b'/' => close(&mut out, &mut segment, false)?,
            _ => out.push(byte),
        }
    }
    close(&mut out, &mut segment, true)?;
    Ok(out)
}

/// Ends a segment: empty ones and `.` vanish, `..` takes the one before along.
fn close(out: &mut Vec<u8>, segment: &mut usize, last: bool) -> Result<(), BadTarget> {
    match &out[*segment..] {
        b"" => {}
        b"." => out.truncate(*segment),
        b".." => {
            let parent = segment.checked_sub(2).ok_or(BadTarget::AboveRoot)?;
            let slash = out[..=parent].iter().rposition(|b| *b == b'/').ok_or(BadTarget::AboveRoot)?;
            *segment = slash + 1;
            out.truncate(*segment);
        }
        _ if last => {}
        _ => {
            out.push(b'/');
            *segment = out.len();
        }
    }
    Ok(())
}

fn push_text(mut bytes: &[u8], text: &mut String) {
    while !bytes.is_empty() {
        let (good, bad) = match std::str::from_utf8(bytes) {
            Ok(good) => (good, 0),
            Err(error) => {
                let good = std::str::from_utf8(&bytes[..error.valid_up_to()]).unwrap_or_default();
                (good, error.error_len().unwrap_or(bytes.len() - error.valid_up_to()))
            }
        };
        for c in good.chars() {
            if byte_of(c).is_some() {
                c.encode_utf8(&mut [0; 4]).bytes().for_each(|b| text.push(char_of(b)));
            } else {
                text.push(c);
            }
        }
        bytes[good.len()..good.len() + bad].iter().for_each(|b| text.push(char_of(*b)));
        bytes = &bytes[good.len() + bad..];
    }
}

/// Whether single bytes are in a text.
fn has_bytes(text: &str) -> bool {
    // Their characters begin with F4 8F BE or F4 8F BF.
    text.as_bytes().contains(&0xf4) && text.chars().any(|c| byte_of(c).is_some())
}

fn byte_of(c: char) -> Option<u8> {
    u32::from(c).checked_sub(BYTE_BASE).and_then(|b| u8::try_from(b).ok()).filter(|b| *b >= 0x80)
}

fn char_of(byte: u8) -> char {
    char::from_u32(BYTE_BASE + u32::from(byte)).expect("U+10FF00 to U+10FFFF are characters")
}

const fn hex(digit: u8) -> u8 {
    match digit {
        b'0'..=b'9' => digit - b'0',
        _ => (digit | 0x20) - b'a' + 10,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(target: &str) -> Result<String, BadTarget> {
        let (mut path, mut query) = (String::new(), String::new());
        split(target.as_bytes(), &mut path, &mut query).map(|()| path)
    }

    fn query(target: &str) -> String {
        let (mut path, mut query) = (String::new(), String::from("old"));
        split(target.as_bytes(), &mut path, &mut query).unwrap();
        query
    }

    #[test]
    fn dots_and_slashes_are_resolved() {
        for (target, expected) in [
            ("/", "/"),
            ("/a/b.c", "/a/b.c"),
            ("//a///b/", "/a/b/"),
            ("/a/./b/.", "/a/b/"),
            ("/a/b/..", "/a/"),
            ("/a/b/../c", "/a/c"),
            ("/a/..", "/"),
            ("/a/../", "/"),
            ("/a//../b", "/b"),
            ("/.hidden/..x/x..", "/.hidden/..x/x.."),
            ("/...", "/..."),
            ("/a/b/../../c", "/c"),
        ] {
            assert_eq!(path(target).as_deref(), Ok(expected), "{target}");
        }
    }

    #[test]
    fn an_encoded_slash_or_dot_counts_as_one() {
        for (target, expected) in [
            ("/a%2Fb", "/a/b"),
            ("/a%2f..%2fb", "/b"),
            ("/%2e%2E/b", ""),
            ("/a/%2e%2e/b", "/b"),
            ("/a%20b%25%3Fc%23", "/a b%?c#"),
            ("/%E4%B8%AD", "/中"),
        ] {
            assert_eq!(path(target).unwrap_or_default(), expected, "{target}");
        }
    }

    #[test]
    fn what_leaves_the_root_or_is_no_escape_is_refused() {
        assert_eq!(path("/.."), Err(BadTarget::AboveRoot));
        assert_eq!(path("/a/../.."), Err(BadTarget::AboveRoot));
        assert_eq!(path("/a/..%2f../b"), Err(BadTarget::AboveRoot));
        assert_eq!(path("/%0"), Err(BadTarget::BadEscape));
        assert_eq!(path("/%zz"), Err(BadTarget::BadEscape));
        assert_eq!(path("/%"), Err(BadTarget::BadEscape));
        assert_eq!(path("/a%00b"), Err(BadTarget::Nul));
        assert_eq!(path("a"), Err(BadTarget::NotAbsolute));
        assert_eq!(path(""), Err(BadTarget::NotAbsolute));
        assert_eq!(path("?a"), Err(BadTarget::NotAbsolute));
    }

    #[test]
    fn the_query_stays_as_it_came_and_a_fragment_goes() {
        assert_eq!(query("/a?b=%20&c=/../"), "b=%20&c=/../");
        assert_eq!(query("/a"), "");
        assert_eq!(query("/a?x#y"), "x");
        assert_eq!(query("/a#y?x"), "");
        assert_eq!(path("/a#y?x").as_deref(), Ok("/a"));
        assert_eq!(query("/a?b?c"), "b?c");
    }

    #[test]
    fn every_byte_finds_its_way_back() {
        let bytes: Vec<u8> =
            (1..=255).chain("中\u{10ff80}\u{10ffff}\u{10ff7f}é".bytes()).chain([0xe4, 0xb8]).collect();
        assert_eq!(to_bytes(&to_text(&bytes)), bytes);
        let mut raw = Vec::from(*b"/");
        encode(&bytes, &mut raw, |_| true);
        let (mut path, mut query) = (String::new(), String::new());
        split(&raw, &mut path, &mut query).unwrap();
        let resolved: Vec<u8> = [b"/", &bytes[..]].concat();
        assert_eq!(to_bytes(&path), resolved);
        let mut again = Vec::new();
        encode_path(&path, &mut again);
        assert_eq!(decode(&again), resolved);
    }

    #[test]
    fn raw_bytes_beyond_ascii_in_path_and_query_survive() {
        let (mut path, mut query) = (String::new(), String::new());
        split(b"/\xc4\xe3?\xff", &mut path, &mut query).unwrap();
        assert_eq!((&*to_bytes(&path), &*to_bytes(&query)), (&b"/\xc4\xe3"[..], &b"\xff"[..]));
    }

    #[test]
    fn encoding_leaves_nothing_that_ends_a_line_or_a_path() {
        let mut out = Vec::new();
        encode_path("/a b?c#d%e\r\n\"<>^`{|}\\中&+;=:@", &mut out);
        assert_eq!(out, b"/a%20b%3Fc%23d%25e%0D%0A%22%3C%3E%5E%60%7B%7C%7D%5C%E4%B8%AD&+;=:@");
        out.clear();
        encode_argument("a b&c+d;e/", &mut out);
        assert_eq!(out, b"a%20b%26c%2Bd%3Be/");
        out.clear();
        encode_rest("http://h/a%20b?c d\r\n".as_bytes(), &mut out);
        assert_eq!(out, b"http://h/a%20b?c%20d%0D%0A");
    }

    #[test]
    fn a_path_that_climbs_is_told() {
        assert!(climbs("/a/../b") && climbs("/..") && climbs(".."));
        assert!(!climbs("/a..b/...") && !climbs("/"));
    }
}
