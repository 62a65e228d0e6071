//! Handles of a session: to open streams, to take those that come, to end it.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use mainstay_core::gost::{self, smux};
use mainstay_core::time::Boot;
use mainstay_core::tunnel::{Closed, Code, Counts, Kind, Limits, Mux, News, Open, Refused, Side};

use super::Carrier;
use super::clock::boot_now;
use super::drive::Drive;
use super::inner::{Inner, Shared, remember};
use super::machine::Machine;
use super::stream::Stream;

/// Ends the session with the last handle.
pub(super) struct Hold(pub(super) Shared);

impl Drop for Hold {
    fn drop(&mut self) {
        let mut inner = self.0.borrow_mut();
        inner.mux.close(Closed::Asked);
        inner.effects();
    }
}

/// A handle of a session. The session ends when all of its handles, streams and [`Incoming`] are gone.
#[derive(Clone)]
pub struct Session(pub(super) Rc<Hold>);

/// The streams that the other side opens.
pub struct Incoming(Rc<Hold>);

/// What a session counts and knows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// What was counted since it began.
    pub counts: Counts,
    /// Streams that are open.
    pub streams: usize,
    /// Unread bytes that are kept in memory.
    pub unread: u64,
    /// How long the other side takes to answer, smoothed.
    pub rtt: Option<Duration>,
}

impl Session {
    /// Starts a session over a carrier whose handshake is done, with a task of this thread's (`spawn_local`).
    #[must_use]
    pub fn start(carrier: impl Carrier, side: Side, limits: Limits) -> (Self, Incoming) {
        let now = boot_now();
        Self::run(Machine::Own(Mux::new(side, limits, now)), Box::new(carrier), now)
    }

    /// Starts a session in gost's protocol, over a carrier whose request was granted (see [`super::gost`]): its streams carry what
    /// `kind` says. `greeting` goes before everything: what is granted, of the side that grants. [`Side::Hub`] was dialled and
    /// opens all streams, so [`Side::Agent`] can open none.
    ///
    /// The other side is told nothing by [`Self::tell`] and [`Self::set_load`], and never says that it leaves. While more is
    /// unread than `limits` allow, the carrier is not read.
    #[must_use]
    pub fn start_gost(
        carrier: impl Carrier,
        side: Side,
        kind: Kind,
        greeting: &[u8],
        limits: smux::Limits,
    ) -> (Self, Incoming) {
        let now = boot_now();
        let machine = Machine::Gost(gost::Session::new(side, kind, limits, greeting, now));
        Self::run(machine, Box::new(carrier), now)
    }

    fn run(machine: Machine, carrier: Box<dyn Carrier>, now: Boot) -> (Self, Incoming) {
        let inner = Inner::new(machine, carrier, now);
        let shared = Rc::new(RefCell::new(inner));
        tokio::task::spawn_local(Drive::new(Rc::clone(&shared)));
        let hold = Rc::new(Hold(shared));
        (Self(Rc::clone(&hold)), Incoming(hold))
    }

    /// Opens a stream, at once. Of `first` up to 16 KiB go with it, if the stream carries bytes; the rest is for
    /// [`tokio::io::AsyncWrite`], so the stream tells how many went ([`Stream::sent_first`]).
    ///
    /// # Errors
    ///
    /// When no stream can be opened; nothing was sent, and another session may be tried.
    pub fn open(&self, open: &Open, first: &[u8]) -> Result<Stream, Refused> {
        let mut inner = self.0.0.borrow_mut();
        let now = inner.now;
        let (key, count) = inner.mux.open(open, first, now)?;
        inner.place(key);
        inner.staged();
        Ok(Stream::new(Rc::clone(&self.0), key, count))
    }

    /// Whether a stream can be opened.
    ///
    /// # Errors
    ///
    /// What [`Self::open`] would say.
    pub fn may_open(&self) -> Result<(), Refused> {
        self.0.0.borrow().mux.may_open()
    }

    /// What the next PINGs tell; a change is told at once.
    pub fn tell(&self, news: News) {
        let mut inner = self.0.0.borrow_mut();
        inner.mux.tell(news);
        inner.ask();
    }

    /// Has each PING say how busy we are at that moment, as counted here.
    pub fn set_load(&self, load: &Rc<Cell<u32>>) {
        self.0.0.borrow_mut().load = Some(Rc::clone(load));
    }

    /// Waits until the other side has told something of itself since `known` (0 in the beginning): other news, that it takes no new
    /// streams, or the end. Gives what to wait with next.
    pub async fn changed(&self, known: u64) -> u64 {
        poll_fn(|cx| {
            let mut inner = self.0.0.borrow_mut();
            if inner.told != known {
                return Poll::Ready(inner.told);
            }
            if !inner.listeners.iter().any(|waker| waker.will_wake(cx.waker())) {
                inner.listeners.push(cx.waker().clone());
            }
            Poll::Pending
        })
        .await
    }

    /// What the other side has told last.
    #[must_use]
    pub fn heard(&self) -> News {
        self.0.0.borrow().mux.heard()
    }

    /// Whether the other side takes no new streams.
    #[must_use]
    pub fn has_left(&self) -> bool {
        self.0.0.borrow().mux.has_left()
    }

    /// Takes no new streams, loses none that is on its way, and ends with the last, or after `within`.
    pub fn drain(&self, within: Duration) {
        let mut inner = self.0.0.borrow_mut();
        inner.mux.drain(within, boot_now());
        inner.ask();
    }

    /// Ends the session with its streams.
    pub fn close(&self) {
        let mut inner = self.0.0.borrow_mut();
        inner.mux.close(Closed::Asked);
        inner.effects();
    }

    /// Waits for the end, and says how it came.
    pub async fn closed(&self) -> Closed {
        poll_fn(|cx| {
            let mut inner = self.0.0.borrow_mut();
            if let Some(why) = &inner.closed {
                return Poll::Ready(why.clone());
            }
            if !inner.mourners.iter().any(|waker| waker.will_wake(cx.waker())) {
                inner.mourners.push(cx.waker().clone());
            }
            Poll::Pending
        })
        .await
    }

    /// Whether it has ended.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.0.0.borrow().closed.is_some()
    }

    /// What it counts.
    #[must_use]
    pub fn counters(&self) -> Counters {
        let inner = self.0.0.borrow();
        let mux = &inner.mux;
        Counters { counts: mux.counts(), streams: mux.living(), unread: mux.unread(), rtt: mux.rtt() }
    }
}

impl Incoming {
    /// The next stream; none when the session has ended.
    pub async fn next(&mut self) -> Option<(Open, Stream)> {
        let hold = Rc::clone(&self.0);
        poll_fn(|cx| {
            let mut inner = hold.0.borrow_mut();
            if let Some((key, open)) = inner.arrivals.pop_front() {
                return Poll::Ready(Some((*open, Stream::new(Rc::clone(&hold), key, 0))));
            }
            if inner.closed.is_some() {
                return Poll::Ready(None);
            }
            remember(&mut inner.arrival, cx);
            Poll::Pending
        })
        .await
    }
}

impl Drop for Incoming {
    fn drop(&mut self) {
        let mut inner = self.0.0.borrow_mut();
        inner.deaf = true;
        while let Some((key, _)) = inner.arrivals.pop_front() {
            inner.mux.reset(key, Code::Refused);
            inner.mux.forget(key);
        }
        inner.staged();
    }
}
