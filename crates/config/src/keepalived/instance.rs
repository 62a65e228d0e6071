//! `vrrp_instance` becomes `[[vip]]`, `vrrp_sync_group` becomes `[[group]]`.

use std::collections::{BTreeMap, HashSet};
use std::net::IpAddr;

use super::draft::{Draft, Group, Kind, Notify, Track, Vip};
use super::report::Report;
use super::table::{advice, shorten, unmapped};
use super::tree::Stmt;
use super::{track, values};

mod address;
mod settle;

/// Reads every instance and group.
pub(super) fn read(tree: &Stmt, draft: &mut Draft, report: &mut Report) {
    let mut seen = HashSet::new();
    for stmt in tree.children() {
        let keyword = stmt.keyword();
        if keyword != "vrrp_instance" && keyword != "vrrp_sync_group" {
            continue;
        }
        let Some(name) = values::word(stmt, report) else { continue };
        if !seen.insert((keyword.to_owned(), name.clone())) {
            let text = format!("{keyword} {} is defined twice", shorten(&name));
            report.error(stmt.pos, text, "give one of them another name");
            continue;
        }
        if keyword == "vrrp_instance" {
            let vip = one_vip(stmt, name, report);
            draft.vips.push(vip);
        } else {
            let group = one_group(stmt, name, report);
            draft.groups.push(group);
        }
    }
    for vip in &mut draft.vips {
        settle::vip(vip, &draft.globals, report);
    }
    members(draft, report);
}

fn one_vip(stmt: &Stmt, name: String, report: &mut Report) -> Vip {
    let mut vip = Vip { pos: stmt.pos, name, ..Vip::default() };
    for child in stmt.children() {
        let read = election(child, &mut vip, report)
            || wire(child, &mut vip, report)
            || announce(child, &mut vip, report)
            || address::read(child, &mut vip, report)
            || tracked(child, &mut vip.tracks, report)
            || told(child, &mut vip.notify, &mut vip.alert, report);
        if !read {
            unmapped(child, &advice::INSTANCE, report);
        }
    }
    vip
}

fn election(stmt: &Stmt, vip: &mut Vip, report: &mut Report) -> bool {
    match stmt.keyword() {
        "state" => match stmt.arg(1) {
            Some("MASTER") => vip.master = Some(stmt.pos),
            Some("BACKUP") => vip.master = None,
            other => {
                let text = format!(
                    "state {} is unknown: keepalived takes BACKUP",
                    shorten(other.unwrap_or_default())
                );
                report.error(stmt.pos, text, "write state BACKUP or leave the line out: priority decides");
            }
        },
        "interface" => vip.interface = values::word(stmt, report),
        "virtual_router_id" => vip.vrid = values::number(stmt, 1..=255, report),
        "version" => vip.version = values::number(stmt, 2..=3, report),
        "native_ipv6" => vip.native_ipv6 = true,
        "priority" => vip.priority = values::number(stmt, 1..=255, report),
        "advert_int" => {
            vip.advert = values::seconds(stmt, 0.01..=255.0, report).map(|advert| (advert, stmt.pos))
        }
        "nopreempt" => vip.nopreempt = Some(stmt.pos),
        "preempt_delay" => {
            vip.preempt_delay = values::seconds(stmt, 0.0..=1000.0, report).map(|delay| (delay, stmt.pos));
        }
        "down_timer_adverts" => vip.down_adverts = values::number(stmt, 1..=100, report),
        "strict_mode" => vip.strict = values::flag(stmt, report),
        "dont_track_primary" => vip.dont_track_primary = Some(stmt.pos),
        _ => return false,
    }
    true
}

