//! The sockets that workers are handed: the control socket, the metrics listener and those of plugins, and the lock of the directory.

use std::fs::{DirBuilder, File, Permissions};
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, RawFd};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::os::unix::net::UnixListener;

use anyhow::{Context as _, bail};
use mainstay_config::plan::Plan;
use mainstay_sys::process::inherit;
use rustix::fs::{FlockOperation, flock};

use crate::dirs::Dirs;

/// The user whose group may talk to a node, when the system has it.
const GROUP: &str = "mainstay";

/// What is bound, for as long as the supervisor lives.
pub(super) struct Sockets {
    control: UnixListener,
    metrics: Option<(SocketAddr, TcpListener)>,
    /// Of gost's plugins that the node is itself: sd's, then ingress'.
    plugins: Vec<(SocketAddr, TcpListener)>,
    lock: File,
}

/// Descriptors: of the control socket, the metrics listener, the lock, and of plugins.
pub(super) type Numbers = (RawFd, Option<(SocketAddr, RawFd)>, RawFd, Vec<(SocketAddr, RawFd)>);

impl Sockets {
    /// Takes the runtime directory and binds everything, or nothing.
    pub(super) fn bind(dirs: &Dirs, plan: &Plan) -> anyhow::Result<Self> {
        for dir in [&dirs.runtime, &dirs.state] {
            DirBuilder::new()
                .recursive(true)
                .mode(0o755)
                .create(dir)
                .with_context(|| format!("create the directory {}", dir.display()))?;
        }
        let lock_path = dirs.runtime.join("lock");
        let lock = File::create(&lock_path).with_context(|| format!("create {}", lock_path.display()))?;
        if flock(&lock, FlockOperation::NonBlockingLockExclusive).is_err() {
            bail!(
                "another mainstay runs with the runtime directory {}; stop it, or give this one its own by --runtime-dir",
                dirs.runtime.display()
            );
        }
        let metrics = plan.metrics.map(|addr| listen(addr).map(|l| (addr, l))).transpose()?;
        let plugins = listen_for_plugins(plan)?;
        let path = dirs.control();
        let _ = std::fs::remove_file(&path);
        let control = UnixListener::bind(&path)
            .with_context(|| format!("bind the control socket {}", path.display()))?;
        std::fs::set_permissions(&path, Permissions::from_mode(0o660))
            .with_context(|| format!("set the mode of {}", path.display()))?;
        if let Ok(user) = mainstay_sys::process::User::find(GROUP)
            && let Err(error) = std::os::unix::fs::chown(&path, None, Some(user.gid))
        {
            tracing::warn!("give {} to group {GROUP}: {error}", path.display());
        }
        Ok(Self { control, metrics, plugins, lock })
    }

    /// Takes over what the program before this one had bound; metrics that cannot be bound elsewhere stay where they are.
    pub(super) fn adopt(
        control: RawFd,
        metrics: Option<(SocketAddr, RawFd)>,
        lock: RawFd,
        plugins: Vec<(SocketAddr, RawFd)>,
        plan: &Plan,
    ) -> anyhow::Result<Self> {
        let control = UnixListener::from(inherit(control).context("take over the control socket")?);
        let metrics = metrics.map(|(addr, fd)| inherit(fd).map(|fd| (addr, TcpListener::from(fd))));
        let metrics = metrics.transpose().context("take over the metrics listener")?;
        let lock = File::from(inherit(lock).context("take over the lock")?);
        let held = plugins.into_iter().map(|(addr, fd)| inherit(fd).map(|fd| (addr, TcpListener::from(fd))));
        let plugins = held.collect::<Result<Vec<_>, _>>().context("take over the plugins' listeners")?;
        let mut sockets = Self { control, metrics, plugins, lock };
        if let Err(error) = sockets.rebind(plan) {
            tracing::error!("{error:#}");
        }
        Ok(sockets)
    }

    /// Their descriptors.
    pub(super) fn numbers(&self) -> Numbers {
        let metrics = self.metrics.as_ref().map(|(addr, listener)| (*addr, listener.as_raw_fd()));
        let plugins = self.plugins.iter().map(|(addr, listener)| (*addr, listener.as_raw_fd())).collect();
        (self.control.as_raw_fd(), metrics, self.lock.as_raw_fd(), plugins)
    }

    /// Binds what a new Plan asks for, or changes nothing.
    pub(super) fn rebind(&mut self, plan: &Plan) -> anyhow::Result<bool> {
        let mut changed = false;
        if !self.plugins.iter().map(|(addr, _)| *addr).eq(plugin_addrs(plan)) {
            // Who keeps its place keeps its socket, whose port nobody else could bind.
            let mut fresh = Vec::new();
            for addr in plugin_addrs(plan) {
                let kept = self.plugins.iter().find(|(held, _)| *held == addr);
                let listener = match kept {
                    Some((_, kept)) => kept.try_clone().context("keep a plugin's listener")?,
                    None => listen_for_plugin(addr)?,
                };
                fresh.push((addr, listener));
            }
            self.plugins = fresh;
            changed = true;
        }
        if self.metrics.as_ref().map(|(addr, _)| *addr) != plan.metrics {
            self.metrics = plan.metrics.map(|addr| listen(addr).map(|l| (addr, l))).transpose()?;
            changed = true;
        }
        Ok(changed)
    }

    /// The control socket, then the metrics listener if there is one, then those of plugins.
    pub(super) fn lend(&self) -> Vec<BorrowedFd<'_>> {
        let metrics = self.metrics.iter().map(|(_, listener)| listener.as_fd());
        let plugins = self.plugins.iter().map(|(_, listener)| listener.as_fd());
        [self.control.as_fd()].into_iter().chain(metrics).chain(plugins).collect()
    }
}

/// Where the node's plugins listen, in the order in which their sockets are lent.
fn plugin_addrs(plan: &Plan) -> impl Iterator<Item = SocketAddr> {
    let serves = plan.edge.gost.as_ref().map(|gost| gost.serves).unwrap_or_default();
    serves.sd.into_iter().chain(serves.ingress)
}

fn listen_for_plugins(plan: &Plan) -> anyhow::Result<Vec<(SocketAddr, TcpListener)>> {
    plugin_addrs(plan).map(|addr| listen_for_plugin(addr).map(|listener| (addr, listener))).collect()
}

fn listen_for_plugin(addr: SocketAddr) -> anyhow::Result<TcpListener> {
    TcpListener::bind(addr).with_context(|| format!("[gost.plugin]: cannot listen at {addr}"))
}

fn listen(addr: SocketAddr) -> anyhow::Result<TcpListener> {
    TcpListener::bind(addr).with_context(|| format!("[node] metrics = \"{addr}\": cannot listen there"))
}
