//! One command that runs: its process group, its output, its deadline, its end.

use std::collections::HashMap;
use std::ffi::OsString;
use std::io::{PipeReader, Read};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Command, ExitStatus, Stdio};
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::Context;
use mainstay_sys::process::{PidFd, User, as_user};
use rustix::process::{Pid, Signal, kill_process_group};
use tracing::warn;

use super::Job;
use super::queue::Ticket;
use crate::ipc::{Asker, Outcome, Run};

/// Of a command's output the last so many bytes are kept.
const TAIL: usize = 2 * 1024;

/// Between SIGTERM and SIGKILL.
const TERM_GRACE: Duration = Duration::from_millis(500);

/// Read from a pipe at a time; a command that floods gets its share of the loop and no more.
const CHUNK: usize = 16 * 1024;

/// After a command's end so much is read of what its pipe still holds: a pipe's size, twice.
const LEFTOVER_MAX: usize = 128 * 1024;

/// Where commands are looked for when the daemon itself has no PATH.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// What a command inherits of the daemon's own environment, which may hold secrets.
const INHERITED: [&str; 3] = ["LANG", "LC_ALL", "TZ"];

/// A command that runs, or has been told to end.
#[derive(Debug)]
pub(super) struct Child {
    run: Run,
    ticket: Ticket,
    process: std::process::Child,
    pidfd: PidFd,
    output: Output,
    started: Instant,
    deadline: Instant,
    stage: Stage,
    /// The place in the queue was given back.
    released: bool,
}

/// Users looked up before: checks run often, and their users' files are the same.
#[derive(Debug, Default)]
pub(super) struct Users(HashMap<String, Rc<User>>);

impl Users {
    /// The user of that name, or the daemon's own.
    fn find(&mut self, name: Option<&str>) -> anyhow::Result<Rc<User>> {
        let name = name.map_or_else(|| rustix::process::geteuid().as_raw().to_string(), ToOwned::to_owned);
        if let Some(user) = self.0.get(&name) {
            return Ok(Rc::clone(user));
        }
        let user = Rc::new(User::find(&name)?);
        self.0.insert(name, Rc::clone(&user));
        Ok(user)
    }
}

/// How far a command's end has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// It may run until its deadline.
    Running,
    /// It got SIGTERM; SIGKILL follows.
    Terminating {
        /// When.
        kill_at: Instant,
    },
    /// It got SIGKILL and has to be reaped.
    Killed,
}

/// What one look at a command led to.
#[derive(Debug, Default)]
pub(super) struct Step {
    /// Tell this.
    pub(super) outcome: Option<Outcome>,
    /// Its place in the queue is free.
    pub(super) released: bool,
    /// It was reaped.
    pub(super) gone: bool,
}

impl Child {
    /// Starts a command.
    ///
    /// # Errors
    /// When its user does not exist, or its program does not or may not be run.
    pub(super) fn start(job: Job, ticket: Ticket, users: &mut Users) -> anyhow::Result<Self> {
        let Job { run, command: spec } = job;
        let (program, args) = spec.argv.split_first().context("an empty command line")?;
        let user = users.find(spec.user.as_deref())?;
        let (reader, writer) = std::io::pipe().context("a pipe for a command's output")?;
        rustix::io::ioctl_fionbio(&reader, true).context("make a command's pipe non-blocking")?;
        let mut command = Command::new(program);
        command.args(args).args(&run.args).current_dir("/").process_group(0);
        command.stdin(Stdio::null()).stdout(writer.try_clone()?).stderr(writer);
        command.env_clear().envs(environment(&user, &run.env));
        as_user(&mut command, &user)?;
        let started = Instant::now();
        let mut process = command.spawn().with_context(|| format!("cannot run \"{program}\""))?;
        drop(command);
        let pidfd = match PidFd::open(process.id()) {
            Ok(pidfd) => pidfd,
            Err(error) => {
                signal(&process, Signal::KILL);
                process.wait().context("reap a command")?;
                return Err(error).context("watch a command");
            }
        };
        Ok(Self {
            run,
            ticket,
            process,
            pidfd,
            output: Output { pipe: Some(reader), tail: Vec::new() },
            started,
            deadline: started + spec.timeout,
            stage: Stage::Running,
            released: false,
        })
    }

    /// Who asked for it.
    pub(super) const fn asker(&self) -> Asker {
        self.run.asker
    }

    /// Its place in the queue.
    pub(super) const fn ticket(&self) -> &Ticket {
        &self.ticket
    }

    /// What to poll: its end, and its output while there is any.
    pub(super) fn fds(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        std::iter::once(self.pidfd.as_fd()).chain(self.output.pipe.iter().map(AsFd::as_fd))
    }

    /// When `step` has something to do even if no descriptor is ready.
    pub(super) const fn wakes_at(&self) -> Option<Instant> {
        match self.stage {
            Stage::Running => Some(self.deadline),
            Stage::Terminating { kill_at } => Some(kill_at),
            Stage::Killed => None,
        }
    }

    /// Reads what is there, once.
    pub(super) fn read_output(&mut self) {
        self.output.read(CHUNK);
    }

    /// Asks its whole group to end.
    pub(super) fn terminate(&mut self, now: Instant) {
        match self.stage {
            Stage::Running => {
                signal(&self.process, Signal::TERM);
                self.stage = Stage::Terminating { kill_at: now + TERM_GRACE };
            }
            Stage::Terminating { .. } | Stage::Killed => {}
        }
    }