fn wire(stmt: &Stmt, vip: &mut Vip, report: &mut Report) -> bool {
    match stmt.keyword() {
        "authentication" => authentication(stmt, vip, report),
        "mcast_src_ip" | "unicast_src_ip" => vip.source = values::address(stmt, report),
        "unicast_peer" => peers(stmt, vip, report),
        "check_unicast_src" => vip.check_source = values::flag(stmt, report),
        "unicast_ttl" => {
            let ttl: Option<u8> = values::number(stmt, 0..=255, report);
            if ttl.is_some_and(|ttl| ttl != 255) {
                report.note(
                    stmt.pos,
                    "unicast_ttl has no meaning here",
                    "adverts are sent with 255, and arrive with less",
                );
            }
        }
        "mcast_dst_ip" => vip.multicast = values::address(stmt, report),
        "skip_check_adv_addr" => vip.skip_check_addrs = values::flag(stmt, report),
        _ => return false,
    }
    true
}

fn announce(stmt: &Stmt, vip: &mut Vip, report: &mut Report) -> bool {
    let announce = &mut vip.announce;
    let whole = 0.0..=86400.0;
    match stmt.keyword() {
        "garp_master_delay" => announce.delay = values::seconds(stmt, whole, report),
        "garp_master_repeat" => announce.repeat = values::number(stmt, 0..=255, report),
        "garp_master_refresh" => announce.refresh = values::seconds(stmt, whole, report),
        "garp_master_refresh_repeat" => announce.refresh_repeat = values::number(stmt, 0..=255, report),
        "garp_lower_prio_delay" => {
            announce.lower_delay = values::seconds(stmt, whole, report).map(|delay| (delay, stmt.pos));
        }
        "garp_lower_prio_repeat" => announce.lower_repeat = values::number(stmt, 0..=255, report),
        _ => return false,
    }
    true
}

fn authentication(stmt: &Stmt, vip: &mut Vip, report: &mut Report) {
    let mut kind = None;
    for child in stmt.children() {
        match child.keyword() {
            "auth_type" => match child.arg(1) {
                Some("PASS") => kind = Some("PASS"),
                Some("AH") => {
                    kind = Some("AH");
                    let help = "use auth_type PASS or no authentication, on both nodes: RFC 3768 took AH out in 2004";
                    report.dropped(child.pos, "auth_type AH is refused: adverts are sent without it", help);
                }
                other => {
                    let text = format!("auth_type {} is unknown", shorten(other.unwrap_or_default()));
                    report.error(child.pos, text, "write PASS");
                }
            },
            "auth_pass" => match values::word(child, report) {
                Some(word) => vip.password = Some((eight_bytes(word, child, report), child.pos)),
                None => continue,
            },
            _ => unmapped(child, &advice::AUTHENTICATION, report),
        }
    }
    match kind {
        Some("PASS") if vip.password.is_none() => {
            report.error(stmt.pos, "PASS without auth_pass", "add auth_pass")
        }
        Some("PASS") => {}
        Some(_) => vip.password = None,
        None => {
            let help = "write auth_type PASS before auth_pass";
            report.error(stmt.pos, "authentication without auth_type", help);
            vip.password = None;
        }
    }
}

/// The field in a packet has eight bytes; keepalived cuts what is longer.
fn eight_bytes(word: String, stmt: &Stmt, report: &mut Report) -> String {
    if word.len() <= 8 {
        return word;
    }
    let end = (0..=8).rev().find(|end| word.is_char_boundary(*end)).unwrap_or(0);
    report.note(
        stmt.pos,
        "auth_pass is cut to 8 bytes, as keepalived cuts it",
        "use 8 or fewer on both nodes",
    );
    word[..end].to_owned()
}

