//! What each role gives up before it listens to anybody.

use mainstay_sys::process::{
    Capability, User, keep_capabilities, lock_memory, no_new_privileges, real_time, set_nice, trim_memory,
};

use crate::role::Role;

/// Users of roles that need no privilege: the first that the system has.
const USERS: [&str; 2] = ["mainstay", "nobody"];

/// A loop of vip's that never waits is ended by the kernel after this many microseconds of real-time CPU.
const REAL_TIME_BUDGET: u64 = 1_000_000;

/// Before a role's first message is read.
pub(crate) fn before(role: Role) {
    let result = match role {
        // It has to become other users; the commands it runs are the operator's own.
        Role::Exec => Ok(()),
        // Echo requests need a raw socket where the kernel's ping_group_range is empty.
        Role::Probe => become_nobody(&[Capability::NetRaw]),
        Role::Registry | Role::Api => become_nobody(&[]),
        Role::Edge | Role::Agent => {
            many_descriptors();
            become_nobody(&[])
        }
        // Loading the gate needs more than running it: the rest is dropped in `vip`.
        Role::Vip => Ok(()),
    };
    if let Err(error) = result {
        tracing::warn!(%role, "keeps more privilege than it needs: {error:#}");
    }
}

/// A connection needs two descriptors: as many as this host allows.
fn many_descriptors() {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    if let Err(error) = setrlimit(Resource::Nofile, limit) {
        tracing::warn!(%error, "the limit of descriptors stays as it is");
    }
}

fn become_nobody(keep: &[Capability]) -> mainstay_sys::Result<()> {
    if !rustix::process::geteuid().is_root() {
        return Ok(());
    }
    let user = USERS.iter().find_map(|name| User::find(name).ok());
    if let Some(user) = user {
        user.become_with(keep)?;
    }
    no_new_privileges()
}

/// After the vip role has loaded its gate: what is left, memory that is not paged out, and a place before others.
pub(crate) fn vip() {
    // The gate's maps are written and its programs attached again for as long as it stands.
    let kept =
        [Capability::NetAdmin, Capability::NetRaw, Capability::Bpf, Capability::IpcLock, Capability::SysNice];
    trim_memory();
    if let Err(error) = lock_memory() {
        tracing::debug!("vip memory is not locked: {error:#}");
    }
    if let Err(error) = real_time(10, REAL_TIME_BUDGET).or_else(|_| set_nice(-20)) {
        tracing::info!("vip runs without a place before others: {error}");
    }
    if let Err(error) = keep_capabilities(&kept) {
        tracing::warn!("vip keeps more privilege than it needs: {error:#}");
    }
}
