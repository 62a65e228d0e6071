//! `top`: what a node does at this moment, from two statuses: rates are the difference of their counters.

use std::fmt::Write as _;
use std::io::IsTerminal as _;
use std::time::Duration;

use mainstay_core::election::State;
use mainstay_proxy::metrics::{ListenerCounts, RouteCounts};
use mainstay_proxy::pool::BackendStatus;

use super::render::{self, Table};
use super::{ask, local};
use crate::dirs::Dirs;
use crate::status::Status;
use crate::words;

/// A terminal that does not tell how large it is.
const SIZE: Size = Size { columns: 80, rows: 0 };

/// Fewer columns than this are taken for that many: the cells would tell nothing.
const NARROWEST: usize = 40;

/// Sentences about what is wrong that are shown; `status` has the others.
const SENTENCES: usize = 3;

/// Home, and away with what stands below.
const CLEAR: &str = "\x1b[H\x1b[J";

/// How much fits; no rows are without bound.
#[derive(Clone, Copy, Debug)]
struct Size {
    columns: usize,
    rows: usize,
}

/// Shows it again and again until it is interrupted, or once.
pub(super) fn run(dirs: &Dirs, once: bool, interval: Duration) -> anyhow::Result<u8> {
    let clears =
        std::io::stdout().is_terminal() && !once && std::env::var("TERM").is_ok_and(|term| term != "dumb");
    let mut before = ask::fetch_status(dirs)?;
    loop {
        wait(interval);
        let now = ask::fetch_status(dirs)?;
        let mut size = size();
        if !clears {
            size.rows = 0;
        }
        let shown = frame(&before, &now, size);
        if once {
            return local::print(&shown);
        }
        // The last line has no end, so that a full screen does not move.
        let text = if clears { format!("{CLEAR}{}", shown.trim_end()) } else { format!("{shown}\n") };
        if !local::print_to_reader(&text)? {
            return Ok(0);
        }
        before = now;
    }
}

/// One look at the node.
fn frame(before: &Status, now: &Status, size: Size) -> String {
    let span = Span::between(before, now);
    let columns = size.columns.max(NARROWEST);
    let mut out = String::new();
    let clock = render::clock(now.at_ms);
    let up = render::span(Duration::from_secs(now.uptime_s));
    let head = format!("node {}  mainstay {}  up {up}  {clock}", now.node, now.version);
    out.push_str(&cut(&head, columns));
    out.push('\n');
    for sentence in now.degraded.iter().take(SENTENCES) {
        let _ = writeln!(out, "{}", cut(&format!("degraded: {sentence}"), columns));
    }
    if let Some(more @ 1..) = now.degraded.len().checked_sub(SENTENCES) {
        let _ = writeln!(out, "degraded: and {more} more");
    }
    let tables =
        [vips(now), listeners(before, now, span), routes(before, now, span), pools(before, now, span)];
    for table in tables.into_iter().flatten() {
        out.push('\n');
        out.push_str(&table.render_within(columns, render::paint_state));
    }
    bounded(&out, size.rows)
}

fn vips(now: &Status) -> Option<Table> {
    let mut table = Table::new(&["VIP", "STATE", "FOR", "HOLDER", "ADDRESSES"]);
    for vip in &now.vips {
        let holder = match (&vip.holder, vip.state) {
            (_, State::Active) => "this node".into(),
            (Some(holder), State::Backup | State::Fault) => holder.clone(),
            (None, State::Backup | State::Fault) => "nobody known".into(),
        };
        let since = render::length(now.at_ms, vip.since_ms);
        table.row(vec![
            vip.name.clone(),
            words::state(vip.state).into(),
            since,
            holder,
            vip.addrs.join(", "),
        ]);
    }
    (!now.vips.is_empty()).then_some(table)
}

fn listeners(before: &Status, now: &Status, span: Span) -> Option<Table> {
    let mut table =
        Table::new(&["LISTENER", "OPEN", "CONN/S", "REQ/S", "4XX/S", "5XX/S", "REFUSED/S", "IN/S", "OUT/S"]);
    let known =
        |name: &str| before.listeners.iter().find(|one| one.counts.name == name).map(|one| &one.counts);
    for listener in &now.listeners {
        let counts = &listener.counts;
        let old = known(&counts.name);
        let rate = |of: fn(&ListenerCounts) -> u64| span.rate(old.map_or(0, of), of(counts));
        let bytes = |of: fn(&ListenerCounts) -> u64| short(span.per_second(old.map_or(0, of), of(counts)));
        table.row(vec![
            counts.name.clone(),
            listener.open.to_string(),
            rate(|c| c.accepted),
            rate(|c| c.requests.classes.iter().sum()),
            rate(|c| c.requests.classes[4]),
            rate(|c| c.requests.classes[5]),
            rate(|c| c.refused.values().chain(c.handshakes_failed.values()).sum()),
            bytes(|c| c.requests.received),
            bytes(|c| c.requests.sent),
        ]);
    }
    (!now.listeners.is_empty()).then_some(table)
}

