//! The session's task: reads what has come, lets time pass, writes what was staged.

use std::cell::RefCell;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use mainstay_core::time::Boot;
use mainstay_core::tunnel::Closed;
use tokio::io::ReadBuf;
use tokio::time::Sleep;

use super::clock::boot_now;
use super::inner::{Inner, Shared};

/// What is read at once. One buffer serves all sessions of a thread: what is not taken at once is kept by the stream's own inbox.
const READ: usize = 128 << 10;

/// Reads in a row before others get their turn.
const READS: usize = 8;

/// What a session that is over may take to say so.
const PARTING: Duration = Duration::from_secs(1);

thread_local! {
    static BUFFER: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// The task.
pub(super) struct Drive {
    shared: Shared,
    sleep: Pin<Box<Sleep>>,
    /// What `sleep` waits for.
    armed: Boot,
    parting: bool,
}

impl Drive {
    pub(super) fn new(shared: Shared) -> Self {
        Self {
            shared,
            sleep: Box::pin(tokio::time::sleep(Duration::ZERO)),
            armed: Boot::ZERO,
            parting: false,
        }
    }

    /// Lets time pass; true when the timer rang.
    fn clock(&mut self, inner: &mut Inner, cx: &mut Context<'_>) {
        loop {
            let due = inner.mux.poll_timeout();
            if due <= inner.now {
                if let Some(load) = &inner.load {
                    inner.mux.set_load(load.get());
                }
                inner.mux.tick(inner.now);
                continue;
            }
            // A timer that rings too early is cheaper than one that is set anew whenever something is heard.
            if due < self.armed || self.armed <= inner.now {
                self.armed = due;
                self.sleep.set(tokio::time::sleep(due.since(inner.now)));
            }
            if self.sleep.as_mut().poll(cx).is_pending() {
                return;
            }
            self.armed = Boot::ZERO;
            inner.now = boot_now();
        }
    }

    /// The last words are sent and the carrier is closed, within its time.
    fn part(&mut self, inner: &mut Inner, cx: &mut Context<'_>) -> Poll<()> {
        if matches!(inner.closed, Some(Closed::Silent(_))) {
            // Nobody answers an orderly end, and who still hears is to know at once: the carrier is dropped as it is.
            inner.carrier = None;
            return Poll::Ready(());
        }
        if !std::mem::replace(&mut self.parting, true) {
            self.sleep.set(tokio::time::sleep(PARTING));
        }
        inner.write();
        let Some(carrier) = &mut inner.carrier else { return Poll::Ready(()) };
        let full = inner.blocked && inner.broken.is_none();
        let waits = full || Pin::new(&mut **carrier).poll_shutdown(cx).is_pending();
        if waits && self.sleep.as_mut().poll(cx).is_pending() {
            return Poll::Pending;
        }
        inner.carrier = None;
        Poll::Ready(())
    }
}

impl Future for Drive {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        let shared = this.shared.clone();
        let inner = &mut *shared.borrow_mut();
        inner.task.clone_from(cx.waker());
        inner.asked = false;
        inner.now = boot_now();
        if inner.closed.is_none() {
            inner.write();
            let more = read(inner, cx);
            if let Some(why) = inner.broken.as_ref().filter(|_| !more) {
                inner.mux.lost(why);
            }
            this.clock(inner, cx);
            if inner.full && !inner.mux.is_full() {
                inner.ask();
            }
            // Streams that were woken stage what they have after this: only then is the next write worth its price.
            inner.effects();
            if more || !inner.mux.output().is_empty() || inner.mux.has_waiting() {
                if !inner.blocked {
                    inner.mux.turn();
                    inner.effects();
                    inner.ask();
                } else if more {
                    inner.ask();
                }
            }
        }
        if inner.closed.is_some() { this.part(inner, cx) } else { Poll::Pending }
    }
}

/// Reads and hears; true when there may be more.
fn read(inner: &mut Inner, cx: &mut Context<'_>) -> bool {
    BUFFER.with_borrow_mut(|buffer| {
        if buffer.is_empty() {
            buffer.resize(READ, 0);
        }
        for _ in 0..READS {
            if inner.mux.is_closed() {
                return false;
            }
            // Whoever takes of what is unread has this go on.
            inner.full = inner.mux.is_full();
            if inner.full {
                return false;
            }
            let Some(carrier) = &mut inner.carrier else { return false };
            let mut read = ReadBuf::new(buffer);
            match Pin::new(&mut **carrier).poll_read(cx, &mut read) {
                Poll::Ready(Ok(())) if read.filled().is_empty() => inner.mux.lost("it was closed"),
                Poll::Ready(Ok(())) => inner.hear(read.filled()),
                Poll::Ready(Err(error)) => inner.mux.lost(&error.to_string()),
                Poll::Pending => return false,
            }
        }
        true
    })
}
