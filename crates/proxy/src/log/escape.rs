//! What clients send, made harmless for a line.

/// As nginx escapes by default: quotes, backslashes, control bytes and whatever is not ASCII become `\xXX`.
pub(super) fn default(out: &mut Vec<u8>, value: &[u8]) {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    for byte in value {
        match byte {
            b'"' | b'\\' | 0..=31 | 127..=255 => {
                let (high, low) = (usize::from(byte >> 4), usize::from(byte & 15));
                out.extend([b'\\', b'x', DIGITS[high], DIGITS[low]]);
            }
            _ => out.push(*byte),
        }
    }
}

/// As in a JSON string; bytes that are no UTF-8 become U+FFFD.
pub(super) fn json(out: &mut Vec<u8>, value: &[u8]) {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    for chunk in value.utf8_chunks() {
        for byte in chunk.valid().bytes() {
            match byte {
                b'"' | b'\\' => out.extend([b'\\', byte]),
                b'\n' => out.extend(b"\\n"),
                b'\r' => out.extend(b"\\r"),
                b'\t' => out.extend(b"\\t"),
                8 => out.extend(b"\\b"),
                12 => out.extend(b"\\f"),
                0..=31 => {
                    let (high, low) = (usize::from(byte >> 4), usize::from(byte & 15));
                    out.extend([b'\\', b'u', b'0', b'0', DIGITS[high], DIGITS[low]]);
                }
                _ => out.push(byte),
            }
        }
        if !chunk.invalid().is_empty() {
            out.extend("\u{FFFD}".as_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_a_client_sends_ends_a_line_or_a_string() {
        let all: Vec<u8> = (0..=255).collect();
        let mut line = Vec::new();
        default(&mut line, &all);
        assert!(line.iter().all(|byte| (32..127).contains(byte) && *byte != b'"'));
        let mut text = b"\"".to_vec();
        json(&mut text, &all);
        text.push(b'"');
        let read: String = serde_json::from_slice(&text).expect("it is JSON");
        assert_eq!(read, String::from_utf8_lossy(&all));
    }

    #[test]
    fn values_are_escaped_as_nginx_escapes_them() {
        let mut line = Vec::new();
        default(&mut line, "a\"b\\c\x1b\u{e9}".as_bytes());
        assert_eq!(line, br"a\x22b\x5Cc\x1B\xC3\xA9");
        line.clear();
        json(&mut line, "a\"b\\c\x1b\u{e9}\n".as_bytes());
        assert_eq!(line, "a\\\"b\\\\c\\u001B\u{e9}\\n".as_bytes());
    }
}
