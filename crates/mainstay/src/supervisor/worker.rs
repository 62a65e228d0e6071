//! One worker process as the supervisor sees it: started, watched, started again with backoff.

use std::collections::{HashMap, VecDeque};
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd};
use std::os::unix::process::CommandExt as _;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use mainstay_config::plan::Plan;
use mainstay_core::time::Boot;
use mainstay_sys::process::{PidFd, inherit};
use serde::{Deserialize, Serialize};

use super::edges::Has;
use super::handover::{RunningState, WorkerState};
use crate::ipc::{Channel, Closed, Sibling};
use crate::role::Role;

/// The first wait before a dead worker is started again; it doubles up to `BACKOFF_MAX`.
const BACKOFF_MIN: Duration = Duration::from_millis(20);

/// The longest wait: an operator who mends something should not wait for us.
const BACKOFF_MAX: Duration = Duration::from_secs(5);

/// A worker that lived this long starts with `BACKOFF_MIN` again.
const SETTLED: Duration = Duration::from_secs(10);

/// Messages kept for a worker whose queue is full; beyond it the worker counts as stuck and is killed.
const BACKLOG_MAX: usize = 4096;

/// The file that this process was started from, also after a package has put another in its place: a worker is
/// always of its supervisor's version.
const PROGRAM: &str = "/proc/self/exe";

/// The variable that tells a worker who its supervisor is, so that it can see whether that died before it asked.
pub const PARENT: &str = "MAINSTAY_SUPERVISOR_PID";

/// A slot for a worker of one role.
pub(super) struct Worker {
    pub(super) role: Role,
    /// Which of the role's processes.
    pub(super) instance: u16,
    pub(super) place: Place,
    /// When a retired one is killed.
    pub(super) retire_by: Option<Boot>,
    /// What an edge process has.
    pub(super) edge: Has,
    pub(super) running: Option<Running>,
    pub(super) restarts: u64,
    pub(super) again_at: Option<Boot>,
    backoff: Duration,
}

/// What a slot is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Place {
    /// Its worker runs, or is started again.
    Current,
    /// Its worker goes on until the one that replaces it is ready.
    Replaced,
    /// Its worker lets its connections end.
    Retired,
    /// Nothing: it may be used again.
    Vacant,
}

/// A living worker.
pub(super) struct Running {
    pub(super) process: PidFd,
    pub(super) channel: Channel,
    pub(super) started: Boot,
    /// The last sign of life.
    pub(super) alive: Boot,
    pub(super) ready: bool,
    /// Its end of the channel is closed: it is dying.
    pub(super) closed: bool,
    /// The Plan whose indices the worker's messages use.
    pub(super) plan: Arc<Plan>,
    /// Plans sent and not yet confirmed.
    pub(super) sent: VecDeque<Arc<Plan>>,
    /// Messages with their descriptors that the worker has not had room for.
    backlog: VecDeque<(Vec<u8>, Vec<OwnedFd>)>,
}

impl Worker {
    pub(super) fn new(role: Role, instance: u16) -> Self {
        Self {
            role,
            instance,
            place: Place::Current,
            retire_by: None,
            edge: Has::default(),
            running: None,
            restarts: 0,
            again_at: None,
            backoff: BACKOFF_MIN,
        }
    }

    /// Whether it is to run, and not only to end.
    pub(super) fn is_current(&self) -> bool {
        self.place == Place::Current
    }

    /// Starts the process: the same binary under its role, its channel as standard input.
    pub(super) fn start(&mut self, plan: &Arc<Plan>, now: Boot) -> anyhow::Result<()> {
        let (ours, theirs) = Channel::pair()?;
        ours.set_nonblocking()?;
        let child = Command::new(PROGRAM)
            .arg0(format!("mainstay: {}", self.role))
            .args(["worker", self.role.name()])
            .env(PARENT, std::process::id().to_string())
            .env_remove(super::handover::STATE)
            .stdin(Stdio::from(theirs.into_fd()))
            .spawn()
            .with_context(|| format!("start the {} worker", self.role))?;
        let process = PidFd::open(child.id()).with_context(|| format!("watch the {} worker", self.role))?;
        self.again_at = None;
        self.running = Some(Running {
            process,
            channel: ours,
            started: now,
            alive: now,
            ready: false,
            closed: false,
            plan: Arc::clone(plan),
            sent: [Arc::clone(plan)].into(),
            backlog: VecDeque::new(),
        });
        Ok(())
    }

    /// What the next program has to know of it.
    pub(super) fn state(&self) -> WorkerState {
        let running = self.running.as_ref().map(|running| RunningState {
            pid: running.process.pid(),
            channel: running.channel.as_fd().as_raw_fd(),
            started: running.started,
            ready: running.ready,
            // Sockets are only lent to edge processes, and those are replaced.
            backlog: running
                .backlog
                .iter()
                .filter(|(_, fds)| fds.is_empty())
                .map(|(b, _)| b.clone())
                .collect(),
            column: self.edge.column,
            threads: self.edge.threads,
            sockets: self.edge.sockets.iter().cloned().collect(),
            status: self.edge.status.clone(),
            retire_by: self.retire_by,
        });
        let (role, instance, place) = (self.role, self.instance, self.place);
        WorkerState { role, instance, place, restarts: self.restarts, running }
    }

