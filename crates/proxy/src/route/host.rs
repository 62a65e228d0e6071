//! Which routes a host has: exact names, wildcards from the longest on, expressions, any.

use smallvec::SmallVec;

use super::paths::Paths;
use super::pattern::Pattern;

/// The hosts of a listener.
#[derive(Clone, Debug, Default)]
pub(crate) struct Hosts {
    /// Sorted names.
    pub(super) exact: Vec<(Box<str>, Paths)>,
    /// Sorted endings: `.example.com`.
    pub(super) suffix: Vec<(Box<str>, Paths)>,
    /// Sorted beginnings: `www.example.`.
    pub(super) prefix: Vec<(Box<str>, Paths)>,
    /// In the order of the file.
    pub(super) patterns: Vec<(Box<str>, Pattern, Paths)>,
    /// Any host, or none.
    pub(super) any: Paths,
}

impl Hosts {
    /// The sets of routes for a host, the best first, until `take` is content with one.
    pub(crate) fn find<'a, T>(
        &'a self,
        host: &str,
        mut take: impl FnMut(&'a Paths, Option<&'a Pattern>) -> Option<T>,
    ) -> Option<T> {
        if let Some(taken) = named(&self.exact, host).and_then(|paths| take(paths, None)) {
            return Some(taken);
        }
        if !self.suffix.is_empty() {
            for (dot, _) in host.match_indices('.').filter(|(dot, _)| *dot > 0) {
                if let Some(taken) = named(&self.suffix, &host[dot..]).and_then(|paths| take(paths, None)) {
                    return Some(taken);
                }
            }
        }
        if !self.prefix.is_empty() {
            for (dot, _) in host.rmatch_indices('.').filter(|(dot, _)| dot + 1 < host.len()) {
                if let Some(taken) = named(&self.prefix, &host[..=dot]).and_then(|paths| take(paths, None)) {
                    return Some(taken);
                }
            }
        }
        if !host.is_empty() {
            for (_, pattern, paths) in self.patterns.iter().filter(|(_, pattern, _)| pattern.is_match(host)) {
                if let Some(taken) = take(paths, Some(pattern)) {
                    return Some(taken);
                }
            }
        }
        take(&self.any, None)
    }
}

fn named<'a>(list: &'a [(Box<str>, Paths)], name: &str) -> Option<&'a Paths> {
    match list {
        [] => None,
        [(only, paths)] => (**only == *name).then_some(paths),
        _ => list.binary_search_by(|(own, _)| (**own).cmp(name)).ok().map(|n| &list[n].1),
    }
}

/// The host of an authority: without its port and a dot at its end, letters as they are. `None` when it is none.
pub(crate) fn of(authority: &[u8]) -> Option<&str> {
    let text = std::str::from_utf8(authority).ok()?;
    let (host, port) = match text.strip_prefix('[') {
        Some(inside) => {
            let end = inside.find(']')? + 2;
            (&text[..end], &text[end..])
        }
        None => text.find(':').map_or((text, ""), |colon| text.split_at(colon)),
    };
    let port_fits = port.is_empty() || port.len() <= 6 && port[1..].bytes().all(|b| b.is_ascii_digit());
    let starts = port.is_empty() || port.starts_with(':');
    if !starts || !port_fits || !is_name(host) {
        return None;
    }
    Some(host.strip_suffix('.').unwrap_or(host))
}

fn is_name(host: &str) -> bool {
    let inside = host.strip_prefix('[').and_then(|h| h.strip_suffix(']'));
    if let Some(address) = inside {
        return address.bytes().all(|b| b.is_ascii_hexdigit() || matches!(b, b':' | b'.'));
    }
    let mut before = b'\0';
    host.bytes().all(|b| {
        let fits = !(b == b'.' && before == b'.')
            && (b.is_ascii_alphanumeric()
                || matches!(b, b'.' | b'-' | b'_' | b'~' | b'%' | b'!' | b'$' | b'&' | b'\'' | b'(' | b')')
                || matches!(b, b'*' | b'+' | b',' | b';' | b'=' | 0x80..));
        before = b;
        fits
    })
}

/// A host in lower case, for the time of a look-up.
pub(crate) fn lower(host: &str) -> SmallVec<[u8; 64]> {
    host.bytes().map(|b| b.to_ascii_lowercase()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_loses_its_port_and_its_last_dot() {
        for (authority, host) in [
            ("a.example", Some("a.example")),
            ("a.example:8080", Some("a.example")),
            ("a.example.", Some("a.example")),
            ("a.example.:80", Some("a.example")),
            ("[::1]:80", Some("[::1]")),
            ("[2001:db8::1]", Some("[2001:db8::1]")),
            ("a_b", Some("a_b")),
            ("", Some("")),
            ("a:", Some("a")),
        ] {
            assert_eq!(of(authority.as_bytes()), host, "{authority}");
        }
    }

    #[test]
    fn what_is_no_host_is_refused() {
        for authority in [
            "a/b", "a b", "a@b", "a..b", "..", "a:80:80", "a:x", "a:123456", "[::1", "[x]", "[::1]x",
            "a\r\nb", "a#", "a?b", "a\"b",
        ] {
            assert_eq!(of(authority.as_bytes()), None, "{authority:?}");
        }
        assert_eq!(of(b"\xff"), None);
    }
}
