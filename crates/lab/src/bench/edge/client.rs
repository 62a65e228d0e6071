//! Clients that ask steadily over kept connections, careful ones: what was closed while it lay idle is opened anew.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::Result;

use crate::Host;
use crate::probe::Task;

/// How long an answer may take.
const LIMIT: Duration = Duration::from_secs(10);

/// What is asked.
#[derive(Clone, Copy, Debug)]
pub(super) struct Load {
    /// Where.
    pub at: SocketAddr,
    /// What.
    pub path: &'static str,
    /// Clients, each with a connection.
    pub clients: u32,
    /// Requests per second of all of them.
    pub rate: u32,
    /// After so many requests a client takes a new connection.
    pub per_connection: u32,
}

/// What became of a request.
#[derive(Clone, Debug)]
pub(super) struct Fate {
    /// When it began.
    pub from: Instant,
    /// When it was over.
    pub to: Instant,
    /// What went wrong.
    pub failed: Option<Failed>,
}

/// How a request fails.
#[derive(Clone, Debug)]
pub(super) enum Failed {
    /// No connection.
    Connect(String),
    /// No answer, or half of one.
    Cut(String),
    /// Another answer than 200.
    Status(String),
}

impl std::fmt::Display for Failed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Connect(why) => write!(f, "connect: {why}"),
            Self::Cut(why) => f.write_str(why),
            Self::Status(status) => write!(f, "status {status}"),
        }
    }
}

/// Clients at work.
#[derive(Debug)]
pub(super) struct Clients {
    tasks: Vec<Task<Vec<Fate>>>,
}

impl Clients {
    pub(super) fn start(host: &Host, load: Load) -> Result<Self> {
        let one = |number| {
            let inside = host.clone();
            Task::start("lab-client", move |stop| inside.run(|| run(load, number, stop)).unwrap_or_default())
        };
        Ok(Self { tasks: (0..load.clients).map(one).collect::<Result<_>>()? })
    }

    /// Ends them: every request's fate.
    pub(super) fn stop(self) -> Vec<Fate> {
        self.tasks.into_iter().flat_map(|task| task.finish().unwrap_or_default()).collect()
    }

    /// Lets them ask for so long.
    pub(super) fn for_a_while(host: &Host, load: Load, time: Duration) -> Result<Vec<Fate>> {
        let clients = Self::start(host, load)?;
        std::thread::sleep(time);
        Ok(clients.stop())
    }
}

/// The share of requests that took at most this long.
pub(super) fn percentile(fates: &[Fate], share: f64) -> Duration {
    let mut times: Vec<Duration> = fates.iter().map(|fate| fate.to - fate.from).collect();
    times.sort_unstable();
    let at = (times.len() as f64 * share) as usize;
    times.get(at.min(times.len().saturating_sub(1))).copied().unwrap_or_default()
}

fn run(load: Load, number: u32, stop: &AtomicBool) -> Vec<Fate> {
    let every = Duration::from_secs(1) * load.clients / load.rate.max(1);
    let mut next = Instant::now() + every * number / load.clients;
    let mut kept = None;
    let mut fates = Vec::new();
    while !stop.load(Ordering::Relaxed) {
        std::thread::sleep(next.saturating_duration_since(Instant::now()));
        next += every;
        let from = Instant::now();
        let failed = ask(load, &mut kept).err();
        fates.push(Fate { from, to: Instant::now(), failed });
    }
    fates
}

fn ask(load: Load, kept: &mut Option<(TcpStream, u32)>) -> Result<(), Failed> {
    let fresh =
        || connect(load.at).map(|stream| (stream, 0)).map_err(|error| Failed::Connect(error.to_string()));
    let (mut stream, asked) = match kept.take().filter(|(stream, _)| is_open(stream)) {
        Some(kept) => kept,
        None => fresh()?,
    };
    let last = asked + 1 >= load.per_connection;
    let word = if last { "close" } else { "keep-alive" };
    let request = format!("GET {} HTTP/1.1\r\nHost: edge.example\r\nConnection: {word}\r\n\r\n", load.path);
    stream.write_all(request.as_bytes()).map_err(|error| Failed::Cut(format!("send: {error}")))?;
    let closes = answer(&mut stream)?;
    if !last && !closes {
        *kept = Some((stream, asked + 1));
    }
    Ok(())
}

fn connect(at: SocketAddr) -> std::io::Result<TcpStream> {
    let stream = TcpStream::connect_timeout(&at, LIMIT)?;
    stream.set_read_timeout(Some(LIMIT))?;
    stream.set_write_timeout(Some(LIMIT))?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// Whether the other side has left a kept connection alone.
fn is_open(stream: &TcpStream) -> bool {
    let peek = || {
        stream.set_nonblocking(true)?;
        let peeked = stream.peek(&mut [0]);
        stream.set_nonblocking(false)?;
        peeked
    };
    peek().is_err_and(|error| error.kind() == ErrorKind::WouldBlock)
}

/// Reads one answer with a Content-Length; whether the connection ends with it.
fn answer(stream: &mut TcpStream) -> Result<bool, Failed> {
    let mut all = Vec::new();
    let mut buffer = [0; 16_384];
    loop {
        let got = stream.read(&mut buffer);
        let got = got.map_err(|error| Failed::Cut(format!("{error} after {} bytes", all.len())))?;
        if got == 0 {
            return Err(Failed::Cut(format!("closed after {} bytes", all.len())));
        }
        all.extend_from_slice(&buffer[..got]);
        let Some(end) = all.windows(4).position(|four| four == b"\r\n\r\n").map(|at| at + 4) else {
            continue;
        };
        let head = String::from_utf8_lossy(&all[..end]).to_ascii_lowercase();
        let status = head.split(' ').nth(1).unwrap_or("none");
        if status != "200" {
            return Err(Failed::Status(status.to_owned()));
        }
        let length = head.lines().find_map(|line| line.strip_prefix("content-length:"));
        let length = length.and_then(|value| value.trim().parse::<usize>().ok());
        let length = length.ok_or_else(|| Failed::Cut("an answer without a length".to_owned()))?;
        if all.len() >= end + length {
            return Ok(head.contains("\r\nconnection: close"));
        }
    }
}
