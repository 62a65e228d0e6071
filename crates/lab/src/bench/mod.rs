//! Yardsticks: what a client sees when a pair of nodes is hurt, keepalived and Mainstay in the same lab and run.
//!
//! Figures are medians; each run has a cluster of its own, and a fault strikes at a random moment of the advert interval.
//! A run in which the measuring client itself was late is made again, so that the machine's noise is not taken for an outage.

mod edge;
mod failover;
mod hubs;
mod load;
mod proxy;
pub(crate) mod quorum;
mod table;
mod tunnel;

use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Result;

use crate::cluster::{Pace, Software};

pub use edge::{EdgeOptions, answer_slowly, edge_main};
pub use failover::{Reading, Row, measure};
pub use hubs::{HubsOptions, hubs_main};
pub(crate) use table::write_lines;

pub use load::{Cost, Storm, cost, storm};
pub use proxy::{ProxyOptions, Work, proxy_main};
pub use quorum::{QuorumOptions, quorum_main};
pub use tunnel::{TunnelOptions, tunnel_main};

/// What to measure.
#[derive(Clone, Debug)]
pub struct Options {
    /// Our binary; without it keepalived is measured alone.
    pub binary: Option<PathBuf>,
    /// Whether keepalived is measured too.
    pub keepalived: bool,
    /// Runs for each cell.
    pub runs: usize,
    /// Only rows whose name contains one of these; none means all. `storm` and `cost` name the two load tests.
    pub rows: Vec<String>,
    /// Only columns whose name contains one of these; none means all.
    pub columns: Vec<String>,
}

/// A protocol version and advert interval of the table.
#[derive(Clone, Copy, Debug)]
pub struct Column {
    /// As the table's head says it.
    pub name: &'static str,
    /// What it stands for.
    pub pace: Pace,
}

/// The columns of the table.
pub const COLUMNS: [Column; 3] = [
    Column { name: "v2 1 s", pace: Pace { version: 2, advert: Duration::from_secs(1) } },
    Column { name: "v3 100 ms", pace: Pace { version: 3, advert: Duration::from_millis(100) } },
    Column { name: "v3 10 ms", pace: Pace { version: 3, advert: Duration::from_millis(10) } },
];

impl Options {
    fn wants_row(&self, name: &str) -> bool {
        self.rows.is_empty() || self.rows.iter().any(|part| name.contains(part.as_str()))
    }

    fn wants_column(&self, name: &str) -> bool {
        self.columns.is_empty() || self.columns.iter().any(|part| name.contains(part.as_str()))
    }

    /// Keepalived first.
    fn software(&self) -> Vec<Software> {
        let ours = self.binary.clone().map(Software::Mainstay);
        self.keepalived.then_some(Software::Keepalived).into_iter().chain(ours).collect()
    }
}

/// Measures what `options` ask for and prints the tables, each cell's progress on standard error.
pub fn bench_main(options: &Options, out: &mut dyn Write) -> Result<()> {
    let software = options.software();
    let columns: Vec<Column> =
        COLUMNS.into_iter().filter(|column| options.wants_column(column.name)).collect();
    let rows: Vec<Row> = Row::ALL.into_iter().filter(|row| options.wants_row(row.name())).collect();
    if !rows.is_empty() {
        table::failover(options, &software, &rows, &columns, out)?;
    }
    if options.wants_row("storm") {
        table::storm(options, &software, out)?;
    }
    if options.wants_row("cost") {
        table::cost(&software, out)?;
    }
    Ok(())
}
