//! VRRP on the wire: version 2 (RFC 3768, with PASS) and version 3 (RFC 9568 and 5798) over IPv4 and IPv6.

mod encode;
#[cfg(test)]
mod golden;
#[doc(hidden)]
pub mod hostile;
mod parse;
mod reject;

pub use encode::encode;
pub use parse::{forms_agree, parse};
pub use reject::Reject;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// The protocol's IP number.
pub const PROTOCOL: u8 = 112;

/// The group that adverts over IPv4 go to (RFC 9568 5.1.1.2).
pub const GROUP_V4: Ipv4Addr = Ipv4Addr::new(224, 0, 0, 18);

/// The group that adverts over IPv6 go to (RFC 9568 5.1.2.2).
pub const GROUP_V6: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 0x12);

/// The TTL or hop limit of every advert: a router on the way would have lowered it (RFC 9568 5.1.1.3).
pub const TTL: u8 = 255;

/// The only message type that there is (RFC 9568 5.2.2).
const TYPE_ADVERTISEMENT: u8 = 1;

/// Which VRRP a vip speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Version {
    /// RFC 3768: IPv4 only, adverts in whole seconds, PASS authentication.
    V2,
    /// RFC 9568: IPv4 and IPv6, adverts in centiseconds.
    V3,
}

/// What the checksum of a version 3 advert over IPv4 covers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Checksum {
    /// The VRRP message alone (RFC 9568 5.2.8 for IPv4).
    Message,
    /// The pseudo-header too, as keepalived and RFC 5798 implementations do.
    PseudoHeader,
}

/// What an advert says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Advert {
    /// Protocol version.
    pub version: Version,
    /// Virtual router id, 1 to 255.
    pub vrid: u8,
    /// 0: the sender gives the address up; 255: the sender owns it.
    pub priority: u8,
    /// The sender's advert interval: whole seconds in version 2, centiseconds in version 3.
    pub interval: Duration,
    /// The addresses, in the sender's order; one family.
    pub addrs: Vec<IpAddr>,
    /// The PASS data of version 2, zero padded.
    pub password: Option<[u8; 8]>,
}
