//! Connections to backends: which there are, who may open a stream on one, and the task that moves its bytes.

use std::cell::{Cell, RefCell};
use std::io;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use mainstay_core::http2::{Code, Connection, Limits};
use tokio::sync::Notify;

use super::mux::{Shared, Wire};
use crate::deadline::Watch;
use crate::http1::{Keep, Key};
use crate::thread::Thread;
use crate::transport::Io;

/// Bounds of a response's head: as large as backends are known to send.
const LIMITS: Limits =
    Limits { head_max: 64 << 10, fields_max: 256, streams_max: 0, drop_underscores: false };

/// A backend that owes a response and says nothing for this long is asked whether it lives.
const PING_AFTER: Duration = Duration::from_secs(10);

/// It has this long to say so.
const PONG_WITHIN: Duration = Duration::from_secs(10);

/// How long the last frames may take.
const GOODBYE: Duration = Duration::from_secs(2);

/// Turns of reading and writing before others on this thread get theirs.
const TURNS: usize = 16;

/// A connection to a backend that many requests share.
#[derive(Clone, Debug)]
pub struct Link {
    pub(super) shared: Shared,
    key: Key,
    keep: Keep,
    /// It began before the request that asks.
    pub(super) used: Rc<Cell<bool>>,
}

/// The connections of a thread.
#[derive(Debug, Default)]
pub struct Links {
    all: RefCell<Vec<Link>>,
    dialing: RefCell<Vec<Dialing>>,
}

/// Somebody dials; others wait for the outcome.
#[derive(Debug)]
struct Dialing {
    key: Key,
    done: Rc<Notify>,
    failed: Rc<Cell<bool>>,
}

/// What to do for a stream.
#[derive(Debug)]
pub enum Turn {
    /// This connection has room for one.
    Take(Link),
    /// Dial, and give the place to [`Link::new`]; others wait until it is dropped.
    Dial(Place),
    /// Another request has dialed for both, in vain.
    Failed,
}

/// The right to dial for a key; those who wait go on when it is dropped.
#[derive(Debug)]
pub struct Place {
    thread: Rc<Thread>,
    key: Key,
    failed: Rc<Cell<bool>>,
}

impl Place {
    /// There is a connection: those who wait may use it.
    fn succeeded(self) {
        self.failed.set(false);
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut dialing = self.thread.links.dialing.borrow_mut();
        if let Some(at) = dialing.iter().position(|one| one.key == self.key) {
            dialing.swap_remove(at).done.notify_waiters();
        }
    }
}

impl Links {
    /// A connection with room for a stream, or the right to dial one.
    pub async fn turn(thread: &Rc<Thread>, key: &Key) -> Turn {
        loop {
            if let Some(link) = thread.links.find(key) {
                return Turn::Take(link);
            }
            let waiting = {
                let mut dialing = thread.links.dialing.borrow_mut();
                match dialing.iter().find(|one| one.key == *key) {
                    Some(one) => (Rc::clone(&one.done), Rc::clone(&one.failed)),
                    None => {
                        // Whoever gives up halfway has failed for those who wait.
                        let failed = Rc::new(Cell::new(true));
                        let (key, done) = (key.clone(), Rc::new(Notify::new()));
                        dialing.push(Dialing { key: key.clone(), done, failed: Rc::clone(&failed) });
                        return Turn::Dial(Place { thread: Rc::clone(thread), key, failed });
                    }
                }
            };
            waiting.0.notified().await;
            if waiting.1.get() {
                return Turn::Failed;
            }
        }
    }

    fn find(&self, key: &Key) -> Option<Link> {
        let all = self.all.borrow();
        // The oldest ones first: the others become idle and end.
        let link = all.iter().find(|link| link.key == *key && link.has_room())?;
        link.used.set(true);
        Some(link.clone())
    }

    /// No further streams on any of them; those that are idle end.
    pub fn clear(&self) {
        for link in self.all.borrow_mut().drain(..) {
            link.retire();
        }
    }

    fn remove(&self, shared: &Link) {
        self.all.borrow_mut().retain(|link| !Rc::ptr_eq(&link.used, &shared.used));
    }
}

