//! The threads of an edge process: each has its own sockets, connections, pools and counters, and all the same snapshot.
//!
//! The control thread owns the [`Process`] and passes words to the threads; no word waits for a connection.

mod lane;

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use mainstay_config::plan::edge::{Edge, LogTarget, Place};
use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, oneshot};

use crate::log::Writers;
use crate::metrics::{Counters, ListenerCounts, Names, RouteCounts};
use crate::pool::{self, BackendStatus, Standing};
use crate::road::{HubSession, SessionStatus};
use crate::shared::Cells;
use crate::snapshot::{Error, Snapshot};
use crate::thread::Thread;
use crate::tls::{TICKET_KEY, Tickets};

use lane::{Ack, Kit, Word};

/// One of the supervisor's sockets.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct SocketKey {
    /// Its address.
    pub place: Place,
    /// Datagrams instead of connections.
    pub udp: bool,
    /// Whose it is, counted over the threads of all instances; 0 for unix sockets, which all share.
    pub thread: u16,
}

impl std::fmt::Display for SocketKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.place {
            Place::Inet(addr) => addr.fmt(f),
            Place::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// What an edge process says of itself.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct EdgeStatus {
    /// By listener.
    pub listeners: Vec<ListenerCounts>,
    /// By route.
    pub routes: Vec<RouteCounts>,
    /// By pool and backend.
    pub backends: Vec<BackendStatus>,
    /// Lines of access logs that were lost.
    pub log_lines_dropped: u64,
    /// Sessions of agents.
    #[serde(default)]
    pub agents: Vec<SessionStatus>,
    /// Sessions with other hubs.
    #[serde(default)]
    pub hubs: Vec<HubSession>,
    /// Agents by QUIC.
    #[serde(default)]
    pub quic: crate::quic::Counts,
}

impl EdgeStatus {
    /// Adds what another process said; names that are new come last.
    pub fn add(&mut self, other: &Self) {
        merge(&mut self.listeners, &other.listeners, |c| &c.name, ListenerCounts::add);
        merge(&mut self.routes, &other.routes, |c| &c.name, RouteCounts::add);
        let backends = std::mem::take(&mut self.backends);
        self.backends = BackendStatus::merge(backends.into_iter().chain(other.backends.iter().cloned()));
        self.log_lines_dropped += other.log_lines_dropped;
        self.agents.extend(other.agents.iter().cloned());
        self.hubs.extend(other.hubs.iter().cloned());
        self.quic.add(&other.quic);
    }

    /// What is left of it when its process is gone: what was counted.
    #[must_use]
    pub fn counted(&self) -> Self {
        let mut counted = self.clone();
        counted.agents.clear();
        counted.hubs.clear();
        for backend in &mut counted.backends {
            (backend.state, backend.degraded) = (Standing::Up, false);
            (backend.load, backend.threads, backend.aside_on) = (0, 0, 0);
        }
        counted
    }
}

fn merge<T: Clone>(into: &mut Vec<T>, from: &[T], name: fn(&T) -> &String, add: fn(&mut T, &T)) {
    let known: BTreeMap<String, usize> =
        into.iter().enumerate().map(|(at, c)| (name(c).clone(), at)).collect();
    for counts in from {
        match known.get(name(counts)) {
            Some(at) => add(&mut into[*at], counts),
            None => into.push(counts.clone()),
        }
    }
}

/// The threads of this process, as its control thread sees them.
#[derive(Debug)]
pub struct Process {
    lanes: Vec<Lane>,
    cells: Cells,
    names: Names,
    tickets: Tickets,
    sticky: Arc<OnceLock<[u8; 16]>>,
    writers: Arc<Writers>,
    snapshot: Option<Arc<Snapshot>>,
}

#[derive(Debug)]
struct Lane {
    words: mpsc::UnboundedSender<Word>,
    counters: Arc<Counters>,
    thread: std::thread::JoinHandle<()>,
}

