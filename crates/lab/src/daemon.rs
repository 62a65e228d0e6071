//! A program that runs in a host until it is ended: its log, its process tree, and the ways to hurt it.

use std::ffi::OsString;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Child;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};

use crate::host::{Host, spawn};
use crate::{process, wait_until};

/// Lines of its log that an error about a daemon carries.
const TAIL: usize = 25;

/// How long the kernel may take to end a killed process.
const DYING: Duration = Duration::from_secs(5);

/// A program with its arguments, started in a host; what it prints goes to a file. Dropping it kills its whole tree.
#[derive(Debug)]
pub struct Daemon {
    name: String,
    host: Host,
    program: OsString,
    arguments: Vec<OsString>,
    environment: Vec<(OsString, OsString)>,
    stale: Vec<PathBuf>,
    log: PathBuf,
    child: Mutex<Option<Child>>,
}

impl Daemon {
    /// A daemon that is not started yet. `name` names its log file, and itself in errors.
    pub fn new(host: &Host, name: &str, program: impl Into<OsString>) -> Self {
        Self {
            name: name.to_owned(),
            host: host.clone(),
            program: program.into(),
            arguments: Vec::new(),
            environment: Vec::new(),
            stale: Vec::new(),
            log: host.directory().join(format!("{name}.log")),
            child: Mutex::new(None),
        }
    }

    /// Adds an argument.
    #[must_use]
    pub fn arg(mut self, argument: impl Into<OsString>) -> Self {
        self.arguments.push(argument.into());
        self
    }

    /// Adds arguments.
    #[must_use]
    pub fn args<A: Into<OsString>>(mut self, arguments: impl IntoIterator<Item = A>) -> Self {
        self.arguments.extend(arguments.into_iter().map(Into::into));
        self
    }

    /// Sets a variable of its environment.
    #[must_use]
    pub fn env(mut self, name: impl Into<OsString>, value: impl Into<OsString>) -> Self {
        self.environment.push((name.into(), value.into()));
        self
    }

    /// Names a file that is removed before each start, as a service manager does with pid files.
    #[must_use]
    pub fn stale_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.stale.push(path.into());
        self
    }

    /// Starts it, again if it ran before; its log grows on.
    pub fn start(&self) -> Result<()> {
        for path in &self.stale {
            let _ = fs::remove_file(path);
        }
        let log = File::options().create(true).append(true).open(&self.log);
        let log = log.with_context(|| format!("cannot open {}", self.log.display()))?;
        let mut command = self.host.command(&self.program);
        command.args(&self.arguments).envs(self.environment.iter().cloned());
        command.stdout(log.try_clone()?).stderr(log);
        let child = spawn(command)?;
        *self.child() = Some(child);
        Ok(())
    }

    /// The host it runs in.
    pub fn host(&self) -> &Host {
        &self.host
    }

    fn child(&self) -> std::sync::MutexGuard<'_, Option<Child>> {
        self.child.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The main process, an error when it is not running.
    pub fn pid(&self) -> Result<Pid> {
        let mut child = self.child();
        let Some(running) = child.as_mut() else { bail!("{self} is not started") };
        if let Some(status) = running.try_wait()? {
            bail!("{self} ended: {status}\n{}", self.log_tail());
        }
        Ok(Pid::from_child(running))
    }

    /// The main process and all that descend from it, parents first.
    pub fn tree(&self) -> Result<Vec<Pid>> {
        Ok(process::tree(self.pid()?))
    }

    /// Whether the main process runs.
    pub fn running(&self) -> bool {
        self.pid().is_ok()
    }

    /// Sends a signal to the main process.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        Ok(kill_process(self.pid()?, signal)?)
    }

    /// Asks it to stop (TERM) and doesn't wait.
    pub fn stop(&self) -> Result<()> {
        self.signal(Signal::TERM)
    }

    /// Waits until the main process has ended.
    pub fn wait_ended(&self, limit: Duration) -> Result<()> {
        wait_until(&format!("{self} has ended"), limit, || Ok(!self.running()))
    }

    /// Kills all its processes at one moment: they are stopped first, so that none can react to another's death.
    pub fn kill_all(&self) -> Result<()> {
        let pids = self.freeze_tree()?;
        // Children first: the death of a parent wakes a stopped group (SIGHUP and SIGCONT to an orphaned one, setpgid(2)).
        for pid in pids.iter().rev() {
            let _ = kill_process(*pid, Signal::KILL);
        }
        self.reap();
        wait_until(&format!("all of {self} is dead"), DYING, || {
            Ok(!pids.iter().any(|pid| process::alive(*pid)))
        })
    }

    /// Stops all its processes (SIGSTOP), as a suspended machine or a starved scheduler would.
    pub fn freeze(&self) -> Result<()> {
        self.freeze_tree().map(drop)
    }

    /// Parents are stopped first, and again, until nobody new appeared.
    fn freeze_tree(&self) -> Result<Vec<Pid>> {
        let mut stopped = Vec::new();
        loop {
            let tree = self.tree()?;
            if tree.iter().all(|pid| stopped.contains(pid)) {
                return Ok(stopped);
            }
            for pid in tree {
                if !stopped.contains(&pid) {
                    let _ = kill_process(pid, Signal::STOP);
                    stopped.push(pid);
                }
            }
        }
    }

    /// Lets frozen processes run again.
    pub fn resume(&self) -> Result<()> {
        for pid in self.tree()? {
            let _ = kill_process(pid, Signal::CONT);
        }
        Ok(())
    }

    fn reap(&self) {
        if let Some(mut child) = self.child().take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Where its output goes.
    pub fn log_path(&self) -> &Path {
        &self.log
    }

    /// What it has printed so far.
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.log).unwrap_or_default()).into_owned()
    }

    /// The last lines that it printed.
    pub fn log_tail(&self) -> String {
        let log = self.log();
        let lines: Vec<&str> = log.lines().collect();
        let tail = &lines[lines.len().saturating_sub(TAIL)..];
        format!("the end of {}:\n{}", self.log.display(), tail.join("\n"))
    }

    /// Waits until `condition` holds; a failure carries the end of the log.
    pub fn wait_until(
        &self,
        what: &str,
        limit: Duration,
        mut condition: impl FnMut() -> Result<bool>,
    ) -> Result<()> {
        let ended = || self.pid().map(drop);
        let asked = wait_until(&format!("{self}: {what}"), limit, || {
            let answer = condition();
            if answer.is_err() {
                ended()?;
            }
            answer
        });
        asked.with_context(|| self.log_tail())
    }
}

impl std::fmt::Display for Daemon {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "{} on {}", self.name, self.host.name())
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.kill_all();
        self.reap();
    }
}
