//! A client that fetches a page again and again and counts what went wrong.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Result;

use crate::Host;
use crate::probe::Task;

/// A running client.
#[derive(Debug)]
pub struct HttpClient {
    task: Task<()>,
    fetches: Arc<Mutex<Fetches>>,
}

/// What became of the fetches.
#[derive(Clone, Debug, Default)]
pub struct Fetches {
    /// Each fetch: when it began, and its page or what went wrong.
    pub all: Vec<(Instant, Result<String, String>)>,
}

impl HttpClient {
    /// Fetches `/` from `target` every `interval`, each with a connection of its own and at most `timeout` long.
    pub fn start(host: &Host, target: SocketAddr, interval: Duration, timeout: Duration) -> Result<Self> {
        let (inside, fetches) = (host.clone(), Arc::default());
        let shared = Arc::clone(&fetches);
        let task = Task::start("lab-http", move |stop| {
            let _ = inside.run(|| repeat(target, interval, timeout, &shared, stop));
        })?;
        Ok(Self { task, fetches })
    }

    /// The fetches so far.
    pub fn fetches(&self) -> Fetches {
        self.fetches.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Ends it and returns all fetches.
    pub fn stop(self) -> Fetches {
        let fetches = Arc::clone(&self.fetches);
        self.task.finish();
        let fetches = fetches.lock().unwrap_or_else(PoisonError::into_inner);
        fetches.clone()
    }
}

impl Fetches {
    /// Fetches that brought no page.
    pub fn failures(&self) -> usize {
        self.all.iter().filter(|(_, page)| page.is_err()).count()
    }
}

fn repeat(
    target: SocketAddr,
    interval: Duration,
    timeout: Duration,
    fetches: &Mutex<Fetches>,
    stop: &AtomicBool,
) {
    while !stop.load(Ordering::Relaxed) {
        let began = Instant::now();
        let page = fetch(target, timeout).map_err(|error| error.to_string());
        fetches.lock().unwrap_or_else(PoisonError::into_inner).all.push((began, page));
        std::thread::sleep(interval.saturating_sub(began.elapsed()));
    }
}

/// The page at `/`, without its header. To be called inside a host ([`Host::run`]).
pub fn fetch(target: SocketAddr, timeout: Duration) -> std::io::Result<String> {
    fetch_from(target, &target.ip().to_string(), timeout)
}

/// The same of a host there.
pub fn fetch_from(target: SocketAddr, host: &str, timeout: Duration) -> std::io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&target, timeout)?;
    stream.set_read_timeout(Some(timeout))?;
    stream.set_write_timeout(Some(timeout))?;
    stream.write_all(format!("GET / HTTP/1.0\r\nHost: {host}\r\n\r\n").as_bytes())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    match answer.split_once("\r\n\r\n") {
        Some((head, page)) if head.contains(" 200 ") => Ok(page.to_owned()),
        _ => Err(std::io::Error::other(answer.lines().next().unwrap_or("an empty answer").to_owned())),
    }
}
