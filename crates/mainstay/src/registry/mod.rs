//! The registry role: speaks with stores of somebody else's; no privilege.
//!
//! One may vote (an etcd cluster), one may be where hubs find each other (redis, etcd). They are two, also where both are one etcd.
//!
//! Posted by vip -> deputy -> one step on the store -> deputy -> heard by vip. A store that hangs, or this process dead, is
//! a voter that is silent and nothing else: vip waits for neither.

mod etcd;
mod hubs;
mod redis;
mod shelf;
mod store;
pub(crate) mod tls;
mod worker;

pub(crate) use self::redis::{Beyond, Client as Redis};

use std::time::Duration;

use anyhow::Context;
use tokio::task::LocalSet;

use crate::ipc::Channel;

/// Names are looked up on threads that may hang.
const BLOCKING_THREADS: usize = 2;

/// Stack of such a thread, in bytes: resolver modules want more than our own code.
const BLOCKING_STACK: usize = 256 * 1024;

/// Such a thread ends after so long without work.
const BLOCKING_IDLE: Duration = Duration::from_secs(10);

/// Serves the supervisor until it closes the channel.
///
/// # Errors
/// When the channel fails or says something that cannot be understood, or the runtime cannot be started.
pub fn run(channel: Channel) -> anyhow::Result<()> {
    channel.set_nonblocking()?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .enable_time()
        .max_blocking_threads(BLOCKING_THREADS)
        .thread_stack_size(BLOCKING_STACK)
        .thread_keep_alive(BLOCKING_IDLE)
        .build()
        .context("start the runtime")?;
    let result = LocalSet::new().block_on(&runtime, async { worker::Worker::new(channel)?.serve().await });
    // A thread that hangs in a resolver must not hold up the end.
    runtime.shutdown_background();
    result
}
