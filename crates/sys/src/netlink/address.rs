//! Addresses on interfaces: how the kernel lists them, and how a vip is added so that it never becomes a source.
//!
//! A vip of one address (/32, /128) is added without a route for its prefix. IPv4 gives it scope `host`: the kernel
//! then skips it whenever it looks for a source, whatever the order of addresses (`preferred_lft 0`, which does this for
//! IPv6, is only shown for IPv4, never obeyed). ARP and local delivery don't look at the scope.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use super::wire::{Batch, Message, attr, u32_at};

/// Marks the addresses that Mainstay added (`IFA_PROTO`, shown by `ip address` as `proto 0x4d`, M in ASCII).
pub const OUR_MARK: u8 = 0x4d;

/// `IFA_ADDRESS`: the address, or the other end of a point-to-point link.
const ADDRESS: u16 = 1;
/// `IFA_LOCAL`: the address, where both exist.
const LOCAL: u16 = 2;
/// `IFA_CACHEINFO`: preferred and valid lifetime in seconds, then two time stamps.
const CACHEINFO: u16 = 6;
/// `IFA_FLAGS`: the flags with all 32 bits.
const FLAGS: u16 = 8;
/// `IFA_PROTO`: who added it, since Linux 5.18; older kernels skip it.
const PROTO: u16 = 11;
/// A lifetime that never ends.
const FOREVER: u32 = u32::MAX;
/// `RT_SCOPE_HOST`.
const SCOPE_HOST: u8 = 254;

/// An address on an interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IfAddr {
    /// The interface's number.
    pub index: u32,
    /// The address.
    pub addr: IpAddr,
    /// The length of its prefix in bits.
    pub prefix: u8,
    /// When it will be deleted by the kernel; `None` is never. Whole seconds.
    pub valid: Option<Duration>,
    /// When it stops being preferred as a source; `None` is never. Whole seconds.
    pub preferred: Option<Duration>,
    /// Who added it, where the kernel tells (Linux 5.18); ours is [`OUR_MARK`].
    pub proto: Option<u8>,
    /// Duplicate address detection isn't over: nothing can be sent from it yet.
    pub tentative: bool,
    /// Duplicate address detection found another holder.
    pub duplicate: bool,
    /// It is valid on its own link only (fe80::/10, 169.254.0.0/16).
    pub link_local: bool,
}

impl IfAddr {
    /// Reads `RTM_NEWADDR` or `RTM_DELADDR`.
    pub(super) fn parse(message: Message<'_>) -> Option<Self> {
        let body = message.body;
        let (family, prefix, short_flags) = (*body.first()?, *body.get(1)?, *body.get(2)?);
        let attrs = body.get(8..)?;
        let addr = address_of(family, attr(attrs, LOCAL).or_else(|| attr(attrs, ADDRESS))?)?;
        let flags = attr(attrs, FLAGS).and_then(|flags| u32_at(flags, 0)).unwrap_or(u32::from(short_flags));
        let lifetime = |at| {
            let seconds = attr(attrs, CACHEINFO).and_then(|info| u32_at(info, at)).unwrap_or(FOREVER);
            (seconds != FOREVER).then(|| Duration::from_secs(u64::from(seconds)))
        };
        Some(Self {
            index: u32_at(body, 4)?,
            addr,
            prefix,
            valid: lifetime(4),
            preferred: lifetime(0),
            proto: attr(attrs, PROTO).and_then(|proto| proto.first().copied()),
            tentative: flags & libc::IFA_F_TENTATIVE != 0,
            duplicate: flags & libc::IFA_F_DADFAILED != 0,
            link_local: match addr {
                IpAddr::V4(addr) => addr.is_link_local(),
                IpAddr::V6(addr) => addr.is_unicast_link_local(),
            },
        })
    }

    /// Mainstay added it, this run or an earlier one.
    #[must_use]
    pub fn is_ours(&self) -> bool {
        self.proto == Some(OUR_MARK)
    }
}

/// An address as Mainstay adds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AddrSpec {
    /// The interface's number.
    pub index: u32,
    /// The address.
    pub addr: IpAddr,
    /// The length of its prefix. With less than all bits the kernel also makes the prefix's route, and the address may
    /// become a source: what the operator asked for.
    pub prefix: u8,
    /// The kernel deletes it after this time unless it is set again; rounded up to whole seconds, its grain.
    pub valid: Duration,
}

impl AddrSpec {
    /// Appends the body of an `RTM_NEWADDR`.
    pub(super) fn write(&self, batch: &mut Batch) {
        let single = self.prefix == full_prefix(self.addr);
        let mut flags = libc::IFA_F_NODAD;
        if single {
            flags |= libc::IFA_F_NOPREFIXROUTE;
        }
        let scope = if single && self.addr.is_ipv4() { SCOPE_HOST } else { 0 };
        write_address(batch, self.index, self.addr, self.prefix, scope);
        let millis = self.valid.as_millis().div_ceil(1000).max(1);
        let valid = u32::try_from(millis).unwrap_or(FOREVER);
        let preferred = if single { 0 } else { valid };
        let mut info = [0u8; 16];
        info[..4].copy_from_slice(&preferred.to_ne_bytes());
        info[4..8].copy_from_slice(&valid.to_ne_bytes());
        batch.attr(CACHEINFO, &info);
        batch.attr(FLAGS, &flags.to_ne_bytes());
        batch.attr(PROTO, &[OUR_MARK]);
    }
}

/// Appends `struct ifaddrmsg` and the address itself.
pub(super) fn write_address(batch: &mut Batch, index: u32, addr: IpAddr, prefix: u8, scope: u8) {
    let family = if addr.is_ipv4() { libc::AF_INET } else { libc::AF_INET6 };
    let mut head = [0u8; 8];
    head[0] = u8::try_from(family).expect("address families are small numbers");
    head[1] = prefix;
    head[3] = scope;
    head[4..].copy_from_slice(&index.to_ne_bytes());
    batch.put(&head);
    match addr {
        IpAddr::V4(addr) => {
            batch.attr(LOCAL, &addr.octets());
            batch.attr(ADDRESS, &addr.octets());
        }
        IpAddr::V6(addr) => batch.attr(ADDRESS, &addr.octets()),
    }
}

/// All the bits of an address.
fn full_prefix(addr: IpAddr) -> u8 {
    match addr {
        IpAddr::V4(_) => 32,
        IpAddr::V6(_) => 128,
    }
}

fn address_of(family: u8, bytes: &[u8]) -> Option<IpAddr> {
    match i32::from(family) {
        libc::AF_INET => <[u8; 4]>::try_from(bytes).ok().map(|octets| Ipv4Addr::from(octets).into()),
        libc::AF_INET6 => <[u8; 16]>::try_from(bytes).ok().map(|octets| Ipv6Addr::from(octets).into()),
        _ => None,
    }
}
