//! The client's address behind other proxies: a list of addresses (`X-Forwarded-For`) is read from its right end, where the
//! nearest proxy wrote, and believed only as far as trusted proxies wrote it.
//!
//! The caller has seen that the peer itself is trusted; a list from anybody else is not to be read at all.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::net::{Networks, plain};

/// An address from a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hop {
    /// The address.
    pub addr: IpAddr,
    /// The port, where one is written.
    pub port: Option<u16>,
}

/// The client as the list in `lines` says, or `None` when its last entry is no address and the peer is all that is known.
///
/// `lines` are the header's values in reverse order, the last line first; together they are one list. With `recursive` the list
/// is walked past every trusted address; an entry that is no address ends the walk at the hop that wrote it. Otherwise the last
/// entry is taken.
pub fn client<'a>(
    lines: impl IntoIterator<Item = &'a [u8]>,
    trusted: &Networks,
    recursive: bool,
) -> Option<Hop> {
    let mut found = None;
    for line in lines {
        for entry in line.rsplit(|b| matches!(b, b',' | b' ' | b'\t')).filter(|entry| !entry.is_empty()) {
            let Some(hop) = parse(entry) else { return found };
            found = Some(hop);
            if !recursive || !trusted.contains(hop.addr) {
                return found;
            }
        }
    }
    found
}

/// One entry: `192.0.2.1`, `192.0.2.1:80`, `2001:db8::1`, `[2001:db8::1]`, `[2001:db8::1]:80`.
#[must_use]
pub fn parse(entry: &[u8]) -> Option<Hop> {
    let text = std::str::from_utf8(entry).ok()?;
    if let Some(rest) = text.strip_prefix('[') {
        let (addr, after) = rest.split_once(']')?;
        let port = if after.is_empty() { None } else { Some(port(after.strip_prefix(':')?)?) };
        return Some(Hop { addr: plain(addr.parse::<Ipv6Addr>().ok()?.into()), port });
    }
    if let Ok(addr) = text.parse::<IpAddr>() {
        return Some(Hop { addr: plain(addr), port: None });
    }
    let (addr, after) = text.split_once(':')?;
    Some(Hop { addr: addr.parse::<Ipv4Addr>().ok()?.into(), port: Some(port(after)?) })
}

