//! What differs between an advert that was heard and the vip that should hear it: every difference, not the first alone.

use std::net::IpAddr;
use std::time::Duration;

use mainstay_core::election::{Packet, judge};
use mainstay_core::vrrp::{Advert, Checksum, Reject, Version, forms_agree};

use super::analyse::Case;
use super::finding::Finding;
use super::observed::{Heard, list, span};

/// What would have the election refuse this packet; empty when it would take it.
pub(super) fn differences(case: &Case<'_>, heard: &Heard) -> Vec<Finding> {
    let (advert, form) = match heard.parse() {
        Ok(read) => read,
        Err(reject) => return vec![unreadable(heard, reject)],
    };
    let ours = &case.vip.spec;
    let mut found: Vec<Finding> = [
        router_id(case, heard, &advert),
        version(case, heard, &advert),
        authentication(case, heard, &advert),
        destination(case, heard),
        sender(case, heard),
        ttl(case, heard),
        checksum(case, heard, form),
        interval(case, heard, &advert),
        addresses(case, heard, &advert),
    ]
    .into_iter()
    .flatten()
    .collect();
    let Heard { from, to, ttl, .. } = *heard;
    let packet = Packet { link: ours.link, from, to, ttl, payload: &heard.payload };
    // The election has the last word: what it refuses is never passed over in silence.
    if found.is_empty()
        && let Err(reject) = judge(ours, case.source(), &packet)
    {
        found.push(Finding::wrong(
            format!("adverts of {from} are refused: {reject}"),
            "make both nodes alike",
        ));
    }
    found
}

fn unreadable(heard: &Heard, reject: Reject) -> Finding {
    let todo = match reject {
        Reject::Ttl => {
            "the sender must be on this segment and send with 255; over routers use `unicast` with `ttl_min`"
        }
        Reject::Checksum => {
            "something on the way changes packets (address translation, a broken offload: try ethtool -K IF tx off there)"
        }
        Reject::AuthType => {
            "the sender uses authentication by AH, which does not exist here: use PASS or version 3"
        }
        Reject::Short
        | Reject::Version
        | Reject::Type
        | Reject::Family
        | Reject::Count
        | Reject::Length
        | Reject::ChecksumForm
        | Reject::Vrid
        | Reject::VersionMismatch
        | Reject::Password
        | Reject::Interval
        | Reject::Addrs
        | Reject::Source
        | Reject::Destination
        | Reject::OwnAddress
        | Reject::Owner
        | Reject::Link => "find out what sends it: it is no advert of keepalived's or ours",
    };
    Finding::wrong(format!("what {} sends is refused: {reject}", heard.from), todo)
}

fn router_id(case: &Case<'_>, heard: &Heard, advert: &Advert) -> Option<Finding> {
    let (ours, theirs) = (case.vip.spec.vrid, advert.vrid);
    let says = format!(
        "{} advertises {} under router id {theirs}, here it is {ours}",
        heard.from,
        list(&advert.addrs)
    );
    (ours != theirs).then(|| Finding::wrong(says, "give `vrid` (virtual_router_id) one value on all nodes"))
}

fn version(case: &Case<'_>, heard: &Heard, advert: &Advert) -> Option<Finding> {
    let number = |version| match version {
        Version::V2 => 2,
        Version::V3 => 3,
    };
    let (ours, theirs) = (number(case.vip.spec.version), number(advert.version));
    let says = format!("{} speaks VRRP version {theirs}, here it is version {ours}", heard.from);
    let todo = format!("set `version = {theirs}` here, or `vrrp_version {ours}` in that keepalived");
    (ours != theirs).then(|| Finding::wrong(says, todo))
}

fn authentication(case: &Case<'_>, heard: &Heard, advert: &Advert) -> Option<Finding> {
    if advert.version != Version::V2 || case.vip.spec.version != Version::V2 {
        return None;
    }
    let from = heard.from;
    match (case.vip.spec.password, advert.password) {
        (None, None) => None,
        (Some(ours), Some(theirs)) if ours == theirs => None,
        (Some(_), Some(_)) => Some(Finding::wrong(
            format!("{from} uses another password"),
            "give `password` (auth_pass) one value on all nodes; only its first 8 characters count",
        )),
        (None, Some(_)) => Some(Finding::wrong(
            format!("{from} uses a password, here none is set"),
            "set `password` here to that node's auth_pass, or remove its authentication block",
        )),
        (Some(_), None) => Some(Finding::wrong(
            format!("{from} uses no password, here one is set"),
            "remove `password` here, or set it (auth_type PASS, auth_pass) there",
        )),
    }
}