impl Process {
    /// Starts so many threads, which wait for a configuration.
    ///
    /// # Errors
    /// When the kernel gives no thread or no descriptor.
    pub fn start(cells: Cells, threads: u16) -> io::Result<Self> {
        let (writers, hosts) = (Arc::<Writers>::default(), pool::Names::default());
        let sticky = Arc::<OnceLock<_>>::default();
        let lanes = (0..threads.max(1)).map(|number| {
            let (words, heard) = mpsc::unbounded_channel();
            let counters = Arc::new(Counters::default());
            let kit = Kit {
                cells,
                counters: Arc::clone(&counters),
                writers: Arc::clone(&writers),
                hosts: hosts.clone(),
                sticky: Arc::clone(&sticky),
                share: usize::from(threads.max(1)),
            };
            let thread = lane::start(number, kit, heard)?;
            Ok(Lane { words, counters, thread })
        });
        let lanes = lanes.collect::<io::Result<_>>()?;
        let (names, tickets) = (Names::default(), Tickets::new());
        Ok(Self { lanes, cells, names, tickets, sticky, writers, snapshot: None })
    }

    /// The keys of session tickets from here on: the first one seals, all of them open.
    pub fn tickets(&self, keys: &[[u8; TICKET_KEY]]) {
        self.tickets.rotate(keys);
    }

    /// The key of sticky cookies of pools that name none; to be told before the first configuration, and only once.
    pub fn sticky(&self, key: [u8; 16]) {
        let _ = self.sticky.set(key);
    }

    /// Where the lines of an access log go from here on.
    ///
    /// # Errors
    /// When no thread can be started that writes them.
    pub fn log(&self, to: &LogTarget, fd: OwnedFd) -> io::Result<()> {
        self.writers.open(to, fd)
    }

    /// Waits until the lines of access logs are written, at most this long.
    pub async fn settle_logs(&self, within: Duration) {
        self.ask(|thread| thread.logs.flush()).await;
        let _ = self.writers.settle(within);
    }

    /// The configuration in force.
    #[must_use]
    pub fn snapshot(&self) -> Option<&Arc<Snapshot>> {
        self.snapshot.as_ref()
    }

    /// Takes connections (or datagrams) from a socket, once a configuration knows its place.
    pub fn take(&self, key: SocketKey, fd: OwnedFd) {
        self.lane(&key).say(Word::Take(key, fd));
    }

    /// Leaves a socket to those who also hold it.
    pub fn leave(&self, key: SocketKey) {
        self.lane(&key).say(Word::Leave(key));
    }

    /// Takes what waits on sockets and closes them.
    pub async fn finish(&self, keys: Vec<SocketKey>) {
        let (ack, done) = ack();
        for key in keys {
            self.lane(&key).say(Word::Finish(key, ack.clone()));
        }
        drop(ack);
        wait(done).await;
    }

    /// Puts a configuration in force in all threads; each does `then` before its first request under it. Sockets whose
    /// place it does not know are finished.
    ///
    /// # Errors
    /// When it cannot be used; the old one stays.
    pub async fn apply(
        &mut self,
        edge: Edge,
        slots: HashMap<String, u32>,
        then: impl Fn(&Rc<Thread>) + Clone + Send + 'static,
    ) -> Result<(), Error> {
        let snapshot =
            Snapshot::compile(edge, slots, &mut self.names, &self.tickets, self.snapshot.as_deref())?;
        let snapshot = Arc::new(snapshot);
        self.snapshot = Some(Arc::clone(&snapshot));
        let (ack, done) = ack();
        for lane in &self.lanes {
            let then = then.clone();
            let then = Box::new(move |thread: &Rc<Thread>| then(thread));
            lane.say(Word::Adopt(Arc::clone(&snapshot), then, ack.clone()));
        }
        drop(ack);
        wait(done).await;
        Ok(())
    }

