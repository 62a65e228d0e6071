//! One thread: it accepts from its sockets, serves what it accepted and does what the control thread says.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd, RawFd};
use std::rc::Rc;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use mainstay_config::plan::edge::Protocol;
use rustix::io::Errno;
use rustix::net::SocketFlags;
use rustix::process::{Resource, getrlimit};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::net::{TcpStream, UnixStream};
use tokio::runtime::LocalOptions;
use tokio::sync::mpsc;
use tokio::task::{AbortHandle, spawn_local};

use super::SocketKey;
use crate::log::{Logs, Writers};
use crate::metrics::Counters;
use crate::pool::{Names as Hosts, Pools};
use crate::road;
use crate::serve::{self, Accepted};
use crate::shared::Cells;
use crate::snapshot::Snapshot;
use crate::stream;
use crate::thread::Thread;

/// How long nothing is accepted after the process ran out of descriptors or memory.
const PAUSE: Duration = Duration::from_millis(10);

/// Connections taken before others get their turn.
const BATCH: usize = 64;

/// Dropped when what was asked has been done.
pub(super) type Ack = mpsc::Sender<()>;

/// Something to be done by a thread.
pub(super) type Task = Box<dyn FnOnce(&Rc<Thread>) + Send>;

/// What the control thread says.
pub(super) enum Word {
    /// This configuration is in force; something is to be done before its first request.
    Adopt(Arc<Snapshot>, Task, Ack),
    /// A socket to accept from.
    Take(SocketKey, OwnedFd),
    /// Others accept from it.
    Leave(SocketKey),
    /// Nobody will: take what waits.
    Finish(SocketKey, Ack),
    /// Something to be done with the thread's state.
    Do(Task),
    /// Nothing but an answer.
    Here(Ack),
    /// Finish all sockets and let connections end.
    Drain(Ack),
}

/// What a thread shares with others.
pub(super) struct Kit {
    pub(super) cells: Cells,
    pub(super) counters: Arc<Counters>,
    pub(super) writers: Arc<Writers>,
    pub(super) hosts: Hosts,
    /// Key of sticky cookies, there before the first configuration.
    pub(super) sticky: Arc<OnceLock<[u8; 16]>>,
    /// So many threads divide a listener's connections.
    pub(super) share: usize,
}

/// Starts a thread.
pub(super) fn start(
    number: u16,
    kit: Kit,
    words: mpsc::UnboundedReceiver<Word>,
) -> io::Result<std::thread::JoinHandle<()>> {
    let reserve = File::open("/dev/null")?;
    let (tell, told) = std::sync::mpsc::channel();
    let thread = std::thread::Builder::new().name(format!("edge-{number}")).spawn(move || {
        // A runtime that lives on one thread wakes its tasks without the detour of a LocalSet.
        let mut builder = tokio::runtime::Builder::new_current_thread();
        let built = builder.enable_all().build_local(LocalOptions::default());
        let runtime = match built {
            Ok(runtime) => runtime,
            Err(error) => {
                // Whoever started this thread waits for its word.
                let _ = tell.send(Err(error));
                return;
            }
        };
        let _ = tell.send(Ok(()));
        let lane = Lane {
            thread: None,
            early: Vec::new(),
            held: HashMap::new(),
            kit,
            reserve: Rc::new(RefCell::new(Some(reserve))),
        };
        runtime.block_on(lane.listen(words));
    })?;
    told.recv().unwrap_or_else(|_| Err(io::ErrorKind::BrokenPipe.into()))?;
    Ok(thread)
}

struct Lane {
    /// There from the first configuration on.
    thread: Option<Rc<Thread>>,
    /// What was to be done before that.
    early: Vec<Task>,
    held: HashMap<SocketKey, Held>,
    kit: Kit,
    /// Given up for a moment when there is no descriptor left, so that a client is told instead of waiting.
    reserve: Rc<RefCell<Option<File>>>,
}

/// A socket of this thread's.
struct Held {
    socket: Socket,
    /// Position of its listener in the snapshot in force.
    listener: Rc<Cell<u32>>,
    task: Option<AbortHandle>,
    /// Agents come in by QUIC.
    door: Option<Box<dyn road::Door>>,
}

#[derive(Clone)]
enum Socket {
    /// TCP or unix connections.
    Stream(Rc<AsyncFd<OwnedFd>>),
    Udp(Rc<OwnedFd>),
}

impl Lane {
    async fn listen(mut self, mut words: mpsc::UnboundedReceiver<Word>) {
        while let Some(word) = words.recv().await {
            match word {
                Word::Adopt(snapshot, then, ack) => {
                    self.adopt(&snapshot, then);
                    drop(ack);
                }
                Word::Take(key, fd) => self.take(key, fd),
                Word::Leave(key) => {
                    if let Some(held) = self.held.remove(&key) {
                        held.stop();
                    }
                }
                Word::Finish(key, ack) => {
                    self.finish(&key);
                    drop(ack);
                }
                Word::Do(what) => match &self.thread {
                    Some(thread) => what(thread),
                    None => self.early.push(what),
                },
                Word::Here(ack) => drop(ack),
                Word::Drain(ack) => {
                    let keys: Vec<SocketKey> = self.held.keys().cloned().collect();
                    keys.iter().for_each(|key| self.finish(key));
                    if let Some(thread) = &self.thread {
                        thread.drain();
                    }
                    drop(ack);
                }
            }
        }
    }

