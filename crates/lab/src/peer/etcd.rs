//! Real etcd, one member, on port 2379 of all the host's addresses.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::{Daemon, Host};

/// Longer than an etcd takes to start on a busy machine.
const START: Duration = Duration::from_secs(30);

/// A running etcd.
#[derive(Debug)]
pub struct Etcd {
    daemon: Daemon,
    data: PathBuf,
}

impl Etcd {
    /// Starts it, with these arguments beside those that a single member needs, and waits until it answers.
    pub fn start(host: &Host, arguments: &[&str]) -> Result<Self> {
        let data = host.directory().join("etcd");
        let tls = arguments.iter().any(|argument| argument.starts_with("--cert-file"));
        let scheme = if tls { "https" } else { "http" };
        let daemon = Daemon::new(host, "etcd", "etcd")
            .arg("--data-dir")
            .arg(&data)
            .args(["--log-level", "error", "--logger", "zap"])
            .args(["--listen-client-urls".to_owned(), format!("{scheme}://0.0.0.0:2379")])
            .args(["--advertise-client-urls".to_owned(), format!("{scheme}://127.0.0.1:2379")])
            .args(["--listen-peer-urls", "http://127.0.0.1:2380"])
            .args(arguments);
        let etcd = Self { daemon, data };
        etcd.start_again()?;
        Ok(etcd)
    }

    /// Starts it after it was stopped, with the data that it has.
    pub fn start_again(&self) -> Result<()> {
        self.daemon.start()?;
        self.daemon.wait_until("etcd listens", START, || {
            let sockets = self.daemon.host().output("ss", &["-Hltn", "sport = :2379"])?;
            Ok(!sockets.trim().is_empty())
        })
    }

    /// Takes its data away, while it does not run.
    pub fn wipe(&self) -> Result<()> {
        std::fs::remove_dir_all(&self.data).with_context(|| format!("remove {}", self.data.display()))
    }

    /// Runs `etcdctl` against it and returns what it says.
    pub fn ctl(&self, arguments: &[&str]) -> Result<String> {
        let mut all = vec!["--endpoints", "http://127.0.0.1:2379"];
        all.extend_from_slice(arguments);
        self.daemon.host().output("env", &[&["ETCDCTL_API=3", "etcdctl"][..], &all].concat())
    }

    /// Its process.
    pub fn daemon(&self) -> &Daemon {
        &self.daemon
    }
}
