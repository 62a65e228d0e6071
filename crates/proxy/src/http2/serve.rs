//! A client's connection: frames in, requests on their way, frames out.

use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures_util::stream::{FuturesUnordered, Stream as _};
use mainstay_config::plan::edge::HttpLimits;
use mainstay_core::http2::{Code, Event, Key, Limits, RequestHead};
use mainstay_core::time::Boot;

use super::client::{self, Side};
use super::mux::{Shared, Wire};
use crate::deadline::Watch;
use crate::exchange::{Connection, Exchange};
use crate::forward;
use crate::snapshot::Snapshot;
use crate::thread::Thread;
use crate::transport::Io;

/// Turns of reading, serving and writing before others on this thread get theirs.
const TURNS: usize = 16;

/// How long a connection is read from after its last frame, so that the client sees that and not a reset.
const LINGER: Duration = Duration::from_secs(2);

/// Bytes that are read meanwhile: the bodies that our window let the client send (1 MiB), and as much again for heads.
const LINGER_BYTES: usize = 2 << 20;

/// How long a request that was answered before its end may go on until it is reset.
const EARLY: Duration = Duration::from_millis(500);

/// Watches that a connection keeps for its next requests.
const WATCHES: usize = 16;

/// Serves a client's requests until its connection ends. `early` are bytes that came already.
pub async fn serve(thread: Rc<Thread>, io: Io, connection: Rc<Connection>, name: Rc<str>, early: Vec<u8>) {
    let mut served = FuturesUnordered::new();
    let watch = thread.deadlines.watch();
    if let Some(mut open) = Open::new(Rc::clone(&thread), io, connection, name, early) {
        // The connection is many requests: it keeps to its own measure, not to that of one task.
        tokio::task::unconstrained(std::future::poll_fn(|cx| {
            let mut served = Pin::new(&mut served);
            open.poll(cx, &watch, served.as_mut(), Job::run)
        }))
        .await;
        let counts = open.connection.counts;
        // What is under way notices that nobody hears it, and is accounted for.
        let rest = std::future::poll_fn(|cx| {
            while let Some(_used) = ready!(Pin::new(&mut served).poll_next(cx)) {}
            Poll::Ready(())
        });
        tokio::join!(rest, open.linger(&watch));
        thread.counters.closed(counts);
    }
}

/// How long a client that was told to leave may open further streams without answering.
const LEAVE: Duration = Duration::from_secs(1);

/// What has taken too long.
#[derive(Clone, Copy)]
enum Late {
    /// The client takes nothing in.
    Stalled,
    /// It was told to open no further streams.
    Leaving,
    /// It sends a body that nobody wants.
    Lingers,
    /// A head, or the beginning of the connection.
    Head,
    /// Its next request.
    Idle,
}

/// A request to be served.
struct Job {
    thread: Rc<Thread>,
    snapshot: Arc<Snapshot>,
    watch: Watch,
    side: Side,
    head: RequestHead,
    connection: Rc<Connection>,
    started: Boot,
    earlier: u32,
}

impl Job {
    async fn run(self) -> Watch {
        let Self { thread, snapshot, watch, mut side, head, connection, started, earlier } = self;
        if let Some(reject) = head.refused {
            let limits = &snapshot.edge.listeners[connection.listener as usize].http;
            thread.counters.refused(connection.counts, reject.name());
            forward::refuse(&watch, limits.send_timeout, &mut side, reject.status()).await;
            return watch;
        }
        let mut exchange = Exchange::new(client::request(head), connection, started);
        exchange.earlier = earlier;
        forward::serve(&thread, &snapshot, &watch, &mut exchange, &mut side).await;
        // Clients may drop a response that a reset follows at once, even NO_ERROR: curl 7.88 does.
        let _answered = watch.within(EARLY, |cx| side.poll_rest(cx)).await;
        watch
    }
}

/// A client's connection.
struct Open {
    thread: Rc<Thread>,
    shared: Shared,
    wire: Wire,
    connection: Rc<Connection>,
    /// The listener's name.
    name: Rc<str>,
    limits: HttpLimits,
    /// The snapshot that new requests follow.
    snapshot: Arc<Snapshot>,
    requests: u32,
    /// Watches of requests that are over.
    watches: Vec<Watch>,
    /// Since when no request is under way.
    idle: Option<Boot>,
    /// Since when a head is on its way.
    midway: Option<Boot>,
    /// When the next stream has lingered long enough.
    lingers: Option<Boot>,
    /// Since when the client is told to open no further streams.
    left: Option<Boot>,
    /// The connection failed.
    broken: bool,
}

