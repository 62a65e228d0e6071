//! The edge beside nginx and haproxy: processor time per unit of work, each proxy on core 0, load and backend on core 1.
//!
//! The three take turns in short rounds, so that all meet the same machine; a figure is the median of a proxy's rounds, a ratio
//! the median of the rounds' ratios. What is counted is the scheduler's own account (schedstat) of every process of a proxy.

mod idle;
mod load;
mod peers;

use std::io::Write;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};

use super::write_lines;
use crate::Lab;
use crate::process;

pub use load::Work;
use peers::{Peer, Peers};

/// What to measure.
#[derive(Clone, Debug)]
pub struct ProxyOptions {
    /// Our binary.
    pub binary: std::path::PathBuf,
    /// Rounds of each work.
    pub rounds: usize,
    /// How long each load lasts.
    pub time: Duration,
    /// Only works whose name contains one of these; none means all.
    pub works: Vec<String>,
}

/// One proxy's rounds of one work: nanoseconds for each unit.
type Rounds = Vec<f64>;

/// Measures and prints the table, each round's figures on standard error.
pub fn proxy_main(options: &ProxyOptions, out: &mut dyn Write) -> Result<()> {
    let lab = Lab::new("proxy")?;
    let host = lab.host("edge")?;
    let peers = Peers::start(&host, &options.binary)?;
    let wanted =
        |name: &str| options.works.is_empty() || options.works.iter().any(|w| name.contains(w.as_str()));
    let mut lines = vec![head()];
    for work in Work::ALL.into_iter().filter(|work| wanted(work.name())) {
        let mut rounds: [Rounds; 3] = Default::default();
        for round in 0..options.rounds {
            for (peer, rounds) in peers.all().iter().zip(&mut rounds) {
                let cost = measure(&host, peer, work, options.time)
                    .with_context(|| format!("{} through {}", work.name(), peer.name()))?;
                eprintln!("{} | {} | round {round}: {}", work.name(), peer.name(), show(work, cost));
                rounds.push(cost);
            }
        }
        lines.push(line(work, &rounds));
    }
    writeln!(
        out,
        "Processor time per unit of work, medians of {} rounds of {:?}\n",
        options.rounds, options.time
    )?;
    write_lines(&lines, out)?;
    if wanted("idle") {
        writeln!(out, "\nMemory (PSS) of an idle keep-alive connection, in bytes\n")?;
        idle::table(&host, &peers, out)?;
    }
    Ok(())
}

fn head() -> Vec<String> {
    ["work", "nginx", "haproxy", "mainstay", "unit", "nginx / ours", "haproxy / ours"]
        .map(str::to_owned)
        .to_vec()
}

/// One load through one proxy: what a unit of it cost.
fn measure(host: &crate::Host, peer: &Peer, work: Work, time: Duration) -> Result<f64> {
    let before = spent(peer)?;
    let units = load::run(host, peer, work, time)?;
    let used = spent(peer)?.saturating_sub(before);
    anyhow::ensure!(units > 0.0, "no unit of work was done");
    Ok(used.as_nanos() as f64 / units)
}

/// What a proxy's processes have used so far.
fn spent(peer: &Peer) -> Result<Duration> {
    peer.daemon().tree()?.into_iter().map(process::cpu_time_exact).sum()
}

fn line(work: Work, rounds: &[Rounds; 3]) -> Vec<String> {
    let [nginx, haproxy, ours] = rounds;
    let against = |theirs: &Rounds| -> String {
        let ratios: Rounds = theirs.iter().zip(ours).map(|(theirs, ours)| theirs / ours).collect();
        let (low, high) = (least(&ratios), most(&ratios));
        format!("{:.2} ({low:.2} to {high:.2})", middle(&ratios))
    };
    let mut line = vec![work.name().to_owned()];
    line.extend([nginx, haproxy, ours].map(|rounds| format!("{:.2}", middle(rounds) / work.scale())));
    line.push(work.unit().to_owned());
    line.extend([against(nginx), against(haproxy)]);
    line
}

fn show(work: Work, cost: f64) -> String {
    format!("{:.2} {}", cost / work.scale(), work.unit())
}

pub(super) fn middle(figures: &[f64]) -> f64 {
    let mut sorted = figures.to_vec();
    sorted.sort_by(f64::total_cmp);
    match sorted.len() {
        0 => f64::NAN,
        n if n % 2 == 1 => sorted[n / 2],
        n => f64::midpoint(sorted[n / 2 - 1], sorted[n / 2]),
    }
}

pub(super) fn least(figures: &[f64]) -> f64 {
    figures.iter().copied().fold(f64::INFINITY, f64::min)
}

pub(super) fn most(figures: &[f64]) -> f64 {
    figures.iter().copied().fold(0.0, f64::max)
}

/// Whether a program is there; the error says which package has it.
pub(super) fn need(program: &str, package: &str) -> Result<()> {
    let found = ["/usr/bin", "/usr/sbin", "/usr/local/bin", "/usr/local/sbin"];
    let found = found.iter().any(|folder| Path::new(folder).join(program).exists());
    anyhow::ensure!(found, "{program} is not there: install the package {package}");
    Ok(())
}
