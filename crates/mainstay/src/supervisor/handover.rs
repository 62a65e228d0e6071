//! What one supervisor leaves to the program that takes its place in the same process: descriptors by number, the rest in a memfd.
//!
//! The shape is versioned: a program that does not know it is not exec'd. Fields may be added; what an older program
//! does not send has its default.

use std::collections::HashMap;
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::os::fd::{AsRawFd as _, OwnedFd, RawFd};
use std::path::PathBuf;

use anyhow::Context as _;
use mainstay_core::time::Boot;
use mainstay_proxy::pool::Standing;
use mainstay_proxy::worker::{EdgeStatus, SocketKey};
use mainstay_sys::process::{inherit, keep_over_exec};
use serde::{Deserialize, Serialize};

use super::hubs::Run;
use super::orders::Orders;
use super::tickets::TicketKeys;
use super::worker::Place;
use crate::ipc::{Asker, Deposit, RunSecret};
use crate::role::Role;
use crate::status::{Event, ProbeStatus};

/// The version of [`State`].
pub(super) const VERSION: u32 = 1;

/// The variable that carries the number of the memfd.
pub(super) const STATE: &str = "MAINSTAY_HANDOVER";

/// What is handed over.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct State {
    pub(super) version: u32,
    /// Whose it is: a variable that somebody else inherited means nothing.
    pub(super) pid: u32,
    /// The version of the program that wrote it.
    pub(super) from: String,
    /// The file that the next program is started from.
    pub(super) program: PathBuf,
    /// The file of the program that wrote it, open; the way back.
    pub(super) back: Option<RawFd>,
    /// Why the program that was to take over did not.
    pub(super) failed: Option<String>,
    pub(super) sockets: Vec<(SocketKey, RawFd)>,
    pub(super) control: RawFd,
    pub(super) metrics: Option<(std::net::SocketAddr, RawFd)>,
    /// Listeners of gost's plugins.
    #[serde(default)]
    pub(super) plugins: Vec<(std::net::SocketAddr, RawFd)>,
    pub(super) lock: RawFd,
    pub(super) cells: Option<RawFd>,
    pub(super) slots: HashMap<String, u32>,
    pub(super) gone: EdgeStatus,
    #[serde(default)]
    pub(super) orders: Orders,
    #[serde(default)]
    pub(super) tickets: TicketKeys,
    /// Key of sticky cookies.
    #[serde(default)]
    pub(super) sticky: Vec<u8>,
    /// As agents of tunnels and other hubs know this run.
    #[serde(default)]
    pub(super) run: Run,
    /// What edge processes of this run know each other by.
    #[serde(default)]
    pub(super) secret: RunSecret,
    /// Pool, backend, address, and where it stands.
    #[serde(default)]
    pub(super) told: Vec<((String, String, String), Standing)>,
    pub(super) workers: Vec<WorkerState>,
    /// The configuration, what was in force with operators' words, and what exec was given: the indices of workers that stay are
    /// theirs.
    #[serde(default)]
    pub(super) written: serde_json::Value,
    pub(super) plan: serde_json::Value,
    pub(super) exec_plan: serde_json::Value,
    pub(super) deposits: Vec<Deposit>,
    pub(super) redeemed: Vec<String>,
    pub(super) probes: Vec<ProbeStatus>,
    pub(super) events: Vec<Event>,
    pub(super) runs: Vec<(Asker, u64, u32, usize)>,
    pub(super) started: Boot,
    pub(super) reloads: u64,
    pub(super) reload_failures: u64,
    pub(super) deliveries_failed: u64,
    pub(super) upgrades: u64,
    /// Who asked for it: slot and number of the call.
    pub(super) asker: Option<(usize, u64)>,
}

/// A worker that goes on.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct WorkerState {
    pub(super) role: Role,
    pub(super) instance: u16,
    pub(super) place: Place,
    pub(super) restarts: u64,
    pub(super) running: Option<RunningState>,
}