    fn adopt(&mut self, snapshot: &Arc<Snapshot>, then: Task) {
        // What waits on a socket of a listener that is gone is still served as that listener did.
        let gone: Vec<SocketKey> =
            self.held.keys().filter(|key| position(snapshot, key).is_none()).cloned().collect();
        if self.thread.is_some() {
            gone.iter().for_each(|key| self.finish(key));
        }
        match &self.thread {
            Some(thread) => {
                thread.adopt(Arc::clone(snapshot));
                then(thread);
            }
            None => {
                let thread = self.kit.thread(snapshot);
                then(&thread);
                self.early.drain(..).for_each(|what| what(&thread));
                self.thread = Some(thread);
            }
        }
        let keys: Vec<SocketKey> = self.held.keys().cloned().collect();
        keys.iter().for_each(|key| self.accept(key));
    }

    fn take(&mut self, key: SocketKey, fd: OwnedFd) {
        match Socket::open(&key, fd) {
            Ok(socket) => {
                let held = Held { socket, listener: Rc::default(), task: None, door: None };
                if let Some(old) = self.held.insert(key.clone(), held) {
                    old.stop();
                }
                self.accept(&key);
            }
            Err(error) => tracing::error!(place = %key, "a socket cannot be used: {error}"),
        }
    }

    /// Accepts from a socket whose place the configuration knows.
    fn accept(&mut self, key: &SocketKey) {
        let (Some(thread), Some(held)) = (&self.thread, self.held.get_mut(key)) else { return };
        let Some(listener) = position(&thread.snapshot(), key) else { return };
        held.listener.set(listener);
        if held.task.is_some() || held.door.is_some() {
            return;
        }
        if let (Socket::Udp(socket), true) = (&held.socket, is_hub(&thread.snapshot(), listener)) {
            held.door = quic(thread, socket, key, &held.listener);
            return;
        }
        let door = Door {
            thread: Rc::clone(thread),
            listener: Rc::clone(&held.listener),
            share: self.kit.share,
            bound: bound(),
            reserve: Rc::clone(&self.reserve),
        };
        let task = match held.socket.clone() {
            Socket::Stream(socket) => spawn_local(async move { door.accept(&socket).await }),
            Socket::Udp(socket) => spawn_local(async move { door.datagrams(&socket).await }),
        };
        held.task = Some(task.abort_handle());
    }

    /// Serves what waits on a socket and closes it.
    fn finish(&mut self, key: &SocketKey) {
        let Some(mut held) = self.held.remove(key) else { return };
        let listener = held.listener.get();
        if let Some(door) = held.door.take() {
            door.finish();
        }
        let socket = held.stop();
        let Some(thread) = &self.thread else { return };
        let Socket::Stream(socket) = socket else { return };
        loop {
            match accept(socket.get_ref()) {
                Ok((fd, peer)) => serve(thread, listener, fd, peer),
                Err(Errno::INTR | Errno::CONNABORTED) => {}
                Err(_) => return,
            }
        }
    }
}

impl Kit {
    /// The thread's state, with the tasks that keep it up.
    fn thread(&self, snapshot: &Arc<Snapshot>) -> Rc<Thread> {
        let pools = Pools::sharing(self.cells, self.hosts.clone());
        if let Some(key) = self.sticky.get() {
            pools.set_key(*key);
        }
        let logs = Logs::new(Arc::clone(&self.writers));
        let counters = Arc::clone(&self.counters);
        let thread = Rc::new(Thread::with(Arc::clone(snapshot), self.cells, counters, pools, logs));
        let (names, lines) = (Rc::clone(&thread), Rc::clone(&thread));
        spawn_local(async move { names.pools.drive().await });
        spawn_local(async move { lines.logs.run().await });
        thread
    }
}

fn is_hub(snapshot: &Snapshot, listener: u32) -> bool {
    snapshot.edge.listeners.get(listener as usize).is_some_and(|l| l.protocol == Protocol::Hub)
}

/// Has the hub listen on a socket of datagrams.
fn quic(
    thread: &Rc<Thread>,
    socket: &OwnedFd,
    key: &SocketKey,
    listener: &Rc<Cell<u32>>,
) -> Option<Box<dyn road::Door>> {
    let listening = socket.try_clone().and_then(|socket| {
        let hub = thread.hub().ok_or(io::ErrorKind::Unsupported)?;
        hub.listen(socket, key.thread, Rc::clone(listener))
    });
    listening.inspect_err(|error| tracing::error!(place = %key, "no QUIC here: {error}")).ok()
}

fn position(snapshot: &Snapshot, key: &SocketKey) -> Option<u32> {
    snapshot.listener_at(&key.place, key.udp)
}