    /// Does something in each thread.
    pub fn tell(&self, what: impl Fn(&Rc<Thread>) + Clone + Send + 'static) {
        for lane in &self.lanes {
            let what = what.clone();
            lane.say(Word::Do(Box::new(move |thread| what(thread))));
        }
    }

    /// Asks each thread something; those that are gone have no answer.
    pub async fn ask<T: Send + 'static>(
        &self,
        what: impl Fn(&Rc<Thread>) -> T + Clone + Send + 'static,
    ) -> Vec<T> {
        let ask = |lane: &Lane| {
            let (answer, answered) = oneshot::channel();
            let what = what.clone();
            lane.say(Word::Do(Box::new(move |thread| {
                let _ = answer.send(what(thread));
            })));
            answered
        };
        let asked: Vec<_> = self.lanes.iter().map(ask).collect();
        let mut answers = Vec::new();
        for answer in asked {
            answers.extend(answer.await);
        }
        answers
    }

    /// What was counted so far, and how the backends are.
    pub async fn status(&self) -> EdgeStatus {
        let backends = self.backends().await;
        let agents = self.ask(|thread| thread.agents()).await.into_iter().flatten().collect();
        let hubs = self.ask(|thread| thread.hubs()).await.into_iter().flatten().collect();
        let mut quic = crate::quic::Counts::default();
        self.ask(|thread| thread.quic()).await.iter().for_each(|counts| quic.add(counts));
        EdgeStatus {
            backends,
            agents,
            hubs,
            quic,
            log_lines_dropped: self.writers.dropped(),
            ..self.counted()
        }
    }

    /// How the backends are, as all threads together see them.
    pub async fn backends(&self) -> Vec<BackendStatus> {
        let views = self.ask(|thread| thread.pools.status()).await;
        BackendStatus::merge(views.into_iter().flatten())
    }

    /// What was counted so far; the threads are not disturbed.
    fn counted(&self) -> EdgeStatus {
        let named = |name: &String| ListenerCounts { name: name.clone(), ..ListenerCounts::default() };
        let mut listeners: Vec<_> = self.names.listeners.iter().map(named).collect();
        let named = |name: &String| RouteCounts { name: name.clone(), ..RouteCounts::default() };
        let mut routes: Vec<_> = self.names.routes.iter().map(named).collect();
        for lane in &self.lanes {
            lane.counters.sum_up(&self.names, &mut listeners, &mut routes);
        }
        EdgeStatus { listeners, routes, ..EdgeStatus::default() }
    }

    /// Connections that are open.
    #[must_use]
    pub fn open(&self) -> u64 {
        self.counted().listeners.iter().map(|l| l.accepted.saturating_sub(l.closed)).sum()
    }

    /// Takes what waits on all sockets, closes them, and has connections end as soon as they can.
    pub async fn drain(&self) {
        let (ack, done) = ack();
        for lane in &self.lanes {
            lane.say(Word::Drain(ack.clone()));
        }
        drop(ack);
        wait(done).await;
    }

    /// Waits until every thread has come round.
    pub async fn come_round(&self) {
        let (ack, done) = ack();
        self.lanes.iter().for_each(|lane| lane.say(Word::Here(ack.clone())));
        drop(ack);
        wait(done).await;
    }

    /// Whether every thread lives.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        !self.lanes.iter().any(|lane| lane.thread.is_finished())
    }

    /// The memory shared with the other processes.
    #[must_use]
    pub const fn cells(&self) -> Cells {
        self.cells
    }

    fn lane(&self, key: &SocketKey) -> &Lane {
        &self.lanes[usize::from(key.thread) % self.lanes.len()]
    }
}

impl Lane {
    fn say(&self, word: Word) {
        // A thread that is gone is found by `is_whole`.
        let _ = self.words.send(word);
    }
}

/// All threads are done when each has dropped its end.
fn ack() -> (Ack, mpsc::Receiver<()>) {
    mpsc::channel(1)
}

async fn wait(mut done: mpsc::Receiver<()>) {
    while done.recv().await.is_some() {}
}
