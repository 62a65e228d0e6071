//! Clients that ask steadily over kept connections, and tell every request that did not get its answer.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Result;

use crate::Host;
use crate::probe::Task;

/// What the clients ask.
#[derive(Clone, Debug)]
pub struct Load {
    /// Where.
    pub target: SocketAddr,
    /// What: a path.
    pub path: String,
    /// Clients, each with a connection.
    pub clients: usize,
    /// Requests per second of all of them.
    pub rate: u32,
    /// After so many requests a client takes a new connection; 1 takes one for each.
    pub per_connection: u32,
    /// How long an answer may take.
    pub timeout: Duration,
}

/// A request without a good answer.
#[derive(Clone, Debug)]
pub struct Failure {
    /// When it was sent.
    pub at: Instant,
    /// What happened: `connect: ...`, `status 503`, `closed after 0 bytes` ...
    pub what: String,
}

/// Running clients.
#[derive(Debug)]
pub struct Requests {
    tasks: Vec<Task<()>>,
    answered: Arc<AtomicU64>,
    failures: Arc<Mutex<Vec<Failure>>>,
}

impl Requests {
    /// Starts the clients on a host.
    pub fn start(host: &Host, load: &Load) -> Result<Self> {
        let answered = Arc::new(AtomicU64::new(0));
        let failures = Arc::new(Mutex::new(Vec::new()));
        let mut tasks = Vec::new();
        for number in 0..load.clients {
            let (inside, load) = (host.clone(), load.clone());
            let (answered, failures) = (Arc::clone(&answered), Arc::clone(&failures));
            tasks.push(Task::start("lab-requests", move |stop| {
                let client = Client { load, number, answered, failures };
                let _ = inside.run(|| client.run(stop));
            })?);
        }
        Ok(Self { tasks, answered, failures })
    }

    /// Requests with a good answer so far.
    pub fn answered(&self) -> u64 {
        self.answered.load(Ordering::Relaxed)
    }

    /// Requests without one so far.
    pub fn failures(&self) -> Vec<Failure> {
        self.failures.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Ends the clients; how many requests were answered, and those that were not.
    pub fn stop(self) -> (u64, Vec<Failure>) {
        for task in self.tasks {
            task.finish();
        }
        let failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner).clone();
        (self.answered.load(Ordering::Relaxed), failures)
    }
}

struct Client {
    load: Load,
    number: usize,
    answered: Arc<AtomicU64>,
    failures: Arc<Mutex<Vec<Failure>>>,
}

impl Client {
    fn run(&self, stop: &AtomicBool) {
        let clients = u32::try_from(self.load.clients).unwrap_or(1);
        let every = Duration::from_secs(1) * clients / self.load.rate.max(1);
        let mut next = Instant::now() + every * u32::try_from(self.number).unwrap_or(0) / clients;
        let mut kept: Option<(TcpStream, u32)> = None;
        while !stop.load(Ordering::Relaxed) {
            std::thread::sleep(next.saturating_duration_since(Instant::now()));
            next += every;
            let at = Instant::now();
            match self.ask(&mut kept) {
                Ok(()) => {
                    self.answered.fetch_add(1, Ordering::Relaxed);
                }
                Err(what) => {
                    kept = None;
                    let failure = Failure { at, what };
                    self.failures.lock().unwrap_or_else(PoisonError::into_inner).push(failure);
                }
            }
        }
    }

    fn ask(&self, kept: &mut Option<(TcpStream, u32)>) -> Result<(), String> {
        let (mut stream, asked) = match kept.take() {
            Some(kept) => kept,
            None => (self.connect().map_err(|error| format!("connect: {error}"))?, 0),
        };
        let last = asked + 1 >= self.load.per_connection;
        let word = if last { "close" } else { "keep-alive" };
        let (path, host) = (&self.load.path, self.load.target);
        let request = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: {word}\r\n\r\n");
        stream.write_all(request.as_bytes()).map_err(|error| format!("send: {error}"))?;
        let closes = answer(&mut stream)?;
        if !last && !closes {
            *kept = Some((stream, asked + 1));
        }
        Ok(())
    }

    fn connect(&self) -> std::io::Result<TcpStream> {
        let stream = TcpStream::connect_timeout(&self.load.target, self.load.timeout)?;
        stream.set_read_timeout(Some(self.load.timeout))?;
        stream.set_write_timeout(Some(self.load.timeout))?;
        stream.set_nodelay(true)?;
        Ok(stream)
    }
}

/// Reads one answer with a Content-Length, or up to the end; whether the connection ends with it.
fn answer(stream: &mut TcpStream) -> Result<bool, String> {
    let mut all = Vec::new();
    let mut buffer = [0; 16_384];
    loop {
        let got = stream.read(&mut buffer).map_err(|error| format!("{error} after {} bytes", all.len()))?;
        all.extend_from_slice(&buffer[..got]);
        let head = all.windows(4).position(|four| four == b"\r\n\r\n").map(|at| at + 4);
        if got == 0 && head.is_none() {
            return Err(format!("closed after {} bytes", all.len()));
        }
        let Some(end) = head else { continue };
        let text = String::from_utf8_lossy(&all[..end]).to_ascii_lowercase();
        let status = text.split(' ').nth(1).unwrap_or("none");
        if status != "200" {
            return Err(format!("status {status}"));
        }
        let length = text.lines().find_map(|line| line.strip_prefix("content-length:"));
        let length = length.and_then(|value| value.trim().parse::<usize>().ok());
        match length {
            Some(length) if all.len() >= end + length => return Ok(text.contains("\r\nconnection: close")),
            None if got == 0 => return Ok(true),
            Some(length) if got == 0 => {
                return Err(format!("closed after {} of {length} bytes of the body", all.len() - end));
            }
            Some(_) | None => {}
        }
    }
}
