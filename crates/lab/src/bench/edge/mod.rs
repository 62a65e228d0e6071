//! The edge's promises under faults: what clients lose while it is reloaded, upgraded, killed, crowded and starved.
//!
//! nginx and haproxy of the distribution stand beside it where they have the same fault: each proxy runs alone in the namespace,
//! with the same routes to the same backends. Two processes serve, or two threads.

mod backend;
mod bed;
mod client;
mod crowd;
mod few;
mod loss;
mod many;
mod sockets;

use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result};

use super::write_lines;
pub use backend::answer_slowly;
use bed::{Bed, Software};

/// What to measure.
#[derive(Clone, Debug)]
pub struct EdgeOptions {
    /// Our binary.
    pub binary: PathBuf,
    /// How long reloads go on; other loads last a part of it.
    pub time: Duration,
    /// Only faults whose name contains one of these; none means all.
    pub faults: Vec<String>,
    /// Whether nginx and haproxy are measured too.
    pub peers: bool,
}

/// A row of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Row {
    Reload,
    Upgrade,
    Kill,
    Backend,
    Idle,
    Slow,
    Descriptors,
}

impl Row {
    const ALL: [Self; 7] =
        [Self::Reload, Self::Upgrade, Self::Kill, Self::Backend, Self::Idle, Self::Slow, Self::Descriptors];

    const fn name(self) -> &'static str {
        match self {
            Self::Reload => "reload: each second, 500 requests/s, 20 WebSockets",
            Self::Upgrade => "upgrade: the same load",
            Self::Kill => "kill: -9 of 16 edge processes, 500 requests/s",
            Self::Backend => "backend: one of two that take 200 ms killed, 8 times, 500 requests/s",
            Self::Idle => "idle: 9,900 connections opened at once",
            Self::Slow => "slow: 1,000 connections of a kind",
            Self::Descriptors => "descriptors: 256 for each process, 1,000 clients",
        }
    }

    const fn goal(self) -> &'static str {
        match self {
            Self::Reload | Self::Upgrade => "0 failed, 0 cut",
            Self::Kill => "no more failed than in flight, 0 connects",
            Self::Backend => "0 failed",
            Self::Idle => "all answered",
            Self::Slow => "p99 within 2x",
            Self::Descriptors => "said, served, no spin, recovered",
        }
    }

    /// Whether the peers have this fault.
    const fn of_all(self) -> bool {
        match self {
            Self::Reload | Self::Backend | Self::Idle | Self::Slow => true,
            Self::Upgrade | Self::Kill | Self::Descriptors => false,
        }
    }
}

/// Measures and prints the table, each figure on standard error as it comes.
pub fn edge_main(options: &EdgeOptions, out: &mut dyn Write) -> Result<()> {
    let wanted = |row: &Row| {
        options.faults.is_empty() || options.faults.iter().any(|part| row.name().contains(part.as_str()))
    };
    many::allow_descriptors()?;
    let bed = Bed::make(&options.binary)?;
    let mut lines = vec![["fault", "proxy", "what came of it", "goal"].map(str::to_owned).to_vec()];
    for row in Row::ALL.into_iter().filter(wanted) {
        for software in Software::ALL {
            if software != Software::Mainstay && !(options.peers && row.of_all()) {
                continue;
            }
            let found = measure(&bed, row, software, options.time)
                .with_context(|| format!("{} of {}", row.name(), software.name()))?;
            eprintln!("{} | {}: {found}", row.name(), software.name());
            lines.push([row.name(), software.name(), &found, row.goal()].map(str::to_owned).to_vec());
        }
    }
    writeln!(out, "What clients lose while the edge is hurt; reloads for {:?}\n", options.time)?;
    write_lines(&lines, out)
}

fn measure(bed: &Bed, row: Row, software: Software, time: Duration) -> Result<String> {
    match row {
        Row::Reload => loss::reload(bed, software, time),
        Row::Upgrade => loss::upgrade(bed, software, time / 4),
        Row::Kill => loss::kill(bed, software),
        Row::Backend => loss::backend(bed, software),
        Row::Idle => many::idle(bed, software),
        Row::Slow => many::slow(bed, software, time / 10),
        Row::Descriptors => few::descriptors(bed, software),
    }
}
