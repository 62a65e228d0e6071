//! One direction of a request on its way: a body from where it comes to where it goes, copied or spliced, compressed or
//! held back on the way.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use mainstay_core::time::Boot;
use tokio::time::Sleep;

use super::splice::Splice;
use super::{Broken, More, Sink, Source, Way};
use crate::clock::boot_now;
use crate::gzip::Encoder;

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
    /// What is done to the bytes on the way.
    through: Option<Box<Through>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Running,
    /// The body is at its end, the last of it not yet compressed.
    Ending,
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

/// What a body passes on its way.
#[derive(Debug, Default)]
struct Through {
    encoder: Option<Encoder>,
    /// Compressed bytes that were not sent.
    out: Vec<u8>,
    out_at: usize,
    pace: Option<Pace>,
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
            through: None,
        }
    }

    /// Sends no more than `rate` bytes a second; 0 is without bound.
    pub(super) fn hold_back(&mut self, rate: u64) {
        if rate > 0 {
            let pace = Pace { rate, began: boot_now(), sent: 0, sleep: None };
            self.through.get_or_insert_default().pace = Some(pace);
        }
    }

    /// Compresses what passes.
    pub(super) fn compress(&mut self, encoder: Encoder) {
        self.through.get_or_insert_default().encoder = Some(encoder);
    }

    pub(super) fn is_done(&self) -> bool {
        self.state == State::Done
    }

    /// Bytes are changed or held back on the way.
    pub(super) fn changes(&self) -> bool {
        self.through.is_some()
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
                    if self.through.is_some() {
                        ready!(self.poll_through(cx, from, to))?;
                    } else {
                        ready!(self.poll_pass(cx, from, to))?;
                    }
                }
                State::Ending => {
                    ready!(self.poll_out(cx, to))?;
                    to.finish(from.trailers());
                    self.state = State::Flushing;
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

    /// Passes bytes that are compressed or held back.
    fn poll_through(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut impl Source,
        to: &mut impl Sink,
    ) -> Poll<Result<(), Fault>> {
        ready!(self.poll_out(cx, to))?;
        let Poll::Ready(more) = from.poll_data(cx) else {
            if self.through.as_deref_mut().is_some_and(Through::flush) {
                return Poll::Ready(Ok(()));
            }
            return self.wait(cx, to);
        };
        let through = self.through.get_or_insert_default();
        match more.map_err(Fault::Source)? {
            More::Data => {
                let taken = through.take(from.data());
                if taken > 0 {
                    from.consume(taken);
                    return Poll::Ready(Ok(()));
                }
                let allowed =
                    through.pace.as_mut().map_or(Poll::Ready(usize::MAX), |pace| pace.poll_allowed(cx));
                let Poll::Ready(allowed) = allowed else {
                    self.waits = Waits::Pace;
                    return self.flush_while_held(cx, to);
                };
                let data = from.data();
                self.waits = Waits::Sink;
                let sent = ready!(to.poll_send(cx, &data[..data.len().min(allowed)])).map_err(Fault::Sink)?;
                from.consume(sent);
                self.sent(sent);
            }
            More::End => {
                if let Some(encoder) = through.encoder.take() {
                    encoder.finish(&mut through.out);
                }
                self.state = State::Ending;
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Sends what was compressed.
    fn poll_out(&mut self, cx: &mut Context<'_>, to: &mut impl Sink) -> Poll<Result<(), Fault>> {
        while let Some(through) = self.through.as_deref_mut().filter(|t| t.out_at < t.out.len()) {
            let allowed = through.pace.as_mut().map_or(Poll::Ready(usize::MAX), |pace| pace.poll_allowed(cx));
            let Poll::Ready(allowed) = allowed else {
                self.waits = Waits::Pace;
                return self.flush_while_held(cx, to);
            };
            let rest = &through.out[through.out_at..];
            self.waits = Waits::Sink;
            let sent = ready!(to.poll_send(cx, &rest[..rest.len().min(allowed)])).map_err(Fault::Sink)?;
            through.out_at += sent;
            if through.out_at == through.out.len() {
                through.out.clear();
                through.out_at = 0;
            }
            self.sent(sent);
        }
        Poll::Ready(Ok(()))
    }

    fn sent(&mut self, count: usize) {
        self.moved += count as u64;
        self.since = self.way.watch.now();
        if let Some(pace) = self.through.as_deref_mut().and_then(|through| through.pace.as_mut()) {
            pace.sent += count as u64;
        }
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

impl Through {
    /// Compresses bytes; says how many, none when nothing is compressed here.
    fn take(&mut self, data: &[u8]) -> usize {
        let Some(encoder) = &mut self.encoder else { return 0 };
        encoder.push(data, &mut self.out);
        data.len()
    }

    /// Makes what was taken so far ready to be sent; whether there is anything.
    fn flush(&mut self) -> bool {
        if let Some(encoder) = &mut self.encoder {
            encoder.flush(&mut self.out);
        }
        self.out_at < self.out.len()
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