impl Open {
    fn new(
        thread: Rc<Thread>,
        io: Io,
        connection: Rc<Connection>,
        name: Rc<str>,
        early: Vec<u8>,
    ) -> Option<Self> {
        let snapshot = thread.snapshot();
        let listener = thread.listener_of(&name);
        let Some(settings) = listener.and_then(|at| snapshot.edge.listeners.get(at as usize)) else {
            thread.counters.closed(connection.counts);
            return None;
        };
        let limits = settings.http;
        let h2 = mainstay_core::http2::Connection::server(Limits {
            head_max: limits.head_max,
            fields_max: limits.fields_max,
            streams_max: limits.streams_max,
            drop_underscores: !limits.underscores,
        });
        let shared = Shared::new(h2);
        let now = thread.deadlines.now();
        let mut wire = Wire::new(io, early, now);
        wire.receive_kept(&mut shared.borrow().h2, now);
        Some(Self {
            thread,
            shared,
            wire,
            connection,
            name,
            limits,
            snapshot,
            requests: 0,
            watches: Vec::new(),
            idle: Some(now),
            midway: Some(now),
            lingers: None,
            left: None,
            broken: false,
        })
    }

    /// Moves everything that can be moved; ready when the connection is to be closed.
    fn poll<F: Future<Output = Watch>>(
        &mut self,
        cx: &mut Context<'_>,
        watch: &Watch,
        mut served: Pin<&mut FuturesUnordered<F>>,
        serve: impl Fn(Job) -> F,
    ) -> Poll<()> {
        for _ in 0..TURNS {
            let now = watch.now();
            let mut moved = self.receive(cx, now);
            while let Some(job) = self.next_request(now) {
                served.push(serve(job));
                moved = true;
            }
            while let Poll::Ready(Some(used)) = served.as_mut().poll_next(cx) {
                if self.watches.len() < WATCHES {
                    self.watches.push(used);
                }
                moved = true;
            }
            self.leave_in_time(now);
            self.lingers = self.shared.borrow().h2.tick(now);
            let blocked = self.send(cx, now);
            if self.is_over(blocked) {
                return Poll::Ready(());
            }
            // Sending makes room for those who wait for it.
            if moved || self.shared.borrow().h2.has_events() {
                continue;
            }
            return if self.is_late(cx, watch, blocked) { Poll::Ready(()) } else { Poll::Pending };
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// Reads once: whether anything came.
    fn receive(&mut self, cx: &mut Context<'_>, now: Boot) -> bool {
        let mut mux = self.shared.borrow();
        match self.wire.poll_receive(cx, &mut mux.h2, now) {
            Poll::Pending => return false,
            Poll::Ready(Ok(())) => {}
            Poll::Ready(Err(_)) => self.broken = true,
        }
        if self.broken || self.wire.ended {
            // Nobody is there to hear the answers.
            mux.h2.lost();
        }
        true
    }

    /// A request that has come; whoever waits for other events is woken.
    fn next_request(&mut self, now: Boot) -> Option<Job> {
        loop {
            let event = self.shared.borrow().next_event()?;
            match event {
                Event::Opened(key) => {
                    let head = self.shared.borrow().h2.request(key);
                    if let Some(head) = head {
                        return self.job(key, *head, now);
                    }
                }
                Event::Refused(why) => self.thread.counters.refused(self.connection.counts, why),
                Event::Closed(_) | Event::Readable(_) | Event::Writable(_) => {}
            }
        }
    }

    fn job(&mut self, key: Key, head: RequestHead, now: Boot) -> Option<Job> {
        let side = Side::new(self.shared.clone(), key, &head);
        if !self.follow() {
            self.shared.borrow().h2.close(Code::NoError);
            return None;
        }
        let earlier = self.requests;
        self.requests = self.requests.saturating_add(1);
        Some(Job {
            thread: Rc::clone(&self.thread),
            snapshot: Arc::clone(&self.snapshot),
            watch: self.watches.pop().unwrap_or_else(|| self.thread.deadlines.watch()),
            side,
            head,
            connection: Rc::clone(&self.connection),
            started: now,
            earlier,
        })
    }

    /// Follows the configuration in force; without its listener the connection has no future.
    fn follow(&mut self) -> bool {
        let snapshot = self.thread.snapshot();
        if snapshot.generation == self.snapshot.generation && self.requests > 0 {
            return true;
        }
        let Some(listener) = self.thread.listener_of(&self.name) else { return false };
        if listener != self.connection.listener {
            self.connection = Rc::new(Connection { listener, ..(*self.connection).clone() });
        }
        self.limits = snapshot.edge.listeners[listener as usize].http;
        self.snapshot = snapshot;
        true
    }

    /// Says goodbye when the thread drains or enough was served.
    fn leave_in_time(&mut self, now: Boot) {
        let worn = self.limits.requests_max > 0 && self.requests >= self.limits.requests_max;
        if self.left.is_none() && (worn || self.thread.draining()) {
            self.left = Some(now);
            self.shared.borrow().h2.leave();
        }
    }

    /// Sends what waits: whether the socket takes no more.
    fn send(&mut self, cx: &mut Context<'_>, now: Boot) -> bool {
        let mut mux = self.shared.borrow();
        match self.wire.poll_send(cx, &mut mux.h2, now) {
            Poll::Pending => true,
            Poll::Ready(Ok(())) => false,
            Poll::Ready(Err(_)) => {
                self.broken = true;
                mux.h2.lost();
                false
            }
        }
    }

    /// Whether there is nothing left to do.
    fn is_over(&self, blocked: bool) -> bool {
        let mux = self.shared.borrow();
        let done = mux.h2.is_closed() || mux.h2.is_drained();
        self.broken || self.wire.ended || (done && !blocked && mux.h2.output().is_empty())
    }

    /// Keeps the connection's deadlines: whether one has passed that leaves nothing to be said.
    fn is_late(&mut self, cx: &mut Context<'_>, watch: &Watch, blocked: bool) -> bool {
        loop {
            let (due, late) = self.due(watch.now(), blocked);
            if !watch.has_passed(cx, due) {
                return false;
            }
            let now = watch.now();
            if now < due {
                continue;
            }
            match late {
                Late::Stalled => {
                    self.broken = true;
                    self.shared.borrow().h2.lost();
                    return true;
                }
                Late::Leaving => {
                    self.left = Some(Boot::NEVER);
                    self.shared.borrow().h2.leave_now();
                }
                Late::Lingers => self.lingers = self.shared.borrow().h2.tick(now),
                Late::Head => {
                    self.thread.counters.refused(self.connection.counts, "head-timeout");
                    self.shared.borrow().h2.close(Code::NoError);
                }
                Late::Idle => self.shared.borrow().h2.close(Code::NoError),
            }
            // The client hears of it before the connection closes.
            let blocked = self.send(cx, now);
            if self.is_over(blocked) {
                return true;
            }
        }
    }

    /// What comes to an end next, and when.
    fn due(&mut self, now: Boot, blocked: bool) -> (Boot, Late) {
        let (living, midway, closed) = {
            let mux = self.shared.borrow();
            (mux.h2.living() > 0, mux.h2.is_midway(), mux.h2.is_closed())
        };
        self.idle = if living { None } else { Some(self.idle.unwrap_or(now)) };
        let begun = midway || (!living && self.wire.is_midway());
        self.midway = if begun { Some(self.midway.unwrap_or(now)) } else { None };
        let limits = &self.limits;
        let rest = if self.requests > 0 {
            limits.idle_timeout
        } else {
            limits.idle_timeout.max(limits.head_timeout)
        };
        let open = |since: Option<Boot>, time| since.filter(|_| !closed).map(|since| since + time);
        let ends = [
            (blocked.then(|| self.wire.flowed + limits.send_timeout), Late::Stalled),
            (open(self.left, LEAVE), Late::Leaving),
            (self.lingers.filter(|_| !closed), Late::Lingers),
            (open(self.midway, limits.head_timeout), Late::Head),
            (open(self.idle, rest), Late::Idle),
        ];
        let set = ends.into_iter().filter_map(|(due, late)| due.map(|due| (due, late)));
        set.min_by_key(|(due, _)| *due).unwrap_or((Boot::NEVER, Late::Idle))
    }

    /// Closes the connection so that the client sees all that was said.
    async fn linger(&mut self, watch: &Watch) {
        if self.broken || self.wire.ended {
            return;
        }
        let wire = &mut self.wire;
        if watch.within(LINGER, |cx| wire.poll_shutdown(cx)).await.is_none() {
            return;
        }
        let until = watch.now() + LINGER;
        let mut left = LINGER_BYTES;
        while watch.now() < until && left > 0 {
            match watch.within(LINGER, |cx| wire.poll_discard(cx)).await {
                Some(Ok(count)) if count > 0 => left = left.saturating_sub(count),
                Some(_) | None => return,
            }
        }
    }
}