fn routes(before: &Status, now: &Status, span: Span) -> Option<Table> {
    let mut table = Table::new(&["ROUTE", "REQ/S", "4XX/S", "5XX/S", "RETRIES/S", "MEAN"]);
    for route in &now.routes {
        let old = before.routes.iter().find(|one| one.name == route.name);
        let rate = |of: fn(&RouteCounts) -> u64| span.rate(old.map_or(0, of), of(route));
        let timed = |counts: &RouteCounts| (counts.buckets.iter().sum::<u64>(), counts.micros);
        let ((n, sum), (had, had_sum)) = (timed(route), old.map_or((0, 0), timed));
        let mean = sum.saturating_sub(had_sum).checked_div(n.saturating_sub(had));
        table.row(vec![
            route.name.clone(),
            rate(|c| c.requests.classes.iter().sum()),
            rate(|c| c.requests.classes[4]),
            rate(|c| c.requests.classes[5]),
            rate(|c| c.retries),
            mean.map_or_else(String::new, |micros| milliseconds(Duration::from_micros(micros))),
        ]);
    }
    (!now.routes.is_empty()).then_some(table)
}

fn pools(before: &Status, now: &Status, span: Span) -> Option<Table> {
    let mut table = Table::new(&["POOL", "BACKEND", "STATE", "LOAD", "REQ/S", "FAILED/S", "LATENCY"]);
    let all = |status: &'_ Status| -> Vec<BackendStatus> {
        status.pools.iter().flat_map(|pool| pool.backends.iter().map(|one| one.seen.clone())).collect()
    };
    let known = all(before);
    for backend in all(now) {
        let same = |one: &&BackendStatus| {
            (&one.pool, &one.backend, &one.address) == (&backend.pool, &backend.backend, &backend.address)
        };
        let old = known.iter().find(same);
        let rate = |of: fn(&BackendStatus) -> u64| span.rate(old.map_or(0, of), of(&backend));
        let name = if backend.address.is_empty() || backend.address == backend.backend {
            backend.backend.clone()
        } else {
            format!("{} ({})", backend.backend, backend.address)
        };
        let latency = Duration::try_from_secs_f64(backend.latency_ms / 1000.0).unwrap_or_default();
        table.row(vec![
            backend.pool.clone(),
            name,
            words::standing_of(backend.state).into(),
            backend.load.to_string(),
            rate(|one| one.requests),
            rate(|one| one.failures),
            if latency.is_zero() { String::new() } else { milliseconds(latency) },
        ]);
    }
    for pool in now.pools.iter().filter(|pool| pool.backends.is_empty()) {
        table.row(vec![pool.name.clone(), "none".into()]);
    }
    (!now.pools.is_empty()).then_some(table)
}

/// The time between two statuses.
#[derive(Clone, Copy)]
struct Span {
    seconds: f64,
}

impl Span {
    /// A clock that was set back, or another node that answers, makes no rate absurd.
    fn between(before: &Status, now: &Status) -> Self {
        let ms = now.at_ms.saturating_sub(before.at_ms).max(1);
        Self { seconds: Duration::from_millis(ms).as_secs_f64() }
    }

    /// A counter that is smaller than before began anew.
    fn per_second(self, before: u64, now: u64) -> f64 {
        #[expect(clippy::cast_precision_loss, reason = "what is counted in a second is far below 2^53")]
        let more = now.saturating_sub(before) as f64;
        more / self.seconds
    }

    fn rate(self, before: u64, now: u64) -> String {
        short(self.per_second(before, now))
    }
}

/// Three to four digits and a unit.
fn short(number: f64) -> String {
    let mut number = number;
    let mut unit = "";
    for larger in ["k", "M", "G"] {
        if number < 9999.5 {
            break;
        }
        number /= 1000.0;
        unit = larger;
    }
    if number < 0.05 {
        "0".into()
    } else if number < 10.0 || (!unit.is_empty() && number < 100.0) {
        format!("{number:.1}{unit}")
    } else {
        format!("{number:.0}{unit}")
    }
}

fn milliseconds(time: Duration) -> String {
    format!("{:.1} ms", time.as_secs_f64() * 1000.0)
}

/// A line without what has no room in it; what it lacks is marked.
fn cut(line: &str, columns: usize) -> String {
    if line.chars().count() <= columns {
        return line.to_owned();
    }
    line.chars().take(columns.saturating_sub(1)).chain(['~']).collect()
}

