//! What requests see over a road that loses: TLS over TCP beside QUIC, between two hosts.

use std::io::Write;

use anyhow::{Context, Result};

use super::peers::{self, Cores, Tunnel};
use super::{TunnelOptions, proxy, write_lines};
use crate::{Host, Lab};

/// Packets that are lost each way, of a thousand.
const LOSSES: [u32; 4] = [0, 10, 30, 80];

/// One round of one way: requests a second, the median and the last hundredth in milliseconds, processor time of a request.
#[derive(Clone, Copy)]
struct Seen {
    rate: f64,
    middle: f64,
    late: f64,
    cost: f64,
}

/// Measures and prints the table.
pub(super) fn table(options: &TunnelOptions, out: &mut dyn Write) -> Result<()> {
    let lab = Lab::new("loss")?;
    let lan = lab.segment("lan")?;
    let (edge, site) = (lab.host("edge")?, lab.host("site")?);
    edge.plug(&lan, "eth0", &["10.0.4.20/24"])?;
    site.plug(&lan, "eth0", &["10.0.4.41/24"])?;
    let cores = Cores { tunnel: "0", target: "1" };
    let _target = peers::target(&site, cores)?;
    let [_, tls, _, quic] = peers::real(&edge, &site, "10.0.4.20", cores, options)?;
    let head = ["lost each way", "way", "requests/s", "median ms", "p99 ms", "us/request"];
    let mut lines = vec![head.map(str::to_owned).to_vec()];
    for loss in LOSSES {
        lose(&site, loss)?;
        let mut rounds: [Vec<Seen>; 2] = Default::default();
        for round in 0..options.rounds {
            for (way, rounds) in [&tls, &quic].into_iter().zip(&mut rounds) {
                let seen = measure(&edge, way, options)?;
                eprintln!("loss {loss}/1000 | {} | round {round}: p99 {:.2} ms", way.name, seen.late);
                rounds.push(seen);
            }
        }
        for (way, rounds) in ["tls", "quic"].into_iter().zip(&rounds) {
            let of = |which: fn(&Seen) -> f64| {
                let figure = proxy::middle(&rounds.iter().map(which).collect::<Vec<_>>());
                format!("{figure:.2}")
            };
            let share = format!("{:.1} %", f64::from(loss) / 10.0);
            lines.push(vec![
                share,
                way.to_owned(),
                of(|seen| seen.rate),
                of(|seen| seen.middle),
                of(|seen| seen.late),
                of(|seen| seen.cost),
            ]);
        }
    }
    writeln!(out, "\nRequests of 1 KiB over 32 connections while the road to the agent loses\n")?;
    write_lines(&lines, out)
}

/// Has packets of the tunnel vanish both ways.
fn lose(site: &Host, loss: u32) -> Result<()> {
    let chain = |name: &str, hook: &str| {
        format!(
            " chain {name} {{\n  type filter hook {hook} priority 0;\n  \
             meta iifname != \"lo\" meta oifname != \"lo\" numgen random mod 1000 < {loss} drop\n }}\n"
        )
    };
    let chains = chain("in", "input").replace("meta oifname != \"lo\" ", "")
        + &chain("out", "output").replace("meta iifname != \"lo\" ", "");
    site.nft(&format!("table inet loss {{}}\ndelete table inet loss\ntable inet loss {{\n{chains}}}"))
}

fn measure(edge: &Host, tunnel: &Tunnel, options: &TunnelOptions) -> Result<Seen> {
    let before = tunnel.spent()?;
    let seconds = format!("-d{}s", options.time.as_secs().max(1));
    let url = format!("http://127.0.0.1:{}/1k", tunnel.port);
    let host = "Host: bench.example.com";
    let said =
        edge.output("taskset", &["-c", "1", "wrk", "-t1", "-c32", "--latency", &seconds, "-H", host, &url])?;
    let word = |line: &str, at: usize| line.split_whitespace().nth(at).map(str::to_owned);
    let line = |with: &str| said.lines().find(|line| line.trim_start().starts_with(with));
    let rate = line("Requests/sec:").and_then(|line| word(line, 1)).context("wrk says how many")?;
    let done = said.lines().find(|line| line.contains(" requests in ")).and_then(|line| word(line, 0));
    let done: f64 = done.context("wrk says how many requests")?.parse()?;
    let after = |percent: &str| millis(&line(percent).and_then(|line| word(line, 1)).context("a latency")?);
    let cost = (tunnel.spent()?.saturating_sub(before)).as_nanos() as f64 / done.max(1.0) / 1e3;
    Ok(Seen { rate: rate.parse()?, middle: after("50%")?, late: after("99%")?, cost })
}

/// A time as wrk writes it.
fn millis(text: &str) -> Result<f64> {
    let scales = [("us", 1e-3), ("ms", 1.0), ("s", 1e3)];
    let (number, scale) = scales
        .into_iter()
        .find_map(|(unit, scale)| Some((text.strip_suffix(unit)?, scale)))
        .with_context(|| format!("{text} is no time"))?;
    Ok(number.parse::<f64>()? * scale)
}
