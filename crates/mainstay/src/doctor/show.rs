//! The report as people read it: what concerns the node, then each vip, each cause followed by what to do.

use std::fmt::Write as _;

use mainstay_config::plan::{Plan, Vip};
use mainstay_core::vrrp::Version;

use super::analyse::Case;
use super::finding::{Finding, Grade, Report};
use super::observed::Observed;
use crate::cli::style;

/// The whole report.
pub(super) fn report(report: &Report, plan: &Plan, seen: &Observed) -> String {
    let mut out = format!("{}\n", style("1", format!("node {}", plan.node)));
    report.node.iter().for_each(|finding| line(&mut out, finding));
    for (vip, findings) in plan.vips.iter().zip(&report.vips) {
        let _ = writeln!(out, "\n{}", heading(vip, plan, seen));
        findings.iter().for_each(|finding| line(&mut out, finding));
    }
    let end = match report.wrong() {
        0 => style("32", "nothing is wrong as far as this node can see".to_owned()),
        1 => style("31", "one thing is wrong".to_owned()),
        many => style("31", format!("{many} things are wrong")),
    };
    let _ = writeln!(out, "\n{end}");
    if report.wrong() == 0 {
        out.push_str("each node sees its own side only: run this on the others too\n");
    }
    out
}

fn heading(vip: &Vip, plan: &Plan, seen: &Observed) -> String {
    let interface = &plan.links[vip.spec.link.index()];
    let case = Case { plan, vip, seen, interface };
    let version = match vip.spec.version {
        Version::V2 => 2,
        Version::V3 => 3,
    };
    let name = style("1", format!("vip {}", vip.spec.name));
    format!("{name}  router id {}, VRRP {version}, {interface}, {}", vip.spec.vrid, case.transport())
}

fn line(out: &mut String, finding: &Finding) {
    let (mark, colour) = match finding.grade {
        Grade::Good => ("ok", "32"),
        Grade::Hint => ("note", "33"),
        Grade::Wrong => ("WRONG", "31"),
    };
    let _ = writeln!(out, "  {}  {}", style(colour, format!("{mark:<5}")), finding.says);
    if !finding.todo.is_empty() {
        let _ = writeln!(out, "         -> {}", finding.todo);
    }
}
