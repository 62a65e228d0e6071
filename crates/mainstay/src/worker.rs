//! How a worker process begins: its channel is standard input, and it does not outlive its supervisor.

use std::os::fd::AsFd as _;

use anyhow::Context as _;
use mainstay_sys::process::Signals;
use rustix::fs::{Mode, OFlags};
use rustix::process::{Signal, getppid, set_parent_process_death_signal};

use crate::ipc::Channel;
use crate::role::Role;
use crate::{agent, api, confine, edge, exec, log, probe, registry, supervisor, vip};

/// Above what a worker opens otherwise, below the usual limit of 1024.
const HIGH: i32 = 1000;

/// Runs a role until its supervisor hangs up.
///
/// # Errors
/// When the role cannot work at all; the supervisor starts it again.
pub fn run(role: Role) -> anyhow::Result<()> {
    // vip gives its addresses up before it goes; the others have nothing that could be left behind.
    let signal = match role {
        Role::Vip => Signal::TERM,
        Role::Exec | Role::Probe | Role::Registry | Role::Edge | Role::Agent | Role::Api => Signal::KILL,
    };
    // Blocked before the log's thread starts, so that no thread takes a TERM that vip has to answer.
    let signals = match role {
        Role::Vip => Some(Signals::open(&[libc::SIGTERM, libc::SIGINT])?),
        Role::Exec | Role::Probe | Role::Registry | Role::Edge | Role::Agent | Role::Api => None,
    };
    // Started from /proc/self/exe, it would be called `exe` in ps and top.
    mainstay_sys::process::set_name(&format!("mainstay-{role}"))?;
    log::start();
    set_parent_process_death_signal(Some(signal)).context("ask to die with the supervisor")?;
    let parent = std::env::var(supervisor::PARENT).ok().and_then(|p| p.parse::<i32>().ok());
    let orphan = parent != getppid().map(|p| p.as_raw_nonzero().get());
    anyhow::ensure!(!orphan, "a worker is started by `mainstay run`, not by hand");
    let channel = take_channel().context("take the channel")?;
    confine::before(role);
    // Becoming another user has cleared it.
    set_parent_process_death_signal(Some(signal)).context("ask to die with the supervisor")?;
    anyhow::ensure!(parent == getppid().map(|p| p.as_raw_nonzero().get()), "the supervisor is gone");
    match role {
        Role::Exec => exec::run(channel),
        Role::Probe => probe::run(channel),
        Role::Registry => registry::run(channel),
        Role::Vip => vip::run(channel, signals.context("vip has its signals")?),
        Role::Edge => edge::run(channel),
        Role::Agent => agent::serve_node(channel),
        Role::Api => api::run(channel),
    }
}

/// The channel gets the highest descriptor: the kernel closes those of a dying process from the top, each packet socket
/// takes it milliseconds, and the supervisor should not have to wait for them.
fn take_channel() -> anyhow::Result<Channel> {
    let stdin = std::io::stdin();
    let channel = rustix::io::fcntl_dupfd_cloexec(stdin.as_fd(), HIGH)
        .or_else(|_| rustix::io::fcntl_dupfd_cloexec(stdin.as_fd(), 3))?;
    let nothing = rustix::fs::open("/dev/null", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
    rustix::stdio::dup2_stdin(nothing)?;
    Ok(Channel::from_fd(channel))
}
