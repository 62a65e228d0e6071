//! What arrives, what leaves, and what is lost on the way: the wire, the firewall, the election's own rules.

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::analyse::Case;
use super::differences::differences;
use super::finding::Finding;
use super::firewall::{self, Way};
use super::observed::{Heard, hex, list, span};

/// Fewer packets than this may be lost by chance.
const ENOUGH: u64 = 2;

/// What one sender was heard to say about the vip.
struct Sender<'a> {
    from: IpAddr,
    /// The last that he said.
    last: &'a Heard,
    count: u64,
}

/// Everything about adverts of one vip.
pub(super) fn judge(case: &Case<'_>) -> Vec<Finding> {
    let mut found = leaving(case);
    let senders = senders(case);
    if senders.is_empty() {
        found.extend(silence(case));
    }
    for sender in &senders {
        found.extend(arriving(case, sender));
    }
    found
}

fn senders<'a>(case: &Case<'a>) -> Vec<Sender<'a>> {
    let mut senders: BTreeMap<IpAddr, Sender<'a>> = BTreeMap::new();
    for heard in case.incoming() {
        let sender = senders.entry(heard.from).or_insert(Sender { from: heard.from, last: heard, count: 0 });
        sender.count += heard.count;
        if heard.last > sender.last.last {
            sender.last = heard;
        }
    }
    senders.into_values().collect()
}

/// Whether what the node says it sends leaves the host.
fn leaving(case: &Case<'_>) -> Vec<Finding> {
    let sent = case.grew("sent");
    let left = case.outgoing();
    if !case.is_active() {
        return foreign(case, &left);
    }
    let to = match case.group() {
        Some(group) => vec![group],
        None => case.vip.spec.unicast.clone(),
    };
    let (out, kept): (Vec<IpAddr>, Vec<IpAddr>) = to.iter().partition(|to| left.iter().any(|h| h.to == **to));
    let mut found = Vec::new();
    if !out.is_empty() {
        let count: u64 = left.iter().map(|h| h.count).sum();
        found.push(Finding::good(format!(
            "this node is active and its adverts leave {}: {count} to {}",
            case.interface,
            list(&out)
        )));
    }
    let (mute, kept): (Vec<IpAddr>, Vec<IpAddr>) = kept.iter().partition(|peer| is_mute(case, **peer));
    if !mute.is_empty() {
        let says = format!("peer {} does not answer {}", list(&mute), neighbour(case));
        let todo = "start that host or mend its network; if its address changed, mend `unicast`";
        found.push(Finding::wrong(says, todo));
    }
    if sent >= ENOUGH && !kept.is_empty() {
        let says = format!(
            "this node sends adverts, but none to {} leaves {}: a firewall of this host drops them on the way out",
            list(&kept),
            case.interface
        );
        found.push(Finding::wrong(
            firewall::with_rules(says, case, Way::Out),
            firewall::remedy(case, Way::Out),
        ));
    }
    found
}

fn neighbour(case: &Case<'_>) -> String {
    let protocol = if case.vip.spec.ipv6 { "neighbour discovery" } else { "ARP" };
    format!("{protocol} on {}", case.interface)
}

/// A peer that was asked for by ARP and gave no answer.
fn is_mute(case: &Case<'_>, peer: IpAddr) -> bool {
    let Some(link) = case.link() else { return false };
    let answered = case.seen.claims.iter().any(|c| c.index == link.index && c.addr == peer);
    case.seen.asked.contains(&(link.index, peer)) && !answered
}

/// Adverts that leave this host although its node does not hold the vip.
fn foreign(case: &Case<'_>, left: &[&Heard]) -> Vec<Finding> {
    let count: u64 = left.iter().map(|h| h.count).sum();
    let was_active = case.status().is_some_and(|(was, is)| {
        use mainstay_core::election::State::Active;
        was.state == Active || is.state == Active
    });
    if count < ENOUGH || was_active {
        return Vec::new();
    }
    let says = format!(
        "something on this host advertises router id {} on {} ({count} adverts), and it is not the node of this \
         runtime directory",
        case.vip.spec.vrid, case.interface
    );
    let todo = "is keepalived still running? systemctl disable --now keepalived";
    vec![Finding::wrong(says, todo)]
}

/// One sender: would the election take what he says, does it get through, is it counted?
fn arriving(case: &Case<'_>, sender: &Sender<'_>) -> Vec<Finding> {
    let (from, mac) = (sender.from, sender.last.mac);
    if case.seen.is_own(from) {
        let says = format!("adverts from {from}, an address of this host, come in on {}", case.interface);
        return vec![if case.seen.is_own_mac(mac) {
            Finding::wrong(says, "they are this host's own: look for a loop between its ports")
        } else {
            let says = format!("{says} from {}: two nodes have one address", hex(mac));
            Finding::wrong(says, "give one of them another address")
        }];
    }
    let differences = differences(case, sender.last);
    if !differences.is_empty() {
        return differences;
    }
    let passed =
        case.seen.passed.iter().filter(|p| p.from == from && Some(p.index) == case.link().map(|l| l.index));
    let passed: u64 = passed.map(|p| p.count).sum();
    if passed == 0 && sender.count >= ENOUGH {
        let says = format!(
            "{} adverts of {from} arrive on {}, but a firewall of this host drops them",
            sender.count, case.interface
        );
        return vec![Finding::wrong(
            firewall::with_rules(says, case, Way::In),
            firewall::remedy(case, Way::In),
        )];
    }
    if passed >= ENOUGH
        && let Some(finding) = uncounted(case, from)
    {
        return vec![finding];
    }
    accepted(case, sender)
}

