//! The tunnel's driver beside rathole: processor time of server and agent together per unit of work, memory of idle connections.
//!
//! Both tunnels run on core 0, nginx behind them and the load on core 1; they take turns, so that both meet the same machine. A ratio
//! is the median of the rounds' ratios.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};

use super::{proxy, write_lines};
use crate::{Daemon, Host, Lab, process, wait_until};

/// How long a peer may take to start.
const STARTING: Duration = Duration::from_secs(20);

/// nginx's port.
const TARGET: u16 = 9000;

/// Connections that are opened and left alone, after some that warm it up.
const IDLE: usize = 3000;
const WARM: usize = 200;

/// What to measure.
#[derive(Clone, Debug)]
pub struct TunnelOptions {
    /// The bare hub and agent (`crates/link/examples/tunnel.rs`).
    pub binary: PathBuf,
    /// rathole.
    pub rathole: PathBuf,
    /// Rounds of each work.
    pub rounds: usize,
    /// How long each load lasts.
    pub time: Duration,
    /// Only works whose name contains one of these; none means all.
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

/// Server and agent of one kind.
struct Tunnel {
    name: &'static str,
    server: Daemon,
    agent: Daemon,
    port: u16,
}

impl Tunnel {
    fn spent(&self) -> Result<Duration> {
        Ok(process::cpu_time_exact(self.server.pid()?)? + process::cpu_time_exact(self.agent.pid()?)?)
    }
}

/// Measures and prints the tables, each round's figures on standard error.
pub fn tunnel_main(options: &TunnelOptions, out: &mut dyn Write) -> Result<()> {
    proxy::need("nginx", "nginx-light")?;
    proxy::need("wrk", "wrk")?;
    let lab = Lab::new("tunnel")?;
    let host = lab.host("edge")?;
    let _target = target(&host)?;
    let tunnels = [ours(&host, &options.binary)?, rathole(&host, &options.rathole)?];
    let wanted =
        |name: &str| options.works.is_empty() || options.works.iter().any(|w| name.contains(w.as_str()));
    let head = ["work", "rathole", "mainstay", "unit", "ours / rathole"].map(str::to_owned).to_vec();
    let mut lines = vec![head];
    for work in WORKS.iter().filter(|work| wanted(work.name)) {
        let mut rounds: [Vec<f64>; 2] = Default::default();
        for round in 0..options.rounds {
            for (tunnel, rounds) in tunnels.iter().zip(&mut rounds) {
                let cost = measure(&host, tunnel, work, options.time)?;
                eprintln!("{} | {} | round {round}: {cost:.3} {}", work.name, tunnel.name, work.unit);
                rounds.push(cost);
            }
        }
        lines.push(line(work, &rounds));
    }
    writeln!(
        out,
        "Processor time, server and agent, medians of {} rounds of {:?}\n",
        options.rounds, options.time
    )?;
    write_lines(&lines, out)?;
    if wanted("idle") {
        let head = ["tunnel", "server", "agent"].map(str::to_owned).to_vec();
        let mut lines = vec![head];
        for tunnel in &tunnels {
            let [server, agent] = idle(&host, tunnel)?;
            lines.push(vec![tunnel.name.to_owned(), server.to_string(), agent.to_string()]);
        }
        writeln!(out, "\nMemory (PSS) of an idle connection, in bytes\n")?;
        write_lines(&lines, out)?;
    }
    Ok(())
}

fn line(work: &Work, [ours, theirs]: &[Vec<f64>; 2]) -> Vec<String> {
    let ratios: Vec<f64> = ours.iter().zip(theirs).map(|(ours, theirs)| ours / theirs).collect();
    let (low, high) = (proxy::least(&ratios), proxy::most(&ratios));
    vec![
        work.name.to_owned(),
        format!("{:.2}", proxy::middle(theirs)),
        format!("{:.2}", proxy::middle(ours)),
        work.unit.to_owned(),
        format!("{:.2} ({low:.2} to {high:.2})", proxy::middle(&ratios)),
    ]
}

/// A program on one core, in the host's folder.
fn pinned(host: &Host, name: &str, core: &str, program: &Path) -> Daemon {
    Daemon::new(host, name, "taskset").args(["-c", core]).arg(program)
}

fn open(host: &Host, port: u16) -> Result<()> {
    wait_until(&format!("port {port} is open"), STARTING, || {
        host.run(|| TcpStream::connect(("127.0.0.1", port)).is_ok())
    })
}

/// nginx with two files.
fn target(host: &Host) -> Result<Daemon> {
    let place = host.directory().join("target");
    fs::create_dir_all(place.join("www"))?;
    fs::write(place.join("www/1k"), vec![b'x'; 1024])?;
    fs::write(place.join("www/10m"), vec![b'y'; 10 << 20])?;
    let conf = format!(
        "daemon off;\nworker_processes 1;\nworker_rlimit_nofile 19000;\npid nginx.pid;\nuser root root;\n\
         events {{ worker_connections 9000; }}\n\
         http {{ access_log off; sendfile on; tcp_nopush on; keepalive_requests 1000000000; keepalive_timeout 300s;\n\
         open_file_cache max=10; server {{ listen 127.0.0.1:{TARGET} backlog=4096; root www; }} }}\n"
    );
    fs::write(place.join("nginx.conf"), conf)?;
    let daemon =
        pinned(host, "target", "1", Path::new("nginx")).arg("-p").arg(&place).args(["-e", "stderr", "-c"]);
    let daemon = daemon.arg(place.join("nginx.conf"));
    daemon.start()?;
    open(host, TARGET)?;
    Ok(daemon)
}

fn ours(host: &Host, binary: &Path) -> Result<Tunnel> {
    let binary = fs::canonicalize(binary).with_context(|| format!("no program {}", binary.display()))?;
    let server = pinned(host, "hub", "0", &binary).args(["hub", "127.0.0.1:8101", "127.0.0.1:8100"]);
    server.start()?;
    open(host, 8100)?;
    let target = format!("127.0.0.1:{TARGET}");
    let agent = pinned(host, "agent", "0", &binary).args(["agent", "127.0.0.1:8100", &target]);
    agent.start()?;
    ready(host, Tunnel { name: "mainstay", server, agent, port: 8101 })
}

fn rathole(host: &Host, binary: &Path) -> Result<Tunnel> {
    let binary = fs::canonicalize(binary).with_context(|| format!("no program {}", binary.display()))?;
    let folder = host.directory();
    let server = "[server]\nbind_addr = \"127.0.0.1:8200\"\ndefault_token = \"bench\"\n\
                  [server.services.web]\nbind_addr = \"127.0.0.1:8201\"\n";
    let client = format!(
        "[client]\nremote_addr = \"127.0.0.1:8200\"\ndefault_token = \"bench\"\n\
         [client.services.web]\nlocal_addr = \"127.0.0.1:{TARGET}\"\n"
    );
    fs::write(folder.join("server.toml"), server)?;
    fs::write(folder.join("client.toml"), client)?;
    let run = |name: &str, side: &str| {
        let daemon =
            pinned(host, name, "0", &binary).arg(side).arg(folder.join(format!("{}.toml", &side[2..])));
        daemon.env("RUST_LOG", "error")
    };
    let server = run("rathole-server", "--server");
    server.start()?;
    open(host, 8200)?;
    let agent = run("rathole-client", "--client");
    agent.start()?;
    ready(host, Tunnel { name: "rathole", server, agent, port: 8201 })
}

/// Waits until a request comes through.
fn ready(host: &Host, tunnel: Tunnel) -> Result<Tunnel> {
    wait_until(&format!("{} carries a request", tunnel.name), STARTING, || {
        host.run(|| ask(tunnel.port).is_ok())
    })
    .with_context(|| format!("{}\n{}", tunnel.server.log_tail(), tunnel.agent.log_tail()))?;
    Ok(tunnel)
}

/// A connection over which a request was answered.
fn ask(port: u16) -> Result<TcpStream> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    stream.write_all(b"GET /1k HTTP/1.1\r\nHost: bench.example.com\r\n\r\n")?;
    let (mut got, mut answer) = (0, [0; 4096]);
    while got < 1024 {
        let count = stream.read(&mut answer)?;
        anyhow::ensure!(count > 0, "the connection was closed");
        got += count;
    }
    Ok(stream)
}

