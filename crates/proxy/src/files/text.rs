//! Texts as they stand in URLs and in HTML.

use std::fmt::Write as _;

/// A path as nginx writes it into a `Location`: what can't stand in a URL is percent-encoded.
pub(super) fn escape_path(out: &mut String, path: &str) {
    for byte in path.bytes() {
        match byte {
            b' ' | b'#' | b'%' | b'?' | b'"' | b'<' | b'>' | b'\\' | b'^' | b'`' | b'{' | b'|' | b'}' => {
                hex(out, byte);
            }
            0..=31 | 127..=255 => hex(out, byte),
            _ => out.push(char::from(byte)),
        }
    }
}

/// A name as a segment of a URL: only unreserved letters stay.
pub(super) fn escape_segment(out: &mut String, name: &[u8]) {
    for byte in name {
        match byte {
            b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z' | b'-' | b'.' | b'_' | b'~' => {
                out.push(char::from(*byte))
            }
            _ => hex(out, *byte),
        }
    }
}

fn hex(out: &mut String, byte: u8) {
    let _ = write!(out, "%{byte:02X}");
}

/// A text as HTML shows it.
pub(super) fn escape_html(out: &mut String, text: &str) {
    for letter in text.chars() {
        match letter {
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '&' => out.push_str("&amp;"),
            '"' => out.push_str("&quot;"),
            _ => out.push(letter),
        }
    }
}
