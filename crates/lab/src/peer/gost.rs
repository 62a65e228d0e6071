//! A peer that speaks gost's tunnels with the real smux and WebSocket libraries: a program of ours in Go (crates/lab/gost),
//! built from Debian's packages when it is first needed.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use std::{env, fs};

use anyhow::{Context, Result, bail};

use crate::{Daemon, Host};

/// Where Debian has the sources of Go's libraries.
const GOPATH: &str = "/usr/share/gocode";

/// Held by whoever builds it in this process.
static BUILDING: Mutex<()> = Mutex::new(());

/// Its sources.
const SOURCES: [&str; 4] = ["main.go", "wire.go", "carrier.go", "node.go"];

/// A running peer.
#[derive(Debug)]
pub struct Gost {
    daemon: Daemon,
}

impl Gost {
    /// Starts it; `role` is `client`, `server` or `visit`, the arguments are what its head says.
    pub fn start(host: &Host, name: &str, role: &str, arguments: &[&str]) -> Result<Self> {
        let daemon = Daemon::new(host, name, program()?).arg(role).args(arguments);
        daemon.start()?;
        Ok(Self { daemon })
    }

    /// Its process.
    pub fn daemon(&self) -> &Daemon {
        &self.daemon
    }

    /// What it said last behind this word: `bound`, `listening`, `lost`.
    pub fn said(&self, word: &str) -> Option<String> {
        let log = self.daemon.log();
        let said = log.lines().rev().find_map(|line| line.strip_prefix(word)?.strip_prefix(' '));
        said.map(str::to_owned)
    }

    /// How often it said this word.
    pub fn count(&self, word: &str) -> usize {
        self.daemon.log().lines().filter(|line| line.split(' ').next() == Some(word)).count()
    }

    /// Waits until it has said this word, and returns what stood behind it.
    pub fn wait_for(&self, word: &str, limit: Duration) -> Result<String> {
        self.daemon.wait_until(&format!("it says {word}"), limit, || Ok(self.said(word).is_some()))?;
        self.said(word).context("what was said is there")
    }
}

/// The program, built anew when its sources are younger. Test programs that build it at one time do it side by side and
/// put the same in place.
fn program() -> Result<PathBuf> {
    let _one = BUILDING.lock().unwrap_or_else(PoisonError::into_inner);
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("gost");
    // Beside what cargo made, which is below `deps` when it is a test.
    let exe = env::current_exe().context("where this program stands")?;
    let folder = exe.ancestors().nth(2).context("a folder of builds")?.join("gost-peer");
    let program = folder.join("gost-peer");
    let age = |path: &Path| fs::metadata(path).and_then(|meta| meta.modified()).ok();
    let built = age(&program);
    if built.is_some() && SOURCES.iter().all(|name| age(&sources.join(name)) < built) {
        return Ok(program);
    }
    fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let fresh = folder.join(format!("gost-peer-{}", std::process::id()));
    let mut go = Command::new("go");
    go.args(["build", "-o"]).arg(&fresh).args(SOURCES).current_dir(&sources);
    go.envs([("GO111MODULE", "off"), ("GOPATH", GOPATH), ("CGO_ENABLED", "0"), ("GOFLAGS", "")]);
    go.env("GOCACHE", folder.join("cache"));
    let output = go.output().context("cannot start go (Debian: golang-go)")?;
    if !output.status.success() {
        bail!("the peer does not compile: {}", String::from_utf8_lossy(&output.stderr));
    }
    fs::rename(&fresh, &program).with_context(|| format!("cannot put {} in place", program.display()))?;
    Ok(program)
}
