//! What an instance means once all of it and the globals are known: defaults, and what keepalived itself overrules.

use std::time::Duration;

use super::super::draft::{Globals, Vip};
use super::super::report::Report;
use super::super::table::shorten;
use super::super::values;

/// Fills in the defaults and reports what contradicts itself.
pub(in super::super) fn vip(vip: &mut Vip, globals: &Globals, report: &mut Report) {
    defaults(vip, globals);
    required(vip, report);
    start(vip, report);
    version(vip, globals, report);
    strict(vip, globals, report);
    families(vip, report);
    lower_delay(vip, globals, report);
    if let Some(pos) = vip.dont_track_primary {
        let help =
            "a vip whose interface is down is in fault: name an interface that stays up (a bridge, a bond)";
        report.dropped(pos, "dont_track_primary is left out", help);
    }
}

fn defaults(vip: &mut Vip, globals: &Globals) {
    vip.interface = vip.interface.take().or_else(|| globals.interface.clone());
    vip.down_adverts = vip.down_adverts.or(globals.down_adverts);
    vip.skip_check_addrs = vip.skip_check_addrs.or(Some(globals.skip_check_addrs));
    if vip.unicast.is_empty() {
        vip.check_source = None;
        vip.multicast = vip.multicast.or(if vip.is_v6() { globals.group6 } else { globals.group4 });
    } else {
        vip.check_source = vip.check_source.or(Some(globals.check_unicast_src));
    }
}

fn required(vip: &Vip, report: &mut Report) {
    let name = shorten(&vip.name);
    if vip.interface.is_none() {
        report.error(vip.pos, format!("{name} names no interface"), "add `interface eth0`");
    }
    let named = vip
        .addrs
        .iter()
        .chain(&vip.unadvertised)
        .filter_map(|addr| Some((addr.interface.as_ref()?, addr.pos)));
    for (interface, pos) in vip.interface.iter().map(|interface| (interface, vip.pos)).chain(named) {
        if !values::is_interface(interface) {
            let text = format!("{name}: {} cannot be an interface", shorten(interface));
            report.error(pos, text, "write the name that `ip link` shows, at most 15 characters");
        }
    }
    if vip.vrid.is_none() {
        report.error(
            vip.pos,
            format!("{name} has no virtual_router_id"),
            "add one, 1 to 255, equal on all its nodes",
        );
    }
    if vip.addrs.is_empty() {
        let help = "add virtual_ipaddress { a.b.c.d }; with install = false no interface gets it";
        report.error(vip.pos, format!("{name} has no virtual_ipaddress"), help);
    }
}

/// What `state MASTER` brings with it.
fn start(vip: &mut Vip, report: &mut Report) {
    let Some(pos) = vip.master else { return };
    let name = shorten(&vip.name);
    if vip.priority.is_none() {
        let text = format!("{name}: state MASTER without a priority means 255, the address owner's");
        report.note(
            vip.pos,
            text,
            "write a priority: the owner preempts everybody and never gives way to a weight",
        );
    } else if vip.priority != Some(255) {
        report.note(pos, format!("{name}: state MASTER is ignored: priority decides"), "");
    }
    if let Some(pos) = vip.nopreempt.take() {
        let text = format!("{name}: nopreempt is ignored, as keepalived ignores it with state MASTER");
        report.note(pos, text, "write state BACKUP on both nodes, or preempt = false here");
    }
    if let Some((_, pos)) = vip.preempt_delay.take() {
        let text = format!("{name}: preempt_delay is ignored, as keepalived ignores it with state MASTER");
        report.note(pos, text, "write state BACKUP on both nodes, or preempt_delay here");
    }
}