fn measure(host: &Host, tunnel: &Tunnel, work: &Work, time: Duration) -> Result<f64> {
    let before = tunnel.spent()?;
    let seconds = format!("-d{}s", time.as_secs().max(1));
    let url = format!("http://127.0.0.1:{}/{}", tunnel.port, work.path);
    let mut arguments = vec!["-c", "1", "wrk", "-t1", &seconds];
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

/// Bytes that a connection costs server and agent.
fn idle(host: &Host, tunnel: &Tunnel) -> Result<[u64; 2]> {
    let memory = || -> Result<[u64; 2]> {
        Ok([process::memory(tunnel.server.pid()?)?, process::memory(tunnel.agent.pid()?)?])
    };
    let many = |count: usize| (0..count).map(|_| ask(tunnel.port)).collect::<Result<Vec<_>>>();
    // What belongs to no connection is there after a few; these stay open, so that nothing is used twice.
    let _warm = host.run(|| many(WARM))??;
    std::thread::sleep(Duration::from_secs(1));
    let before = memory()?;
    let _kept = host.run(|| many(IDLE))??;
    std::thread::sleep(Duration::from_secs(3));
    let after = memory()?;
    Ok([0, 1].map(|side| after[side].saturating_sub(before[side]) / IDLE as u64))
}
