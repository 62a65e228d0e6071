//! Visitors of several hubs: each asks its hub steadily, goes on to the next when that takes no connection, and remembers the
//! fate of every request.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Result;

use crate::Host;
use crate::probe::Task;

/// How long an answer may take.
const ANSWER: Duration = Duration::from_secs(15);

/// How they visit.
#[derive(Clone, Debug)]
pub struct Visits {
    /// Hubs; visitor n begins with hub n.
    pub hubs: Vec<SocketAddr>,
    /// What they want there.
    pub host: String,
    /// The method of each request.
    pub method: &'static str,
    /// How many there are.
    pub visitors: u32,
    /// Requests per second of all of them.
    pub rate: u32,
    /// After so many requests a visitor takes a new connection.
    pub per_connection: u32,
    /// How long a hub may take to answer a connection before the next is asked.
    pub patience: Duration,
    /// Whether a request is sent again, once, when a connection that had served others before breaks without a byte of an answer:
    /// as browsers and HTTP libraries do (RFC 9112 section 9.3.1).
    pub again: bool,
}

/// What became of a request.
#[derive(Clone, Debug)]
pub struct Fate {
    /// When it began.
    pub from: Instant,
    /// When it was over.
    pub to: Instant,
    /// The hub that had it last, as numbered in [`Visits::hubs`].
    pub hub: usize,
    /// Hubs that took no connection before.
    pub passed: u32,
    /// It was sent a second time.
    pub again: bool,
    /// The target's name: the first line of a mirror's answer.
    pub target: String,
    /// What went wrong.
    pub failed: Option<String>,
}

impl Fate {
    /// Whether it was under way at some moment between these two.
    #[must_use]
    pub fn meets(&self, from: Instant, to: Instant) -> bool {
        self.from <= to && from <= self.to
    }
}

/// Visitors at work.
#[derive(Debug)]
pub struct Visitors {
    tasks: Vec<Task<()>>,
    fates: Arc<Mutex<Vec<Fate>>>,
}

impl Visitors {
    /// Starts them on a host.
    pub fn start(host: &Host, visits: &Visits) -> Result<Self> {
        let fates = Arc::new(Mutex::new(Vec::new()));
        let one = |number| {
            let (inside, visits, fates) = (host.clone(), visits.clone(), Arc::clone(&fates));
            Task::start("lab-visitor", move |stop| {
                let visitor = Visitor { visits, number, fates };
                let _ = inside.run(|| visitor.run(stop));
            })
        };
        let tasks = (0..visits.visitors).map(one).collect::<Result<_>>()?;
        Ok(Self { tasks, fates })
    }

