//! `mainstay-bench`: the yardsticks of address failover, which `cargo xtask bench vip` calls, and the rehearsal with
//! keepalived for comparison.

use std::io::IsTerminal;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Result, bail};
use mainstay_lab::bench::{
    EdgeOptions, HubsOptions, Options, ProxyOptions, QuorumOptions, TunnelOptions, answer_slowly, bench_main,
    edge_main, hubs_main, proxy_main, quorum_main, tunnel_main,
};
use mainstay_lab::cluster::{Cluster, Plan, Software};
use mainstay_lab::demo::{self, rehearse};

const USAGE: &str = "\
mainstay-bench [--binary PATH] [--runs N] [--row TEXT]... [--column TEXT]... [--no-keepalived]
mainstay-bench demo [--binary PATH]
mainstay-bench proxy [--binary PATH] [--runs N] [--row TEXT]...
mainstay-bench edge [--binary PATH] [--seconds N] [--row TEXT]... [--alone]
mainstay-bench hubs [--binary PATH] [--runs N] [--case TEXT]...
mainstay-bench tunnel [--binary PATH] [--runs N] [--row TEXT]...
mainstay-bench quorum [--binary PATH] [--runs N] [--case TEXT]... [--term TIME]... [--seconds N] [--seed N] [--alone]
mainstay-bench stand [--binary PATH]

  demo              rehearse faults with three nodes; without a binary they run keepalived
  proxy             processor time per request beside nginx and haproxy
  hubs              what visitors of tunnels lose while hubs, agents, links and targets die
  tunnel            processor time per request beside rathole, which RATHOLE_BIN is; MAINSTAY_TUNNEL_BIN is the driver alone
  edge              what clients lose while the edge is reloaded, upgraded, killed, crowded and starved
  quorum            two holders, never: cuts, freezes, kills, moves, and a soak of random faults (`--case soak`)
  stand             only build the three nodes, to look around in them until Ctrl-C
  --binary PATH     the mainstay to measure beside keepalived (or MAINSTAY_BIN)
  --runs N          runs for each cell [5]
  --row TEXT        only rows whose name contains TEXT; also `storm` (50 vips, busy cores) and `cost` (1,000 vips)
  --column TEXT     only columns whose name contains TEXT (v2 1 s, v3 100 ms, v3 10 ms)
  --term TIME       a lease term, 300ms or 1.5s [both]
  --seed N          what the soak's faults are drawn from [1]
  --no-keepalived   measure mainstay alone; --alone is the same
  --seconds N       how long reloads or the soak go on [60]
";

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("mainstay-bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<()> {
    let mut arguments = std::env::args().skip(1).peekable();
    if arguments.next_if(|argument| argument == "backend").is_some() {
        return backend(arguments);
    }
    let command = arguments.next_if(|argument| {
        ["demo", "stand", "proxy", "edge", "quorum", "tunnel", "hubs"].contains(&argument.as_str())
    });
    let Some((options, numbers)) = options(arguments)? else {
        print!("{USAGE}");
        return Ok(());
    };
    mainstay_lab::enter()?;
    let software = || options.binary.clone().map_or(Software::Keepalived, Software::Mainstay);
    match command.as_deref() {
        Some("demo") => rehearse(&software(), std::io::stdout().is_terminal(), &mut std::io::stdout()),
        Some("proxy") => proxy(options),
        Some("edge") => edge(options, numbers.seconds),
        Some("quorum") => quorum(options, numbers),
        Some("tunnel") => tunnel(options),
        Some("hubs") => hubs(options),
        Some(_) => stand(&software()),
        None => bench_main(&options, &mut std::io::stdout()),
    }
}

fn proxy(options: Options) -> Result<()> {
    let Some(binary) = options.binary else { bail!("proxy needs --binary or MAINSTAY_BIN\n\n{USAGE}") };
    let options =
        ProxyOptions { binary, rounds: options.runs, time: Duration::from_secs(2), works: options.rows };
    proxy_main(&options, &mut std::io::stdout())
}

fn tunnel(options: Options) -> Result<()> {
    let program = |name: &str| match std::env::var_os(name) {
        Some(path) => Ok(PathBuf::from(path)),
        None => bail!("tunnel needs {name}\n\n{USAGE}"),
    };
    let Some(binary) = options.binary else { bail!("tunnel needs --binary or MAINSTAY_BIN\n\n{USAGE}") };
    let options = TunnelOptions {
        binary,
        driver: program("MAINSTAY_TUNNEL_BIN")?,
        rathole: program("RATHOLE_BIN")?,
        rounds: options.runs,
        time: Duration::from_secs(2),
        works: options.rows,
    };
    tunnel_main(&options, &mut std::io::stdout())
}

