//! The URL of `proxy_pass`: which server, and with which path.

/// A URL in its parts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Url<'t> {
    /// TLS towards the server.
    pub(super) tls: bool,
    /// `name`, `name:port` or `unix:/path`.
    pub(super) authority: &'t str,
    /// Scheme and authority as they were written: `http://name:port`.
    pub(super) base: &'t str,
    /// What follows, when anything does: `/path`, `?query`, `$variable`.
    pub(super) uri: &'t str,
}

/// Variables that begin a path.
const PATHS: &[&str] = &["$uri", "$request_uri", "$document_uri", "${uri}", "${request_uri}", "$1", "$2"];

/// Takes a URL apart; the error is nginx's.
pub(super) fn parse<'t>(text: &'t str, grpc: bool) -> Option<Url<'t>> {
    let starts = |scheme: &str| {
        text.get(..scheme.len()).is_some_and(|head| head.eq_ignore_ascii_case(scheme)).then_some(scheme.len())
    };
    let (tls, start) = if grpc {
        match (starts("grpc://"), starts("grpcs://")) {
            (Some(len), _) => (false, len),
            (None, Some(len)) => (true, len),
            (None, None) => (false, 0),
        }
    } else {
        match (starts("http://"), starts("https://")) {
            (Some(len), _) => (false, len),
            (None, Some(len)) => (true, len),
            (None, None) => return None,
        }
    };
    let rest = &text[start..];
    let (authority, uri) = if let Some(path) = rest.strip_prefix("unix:") {
        let len = path.find(':').unwrap_or(path.len());
        (&rest[..5 + len], path.get(len + 1..).unwrap_or_default())
    } else {
        let slash = rest.find(['/', '?']).unwrap_or(rest.len());
        let variable = PATHS.iter().filter_map(|path| rest.find(path)).min().filter(|at| *at > 0);
        rest.split_at(slash.min(variable.unwrap_or(slash)))
    };
    if authority.is_empty() || authority == "unix:" {
        return None;
    }
    Some(Url { tls, authority, base: &text[..start + authority.len()], uri })
}

/// `name` and port of an authority, brackets of IPv6 kept.
pub(super) fn split(authority: &str) -> (&str, Option<&str>) {
    let from = authority.rfind(']').map_or(0, |at| at + 1);
    match authority[from..].rfind(':') {
        Some(at) => (&authority[..from + at], Some(&authority[from + at + 1..])),
        None => (authority, None),
    }
}

/// The authority with a port.
pub(super) fn with_port(authority: &str, port: u16) -> String {
    match split(authority) {
        (_, Some(_)) => authority.to_owned(),
        (name, None) => format!("{name}:{port}"),
    }
}

/// A decoded path as it stands in a URL.
pub(super) fn encoded(path: &str) -> String {
    let mut out = String::with_capacity(path.len());
    for byte in path.bytes() {
        if byte <= b' ' || byte >= 0x7f || b"\"#%<>?\\^`{|}".contains(&byte) {
            out.push_str(&format!("%{byte:02X}"));
        } else {
            out.push(char::from(byte));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(text: &str) -> Option<(bool, &str, &str)> {
        parse(text, false).map(|url| (url.tls, url.authority, url.uri))
    }

    #[test]
    fn a_url_is_scheme_server_and_path() {
        assert_eq!(parts("http://a"), Some((false, "a", "")));
        assert_eq!(parts("HTTPS://a:8443/x/?y"), Some((true, "a:8443", "/x/?y")));
        assert_eq!(parts("http://unix:/run/a.sock:/x"), Some((false, "unix:/run/a.sock", "/x")));
        assert_eq!(parts("http://unix:/run/a.sock"), Some((false, "unix:/run/a.sock", "")));
        assert_eq!(parts("http://[::1]:80/"), Some((false, "[::1]:80", "/")));
        assert_eq!(parts("http://a:80$request_uri"), Some((false, "a:80", "$request_uri")));
        assert_eq!(parts("http://$a:80/b"), Some((false, "$a:80", "/b")));
        assert_eq!((parts("ftp://a"), parts("http:///x"), parts("a")), (None, None, None));
        assert_eq!(parse("grpcs://a:1", true).map(|url| url.tls), Some(true));
        assert_eq!(parse("a:1", true).map(|url| (url.tls, url.authority)), Some((false, "a:1")));
    }

    #[test]
    fn a_port_is_what_stands_behind_the_last_colon_outside_brackets() {
        assert_eq!(split("[::1]:80"), ("[::1]", Some("80")));
        assert_eq!(split("[::1]"), ("[::1]", None));
        assert_eq!((with_port("a", 80), with_port("a:1", 80)), ("a:80".to_owned(), "a:1".to_owned()));
    }
}
