//! Tunnels beside rathole: processor time of server and agent together per unit of work, memory of idle connections, and what small
//! requests see beside a bulk transfer and a slow reader.
//!
//! All tunnels run on core 0, nginx behind them and the load on core 1; they take turns, so that all meet the same machine. A ratio is
//! the median of the rounds' ratios. What is counted is the scheduler's own account (schedstat) of every process of a tunnel.

mod idle;
mod loss;
mod mix;
mod peers;

use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use super::{proxy, write_lines};
use crate::{Host, Lab};
use peers::{Cores, Tunnel};

/// What to measure.
#[derive(Clone, Debug)]
pub struct TunnelOptions {
    /// Our program: the hub is its edge role, the agent its foreground command.
    pub binary: PathBuf,
    /// The driver alone (`crates/link/examples/tunnel.rs`).
    pub driver: PathBuf,
    /// rathole.
    pub rathole: PathBuf,
    /// Rounds of each work.
    pub rounds: usize,
    /// How long each load lasts.
    pub time: Duration,
    /// Only works whose name contains one of these; none means all. `idle`, `loss` and `mix` name the last three tables.
    pub works: Vec<String>,
}

/// A kind of work: its name, its unit, nanoseconds in that unit for one request, path and arguments of wrk.
struct Work {
    name: &'static str,
    unit: &'static str,
    scale: f64,
    path: &'static str,
    arguments: &'static [&'static str],
}

const WORKS: [Work; 4] = [
    Work {
        name: "requests, 32 connections",
        unit: "us/request",
        scale: 1e3,
        path: "1k",
        arguments: &["-c32"],
    },
    Work { name: "requests, 1 connection", unit: "us/request", scale: 1e3, path: "1k", arguments: &["-c1"] },
    Work {
        name: "new connections",
        unit: "us/connection",
        scale: 1e3,
        path: "1k",
        arguments: &["-c16", "-H", "Connection: close"],
    },
    // A request is 10 MiB.
    Work { name: "bulk", unit: "s/GiB", scale: 1e9 * 10.0 / 1024.0, path: "10m", arguments: &["-c8"] },
];

/// The columns, in the order of their turns.
const NAMES: [&str; 6] = ["rathole", "driver", "tcp", "tls", "http", "quic"];
const RATHOLE: usize = 0;
const DRIVER: usize = 1;
const TCP: usize = 2;
const TLS: usize = 3;
const QUIC: usize = 5;

/// One tunnel's rounds of one work.
type Rounds = Vec<f64>;

/// Measures and prints the tables, each round's figures on standard error.
pub fn tunnel_main(options: &TunnelOptions, out: &mut dyn Write) -> Result<()> {
    proxy::need("nginx", "nginx-light")?;
    proxy::need("wrk", "wrk")?;
    let wanted =
        |name: &str| options.works.is_empty() || options.works.iter().any(|w| name.contains(w.as_str()));
    if WORKS.iter().any(|work| wanted(work.name)) || wanted("idle") {
        let lab = Lab::new("tunnel")?;
        let host = lab.host("edge")?;
        let cores = Cores { tunnel: "0", target: "1" };
        let _target = peers::target(&host, cores)?;
        let [tcp, tls, http, quic] = peers::real(&host, &host, "127.0.0.1", cores, options)?;
        let tunnels = [peers::rathole(&host, options)?, peers::driver(&host, options)?, tcp, tls, http, quic];
        costs(options, &host, &tunnels, &wanted, out)?;
        if wanted("idle") {
            idle::table(&host, &tunnels, out)?;
        }
    }
    if wanted("loss") {
        loss::table(options, out)?;
    }
    if wanted("mix") {
        mix::table(options, out)?;
    }
    Ok(())
}

fn costs(
    options: &TunnelOptions,
    host: &Host,
    tunnels: &[Tunnel; 6],
    wanted: &dyn Fn(&str) -> bool,
    out: &mut dyn Write,
) -> Result<()> {
    let mut head = vec!["work".to_owned()];
    head.extend(NAMES.map(str::to_owned));
    head.push("unit".to_owned());
    let mut figures = vec![head];
    let head = ["work", "driver / rathole", "tcp / rathole", "tls / tcp", "quic / tls"];
    let mut ratios = vec![head.map(str::to_owned).to_vec()];
    for work in WORKS.iter().filter(|work| wanted(work.name)) {
        let mut rounds: [Rounds; 6] = Default::default();
        for round in 0..options.rounds {
            for (tunnel, rounds) in tunnels.iter().zip(&mut rounds) {
                let cost = measure(host, tunnel, work, options.time)?;
                eprintln!("{} | {} | round {round}: {cost:.3} {}", work.name, tunnel.name, work.unit);
                rounds.push(cost);
            }
        }
        let mut line = vec![work.name.to_owned()];
        line.extend(rounds.iter().map(|rounds| format!("{:.2}", proxy::middle(rounds))));
        line.push(work.unit.to_owned());
        figures.push(line);
        let pairs = [(DRIVER, RATHOLE), (TCP, RATHOLE), (TLS, TCP), (QUIC, TLS)];
        let mut line = vec![work.name.to_owned()];
        line.extend(pairs.map(|(ours, theirs)| ratio(&rounds[ours], &rounds[theirs])));
        ratios.push(line);
    }
    if figures.len() > 1 {
        let (rounds, time) = (options.rounds, options.time);
        writeln!(out, "Processor time, server and agent, medians of {rounds} rounds of {time:?}\n")?;
        write_lines(&figures, out)?;
        writeln!(out, "\nMedians of the rounds' ratios, least and most\n")?;
        write_lines(&ratios, out)?;
    }
    Ok(())
}

/// The middle of the ratios of two that took turns, and how far they reach.
fn ratio(ours: &[f64], theirs: &[f64]) -> String {
    let ratios: Rounds = ours.iter().zip(theirs).map(|(ours, theirs)| ours / theirs).collect();
    let (low, high) = (proxy::least(&ratios), proxy::most(&ratios));
    format!("{:.2} ({low:.2} to {high:.2})", proxy::middle(&ratios))
}

fn measure(host: &Host, tunnel: &Tunnel, work: &Work, time: Duration) -> Result<f64> {
    let before = tunnel.spent()?;
    let seconds = format!("-d{}s", time.as_secs().max(1));
    let url = format!("http://127.0.0.1:{}/{}", tunnel.port, work.path);
    let mut arguments = vec!["-c", "1", "wrk", "-t1", &seconds, "-H", "Host: bench.example.com"];
    arguments.extend(work.arguments);
    arguments.push(&url);
    let said = host.output("taskset", &arguments)?;
    if said.contains("Non-2xx") {
        bail!("{} through {}: {said}", work.name, tunnel.name);
    }
    let line =
        said.lines().find(|line| line.contains(" requests in ")).context("wrk says how many requests")?;
    let requests: f64 = line.split_whitespace().next().context("a number of requests")?.parse()?;
    anyhow::ensure!(requests > 0.0, "{} through {}: nothing was done", work.name, tunnel.name);
    Ok((tunnel.spent()?.saturating_sub(before)).as_nanos() as f64 / requests / work.scale)
}
