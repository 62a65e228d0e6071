//! The task of a connection: its timers, what it says to its endpoint, what it sends.

use std::cell::RefCell;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Instant;

use quinn_proto::Transmit;
use tokio::time::Sleep;

use super::connection::{Shared, State};
use super::endpoint::Core;
use super::now;

/// Calls in a row before others get their turn.
const CALLS: usize = 32;

/// Datagrams that go with one call, at most.
const SEGMENTS: usize = 16;

thread_local! {
    static BUFFER: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// The task.
pub(super) struct Drive {
    connection: Shared,
    endpoint: Rc<Core>,
    sleep: Pin<Box<Sleep>>,
    /// What `sleep` waits for.
    armed: Option<Instant>,
    /// What the socket has not taken yet.
    kept: Option<(Transmit, Vec<u8>)>,
}

impl Drive {
    pub(super) fn new(connection: Shared, endpoint: Rc<Core>) -> Self {
        let sleep = Box::pin(tokio::time::sleep(std::time::Duration::ZERO));
        Self { connection, endpoint, sleep, armed: None, kept: None }
    }

    /// Lets time pass, and has the endpoint do its part.
    fn advance(&self, state: &mut State, now: Instant) {
        while state.machine.poll_timeout().is_some_and(|due| due <= now) {
            state.machine.handle_timeout(now);
        }
        while let Some(event) = state.machine.poll_endpoint_events() {
            if event.is_drained() {
                self.endpoint.forget(state.handle);
            }
            if let Some(event) = self.endpoint.machine.borrow_mut().handle_event(state.handle, event) {
                state.machine.handle_event(event);
            }
        }
        state.events();
    }

    /// Sends what there is to send: whether there may be more, and the socket would take it.
    fn send(&mut self, state: &mut State, now: Instant, cx: &mut Context<'_>) -> bool {
        if let Some((transmit, bytes)) = &self.kept {
            if state.socket.poll_send(cx, transmit, bytes).is_pending() {
                return false;
            }
            self.kept = None;
        }
        let segments = state.socket.segments().min(SEGMENTS);
        BUFFER.with_borrow_mut(|buffer| {
            for _ in 0..CALLS {
                buffer.clear();
                let Some(transmit) = state.machine.poll_transmit(now, segments, buffer) else { return false };
                if state.socket.poll_send(cx, &transmit, buffer).is_pending() {
                    self.kept = Some((transmit, buffer.clone()));
                    return false;
                }
            }
            true
        })
    }

    /// Whether the timer is set and has not rung.
    fn arm(&mut self, state: &mut State, cx: &mut Context<'_>) -> bool {
        let Some(due) = state.machine.poll_timeout() else { return true };
        if self.armed != Some(due) {
            self.armed = Some(due);
            self.sleep.as_mut().reset(due.into());
        }
        self.sleep.as_mut().poll(cx).is_pending()
    }
}

impl Future for Drive {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        let shared = Rc::clone(&this.connection);
        let state = &mut *shared.borrow_mut();
        let now = now();
        this.advance(state, now);
        let more = this.send(state, now, cx);
        // What was sent may have set timers, and said something to the endpoint.
        this.advance(state, now);
        if state.machine.is_drained() {
            return Poll::Ready(());
        }
        state.task = Some(cx.waker().clone());
        if more || !this.arm(state, cx) {
            state.ask();
        }
        Poll::Pending
    }
}