fn hubs(options: Options) -> Result<()> {
    let Some(binary) = options.binary else { bail!("hubs needs --binary or MAINSTAY_BIN\n\n{USAGE}") };
    let options = HubsOptions { binary, runs: options.runs, cases: options.rows };
    hubs_main(&options, &mut std::io::stdout())
}

fn edge(options: Options, seconds: u64) -> Result<()> {
    let Some(binary) = options.binary else { bail!("edge needs --binary or MAINSTAY_BIN\n\n{USAGE}") };
    let time = Duration::from_secs(seconds);
    let options = EdgeOptions { binary, time, faults: options.rows, peers: options.keepalived };
    edge_main(&options, &mut std::io::stdout())
}

fn quorum(options: Options, numbers: Numbers) -> Result<()> {
    let Some(binary) = options.binary else { bail!("quorum needs --binary or MAINSTAY_BIN\n\n{USAGE}") };
    let terms = match &options.columns[..] {
        [] => vec![Duration::from_millis(1500), Duration::from_millis(300)],
        terms => terms.iter().map(|text| term(text)).collect::<Result<_>>()?,
    };
    let options = QuorumOptions {
        binary,
        keepalived: options.keepalived,
        runs: options.runs,
        cases: options.rows,
        terms,
        soak: Duration::from_secs(numbers.seconds),
        seed: numbers.seed,
    };
    quorum_main(&options, &mut std::io::stdout())
}

/// `300ms` or `1.5s`.
fn term(text: &str) -> Result<Duration> {
    let (number, unit) = match text.strip_suffix("ms") {
        Some(number) => (number, 0.001),
        None => (text.trim_end_matches('s'), 1.0),
    };
    let seconds = number.parse::<f64>()? * unit;
    Ok(Duration::try_from_secs_f64(seconds)?)
}

/// Numbers that only some commands know.
#[derive(Clone, Copy)]
struct Numbers {
    seconds: u64,
    seed: u64,
}

/// A process of `edge`'s own: an address, and how many milliseconds each answer takes.
fn backend(mut arguments: impl Iterator<Item = String>) -> Result<()> {
    let (Some(addr), Some(after)) = (arguments.next(), arguments.next()) else {
        bail!("backend needs an address and milliseconds")
    };
    answer_slowly(addr.parse()?, Duration::from_millis(after.parse()?))
}

fn stand(software: &Software) -> Result<()> {
    let plan = Plan::simple(software, demo::PACE, &["web-1", "web-2", "web-3"]);
    let cluster = Cluster::start(&plan)?;
    for host in cluster.nodes.iter().map(|node| &node.host).chain([&cluster.outside]) {
        println!(
            "{}: ip netns exec {} sh; logs in {}",
            host.name(),
            host.namespace(),
            host.directory().display()
        );
    }
    println!("it stands; Ctrl-C removes it");
    loop {
        std::thread::park();
    }
}

/// What the arguments ask for; `None` when it is the usage.
fn options(mut arguments: impl Iterator<Item = String>) -> Result<Option<(Options, Numbers)>> {
    let binary = std::env::var_os("MAINSTAY_BIN").map(PathBuf::from);
    let mut options = Options { binary, keepalived: true, runs: 5, rows: Vec::new(), columns: Vec::new() };
    let mut numbers = Numbers { seconds: 60, seed: 1 };
    while let Some(argument) = arguments.next() {
        let mut value = || match arguments.next() {
            Some(value) => Ok(value),
            None => bail!("{argument} needs a value\n\n{USAGE}"),
        };
        match argument.as_str() {
            "--binary" => options.binary = Some(value()?.into()),
            "--runs" => options.runs = value()?.parse()?,
            "--row" | "--case" => options.rows.push(value()?),
            "--column" | "--term" => options.columns.push(value()?),
            "--seconds" => numbers.seconds = value()?.parse()?,
            "--seed" => numbers.seed = value()?.parse()?,
            "--no-keepalived" | "--alone" => options.keepalived = false,
            "--help" | "-h" => return Ok(None),
            other => bail!("unknown argument {other:?}\n\n{USAGE}"),
        }
    }
    Ok(Some((options, numbers)))
}
