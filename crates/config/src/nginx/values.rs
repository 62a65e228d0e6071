//! Times, sizes, flags, networks: nginx's notation.

use std::net::IpAddr;
use std::time::Duration;

/// Our own file takes nothing longer.
const LONGEST: Duration = Duration::from_secs(366 * 86_400);

/// A time: `60`, `500ms`, `1h30m`, `1d 12h` (ngx_parse_time). A bare number is seconds.
pub(super) fn time(text: &str) -> Option<Duration> {
    let mut total = Duration::ZERO;
    let mut rest = text.trim();
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        let number: u64 = rest[..digits].parse().ok()?;
        let after = &rest[digits..];
        let letters = after.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(after.len());
        let milliseconds: u64 = match &after[..letters] {
            "ms" => 1,
            "" | "s" => 1000,
            "m" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            "w" => 7 * 86_400_000,
            "M" => 30 * 86_400_000,
            "y" => 365 * 86_400_000,
            _ => return None,
        };
        total = total.checked_add(Duration::from_millis(number.checked_mul(milliseconds)?))?;
        rest = after[letters..].trim_start();
    }
    Some(total.min(LONGEST))
}

/// A size: `1m`, `8k`, `512` (ngx_parse_offset).
pub(super) fn size(text: &str) -> Option<u64> {
    let (number, unit) = match text.char_indices().last()? {
        (at, 'k' | 'K') => (&text[..at], 1 << 10),
        (at, 'm' | 'M') => (&text[..at], 1 << 20),
        (at, 'g' | 'G') => (&text[..at], 1 << 30),
        _ => (text, 1),
    };
    let number: u64 = number.bytes().all(|c| c.is_ascii_digit()).then(|| number.parse().ok())??;
    number.checked_mul(unit).filter(|bytes| i64::try_from(*bytes).is_ok())
}

/// Bytes as our own file has them.
pub(super) fn size_text(bytes: u64) -> String {
    for (unit, shift) in [("GiB", 30), ("MiB", 20), ("KiB", 10)] {
        if bytes != 0 && bytes.trailing_zeros() >= shift {
            return format!("{}{unit}", bytes >> shift);
        }
    }
    bytes.to_string()
}

/// `on` or `off`.
pub(super) fn flag(text: &str) -> Option<bool> {
    match text {
        _ if text.eq_ignore_ascii_case("on") => Some(true),
        _ if text.eq_ignore_ascii_case("off") => Some(false),
        _ => None,
    }
}

/// A network with its host bits zeroed, as nginx does with a warning: `10.1.2.3/8` is `10.0.0.0/8`.
pub(super) fn network(text: &str) -> Option<String> {
    let (addr, prefix) = match text.split_once('/') {
        Some((addr, prefix)) => (addr, Some(prefix)),
        None => (text, None),
    };
    let addr: IpAddr = addr.parse().ok()?;
    let bits = if addr.is_ipv4() { 32 } else { 128 };
    let prefix = match prefix {
        None => bits,
        Some(prefix) => match prefix.parse::<IpAddr>() {
            // A mask in full.
            Ok(IpAddr::V4(mask)) if addr.is_ipv4() => {
                let mask = u32::from(mask);
                (mask.leading_ones() + mask.trailing_zeros() >= 32).then(|| mask.leading_ones())?
            }
            Ok(_) => return None,
            Err(_) => prefix.parse().ok().filter(|prefix| *prefix <= bits)?,
        },
    };
    Some(format!("{}/{prefix}", masked(addr, prefix)))
}

fn masked(addr: IpAddr, prefix: u32) -> IpAddr {
    match addr {
        IpAddr::V4(addr) => {
            let mask = u32::MAX.checked_shl(32 - prefix).unwrap_or(0);
            IpAddr::from((u32::from(addr) & mask).to_be_bytes())
        }
        IpAddr::V6(addr) => {
            let mask = u128::MAX.checked_shl(128 - prefix).unwrap_or(0);
            IpAddr::from((u128::from(addr) & mask).to_be_bytes())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_added_up_and_a_bare_number_is_seconds() {
        assert_eq!(time("60"), Some(Duration::from_secs(60)));
        assert_eq!(time("1h30m"), Some(Duration::from_secs(5400)));
        assert_eq!(time("1d 12h"), Some(Duration::from_secs(36 * 3600)));
        assert_eq!(time("500ms"), Some(Duration::from_millis(500)));
        for wrong in ["", "x", "1x", "-1", "m", "99999999999999999999"] {
            assert_eq!(time(wrong), None, "{wrong}");
        }
        assert_eq!(time("99y"), Some(LONGEST));
    }

    #[test]
    fn sizes_know_three_letters() {
        assert_eq!(
            (size("1m"), size("8K"), size("0"), size("1G")),
            (Some(1 << 20), Some(8192), Some(0), Some(1 << 30))
        );
        assert_eq!((size("k"), size("1mb"), size("-1"), size("")), (None, None, None, None));
        assert_eq!(
            (size_text(1 << 20), size_text(1000), size_text(0)),
            ("1MiB".into(), "1000".into(), "0".into())
        );
    }

    #[test]
    fn host_bits_of_networks_are_zeroed() {
        assert_eq!(network("10.1.2.3/8").as_deref(), Some("10.0.0.0/8"));
        assert_eq!(network("10.1.2.3").as_deref(), Some("10.1.2.3/32"));
        assert_eq!(network("10.1.0.0/255.255.0.0").as_deref(), Some("10.1.0.0/16"));
        assert_eq!(network("2001:db8::1/32").as_deref(), Some("2001:db8::/32"));
        assert_eq!(network("0.0.0.0/0").as_deref(), Some("0.0.0.0/0"));
        for wrong in ["10.0.0.0/33", "x", "10.0.0.0/255.0.255.0", "::/0.0.0.0"] {
            assert_eq!(network(wrong), None, "{wrong}");
        }
    }
}
