//! Cookies that bind clients to backends. Their value is a keyed hash: it tells nothing of the backend, and every
//! instance and node with the same key makes the same of it.

use std::fmt::Write;

use mainstay_config::plan::edge::Sticky;
use mainstay_core::balance::hash::{Key, hash};

/// The value for a backend: pool, name and address, so that each address of a name has its own.
pub(super) fn value(key: Key, pool: &str, name: &str, address: &str) -> u64 {
    hash(key, format!("{pool}\n{name}\n{address}").as_bytes())
}

/// The key that a secret stands for: its hash's first half.
pub(super) fn key_of(secret: &str) -> Key {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, secret.as_bytes());
    from_bytes(digest.as_ref()[..16].try_into().expect("32 bytes"))
}

/// Sixteen bytes as a key.
pub(super) fn from_bytes(key: [u8; 16]) -> Key {
    let half = |at: usize| u64::from_le_bytes(key[at..at + 8].try_into().expect("eight bytes"));
    [half(0), half(8)]
}

/// Reads a value back; `None` for what is none of ours.
pub(super) fn parse(cookie: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(cookie).ok()?;
    let ours = text.len() == 16 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    ours.then(|| u64::from_str_radix(text, 16).ok())?
}

/// The whole value of `Set-Cookie`.
pub(super) fn set_cookie(sticky: &Sticky, value: u64) -> String {
    let mut line = format!("{}={value:016x}; Path={}", sticky.cookie, sticky.path);
    if let Some(domain) = &sticky.domain {
        line.push_str("; Domain=");
        line.push_str(domain);
    }
    if !sticky.max_age.is_zero() {
        write!(line, "; Max-Age={}", sticky.max_age.as_secs().max(1)).expect("a string takes all");
    }
    if sticky.http_only {
        line.push_str("; HttpOnly");
    }
    if sticky.secure {
        line.push_str("; Secure");
    }
    if let Some(same_site) = &sticky.same_site {
        line.push_str("; SameSite=");
        line.push_str(same_site);
    }
    line
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn the_cookie_is_written_as_browsers_read_it() {
        let plain = Sticky {
            cookie: "backend".into(),
            max_age: Duration::ZERO,
            path: "/".into(),
            domain: None,
            http_only: true,
            secure: false,
            same_site: None,
            key: None,
        };
        assert_eq!(set_cookie(&plain, 0xab), "backend=00000000000000ab; Path=/; HttpOnly");
        let full = Sticky {
            max_age: Duration::from_secs(3600),
            domain: Some("example.com".into()),
            secure: true,
            same_site: Some("Lax".into()),
            ..plain
        };
        assert_eq!(
            set_cookie(&full, 1),
            "backend=0000000000000001; Path=/; Domain=example.com; Max-Age=3600; HttpOnly; Secure; SameSite=Lax"
        );
    }

    #[test]
    fn only_values_of_ours_are_read() {
        assert_eq!(parse(b"00000000000000ab"), Some(0xab));
        for other in
            [&b""[..], b"ab", b"00000000000000AB", b"+0000000000000ab", b"00000000000000ab ", b"\xff"]
        {
            assert_eq!(parse(other), None);
        }
    }

    #[test]
    fn another_key_makes_other_values() {
        let value = |key| value([key, 0], "shop", "a", "10.0.0.1:80");
        assert_ne!(value(1), value(2));
    }
}
