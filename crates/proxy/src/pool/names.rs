//! Names of backends, looked up again and again on threads that may block; one look-up serves every thread of the process.
//!
//! What a name was found to be stands until a later look-up finds something: a name server that is away takes nobody's
//! backends away.

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::net::{IpAddr, ToSocketAddrs};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use mainstay_core::time::Boot;
use tokio::sync::watch;
use tracing::warn;

use crate::clock::boot_now;

/// Look-ups beside each other; a name server that hangs holds so many threads and no more.
const AT_ONCE: usize = 8;

/// A name that was not found is looked up again after this long, or after the interval when that is shorter.
const AGAIN: Duration = Duration::from_secs(5);

/// Addresses of one name that are used; the rest is left out.
const ADDRESSES_MAX: usize = 64;

/// Names that nobody has asked for in so many intervals are forgotten.
const FORGOTTEN: u32 = 10;

/// Finds the addresses of a name; may block.
type LookUp = dyn Fn(&str) -> io::Result<Vec<IpAddr>> + Send + Sync;

/// What is known of names, shared by the threads of a process.
#[derive(Clone)]
pub struct Names(Arc<Shared>);

struct Shared {
    book: Mutex<Book>,
    changes: watch::Sender<()>,
    look_up: Box<LookUp>,
}

#[derive(Default)]
struct Book {
    names: HashMap<Box<str>, Known>,
    running: usize,
}

/// What is known of one name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Known {
    /// In order, so that every instance has the same list.
    pub(super) addresses: Vec<IpAddr>,
    /// Why the last look-up failed.
    pub(super) trouble: Option<String>,
    /// It has been looked up, with success or without.
    pub(super) looked_up: bool,
    due: Boot,
    asked: Boot,
    busy: bool,
}

impl Default for Names {
    fn default() -> Self {
        Self::by(|name| Ok((name, 0).to_socket_addrs()?.map(|address| address.ip()).collect()))
    }
}

impl Names {
    /// Names that are looked up by this, which may block.
    pub fn by(look_up: impl Fn(&str) -> io::Result<Vec<IpAddr>> + Send + Sync + 'static) -> Self {
        let (changes, _) = watch::channel(());
        Self(Arc::new(Shared { book: Mutex::default(), changes, look_up: Box::new(look_up) }))
    }

    /// Tells when something was found out.
    pub(super) fn changes(&self) -> watch::Receiver<()> {
        self.0.changes.subscribe()
    }

    /// What is known of a name.
    pub(super) fn get(&self, name: &str) -> Option<Known> {
        self.book().names.get(name).cloned()
    }

    /// Looks up those that are due. Returns how long until the next one is.
    pub(super) fn look_up(&self, names: &[String], interval: Duration, now: Boot) -> Duration {
        let mut book = self.book();
        let forgotten = interval.saturating_mul(FORGOTTEN).max(AGAIN);
        book.names.retain(|_, known| known.busy || now.since(known.asked) < forgotten);
        let mut next = Boot::NEVER;
        for name in names {
            let running = book.running;
            let known = book.names.entry(name.as_str().into()).or_default();
            known.asked = now;
            if known.busy {
                continue;
            }
            if known.due > now || running >= AT_ONCE {
                // One that has to wait for a thread is started when another's result is told.
                next = if known.due > now { next.min(known.due) } else { next };
                continue;
            }
            known.busy = true;
            book.running += 1;
            let task = Task { shared: Arc::clone(&self.0), name: name.as_str().into(), interval };
            drop(tokio::task::spawn_blocking(move || task.run()));
        }
        next.since(now).min(interval)
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.0.book()
    }
}

impl fmt::Debug for Names {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Names").finish_non_exhaustive()
    }
}

impl Shared {
    fn book(&self) -> MutexGuard<'_, Book> {
        // Each change is whole before anything can panic.
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One look-up, under way or about to be; what is not run in the end is not busy for ever.
struct Task {
    shared: Arc<Shared>,
    name: Box<str>,
    interval: Duration,
}

impl Task {
    fn run(self) {
        let found = (self.shared.look_up)(&self.name);
        let mut book = self.shared.book();
        let Some(known) = book.names.get_mut(&self.name) else { return };
        known.looked_up = true;
        let found = found.map_err(|error| error.to_string()).and_then(|mut addresses| {
            addresses.sort_unstable();
            addresses.dedup();
            if addresses.is_empty() { Err("it has no address".to_owned()) } else { Ok(addresses) }
        });
        match found {
            Ok(mut addresses) => {
                if addresses.len() > ADDRESSES_MAX && known.addresses.len() < ADDRESSES_MAX {
                    warn!(name = %self.name, found = addresses.len(), used = ADDRESSES_MAX, "a backend's name has too many addresses");
                }
                addresses.truncate(ADDRESSES_MAX);
                known.addresses = addresses;
                known.trouble = None;
            }
            Err(why) => {
                if known.trouble.is_none() {
                    warn!(name = %self.name, why, kept = known.addresses.len(), "a backend's name is not found");
                }
                known.trouble = Some(why);
            }
        }
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        let now = boot_now();
        let mut book = self.shared.book();
        book.running -= 1;
        if let Some(known) = book.names.get_mut(&self.name) {
            known.busy = false;
            let wait = if known.trouble.is_some() { self.interval.min(AGAIN) } else { self.interval };
            known.due = now + wait;
        }
        drop(book);
        self.shared.changes.send_replace(());
    }
}
