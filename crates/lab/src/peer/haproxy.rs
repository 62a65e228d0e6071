//! Real haproxy, with whatever configuration a test gives it.

use std::fs;

use anyhow::{Context, Result};

use crate::{Daemon, Host};

/// A running haproxy.
#[derive(Debug)]
pub struct Haproxy {
    daemon: Daemon,
}

impl Haproxy {
    /// Starts haproxy in the foreground; `name` is that of its log and configuration.
    pub fn start(host: &Host, name: &str, configuration: &str) -> Result<Self> {
        let path = host.directory().join(format!("{name}.cfg"));
        fs::write(&path, configuration).with_context(|| format!("cannot write {}", path.display()))?;
        let daemon = Daemon::new(host, name, "haproxy").args(["-db", "-f"]).arg(path);
        daemon.start()?;
        Ok(Self { daemon })
    }

    /// Its processes.
    pub fn daemon(&self) -> &Daemon {
        &self.daemon
    }
}
