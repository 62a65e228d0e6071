//! The exec role: runs commands of the Plan, by index, as their user, within their timeout.
//!
//! It is forked early and stays root, so it is small: one thread, one `poll`, no runtime. What it is asked is
//! checked against the Plan: an unknown index, arguments for a command that takes none, or variables that are
//! not ours are refused or dropped. Commands get no shell, a process group of their own, `/dev/null` as input
//! and an environment of PATH, HOME, USER, LOGNAME, SHELL, the host's TZ and LANG, and MAINSTAY_* alone.
//!
//! Order: `queue` says which commands wait for which. End: at its timeout a command's group gets SIGTERM and half a
//! second later SIGKILL; the outcome is told at the timeout. When the supervisor closes the channel, checks
//! are ended at once and notify commands may finish within [`STOP_GRACE`]. When exec itself is killed its
//! commands go on: nobody else's service dies with us.

mod child;
mod plan;
mod queue;
#[cfg(test)]
pub(crate) mod tests;

use std::collections::VecDeque;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use anyhow::Context;
use mainstay_core::name::CommandId;
use mainstay_sys::process::close_descriptors_from;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use tracing::{debug, warn};

use self::child::{Child, Stray, Users};
use self::plan::{Commands, Heard, Refusal};
use self::queue::{Queue, Ticket};
use crate::ipc::{Asker, Channel, Closed, FromExec, Outcome, Run};

/// How long notify commands may go on after the supervisor has closed the channel.
pub const STOP_GRACE: Duration = Duration::from_secs(10);

/// After that, how long SIGTERM and SIGKILL may take.
const END_GRACE: Duration = Duration::from_secs(1);

/// Output pipes that outlive their command are drained, so that a daemon that a restart left behind does not
/// die of SIGPIPE; beyond this many the oldest is closed.
const STRAYS_MAX: usize = 256;

/// Serves the supervisor until it closes the channel.
///
/// # Errors
/// When the channel fails or says something that cannot be understood.
pub fn run(channel: Channel) -> anyhow::Result<()> {
    channel.set_nonblocking()?;
    // What whoever started the daemon left inheritable is no command's business either.
    close_descriptors_from(3, true).context("keep our descriptors from commands")?;
    Worker::new(channel).serve()
}

/// A command that waits or runs.
#[derive(Debug)]
struct Job {
    run: Run,
    command: plan::Spec,
}

struct Worker {
    channel: Channel,
    commands: Commands,
    users: Users,
    queue: Queue<Job>,
    children: Vec<Child>,
    strays: VecDeque<Stray>,
    /// What the channel was too full to take.
    outbox: VecDeque<FromExec>,
    /// The channel was closed.
    stopping: Option<Stopping>,
}

/// How patient exec still is with what runs.
#[derive(Clone, Copy, Debug)]
enum Stopping {
    /// Notify commands may finish until then.
    Finishing(Instant),
    /// Everything was told to end; what is still there then is left behind.
    Ending(Instant),
}

impl Worker {
    fn new(channel: Channel) -> Self {
        Self {
            channel,
            commands: Commands::default(),
            users: Users::default(),
            queue: Queue::default(),
            children: Vec::new(),
            strays: VecDeque::new(),
            outbox: VecDeque::new(),
            stopping: None,
        }
    }

    fn serve(&mut self) -> anyhow::Result<()> {
        loop {
            let ready = self.wait()?;
            if ready.channel {
                self.listen()?;
            }
            let now = Instant::now();
            self.drain_strays(&ready.strays);
            self.tend(&ready.children, now);
            self.start();
            self.flush();
            if self.has_stopped(now) {
                return Ok(());
            }
        }
    }

