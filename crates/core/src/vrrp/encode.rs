//! An advert as bytes (RFC 3768 5.1, RFC 9568 5.1).

use std::net::IpAddr;
use std::time::Duration;

use super::{Advert, Checksum, PROTOCOL, TYPE_ADVERTISEMENT, Version};
use crate::checksum::Sum;

/// Where the checksum lies in both versions.
const CHECKSUM_AT: std::ops::Range<usize> = 6..8;
/// The longest interval that version 3 can say: 12 bits of centiseconds.
const MAX_CENTIS: u16 = 0x0fff;

/// Appends the VRRP message of `advert`, sent from `src` to `dst`, to `out`.
///
/// The checksum form is a choice for version 3 over IPv4 alone; version 2 never covers the pseudo-header and IPv6 always
/// does. Addresses of another family than `src` and those past 255 cannot be said and are left out; an interval is
/// rounded up to the version's grain and kept within its field (1 to 255 s, 10 ms to 40.95 s). A password is said in version 2.
pub fn encode(advert: &Advert, src: IpAddr, dst: IpAddr, checksum: Checksum, out: &mut Vec<u8>) {
    let start = out.len();
    let (version, [auth, interval]) = match advert.version {
        Version::V2 => (2, [u8::from(advert.password.is_some()), seconds(advert.interval)]),
        Version::V3 => (3, centis(advert.interval).to_be_bytes()),
    };
    out.extend([version << 4 | TYPE_ADVERTISEMENT, advert.vrid, advert.priority, 0, auth, interval, 0, 0]);
    out[start + 3] = addresses(advert, src, out);
    match advert.version {
        Version::V2 => out.extend(advert.password.unwrap_or_default()),
        Version::V3 => {}
    }
    seal(&mut out[start..], covers(advert.version, src, checksum), src, dst);
}

/// What the checksum of such an advert covers, given what was asked for.
pub(super) fn covers(version: Version, src: IpAddr, asked: Checksum) -> Checksum {
    match (version, src) {
        (Version::V2, _) => Checksum::Message,
        (Version::V3, IpAddr::V6(_)) => Checksum::PseudoHeader,
        (Version::V3, IpAddr::V4(_)) => asked,
    }
}

/// Writes the right checksum into a message; one without room for it is left as it is.
pub(super) fn seal(message: &mut [u8], form: Checksum, src: IpAddr, dst: IpAddr) {
    let Some(field) = message.get_mut(CHECKSUM_AT) else { return };
    field.fill(0);
    let sum = start(form, src, dst, message.len()).bytes(message).finish();
    message[CHECKSUM_AT].copy_from_slice(&sum);
}

/// The sum in front of a message of `len` bytes.
pub(super) fn start(form: Checksum, src: IpAddr, dst: IpAddr, len: usize) -> Sum {
    match form {
        Checksum::Message => Sum::default(),
        Checksum::PseudoHeader => Sum::pseudo_header(src, dst, PROTOCOL, len),
    }
}

/// Appends the addresses of the family of `src`, at most 255, and says how many.
fn addresses(advert: &Advert, src: IpAddr, out: &mut Vec<u8>) -> u8 {
    let mut count = 0_u8;
    for addr in advert.addrs.iter().filter(|addr| addr.is_ipv4() == src.is_ipv4()) {
        let Some(next) = count.checked_add(1) else { break };
        count = next;
        match addr {
            IpAddr::V4(addr) => out.extend(addr.octets()),
            IpAddr::V6(addr) => out.extend(addr.octets()),
        }
    }
    count
}

fn seconds(interval: Duration) -> u8 {
    u8::try_from(interval.as_millis().div_ceil(1_000)).unwrap_or(u8::MAX).max(1)
}

fn centis(interval: Duration) -> u16 {
    u16::try_from(interval.as_millis().div_ceil(10)).unwrap_or(MAX_CENTIS).clamp(1, MAX_CENTIS)
}

#[cfg(test)]
mod tests {
    use super::super::{GROUP_V4, GROUP_V6, parse};
    use super::*;

