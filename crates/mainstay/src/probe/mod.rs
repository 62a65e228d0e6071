//! The probe role: runs every active check once for this node, tells verdicts, delivers webhooks and mails.
//!
//! One thread drives all: a [`mainstay_core::probe::Gauge`] for each probe says when to check and what results mean; checks are
//! tasks with a hard deadline, at most `AT_ONCE` beside each other; what may block (names, files, /proc) runs
//! on a few threads that are started when needed. Commands are not run here but asked for over the channel.

mod check;
pub(crate) mod dial;
pub(crate) mod fetch;
mod plan;
mod slot;
#[cfg(test)]
mod tests;
mod worker;

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::future::Future;
use std::os::fd::OwnedFd;
use std::time::Duration;

use anyhow::Context;
use mainstay_core::name::CommandId;
use mainstay_sys::process::keep_capabilities;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::task::{JoinHandle, LocalSet};
use tracing::{debug, warn};

pub(crate) use self::check::http::Page;
use self::check::ping::Pinger;
use self::check::process::Scanner;
use self::dial::{Lane, TlsConfigs};
use self::worker::{Word, Worker};
use crate::ipc::{Asker, Channel, FromProbe, Outcome, Run};

/// Checks that run beside each other, commands not counted (exec bounds those); each may hold a few descriptors.
const AT_ONCE: usize = 256;

/// Threads for what may block; when all of them hang, names and files time out and the rest goes on.
const BLOCKING_THREADS: usize = 16;

/// Stack of such a thread, in bytes: resolver modules want more than our own code.
const BLOCKING_STACK: usize = 256 * 1024;

/// Such a thread ends after so long without work.
const BLOCKING_IDLE: Duration = Duration::from_secs(10);

/// Serves the supervisor until it closes the channel.
///
/// # Errors
/// When the channel fails or says something that cannot be understood, or the runtime cannot be started.
pub fn run(channel: Channel) -> anyhow::Result<()> {
    channel.set_nonblocking()?;
    raise_descriptor_limit();
    let pinger = Pinger::open();
    confine();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .enable_time()
        .max_blocking_threads(BLOCKING_THREADS)
        .thread_stack_size(BLOCKING_STACK)
        .thread_keep_alive(BLOCKING_IDLE)
        .build()
        .context("start the runtime")?;
    let result = LocalSet::new().block_on(&runtime, async {
        let (said, heard) = mpsc::unbounded_channel();
        Worker::new(channel, Tools::new(pinger, said), heard)?.serve().await
    });
    // A thread that hangs in a resolver must not hold up the end.
    runtime.shutdown_background();
    result
}

/// Gives up what was left for opening the ping sockets: checks need no privilege. Threads that are started later have
/// none either.
fn confine() {
    if let Err(error) = keep_capabilities(&[]) {
        warn!("probe keeps more privilege than it needs: {error:#}");
    }
}

/// Connections, ping sockets and watched processes may be more than the usual soft limit of 1024.
fn raise_descriptor_limit() {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    if let Err(error) = setrlimit(Resource::Nofile, raised) {
        debug!(%error, "the limit on descriptors stays as it is");
    }
}

/// What checks and deliveries share.
pub(crate) struct Tools {
    tls: TlsConfigs,
    pinger: Pinger,
    scanner: Scanner,
    slots: Semaphore,
    runs: RefCell<HashMap<u64, oneshot::Sender<Outcome>>>,
    next_run: Cell<u64>,
    said: mpsc::UnboundedSender<Word>,
}

impl Tools {
    fn new(pinger: Pinger, said: mpsc::UnboundedSender<Word>) -> Self {
        Self {
            tls: TlsConfigs::default(),
            pinger,
            scanner: Scanner::default(),
            slots: Semaphore::new(AT_ONCE),
            runs: RefCell::default(),
            // A worker that was started again must not take an outcome for its own that was asked for before.
            next_run: Cell::new(mainstay_sys::clock::boot_now().as_nanos()),
            said,
        }
    }

    /// A lane for work that belongs to no probe.
    pub(crate) fn lane(&self) -> Lane {
        Lane::default()
    }

    /// Tells the worker's loop something.
    fn say(&self, word: Word) {
        // The loop lives as long as any task: both end with the local set.
        let _ = self.said.send(word);
    }

    /// Has the exec role run a command and waits for its outcome. The caller sets the deadline.
    async fn run(&self, command: CommandId, env: Vec<(String, String)>) -> Option<Outcome> {
        let id = self.next_run.get();
        self.next_run.set(id + 1);
        let (tell, told) = oneshot::channel();
        self.runs.borrow_mut().insert(id, tell);
        let _forget = ForgetRun { tools: self, id };
        let run = Run { id, command, args: Vec::new(), env, asker: Asker::Probe };
        self.say(Word::Say(FromProbe::Run(run)));
        told.await.ok()
    }

    /// An outcome has come back.
    fn ran(&self, outcome: Outcome) {
        let waiting = self.runs.borrow_mut().remove(&outcome.id);
        match waiting {
            // The check may have been given up in between.
            Some(tell) => drop(tell.send(outcome)),
            None => debug!(id = outcome.id, "an outcome that nobody waits for any more"),
        }
    }
}

struct ForgetRun<'a> {
    tools: &'a Tools,
    id: u64,
}

impl Drop for ForgetRun<'_> {
    fn drop(&mut self) {
        self.tools.runs.borrow_mut().remove(&self.id);
    }
}

/// Has epoll watch a descriptor.
fn watched(fd: OwnedFd, interest: Interest) -> std::io::Result<AsyncFd<OwnedFd>> {
    #[expect(
        deprecated,
        reason = "its successor is unsafe for types whose descriptor may change; an OwnedFd's does not"
    )]
    AsyncFd::with_interest(fd, interest)
}

/// A task that ends with the value.
#[derive(Debug)]
pub(crate) struct AbortOnDrop(JoinHandle<()>);

impl AbortOnDrop {
    /// Starts a task in the worker's local set.
    pub(crate) fn spawn(task: impl Future<Output = ()> + 'static) -> Self {
        Self(tokio::task::spawn_local(task))
    }
}

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}
