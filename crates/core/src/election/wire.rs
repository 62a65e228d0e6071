//! What is asked of an advert beyond its form, before it may touch anything (RFC 9568 7.1).

use std::net::IpAddr;
use std::time::Duration;

use crate::election::{Packet, VipSpec};
use crate::vrrp::{Advert, Checksum, Version};

/// Why a packet was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reject {
    /// Not a well-formed advert.
    Form,
    /// TTL or hop limit too low.
    Ttl,
    /// From a stranger.
    Source,
    /// From ourselves.
    OwnSource,
    /// Another version.
    Version,
    /// Another password.
    Password,
    /// Another interval (version 2).
    Interval,
    /// Another address list.
    Addrs,
    /// The other checksum form.
    Checksum,
}

/// Reads a packet as an advert for `spec`, or says why it is refused.
pub(super) fn read(
    spec: &VipSpec,
    sorted: &[IpAddr],
    own: Option<IpAddr>,
    packet: &Packet<'_>,
) -> Result<Advert, Reject> {
    let (mut advert, form) = parse(packet.payload, packet.from)?;
    if packet.ttl < spec.ttl_min {
        return Err(Reject::Ttl);
    }
    if own == Some(packet.from) {
        return Err(Reject::OwnSource);
    }
    if spec.check_source && !spec.unicast.is_empty() && !spec.unicast.contains(&packet.from) {
        return Err(Reject::Source);
    }
    if advert.version != spec.version {
        return Err(Reject::Version);
    }
    if advert.version == Version::V2 && advert.password != spec.password {
        return Err(Reject::Password);
    }
    if advert.version == Version::V2 && advert.interval != spec.advert {
        return Err(Reject::Interval);
    }
    if advert.version == Version::V3 && !spec.ipv6 && !spec.checksum_any && form != spec.checksum {
        return Err(Reject::Checksum);
    }
    if spec.check_addrs {
        advert.addrs.sort_unstable();
        if advert.addrs != sorted {
            return Err(Reject::Addrs);
        }
    }
    Ok(advert)
}

fn parse(payload: &[u8], from: IpAddr) -> Result<(Advert, Checksum), Reject> {
    let [kind, vrid, priority, count, hi, lo, _, _, rest @ ..] = payload else { return Err(Reject::Form) };
    let version = match kind {
        0x21 => Version::V2,
        0x31 => Version::V3,
        _ => return Err(Reject::Form),
    };
    let interval = match version {
        Version::V2 => Duration::from_secs(u64::from(*lo)),
        Version::V3 => Duration::from_millis(10 * u64::from(u16::from_be_bytes([hi & 0x0f, *lo]))),
    };
    let size = if from.is_ipv6() { 16 } else { 4 };
    let mut addrs = Vec::with_capacity(usize::from(*count));
    for i in 0..usize::from(*count) {
        let Some(at) = rest.get(i * size..(i + 1) * size) else { return Err(Reject::Form) };
        addrs.push(match <[u8; 16]>::try_from(at) {
            Ok(six) => IpAddr::from(six),
            Err(_) => <[u8; 4]>::try_from(at).map(IpAddr::from).map_err(|_| Reject::Form)?,
        });
    }
    let password = rest.get(addrs.len() * size..).and_then(|p| <[u8; 8]>::try_from(p).ok());
    let advert = Advert { version, vrid: *vrid, priority: *priority, interval, addrs, password };
    Ok((advert, Checksum::PseudoHeader))
}

/// Writes an advert.
pub(super) fn write(advert: &Advert, out: &mut Vec<u8>) {
    let [hi, lo] = match advert.version {
        Version::V2 => [0, u8::try_from(advert.interval.as_secs()).unwrap_or(u8::MAX)],
        Version::V3 => {
            u16::try_from(advert.interval.as_millis() / 10).unwrap_or(0xfff).min(0xfff).to_be_bytes()
        }
    };
    let kind = if advert.version == Version::V2 { 0x21 } else { 0x31 };
    let count = u8::try_from(advert.addrs.len()).unwrap_or(u8::MAX);
    out.extend_from_slice(&[kind, advert.vrid, advert.priority, count, hi, lo, 0, 0]);
    for addr in advert.addrs.iter().take(usize::from(count)) {
        match addr {
            IpAddr::V4(a) => out.extend_from_slice(&a.octets()),
            IpAddr::V6(a) => out.extend_from_slice(&a.octets()),
        }
    }
    out.extend_from_slice(advert.password.as_ref().map_or(&[][..], |p| p));
}
