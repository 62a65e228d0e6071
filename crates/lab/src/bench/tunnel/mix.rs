//! Small requests beside one bulk transfer and one slow reader: through the tunnel, and the same sent direct.
//!
//! The client is on the hub's host, the target on the agent's, with one wire between them that both ways share. Direct and through the
//! tunnel take turns; the ratio is that of a round's p99.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use super::peers::{self, Cores, TARGET, Tunnel};
use super::{TunnelOptions, ratio};
use crate::bench::{proxy, write_lines};
use crate::{Host, Lab};

/// Connections that ask for little.
const SMALL: usize = 4;

/// What each of them waits between an answer and the next request.
const PAUSE: Duration = Duration::from_millis(2);

/// What the bulk transfer is asked for at once, in bytes, and how often: 1 GiB.
const PIECE: usize = 10 << 20;
const PIECES: usize = 103;

/// What the slow reader reads at once, and how often.
const SIP: usize = 16 << 10;
const SIPS: Duration = Duration::from_millis(100);

/// Longer than a mix takes.
const LIMIT: Duration = Duration::from_secs(60);

/// The wire: its name, and what tc(8) makes of its ends.
const WIRES: [(&str, Option<&str>); 2] =
    [("mix", None), ("mix over 1 Gbit/s", Some("tbf rate 1gbit burst 128k latency 20ms"))];

/// What a round told: the p50 and p99 of small requests in milliseconds, seconds of the bulk transfer, and the growth of both sides' memory.
struct Told {
    p50: f64,
    p99: f64,
    bulk: f64,
    memory: u64,
}

/// Measures and prints the table.
pub(super) fn table(options: &TunnelOptions, out: &mut dyn Write) -> Result<()> {
    let head = ["wire", "way", "p50 ms", "p99 ms", "p99 / direct", "1 GiB in s", "memory, MiB"];
    let mut lines = vec![head.map(str::to_owned).to_vec()];
    for (name, shape) in WIRES {
        let lab = Lab::new("mix")?;
        let lan = lab.segment("lan")?;
        let (edge, site) = (lab.host("edge")?, lab.host("site")?);
        edge.plug(&lan, "eth0", &["10.0.4.20/24"])?;
        site.plug(&lan, "eth0", &["10.0.4.41/24"])?;
        for host in [&edge, &site] {
            if let Some(shape) = shape {
                let words = format!("qdisc add dev eth0 root {shape}");
                host.output("tc", &words.split_whitespace().collect::<Vec<_>>())?;
            }
        }
        // Hub, agent and target are three machines elsewhere: here each has what the others leave.
        let cores = Cores { tunnel: "0,1", target: "0,1" };
        let _target = peers::target(&site, cores)?;
        let [tcp, tls, ..] = peers::real(&edge, &site, "10.0.4.20", cores, options)?;
        let direct: SocketAddr = ([10, 0, 4, 41], TARGET).into();
        let mut rounds: [Vec<Told>; 3] = Default::default();
        for round in 0..options.rounds {
            for (way, told) in [None, Some(&tcp), Some(&tls)].into_iter().zip(&mut rounds) {
                let one = measure(&edge, direct, way)?;
                let way = way.map_or("direct", |tunnel| tunnel.name);
                eprintln!("{name} | {way} | round {round}: p99 {:.3} ms, bulk {:.2} s", one.p99, one.bulk);
                told.push(one);
            }
        }
        let figures = |told: &[Told], what: fn(&Told) -> f64| told.iter().map(what).collect::<Vec<_>>();
        let p99 = rounds.each_ref().map(|told| figures(told, |told| told.p99));
        for (at, way) in ["direct", "tcp", "tls"].into_iter().enumerate() {
            let middle = |what| format!("{:.2}", proxy::middle(&figures(&rounds[at], what)));
            lines.push(vec![
                name.to_owned(),
                way.to_owned(),
                middle(|told| told.p50),
                middle(|told| told.p99),
                ratio(&p99[at], &p99[0]),
                middle(|told| told.bulk),
                middle(|told| told.memory as f64 / f64::from(1 << 20)),
            ]);
        }
    }
    writeln!(
        out,
        "\nSmall requests beside a bulk transfer and a slow reader, medians of {} rounds\n",
        options.rounds
    )?;
    write_lines(&lines, out)
}

