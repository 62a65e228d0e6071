//! How a worker process begins: its channel is standard input, and it does not outlive its supervisor.

use std::os::fd::AsFd as _;

use anyhow::Context as _;
use mainstay_sys::process::Signals;
use rustix::process::{Signal, getppid, set_parent_process_death_signal};

use crate::ipc::Channel;
use crate::role::Role;
use crate::{api, confine, exec, log, probe, supervisor, vip};

/// Runs a role until its supervisor hangs up.
///
/// # Errors
/// When the role cannot work at all; the supervisor starts it again.
pub fn run(role: Role) -> anyhow::Result<()> {
    // vip gives its addresses up before it goes; the others have nothing that could be left behind.
    let signal = match role {
        Role::Vip => Signal::TERM,
        Role::Exec | Role::Probe | Role::Api => Signal::KILL,
    };
    // Blocked before the log's thread starts, so that no thread takes a TERM that vip has to answer.
    let signals = match role {
        Role::Vip => Some(Signals::open(&[libc::SIGTERM, libc::SIGINT])?),
        Role::Exec | Role::Probe | Role::Api => None,
    };
    log::start();
    set_parent_process_death_signal(Some(signal)).context("ask to die with the supervisor")?;
    let parent = std::env::var(supervisor::PARENT).ok().and_then(|p| p.parse::<i32>().ok());
    let orphan = parent != getppid().map(|p| p.as_raw_nonzero().get());
    anyhow::ensure!(!orphan, "a worker is started by `mainstay run`, not by hand");
    let stdin = std::io::stdin().as_fd().try_clone_to_owned().context("take the channel")?;
    let channel = Channel::from_fd(stdin);
    confine::before(role);
    match role {
        Role::Exec => exec::run(channel),
        Role::Probe => probe::run(channel),
        Role::Vip => vip::run(channel, signals.context("vip has its signals")?),
        Role::Api => api::run(channel),
    }
}
