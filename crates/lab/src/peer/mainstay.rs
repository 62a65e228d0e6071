//! Mainstay itself, one node for each host, with directories of its own.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal};
use serde_json::Value;

use crate::peer::Keeper;
use crate::{Daemon, Host};

/// A running Mainstay node.
#[derive(Debug)]
pub struct Mainstay {
    daemon: Daemon,
    binary: PathBuf,
    config: PathBuf,
}

impl Mainstay {
    /// Writes the configuration into the host's directory and starts `binary run` with it.
    pub fn start(host: &Host, binary: &Path, config: &str) -> Result<Self> {
        let path = host.directory().join("mainstay.toml");
        fs::write(&path, config).with_context(|| format!("cannot write {}", path.display()))?;
        let binary = fs::canonicalize(binary).with_context(|| format!("no program {}", binary.display()))?;
        let (runtime, state) = (host.directory().join("run"), host.directory().join("state"));
        let daemon = Daemon::new(host, "mainstay", &binary)
            .args(["run", "--config"])
            .arg(&path)
            .arg("--runtime-dir")
            .arg(&runtime)
            .arg("--state-dir")
            .arg(&state);
        for directory in [&runtime, &state] {
            fs::create_dir_all(directory)?;
        }
        daemon.start()?;
        Ok(Self { daemon, binary, config: path })
    }

    /// The file that it reads; write it, then [`Keeper::reload`].
    pub fn config_path(&self) -> &Path {
        &self.config
    }

    /// Runs a command of the operator's against this node and returns its output, whatever its exit code.
    pub fn ctl(&self, arguments: &[&str]) -> Result<Output> {
        Self::ctl_on(self.daemon.host(), &self.binary, arguments)
    }

    /// The same for whichever node runs on `host`.
    pub fn ctl_on(host: &Host, binary: &Path, arguments: &[&str]) -> Result<Output> {
        let mut command = host.command(binary);
        command.args(arguments);
        command.env("MAINSTAY_RUNTIME_DIR", host.directory().join("run"));
        command.env("MAINSTAY_STATE_DIR", host.directory().join("state"));
        command.output().with_context(|| format!("cannot start {}", binary.display()))
    }

    /// Runs a command of the operator's, which must succeed, and returns its standard output.
    pub fn say(&self, arguments: &[&str]) -> Result<String> {
        let output = self.ctl(arguments)?;
        if !output.status.success() {
            let (said, log) = (String::from_utf8_lossy(&output.stderr), self.daemon.log_tail());
            bail!(
                "mainstay {} on {}: {}\n{log}",
                arguments.join(" "),
                self.daemon.host().name(),
                said.trim()
            );
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// `mainstay status --json`. Exit code 4 (degraded) is a status too.
    pub fn status_json(&self) -> Result<Value> {
        let output = self.ctl(&["status", "--json"])?;
        let read = serde_json::from_slice(&output.stdout);
        read.with_context(|| format!("{}: {}", self.daemon, String::from_utf8_lossy(&output.stderr).trim()))
    }

    /// The status of one vip.
    pub fn vip(&self, name: &str) -> Result<Value> {
        let status = self.status_json()?;
        let vips = status["vips"].as_array().into_iter().flatten();
        let vip = vips.into_iter().find(|vip| vip["name"] == name);
        vip.cloned().with_context(|| format!("{}: no vip {name:?} in its status", self.daemon))
    }

    /// The process id of a worker, from the status.
    pub fn worker_pid(&self, role: &str) -> Result<Pid> {
        let status = self.status_json()?;
        let worker = status["workers"].as_array().into_iter().flatten().find(|worker| worker["role"] == role);
        let pid = worker.and_then(|worker| worker["pid"].as_i64()).and_then(|pid| i32::try_from(pid).ok());
        pid.and_then(Pid::from_raw).with_context(|| format!("{}: no worker {role} runs", self.daemon))
    }

    /// Waits until `condition` holds for the status; a failure carries the end of the log.
    pub fn wait_until(
        &self,
        what: &str,
        limit: Duration,
        mut condition: impl FnMut(&Value) -> bool,
    ) -> Result<()> {
        self.daemon.wait_until(what, limit, || Ok(condition(&self.status_json()?)))
    }

    /// Waits until a vip is in a state: `active`, `backup`, `fault`.
    pub fn wait_for_state(&self, vip: &str, state: &str, limit: Duration) -> Result<()> {
        self.daemon
            .wait_until(&format!("vip {vip} is {state}"), limit, || Ok(self.vip(vip)?["state"] == state))
    }
}

impl Keeper for Mainstay {
    fn daemon(&self) -> &Daemon {
        &self.daemon
    }

    fn worker(&self, role: &str) -> Result<Pid> {
        self.worker_pid(role)
    }

    fn reload(&self) -> Result<()> {
        self.daemon.signal(Signal::HUP)
    }

    fn ready(&self) -> Result<bool> {
        let status = self.status_json()?;
        let vips = status["vips"].as_array().map(Vec::as_slice).unwrap_or_default();
        Ok(!vips.is_empty() && vips.iter().all(|vip| vip["state"] == "active" || vip["state"] == "backup"))
    }
}