/// As many lines as the screen has; how many more there are stands in the last one.
fn bounded(text: &str, rows: usize) -> String {
    let lines: Vec<&str> = text.lines().collect();
    if rows == 0 || lines.len() <= rows {
        return text.to_owned();
    }
    let shown = rows.saturating_sub(1);
    format!("{}\n({} more lines)\n", lines[..shown].join("\n"), lines.len() - shown)
}

/// That of the terminal, else what the environment says, else the usual.
fn size() -> Size {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse().ok());
    let told = rustix::termios::tcgetwinsize(std::io::stdout()).ok().filter(|size| size.ws_col > 0);
    told.map_or_else(
        || Size {
            columns: number("COLUMNS").unwrap_or(SIZE.columns),
            rows: number("LINES").unwrap_or(SIZE.rows),
        },
        |size| Size { columns: size.ws_col.into(), rows: size.ws_row.into() },
    )
}

fn wait(time: Duration) {
    let time = rustix::event::Timespec {
        tv_sec: i64::try_from(time.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: time.subsec_nanos().into(),
    };
    // Interrupted by a signal that does not end us: the next look comes early.
    let _ = rustix::event::poll(&mut [], Some(&time));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::ListenerStatus;
    use mainstay_config::plan::edge::Protocol;

    fn status(at_ms: u64, accepted: u64, good: u64, name: &str) -> Status {
        let mut status = Status::empty("web-1");
        status.at_ms = at_ms;
        let mut counts = ListenerCounts { name: name.into(), accepted, ..ListenerCounts::default() };
        counts.requests.classes = [0, 0, good, 0, 4, 1];
        counts.requests.sent = good * 1_000_000;
        let binds = vec!["0.0.0.0:80".into()];
        status.listeners =
            vec![ListenerStatus { protocol: Protocol::Http, tls: false, binds, open: 7, counts }];
        status.routes = vec![RouteCounts {
            name: "all".into(),
            buckets: vec![good],
            micros: good * 2500,
            ..RouteCounts::default()
        }];
        status
    }

    const WIDE: Size = Size { columns: 100, rows: 0 };

    #[test]
    fn rates_are_differences_over_the_time_between() {
        let shown = frame(&status(1000, 10, 100, "web"), &status(3000, 14, 25_100, "web"), WIDE);
        let words = |name: &str| -> Vec<String> {
            let line = shown.lines().find(|line| line.starts_with(name)).expect("a line");
            line.split_whitespace().map(str::to_owned).collect()
        };
        assert_eq!(words("web"), ["web", "7", "2.0", "12.5k", "0", "0", "0", "0", "12.5G"], "{shown}");
        assert_eq!(words("all")[5..], ["2.5", "ms"], "{shown}");
    }

    #[test]
    fn counters_that_began_anew_and_clocks_that_were_set_back_are_no_rate() {
        let shown = frame(&status(9000, 500, 500, "web"), &status(1000, 1, 2, "web"), WIDE);
        let line = shown.lines().find(|line| line.starts_with("web")).expect("a line");
        assert_eq!(
            line.split_whitespace().collect::<Vec<_>>(),
            ["web", "7", "0", "0", "0", "0", "0", "0", "0"]
        );
    }

    #[test]
    fn no_line_is_wider_and_no_frame_higher_than_the_terminal() {
        let name = "a-listener-with-a-name-that-is-longer-than-any-terminal-is-wide-".repeat(3);
        let mut now = status(2000, 1, 1, &name);
        now.degraded = (0..9).map(|n| format!("{n} {name}")).collect();
        for columns in [20, 40, 79, 80, 200] {
            let shown = frame(&status(1000, 0, 0, &name), &now, Size { columns, rows: 0 });
            let widest = shown.lines().map(|line| line.chars().count()).max();
            assert!(widest <= Some(columns.max(NARROWEST)), "{widest:?} of {columns}:\n{shown}");
            assert!(shown.contains("and 6 more"), "{shown}");
        }
        let shown = frame(&status(1000, 0, 0, "web"), &now, Size { columns: 80, rows: 6 });
        assert_eq!(shown.lines().count(), 6, "{shown}");
        assert!(shown.ends_with("more lines)\n"), "{shown}");
    }

    #[test]
    fn numbers_are_short() {
        for (number, text) in [
            (0.0, "0"),
            (0.04, "0"),
            (0.1, "0.1"),
            (9.94, "9.9"),
            (123.4, "123"),
            (9999.0, "9999"),
            (12_345.0, "12.3k"),
            (2.5e7, "25.0M"),
        ] {
            assert_eq!(short(number), text);
        }
    }
}
