//! VRRP on the wire: version 2 (RFC 3768, with PASS) and version 3 (RFC 9568 and 5798) over IPv4 and IPv6.

use std::net::IpAddr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// The protocol's IP number.
pub const PROTOCOL: u8 = 112;

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