/// The next connection that waits, and its other end.
fn accept(socket: &OwnedFd) -> Result<(OwnedFd, Option<SocketAddr>), Errno> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let (fd, peer) = rustix::net::acceptfrom_with(socket, flags)?;
    Ok((fd, peer.and_then(|peer| SocketAddr::try_from(peer).ok())))
}

/// Serves a connection: bytes are relayed, everything else is for `serve`.
fn serve(thread: &Rc<Thread>, listener: u32, fd: OwnedFd, peer: Option<SocketAddr>) {
    let snapshot = thread.snapshot();
    let Some(settings) = snapshot.edge.listeners.get(listener as usize) else { return };
    match settings.protocol {
        Protocol::Http | Protocol::Hub => {
            let accepted = match peer {
                Some(peer) => TcpStream::from_std(fd.into()).map(|stream| Accepted::Tcp(stream, peer)),
                None => UnixStream::from_std(fd.into()).map(Accepted::Unix),
            };
            match accepted {
                Ok(accepted) => {
                    spawn_local(serve::connection(Rc::clone(thread), snapshot, listener, accepted));
                }
                Err(error) => tracing::warn!("a connection cannot be watched: {error}"),
            }
        }
        Protocol::Tcp | Protocol::Passthrough => stream::open(thread, &snapshot, listener, fd, peer),
        Protocol::Udp => {}
    }
}

impl Held {
    fn stop(self) -> Socket {
        if let Some(task) = self.task {
            task.abort();
        }
        self.socket
    }
}

impl Socket {
    fn open(key: &SocketKey, fd: OwnedFd) -> io::Result<Self> {
        if key.udp {
            return Ok(Self::Udp(Rc::new(fd)));
        }
        rustix::io::ioctl_fionbio(&fd, true)?;
        #[expect(
            deprecated,
            reason = "its successor is unsafe for types whose descriptor may change; ours does not"
        )]
        let fd = AsyncFd::with_interest(fd, Interest::READABLE)?;
        Ok(Self::Stream(Rc::new(fd)))
    }
}

/// Where connections come in.
struct Door {
    thread: Rc<Thread>,
    listener: Rc<Cell<u32>>,
    share: usize,
    /// Clients whose descriptor is this or higher need the place of an idle one, or are turned away, for the sake of those that are
    /// served. The kernel gives the lowest that is free: all below are in use.
    bound: RawFd,
    reserve: Rc<RefCell<Option<File>>>,
}

/// The part of its descriptors that a process gives to clients, in quarters: each request of theirs needs another one for its backend.
const CLIENTS: u64 = 3;

fn bound() -> RawFd {
    let limit = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    RawFd::try_from(limit / 4 * CLIENTS).unwrap_or(RawFd::MAX)
}

impl Door {
    /// Takes connections, several each time that there are some.
    async fn accept(&self, socket: &AsyncFd<OwnedFd>) {
        loop {
            self.room().await;
            let Ok(mut ready) = socket.readable().await else { return };
            for _ in 0..BATCH {
                match accept(socket.get_ref()) {
                    Ok((fd, _)) if fd.as_raw_fd() >= self.bound && !self.thread.makes_room(self.counts()) => {
                    }
                    Ok((fd, peer)) => serve(&self.thread, self.listener.get(), fd, peer),
                    Err(Errno::AGAIN) => {
                        ready.clear_ready();
                        break;
                    }
                    Err(error) => {
                        self.failed(socket.as_fd(), error).await;
                        break;
                    }
                }
            }
            tokio::task::yield_now().await;
        }
    }

    async fn datagrams(&self, socket: &OwnedFd) {
        let served = match socket.try_clone() {
            Ok(socket) => stream::udp(Rc::clone(&self.thread), Rc::clone(&self.listener), socket).await,
            Err(error) => Err(error),
        };
        if let Err(error) = served {
            tracing::error!("a UDP socket cannot be used: {error}");
        }
    }

    /// Waits while the listener has as many connections as this thread may serve; the others wait in the kernel's queue.
    async fn room(&self) {
        let most = || {
            let snapshot = self.thread.snapshot();
            let most =
                snapshot.edge.listeners.get(self.listener.get() as usize).map_or(0, |l| l.max_connections);
            (most as usize).div_ceil(self.share) as u64
        };
        while self.thread.counters.open(self.counts()) >= most().max(1) {
            self.thread.counters.one_closes().await;
        }
    }

    /// Where its listener counts.
    fn counts(&self) -> u32 {
        self.thread.current().0.places.listener(self.listener.get())
    }

    async fn failed(&self, socket: BorrowedFd<'_>, error: Errno) {
        match error {
            // It went away while it waited.
            Errno::CONNABORTED | Errno::INTR | Errno::CONNRESET | Errno::PROTO => {}
            Errno::MFILE | Errno::NFILE => {
                self.thread.starved(self.counts());
                self.reserve.take();
                drop(rustix::net::accept(socket));
                self.reserve.replace(File::open("/dev/null").ok());
                tokio::time::sleep(PAUSE).await;
            }
            error => {
                tracing::warn!("accept: {error}");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}
