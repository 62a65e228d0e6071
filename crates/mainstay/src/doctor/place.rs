//! Where a vip is to stand: its interface, this node's own address there, the vip's subnet.

use std::net::IpAddr;

use super::analyse::Case;
use super::finding::{Finding, Grade};
use super::observed::list;

/// The findings, and whether the interface can carry adverts at all.
pub(super) fn judge(case: &Case<'_>) -> (Vec<Finding>, bool) {
    let name = case.interface;
    let Some(link) = case.link() else {
        let mut known: Vec<&str> =
            case.seen.links.iter().filter(|l| !l.loopback).map(|l| l.name.as_str()).collect();
        known.sort_unstable();
        let says = format!("interface {name} does not exist on this host");
        return (
            vec![Finding::wrong(says, format!("set `interface` to one of: {}", known.join(", ")))],
            false,
        );
    };
    if !link.up {
        let says = format!("interface {name} is down");
        return (vec![Finding::wrong(says, format!("ip link set {name} up"))], false);
    }
    if !link.carrier {
        let says = format!("interface {name} is up and has no carrier");
        return (vec![Finding::wrong(says, "look at the cable and at the switch's port")], false);
    }
    let mut found: Vec<Finding> = [source(case), peers(case), subnet(case)].into_iter().flatten().collect();
    let usable = !found.iter().any(|f| f.grade == Grade::Wrong && f.says.contains("no address of its own"));
    if found.is_empty() {
        let source = case.source().map(|a| a.to_string()).unwrap_or_default();
        found.push(Finding::good(format!("{name} is up, this node speaks from {source}")));
    }
    (found, usable)
}

/// Adverts need an address of this node's own to come from.
fn source(case: &Case<'_>) -> Option<Finding> {
    let name = case.interface;
    if let Some(source) = case.vip.spec.source {
        let missing = !case.seen.is_own(source);
        return missing.then(|| {
            let says = format!("`source` is {source}, which stands on no interface of this host");
            Finding::wrong(says, format!("add the address to {name}, or leave `source` out"))
        });
    }
    if let Some(twice) = case.own().iter().find(|a| a.duplicate) {
        let says =
            format!("{} on {name} belongs to another host too: the kernel does not use it", twice.addr);
        return Some(Finding::wrong(says, "give one of the two hosts another address"));
    }
    let (family, model) = if case.vip.spec.ipv6 {
        ("link-local IPv6", "sysctl net.ipv6.conf.IF.disable_ipv6=0")
    } else {
        ("IPv4", "ip address add ADDRESS/PREFIX dev IF")
    };
    case.source().is_none().then(|| {
        let says = format!("{name} has no address of its own ({family}): adverts cannot come from anywhere");
        Finding::wrong(says, model.replace("IF", name))
    })
}

/// A peer that is this node itself hears nobody else.
fn peers(case: &Case<'_>) -> Option<Finding> {
    let own: Vec<IpAddr> = case.vip.spec.unicast.iter().copied().filter(|a| case.seen.is_own(*a)).collect();
    let says = format!("`unicast` names {}, which is an address of this host", list(&own));
    (!own.is_empty()).then(|| Finding::wrong(says, "name the other nodes' addresses there, not this node's"))
}

/// Clients of the segment ask for a vip by ARP only when it lies in their subnet.
fn subnet(case: &Case<'_>) -> Option<Finding> {
    let index = case.link()?.index;
    let own = case.seen.addrs.iter().filter(|a| a.index == index && !a.is_ours());
    let own: Vec<_> = own.filter(|a| !case.vip.addrs.iter().any(|v| v.addr == a.addr)).collect();
    let here = case.vip.addrs.iter().filter(|a| case.plan.links[a.link.index()] == case.interface);
    let outside: Vec<IpAddr> = here
        .map(|a| a.addr)
        .filter(|addr| !own.iter().any(|o| same_subnet(o.addr, *addr, o.prefix)))
        .filter(|addr| own.iter().any(|o| o.addr.is_ipv6() == addr.is_ipv6() && !o.link_local))
        .collect();
    let says = format!("{} lies in no subnet of {}", list(&outside), case.interface);
    let todo =
        "right only where a router sends the address to this segment; else mend `addrs` or `interface`";
    (!outside.is_empty()).then(|| Finding::hint(says, todo))
}

pub(super) fn same_subnet(own: IpAddr, addr: IpAddr, prefix: u8) -> bool {
    match (own, addr) {
        (IpAddr::V4(own), IpAddr::V4(addr)) => {
            let mask = u32::MAX.checked_shl(32 - u32::from(prefix.min(32))).unwrap_or(0);
            own.to_bits() & mask == addr.to_bits() & mask
        }
        (IpAddr::V6(own), IpAddr::V6(addr)) => {
            let mask = u128::MAX.checked_shl(128 - u32::from(prefix.min(128))).unwrap_or(0);
            own.to_bits() & mask == addr.to_bits() & mask
        }
        (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subnet_is_what_its_prefix_says() {
        let addr = |text: &str| text.parse::<IpAddr>().unwrap();
        assert!(same_subnet(addr("10.0.4.21"), addr("10.0.4.99"), 24));
        assert!(!same_subnet(addr("10.0.4.21"), addr("10.0.5.99"), 24));
        assert!(same_subnet(addr("10.0.4.21"), addr("192.168.0.1"), 0));
        assert!(!same_subnet(addr("10.0.4.21"), addr("10.0.4.99"), 32));
        assert!(same_subnet(addr("fd00::1"), addr("fd00::99"), 64));
        assert!(!same_subnet(addr("fd00::1"), addr("10.0.4.99"), 0));
    }
}
