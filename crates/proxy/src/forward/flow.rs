//! One direction of a request on its way: a body from where it comes to where it goes, copied or spliced, or
//! held back on the way.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use mainstay_core::time::Boot;
use tokio::time::Sleep;

use super::splice::Splice;
use super::{Broken, More, Sink, Source, Way};
use crate::clock::boot_now;

/// How far a body has come.
#[derive(Debug)]
pub(super) struct Flow<'a> {
    way: Way<'a>,
    /// Bytes that were passed.
    pub(super) moved: u64,
    /// More are a fault; `None` is without bound.
    pub(super) most: Option<u64>,
    state: State,
    waits: Waits,
    since: Boot,
    splice: Splice<'a>,
    /// How fast it may go.
    pace: Option<Box<Pace>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Running,
    /// The body is at its end, which is not flushed yet.
    Flushing,
    Done,
}

/// Whom a flow waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Waits {
    /// Bytes that do not come.
    Source,
    /// Bytes that are not taken.
    Sink,
    /// The time that the next byte may go.
    Pace,
}

/// Why a flow cannot go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// Where the bytes come from.
    Source(Broken),
    /// Where they go.
    Sink(Broken),
    /// There are more than there may be.
    TooMany,
}

/// So many bytes a second.
#[derive(Debug)]
struct Pace {
    rate: u64,
    began: Boot,
    sent: u64,
    sleep: Option<Pin<Box<Sleep>>>,
}

impl<'a> Flow<'a> {
    pub(super) fn new(way: Way<'a>) -> Self {
        Self {
            way,
            moved: 0,
            most: None,
            state: State::Running,
            waits: Waits::Source,
            since: way.watch.now(),
            splice: Splice::new(&way.thread.pipes),
            pace: None,
        }
    }

    /// Sends no more than `rate` bytes a second; 0 is without bound.
    pub(super) fn hold_back(&mut self, rate: u64) {
        if rate > 0 {
            self.pace = Some(Box::new(Pace { rate, began: boot_now(), sent: 0, sleep: None }));
        }
    }

    pub(super) fn is_done(&self) -> bool {
        self.state == State::Done
    }

