//! Why an advert is not heard (RFC 3768 7.1, RFC 9568 7.1): one list for the codec, the election and the metrics.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Why an advert is thrown away; it then changes nothing but a counter.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, thiserror::Error,
)]
#[serde(into = "&'static str", try_from = "String")]
pub enum Reject {
    /// Fewer bytes than the fixed header.
    Short,
    /// A version other than 2 and 3.
    Version,
    /// A type other than 1, the advertisement.
    Type,
    /// Version 2 over IPv6, or a source and a destination of different families.
    Family,
    /// The TTL or hop limit is lower than the vip asks for; over multicast anything but 255.
    Ttl,
    /// No address in it.
    Count,
    /// Longer or shorter than its address count says.
    Length,
    /// The checksum is wrong in every form.
    Checksum,
    /// The checksum is right in the form that this vip does not accept.
    ChecksumForm,
    /// A virtual router id that no vip of this link has, or zero.
    Vrid,
    /// The other version than the vip's.
    VersionMismatch,
    /// An authentication type that does not exist here or is not the vip's.
    AuthType,
    /// The PASS data is not the vip's.
    Password,
    /// In version 2 another interval than the vip's; in either an interval of zero.
    Interval,
    /// Another set of addresses than the vip's.
    Addrs,
    /// A source that cannot be a peer's, or is not among the unicast peers.
    Source,
    /// Sent to the group for a unicast vip, or to us alone for a multicast one.
    Destination,
    /// It comes from an address of our own: our own advert, or a host with our address.
    OwnAddress,
    /// Another node claims to own (priority 255) what this node owns.
    Owner,
    /// It came in by a link that carries no vip.
    Link,
}

impl Reject {
    /// Every reason, in the order of their discriminants, so that `ALL[reject as usize] == reject`.
    pub const ALL: [Self; 20] = [
        Self::Short,
        Self::Version,
        Self::Type,
        Self::Family,
        Self::Ttl,
        Self::Count,
        Self::Length,
        Self::Checksum,
        Self::ChecksumForm,
        Self::Vrid,
        Self::VersionMismatch,
        Self::AuthType,
        Self::Password,
        Self::Interval,
        Self::Addrs,
        Self::Source,
        Self::Destination,
        Self::OwnAddress,
        Self::Owner,
        Self::Link,
    ];

    /// The label in metrics, logs and status.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Short => "too-short",
            Self::Version => "unknown-version",
            Self::Type => "unknown-type",
            Self::Family => "wrong-family",
            Self::Ttl => "bad-ttl",
            Self::Count => "no-address",
            Self::Length => "bad-length",
            Self::Checksum => "bad-checksum",
            Self::ChecksumForm => "other-checksum-form",
            Self::Vrid => "unknown-vrid",
            Self::VersionMismatch => "other-version",
            Self::AuthType => "other-auth-type",
            Self::Password => "wrong-password",
            Self::Interval => "other-interval",
            Self::Addrs => "other-addresses",
            Self::Source => "unknown-source",
            Self::Destination => "wrong-destination",
            Self::OwnAddress => "own-address",
            Self::Owner => "second-owner",
            Self::Link => "unknown-link",
        }
    }

    const fn sentence(self) -> &'static str {
        match self {
            Self::Short => "the packet ends within the VRRP header",
            Self::Version => "the packet is of a VRRP version other than 2 and 3",
            Self::Type => "the packet is not a VRRP advertisement (type 1)",
            Self::Family => "VRRP version 2 runs over IPv4 only, and both addresses must be of one family",
            Self::Ttl => "the TTL or hop limit is too low: the packet came over a router, or is forged",
            Self::Count => "the advert carries no address",
            Self::Length => "the advert's length does not fit its address count",
            Self::Checksum => "the checksum is wrong, with and without the pseudo-header",
            Self::ChecksumForm => "the checksum is right only in the form that this vip does not accept",
            Self::Vrid => "no vip on this link has this virtual router id",
            Self::VersionMismatch => "the sender speaks the other VRRP version",
            Self::AuthType => "the sender uses another authentication type",
            Self::Password => "the sender uses another password",
            Self::Interval => "the sender uses another advert interval",
            Self::Addrs => "the sender advertises other addresses for this virtual router id",
            Self::Source => "the sender is not one of the vip's peers",
            Self::Destination => {
                "the sender uses multicast where this vip uses unicast, or the other way round"
            }
            Self::OwnAddress => "the advert comes from one of this node's own addresses",
            Self::Owner => "another node claims to own this vip with priority 255",
            Self::Link => "no vip uses the link that the advert came in by",
        }
    }
}

impl fmt::Display for Reject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.sentence())
    }
}

impl From<Reject> for &'static str {
    fn from(reject: Reject) -> Self {
        reject.as_str()
    }
}

impl TryFrom<String> for Reject {
    type Error = String;

    fn try_from(label: String) -> Result<Self, String> {
        let known = Self::ALL.into_iter().find(|reject| reject.as_str() == label);
        known.ok_or_else(|| format!("`{label}` is no reason to reject an advert"))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_reason_is_listed_at_its_own_discriminant() {
        for (at, reject) in Reject::ALL.into_iter().enumerate() {
            assert_eq!(reject as usize, at, "{reject:?}");
        }
        assert_eq!(Reject::Link as usize + 1, Reject::ALL.len(), "the last variant is the last of the list");
    }

    #[test]
    fn labels_and_sentences_are_distinct_and_labels_read_back() {
        let labels: BTreeSet<_> = Reject::ALL.map(Reject::as_str).into_iter().collect();
        let sentences: BTreeSet<_> = Reject::ALL.map(|reject| reject.to_string()).into_iter().collect();
        assert_eq!(labels.len(), Reject::ALL.len());
        assert_eq!(sentences.len(), Reject::ALL.len());
        for reject in Reject::ALL {
            assert_eq!(Reject::try_from(reject.as_str().to_owned()), Ok(reject));
            let label = reject.as_str();
            assert!(label.bytes().all(|b| b.is_ascii_lowercase() || b == b'-'), "{label} suits a metric");
        }
        assert!(Reject::try_from("short".to_owned()).is_err());
    }
}