fn measure(edge: &Host, direct: SocketAddr, tunnel: Option<&Tunnel>) -> Result<Told> {
    let to = tunnel.map_or(direct, |tunnel| ([127, 0, 0, 1], tunnel.port).into());
    let memory = || tunnel.map_or(Ok([0; 2]), Tunnel::memory);
    let before: u64 = memory()?.iter().sum();
    let (over, peak) = (AtomicBool::new(false), AtomicU64::new(0));
    let told = edge.run(|| {
        std::thread::scope(|scope| {
            let slow = scope.spawn(|| sip(to, &over));
            let small: Vec<_> = (0..SMALL).map(|_| scope.spawn(|| ask_on(to, &over))).collect();
            let watch = scope.spawn(|| {
                while !over.load(Ordering::Relaxed) {
                    let now: u64 = memory().map_or(0, |both| both.iter().sum());
                    peak.fetch_max(now, Ordering::Relaxed);
                    std::thread::sleep(SIPS);
                }
            });
            let bulk = bulk(to);
            over.store(true, Ordering::Relaxed);
            let mut times = Vec::new();
            for one in small {
                times.extend(one.join().expect("no panic in a client")?);
            }
            slow.join().expect("no panic in a client")?;
            watch.join().expect("no panic in the watch");
            times.sort_unstable();
            Ok::<_, anyhow::Error>((times, bulk?))
        })
    })?;
    let (times, bulk) = told.with_context(|| tunnel.map_or("direct", |tunnel| tunnel.name))?;
    let at = |share: f64| times[((times.len() - 1) as f64 * share) as usize].as_secs_f64() * 1e3;
    anyhow::ensure!(times.len() > 50, "only {} small requests", times.len());
    let memory = peak.load(Ordering::Relaxed).saturating_sub(before);
    Ok(Told { p50: at(0.5), p99: at(0.99), bulk: bulk.as_secs_f64(), memory })
}

fn connect(to: SocketAddr) -> Result<TcpStream> {
    let stream = TcpStream::connect_timeout(&to, LIMIT)?;
    stream.set_read_timeout(Some(LIMIT))?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// Sends a request and reads its answer, which has so many bytes behind its head.
fn fetch(stream: &mut TcpStream, path: &str, length: usize, buffer: &mut [u8]) -> Result<()> {
    write!(stream, "GET /{path} HTTP/1.1\r\nHost: bench.example.com\r\n\r\n")?;
    let (mut head, mut body): (Vec<u8>, Option<usize>) = (Vec::new(), None);
    while body.is_none_or(|body| body < length) {
        let count = stream.read(buffer)?;
        anyhow::ensure!(count > 0, "the connection was closed");
        body = match body {
            Some(body) => Some(body + count),
            None => {
                head.extend_from_slice(&buffer[..count]);
                let end = head.windows(4).position(|four| four == b"\r\n\r\n");
                end.map(|end| head.len() - end - 4)
            }
        };
    }
    Ok(())
}

fn bulk(to: SocketAddr) -> Result<Duration> {
    let mut buffer = vec![0; 256 << 10];
    let mut stream = connect(to)?;
    let began = Instant::now();
    for _ in 0..PIECES {
        fetch(&mut stream, "10m", PIECE, &mut buffer)?;
    }
    Ok(began.elapsed())
}

/// Small requests, and how long each took.
fn ask_on(to: SocketAddr, over: &AtomicBool) -> Result<Vec<Duration>> {
    let mut buffer = vec![0; 4096];
    let mut stream = connect(to)?;
    let mut times = Vec::new();
    while !over.load(Ordering::Relaxed) {
        let began = Instant::now();
        fetch(&mut stream, "1k", 1024, &mut buffer)?;
        times.push(began.elapsed());
        std::thread::sleep(PAUSE);
    }
    Ok(times)
}

/// Asks for much and reads little of it.
fn sip(to: SocketAddr, over: &AtomicBool) -> Result<()> {
    let mut stream = connect(to)?;
    for _ in 0..8 {
        write!(stream, "GET /10m HTTP/1.1\r\nHost: bench.example.com\r\n\r\n")?;
    }
    let mut buffer = vec![0; SIP];
    while !over.load(Ordering::Relaxed) {
        stream.read_exact(&mut buffer)?;
        std::thread::sleep(SIPS);
    }
    Ok(())
}