/// Its process.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct RunningState {
    pub(super) pid: u32,
    pub(super) channel: RawFd,
    pub(super) started: Boot,
    pub(super) ready: bool,
    /// Messages for which it had no room.
    pub(super) backlog: Vec<Vec<u8>>,
    pub(super) column: u16,
    #[serde(default)]
    pub(super) threads: u16,
    pub(super) sockets: Vec<SocketKey>,
    pub(super) status: EdgeStatus,
    pub(super) retire_by: Option<Boot>,
}

impl State {
    /// Every descriptor in it.
    pub(super) fn descriptors(&self) -> Vec<RawFd> {
        let sockets = self.sockets.iter().map(|(_, fd)| *fd);
        let channels = self.workers.iter().filter_map(|w| Some(w.running.as_ref()?.channel));
        let single = [self.control, self.lock];
        let some = self.metrics.map(|(_, fd)| fd).into_iter().chain(self.cells).chain(self.back);
        let some = some.chain(self.plugins.iter().map(|(_, fd)| *fd));
        sockets.chain(channels).chain(single).chain(some).collect()
    }

    /// Writes it to a memfd that an exec keeps, with all that it names.
    pub(super) fn write(&self) -> anyhow::Result<OwnedFd> {
        let memory = memfd(&serde_json::to_vec(self).context("encode the handover")?)?;
        for fd in self.descriptors().into_iter().chain([memory.as_raw_fd()]) {
            keep_over_exec(fd, true).context("keep a descriptor")?;
        }
        Ok(memory)
    }

    /// No exec: what it names is closed as usual by the next one.
    pub(super) fn withdraw(&self) {
        for fd in self.descriptors() {
            if let Err(error) = keep_over_exec(fd, false) {
                tracing::warn!(fd, "a descriptor of the handover: {error}");
            }
        }
    }
}

/// What the variable points to.
pub(super) enum Found {
    /// Nothing that is for us: an ordinary start.
    Nothing,
    /// What an earlier program of this process has left.
    State(Box<State>, OwnedFd),
    /// That, but not for this build: why, and the way back.
    Foreign(anyhow::Error, Option<RawFd>, OwnedFd),
}

/// What every version of the state has.
#[derive(Deserialize)]
struct Head {
    version: u32,
    pid: u32,
    back: Option<RawFd>,
}

/// Looks for what an earlier program of this process has left.
pub(super) fn find() -> Found {
    let number = std::env::var(STATE).ok().and_then(|n| n.parse::<RawFd>().ok());
    let Some(Ok(memory)) = number.map(inherit) else { return Found::Nothing };
    let Ok((memory, bytes)) = read(memory) else { return Found::Nothing };
    let Ok(head) = serde_json::from_slice::<Head>(&bytes) else { return Found::Nothing };
    if head.pid != std::process::id() {
        return Found::Nothing;
    }
    if head.version != VERSION {
        let why = anyhow::anyhow!("a handover of version {}, this build knows {VERSION}", head.version);
        return Found::Foreign(why, head.back, memory);
    }
    match serde_json::from_slice(&bytes).context("understand the handover") {
        Ok(state) => Found::State(Box::new(state), memory),
        Err(why) => Found::Foreign(why, head.back, memory),
    }
}

/// The state as it was written, also of a version that we do not know.
pub(super) fn reread(memory: &OwnedFd) -> anyhow::Result<serde_json::Value> {
    let (_, bytes) = read(memory.try_clone().context("a second descriptor")?)?;
    serde_json::from_slice(&bytes).context("understand the handover")
}

/// A state in a memfd of its own.
pub(super) fn rewrite(state: &serde_json::Value) -> anyhow::Result<OwnedFd> {
    memfd(&serde_json::to_vec(state).context("encode the handover")?)
}

fn memfd(bytes: &[u8]) -> anyhow::Result<OwnedFd> {
    let fd = rustix::fs::memfd_create("mainstay-handover", rustix::fs::MemfdFlags::CLOEXEC)
        .context("memfd_create")?;
    let mut file = std::fs::File::from(fd);
    file.write_all(bytes).context("write a memfd")?;
    Ok(file.into())
}

fn read(memory: OwnedFd) -> std::io::Result<(OwnedFd, Vec<u8>)> {
    let mut file = std::fs::File::from(memory);
    file.seek(SeekFrom::Start(0))?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    Ok((file.into(), bytes))
}