fn port(text: &str) -> Option<u16> {
    // `u16::from_str` takes a plus sign.
    text.bytes().all(|b| b.is_ascii_digit()).then(|| text.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn nets(list: &[&str]) -> Networks {
        Networks::new(list.iter().map(|net| {
            let (addr, prefix) = net.split_once('/').unwrap_or((net, "32"));
            (ip(addr), prefix.parse().unwrap())
        }))
    }

    fn walk(lines: &[&str], trusted: &[&str]) -> Option<String> {
        let trusted = nets(trusted);
        client(lines.iter().rev().map(|l| l.as_bytes()), &trusted, true).map(|hop| hop.addr.to_string())
    }

    fn last(lines: &[&str]) -> Option<String> {
        client(lines.iter().rev().map(|l| l.as_bytes()), &nets(&["10.0.0.0/8"]), false)
            .map(|h| h.addr.to_string())
    }

    #[test]
    fn the_walk_ends_at_the_first_address_that_is_not_trusted() {
        let trusted = ["10.0.0.0/8"];
        assert_eq!(walk(&["6.6.6.6, 192.0.2.7, 10.1.1.1"], &trusted).as_deref(), Some("192.0.2.7"));
        assert_eq!(walk(&["192.0.2.7"], &trusted).as_deref(), Some("192.0.2.7"));
        assert_eq!(walk(&["10.2.2.2,10.1.1.1"], &trusted).as_deref(), Some("10.2.2.2"));
    }

    #[test]
    fn several_lines_are_one_list() {
        assert_eq!(
            walk(&["6.6.6.6", "192.0.2.7", "10.1.1.1, 10.3.3.3"], &["10.0.0.0/8"]).as_deref(),
            Some("192.0.2.7")
        );
        assert_eq!(last(&["192.0.2.7, 10.1.1.1", "192.0.2.8"]).as_deref(), Some("192.0.2.8"));
    }

    #[test]
    fn without_recursion_the_last_entry_counts_trusted_or_not() {
        assert_eq!(last(&["6.6.6.6, 192.0.2.7"]).as_deref(), Some("192.0.2.7"));
        assert_eq!(last(&["192.0.2.7, 10.1.1.1"]).as_deref(), Some("10.1.1.1"));
        assert_eq!(last(&["192.0.2.7, unknown"]), None);
    }

    #[test]
    fn what_is_no_address_ends_the_walk_at_the_hop_that_wrote_it() {
        for garbage in
            ["unknown", "_hidden", "10.1.1", "1.2.3.4:99999", "1.2.3.4:+1", "[::1", "fe80::1%eth0", "\u{e9}"]
        {
            assert_eq!(
                walk(&[&format!("192.0.2.7, {garbage}, 10.1.1.1")], &["10.0.0.0/8"]).as_deref(),
                Some("10.1.1.1"),
                "{garbage}"
            );
            assert_eq!(walk(&[&format!("192.0.2.7, {garbage}")], &["10.0.0.0/8"]), None, "{garbage}");
        }
    }

    #[test]
    fn blanks_commas_and_empty_lines_are_no_entries() {
        assert_eq!(
            walk(&["", " , ", "192.0.2.7 ,, 10.1.1.1 ,\t,"], &["10.0.0.0/8"]).as_deref(),
            Some("192.0.2.7")
        );
        assert_eq!(walk(&["", " ", ","], &["10.0.0.0/8"]), None);
        assert_eq!(walk(&[], &["10.0.0.0/8"]), None);
    }

    #[test]
    fn ports_and_brackets_are_understood() {
        let hop = |text: &str| parse(text.as_bytes()).map(|h| (h.addr.to_string(), h.port));
        assert_eq!(hop("192.0.2.1:8080"), Some(("192.0.2.1".into(), Some(8080))));
        assert_eq!(hop("2001:db8::1"), Some(("2001:db8::1".into(), None)));
        assert_eq!(hop("[2001:db8::1]"), Some(("2001:db8::1".into(), None)));
        assert_eq!(hop("[2001:db8::1]:443"), Some(("2001:db8::1".into(), Some(443))));
        assert_eq!(hop("::ffff:192.0.2.1"), Some(("192.0.2.1".into(), None)));
        assert_eq!(hop("[192.0.2.1]"), None);
        assert_eq!(hop("[::1]x"), None);
    }

    #[test]
    fn whatever_is_written_left_of_the_client_changes_nothing() {
        let mut seed = 11_u32;
        let mut draw = |below: u32| {
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (seed >> 8) % below
        };
        let forged = [
            "10.1.1.1",
            "127.0.0.1",
            "unknown",
            "",
            "::1",
            "[",
            "1.2.3.4:5",
            " ",
            "\u{fc}",
            "10.9.9.9, 10.8.8.8",
        ];
        for _ in 0..2000 {
            let mut lines: Vec<String> = (0..draw(4))
                .map(|_| {
                    let parts: Vec<&str> = (0..draw(5)).map(|_| forged[draw(10) as usize]).collect();
                    parts.join(",")
                })
                .collect();
            // What the client wrote, then what the first trusted proxy saw, then the further trusted hops.
            let written = "192.0.2.7, 10.1.1.1".to_owned();
            match lines.last_mut().filter(|_| draw(2) == 0) {
                Some(line) => *line = format!("{line}, {written}"),
                None => lines.push(written),
            }
            let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
            assert_eq!(walk(&lines, &["10.0.0.0/8"]).as_deref(), Some("192.0.2.7"), "{lines:?}");
        }
    }

    /// Seed 000: four nginx in a row; each but the first trusts the one before it, takes the last entry (recursion is off there) and
    /// appends the client that it has found.
    #[test]
    fn the_four_layers_of_the_bastion_find_the_client_whatever_it_forges() {
        let layers: [(&str, Option<&str>); 4] = [
            ("10.1.23.8", None),
            ("10.8.2.163", Some("10.1.23.8")),
            ("10.120.126.14", Some("10.8.2.163")),
            ("192.168.1.23", Some("10.120.126.14")),
        ];
        for recursive in [false, true] {
            for forged in ["", "6.6.6.6", "10.1.23.8, 10.8.2.163", "unknown", "10.120.126.14"] {
                let mut list = forged.to_owned();
                let mut peer = ip("203.0.113.9");
                for (own, trusts) in layers {
                    let trusted = nets(&trusts.into_iter().collect::<Vec<_>>());
                    let client = if trusted.contains(peer) {
                        client([list.as_bytes()], &trusted, recursive).map_or(peer, |hop| hop.addr)
                    } else {
                        peer
                    };
                    assert_eq!(client, ip("203.0.113.9"), "at {own}, forged {forged:?}");
                    list = if list.is_empty() { client.to_string() } else { format!("{list}, {client}") };
                    peer = ip(own);
                }
            }
        }
    }
}
