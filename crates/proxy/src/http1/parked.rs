//! Clients between two requests: a descriptor and who it is, watched by an epoll instance of their own, without task,
//! timer or buffer.

use std::cell::{Cell, RefCell};
use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::time::Duration;

use mainstay_core::time::Boot;
use rustix::buffer::spare_capacity;
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::net::RecvFlags;
use tokio::io::{Interest, unix::AsyncFd};

use super::serve;
use crate::exchange::Connection;
use crate::thread::Thread;

/// Events that are taken at once.
const BATCH: usize = 256;

/// While a thread drains, who has been silent for so long is closed: a request may be on its way to those who have not.
pub(super) const DRAIN_IDLE: Duration = Duration::from_secs(5);

/// Who has been silent for so long may be closed for want of descriptors: a request may be on its way to those who have not.
const SHED_IDLE: Duration = Duration::from_secs(1);

/// So many are closed at once, so that the search for them is not made for each newcomer.
const SHED: usize = 32;

/// A client that waits. There may be very many: what it needs lies side by side with the others', without allocations of
/// its own that would keep the memory of its last request from going back to the kernel.
#[derive(Debug)]
pub(super) struct Idle {
    pub(super) socket: OwnedFd,
    pub(super) who: Who,
    /// Its listener's name.
    pub(super) name: Rc<str>,
    /// Requests so far.
    pub(super) earlier: u32,
    /// Of the snapshot that `connection` has its listener's position of.
    pub(super) generation: u64,
    pub(super) since: Boot,
    pub(super) until: Boot,
}

/// A connection without TLS, as small as it can be.
#[derive(Debug)]
pub(super) struct Who {
    number: u64,
    pub(super) listener: u32,
    counts: u32,
    peer: Option<SocketAddr>,
    local: Option<SocketAddr>,
    proxy: Option<Box<(SocketAddr, SocketAddr)>>,
}

impl From<&Connection> for Who {
    fn from(connection: &Connection) -> Self {
        let Connection { number, listener, counts, peer, local, proxy, tls: _ } = connection;
        let (number, listener, counts, peer, local) = (*number, *listener, *counts, *peer, *local);
        Self { number, listener, counts, peer, local, proxy: proxy.map(Box::new) }
    }
}

impl From<Who> for Connection {
    fn from(who: Who) -> Self {
        let Who { number, listener, counts, peer, local, proxy } = who;
        Self { number, listener, counts, peer, local, proxy: proxy.map(|ends| *ends), tls: None }
    }
}

/// The clients of a thread that wait.
#[derive(Debug)]
pub struct Parked {
    epoll: AsyncFd<OwnedFd>,
    slots: RefCell<Vec<Option<Idle>>>,
    free: RefCell<Vec<u32>>,
    count: Cell<usize>,
}

impl Parked {
    /// A place for them. Whoever makes it runs [`Parked::run`] beside.
    ///
    /// # Errors
    ///
    /// Outside a runtime, or when the kernel has no descriptors left.
    pub fn new() -> io::Result<Self> {
        let epoll = epoll::create(CreateFlags::CLOEXEC)?;
        #[expect(
            deprecated,
            reason = "its successor is unsafe for types whose descriptor may change; ours does not"
        )]
        let epoll = AsyncFd::with_interest(epoll, Interest::READABLE)?;
        Ok(Self { epoll, slots: RefCell::default(), free: RefCell::default(), count: Cell::new(0) })
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.count.get()
    }

    /// Parks a client; gives it back when that cannot be done.
    pub(super) fn park(&self, idle: Idle) -> Result<(), Box<Idle>> {
        let mut slots = self.slots.borrow_mut();
        let at = self.free.borrow_mut().pop().unwrap_or_else(|| {
            slots.push(None);
            u32::try_from(slots.len() - 1).expect("a process has fewer than 2^32 descriptors")
        });
        let flags = EventFlags::IN | EventFlags::RDHUP;
        if epoll::add(self.epoll.get_ref(), &idle.socket, EventData::new_u64(u64::from(at)), flags).is_err() {
            self.free.borrow_mut().push(at);
            return Err(Box::new(idle));
        }
        slots[at as usize] = Some(idle);
        self.count.set(self.count.get() + 1);
        Ok(())
    }

    fn take(&self, at: u32) -> Option<Idle> {
        let idle = self.slots.borrow_mut().get_mut(at as usize)?.take()?;
        self.free.borrow_mut().push(at);
        self.count.set(self.count.get() - 1);
        // It cannot fail: the descriptor was added and is open.
        let _ = epoll::delete(self.epoll.get_ref(), &idle.socket);
        Some(idle)
    }

    /// Brings back those who say something, until the thread ends.
    pub async fn run(thread: Rc<Thread>, parked: Rc<Self>) {
        let mut events: Vec<Event> = Vec::with_capacity(BATCH);
        loop {
            let Ok(mut ready) = parked.epoll.readable().await else { return };
            events.clear();
            let now = rustix::event::Timespec { tv_sec: 0, tv_nsec: 0 };
            let waited = epoll::wait(parked.epoll.get_ref(), spare_capacity(&mut events), Some(&now));
            if waited.is_ok_and(|count| count < BATCH) {
                ready.clear_ready();
            }
            for event in &events {
                let at = u32::try_from({ event.data }.u64()).expect("a slot's number");
                let Some(idle) = parked.take(at) else { continue };
                let flags = { event.flags };
                let over = flags.intersects(EventFlags::RDHUP | EventFlags::HUP | EventFlags::ERR);
                if over && is_at_end(&idle.socket) {
                    close(&thread, idle);
                } else {
                    serve::resume(&thread, idle);
                }
            }
            tokio::task::yield_now().await;
        }
    }

    /// Closes those of at least a second's silence who have been silent longest, for the sake of their descriptors; how many.
    pub(crate) fn shed(&self, thread: &Thread, now: Boot) -> usize {
        let slots = self.slots.borrow();
        let silent = slots.iter().enumerate().filter_map(|(at, idle)| Some((idle.as_ref()?.since, at)));
        let mut silent: Vec<(Boot, usize)> =
            silent.filter(|(since, _)| now.since(*since) >= SHED_IDLE).collect();
        drop(slots);
        if silent.len() > SHED {
            silent.select_nth_unstable(SHED);
            silent.truncate(SHED);
        }
        let idle = silent.iter().filter_map(|(_, at)| self.take(u32::try_from(*at).ok()?));
        idle.map(|idle| close(thread, idle)).count()
    }

    /// Closes those who have waited long enough.
    pub(crate) fn sweep(&self, thread: &Thread, now: Boot) {
        let draining = thread.draining();
        let slots = self.slots.borrow().len();
        for at in 0..slots {
            let over = |idle: &Idle| idle.until <= now || (draining && now.since(idle.since) >= DRAIN_IDLE);
            let over = self.slots.borrow()[at].as_ref().is_some_and(over);
            if let Some(idle) = over.then(|| self.take(u32::try_from(at).expect("a slot's number"))).flatten()
            {
                close(thread, idle);
            }
        }
    }
}

/// Whether there is nothing to read but the end.
fn is_at_end(socket: &OwnedFd) -> bool {
    let mut one = [0_u8; 1];
    match rustix::net::recv(socket, &mut one[..], RecvFlags::PEEK | RecvFlags::DONTWAIT) {
        Ok((_, count)) => count == 0,
        Err(error) => error != rustix::io::Errno::AGAIN && error != rustix::io::Errno::INTR,
    }
}

fn close(thread: &Thread, idle: Idle) {
    let counts = idle.who.counts;
    drop(idle);
    thread.counters.closed(counts);
}
