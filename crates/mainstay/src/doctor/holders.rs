//! Who holds the vip: who advertises it, and who answers for its addresses.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use mainstay_core::arp::Mac;

use super::analyse::Case;
use super::differences::differences;
use super::finding::Finding;
use super::observed::{Heard, hex, list};

/// A node that advertises, with the time in which it did.
struct Active {
    who: String,
    count: u64,
    first: Duration,
    last: Duration,
    ours: bool,
}

/// Two holders, or one that does not answer.
pub(super) fn judge(case: &Case<'_>) -> Vec<Finding> {
    let mut found: Vec<Finding> = two_active(case).into_iter().collect();
    for addr in &case.vip.addrs {
        found.extend(answers(case, addr.addr, &case.plan.links[addr.link.index()]));
    }
    found
}

fn actives(case: &Case<'_>) -> Vec<Active> {
    let mut by_sender: BTreeMap<IpAddr, Active> = BTreeMap::new();
    let incoming = case.incoming().into_iter().filter(|h| h.is_alive() && case.shares_address(h));
    for heard in incoming.chain(case.outgoing()) {
        let who = if heard.outgoing { "this host".to_owned() } else { heard.from.to_string() };
        let fresh = Active { who, count: 0, first: heard.first, last: heard.last, ours: heard.outgoing };
        let active = by_sender.entry(heard.from).or_insert(fresh);
        active.count += heard.count;
        active.first = active.first.min(heard.first);
        active.last = active.last.max(heard.last);
    }
    by_sender.into_values().filter(|active| active.count > 1).collect()
}

/// Two nodes that advertise during one time, not one after the other.
fn two_active(case: &Case<'_>) -> Option<Finding> {
    let actives = actives(case);
    let together =
        |a: &Active| actives.iter().any(|b| a.who != b.who && a.first < b.last && b.first < a.last);
    let both: Vec<&Active> = actives.iter().filter(|a| together(a)).collect();
    if both.len() < 2 {
        return None;
    }
    let names: Vec<&str> = both.iter().map(|a| a.who.as_str()).collect();
    let says = format!("{} nodes act as active at once: {}", both.len(), names.join(" and "));
    let lost = |h: &&Heard| !case.seen.passed.iter().any(|p| p.index == h.index && p.from == h.from);
    let refused = case.incoming().iter().any(|h| lost(h) || !differences(case, h).is_empty());
    let others: Vec<&str> = both.iter().filter(|a| !a.ours).map(|a| a.who.as_str()).collect();
    let todo = if refused || both.iter().all(|a| !a.ours) {
        "what is said above keeps them from hearing each other".to_owned()
    } else {
        format!(
            "ours leave this host: run mainstay doctor on {}, which does not hear them",
            others.join(" and ")
        )
    };
    Some(Finding::wrong(says, todo))
}

/// Who answers for one address.
fn answers(case: &Case<'_>, addr: IpAddr, interface: &str) -> Option<Finding> {
    let link = case.seen.link(interface).filter(|link| case.seen.asked.contains(&(link.index, addr)))?;
    let claims = case.seen.claims.iter().filter(|c| c.index == link.index && c.addr == addr);
    let mut others: Vec<Mac> = claims.map(|c| c.mac).filter(|mac| !case.seen.is_own_mac(*mac)).collect();
    others.sort_unstable();
    others.dedup();
    let here = case.seen.addrs.iter().any(|a| a.addr == addr);
    let mut names: Vec<String> = others.iter().map(|mac| name(case, *mac)).collect();
    if here {
        names.insert(0, "this host".to_owned());
    }
    if names.len() > 1 {
        let says = format!("{} hosts have {addr}: {}", names.len(), names.join(" and "));
        let todo = if here && case.is_active() && case.incoming().is_empty() {
            "the other holds it and is not heard: a network that loses adverts, a host without a running node (ip address \
             del there), or a keepalived, which falls silent while it refuses ours (other password, version, interval or \
             addresses): stop this node for a moment and run mainstay doctor again"
        } else {
            "clients reach one or the other by chance; what is said above tells why both hold it"
        };
        return Some(Finding::wrong(says, todo));
    }
    left_behind(case, addr, interface, here).or_else(|| nobody(case, addr, names.is_empty()))
}

/// A hardware address, with the sender of adverts behind it where one is known.
fn name(case: &Case<'_>, mac: Mac) -> String {
    let known = case.seen.heard.iter().find(|h| !h.outgoing && h.mac == mac);
    known.map_or_else(|| hex(mac), |h| format!("{} ({})", hex(mac), h.from))
}

/// The address stands here although nobody here is active.
fn left_behind(case: &Case<'_>, addr: IpAddr, interface: &str, here: bool) -> Option<Finding> {
    let explained = case.status().is_some_and(|(was, is)| {
        use mainstay_core::election::State::Active;
        was.state == Active || is.state == Active
    });
    let owner = case.vip.spec.priority == 255;
    (here && !explained && !owner && case.outgoing().is_empty()).then(|| {
        let says = format!("{addr} stands on this host, and nobody here advertises it");
        Finding::wrong(
            says,
            format!("left behind by a killed program: ip address del {addr} dev {interface}"),
        )
    })
}

/// Somebody advertises the vip, and nobody answers for its address.
fn nobody(case: &Case<'_>, addr: IpAddr, nobody: bool) -> Option<Finding> {
    let others: Vec<IpAddr> = case
        .incoming()
        .iter()
        .filter(|h| h.is_alive() && h.count > 1 && differences(case, h).is_empty())
        .map(|h| h.from)
        .collect();
    let claims = case.seen.claims.iter().any(|c| c.addr == addr);
    (nobody && !claims && !others.is_empty()).then(|| {
        let says = format!("{} advertises the vip, and nobody answers for {addr}", list(&others));
        let todo = "on that node: is the address on its interface, is its gate closed (mainstay status), does a \
                    firewall drop ARP or neighbour discovery?";
        Finding::wrong(says, todo)
    })
}
