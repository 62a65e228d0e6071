//! Bytes as an advert (RFC 3768 7.1, RFC 9568 7.1); every byte may be a lie.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use super::encode::{covers, start};
use super::{Advert, Checksum, PROTOCOL, Reject, TTL, TYPE_ADVERTISEMENT, Version};
use crate::checksum::Sum;

/// The fixed part of both versions.
const HEADER: usize = 8;
/// The authentication data that ends every message of version 2.
const AUTH_DATA: usize = 8;

/// Reads a VRRP message that came from `src` to `dst` with this TTL or hop limit.
///
/// It is taken whole or not at all: nothing may follow the last field. The form of checksum that fits is told too;
/// where both do (see [`forms_agree`]) it is [`Checksum::PseudoHeader`].
///
/// # Errors
/// The first check that fails, of those that need no knowledge of a vip. To a multicast group the TTL must be 255; that
/// of a unicast advert is the vip's to judge.
pub fn parse(payload: &[u8], src: IpAddr, dst: IpAddr, ttl: u8) -> Result<(Advert, Checksum), Reject> {
    let Some((header, rest)) = payload.split_first_chunk::<HEADER>() else { return Err(Reject::Short) };
    let [kind, vrid, priority, count, auth_or_high, low, _, _] = *header;
    let version = version(kind)?;
    check_ends(version, src, dst, ttl)?;
    let addrs = match count {
        0 => return Err(Reject::Count),
        count => usize::from(count) * if src.is_ipv4() { 4 } else { 16 },
    };
    let auth = match version {
        Version::V2 => AUTH_DATA,
        Version::V3 => 0,
    };
    if rest.len() != addrs + auth {
        return Err(Reject::Length);
    }
    let checksum = checksum(version, payload, src, dst)?;
    if vrid == 0 {
        return Err(Reject::Vrid);
    }
    let (addrs, auth) = rest.split_at(addrs);
    let (interval, password) = match version {
        Version::V2 => (Duration::from_secs(low.into()), password(auth_or_high, auth)?),
        // The high four bits are reserved: zero when sent, ignored when heard.
        Version::V3 => (centis(u16::from_be_bytes([auth_or_high & 0x0f, low])), None),
    };
    if interval.is_zero() {
        return Err(Reject::Interval);
    }
    let addrs = addresses(addrs, src.is_ipv4());
    Ok((Advert { version, vrid, priority, interval, addrs, password }, checksum))
}

/// Whether both forms of checksum are the same between these two ends for a message of `len` bytes, because the
/// pseudo-header sums to nothing: then a sender's form cannot be told, and either is right.
#[must_use]
pub fn forms_agree(src: IpAddr, dst: IpAddr, len: usize) -> bool {
    Sum::pseudo_header(src, dst, PROTOCOL, len).fold() == 0xffff
}

fn version(kind: u8) -> Result<Version, Reject> {
    let version = match kind >> 4 {
        2 => Version::V2,
        3 => Version::V3,
        _ => return Err(Reject::Version),
    };
    if kind & 0x0f == TYPE_ADVERTISEMENT { Ok(version) } else { Err(Reject::Type) }
}

/// What the IP header alone can prove wrong.
fn check_ends(version: Version, src: IpAddr, dst: IpAddr, ttl: u8) -> Result<(), Reject> {
    if src.is_ipv4() != dst.is_ipv4() || (version == Version::V2 && src.is_ipv6()) {
        return Err(Reject::Family);
    }
    if dst.is_multicast() && ttl != TTL {
        return Err(Reject::Ttl);
    }
    if src.is_unspecified() || src.is_multicast() || src == IpAddr::V4(Ipv4Addr::BROADCAST) {
        return Err(Reject::Source);
    }
    Ok(())
}

/// The form in which the checksum is right.
fn checksum(version: Version, payload: &[u8], src: IpAddr, dst: IpAddr) -> Result<Checksum, Reject> {
    [Checksum::PseudoHeader, Checksum::Message]
        .into_iter()
        .filter(|form| covers(version, src, *form) == *form)
        .find(|form| start(*form, src, dst, payload.len()).bytes(payload).fold() == 0xffff)
        .ok_or(Reject::Checksum)
}

/// The PASS data; with type 0 the field is there and means nothing (RFC 3768 5.3.6).
fn password(auth_type: u8, data: &[u8]) -> Result<Option<[u8; AUTH_DATA]>, Reject> {
    match auth_type {
        0 => Ok(None),
        1 => Ok(Some(data.try_into().expect("the length was checked"))),
        _ => Err(Reject::AuthType),
    }
}

fn centis(centis: u16) -> Duration {
    Duration::from_millis(u64::from(centis) * 10)
}

