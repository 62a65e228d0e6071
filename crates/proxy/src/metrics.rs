//! What is counted. Each thread writes counters of its own, which one who sums them up may read at any time.
//!
//! Counts belong to names, not to positions: each name has a place for as long as the process lives, so that a listener or
//! route that a reload moves goes on with its own, and so does a request that began before the reload.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Duration;

use mainstay_core::name::RouteId;
use serde::{Deserialize, Serialize};
use tokio::sync::Notify;

use crate::clock::recent;
use crate::exchange::Exchange;
use crate::snapshot::Snapshot;

/// Upper bounds of the buckets of request times, in microseconds; one more takes the rest.
pub const BUCKETS: [u64; 13] = [
    1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000, 2_500_000, 5_000_000,
    10_000_000,
];

/// Names that can be told apart; what comes beyond shares the last place.
const MOST: usize = 65_536;

/// Places that are made at once.
const CHUNK: usize = 256;

/// Places that are made when they are first asked for and then stay where they are.
#[derive(Debug)]
struct Grow<T> {
    chunks: Box<[OnceLock<Box<[T]>>]>,
}

impl<T: Default> Default for Grow<T> {
    fn default() -> Self {
        Self { chunks: (0..MOST / CHUNK).map(|_| OnceLock::new()).collect() }
    }
}

impl<T: Default> Grow<T> {
    fn at(&self, place: usize) -> &T {
        let place = place.min(MOST - 1);
        let chunk = self.chunks[place / CHUNK].get_or_init(|| (0..CHUNK).map(|_| T::default()).collect());
        &chunk[place % CHUNK]
    }

    /// Those that somebody has asked for, and their neighbours.
    fn each(&self) -> impl Iterator<Item = &T> {
        self.chunks.iter().filter_map(OnceLock::get).flatten()
    }
}

/// A counter with one writer: a load and a store, without the bus lock of an atomic addition.
#[derive(Debug, Default)]
struct Count(AtomicU64);

impl Count {
    fn add(&self, more: u64) {
        self.0.store(self.0.load(Ordering::Relaxed).wrapping_add(more), Ordering::Relaxed);
    }

    fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

#[derive(Debug, Default)]
struct Requests {
    /// By the first digit of the status; 0 for those that got none.
    classes: [Count; 6],
    received: Count,
    sent: Count,
}

#[derive(Debug, Default)]
struct Listener {
    accepted: Count,
    closed: Count,
    requests: Requests,
}

#[derive(Debug, Default)]
struct Route {
    requests: Requests,
    buckets: [Count; BUCKETS.len() + 1],
    micros: Count,
    retries: Count,
}

/// What is rare and has a reason: refused or a failed handshake.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Trouble {
    Refused,
    Handshake,
}

/// The counters of one thread.
#[derive(Debug, Default)]
pub struct Counters {
    listeners: Grow<Listener>,
    routes: Grow<Route>,
    troubles: Mutex<BTreeMap<(u32, Trouble, &'static str), u64>>,
    /// Tells one who waits for a connection to end.
    closes: Notify,
}

impl Counters {
    /// Another configuration is in force: a listener that was full may have room from here on.
    pub fn adopted(&self) {
        self.closes.notify_waiters();
    }

    fn listener(&self, place: u32) -> &Listener {
        self.listeners.at(place as usize)
    }

    /// A connection was accepted.
    pub fn accepted(&self, place: u32) {
        self.listener(place).accepted.add(1);
    }

    /// A connection ended.
    pub fn closed(&self, place: u32) {
        self.listener(place).closed.add(1);
        self.closes.notify_waiters();
    }

    /// Waits until a connection has ended.
    pub async fn one_closes(&self) {
        self.closes.notified().await;
    }

    /// Connections that are open.
    #[must_use]
    pub fn open(&self, place: u32) -> u64 {
        let listener = self.listener(place);
        listener.accepted.get().saturating_sub(listener.closed.get())
    }

    /// Connections that are open, of all listeners.
    #[must_use]
    pub fn open_in_all(&self) -> u64 {
        let open = |listener: &Listener| listener.accepted.get().saturating_sub(listener.closed.get());
        self.listeners.each().map(open).sum()
    }

    /// A request was refused before it had a route: `framing:two-lengths`, `head-too-large`, `timeout` ...
    pub fn refused(&self, place: u32, why: &'static str) {
        self.trouble(place, Trouble::Refused, why);
    }

    /// A handshake failed: TLS or PROXY.
    pub fn handshake_failed(&self, place: u32, why: &'static str) {
        self.trouble(place, Trouble::Handshake, why);
    }

    fn trouble(&self, place: u32, trouble: Trouble, why: &'static str) {
        let mut troubles = self.troubles.lock().unwrap_or_else(PoisonError::into_inner);
        *troubles.entry((place, trouble, why)).or_default() += 1;
    }

    /// A request has had its response, or its connection broke; `snapshot` is the one that it began with.
    pub fn done(&self, snapshot: &Snapshot, exchange: &Exchange) {
        let class = usize::from(exchange.status / 100).min(5);
        let count = |requests: &Requests| {
            requests.classes[class].add(1);
            requests.received.add(exchange.received);
            requests.sent.add(exchange.sent);
        };
        count(&self.listener(exchange.connection.counts).requests);
        let Some(route) = exchange.route else { return };
        let place = snapshot.places.route(route);
        let route = self.routes.at(place as usize);
        count(&route.requests);
        route.retries.add((exchange.attempts.len() as u64).saturating_sub(1));
        // How long somebody kept a WebSocket is no time that a request took.
        if exchange.status != 101 {
            let took = micros(recent().since(exchange.started));
            route.buckets[BUCKETS.iter().position(|most| took <= *most).unwrap_or(BUCKETS.len())].add(1);
            route.micros.add(took);
        }
    }

