//! What a client sees: threads in hosts that answer, ask and listen.
//!
//! They run with real-time priority where that is allowed, and a client records how late its own sends were: where that
//! is not small, the machine was too busy for the figure to mean much.

mod adverts;
mod arp;
mod echo;
mod http;
mod mirror;
mod requests;
mod udp;
mod visitors;

pub use adverts::{Advert, AdvertWatch, takeovers};
pub use arp::{Answers, ArpProbe, Claim};
pub use echo::{Echo, Web};
pub use http::{Fetches, HttpClient, fetch};
pub use mirror::Mirror;
pub use requests::{Failure, Load, Requests};
pub use udp::UdpClient;
pub use visitors::{Fate, Visitors, Visits};

use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Result};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// How long a thread may sleep before it looks whether it should stop.
pub(crate) const NAP: Duration = Duration::from_millis(20);

/// A thread that runs until it is told to stop, or dropped.
#[derive(Debug)]
pub(crate) struct Task<T> {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<T>>,
}

impl<T: Send + 'static> Task<T> {
    /// Starts `body`, which returns soon after the flag that it is given becomes true.
    pub(crate) fn start(name: &str, body: impl FnOnce(&AtomicBool) -> T + Send + 'static) -> Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let flag = Arc::clone(&stop);
        let builder = std::thread::Builder::new().name(name.to_owned());
        let run = move || {
            mainstay_sys::netns::precise_timers();
            // A user namespace can't have it; lateness is recorded either way.
            let _ = mainstay_sys::netns::realtime(PRIORITY);
            body(&flag)
        };
        let thread = builder.spawn(run).with_context(|| format!("cannot start thread {name}"))?;
        Ok(Self { stop, thread: Some(thread) })
    }

    /// Ends the thread and returns what it gathered; nothing if it panicked.
    pub(crate) fn finish(mut self) -> Option<T> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.take().and_then(|thread| thread.join().ok())
    }
}

/// Above every ordinary process, below the kernel's own threads (50).
const PRIORITY: i32 = 10;

impl<T> Drop for Task<T> {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Waits until `socket` has something to read, at most `limit`.
pub(crate) fn readable(socket: &impl AsFd, limit: Duration) -> bool {
    let mut wanted = [PollFd::new(socket, PollFlags::IN)];
    let limit = Timespec::try_from(limit).ok();
    matches!(poll(&mut wanted, limit.as_ref()), Ok(ready) if ready > 0)
}
