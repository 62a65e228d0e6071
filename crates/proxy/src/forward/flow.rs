//! One direction of a request on its way: a body from where it comes to where it goes.

use std::task::{Context, Poll};
use std::time::Duration;

use mainstay_core::time::Boot;

use super::{Broken, More, Sink, Source};
use crate::deadline::Watch;

/// How far a body has come.
#[derive(Debug)]
pub(super) struct Flow {
    /// Bytes that were passed.
    pub(super) moved: u64,
    /// More are a fault; `None` is without bound.
    pub(super) most: Option<u64>,
    state: State,
    waits: Waits,
    since: Boot,
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

impl Flow {
    pub(super) fn new(watch: &Watch) -> Self {
        Self { moved: 0, most: None, state: State::Running, waits: Waits::Source, since: watch.now() }
    }

    pub(super) fn is_done(&self) -> bool {
        self.state == State::Done
    }

    /// Moves what can be moved; ready when the body has gone out whole.
    pub(super) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        watch: &Watch,
        from: &mut impl Source,
        to: &mut impl Sink,
    ) -> Poll<Result<(), Fault>> {
        loop {
            match self.state {
                State::Running => {
                    let Poll::Ready(more) = from.poll_data(cx) else { return self.wait(cx, to) };
                    match more.map_err(Fault::Source)? {
                        More::Data => {
                            let Poll::Ready(sent) = self.pass(cx, from, to)? else {
                                self.waits = Waits::Sink;
                                return Poll::Pending;
                            };
                            self.moved += sent as u64;
                            self.since = watch.now();
                        }
                        More::End => {
                            to.finish(from.trailers());
                            self.state = State::Flushing;
                        }
                    }
                }
                State::Flushing => {
                    let Poll::Ready(flushed) = to.poll_flush(cx) else {
                        self.waits = Waits::Sink;
                        return Poll::Pending;
                    };
                    flushed.map_err(Fault::Sink)?;
                    self.state = State::Done;
                }
                State::Done => return Poll::Ready(Ok(())),
            }
        }
    }

    fn pass(
        &self,
        cx: &mut Context<'_>,
        from: &mut impl Source,
        to: &mut impl Sink,
    ) -> Result<Poll<usize>, Fault> {
        let data = from.data();
        if self.most.is_some_and(|most| self.moved + data.len() as u64 > most) {
            return Err(Fault::TooMany);
        }
        let Poll::Ready(sent) = to.poll_send(cx, data) else { return Ok(Poll::Pending) };
        let sent = sent.map_err(Fault::Sink)?;
        from.consume(sent);
        Ok(Poll::Ready(sent))
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
        let patience = match self.waits {
            Waits::Source => source,
            Waits::Sink => sink,
        };
        (self.since + patience, self.waits)
    }

    /// When something was passed last.
    pub(super) fn since(&self) -> Boot {
        self.since
    }
}
