//! Hosts and paths that routes are for.

use super::{flag, span_of};
use crate::plan::edge::{Host, PathMatch};
use crate::raw;
use crate::resolve::Resolver;
use crate::source::At;

impl Resolver<'_> {
    /// A host: a name, a wildcard at one end, an expression, or any.
    pub(super) fn host(&mut self, at: &At<String>, who: &str) -> Option<Host> {
        if let Some(expression) = at.value.strip_prefix('~') {
            let expression = At::new(expression.to_owned(), at.span);
            return Some(Host::Regex(self.pattern(&expression, false, &format!("{who}: host"))));
        }
        match host(&at.value) {
            Ok(host) => Some(host),
            Err((wrong, help)) => {
                let message = format!("{who}: host \"{}\" {wrong}", at.value.escape_debug());
                self.error(at.span, message, help);
                None
            }
        }
    }

    pub(super) fn path_match(&mut self, raw: &raw::Route, who: &str) -> PathMatch {
        let keys = [
            ("path", span_of(&raw.path)),
            ("path_exact", span_of(&raw.path_exact)),
            ("path_regex", span_of(&raw.path_regex)),
            ("by_name", span_of(&raw.by_name).filter(|_| flag(&raw.by_name, false))),
        ];
        if keys.iter().any(|(_, span)| span.is_some()) {
            self.exactly_one(&keys, &raw.head, who);
        }
        if raw.path_regex.is_none() {
            self.foreign(span_of(&raw.ignore_case), "ignore_case", "`path_regex`", who);
        }
        if raw.path_exact.is_some() || raw.path_regex.is_some() || flag(&raw.by_name, false) {
            self.foreign(span_of(&raw.last), "last", "`path`", who);
        }
        if flag(&raw.by_name, false) {
            self.foreign(span_of(&raw.internal), "internal", "routes with a path", who);
            return PathMatch::Never;
        }
        if let Some(at) = &raw.path_regex {
            let ignore_case = flag(&raw.ignore_case, false);
            return PathMatch::Regex {
                pattern: self.pattern(at, ignore_case, &format!("{who}: path_regex")),
                ignore_case,
            };
        }
        if let Some(at) = &raw.path_exact {
            self.plain_path(at, "path_exact", who);
            return PathMatch::Exact(at.value.clone());
        }
        if let Some(at) = &raw.path {
            self.plain_path(at, "path", who);
        }
        let path = raw.path.as_ref().map_or_else(|| "/".to_owned(), |at| at.value.clone());
        PathMatch::Prefix { path, last: flag(&raw.last, false) }
    }

    /// Paths are compared decoded: without query, escapes, doubled slashes and dots.
    fn plain_path(&mut self, at: &At<String>, key: &str, who: &str) {
        let path = at.value.as_str();
        if !path.starts_with('/') {
            let message = format!("{who}: {key} \"{}\" does not begin with /", path.escape_debug());
            self.error(
                at.span,
                message,
                format!("write {key} = \"/{}\"", path.trim_start_matches('/').escape_debug()),
            );
            return;
        }
        if path.contains('?') {
            let message = format!(
                "{who}: {key} \"{}\" matches an escaped ? alone: a query is not part of a path",
                path.escape_debug()
            );
            self.findings.warn(
                at.span,
                message,
                "write queries = [{ name = \"a\", is = \"b\" }] for a query",
            );
        }
        let odd = if path.contains("//") {
            Some(("slashes are merged before paths are compared", "write one slash"))
        } else if path.split('/').any(|segment| segment == "." || segment == "..") {
            Some(("dots are resolved before paths are compared", "write the path without them"))
        } else if path
            .as_bytes()
            .windows(3)
            .any(|w| w[0] == b'%' && w[1].is_ascii_hexdigit() && w[2].is_ascii_hexdigit())
        {
            Some((
                "paths are decoded before they are compared",
                "write the character itself in place of its escape",
            ))
        } else {
            None
        };
        if let Some((why, help)) = odd {
            let message = format!("{who}: {key} \"{}\" never matches: {why}", path.escape_debug());
            self.error(at.span, message, help);
        }
    }
}

/// A host without its expression form; the error says what is wrong and what to write.
fn host(text: &str) -> Result<Host, (&'static str, String)> {
    let lower = text.trim_end_matches('.').to_ascii_lowercase();
    let example = "write \"www.example.com\", \"*.example.com\", \"www.example.*\", \"~expression\" or \"*\""
        .to_owned();
    if text == "*" {
        return Ok(Host::Any);
    }
    if text == "_" || text == "default" {
        return Err(("stands for nothing here", "write \"*\" for any host, or leave `host` out".to_owned()));
    }
    if let Some(rest) = lower.strip_prefix('.') {
        let help = format!("write [\"{rest}\", \"*.{rest}\"]");
        return Err(("begins with a dot", help));
    }
    if lower.contains("://") || lower.contains('/') {
        return Err(("is not a host", "write the host alone; the path stands in `path`".to_owned()));
    }
    if let Some(addr) = lower.strip_prefix('[') {
        let good = addr.strip_suffix(']').is_some_and(|addr| addr.parse::<std::net::Ipv6Addr>().is_ok());
        return if good { Ok(Host::Exact(lower)) } else { Err(("is not a host", example)) };
    }
    if lower.contains(':') {
        return Err(("has a port", "write the host alone; the listener's `bind` has the port".to_owned()));
    }
    if !lower.is_ascii() {
        return Err(("is not ASCII", "write it as browsers send it: \"xn--...\"".to_owned()));
    }
    let name = |name: &str| {
        !name.is_empty()
            && name.len() <= 253
            && name.split('.').all(|label| {
                !label.is_empty()
                    && label.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
            })
    };
    if let Some(rest) = lower.strip_prefix("*.") {
        return if name(rest) {
            Ok(Host::Suffix(format!(".{rest}")))
        } else {
            Err(("is not a host", example))
        };
    }
    // `www.example.*`: the trailing star is the last label.
    if let Some(rest) = lower.strip_suffix(".*") {
        return if name(rest) {
            Ok(Host::Prefix(format!("{rest}.")))
        } else {
            Err(("is not a host", example))
        };
    }
    if lower.contains('*') {
        return Err((
            "has a star in the middle",
            format!("{example}; a star is the first label or the last"),
        ));
    }
    if name(&lower) { Ok(Host::Exact(lower)) } else { Err(("is not a host", example)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_names_wildcards_or_any() {
        for (text, expected) in [
            ("Example.COM.", Host::Exact("example.com".to_owned())),
            ("*.example.com", Host::Suffix(".example.com".to_owned())),
            ("www.example.*", Host::Prefix("www.example.".to_owned())),
            ("[2001:DB8::1]", Host::Exact("[2001:db8::1]".to_owned())),
            ("10.0.4.99", Host::Exact("10.0.4.99".to_owned())),
            ("*", Host::Any),
        ] {
            assert_eq!(host(text), Ok(expected), "{text}");
        }
        for wrong in [
            "",
            "_",
            ".example.com",
            "a:80",
            "http://a",
            "a/b",
            "a.*.b",
            "*a.b",
            "*.*",
            "a b",
            "bücher.example",
            "[x]",
        ] {
            assert!(host(wrong).is_err(), "{wrong}");
        }
    }
}