fn destination(case: &Case<'_>, heard: &Heard) -> Option<Finding> {
    let (from, to) = (heard.from, heard.to);
    match (case.group(), to.is_multicast()) {
        (None, false) => None,
        (Some(group), true) if group == to => None,
        (Some(group), true) => Some(Finding::wrong(
            format!("{from} sends to the group {to}, here it is {group}"),
            "give `multicast` (vrrp_mcast_group4, vrrp_mcast_group6) one value on all nodes",
        )),
        (None, true) => Some(Finding::wrong(
            format!("{from} sends by multicast (to {to}), here the vip is {}", case.transport()),
            "remove `unicast` here, or set it (unicast_peer) there: all nodes alike",
        )),
        (Some(_), false) => Some(Finding::wrong(
            format!("{from} sends by unicast (to {to}), here the vip is {}", case.transport()),
            format!("set `unicast = [\"{from}\"]` here, or remove it (unicast_peer) there: all nodes alike"),
        )),
    }
}

fn sender(case: &Case<'_>, heard: &Heard) -> Option<Finding> {
    let spec = &case.vip.spec;
    let stranger = spec.check_source && !spec.unicast.is_empty() && !spec.unicast.contains(&heard.from);
    let says = format!("{} is not among the peers: `unicast` names {}", heard.from, list(&spec.unicast));
    stranger.then(|| Finding::wrong(says, "add it to `unicast`, or find out who it is"))
}

fn ttl(case: &Case<'_>, heard: &Heard) -> Option<Finding> {
    let (ours, theirs) = (case.vip.spec.ttl_min, heard.ttl);
    let says =
        format!("adverts of {} arrive with a TTL of {theirs}, accepted is {ours} and more", heard.from);
    let todo = format!("they crossed {} routers: set `ttl_min` if that is meant", 255 - u16::from(theirs));
    (theirs < ours).then(|| Finding::wrong(says, todo))
}

fn checksum(case: &Case<'_>, heard: &Heard, form: Checksum) -> Option<Finding> {
    let spec = &case.vip.spec;
    let either = spec.version == Version::V2
        || spec.ipv6
        || spec.checksum_any
        || forms_agree(heard.from, heard.to, heard.payload.len());
    let word = match form {
        Checksum::Message => "message",
        Checksum::PseudoHeader => "pseudo-header",
    };
    let says = format!("{} computes the checksum in the other form ({word})", heard.from);
    (!either && form != spec.checksum).then(|| Finding::wrong(says, format!("set `checksum = \"{word}\"`")))
}

fn interval(case: &Case<'_>, heard: &Heard, advert: &Advert) -> Option<Finding> {
    let spec = &case.vip.spec;
    if advert.version != Version::V2 || spec.version != Version::V2 {
        return None;
    }
    let ours = Duration::from_secs(spec.advert.as_secs().max(1));
    let says = format!(
        "{} advertises every {}, here it is {}: version 2 asks for equality",
        heard.from,
        span(advert.interval),
        span(ours)
    );
    (advert.interval != ours).then(|| {
        Finding::wrong(
            says,
            format!("set `advert = \"{}\"` here, or advert_int there", span(advert.interval)),
        )
    })
}

fn addresses(case: &Case<'_>, heard: &Heard, advert: &Advert) -> Option<Finding> {
    let spec = &case.vip.spec;
    let missing = |of: &[IpAddr], than: &[IpAddr]| -> Vec<IpAddr> {
        of.iter().copied().filter(|a| !than.contains(a)).collect()
    };
    let (only_there, only_here) = (missing(&advert.addrs, &spec.addrs), missing(&spec.addrs, &advert.addrs));
    if !spec.check_addrs || (only_there.is_empty() && only_here.is_empty()) {
        return None;
    }
    let (from, vrid) = (heard.from, advert.vrid);
    if only_here.len() == spec.addrs.len() {
        let says = format!("{from} uses router id {vrid} for other addresses: {}", list(&advert.addrs));
        let todo = "if it is a node of this vip, mend `addrs`; if it belongs to another cluster, choose another `vrid`";
        return Some(Finding::wrong(says, todo));
    }
    let says = format!("{from} advertises {}, here `addrs` is {}", list(&advert.addrs), list(&spec.addrs));
    let todo = match (only_here.is_empty(), only_there.is_empty()) {
        (true, _) => format!("add {} to `addrs`, or remove it there", list(&only_there)),
        (false, true) => format!("add {} there, or move it to `unadvertised` here", list(&only_here)),
        (false, false) => "make both lists alike".to_owned(),
    };
    Some(Finding::wrong(says, todo))
}
