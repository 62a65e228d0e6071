//! Targets that a name service may still have to look up: host:port and URLs.

use std::net::Ipv6Addr;

use super::Resolver;
use crate::source::At;

impl Resolver<'_> {
    pub(super) fn host_port(&mut self, text: &At<String>, who: &str) {
        if let Err(wrong) = host_port(&text.value) {
            let message = format!("{who}: \"{}\" is not host:port: {wrong}", text.value);
            self.error(text.span, message, "write \"10.0.4.20:80\", \"name:80\" or \"[2001:db8::1]:80\"");
        }
    }

    /// Checks an http or https URL; true when it is https.
    pub(super) fn url(&mut self, text: &At<String>, who: &str) -> bool {
        match url(&text.value) {
            Ok(https) => https,
            Err(wrong) => {
                let message = format!("{who}: \"{}\" is not a URL: {wrong}", text.value);
                self.error(text.span, message, "write \"http://127.0.0.1:80/healthz\"");
                false
            }
        }
    }
}

fn host_port(text: &str) -> Result<(), &'static str> {
    host_port_of(text).map(|_| ())
}

/// The two halves of host:port.
pub(super) fn host_port_of(text: &str) -> Result<(&str, u16), &'static str> {
    let Some((host, port)) = text.rsplit_once(':') else { return Err("the port is missing") };
    host_name(host)?;
    Ok((host, port_number(port)?))
}

fn port_number(port: &str) -> Result<u16, &'static str> {
    let digits = !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit());
    match port.parse::<u16>() {
        Ok(port @ 1..) if digits => Ok(port),
        Ok(_) | Err(_) => Err("a port is a number from 1 to 65535"),
    }
}

fn host_name(host: &str) -> Result<(), &'static str> {
    if let Some(inner) = host.strip_prefix('[') {
        let Some(inner) = inner.strip_suffix(']') else { return Err("the bracket `]` is missing") };
        let inner = inner.split_once('%').map_or(inner, |(addr, _)| addr);
        return inner.parse::<Ipv6Addr>().map(|_| ()).map_err(|_| "the brackets hold no IPv6 address");
    }
    if host.contains(':') {
        return Err("an IPv6 address stands in brackets");
    }
    if host.is_empty() {
        return Err("the host is missing");
    }
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    if host.len() > 253 || !host.chars().all(plain) {
        return Err("a host is an address or a name of letters, digits, dots and dashes");
    }
    let dotted = host.chars().all(|c| c.is_ascii_digit() || c == '.');
    if dotted && host.parse::<std::net::Ipv4Addr>().is_err() {
        return Err("this is no IPv4 address");
    }
    Ok(())
}

fn url(text: &str) -> Result<bool, &'static str> {
    let (https, rest) = if let Some(rest) = text.strip_prefix("https://") {
        (true, rest)
    } else if let Some(rest) = text.strip_prefix("http://") {
        (false, rest)
    } else {
        return Err("it starts with neither http:// nor https://");
    };
    if text.contains(|c: char| c.is_whitespace() || c.is_control()) {
        return Err("it has a blank");
    }
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let authority = &rest[..end];
    if authority.contains('@') {
        return Err("a user and a password in it are not supported");
    }
    let after_bracket = authority.rfind(']').map_or(0, |at| at + 1);
    match authority[after_bracket..].find(':') {
        Some(colon) => {
            host_name(&authority[..after_bracket + colon])?;
            let _ = port_number(&authority[after_bracket + colon + 1..])?;
        }
        None => host_name(authority)?,
    }
    Ok(https)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_told_from_what_only_looks_like_one() {
        for good in ["10.0.4.20:80", "name:80", "[2001:db8::1]:80", "[fe80::1%eth0]:80"] {
            assert_eq!(host_port(good), Ok(()), "{good}");
        }
        for bad in
            ["", ":80", "host", "host:", "host:0", "host:70000", "host:+80", "::1:80", "[::1:80", "10.0.4:80"]
        {
            assert!(host_port(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn urls_need_a_scheme_and_a_host() {
        assert_eq!(url("http://127.0.0.1/healthz"), Ok(false));
        assert_eq!(url("https://[::1]:8443/a?b=c"), Ok(true));
        assert_eq!(url("http://name"), Ok(false));
        for bad in [
            "",
            "127.0.0.1/x",
            "ftp://x/",
            "http:///x",
            "http://h:0/",
            "http://a b/",
            "http://u:p@h/",
            "http://::1/",
        ] {
            assert!(url(bad).is_err(), "{bad}");
        }
    }
}
