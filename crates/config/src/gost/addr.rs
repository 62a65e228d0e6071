//! Addresses and ids as gost reads them.

/// `host:port` with brackets off: `:80` has an empty host.
pub(super) fn split(text: &str) -> Option<(&str, u16)> {
    let (host, port) = text.rsplit_once(':')?;
    let port = port.parse().ok()?;
    let host = match host.strip_prefix('[') {
        Some(inner) => inner.strip_suffix(']')?,
        None if host.contains(':') => return None,
        None => host,
    };
    Some((host, port))
}

/// An address to connect to: Go takes an empty host for this machine. `None` is no address.
pub(super) fn target(text: &str) -> Option<String> {
    let (host, port) = split(text).filter(|(_, port)| *port > 0)?;
    let good = |c: char| c.is_ascii_alphanumeric() || "._-:%".contains(c);
    if !host.chars().all(good) {
        return None;
    }
    Some(match host {
        "" => format!("127.0.0.1:{port}"),
        host if host.contains(':') => format!("[{host}]:{port}"),
        host => format!("{host}:{port}"),
    })
}

/// An address to listen at, as `bind` takes it.
pub(super) fn bind(text: &str) -> Option<String> {
    let (host, port) = split(text).filter(|(_, port)| *port > 0)?;
    match host {
        "" | "*" => Some(format!(":{port}")),
        "localhost" => Some(format!("127.0.0.1:{port}")),
        host => {
            let addr: std::net::IpAddr = host.parse().ok()?;
            Some(std::net::SocketAddr::new(addr, port).to_string())
        }
    }
}

/// `host:8000-8002` is three addresses; anything else stays one.
pub(super) fn ports(text: &str) -> Vec<String> {
    /// A range of more is a mistake.
    const MOST: u16 = 1024;
    let range = text.rsplit_once(':').and_then(|(host, ports)| {
        let (first, last) = ports.split_once('-')?;
        let (first, last): (u16, u16) = (first.parse().ok()?, last.parse().ok()?);
        (first <= last && last - first < MOST)
            .then(|| (first..=last).map(|port| format!("{host}:{port}")).collect())
    });
    range.unwrap_or_else(|| vec![text.to_owned()])
}

/// A UUID in its usual form; `None` is none, or the one of zeros, which gost refuses.
pub(super) fn uuid(text: &str) -> Option<String> {
    let text = text.trim();
    let text = match text.get(..9) {
        Some(head) if head.eq_ignore_ascii_case("urn:uuid:") => &text[9..],
        Some(_) | None => text.strip_prefix('{').and_then(|text| text.strip_suffix('}')).unwrap_or(text),
    };
    let dashes = text.match_indices('-').map(|(at, _)| at);
    if !(text.len() == 32 || text.len() == 36 && dashes.eq([8, 13, 18, 23])) {
        return None;
    }
    let hex: String = text.chars().filter(|c| *c != '-').collect::<String>().to_lowercase();
    let good =
        hex.len() == 32 && hex.bytes().all(|b| b.is_ascii_hexdigit()) && hex.bytes().any(|b| b != b'0');
    good.then(|| {
        let parts = [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]];
        parts.join("-")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_host_is_every_address_to_listen_and_this_machine_to_dial() {
        assert_eq!(bind(":80").as_deref(), Some(":80"));
        assert_eq!(bind("[::1]:80").as_deref(), Some("[::1]:80"));
        assert_eq!(target(":80").as_deref(), Some("127.0.0.1:80"));
        assert_eq!(target("[::1]:80").as_deref(), Some("[::1]:80"));
        assert_eq!(target("db.example.com:5432").as_deref(), Some("db.example.com:5432"));
        for wrong in ["", "80", ":0", ":x", "a b:80", "::1:80", "[::1:80", ":70000"] {
            assert_eq!((bind(wrong), target(wrong)), (None, None), "{wrong}");
        }
    }

    #[test]
    fn ranges_of_ports_are_written_out() {
        assert_eq!(ports("a:1-3"), ["a:1", "a:2", "a:3"]);
        for one in ["a:1", "a:3-1", ":1-65535", "a", ""] {
            assert_eq!(ports(one), [one]);
        }
    }

    #[test]
    fn ids_have_one_form() {
        let usual = "381433e1-7980-11ee-bbdb-60f262c1e32d";
        for form in [
            usual,
            "381433E1-7980-11EE-BBDB-60F262C1E32D",
            "381433e1798011eebbdb60f262c1e32d",
            "{381433e1-7980-11ee-bbdb-60f262c1e32d}",
            "urn:uuid:381433e1-7980-11ee-bbdb-60f262c1e32d",
        ] {
            assert_eq!(uuid(form).as_deref(), Some(usual), "{form}");
        }
        for wrong in ["", "x", "00000000-0000-0000-0000-000000000000", "381433e1-7980-11ee-bbdb60f262c1e32d-"]
        {
            assert_eq!(uuid(wrong), None, "{wrong}");
        }
    }
}
