//! What is asked of an advert beyond its form, before it may touch anything (RFC 9568 7.1).

use std::net::IpAddr;
use std::time::Duration;

use crate::election::{Packet, VipSpec};
use crate::vrrp::{self, Advert, Reject, Version};

/// How many packets were refused, by cause.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rejects([u64; Reject::ALL.len()]);

impl Rejects {
    /// How many for this cause.
    #[must_use]
    pub const fn get(&self, cause: Reject) -> u64 {
        self.0[cause as usize]
    }

    /// How many in all.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.0.iter().sum()
    }

    /// Each cause with its count.
    pub fn iter(&self) -> impl Iterator<Item = (Reject, u64)> + '_ {
        Reject::ALL.into_iter().zip(self.0)
    }

    pub(super) fn count(&mut self, cause: Reject) {
        self.0[cause as usize] += 1;
    }
}

/// Reads a packet as an advert for `spec` just as an election does, or says why that would refuse it; `own` is the source of
/// this node's adverts. The virtual router id is not looked at.
///
/// # Errors
/// The first check that fails.
pub fn judge(spec: &VipSpec, own: Option<IpAddr>, packet: &Packet<'_>) -> Result<Advert, Reject> {
    let mut sorted = spec.addrs.clone();
    sorted.sort_unstable();
    sorted.dedup();
    read(spec, &sorted, own, packet)
}

/// Reads a packet as an advert for `spec`, whose addresses are `sorted`, or says why it is refused.
pub(super) fn read(
    spec: &VipSpec,
    sorted: &[IpAddr],
    own: Option<IpAddr>,
    packet: &Packet<'_>,
) -> Result<Advert, Reject> {
    let Packet { from, to, ttl, payload, link: _ } = *packet;
    let (mut advert, form) = vrrp::parse(payload, from, to, ttl)?;
    if ttl < spec.ttl_min {
        return Err(Reject::Ttl);
    }
    if own == Some(from) || spec.addrs.contains(&from) {
        return Err(Reject::OwnAddress);
    }
    if to.is_multicast() != spec.unicast.is_empty() {
        return Err(Reject::Destination);
    }
    if spec.check_source && !spec.unicast.is_empty() && !spec.unicast.contains(&from) {
        return Err(Reject::Source);
    }
    if advert.version != spec.version {
        return Err(Reject::VersionMismatch);
    }
    match advert.version {
        Version::V2 => check_v2(spec, &advert)?,
        Version::V3 => {
            let either = spec.ipv6 || spec.checksum_any || vrrp::forms_agree(from, to, payload.len());
            if !either && form != spec.checksum {
                return Err(Reject::ChecksumForm);
            }
        }
    }
    if spec.check_addrs {
        advert.addrs.sort_unstable();
        advert.addrs.dedup();
        if advert.addrs != sorted {
            return Err(Reject::Addrs);
        }
    }
    Ok(advert)
}

/// What only version 2 asks for (RFC 3768 7.1): the same password and the same interval.
fn check_v2(spec: &VipSpec, advert: &Advert) -> Result<(), Reject> {
    match (spec.password, advert.password) {
        (None, None) => {}
        (Some(ours), Some(theirs)) if ours == theirs => {}
        (Some(_), Some(_)) => return Err(Reject::Password),
        (None, Some(_)) | (Some(_), None) => return Err(Reject::AuthType),
    }
    let said = u64::try_from(spec.advert.as_millis().div_ceil(1_000)).unwrap_or(u64::MAX).clamp(1, 255);
    if advert.interval == Duration::from_secs(said) { Ok(()) } else { Err(Reject::Interval) }
}