    /// The requests that are over.
    #[must_use]
    pub fn fates(&self) -> Vec<Fate> {
        self.fates.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// How many requests are over that began after a moment.
    #[must_use]
    pub fn since(&self, moment: Instant) -> usize {
        let fates = self.fates.lock().unwrap_or_else(PoisonError::into_inner);
        fates.iter().filter(|fate| fate.from >= moment).count()
    }

    /// Ends them.
    #[must_use]
    pub fn stop(self) -> Vec<Fate> {
        for task in self.tasks {
            task.finish();
        }
        std::mem::take(&mut *self.fates.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

struct Visitor {
    visits: Visits,
    number: u32,
    fates: Arc<Mutex<Vec<Fate>>>,
}

/// A connection that is kept.
struct Kept {
    stream: TcpStream,
    hub: usize,
    asked: u32,
}

/// Why a request has no answer.
struct Broken {
    why: String,
    /// Not a byte of an answer had come.
    silent: bool,
}

impl Visitor {
    fn run(&self, stop: &AtomicBool) {
        let visits = &self.visits;
        let every = Duration::from_secs(1) * visits.visitors / visits.rate.max(1);
        let mut next = Instant::now() + every * self.number / visits.visitors;
        let mut kept = None;
        while !stop.load(Ordering::Relaxed) {
            std::thread::sleep(next.saturating_duration_since(Instant::now()));
            next += every;
            let now = Instant::now();
            let mut fate = Fate {
                from: now,
                to: now,
                hub: self.number as usize % visits.hubs.len(),
                passed: 0,
                again: false,
                target: String::new(),
                failed: None,
            };
            match self.ask(&mut kept, &mut fate) {
                Ok(target) => fate.target = target,
                Err(why) => fate.failed = Some(why),
            }
            fate.to = Instant::now();
            self.fates.lock().unwrap_or_else(PoisonError::into_inner).push(fate);
        }
    }

    fn ask(&self, kept: &mut Option<Kept>, fate: &mut Fate) -> Result<String, String> {
        let used = kept.take().filter(|kept| is_open(&kept.stream));
        let mut connection = match used {
            Some(kept) => kept,
            None => self.connect(fate)?,
        };
        loop {
            fate.hub = connection.hub;
            match self.over(&mut connection) {
                Ok((target, closes)) => {
                    connection.asked += 1;
                    let spent = connection.asked >= self.visits.per_connection;
                    *kept = Some(connection).filter(|_| !closes && !spent);
                    return Ok(target);
                }
                Err(broken) if self.visits.again && broken.silent && connection.asked > 0 && !fate.again => {
                    fate.again = true;
                    connection = self.connect(fate)?;
                }
                Err(broken) => return Err(broken.why),
            }
        }
    }

    /// A connection to the visitor's own hub, or to the next that takes one.
    fn connect(&self, fate: &mut Fate) -> Result<Kept, String> {
        let visits = &self.visits;
        let mut why = String::new();
        for turn in 0..visits.hubs.len() {
            let hub = (self.number as usize + turn) % visits.hubs.len();
            match connect(visits.hubs[hub], visits.patience) {
                Ok(stream) => return Ok(Kept { stream, hub, asked: 0 }),
                Err(error) => why = format!("connect: {error}"),
            }
            fate.passed += 1;
        }
        Err(why)
    }

    /// The first line of the answer, and whether the connection ends with it.
    fn over(&self, connection: &mut Kept) -> Result<(String, bool), Broken> {
        let Visits { method, host, per_connection, .. } = &self.visits;
        let last = connection.asked + 1 >= *per_connection;
        let word = if last { "close" } else { "keep-alive" };
        let length = if *method == "POST" { "Content-Length: 4\r\n\r\nbody" } else { "\r\n" };
        let request = format!("{method} / HTTP/1.1\r\nHost: {host}\r\nConnection: {word}\r\n{length}");
        let sent = connection.stream.write_all(request.as_bytes());
        sent.map_err(|error| Broken { why: format!("send: {error}"), silent: true })?;
        answer(&mut connection.stream)
    }
}

fn connect(at: SocketAddr, patience: Duration) -> std::io::Result<TcpStream> {
    let stream = TcpStream::connect_timeout(&at, patience)?;
    stream.set_read_timeout(Some(ANSWER))?;
    stream.set_write_timeout(Some(ANSWER))?;
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

/// Reads one answer with a Content-Length.
fn answer(stream: &mut TcpStream) -> Result<(String, bool), Broken> {
    let mut all = Vec::new();
    let mut buffer = [0; 16_384];
    loop {
        let broken =
            |why: String| Broken { why: format!("{why} after {} bytes", all.len()), silent: all.is_empty() };
        let got = stream.read(&mut buffer).map_err(|error| broken(error.to_string()))?;
        if got == 0 {
            return Err(broken("closed".to_owned()));
        }
        all.extend_from_slice(&buffer[..got]);
        let Some(end) = all.windows(4).position(|four| four == b"\r\n\r\n").map(|at| at + 4) else {
            continue;
        };
        let head = String::from_utf8_lossy(&all[..end]).to_ascii_lowercase();
        let status = head.split(' ').nth(1).unwrap_or("none");
        if status != "200" {
            return Err(Broken { why: format!("status {status}"), silent: false });
        }
        let length = head.lines().find_map(|line| line.strip_prefix("content-length:"));
        let length = length.and_then(|value| value.trim().parse::<usize>().ok());
        let bare = || Broken { why: "an answer without a length".to_owned(), silent: false };
        if all.len() >= end + length.ok_or_else(bare)? {
            let body = String::from_utf8_lossy(&all[end..]);
            let first = body.lines().next().unwrap_or_default().to_owned();
            return Ok((first, head.contains("\r\nconnection: close")));
        }
    }
}
