//! Real redis, on port 6379 of all the host's addresses, with nothing kept on disk.

use std::time::Duration;

use anyhow::Result;

use crate::{Daemon, Host};

/// Longer than a redis takes to start on a busy machine.
const START: Duration = Duration::from_secs(30);

/// A running redis.
#[derive(Debug)]
pub struct Redis {
    daemon: Daemon,
    /// What `redis-cli` needs to be let in.
    key: Vec<String>,
}

impl Redis {
    /// Starts it, with these arguments beside ours, and waits until it listens.
    pub fn start(host: &Host, arguments: &[&str]) -> Result<Self> {
        let daemon = Daemon::new(host, "redis", "redis-server")
            .args(["--port", "6379", "--bind", "0.0.0.0", "--protected-mode", "no"])
            .args(["--save", "", "--appendonly", "no", "--daemonize", "no"])
            .arg("--dir")
            .arg(host.directory())
            .args(arguments);
        let password = arguments.windows(2).find(|pair| pair[0] == "--requirepass").map(|pair| pair[1]);
        let key =
            password.map_or_else(Vec::new, |text| vec!["--no-auth-warning".into(), "-a".into(), text.into()]);
        let redis = Self { daemon, key };
        redis.start_again()?;
        Ok(redis)
    }

    /// Starts it after it was stopped: it has forgotten everything.
    pub fn start_again(&self) -> Result<()> {
        self.daemon.start()?;
        self.daemon.wait_until("redis listens", START, || {
            let sockets = self.daemon.host().output("ss", &["-Hltn", "sport = :6379"])?;
            Ok(!sockets.trim().is_empty())
        })
    }

    /// Runs `redis-cli` against it and returns what it says.
    pub fn ctl(&self, arguments: &[&str]) -> Result<String> {
        let mut all: Vec<&str> = self.key.iter().map(String::as_str).collect();
        all.extend_from_slice(arguments);
        self.daemon.host().output("redis-cli", &all)
    }

    /// Makes it forget everything.
    pub fn flush(&self) -> Result<()> {
        self.ctl(&["FLUSHALL"]).map(drop)
    }

    /// Its process.
    pub fn daemon(&self) -> &Daemon {
        &self.daemon
    }
}