    const SRC: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 4, 1));

    fn advert(version: Version, interval: Duration) -> Advert {
        let addrs = vec!["10.0.4.99".parse().unwrap(), "10.0.4.7".parse().unwrap()];
        Advert { version, vrid: 51, priority: 100, interval, addrs, password: None }
    }

    fn bytes(advert: &Advert, checksum: Checksum) -> Vec<u8> {
        let mut out = Vec::new();
        encode(advert, SRC, GROUP_V4.into(), checksum, &mut out);
        out
    }

    #[test]
    fn version_2_always_carries_eight_bytes_of_authentication_data() {
        let mut advert = advert(Version::V2, Duration::from_secs(1));
        let silent = bytes(&advert, Checksum::Message);
        advert.password = Some(*b"s3cret\0\0");
        let said = bytes(&advert, Checksum::Message);
        assert_eq!((silent[4], &silent[16..]), (0, &[0; 8][..]));
        assert_eq!((said[4], &said[16..]), (1, &b"s3cret\0\0"[..]));
    }

    #[test]
    fn version_2_never_covers_the_pseudo_header() {
        let advert = advert(Version::V2, Duration::from_secs(1));
        assert_eq!(bytes(&advert, Checksum::Message), bytes(&advert, Checksum::PseudoHeader));
    }

    #[test]
    fn ipv6_always_covers_the_pseudo_header() {
        let mut advert = advert(Version::V3, Duration::from_secs(1));
        advert.addrs = vec!["fe80::99".parse().unwrap()];
        let src = "fe80::1".parse().unwrap();
        let (mut asked, mut unasked) = (Vec::new(), Vec::new());
        encode(&advert, src, GROUP_V6.into(), Checksum::PseudoHeader, &mut asked);
        encode(&advert, src, GROUP_V6.into(), Checksum::Message, &mut unasked);
        assert_eq!(asked, unasked);
    }

    #[test]
    fn the_order_of_the_addresses_is_kept() {
        let advert = advert(Version::V3, Duration::from_millis(10));
        assert_eq!(bytes(&advert, Checksum::Message)[8..], [10, 0, 4, 99, 10, 0, 4, 7]);
    }

    #[test]
    fn intervals_are_rounded_up_to_the_grain_and_kept_within_the_field() {
        let v2 = |interval| bytes(&advert(Version::V2, interval), Checksum::Message)[5];
        let v3 = |interval| {
            let bytes = bytes(&advert(Version::V3, interval), Checksum::Message);
            u16::from_be_bytes([bytes[4], bytes[5]])
        };
        assert_eq!([0, 1, 1_000, 1_001, 900_000].map(|ms| v2(Duration::from_millis(ms))), [1, 1, 1, 2, 255]);
        assert_eq!(
            [0, 10, 15, 40_950, 50_000].map(|ms| v3(Duration::from_millis(ms))),
            [1, 1, 2, 4095, 4095]
        );
    }

    #[test]
    fn what_lies_before_in_the_buffer_is_kept_and_not_summed() {
        let advert = advert(Version::V3, Duration::from_millis(10));
        let mut out = vec![1, 2, 3];
        encode(&advert, SRC, GROUP_V4.into(), Checksum::PseudoHeader, &mut out);
        assert_eq!(out[..3], [1, 2, 3]);
        assert_eq!(out[3..], bytes(&advert, Checksum::PseudoHeader));
    }

    #[test]
    fn addresses_that_cannot_be_said_are_left_out() {
        let mut advert = advert(Version::V3, Duration::from_millis(10));
        advert.addrs = vec!["fe80::1".parse().unwrap(); 2];
        advert.addrs.extend(vec![SRC; 300]);
        let message = bytes(&advert, Checksum::PseudoHeader);
        assert_eq!((message[3], message.len()), (255, 8 + 255 * 4));
        assert!(parse(&message, SRC, GROUP_V4.into(), 255).is_ok());
    }
}