/// The packets reach this host's sockets; the node must have counted them.
fn uncounted(case: &Case<'_>, from: IpAddr) -> Option<Finding> {
    let (was, is) = case.status()?;
    if case.grew("received") + case.grew("received-resign") > 0 {
        return None;
    }
    let plain = ["sent", "sent-resign", "received", "received-resign"];
    let result =
        |c: &crate::status::Counter| c.labels.iter().map(|(_, v)| v.clone()).next().unwrap_or_default();
    let refused: Vec<String> =
        is.adverts.iter().map(result).filter(|r| !plain.contains(&r.as_str()) && case.grew(r) > 0).collect();
    if !refused.is_empty() {
        let says = format!(
            "the running node refuses adverts of {from} ({}), which this configuration would accept",
            refused.join(", ")
        );
        return Some(Finding::wrong(says, "mainstay reload"));
    }
    let alike = was.vrid == case.vip.spec.vrid && is.interface == case.interface;
    let says = format!("adverts of {from} pass the firewall, and the running node does not count them");
    alike.then(|| {
        Finding::wrong(says, "mainstay events, and the journal of mainstay, say what is wrong with it")
    })
}

/// All is well with this sender; what is worth knowing besides.
fn accepted(case: &Case<'_>, sender: &Sender<'_>) -> Vec<Finding> {
    let Ok((advert, _)) = sender.last.parse() else { return Vec::new() };
    let (from, spec) = (sender.from, &case.vip.spec);
    let mut found = vec![Finding::good(format!(
        "{from} is heard: {} adverts, priority {}",
        sender.count, advert.priority
    ))];
    if advert.interval != spec.advert {
        let says = format!(
            "{from} advertises every {}, here it is {}: who takes over from it waits for its pace",
            span(advert.interval),
            span(spec.advert)
        );
        found.push(Finding::hint(says, "give `advert` (advert_int) one value on all nodes"));
    }
    if advert.priority == spec.priority && advert.priority < 255 {
        let says = format!("{from} has the same priority {}: the higher address wins", advert.priority);
        found.push(Finding::hint(says, "give each node a priority of its own"));
    }
    found
}

/// Nothing about the vip arrives on its interface.
fn silence(case: &Case<'_>) -> Vec<Finding> {
    if let Some(finding) = elsewhere(case) {
        return vec![finding];
    }
    let spec = &case.vip.spec;
    if case.is_active() {
        return vec![Finding::good("nobody else advertises it (in VRRP a backup is silent)")];
    }
    let lively = case.outgoing().iter().any(|h| h.count > 0);
    if lively {
        return Vec::new();
    }
    let mute: Vec<IpAddr> = spec.unicast.iter().copied().filter(|peer| is_mute(case, *peer)).collect();
    if !mute.is_empty() && mute.len() == spec.unicast.len() {
        let says = format!("no advert arrives, and peer {} does not answer {}", list(&mute), neighbour(case));
        return vec![Finding::wrong(
            says,
            "start that host or mend its network; if its address changed, mend `unicast`",
        )];
    }
    let says = format!(
        "no advert for router id {} arrives on {} ({}){}",
        spec.vrid,
        case.interface,
        case.transport(),
        strangers(case)
    );
    let todo = match case.group() {
        Some(_) => {
            "run mainstay doctor on the other node: if its adverts leave, the network loses them (another VLAN, a \
             switch that snoops IGMP, a cloud without multicast: set `unicast` on all nodes); if not, start it"
        }
        None => {
            "run mainstay doctor on the other node: if its adverts leave, a router, a security group or a switch \
             between drops IP protocol 112; if not, start it, and see that its `unicast` names this node"
        }
    };
    vec![Finding::wrong(says, todo)]
}

/// The vip's adverts on another interface, or in another VLAN.
fn elsewhere(case: &Case<'_>) -> Option<Finding> {
    let link = case.link()?;
    let others = case.seen.heard.iter().filter(|h| !h.outgoing && h.is_alive() && !case.seen.is_own(h.from));
    let others = others.filter(|h| h.vrid() == Some(case.vip.spec.vrid) && case.shares_address(h));
    let lost = others.max_by_key(|h| (h.index == link.index, h.count))?;
    let (from, name) = (lost.from, case.interface);
    let place = case.seen.name_of(lost.index);
    Some(match lost.vlan {
        Some(vlan) => Finding::wrong(
            format!(
                "adverts of {from} arrive on {place} with the tag of VLAN {vlan}, {name} hears untagged ones"
            ),
            format!(
                "set `interface` to that VLAN's interface (ip link add link {place} name {place}.{vlan} type vlan id {vlan}), or mend the switch's port"
            ),
        ),
        None => Finding::wrong(
            format!("adverts of {from} arrive on {place}, here `interface` is {name}"),
            format!("set `interface = \"{place}\"`, or plug both nodes' {name} into one segment"),
        ),
    })
}

/// What else speaks VRRP on the interface: perhaps one of them was meant.
fn strangers(case: &Case<'_>) -> String {
    let index = case.link().map(|link| link.index);
    let known =
        |vrid| case.plan.vips.iter().any(|v| v.spec.link == case.vip.spec.link && v.spec.vrid == vrid);
    let mut said: Vec<String> = Vec::new();
    for heard in case.seen.heard.iter().filter(|h| !h.outgoing && Some(h.index) == index) {
        let Ok((advert, _)) = heard.parse() else { continue };
        let text = format!("router id {} of {} for {}", advert.vrid, heard.from, list(&advert.addrs));
        if !known(advert.vrid) && !said.contains(&text) && said.len() < 4 {
            said.push(text);
        }
    }
    if said.is_empty() { String::new() } else { format!("; what arrives is {}", said.join(", ")) }
}