fn addresses(bytes: &[u8], ipv4: bool) -> Vec<IpAddr> {
    if ipv4 {
        bytes.as_chunks::<4>().0.iter().map(|octets| Ipv4Addr::from(*octets).into()).collect()
    } else {
        bytes.as_chunks::<16>().0.iter().map(|octets| Ipv6Addr::from(*octets).into()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::super::{GROUP_V4, GROUP_V6, encode};
    use super::*;

    const SRC: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 4, 1));
    const DST: IpAddr = IpAddr::V4(GROUP_V4);

    fn advert(version: Version) -> Advert {
        let addrs = vec!["10.0.4.99".parse().unwrap(), "10.0.4.7".parse().unwrap()];
        Advert { version, vrid: 51, priority: 100, interval: Duration::from_secs(1), addrs, password: None }
    }

    fn bytes(advert: &Advert, src: IpAddr, dst: IpAddr, checksum: Checksum) -> Vec<u8> {
        let mut out = Vec::new();
        encode(advert, src, dst, checksum, &mut out);
        out
    }

    #[test]
    fn what_is_encoded_is_read_back_with_its_checksum_form() {
        let mut secret = advert(Version::V2);
        secret.password = Some(*b"s3cret\0\0");
        for (advert, form) in [
            (advert(Version::V2), Checksum::Message),
            (secret, Checksum::Message),
            (advert(Version::V3), Checksum::Message),
            (advert(Version::V3), Checksum::PseudoHeader),
        ] {
            assert_eq!(parse(&bytes(&advert, SRC, DST, form), SRC, DST, TTL), Ok((advert, form)));
        }
        let (src, dst) = ("fe80::1".parse().unwrap(), GROUP_V6.into());
        let mut six = advert(Version::V3);
        six.addrs = vec!["fe80::99".parse().unwrap(), "fd00::99".parse().unwrap()];
        let read = parse(&bytes(&six, src, dst, Checksum::Message), src, dst, TTL);
        assert_eq!(read, Ok((six, Checksum::PseudoHeader)));
    }

    #[test]
    fn a_unicast_advert_may_have_crossed_routers_and_a_multicast_one_may_not() {
        let unicast = "10.0.4.2".parse().unwrap();
        let advert = advert(Version::V3);
        let sent = bytes(&advert, SRC, unicast, Checksum::PseudoHeader);
        assert!(parse(&sent, SRC, unicast, 64).is_ok());
        let sent = bytes(&advert, SRC, DST, Checksum::PseudoHeader);
        assert_eq!(parse(&sent, SRC, DST, 254), Err(Reject::Ttl));
    }

    #[test]
    fn the_pseudo_header_ties_an_advert_to_its_ends() {
        let advert = advert(Version::V3);
        let sent = bytes(&advert, SRC, DST, Checksum::PseudoHeader);
        assert_eq!(parse(&sent, "10.0.4.3".parse().unwrap(), DST, TTL), Err(Reject::Checksum));
        let free = bytes(&advert, SRC, DST, Checksum::Message);
        assert!(parse(&free, "10.0.4.3".parse().unwrap(), DST, TTL).is_ok());
    }

    #[test]
    fn a_source_that_nobody_can_have_is_refused() {
        for src in ["0.0.0.0", "224.0.0.18", "255.255.255.255"] {
            let src = src.parse().unwrap();
            let sent = bytes(&advert(Version::V2), src, DST, Checksum::Message);
            assert_eq!(parse(&sent, src, DST, TTL), Err(Reject::Source), "{src}");
        }
    }

    #[test]
    fn families_must_agree_and_version_2_has_one() {
        let six = "fe80::1".parse().unwrap();
        for (version, src, dst) in [
            (Version::V2, six, GROUP_V6.into()),
            (Version::V2, SRC, GROUP_V6.into()),
            (Version::V3, SRC, GROUP_V6.into()),
            (Version::V3, six, DST),
        ] {
            let sent = bytes(&advert(version), SRC, DST, Checksum::Message);
            assert_eq!(parse(&sent, src, dst, TTL), Err(Reject::Family), "{version:?} {src} {dst}");
        }
    }

    #[test]
    fn reserved_bits_of_version_3_and_unused_authentication_data_are_ignored() {
        let mut three = bytes(&advert(Version::V3), SRC, DST, Checksum::Message);
        three[4] |= 0xf0;
        super::super::encode::seal(&mut three, Checksum::Message, SRC, DST);
        assert_eq!(parse(&three, SRC, DST, TTL), Ok((advert(Version::V3), Checksum::Message)));
        let mut two = bytes(&advert(Version::V2), SRC, DST, Checksum::Message);
        two[16..].fill(7);
        super::super::encode::seal(&mut two, Checksum::Message, SRC, DST);
        assert_eq!(parse(&two, SRC, DST, TTL), Ok((advert(Version::V2), Checksum::Message)));
    }

    #[test]
    fn where_the_pseudo_header_sums_to_nothing_both_forms_are_one() {
        let dst = "10.0.4.2".parse().unwrap();
        let src = (0..=u16::MAX)
            .map(|low| IpAddr::from([10, 9, low.to_be_bytes()[0], low.to_be_bytes()[1]]))
            .find(|src| forms_agree(*src, dst, 16))
            .expect("one source in 65,535 makes it so");
        let advert = advert(Version::V3);
        let sent = bytes(&advert, src, dst, Checksum::Message);
        assert_eq!(sent, bytes(&advert, src, dst, Checksum::PseudoHeader));
        assert_eq!(parse(&sent, src, dst, TTL), Ok((advert, Checksum::PseudoHeader)));
    }
}