fn peers(stmt: &Stmt, vip: &mut Vip, report: &mut Report) {
    for entry in stmt.children() {
        let Some(addr) = entry.arg(0).and_then(|text| text.parse::<IpAddr>().ok()) else {
            let text = format!("unicast_peer {} is not an address", shorten(entry.keyword()));
            report.error(entry.pos, text, "write one address on each line");
            continue;
        };
        vip.unicast.push(addr);
        let mut words = entry.words[1..].iter().map(String::as_str);
        while let Some(word) = words.next() {
            let ttl = words.next().and_then(|ttl| ttl.parse::<u8>().ok());
            match (word, ttl) {
                // The lowest of all peers: one value holds for the vip.
                ("min_ttl", Some(ttl)) => {
                    vip.ttl_min = Some(vip.ttl_min.map_or(ttl, |least| least.min(ttl)));
                    vip.check_source = Some(true);
                }
                ("max_ttl", Some(ttl)) => {
                    vip.check_source = Some(true);
                    if ttl != 255 {
                        let text = format!("max_ttl {ttl} is left out");
                        report.dropped(
                            entry.pos,
                            text,
                            "ttl_min says how far away a peer may be; nothing caps it",
                        );
                    }
                }
                _ => {
                    let text = format!("{} is not understood after a peer", shorten(word));
                    report.error(
                        entry.pos,
                        text,
                        "only `min_ttl N` and `max_ttl N` may follow, from 0 to 255",
                    );
                }
            }
        }
    }
}

fn tracked(stmt: &Stmt, tracks: &mut Vec<Track>, report: &mut Report) -> bool {
    let kind = match stmt.keyword() {
        "track_interface" => Kind::Interface,
        "track_script" => Kind::Script,
        "track_process" => Kind::Process,
        "track_file" | "vrrp_track_file" => Kind::File,
        "track_bfd" => {
            report.dropped(stmt.pos, "track_bfd is left out", advice::NO_BFD);
            return true;
        }
        _ => return false,
    };
    track::entries(stmt, kind, tracks, report);
    true
}

fn told(stmt: &Stmt, notify: &mut Vec<Notify>, alert: &mut Option<bool>, report: &mut Report) -> bool {
    let on = match stmt.keyword() {
        "notify_master" => Some("active"),
        "notify_backup" => Some("backup"),
        "notify_fault" => Some("fault"),
        "notify_stop" => Some("stop"),
        "notify" => None,
        "smtp_alert" => {
            *alert = values::flag(stmt, report);
            return true;
        }
        _ => return false,
    };
    if let Some(command) = values::command(stmt, true, report) {
        notify.push(Notify { on, command });
    }
    true
}

fn one_group(stmt: &Stmt, name: String, report: &mut Report) -> Group {
    let mut group = Group { pos: stmt.pos, name, ..Group::default() };
    for child in stmt.children() {
        let read = tracked(child, &mut group.tracks, report)
            || told(child, &mut group.notify, &mut group.alert, report);
        match child.keyword() {
            _ if read => {}
            "group" => {
                let entries = child.children().iter();
                group.vips.extend(
                    entries.flat_map(|entry| entry.words.iter().map(|word| (word.clone(), entry.pos))),
                );
            }
            "sync_group_tracking_weight" | "global_tracking" => group.weighted = true,
            _ => unmapped(child, &advice::GROUP, report),
        }
    }
    group
}

/// Members must exist, and be in one group only.
fn members(draft: &mut Draft, report: &mut Report) {
    let known: HashSet<&str> = draft.vips.iter().map(|vip| vip.name.as_str()).collect();
    let mut taken: BTreeMap<String, String> = BTreeMap::new();
    for group in &mut draft.groups {
        let name = group.name.clone();
        group.vips.retain(|(vip, pos)| {
            let exists = known.contains(vip.as_str());
            let other = taken.get(vip).cloned();
            if !exists {
                let text = format!("group {}: there is no vrrp_instance {}", shorten(&name), shorten(vip));
                report.error(*pos, text, "take it out, or look for a typo");
            } else if let Some(other) = &other {
                let text =
                    format!("{} is in the groups {} and {}", shorten(vip), shorten(other), shorten(&name));
                report.error(*pos, text, "keep it in one of them");
            } else {
                taken.insert(vip.clone(), name.clone());
            }
            exists && other.is_none()
        });
        if group.vips.is_empty() {
            report.error(
                group.pos,
                format!("group {} is empty", shorten(&name)),
                "name its instances in group { }",
            );
        }
    }
    draft.groups.retain(|group| !group.vips.is_empty());
}
