//! What is not served: virtual servers, BFD and static track groups. Their keywords are known, so that a typo in them
//! is found even so, and each block is reported once.

use super::report::Report;
use super::table::{Table, advice, shorten, unmapped};
use super::tree::Stmt;

/// Reports these blocks, and what at the top of the file is no block of ours.
pub(super) fn read(tree: &Stmt, report: &mut Report) {
    let served = "a load balancer in front of these servers: keep ipvsadm or keepalived's checkers on both nodes \
                  until Mainstay serves them; --lenient takes the vips alone";
    for stmt in tree.children() {
        let what = shorten(&stmt.words.join(" "));
        match stmt.keyword() {
            "virtual_server" => {
                report.dropped(stmt.pos, format!("{what} is not served yet"), format!("needs {served}"));
                walk(stmt, &advice::VIRTUAL_SERVER, report);
            }
            "virtual_server_group" | "SSL" => {
                report.dropped(stmt.pos, format!("{what} is not served yet"), format!("belongs to {served}"));
                if stmt.keyword() == "SSL" {
                    walk(stmt, &advice::SSL, report);
                }
            }
            "bfd_instance" => {
                report.dropped(stmt.pos, format!("{what} is left out"), advice::NO_BFD);
                walk(stmt, &advice::BFD_INSTANCE, report);
            }
            "track_group" => {
                let help = "static addresses are not Mainstay's, so no vip can depend on them";
                report.dropped(stmt.pos, format!("{what} is left out"), help);
                walk(stmt, &advice::TRACK_GROUP, report);
            }
            keyword if advice::TOP.maps(keyword) => {}
            _ => unmapped(stmt, &advice::TOP, report),
        }
    }
}

fn walk(stmt: &Stmt, table: &Table, report: &mut Report) {
    for child in stmt.children() {
        unmapped(child, table, report);
        let inner = match child.keyword() {
            "real_server" => &advice::REAL_SERVER,
            "url" => &advice::URL,
            "host" => &advice::HOST,
            keyword if keyword.ends_with("_CHECK") || keyword.ends_with("_GET") => &advice::CHECKER,
            _ => continue,
        };
        walk(child, inner, report);
    }
}
