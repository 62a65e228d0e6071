//! Real keepalived, one for each host: its own pid files, log on standard output.

use std::fs;

use anyhow::{Context, Result};
use rustix::process::{Pid, Signal};

use crate::peer::Keeper;
use crate::{Daemon, Host, process};

/// A running keepalived (its VRRP half only).
#[derive(Debug)]
pub struct Keepalived {
    daemon: Daemon,
    instances: usize,
}

impl Keepalived {
    /// Writes the configuration into the host's directory and starts keepalived with it.
    pub fn start(host: &Host, config: &str) -> Result<Self> {
        let directory = host.directory();
        let path = directory.join("keepalived.conf");
        fs::write(&path, config).with_context(|| format!("cannot write {}", path.display()))?;
        let pid_files = ["keepalived.pid", "keepalived-vrrp.pid"].map(|name| directory.join(name));
        let daemon = Daemon::new(host, "keepalived", "keepalived")
            .args(["--dont-fork", "--log-console", "--vrrp", "--use-file"])
            .arg(&path)
            .arg("--pid")
            .arg(&pid_files[0])
            .arg("--vrrp_pid")
            .arg(&pid_files[1]);
        // After a kill -9 it would take the number in them, still a zombie's, for a keepalived that runs.
        let daemon = pid_files.into_iter().fold(daemon, Daemon::stale_file);
        daemon.start()?;
        let instances = config.lines().filter(|line| line.trim_start().starts_with("vrrp_instance")).count();
        Ok(Self { daemon, instances })
    }

    /// What it last said of an instance: `MASTER`, `BACKUP` or `FAULT`; nothing before its first word.
    pub fn state(&self, instance: &str) -> Option<String> {
        let log = self.daemon.log();
        let start = format!("({instance}) Entering ");
        let mut states = log.lines().filter_map(|line| line.split_once(&start)?.1.split(' ').next());
        states.next_back().map(str::to_owned)
    }
}

impl Keeper for Keepalived {
    fn daemon(&self) -> &Daemon {
        &self.daemon
    }

    fn worker(&self, role: &str) -> Result<Pid> {
        let tree = process::tree(self.daemon.pid()?);
        tree.get(1).copied().with_context(|| format!("{}: no {role} process", self.daemon))
    }

    fn reload(&self) -> Result<()> {
        self.daemon.signal(Signal::HUP)
    }

    fn ready(&self) -> Result<bool> {
        self.daemon.pid()?;
        let log = self.daemon.log();
        let named = log.lines().filter_map(|line| line.split_once(") Entering ")?.0.rsplit('(').next());
        Ok(named.collect::<std::collections::BTreeSet<_>>().len() >= self.instances)
    }
}
