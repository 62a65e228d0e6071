//! `host:port` (RFC 9110 4.2, RFC 3986 3.2), narrower than the grammar: what no name has is refused.

/// Whether this is a host, with or without port: a name, an IPv4 address, or an IPv6 address in brackets.
#[must_use]
pub fn authority_is_valid(text: &[u8]) -> bool {
    let (host, port) = match text.strip_prefix(b"[") {
        Some(rest) => {
            let Some(end) = rest.iter().position(|b| *b == b']') else { return false };
            if !literal_is_valid(&rest[..end]) {
                return false;
            }
            (&text[..end + 2], &rest[end + 1..])
        }
        None => {
            let end = text.iter().position(|b| *b == b':').unwrap_or(text.len());
            if !name_is_valid(&text[..end]) {
                return false;
            }
            text.split_at(end)
        }
    };
    !host.is_empty() && port_is_valid(port)
}

fn name_is_valid(name: &[u8]) -> bool {
    !name.is_empty()
        && name.iter().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_' | b'~'))
}

fn literal_is_valid(literal: &[u8]) -> bool {
    std::str::from_utf8(literal).is_ok_and(|text| text.parse::<std::net::Ipv6Addr>().is_ok())
}

/// Empty, or a colon and a number, which may be missing.
fn port_is_valid(port: &[u8]) -> bool {
    let Some((colon, digits)) = port.split_first() else { return true };
    let number = digits.iter().try_fold(0_u32, |n, b| {
        b.is_ascii_digit().then(|| n.saturating_mul(10).saturating_add(u32::from(b - b'0')))
    });
    *colon == b':' && digits.len() <= 5 && number.is_some_and(|n| n <= 65_535)
}
