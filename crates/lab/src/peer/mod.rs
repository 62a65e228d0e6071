//! Programs that lab hosts run: keepalived, nginx, haproxy, etcd, redis and Mainstay itself.

mod etcd;
mod gost;
mod haproxy;
mod keepalived;
mod mainstay;
mod nginx;
mod redis;

use anyhow::Result;
use rustix::process::Pid;

pub use etcd::Etcd;
pub use gost::Gost;
pub use haproxy::Haproxy;
pub use keepalived::Keepalived;
pub use mainstay::Mainstay;
pub use nginx::Nginx;
pub use redis::Redis;

use crate::Daemon;

/// Something that keeps vips up: what faults and benches need of keepalived and of Mainstay alike.
pub trait Keeper: Send + Sync {
    /// The processes.
    fn daemon(&self) -> &Daemon;

    /// The worker with this role (keepalived has one: `vrrp`).
    fn worker(&self, role: &str) -> Result<Pid>;

    /// Makes it read its configuration again.
    fn reload(&self) -> Result<()>;

    /// Whether it has started so far that it is active or backup for every vip.
    fn ready(&self) -> Result<bool>;
}