    /// A stream connection ended, with the bytes from and to its client.
    pub fn stream_done(&self, place: u32, received: u64, sent: u64) {
        let requests = &self.listener(place).requests;
        requests.received.add(received);
        requests.sent.add(sent);
    }

    /// Adds what this thread has counted; the places are those of `names`.
    pub fn sum_up(&self, names: &Names, listeners: &mut [ListenerCounts], routes: &mut [RouteCounts]) {
        for (place, into) in listeners.iter_mut().enumerate().take(names.listeners.len()) {
            let from = self.listeners.at(place);
            into.accepted += from.accepted.get();
            into.closed += from.closed.get();
            into.requests.take(&from.requests);
        }
        for (place, into) in routes.iter_mut().enumerate().take(names.routes.len()) {
            let from = self.routes.at(place);
            into.requests.take(&from.requests);
            into.micros += from.micros.get();
            into.retries += from.retries.get();
            into.buckets.resize(from.buckets.len(), 0);
            for (into, from) in into.buckets.iter_mut().zip(&from.buckets) {
                *into += from.get();
            }
        }
        for ((place, trouble, why), count) in
            self.troubles.lock().unwrap_or_else(PoisonError::into_inner).iter()
        {
            let Some(into) = listeners.get_mut(*place as usize) else { continue };
            let into = match trouble {
                Trouble::Refused => &mut into.refused,
                Trouble::Handshake => &mut into.handshakes_failed,
            };
            *into.entry((*why).to_owned()).or_default() += count;
        }
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

/// The names that have a place of their own, in a process.
#[derive(Debug, Default)]
pub struct Names {
    /// Listeners, by place.
    pub listeners: Vec<String>,
    /// Routes, by place.
    pub routes: Vec<String>,
}

/// Where the listeners and routes of a snapshot count, by position.
#[derive(Debug, Default)]
pub struct Places {
    listeners: Vec<u32>,
    routes: Vec<u32>,
}

impl Places {
    /// The place of a listener.
    #[must_use]
    pub fn listener(&self, position: u32) -> u32 {
        self.listeners.get(position as usize).copied().unwrap_or(0)
    }

    fn route(&self, route: RouteId) -> u32 {
        self.routes.get(route.index()).copied().unwrap_or(0)
    }
}

impl Names {
    /// The places of these listeners and routes; new names get new ones.
    pub fn place<'n>(
        &mut self,
        listeners: impl Iterator<Item = &'n str>,
        routes: impl Iterator<Item = &'n str>,
    ) -> Places {
        Places { listeners: places(&mut self.listeners, listeners), routes: places(&mut self.routes, routes) }
    }
}

fn places<'n>(known: &mut Vec<String>, names: impl Iterator<Item = &'n str>) -> Vec<u32> {
    let mut index: BTreeMap<String, usize> =
        known.iter().enumerate().map(|(place, name)| (name.clone(), place)).collect();
    let mut place = |name: &str| {
        let place = *index.entry(name.to_owned()).or_insert_with(|| {
            if known.len() < MOST {
                known.push(name.to_owned());
            }
            known.len() - 1
        });
        u32::try_from(place).expect("fewer than MOST")
    };
    names.map(&mut place).collect()
}

/// Requests and bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RequestCounts {
    /// By the first digit of the status; the first is for requests that got none.
    pub classes: [u64; 6],
    /// Bytes from clients.
    pub received: u64,
    /// Bytes to clients.
    pub sent: u64,
}

impl RequestCounts {
    fn take(&mut self, from: &Requests) {
        for (into, from) in self.classes.iter_mut().zip(&from.classes) {
            *into += from.get();
        }
        self.received += from.received.get();
        self.sent += from.sent.get();
    }

    fn add(&mut self, other: &Self) {
        for (into, from) in self.classes.iter_mut().zip(&other.classes) {
            *into += from;
        }
        self.received += other.received;
        self.sent += other.sent;
    }
}

/// What was counted for a listener.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListenerCounts {
    /// Its name.
    pub name: String,
    /// Connections accepted.
    pub accepted: u64,
    /// Connections ended.
    pub closed: u64,
    /// Its requests.
    pub requests: RequestCounts,
    /// Requests refused before they had a route, by reason.
    pub refused: BTreeMap<String, u64>,
    /// Handshakes that failed, by reason.
    pub handshakes_failed: BTreeMap<String, u64>,
}

/// What was counted for a route.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RouteCounts {
    /// Its name.
    pub name: String,
    /// Its requests.
    pub requests: RequestCounts,
    /// Requests by the time that they took; bounds in [`BUCKETS`].
    pub buckets: Vec<u64>,
    /// Their times summed up, in microseconds.
    pub micros: u64,
    /// Further backends that were asked.
    pub retries: u64,
}

impl ListenerCounts {
    /// Adds what another process has counted.
    pub fn add(&mut self, other: &Self) {
        self.accepted += other.accepted;
        self.closed += other.closed;
        self.requests.add(&other.requests);
        for (into, from) in
            [(&mut self.refused, &other.refused), (&mut self.handshakes_failed, &other.handshakes_failed)]
        {
            from.iter().for_each(|(why, count)| *into.entry(why.clone()).or_default() += count);
        }
    }
}

impl RouteCounts {
    /// Adds what another process has counted.
    pub fn add(&mut self, other: &Self) {
        self.requests.add(&other.requests);
        self.micros += other.micros;
        self.retries += other.retries;
        if self.buckets.len() < other.buckets.len() {
            self.buckets.resize(other.buckets.len(), 0);
        }
        self.buckets.iter_mut().zip(&other.buckets).for_each(|(into, from)| *into += from);
    }
}