fn version(vip: &mut Vip, globals: &Globals, report: &mut Report) {
    let name = shorten(&vip.name);
    let asked = vip.version.or(globals.version);
    let version = if vip.is_v6() { 3 } else { asked.unwrap_or(2) };
    if vip.is_v6() && vip.version == Some(2) {
        report.note(vip.pos, format!("{name}: version 2 has no IPv6, so it is 3, as in keepalived"), "");
    }
    vip.version = Some(version);
    if vip.nopreempt.is_some() && vip.effective_priority() == 255 {
        report.note(vip.pos, format!("{name}: nopreempt is ignored at priority 255, as keepalived does"), "");
        vip.nopreempt = None;
    }
    if let Some((_, pos)) = vip.password.as_ref()
        && version == 3
    {
        let help = "VRRPv3 has no authentication; keepalived ignores it too";
        report.note(*pos, format!("{name}: the password is left out"), help);
        vip.password = None;
    }
    let Some((advert, pos)) = vip.advert else { return };
    let (step, most) = if version == 2 { (1_000_000, 255_000_000) } else { (10_000, 40_950_000) };
    let exact = u64::try_from(advert.as_micros()).unwrap_or(most);
    let rounded = (exact.saturating_add(step / 2) / step * step).clamp(step, most);
    if rounded != exact {
        let unit =
            if version == 2 { "whole seconds up to 255" } else { "hundredths of a second up to 40.95" };
        let text =
            format!("{name}: advert_int becomes {} s: version {version} has {unit}", rounded as f64 / 1e6);
        report.note(pos, text, "it must be equal on all nodes of the vip");
    }
    vip.advert = Some((Duration::from_micros(rounded), pos));
}

/// vrrp_strict takes things away in keepalived; here it only needs to be understood.
fn strict(vip: &mut Vip, globals: &Globals, report: &mut Report) {
    if !vip.strict.unwrap_or(globals.strict) {
        return;
    }
    let name = shorten(&vip.name);
    let help = "under vrrp_strict keepalived drops what is sent to a vip (no ping, no service) and ignores \
                authentication; Mainstay checks adverts strictly anyway, and answers";
    report.note(vip.pos, format!("{name}: vrrp_strict has no meaning here"), help);
    if vip.password.take().is_some() {
        let text = format!("{name}: the password is left out, as vrrp_strict does");
        report.note(vip.pos, text, "write password = \"...\" if the other node really sends one");
    }
    if !vip.unicast.is_empty() {
        let text = format!("{name}: keepalived refuses unicast_peer under vrrp_strict");
        report.note(vip.pos, text, "take vrrp_strict out of the other node's file");
    }
}

/// Advertised addresses are of one family; the others move too, but are not in the adverts.
fn families(vip: &mut Vip, report: &mut Report) {
    let v6 = vip.is_v6();
    let (same, other): (Vec<_>, Vec<_>) = vip.addrs.drain(..).partition(|addr| addr.addr.is_ipv6() == v6);
    vip.addrs = same;
    for addr in other {
        let text = format!("{} is of another family than {}'s first address", addr.addr, shorten(&vip.name));
        report.note(addr.pos, text, "it moves with the vip as unadvertised; keepalived skips it");
        vip.unadvertised.push(addr);
    }
    let wrong = |addr: &std::net::IpAddr| addr.is_ipv6() != v6;
    if vip.source.as_ref().is_some_and(wrong) || vip.unicast.iter().any(wrong) {
        let text = format!("{}: source, peers and addresses are not of one family", shorten(&vip.name));
        report.error(vip.pos, text, "a vip speaks IPv4 or IPv6, and needs an instance for each");
    }
}

fn lower_delay(vip: &Vip, globals: &Globals, report: &mut Report) {
    let delay = vip.announce.delay.or(globals.announce.delay).unwrap_or(Duration::from_secs(5));
    if let Some((lower, pos)) = vip.announce.lower_delay.or(globals.announce.lower_delay)
        && lower != delay
    {
        let help = "after a lower advert Mainstay announces at once, and again when the other falls silent";
        report.note(pos, "garp_lower_prio_delay has no meaning here", help);
    }
}
