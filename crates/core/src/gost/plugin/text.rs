//! What stands in calls, made what it is kept as: hosts, addresses, tunnels.

use std::net::IpAddr;

use super::{Service, TEXT_MAX};

/// The key of a host: without its port and the last dot, in lower case, and its first label alone when it is below one of
/// the domains.
#[must_use]
pub fn key(host: &str, domains: &[String]) -> String {
    let host = match host.rsplit_once(':') {
        Some((before, port)) if !before.is_empty() && is_port(port) => match before.strip_prefix('[') {
            Some(inner) => inner.strip_suffix(']').unwrap_or(before),
            // An IPv6 address without brackets has no port.
            None if before.contains(':') => host,
            None => before,
        },
        Some(_) | None => host,
    };
    let host = host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase();
    let below = |domain: &String| {
        let rest = host.strip_suffix(&domain.to_ascii_lowercase())?.strip_suffix('.')?;
        rest.split('.').next().filter(|label| !label.is_empty()).map(str::to_owned)
    };
    domains.iter().filter(|domain| !domain.is_empty()).find_map(below).unwrap_or(host)
}

/// An address with a host: its own, or where the call came from.
pub(super) fn address(address: &str, from: IpAddr) -> Option<String> {
    let (host, port) = address.rsplit_once(':')?;
    if !is_port(port) {
        return None;
    }
    match host {
        "" => Some(match from.to_canonical() {
            IpAddr::V4(from) => format!("{from}:{port}"),
            IpAddr::V6(from) => format!("[{from}]:{port}"),
        }),
        _ if host.contains(':') && !(host.starts_with('[') && host.ends_with(']')) => None,
        _ => Some(address.to_owned()),
    }
}

fn is_port(text: &str) -> bool {
    (1..=5).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_digit())
        && text.parse::<u16>().is_ok()
}

/// Whether all of it is text that is kept.
pub(super) fn is_sound(service: &Service) -> bool {
    [&service.id, &service.name, &service.node, &service.network, &service.address]
        .into_iter()
        .all(|text| fits(text))
}

/// Whether a text is kept: short, and without what breaks lines.
pub(super) fn fits(text: &str) -> bool {
    text.len() <= TEXT_MAX && !text.chars().any(char::is_control)
}

/// Whether a key may be a host's: of what hosts are made of, so that no key of anybody else is meant, and no tunnel's.
pub(super) fn is_host(key: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"._*-".contains(&byte);
    (1..=TEXT_MAX).contains(&key.len()) && key.bytes().all(plain) && endpoint(key).is_none()
}

/// A tunnel as rules have it: a UUID in lower case that is not zero, `$` before it when it is private.
pub(super) fn endpoint(text: &str) -> Option<String> {
    let uuid = text.strip_prefix('$').unwrap_or(text);
    let plain = uuid.bytes().enumerate().all(|(at, byte)| match at {
        8 | 13 | 18 | 23 => byte == b'-',
        _ => byte.is_ascii_hexdigit(),
    });
    let zero = uuid.bytes().all(|byte| byte == b'0' || byte == b'-');
    (plain && uuid.len() == 36 && !zero).then(|| text.to_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_below_the_domain_is_known_by_its_first_label() {
        let domains = ["gost.local".to_owned(), "a.example".to_owned()];
        for (host, expected) in [
            ("b7de88a94729b931.gost.local", "b7de88a94729b931"),
            ("B7de88a94729b931.Gost.Local.:80", "b7de88a94729b931"),
            ("b7de88a94729b931", "b7de88a94729b931"),
            ("x.y.gost.local:8080", "x"),
            ("dash.a.example", "dash"),
            // The domain itself, one that only ends alike, none.
            ("gost.local", "gost.local"),
            ("evilgost.local", "evilgost.local"),
            (".gost.local", ".gost.local"),
            ("www.example.com:443", "www.example.com"),
            ("[2001:db8::1]:80", "2001:db8::1"),
            ("2001:db8::1", "2001:db8::1"),
            ("host:name", "host:name"),
            ("", ""),
            (":80", ":80"),
        ] {
            assert_eq!(key(host, &domains), expected, "{host}");
        }
        assert_eq!(key("a.b", &[String::new()]), "a.b", "no domain takes no label");
    }

    #[test]
    fn an_address_without_a_host_is_where_the_call_came_from() {
        let v4: IpAddr = "::ffff:192.0.2.7".parse().unwrap();
        let v6: IpAddr = "2001:db8::7".parse().unwrap();
        assert_eq!(address(":80", v4).as_deref(), Some("192.0.2.7:80"));
        assert_eq!(address(":80", v6).as_deref(), Some("[2001:db8::7]:80"));
        assert_eq!(address("edge:8080", v4).as_deref(), Some("edge:8080"));
        assert_eq!(address("[::1]:80", v4).as_deref(), Some("[::1]:80"));
        for wrong in ["", "80", "edge", "edge:", "edge:http", "edge:99999", "::1:80", "edge:+80"] {
            assert_eq!(address(wrong, v4), None, "{wrong}");
        }
    }

    #[test]
    fn a_tunnel_is_a_uuid_that_is_not_zero() {
        let uuid = "381433e1-7980-11ee-bbdb-60f262c1e32d";
        assert_eq!(endpoint(uuid).as_deref(), Some(uuid));
        assert_eq!(endpoint(&format!("${}", uuid.to_uppercase())), Some(format!("${uuid}")));
        for wrong in ["", "$", "office", "00000000-0000-0000-0000-000000000000", &uuid[1..], "$$"] {
            assert_eq!(endpoint(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_host_is_no_key_of_anybody_else() {
        for host in ["b7de88a94729b931", "own.example", "*.example.com", "_acme.a-b.example"] {
            assert!(is_host(host), "{host}");
        }
        let uuid = "381433e1-7980-11ee-bbdb-60f262c1e32d";
        let long = "x".repeat(TEXT_MAX + 1);
        for wrong in ["", "mainstay:hubs", "2001:db8::1", "a b", "A", "$a", "a/b", "a\u{e4}", uuid, &long] {
            assert!(!is_host(wrong), "{wrong}");
        }
    }
}
