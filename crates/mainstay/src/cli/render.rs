//! Status and events as people read them: tables whose colours appear on terminals only.

mod agent;
mod cluster;
mod edge;

use std::fmt::Write as _;
use std::io::IsTerminal as _;
use std::time::Duration;

use mainstay_core::election::State;

use crate::status::{Event, Status, VipStatus};
use crate::words;

pub(super) use cluster::{cluster, lease};
pub(super) use edge::{hubs, pools, tunnels};

/// Blanks between columns.
const GAP: usize = 2;

/// Rows of cells, the first being the heading.
pub(super) struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    pub(super) fn new(heading: &[&str]) -> Self {
        Self { rows: vec![heading.iter().map(ToString::to_string).collect()] }
    }

    pub(super) fn row(&mut self, cells: Vec<String>) {
        self.rows.push(cells);
    }

    /// Columns as wide as their widest cell; `paint` colours a cell after it has been padded.
    fn render(&self, paint: impl Fn(usize, &str, String) -> String) -> String {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or_default();
        let width = |c: usize| {
            self.rows.iter().filter_map(|r| r.get(c)).map(|t| t.chars().count()).max().unwrap_or(0)
        };
        self.laid_out(&(0..columns).map(width).collect::<Vec<_>>(), paint)
    }

    /// The same in so many columns of a terminal at most: the widest cells lose what has no room, and `~` marks it.
    pub(super) fn render_within(mut self, most: usize, paint: impl Fn(&str, String) -> String) -> String {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or_default();
        let width = |c: usize| {
            self.rows.iter().filter_map(|r| r.get(c)).map(|t| t.chars().count()).max().unwrap_or(0)
        };
        let mut widths: Vec<usize> = (0..columns).map(width).collect();
        let gaps = GAP * columns.saturating_sub(1);
        while widths.iter().sum::<usize>() + gaps > most {
            let Some(widest) = widths.iter_mut().max().filter(|widest| **widest > 1) else { break };
            *widest -= 1;
        }
        for row in &mut self.rows {
            for (cell, width) in row.iter_mut().zip(&widths) {
                if cell.chars().count() > *width {
                    *cell = cell.chars().take(width.saturating_sub(1)).chain(['~']).collect();
                }
            }
        }
        self.laid_out(&widths, |_, cell, text| paint(cell, text))
    }

    fn laid_out(&self, widths: &[usize], paint: impl Fn(usize, &str, String) -> String) -> String {
        let mut out = String::new();
        for (place, row) in self.rows.iter().enumerate() {
            let mut line = String::new();
            for (column, cell) in row.iter().enumerate() {
                let padded = format!("{cell:<width$}", width = widths[column]);
                let padded = if place == 0 { style("1", padded) } else { paint(column, cell, padded) };
                line.push_str(&padded);
                line.push_str(&" ".repeat(GAP));
            }
            out.push_str(line.trim_end());
            out.push('\n');
        }
        out
    }
}

/// Wraps text in an SGR code when standard output is a terminal that wants colours.
pub(crate) fn style(code: &str, text: String) -> String {
    let wanted = std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    if wanted { format!("\x1b[{code}m{text}\x1b[0m") } else { text }
}

pub(super) fn paint_state(word: &str, text: String) -> String {
    match word {
        "active" | "up" => style("32", text),
        "fault" | "down" | "unresolved" => style("31", text),
        "pending" | "unknown" | "aside" | "trial" | "drained" | "full" | "rising" => style("33", text),
        _ => text,
    }
}

/// The whole node.
pub(super) fn status(status: &Status) -> String {
    let up = span(Duration::from_secs(status.uptime_s));
    let mut out =
        format!("{}  mainstay {}  up {up}\n", style("1", format!("node {}", status.node)), status.version);
    for sentence in &status.degraded {
        let _ = writeln!(out, "{} {sentence}", style("33", "degraded:".into()));
    }
    if !status.vips.is_empty() {
        out.push('\n');
        out.push_str(&vips(status));
        for vip in &status.vips {
            let hold = if vip.on_hold { "; on hold" } else { "" };
            let _ = write!(out, "\n{}: {}{hold}; next: {}", vip.name, vip.why, vip.next);
        }
        out.push('\n');
        out.push_str(&promises(status));
    }
    for vip in &status.vips {
        if let Some(reference) = &vip.reference {
            let _ = writeln!(out, "{}: reference {}", vip.name, reference.sentence());
        }
    }
    if let Some(lock) = status.arbitration.as_ref().and_then(|of| of.lock.as_ref()) {
        let _ = writeln!(out, "lock: {}", lock.sentence());
    }
    if let Some(cluster) = &status.cluster {
        out.push('\n');
        out.push_str(&self::cluster(cluster));
    }
    if !status.listeners.is_empty() {
        out.push('\n');
        out.push_str(&edge::listeners(status));
    }
    if !status.pools.is_empty() {
        out.push('\n');
        out.push_str(&edge::pools(status));
    }
    if !status.agents.is_empty() {
        out.push('\n');
        out.push_str(&agent::agents(status));
    }
    if !status.probes.is_empty() {
        out.push('\n');
        out.push_str(&probes(status));
    }
    out.push('\n');
    out.push_str(&workers(status));
    out
}