impl Link {
    /// Has a connection driven by a task of its own. One that is not to be shared serves this request alone.
    #[must_use]
    pub fn new(thread: &Rc<Thread>, io: Io, key: Key, keep: Keep, place: Option<Place>) -> Self {
        let shared = Shared::new(Connection::client(LIMITS));
        let link = Self { shared, key, keep, used: Rc::new(Cell::new(false)) };
        if keep.most > 0 {
            thread.links.all.borrow_mut().push(link.clone());
        }
        let driver = Driver {
            wire: Wire::new(io, Vec::new(), thread.deadlines.now()),
            watch: thread.deadlines.watch(),
            link: link.clone(),
            thread: Rc::clone(thread),
            place,
            pinged: false,
            idle: false,
        };
        tokio::task::spawn_local(driver.run());
        link
    }

    fn has_room(&self) -> bool {
        let mux = self.shared.borrow();
        let worn = self.keep.requests > 0 && mux.h2.opened() >= u64::from(self.keep.requests);
        !worn && mux.h2.is_settled() && mux.h2.may_open()
    }

    fn retire(&self) {
        let mut mux = self.shared.borrow();
        mux.h2.leave_now();
        mux.flush();
    }
}

/// The task of a connection.
struct Driver {
    thread: Rc<Thread>,
    link: Link,
    wire: Wire,
    watch: Watch,
    /// Held until the backend has said how many streams it takes.
    place: Option<Place>,
    pinged: bool,
    idle: bool,
}

impl Driver {
    async fn run(mut self) {
        let failed = std::future::poll_fn(|cx| self.poll(cx)).await;
        self.thread.links.remove(&self.link);
        self.place = None;
        if let Err(error) = &failed {
            tracing::debug!("backend connection: {error}");
        }
        {
            let mut mux = self.link.shared.borrow();
            if failed.is_err() {
                mux.h2.lost();
            } else {
                mux.h2.close(Code::NoError);
            }
            while mux.next_event().is_some() {}
        }
        if failed.is_ok() {
            let Self { wire, link, watch, .. } = &mut self;
            let now = watch.now();
            let _ = watch.within(GOODBYE, |cx| wire.poll_send(cx, &mut link.shared.borrow().h2, now)).await;
            let _ = watch.within(GOODBYE, |cx| wire.poll_shutdown(cx)).await;
        }
    }

    /// Moves what can be moved; ready when the connection is over.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Self { wire, link, watch, .. } = self;
        let mut mux = link.shared.borrow();
        mux.drive(cx);
        for _ in 0..TURNS {
            let now = watch.now();
            let heard = match wire.poll_receive(cx, &mut mux.h2, now) {
                Poll::Ready(heard) => {
                    heard?;
                    self.pinged = false;
                    true
                }
                Poll::Pending => false,
            };
            if wire.ended {
                return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
            }
            while mux.next_event().is_some() {}
            if mux.h2.is_settled()
                && let Some(place) = self.place.take()
            {
                place.succeeded();
            }
            let blocked = match wire.poll_send(cx, &mut mux.h2, now) {
                Poll::Ready(sent) => {
                    sent?;
                    false
                }
                Poll::Pending => true,
            };
            if mux.h2.is_closed() && !blocked {
                return Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()));
            }
            let living = mux.h2.living() > 0;
            let worn = link.keep.requests > 0 && mux.h2.opened() >= u64::from(link.keep.requests);
            let served = mux.h2.opened() > 0;
            if !living && served && (mux.h2.is_spent() || worn || link.keep.most == 0) {
                return Poll::Ready(Ok(()));
            }
            if heard || mux.h2.has_events() {
                continue;
            }
            if !std::mem::replace(&mut self.idle, !living) && !living {
                wire.heard = now;
            }
            let patience = match (living, self.pinged) {
                (false, _) => link.keep.time,
                (true, false) => PING_AFTER,
                (true, true) => PONG_WITHIN,
            };
            let due = wire.heard + patience;
            if !watch.has_passed(cx, due) {
                return Poll::Pending;
            }
            if watch.now() < due {
                continue;
            }
            if !living {
                return Poll::Ready(Ok(()));
            }
            if self.pinged {
                return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
            }
            self.pinged = true;
            wire.heard = watch.now();
            mux.h2.ping();
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}
