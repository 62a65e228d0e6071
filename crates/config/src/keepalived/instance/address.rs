//! `virtual_ipaddress` and `virtual_ipaddress_excluded`: addresses as `ip address add` takes them.

use std::net::IpAddr;

use super::super::draft::{Addr, Vip};
use super::super::report::Report;
use super::super::table::shorten;
use super::super::tree::Stmt;

/// Reads one of the two blocks.
pub(super) fn read(stmt: &Stmt, vip: &mut Vip, report: &mut Report) -> bool {
    let list = match stmt.keyword() {
        "virtual_ipaddress" => &mut vip.addrs,
        "virtual_ipaddress_excluded" => &mut vip.unadvertised,
        _ => return false,
    };
    for entry in stmt.children() {
        list.extend(one(entry, report));
    }
    true
}

fn one(entry: &Stmt, report: &mut Report) -> Option<Addr> {
    let written = entry.keyword();
    let (addr, mask) = written.split_once('/').map_or((written, None), |(addr, mask)| (addr, Some(mask)));
    let Ok(addr) = addr.parse::<IpAddr>() else {
        let text = format!("{} is not an address: keepalived skips it", shorten(written));
        report.error(entry.pos, text, "write a.b.c.d or an IPv6 address, with /mask or without");
        return None;
    };
    let whole = if addr.is_ipv4() { 32 } else { 128 };
    match mask.map(str::parse::<u8>) {
        None => {}
        Some(Ok(mask)) if mask == whole => {}
        Some(Ok(mask)) if mask < whole => {
            let text = format!("{addr}/{mask} becomes {addr}/{whole}");
            let help = format!(
                "a wider prefix can make the vip the source of the host's own connections; write \"{addr}/{mask}\" in \
                 addrs if it is meant"
            );
            report.note(entry.pos, text, help);
        }
        Some(_) => report.error(entry.pos, format!("{} has no such mask", shorten(written)), "leave it out"),
    }
    let mut interface = None;
    let mut words = entry.words[1..].iter().map(String::as_str);
    while let Some(word) = words.next() {
        option(word, &mut words, &mut interface, entry, report);
    }
    Some(Addr { addr, interface, pos: entry.pos })
}

fn option<'a>(
    word: &str,
    words: &mut impl Iterator<Item = &'a str>,
    interface: &mut Option<String>,
    entry: &Stmt,
    report: &mut Report,
) {
    match word {
        "dev" => *interface = words.next().map(str::to_owned),
        // A broadcast address, the default scope and a route for a prefix mean nothing on a /32.
        "brd" | "broadcast" => {
            words.next();
        }
        "noprefixroute" | "-nodad" | "nodad" => {}
        "scope" => {
            let scope = words.next().unwrap_or_default();
            if scope != "global" {
                report.note(
                    entry.pos,
                    format!("scope {} is left out", shorten(scope)),
                    "vips have scope global",
                );
            }
        }
        "label" => {
            let label = shorten(words.next().unwrap_or_default());
            report.note(
                entry.pos,
                format!("label {label} is left out"),
                "find vips with `mainstay vip list`",
            );
        }
        "preferred_lft" => {
            words.next();
            let help = "an IPv6 vip is never a source address by accident, and an IPv4 one is /32";
            report.note(entry.pos, "preferred_lft is left out", help);
        }
        "peer" => {
            words.next();
            report.dropped(
                entry.pos,
                "peer is left out",
                "vips are no point-to-point addresses: route to it instead",
            );
        }
        "home" | "mngtmpaddr" | "autojoin" => {
            report.dropped(
                entry.pos,
                format!("{word} is left out"),
                "set the address by notify if it needs that flag",
            );
        }
        "no_track" => {
            let help = "a vip's address that somebody deletes is put back";
            report.note(entry.pos, "no_track is left out", help);
        }
        "use_vmac" => {
            report.dropped(entry.pos, "use_vmac is refused", "the vip uses the interface's own MAC");
        }
        other => {
            let text = format!("{} is not understood after an address", shorten(other));
            report.error(entry.pos, text, "write one address on each line");
        }
    }
}