/// One line for each vip.
pub(super) fn vips(status: &Status) -> String {
    let mut table = Table::new(&["VIP", "STATE", "HOLDER", "PRIORITY", "FOR", "GUARD", "ADDRESSES"]);
    for vip in &status.vips {
        let holder = match (&vip.holder, vip.state) {
            (_, State::Active) => "this node".into(),
            (Some(holder), State::Backup | State::Fault) => holder.clone(),
            (None, State::Backup | State::Fault) => "nobody known".into(),
        };
        table.row(vec![
            vip.name.clone(),
            words::state(vip.state).into(),
            holder,
            priority(vip),
            length(status.at_ms, vip.since_ms),
            format!("{}, {} {} ms", vip.guard.grade, vip.guard.gate, vip.guard.window_ms),
            if vip.addrs.is_empty() { "(notify only)".into() } else { vip.addrs.join(", ") },
        ]);
    }
    table.render(|column, cell, text| if column == 1 { paint_state(cell, text) } else { text })
}

/// What is proven and what is best effort, once for each guard.
fn promises(status: &Status) -> String {
    let mut said: Vec<(&str, &str)> =
        status.vips.iter().map(|vip| (vip.guard.grade.as_str(), vip.guard.promise.as_str())).collect();
    said.sort_unstable();
    said.dedup();
    said.retain(|(_, promise)| !promise.is_empty());
    said.iter().map(|(grade, promise)| format!("guard {grade}: {promise}\n")).collect()
}

fn priority(vip: &VipStatus) -> String {
    if vip.priority == vip.effective_priority {
        vip.priority.to_string()
    } else {
        format!("{} (of {})", vip.effective_priority, vip.priority)
    }
}

fn probes(status: &Status) -> String {
    let mut table = Table::new(&["PROBE", "VERDICT", "PASSED", "FAILED", "TOOK", "LAST RESULT"]);
    for probe in &status.probes {
        table.row(vec![
            probe.name.clone(),
            words::verdict(probe.verdict).into(),
            probe.passed.to_string(),
            probe.failed.to_string(),
            format!("{:.1} ms", probe.took_ms),
            probe.detail.lines().next().unwrap_or_default().chars().take(80).collect(),
        ]);
    }
    table.render(|column, cell, text| if column == 1 { paint_state(cell, text) } else { text })
}

fn workers(status: &Status) -> String {
    let mut table = Table::new(&["WORKER", "PID", "STARTED AGAIN"]);
    for worker in &status.workers {
        let pid = worker.pid.map_or_else(|| "down".into(), |p| p.to_string());
        table.row(vec![worker.role.clone(), pid, worker.restarts.to_string()]);
    }
    table.render(|_, cell, text| paint_state(cell, text))
}

/// One line for one event; what it is about is named once.
pub(super) fn event(event: &Event) -> String {
    // What has several lines is one event all the same.
    let message = event.message.trim_end().replace('\n', "\n    ");
    format!("{}  {:<8}  {:<12}  {message}", clock(event.at_ms), event.kind, event.about)
}

/// Date and time in UTC, with milliseconds.
pub(super) fn clock(at_ms: u64) -> String {
    let (days, ms) = (at_ms / 86_400_000, at_ms % 86_400_000);
    let (year, month, day) = date(days);
    let (h, m, s) = (ms / 3_600_000, ms / 60_000 % 60, ms / 1000 % 60);
    format!("{year:04}-{month:02}-{day:02} {h:02}:{m:02}:{s:02}.{:03}Z", ms % 1000)
}

/// The civil date of a day counted from 1970-01-01, in the proleptic Gregorian calendar.
fn date(days: u64) -> (u64, u64, u64) {
    let leap = |y: u64| y.is_multiple_of(4) && (!y.is_multiple_of(100) || y.is_multiple_of(400));
    let (mut year, mut left) = (1970, days);
    while left >= 365 + u64::from(leap(year)) {
        left -= 365 + u64::from(leap(year));
        year += 1;
    }
    let lengths = [31, 28 + u64::from(leap(year)), 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let mut month = 1;
    for length in lengths {
        if left < length {
            break;
        }
        left -= length;
        month += 1;
    }
    (year, month, left + 1)
}

/// How long something has lasted.
pub(super) fn length(now_ms: u64, then_ms: u64) -> String {
    span(Duration::from_millis(now_ms.saturating_sub(then_ms)))
}

/// A length of time in its two largest units.
pub(super) fn span(length: Duration) -> String {
    let s = length.as_secs();
    match s {
        0 => format!("{} ms", length.as_millis()),
        1..60 => format!("{s} s"),
        60..3600 => format!("{} min {} s", s / 60, s % 60),
        3600..86_400 => format!("{} h {} min", s / 3600, s / 60 % 60),
        _ => format!("{} d {} h", s / 86_400, s / 3600 % 24),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_shown_as_its_civil_date() {
        assert_eq!(clock(0), "1970-01-01 00:00:00.000Z");
        assert_eq!(clock(951_826_154_321), "2000-02-29 12:09:14.321Z");
    }

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let mut table = Table::new(&["A", "B"]);
        table.row(vec!["long".into(), "x".into()]);
        assert_eq!(table.render(|_, _, t| t), "A     B\nlong  x\n");
    }

    #[test]
    fn lengths_are_said_in_their_two_largest_units() {
        let cases = [(5, "5 s"), (65, "1 min 5 s"), (3_700, "1 h 1 min"), (90_000, "1 d 1 h")];
        for (seconds, text) in cases {
            assert_eq!(span(Duration::from_secs(seconds)), text);
        }
    }
}
