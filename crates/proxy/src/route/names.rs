//! Sets of header names that are asked for every field of every message.

/// Names of headers, without regard to case.
#[derive(Clone, Debug, Default)]
pub(super) struct Names {
    /// Lower case, sorted by length.
    names: Vec<Box<[u8]>>,
    /// Where the names of each length begin; the last entry is the end.
    starts: Vec<u16>,
}

impl Names {
    pub(super) fn new<'a>(names: impl IntoIterator<Item = &'a str>) -> Self {
        let mut names: Vec<Box<[u8]>> =
            names.into_iter().map(|name| name.to_ascii_lowercase().into_bytes().into()).collect();
        names.sort_by(|a, b| (a.len(), a).cmp(&(b.len(), b)));
        names.dedup();
        let longest = names.last().map_or(0, |name| name.len());
        let starts = (0..=longest + 1)
            .map(|len| u16::try_from(names.partition_point(|name| name.len() < len)).unwrap_or(u16::MAX))
            .collect();
        Self { names, starts }
    }

    /// Whether a name is one of them.
    pub(super) fn has(&self, name: &[u8]) -> bool {
        let (Some(&start), Some(&end)) = (self.starts.get(name.len()), self.starts.get(name.len() + 1))
        else {
            return false;
        };
        self.names[usize::from(start)..usize::from(end)].iter().any(|own| own.eq_ignore_ascii_case(name))
    }
}

/// Fields that are about one connection and not about the message; framing and `Expect` are whoever writes the message's as well.
pub(super) const HOP: [&str; 11] = [
    "connection",
    "keep-alive",
    "te",
    "transfer-encoding",
    "upgrade",
    "proxy-connection",
    "content-length",
    "expect",
    "http2-settings",
    "trailer",
    "proxy-authenticate",
];

/// Whether a name is one of [`HOP`].
pub(super) fn is_hop(name: &str) -> bool {
    HOP.iter().any(|own| own.eq_ignore_ascii_case(name))
}

/// The names that `Connection` fields list, but for those that are dropped anyway.
pub(super) fn listed(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|b| *b == b',').map(<[u8]>::trim_ascii).filter(|token| {
        let plain: [&[u8]; 4] = [b"", b"close", b"keep-alive", b"upgrade"];
        !plain.iter().any(|own| own.eq_ignore_ascii_case(token))
    })
}

/// A value fit for a header line: controls are blanks, none stand around it.
pub(super) fn clean(value: &mut Vec<u8>) {
    if value.iter().any(|b| is_control(*b)) {
        value.iter_mut().filter(|b| is_control(**b)).for_each(|b| *b = b' ');
    }
    if value.first().is_some_and(|b| matches!(b, b' ' | b'\t'))
        || value.last().is_some_and(|b| matches!(b, b' ' | b'\t'))
    {
        *value = value.trim_ascii().to_vec();
    }
}

const fn is_control(byte: u8) -> bool {
    byte < b' ' && byte != b'\t' || byte == 0x7f
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_found_in_either_case_and_nothing_else() {
        let names = Names::new(["Host", "x-real-ip", "TE", "Keep-Alive", "host"]);
        for name in ["host", "HOST", "X-Real-IP", "te", "keep-alive"] {
            assert!(names.has(name.as_bytes()), "{name}");
        }
        for name in ["", "hosts", "hos", "x-real-iq", "t", "keep-alive-and-a-very-long-name"] {
            assert!(!names.has(name.as_bytes()), "{name}");
        }
        assert!(!Names::default().has(b"host"));
        assert!(!Names::new([]).has(b""));
    }

    #[test]
    fn no_line_can_be_ended_from_inside_a_value() {
        let cleaned = |text: &str| {
            let mut value = text.as_bytes().to_vec();
            clean(&mut value);
            String::from_utf8(value).unwrap()
        };
        assert_eq!(cleaned("a\r\nX: b\0\x7f"), "a  X: b");
        assert_eq!(cleaned("a\tb 中"), "a\tb 中");
        assert_eq!(cleaned(" \r\n"), "");
        assert_eq!(cleaned(""), "");
    }

    #[test]
    fn connection_lists_what_else_is_dropped() {
        let names: Vec<&[u8]> = listed(b"close, X-A,, Upgrade ,x-b").collect();
        assert_eq!(names, [&b"X-A"[..], b"x-b"]);
    }
}