    /// Looks at its end and its deadlines.
    pub(super) fn step(&mut self, now: Instant) -> Step {
        let mut step = Step::default();
        let ended = self.has_ended();
        match self.stage {
            Stage::Running if ended => {
                self.output.read(LEFTOVER_MAX);
                let status = self.reap();
                step.outcome = Some(self.outcome(status, false, now));
                step.gone = true;
            }
            Stage::Running if now >= self.deadline => {
                self.output.read(LEFTOVER_MAX);
                step.outcome = Some(self.outcome(None, true, now));
                self.terminate(now);
            }
            Stage::Running => {}
            Stage::Terminating { kill_at } if ended || now >= kill_at => {
                // Before the leader is reaped: until then its number cannot become another group's.
                signal(&self.process, Signal::KILL);
                self.stage = Stage::Killed;
                step.gone = ended;
            }
            Stage::Terminating { .. } => {}
            Stage::Killed => step.gone = ended,
        }
        if step.gone && step.outcome.is_none() {
            self.reap();
        }
        // A leader that not even SIGKILL ends (it hangs in the kernel) must not hold up its chain.
        if (step.gone || self.stage == Stage::Killed) && !self.released {
            self.released = true;
            step.released = true;
        }
        step
    }

    /// The pipe of a command that was reaped, if somebody still holds its other end.
    pub(super) fn into_stray(self) -> Option<Stray> {
        let killed = self.stage == Stage::Killed;
        self.output.pipe.filter(|_| !killed).map(Stray)
    }

    fn has_ended(&self) -> bool {
        let mut fds = [rustix::event::PollFd::new(&self.pidfd, rustix::event::PollFlags::IN)];
        let at_once = rustix::event::Timespec { tv_sec: 0, tv_nsec: 0 };
        rustix::event::poll(&mut fds, Some(&at_once)).is_ok_and(|ready| ready > 0)
    }

    fn reap(&mut self) -> Option<ExitStatus> {
        self.process.wait().inspect_err(|error| warn!(%error, "a command could not be reaped")).ok()
    }

    fn outcome(&self, status: Option<ExitStatus>, timed_out: bool, now: Instant) -> Outcome {
        Outcome {
            lost: false,
            id: self.run.id,
            asker: self.run.asker,
            command: self.run.command,
            code: status.and_then(|status| status.code()),
            signal: status.and_then(|status| status.signal()),
            timed_out,
            error: None,
            output: String::from_utf8_lossy(self.output.tail()).into_owned(),
            took_ms: u64::try_from(now.duration_since(self.started).as_millis()).unwrap_or(u64::MAX),
        }
    }
}

/// The last bytes of a command's output.
#[derive(Debug)]
struct Output {
    pipe: Option<PipeReader>,
    tail: Vec<u8>,
}

impl Output {
    /// Reads up to `most` bytes, as far as they are there.
    fn read(&mut self, most: usize) {
        let mut chunk = [0; CHUNK];
        let mut read = 0;
        while read < most {
            let Some(pipe) = &mut self.pipe else { return };
            match pipe.read(&mut chunk) {
                Ok(0) => self.pipe = None,
                Ok(count) => {
                    read += count;
                    self.keep(&chunk[..count]);
                }
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => return,
                Err(_) => self.pipe = None,
            }
        }
    }

    fn keep(&mut self, bytes: &[u8]) {
        let bytes = &bytes[bytes.len().saturating_sub(TAIL)..];
        let excess = (self.tail.len() + bytes.len()).saturating_sub(TAIL);
        self.tail.drain(..excess.min(self.tail.len()));
        self.tail.extend_from_slice(bytes);
    }

    fn tail(&self) -> &[u8] {
        &self.tail
    }
}

/// The output pipe of a process that a command left behind.
#[derive(Debug)]
pub(super) struct Stray(PipeReader);

impl Stray {
    /// Throws away what is there; false when the other end was closed.
    pub(super) fn drain(&mut self) -> bool {
        let mut chunk = [0; CHUNK];
        match self.0.read(&mut chunk) {
            Ok(count) => count > 0,
            Err(error) => {
                matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::Interrupted)
            }
        }
    }
}

impl AsFd for Stray {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

fn environment(user: &User, asked: &[(String, String)]) -> Vec<(OsString, OsString)> {
    let path = std::env::var_os("PATH").unwrap_or_else(|| PATH.into());
    let mut all = vec![
        ("PATH".into(), path),
        ("SHELL".into(), "/bin/sh".into()),
        ("HOME".into(), user.home.clone().into()),
        ("USER".into(), user.name.clone().into()),
        ("LOGNAME".into(), user.name.clone().into()),
    ];
    all.extend(INHERITED.iter().filter_map(|name| Some(((*name).into(), std::env::var_os(name)?))));
    let ours = asked.iter().filter(|(name, _)| name.starts_with("MAINSTAY_"));
    all.extend(ours.map(|(name, value)| (name.into(), value.into())));
    all
}

fn signal(process: &std::process::Child, signal: Signal) {
    // ESRCH: the group has ended by itself.
    let _ = kill_process_group(Pid::from_child(process), signal);
}