    /// Sleeps until a descriptor is ready or a deadline has come.
    fn wait(&self) -> anyhow::Result<Ready> {
        let mut fds = Vec::with_capacity(1 + self.children.len() * 2 + self.strays.len());
        if self.stopping.is_none() {
            let out = if self.outbox.is_empty() { PollFlags::empty() } else { PollFlags::OUT };
            fds.push(PollFd::new(&self.channel, PollFlags::IN | out));
        }
        let first_child = fds.len();
        for child in &self.children {
            fds.extend(child.fds().map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN)));
        }
        let first_stray = fds.len();
        fds.extend(self.strays.iter().map(|stray| PollFd::from_borrowed_fd(stray.as_fd(), PollFlags::IN)));
        let timeout = self.next_deadline().map(timespec_until);
        match poll(&mut fds, timeout.as_ref()) {
            Ok(_) => {}
            Err(Errno::INTR) => return Ok(Ready::default()),
            Err(error) => return Err(error).context("poll for commands"),
        }
        let set: Vec<bool> = fds.iter().map(|fd| !fd.revents().is_empty()).collect();
        let mut children = Vec::with_capacity(self.children.len());
        let mut at = first_child;
        for child in &self.children {
            let count = child.fds().count();
            children.push(set[at..at + count].contains(&true));
            at += count;
        }
        Ok(Ready { channel: first_child == 1 && set[0], children, strays: set[first_stray..].to_vec() })
    }

    fn next_deadline(&self) -> Option<Instant> {
        self.children.iter().filter_map(Child::wakes_at).chain(self.patience()).min()
    }

    fn listen(&mut self) -> anyhow::Result<()> {
        loop {
            match self.channel.receive::<Heard>() {
                Ok(None) => return Ok(()),
                Ok(Some(received)) => match received.message {
                    Heard::Plan(plan) => {
                        self.commands = Commands::from(plan);
                        self.users = Users::default();
                        self.outbox.push_back(FromExec::Ready);
                    }
                    Heard::Run(run) => self.accept(run),
                },
                Err(error) if error.is::<Closed>() => {
                    self.close(Instant::now());
                    return Ok(());
                }
                Err(error) => return Err(error),
            }
        }
    }

    fn accept(&mut self, run: Run) {
        let (run, reason) = match self.commands.admit(&run) {
            Ok(command) => match self.queue.push(Ticket::of(&run), Job { run, command }) {
                Ok(()) => return,
                Err(job) => (job.run, Refusal::Full),
            },
            Err(refusal) => (run, refusal),
        };
        warn!(command = run.command.0, %reason, "command refused");
        self.outbox.push_back(FromExec::Ran(failed(run.id, run.asker, run.command, reason.to_string())));
    }

    /// Starts what may start.
    fn start(&mut self) {
        while let Some((ticket, job)) = self.queue.next() {
            let (id, asker, index) = (job.run.id, job.run.asker, job.run.command);
            match Child::start(job, ticket.clone(), &mut self.users) {
                Ok(child) => self.children.push(child),
                Err(error) => {
                    self.queue.done(&ticket);
                    self.outbox.push_back(FromExec::Ran(failed(id, asker, index, format!("{error:#}"))));
                }
            }
        }
    }

    /// Reads output, tells ends, enforces deadlines.
    fn tend(&mut self, ready: &[bool], now: Instant) {
        let mut kept = Vec::with_capacity(self.children.len());
        for (position, mut child) in self.children.drain(..).enumerate() {
            if ready.get(position) == Some(&true) {
                child.read_output();
            }
            let step = child.step(now);
            if let Some(outcome) = step.outcome {
                debug!(id = outcome.id, took_ms = outcome.took_ms, ok = outcome.ok(), "command ended");
                self.outbox.push_back(FromExec::Ran(outcome));
            }
            if step.released {
                self.queue.done(child.ticket());
            }
            if step.gone {
                self.strays.extend(child.into_stray());
            } else {
                kept.push(child);
            }
        }
        self.children = kept;
        while self.strays.len() > STRAYS_MAX {
            self.strays.pop_front();
        }
    }

    fn drain_strays(&mut self, ready: &[bool]) {
        let mut position = 0;
        self.strays.retain_mut(|stray| {
            let is_ready = ready.get(position) == Some(&true);
            position += 1;
            !is_ready || stray.drain()
        });
    }

    /// The supervisor stops: checks are of no use to anyone, notify commands are.
    fn close(&mut self, now: Instant) {
        if self.stopping.is_some() {
            return;
        }
        self.stopping = Some(Stopping::Finishing(now + STOP_GRACE));
        self.queue.forget(Asker::Probe);
        for child in self.children.iter_mut().filter(|child| child.asker() == Asker::Probe) {
            child.terminate(now);
        }
    }

    fn patience(&self) -> Option<Instant> {
        self.stopping.map(|stopping| match stopping {
            Stopping::Finishing(until) | Stopping::Ending(until) => until,
        })
    }

    /// Whether nothing is left to do, or left to wait for.
    fn has_stopped(&mut self, now: Instant) -> bool {
        let Some(stopping) = self.stopping else { return false };
        match stopping {
            Stopping::Finishing(until) if now >= until => {
                self.stopping = Some(Stopping::Ending(now + END_GRACE));
                self.queue.clear();
                self.children.iter_mut().for_each(|child| child.terminate(now));
            }
            Stopping::Finishing(_) => {}
            Stopping::Ending(until) if now >= until => return true,
            Stopping::Ending(_) => {}
        }
        self.children.is_empty() && self.queue.is_empty()
    }

    fn flush(&mut self) {
        while let Some(message) = self.outbox.front() {
            match self.channel.send(message) {
                Ok(true) => drop(self.outbox.pop_front()),
                Ok(false) => return,
                Err(error) => {
                    debug!(%error, "nobody listens");
                    self.outbox.clear();
                    return self.close(Instant::now());
                }
            }
        }
    }
}

/// What `poll` found, position by position.
#[derive(Default)]
struct Ready {
    channel: bool,
    children: Vec<bool>,
    strays: Vec<bool>,
}

/// The outcome of a command that never ran.
fn failed(id: u64, asker: Asker, command: CommandId, error: String) -> Outcome {
    Outcome {
        lost: false,
        id,
        asker,
        command,
        code: None,
        signal: None,
        timed_out: false,
        error: Some(error),
        output: String::new(),
        took_ms: 0,
    }
}

fn timespec_until(deadline: Instant) -> Timespec {
    let left = deadline.saturating_duration_since(Instant::now());
    Timespec {
        tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: i64::from(left.subsec_nanos()),
    }
}