    /// Moves what can be moved; ready when the body has gone out whole.
    pub(super) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut impl Source,
        to: &mut impl Sink,
    ) -> Poll<Result<(), Fault>> {
        loop {
            match self.state {
                State::Running => {
                    if self.pace.is_some() {
                        ready!(self.poll_paced(cx, from, to))?;
                    } else {
                        ready!(self.poll_pass(cx, from, to))?;
                    }
                }
                State::Flushing => {
                    self.waits = Waits::Sink;
                    ready!(to.poll_flush(cx)).map_err(Fault::Sink)?;
                    self.state = State::Done;
                }
                State::Done => return Poll::Ready(Ok(())),
            }
        }
    }

    /// Passes bytes as they are: by splice where both ends are sockets and there are many.
    fn poll_pass(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut impl Source,
        to: &mut impl Sink,
    ) -> Poll<Result<(), Fault>> {
        if self.splice.begins(from, to) && self.most.is_none() {
            return self.poll_splice(cx, from, to);
        }
        let Poll::Ready(more) = from.poll_data(cx) else { return self.wait(cx, to) };
        match more.map_err(Fault::Source)? {
            More::Data => {
                let data = from.data();
                if self.most.is_some_and(|most| self.moved + data.len() as u64 > most) {
                    return Poll::Ready(Err(Fault::TooMany));
                }
                self.waits = Waits::Sink;
                let sent = ready!(to.poll_send(cx, data)).map_err(Fault::Sink)?;
                from.consume(sent);
                self.moved += sent as u64;
                self.since = self.way.watch.now();
            }
            More::End => {
                to.finish(from.trailers());
                self.state = State::Flushing;
            }
        }
        Poll::Ready(Ok(()))
    }

    fn poll_splice(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut impl Source,
        to: &mut impl Sink,
    ) -> Poll<Result<(), Fault>> {
        loop {
            let before = self.splice.moved;
            let turn = self.splice.poll(cx, from, to);
            if self.splice.moved > before {
                self.moved += self.splice.moved - before;
                self.since = self.way.watch.now();
            }
            match turn {
                Poll::Ready(Ok(true)) => {}
                Poll::Ready(Ok(false)) => return Poll::Ready(Ok(())),
                Poll::Ready(Err(fault)) => return Poll::Ready(Err(fault)),
                Poll::Pending => {
                    self.waits = if self.splice.is_empty() { Waits::Source } else { Waits::Sink };
                    return Poll::Pending;
                }
            }
        }
    }

    /// Passes bytes as they may go.
    fn poll_paced(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut impl Source,
        to: &mut impl Sink,
    ) -> Poll<Result<(), Fault>> {
        let Poll::Ready(more) = from.poll_data(cx) else { return self.wait(cx, to) };
        match more.map_err(Fault::Source)? {
            More::Data => {
                let allowed =
                    self.pace.as_deref_mut().map_or(Poll::Ready(usize::MAX), |pace| pace.poll_allowed(cx));
                let Poll::Ready(allowed) = allowed else {
                    self.waits = Waits::Pace;
                    return self.flush_while_held(cx, to);
                };
                let data = from.data();
                self.waits = Waits::Sink;
                let sent = ready!(to.poll_send(cx, &data[..data.len().min(allowed)])).map_err(Fault::Sink)?;
                from.consume(sent);
                self.moved += sent as u64;
                self.since = self.way.watch.now();
                if let Some(pace) = &mut self.pace {
                    pace.sent += sent as u64;
                }
            }
            More::End => {
                to.finish(from.trailers());
                self.state = State::Flushing;
            }
        }
        Poll::Ready(Ok(()))
    }

    fn flush_while_held(&mut self, cx: &mut Context<'_>, to: &mut impl Sink) -> Poll<Result<(), Fault>> {
        match to.poll_flush(cx) {
            Poll::Ready(Ok(())) => {}
            Poll::Ready(Err(broken)) => return Poll::Ready(Err(Fault::Sink(broken))),
            Poll::Pending => self.waits = Waits::Sink,
        }
        Poll::Pending
    }

    /// Nothing comes at the moment: what is here goes out.
    fn wait(&mut self, cx: &mut Context<'_>, to: &mut impl Sink) -> Poll<Result<(), Fault>> {
        self.waits = Waits::Sink;
        if let Poll::Ready(flushed) = to.poll_flush(cx) {
            flushed.map_err(Fault::Sink)?;
            self.waits = Waits::Source;
        }
        Poll::Pending
    }

    /// When it has waited too long, and for whom.
    pub(super) fn due(&self, source: Duration, sink: Duration) -> (Boot, Waits) {
        let due = match self.waits {
            Waits::Source => self.since + source,
            Waits::Sink => self.since + sink,
            Waits::Pace => Boot::NEVER,
        };
        (due, self.waits)
    }

    /// When something was passed last.
    pub(super) fn since(&self) -> Boot {
        self.since
    }
}

impl Pace {
    /// How many bytes may go now: those of this second are ahead of it, as nginx has them.
    fn poll_allowed(&mut self, cx: &mut Context<'_>) -> Poll<usize> {
        loop {
            let passed = boot_now().since(self.began) + Duration::from_secs(1);
            let may = u128::from(self.rate) * passed.as_millis() / 1000;
            let left = may.saturating_sub(u128::from(self.sent));
            if left > 0 {
                return Poll::Ready(usize::try_from(left).unwrap_or(usize::MAX));
            }
            // Until a tenth of a second's bytes may go, so that they go together.
            let behind = u128::from(self.sent) + u128::from(self.rate) / 10 + 1 - may;
            let wait = u64::try_from(behind * 1000 / u128::from(self.rate)).unwrap_or(1000).max(1);
            let sleep =
                self.sleep.get_or_insert_with(|| Box::pin(tokio::time::sleep(Duration::from_millis(wait))));
            ready!(sleep.as_mut().poll(cx));
            self.sleep = None;
        }
    }
}
