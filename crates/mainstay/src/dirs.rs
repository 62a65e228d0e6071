//! Where a node keeps its socket and its state: flags, then Mainstay's variables, then systemd's, then the defaults.

use std::path::{Path, PathBuf};

/// The directories of one running node.
#[derive(Clone, Debug)]
pub struct Dirs {
    /// The control socket and the lock: /run/mainstay.
    pub runtime: PathBuf,
    /// What outlives a restart: /var/lib/mainstay.
    pub state: PathBuf,
}

impl Dirs {
    /// The directories that flags and environment ask for.
    #[must_use]
    pub fn resolve(runtime: Option<&Path>, state: Option<&Path>) -> Self {
        Self {
            runtime: pick(runtime, "MAINSTAY_RUNTIME_DIR", "RUNTIME_DIRECTORY", "/run/mainstay"),
            state: pick(state, "MAINSTAY_STATE_DIR", "STATE_DIRECTORY", "/var/lib/mainstay"),
        }
    }

    /// The socket on which a node takes its operator's word.
    #[must_use]
    pub fn control(&self) -> PathBuf {
        self.runtime.join("control.sock")
    }

    /// The secret half of the node's key.
    #[must_use]
    pub fn node_key(&self) -> PathBuf {
        self.state.join("node.key")
    }
}

fn pick(flag: Option<&Path>, ours: &str, systemd: &str, default: &str) -> PathBuf {
    let env = |name| std::env::var_os(name).filter(|v| !v.is_empty()).map(PathBuf::from);
    flag.map(Path::to_path_buf)
        .or_else(|| env(ours))
        .or_else(|| env(systemd))
        .unwrap_or_else(|| default.into())
}
