//! A client that sends a datagram every few milliseconds and notes who answered when.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use crate::probe::{Task, readable};
use crate::timeline::{Answer, Sample, Timeline};
use crate::{Host, wait_until};

/// A running client.
#[derive(Debug)]
pub struct UdpClient {
    task: Task<()>,
    record: Arc<Mutex<Timeline>>,
    target: SocketAddr,
}

impl UdpClient {
    /// Starts to send from `host` to an [`crate::probe::Echo`] at `target`, every `interval`.
    pub fn start(host: &Host, target: SocketAddr, interval: Duration) -> Result<Self> {
        let any = match target.ip() {
            IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        };
        let socket = host.run(|| UdpSocket::bind((any, 0)))?.context("cannot open the client's socket")?;
        socket.set_nonblocking(true)?;
        let origin = Instant::now();
        let record = Arc::new(Mutex::new(Timeline::new(origin, interval)));
        let shared = Arc::clone(&record);
        let task = Task::start("lab-client", move |stop| {
            let names = BTreeMap::new();
            let mut client =
                Client { socket, target, interval, origin, sent: 0, names, news: Vec::new(), record: shared };
            client.run(stop);
        })?;
        Ok(Self { task, record, target })
    }

    /// The record so far.
    pub fn record(&self) -> MutexGuard<'_, Timeline> {
        self.record.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The host that answered last, and when.
    pub fn last(&self) -> Option<(String, Instant)> {
        let record = self.record();
        let answer = record.samples.iter().rev().find_map(|sample| sample.answer)?;
        Some((record.nodes[usize::from(answer.node)].clone(), record.origin + answer.at))
    }

    /// Waits until the host called `node` answers.
    pub fn wait_for(&self, node: &str, limit: Duration) -> Result<()> {
        let from = Instant::now();
        wait_until(&format!("{node} answers at {}", self.target), limit, || {
            Ok(self.last().is_some_and(|(name, at)| name == node && at >= from))
        })
    }

    /// Waits until nobody but `node` has answered, without a pause, for `time`.
    pub fn wait_for_steady(&self, node: &str, time: Duration, limit: Duration) -> Result<()> {
        let from = Instant::now();
        wait_until(&format!("{node} alone answers at {} for {time:?}", self.target), limit, || {
            let now = Instant::now();
            if now < from + time {
                return Ok(false);
            }
            Ok(self.record().is_steady(node, now - time, now))
        })
    }

    /// Ends the client and returns its record.
    pub fn stop(self) -> Timeline {
        let Self { task, record, target: _ } = self;
        task.finish();
        let mut record = record.lock().unwrap_or_else(PoisonError::into_inner);
        let origin = record.origin;
        std::mem::replace(&mut *record, Timeline::new(origin, Duration::ZERO))
    }
}

/// The thread's side. It never waits for a reader of the record, who may be less urgent than it is: news are kept
/// until the record is free.
struct Client {
    socket: UdpSocket,
    target: SocketAddr,
    interval: Duration,
    origin: Instant,
    sent: u64,
    names: BTreeMap<Vec<u8>, u8>,
    news: Vec<News>,
    record: Arc<Mutex<Timeline>>,
}

enum News {
    Sent(Sample),
    Named(String),
    Answered(u64, Answer),
}

impl Client {
    fn run(&mut self, stop: &AtomicBool) {
        let mut planned = Instant::now();
        while !stop.load(Ordering::Relaxed) {
            self.send(planned);
            // After a pause of its own the client goes on at its pace: a burst would tell nothing new.
            planned = (planned + self.interval).max(Instant::now());
            self.listen(planned);
            let record = Arc::clone(&self.record);
            if let Ok(mut record) = record.try_lock() {
                self.tell(&mut record);
            }
        }
        self.listen(Instant::now() + self.interval);
        let record = Arc::clone(&self.record);
        self.tell(&mut record.lock().unwrap_or_else(PoisonError::into_inner));
    }

    fn send(&mut self, planned: Instant) {
        let now = Instant::now();
        let (sent, late) = (now - self.origin, now.saturating_duration_since(planned));
        self.news.push(News::Sent(Sample { sent, late, answer: None }));
        // While nobody holds the address the send itself may fail: that is a lost request like any other.
        let _ = self.socket.send_to(&self.sent.to_le_bytes(), self.target);
        self.sent += 1;
    }

    fn listen(&mut self, until: Instant) {
        loop {
            self.take_answers();
            let now = Instant::now();
            if now >= until {
                return;
            }
            readable(&self.socket, until - now);
        }
    }

    fn take_answers(&mut self) {
        let mut buffer = [0_u8; 512];
        while let Ok((length, _)) = self.socket.recv_from(&mut buffer) {
            let at = self.origin.elapsed();
            let Some((number, name)) = buffer[..length].split_first_chunk::<8>() else { continue };
            let node = self.node(name);
            self.news.push(News::Answered(u64::from_le_bytes(*number), Answer { at, node }));
        }
    }

    fn node(&mut self, name: &[u8]) -> u8 {
        if let Some(node) = self.names.get(name) {
            return *node;
        }
        let node = u8::try_from(self.names.len()).unwrap_or(u8::MAX);
        self.names.insert(name.to_vec(), node);
        self.news.push(News::Named(String::from_utf8_lossy(name).into_owned()));
        node
    }

    fn tell(&mut self, record: &mut Timeline) {
        for news in self.news.drain(..) {
            match news {
                News::Sent(sample) => record.samples.push(sample),
                News::Named(name) => record.nodes.push(name),
                News::Answered(number, answer) => {
                    let sample =
                        usize::try_from(number).ok().and_then(|number| record.samples.get_mut(number));
                    if let Some(sample) = sample
                        && sample.answer.is_none()
                    {
                        sample.answer = Some(answer);
                    }
                }
            }
        }
    }
}
