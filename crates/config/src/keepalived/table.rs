//! Every keyword of keepalived 2.2, block by block, and what becomes of it: so that a typo is told from something that
//! exists there but not here.

use std::collections::HashSet;
use std::sync::LazyLock;

use super::report::Report;
use super::tree::Stmt;
use crate::suggest::nearest;

pub(super) mod advice;

/// Keywords that read another file.
pub(super) const INCLUDES: &[&str] = &["include", "includer", "includem", "includew", "includeb", "includea"];

/// Whether a keyword is followed by braces, and what stands in them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Block {
    /// No braces.
    None,
    /// Statements.
    Keywords,
    /// One entry for each line.
    List,
    /// An unknown keyword: braces may follow, and what stands in them is skipped.
    Unknown,
}

/// Blocks of statements.
const KEYWORD_BLOCKS: &str = "global_defs track_group vrrp_track_process vrrp_process bfd_instance vrrp_script \
    vrrp_sync_group garp_group vrrp_instance virtual_server SSL authentication auth_hmac real_server url host \
    TCP_CHECK HTTP_GET SSL_GET SMTP_CHECK DNS_CHECK MISC_CHECK BFD_CHECK UDP_CHECK PING_CHECK FILE_CHECK";
/// Blocks of one entry for each line.
const LIST_BLOCKS: &str = "linkbeat_interfaces static_ipaddress static_routes static_rules \
    interface_up_down_delays virtual_server_group notification_email group track_interface track_script \
    track_process track_bfd unicast_peer virtual_ipaddress virtual_ipaddress_excluded virtual_routes virtual_rules \
    interfaces";

/// What block follows `keyword` inside the block of `parent`.
pub(super) fn block(inside: Block, parent: &str, keyword: &str) -> Block {
    match (inside, keyword) {
        (Block::List | Block::None, _) => Block::None,
        (Block::Unknown, _) => Block::Unknown,
        // A definition at the top, a list in an instance or group, a name elsewhere.
        (Block::Keywords, "track_file" | "vrrp_track_file") => match parent {
            "" => Block::Keywords,
            "vrrp_instance" | "vrrp_sync_group" => Block::List,
            _ => Block::None,
        },
        (Block::Keywords, _) if names(KEYWORD_BLOCKS).any(|name| name == keyword) => Block::Keywords,
        (Block::Keywords, _) if names(LIST_BLOCKS).any(|name| name == keyword) => Block::List,
        (Block::Keywords, _) if is_known_anywhere(keyword) => Block::None,
        (Block::Keywords, _) => Block::Unknown,
    }
}

fn is_known_anywhere(keyword: &str) -> bool {
    static ALL: LazyLock<HashSet<&str>> =
        LazyLock::new(|| advice::ALL.iter().flat_map(|table| table.names()).collect());
    ALL.contains(keyword)
}

fn names(list: &'static str) -> impl Iterator<Item = &'static str> {
    list.split_ascii_whitespace()
}

/// What becomes of a keyword that no mapper reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Treat {
    /// What it asks for is what happens here anyway.
    Default,
    /// No meaning here, and nothing is lost: the text says why.
    Note(&'static str),
    /// Something is lost: the text says what to do.
    Dropped(&'static str),
    /// Refused by name: the text says what there is instead.
    Refused(&'static str),
}

/// The keywords of one block; names are separated by spaces.
pub(super) struct Table {
    /// The block's keyword; empty for the top.
    pub(super) block: &'static str,
    /// Read by a mapper.
    pub(super) mapped: &'static str,
    /// The others.
    pub(super) others: &'static [(&'static str, Treat)],
}

impl Table {
    /// Whether a mapper reads it.
    pub(super) fn maps(&self, keyword: &str) -> bool {
        names(self.mapped).any(|name| name == keyword)
    }

    fn treat(&self, keyword: &str) -> Option<Treat> {
        let found = self.others.iter().find(|(list, _)| names(list).any(|name| name == keyword));
        found.map(|(_, treat)| *treat)
    }

    fn knows(&self, keyword: &str) -> bool {
        self.maps(keyword) || self.treat(keyword).is_some()
    }

    fn names(&self) -> impl Iterator<Item = &'static str> {
        names(self.mapped).chain(self.others.iter().flat_map(|(list, _)| names(list)))
    }
}

/// Reports a statement that no mapper has read.
pub(super) fn unmapped(stmt: &Stmt, table: &Table, report: &mut Report) {
    let keyword = stmt.keyword();
    match table.treat(keyword) {
        Some(Treat::Default) => {}
        Some(Treat::Note(why)) => report.note(stmt.pos, format!("{keyword} has no meaning here"), why),
        Some(Treat::Dropped(help)) => report.dropped(stmt.pos, format!("{keyword} is left out"), help),
        Some(Treat::Refused(help)) => report.dropped(stmt.pos, format!("{keyword} is refused"), help),
        None => unknown(stmt, table, report),
    }
}

fn unknown(stmt: &Stmt, table: &Table, report: &mut Report) {
    let keyword = stmt.keyword();
    let place = if table.block.is_empty() {
        "at the top of the file".to_owned()
    } else {
        format!("in {}", table.block)
    };
    let text = format!("keepalived 2.2 knows no keyword `{}` {place}, and ignores it", shorten(keyword));
    let help = if report.is_full() {
        // Nobody reads this one, and looking for neighbours is dear.
        String::new()
    } else if let Some(name) = nearest(&shorten(keyword), table.names()) {
        format!("did you mean `{name}`?")
    } else {
        match advice::ALL.iter().find(|table| table.knows(keyword)) {
            Some(table) if table.block.is_empty() => {
                "it belongs at the top: look for a missing `}` above".to_owned()
            }
            Some(table) => format!("it belongs in {}: look for a missing or extra brace above", table.block),
            None => "take it out, or look it up in keepalived.conf(5)".to_owned(),
        }
    };
    report.dropped(stmt.pos, text, help);
}

/// Text from a file for a message: one line, no longer than helps.
pub(super) fn shorten(text: &str) -> String {
    let mut short: String = text.chars().take(60).collect();
    if short.len() < text.len() {
        short.push_str("...");
    }
    short
}

#[cfg(test)]
mod tests;
