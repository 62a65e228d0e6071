//! `global_defs` and `garp_group`: our `[node]` and `[mail]`, and what vips take when they say nothing.

use std::net::IpAddr;
use std::time::Duration;

use super::Files;
use super::draft::{Draft, Globals};
use super::report::Report;
use super::table::{advice, unmapped};
use super::tree::Stmt;
use super::values;

/// Reads every global_defs and garp_group.
pub(super) fn read(tree: &Stmt, draft: &mut Draft, files: &dyn Files, report: &mut Report) {
    let globals = &mut draft.globals;
    for stmt in tree.children() {
        match stmt.keyword() {
            "global_defs" => stmt.children().iter().for_each(|stmt| {
                if !(identity(stmt, globals, report)
                    || mail(stmt, globals, report)
                    || vrrp(stmt, globals, report))
                {
                    unmapped(stmt, &advice::GLOBAL, report);
                }
            }),
            "garp_group" => garp_group(stmt, globals, report),
            _ => {}
        }
    }
    if globals.script_user.is_none() {
        let default = if files.has_user("keepalived_script") { "keepalived_script" } else { "root" };
        globals.script_user = Some(default.to_owned());
        globals.script_user_assumed = true;
    }
}

fn identity(stmt: &Stmt, globals: &mut Globals, report: &mut Report) -> bool {
    match stmt.keyword() {
        "router_id" | "lvs_id" => router_id(stmt, globals, report),
        "vrrp_startup_delay" => globals.start_delay = values::seconds(stmt, 0.0..=86400.0, report),
        "script_user" => {
            globals.script_user = values::word(stmt, report);
            if stmt.arg(2).is_some() {
                report.note(
                    stmt.pos,
                    "script_user: the group is left out",
                    "commands run with their user's groups",
                );
            }
        }
        "default_interface" => globals.interface = values::word(stmt, report),
        _ => return false,
    }
    true
}

/// A node's id goes into file names and metrics, so it has letters, digits, `.`, `_` and `-` only.
fn router_id(stmt: &Stmt, globals: &mut Globals, report: &mut Report) {
    let Some(id) = values::word(stmt, report) else { return };
    let plain = |c: char| if c.is_ascii_alphanumeric() || "._-".contains(c) { c } else { '-' };
    let clean: String = id.chars().take(64).map(plain).collect();
    let clean = clean.trim_matches(['-', '.']).to_owned();
    if clean != id {
        let text = format!("router_id {} becomes \"{clean}\"", super::table::shorten(&id));
        report.note(
            stmt.pos,
            text,
            "an id has letters, digits, `.`, `_` and `-`; it must differ on each node",
        );
    }
    if !clean.is_empty() {
        globals.id = Some((clean, stmt.pos));
    }
}

fn mail(stmt: &Stmt, globals: &mut Globals, report: &mut Report) -> bool {
    match stmt.keyword() {
        "notification_email" => {
            globals.mail_pos = stmt.pos;
            for entry in stmt.children() {
                for address in &entry.words {
                    if values::is_mail(address) {
                        globals.mail_to.push(address.clone());
                    } else {
                        let text = format!("{} is not an e-mail address", super::table::shorten(address));
                        report.note(entry.pos, text, "write name@host");
                    }
                }
            }
        }
        "notification_email_from" => match values::word(stmt, report) {
            Some(from) if values::is_mail(&from) => globals.mail_from = Some(from),
            Some(from) => {
                let text = format!("{} is not an e-mail address", super::table::shorten(&from));
                report.note(stmt.pos, text, "write name@host");
            }
            None => {}
        },
        "smtp_server" => {
            let port = stmt.arg(2).and_then(|port| port.parse::<u16>().ok()).unwrap_or(25);
            globals.smtp = values::word(stmt, report).map(|host| match host.parse::<IpAddr>() {
                Ok(IpAddr::V6(addr)) => format!("[{addr}]:{port}"),
                Ok(IpAddr::V4(_)) | Err(_) => format!("{host}:{port}"),
            });
        }
        "smtp_helo_name" => globals.smtp_helo = values::word(stmt, report),
        "smtp_connect_timeout" => globals.smtp_timeout = values::seconds(stmt, 1.0..=86400.0, report),
        "smtp_alert" => globals.alert = values::flag(stmt, report),
        "smtp_alert_vrrp" => globals.alert_vrrp = values::flag(stmt, report),
        _ => return false,
    }
    true
}

fn vrrp(stmt: &Stmt, globals: &mut Globals, report: &mut Report) -> bool {
    let announce = &mut globals.announce;
    let whole = 0.0..=86400.0;
    match stmt.keyword() {
        "vrrp_version" => globals.version = values::number(stmt, 2..=3, report),
        "vrrp_strict" => globals.strict = values::flag(stmt, report) == Some(true),
        "vrrp_skip_check_adv_addr" => globals.skip_check_addrs = values::flag(stmt, report) == Some(true),
        "vrrp_check_unicast_src" => globals.check_unicast_src = values::flag(stmt, report) == Some(true),
        "vrrp_down_timer_adverts" => globals.down_adverts = values::number(stmt, 1..=100, report),
        "vrrp_mcast_group4" => globals.group4 = values::address(stmt, report),
        "vrrp_mcast_group6" => globals.group6 = values::address(stmt, report),
        "vrrp_min_garp" => globals.min_garp = values::flag(stmt, report) == Some(true),
        "vrrp_garp_interval" => globals.garp_interval = values::seconds(stmt, 0.0..=3600.0, report),
        "vrrp_gna_interval" => globals.gna_interval = values::seconds(stmt, 0.0..=3600.0, report),
        "vrrp_garp_master_delay" => announce.delay = values::seconds(stmt, whole, report),
        "vrrp_garp_master_repeat" => announce.repeat = values::number(stmt, 0..=255, report),
        "vrrp_garp_master_refresh" => announce.refresh = values::seconds(stmt, whole, report),
        "vrrp_garp_master_refresh_repeat" => announce.refresh_repeat = values::number(stmt, 0..=255, report),
        "vrrp_garp_lower_prio_delay" => {
            announce.lower_delay = values::seconds(stmt, whole, report).map(|delay| (delay, stmt.pos));
        }
        "vrrp_garp_lower_prio_repeat" => announce.lower_repeat = values::number(stmt, 0..=255, report),
        _ => return false,
    }
    true
}

fn garp_group(stmt: &Stmt, globals: &mut Globals, report: &mut Report) {
    let (mut arp, mut na): (Option<Duration>, Option<Duration>) = (None, None);
    let mut interfaces = Vec::new();
    for child in stmt.children() {
        match child.keyword() {
            "garp_interval" => arp = values::seconds(child, 0.0..=3600.0, report),
            "gna_interval" => na = values::seconds(child, 0.0..=3600.0, report),
            "interface" => interfaces.extend(values::word(child, report)),
            "interfaces" => {
                interfaces.extend(child.children().iter().flat_map(|entry| entry.words.iter().cloned()));
                let text = "garp_group: the interval holds for each interface by itself";
                report.note(child.pos, text, "raise announce.interval if they share a slow switch");
            }
            _ => unmapped(child, &advice::GARP_GROUP, report),
        }
    }
    for interface in interfaces {
        globals.intervals.insert(interface, (arp, na));
    }
}