    /// An edge process as its siblings know it.
    pub(super) fn sibling(&self) -> Sibling {
        let started = self.running.as_ref().map_or(Boot::ZERO, |running| running.started);
        Sibling { column: self.edge.column, threads: self.edge.threads, born: started.as_nanos() }
    }

    /// A worker that the program before this one has started.
    pub(super) fn adopt(state: WorkerState, plan: &Arc<Plan>, exec_plan: &Arc<Plan>, now: Boot) -> Self {
        let mut worker = Self::new(state.role, state.instance);
        worker.place = state.place;
        worker.restarts = state.restarts;
        let Some(was) = state.running else { return worker };
        let taken = inherit(was.channel).map_err(anyhow::Error::from);
        let taken = taken.and_then(|fd| Ok((fd, PidFd::open(was.pid)?)));
        let (channel, process) = match taken {
            Ok((fd, process)) => (Channel::from_fd(fd), process),
            Err(error) => {
                tracing::error!(role = %state.role, pid = was.pid, "a worker did not survive: {error:#}");
                return worker;
            }
        };
        worker.retire_by = was.retire_by;
        worker.edge = Has {
            column: was.column,
            threads: was.threads,
            sockets: was.sockets.into_iter().collect(),
            status: was.status,
            seen: HashMap::new(),
            offers: Vec::new(),
        };
        let plan = Arc::clone(if state.role == Role::Exec { exec_plan } else { plan });
        worker.running = Some(Running {
            process,
            channel,
            started: was.started,
            alive: now,
            ready: was.ready,
            closed: false,
            plan,
            sent: VecDeque::new(),
            backlog: was.backlog.into_iter().map(|bytes| (bytes, Vec::new())).collect(),
        });
        worker
    }

    /// Notes that the process is gone and says when it may be started again.
    pub(super) fn buried(&mut self, now: Boot) {
        if let Some(dead) = self.running.take() {
            if now.since(dead.started) >= SETTLED {
                self.backoff = BACKOFF_MIN;
            }
            self.restarts += 1;
        }
        self.retire_by = None;
        if !self.is_current() {
            self.place = Place::Vacant;
            self.again_at = None;
            return;
        }
        self.again_at = Some(now + self.backoff);
        self.backoff = (self.backoff * 2).min(BACKOFF_MAX);
    }

    /// Sends a message; a worker that has stopped reading for `BACKLOG_MAX` messages is killed.
    pub(super) fn send<T: Serialize>(&mut self, message: &T) {
        self.send_with(message, Vec::new());
    }

    /// The same with descriptors, at most seven.
    pub(super) fn send_with<T: Serialize>(&mut self, message: &T, fds: Vec<OwnedFd>) {
        let role = self.role;
        let Some(running) = self.running.as_mut() else { return };
        if let Err(error) = running.send(message, fds) {
            if error.is::<Closed>() || broken_pipe(&error) {
                tracing::debug!(%role, "worker has gone already");
                return;
            }
            tracing::warn!(%role, error = format!("{error:#}"), "worker cannot be reached; killing it");
            running.kill();
        }
    }

    /// The process id, when it runs.
    pub(super) fn pid(&self) -> Option<u32> {
        self.running.as_ref().map(|r| r.process.pid())
    }
}

fn broken_pipe(error: &anyhow::Error) -> bool {
    let code = error.downcast_ref::<rustix::io::Errno>();
    code.is_some_and(|e| matches!(*e, rustix::io::Errno::PIPE | rustix::io::Errno::CONNRESET))
}

impl Running {
    fn send<T: Serialize>(&mut self, message: &T, fds: Vec<OwnedFd>) -> anyhow::Result<()> {
        let bytes = serde_json::to_vec(message).context("encode a message")?;
        self.backlog.push_back((bytes, fds));
        self.flush()?;
        anyhow::ensure!(self.backlog.len() <= BACKLOG_MAX, "it has not read {BACKLOG_MAX} messages");
        Ok(())
    }

    /// Sends what an earlier full queue left behind.
    pub(super) fn flush(&mut self) -> anyhow::Result<()> {
        while let Some((bytes, fds)) = self.backlog.front() {
            let fds: Vec<BorrowedFd<'_>> = fds.iter().map(|fd| fd.as_fd()).collect();
            if !self.channel.send_encoded(bytes, &fds)? {
                break;
            }
            self.backlog.pop_front();
        }
        Ok(())
    }

    /// Whether the channel should be watched for room.
    pub(super) fn has_backlog(&self) -> bool {
        !self.backlog.is_empty()
    }

    /// Ends the conversation; the worker notices, finishes what it has and exits.
    pub(super) fn hang_up(&mut self) {
        if let Err(error) = self.channel.shut_down() {
            tracing::debug!("hang up on a worker: {error:#}");
        }
    }

    /// Ends it at once.
    pub(super) fn kill(&self) {
        if let Err(error) = self.process.signal(libc::SIGKILL) {
            tracing::warn!(%error, "kill a worker");
        }
    }
}
