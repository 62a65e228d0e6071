//! Bytes between a client and a road through a tunnel.
//!
//! What the client says before the first byte comes back is kept, so that a target that refuses costs no more than another try.
//! From then on a client's plain TCP socket is joined to the road, which sends and receives for itself; all others are copied. A
//! connection that waits owns no buffer.

use std::cell::Cell;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::deadline::Watch;
use crate::road::{Joint, Road};
use crate::thread::Thread;
use crate::transport::{Io, Stream};

/// Bytes that are moved at once; all connections of a thread share the buffer.
const BUFFER: usize = 32 * 1024;

/// Bytes that one direction moves before others on the thread get their turn.
const TURN: u64 = 512 * 1024;

/// Bytes of the client that are kept for another try.
const KEPT: usize = 16 * 1024;

thread_local! {
    static SHARED: Cell<Option<Box<[u8]>>> = const { Cell::new(None) };
}

/// How it ended.
#[derive(Debug)]
pub(super) enum End {
    /// Both directions came to their end.
    Whole,
    /// The target was not there, and nothing is lost: here is the client, and what it said so far is in `early`.
    Refused(Io),
    /// It goes on without being copied.
    Joined(Joined),
    /// A connection broke.
    Broken,
    /// Nothing moved for too long.
    Idle,
    /// Drained: its time was over.
    Cut,
}

/// What became of a connection.
#[derive(Debug)]
pub(super) struct Carried {
    pub(super) end: End,
    /// Bytes from the client.
    pub(super) received: u64,
    /// Bytes to the client.
    pub(super) sent: u64,
}

/// Where bytes come from.
trait Source {
    /// Reads into `into`; zero is the end.
    fn poll_fill(&mut self, cx: &mut Context<'_>, into: &mut [u8]) -> Poll<io::Result<usize>>;
}

impl Source for Io {
    fn poll_fill(&mut self, cx: &mut Context<'_>, into: &mut [u8]) -> Poll<io::Result<usize>> {
        Self::poll_fill(self, cx, into)
    }
}

impl Source for Box<dyn Road> {
    fn poll_fill(&mut self, cx: &mut Context<'_>, into: &mut [u8]) -> Poll<io::Result<usize>> {
        let mut buf = ReadBuf::new(into);
        ready!(Pin::new(self).poll_read(cx, &mut buf))?;
        Poll::Ready(Ok(buf.filled().len()))
    }
}

/// One direction.
#[derive(Debug, Default)]
struct Half {
    /// Bytes that found no room, from `at` on.
    rest: Vec<u8>,
    at: usize,
    /// The source has ended.
    ended: bool,
    /// The destination knows.
    done: bool,
    /// The source has failed.
    lost: bool,
    /// Something was written since the last flush.
    fresh: bool,
    moved: u64,
}

/// What the copying of a connection comes to.
enum Step {
    Over(End),
    Refused,
    /// Both ends can be joined.
    Joins,
}

/// Moves bytes both ways until both have ended, one broke, or nothing moved for `idle`; or until the two can be joined. `early`
/// goes to the road first; on [`End::Refused`] it is all that the client has said.
pub(super) async fn carry(
    thread: &Rc<Thread>,
    mut client: Io,
    mut road: Box<dyn Road>,
    early: &mut Vec<u8>,
    idle: Duration,
) -> Carried {
    let watch = thread.deadlines.watch();
    let mut inward = Half { rest: early.clone(), ..Half::default() };
    let mut outward = Half::default();
    let (mut seen, mut due) = (0, watch.now() + idle);
    let mut keeps = true;
    let joins = road.joins() && matches!(client.direct(), Some(Stream::Tcp(_)));
    let moving = std::future::poll_fn(|cx| {
        if joins && inward.is_clear() && outward.is_clear() {
            let answered = !keeps || matches!(road.poll_answered(cx), Poll::Ready(Ok(())));
            if answered {
                return Poll::Ready(Step::Joins);
            }
        }
        let kept = if keeps { Some(&mut *early) } else { None };
        let up = inward.poll(cx, &mut client, &mut road, kept);
        let down = outward.poll(cx, &mut road, &mut client, None);
        let refused = |half: &Poll<io::Result<()>>| matches!(half, Poll::Ready(Err(error)) if error.kind() == io::ErrorKind::ConnectionRefused);
        if refused(&up) || refused(&down) {
            let lost = !keeps || outward.moved > 0;
            return Poll::Ready(if lost { Step::Over(End::Broken) } else { Step::Refused });
        }
        match (&up, &down) {
            (_, Poll::Ready(Err(_))) => return Poll::Ready(Step::Over(End::Broken)),
            // A target that takes no more may have answered already; a client that is gone hears no answer.
            (Poll::Ready(Err(_)), Poll::Pending) if outward.ended || inward.lost => {
                return Poll::Ready(Step::Over(End::Broken));
            }
            (Poll::Ready(Err(_)), Poll::Ready(Ok(()))) => return Poll::Ready(Step::Over(End::Broken)),
            (Poll::Ready(Err(_)), Poll::Pending) => inward.give_up(),
            (Poll::Ready(Ok(())), Poll::Ready(Ok(()))) => return Poll::Ready(Step::Over(End::Whole)),
            (Poll::Ready(Ok(())) | Poll::Pending, Poll::Pending) | (Poll::Pending, Poll::Ready(Ok(()))) => {}
        }
        if keeps && (outward.moved > 0 || early.len() > KEPT) {
            keeps = false;
            *early = Vec::new();
        }
        let moved = inward.moved + outward.moved;
        if moved != seen {
            (seen, due) = (moved, watch.now() + idle);
        }
        if watch.has_passed(cx, due) && watch.now() >= due {
            return Poll::Ready(Step::Over(End::Idle));
        }
        Poll::Pending
    });
    let step = tokio::select! {
        step = moving => step,
        () = thread.is_cut() => Step::Over(End::Cut),
    };
    let end = match step {
        Step::Over(end) => end,
        Step::Refused => End::Refused(client),
        Step::Joins => match client.into_tcp().and_then(|client| road.join(client)) {
            Some(joint) => End::Joined(Joined { joint, watch }),
            None => End::Broken,
        },
    };
    Carried { end, received: inward.moved, sent: outward.moved }
}

/// A client that is joined to its road.
#[derive(Debug)]
pub(super) struct Joined {
    joint: Box<dyn Joint>,
    watch: Watch,
}

impl Joined {
    /// Waits until both directions have ended, one broke, or nothing moved for `idle` or up to twice as long.
    pub(super) async fn run(mut self, thread: &Rc<Thread>, idle: Duration) -> Carried {
        let (mut seen, mut due) = (self.joint.moved(), self.watch.now() + idle);
        let end = std::future::poll_fn(|cx| {
            if let Poll::Ready(moving) = self.joint.poll_moving(cx) {
                return Poll::Ready(if moving.is_ok() { End::Whole } else { End::Broken });
            }
            if thread.was_cut() {
                return Poll::Ready(End::Cut);
            }
            if self.watch.has_passed(cx, due) {
                let moved = self.joint.moved();
                if moved == seen {
                    return Poll::Ready(End::Idle);
                }
                (seen, due) = (moved, self.watch.now() + idle);
                let _ = self.watch.has_passed(cx, due);
            }
            Poll::Pending
        })
        .await;
        let (received, sent) = self.joint.moved();
        Carried { end, received, sent }
    }
}

impl Half {
    /// Moves what can be moved; done when the end has been passed on.
    fn poll(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut impl Source,
        to: &mut (impl AsyncWrite + Unpin),
        mut kept: Option<&mut Vec<u8>>,
    ) -> Poll<io::Result<()>> {
        if self.done {
            return Poll::Ready(Ok(()));
        }
        let until = self.moved + TURN;
        loop {
            while self.at < self.rest.len() {
                let count = ready!(Pin::new(&mut *to).poll_write(cx, &self.rest[self.at..]))?;
                self.wrote(count)?;
                self.at += count;
            }
            (self.rest, self.at) = (Vec::new(), 0);
            if self.ended {
                ready!(Pin::new(&mut *to).poll_shutdown(cx))?;
                self.done = true;
                return Poll::Ready(Ok(()));
            }
            if self.moved >= until {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            let mut buffer = SHARED.take().unwrap_or_else(|| vec![0; BUFFER].into_boxed_slice());
            let turned = self.turn(cx, from, to, &mut buffer, kept.as_deref_mut());
            SHARED.set(Some(buffer));
            match turned {
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => {
                    if self.fresh {
                        ready!(Pin::new(&mut *to).poll_flush(cx))?;
                        self.fresh = false;
                    }
                    return Poll::Pending;
                }
            }
        }
    }

    /// Reads once and writes as much of it as is taken.
    fn turn(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut impl Source,
        to: &mut (impl AsyncWrite + Unpin),
        buffer: &mut [u8],
        kept: Option<&mut Vec<u8>>,
    ) -> Poll<io::Result<()>> {
        let got = ready!(from.poll_fill(cx, buffer)).inspect_err(|_| self.lost = true)?;
        if got == 0 {
            self.ended = true;
            return Poll::Ready(Ok(()));
        }
        let bytes = &buffer[..got];
        if let Some(kept) = kept {
            kept.extend_from_slice(bytes);
        }
        let taken = match Pin::new(to).poll_write(cx, bytes) {
            Poll::Ready(taken) => taken?,
            Poll::Pending => 0,
        };
        if taken > 0 {
            self.wrote(taken)?;
        }
        self.rest.extend_from_slice(&bytes[taken..]);
        Poll::Ready(Ok(()))
    }

    fn wrote(&mut self, count: usize) -> io::Result<()> {
        if count == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        self.moved += count as u64;
        self.fresh = true;
        Ok(())
    }

    /// Whether nothing is on its way, and the destination has not failed.
    fn is_clear(&self) -> bool {
        self.rest.is_empty() && (!self.done || self.ended)
    }

    /// The destination takes no more: what comes is not wanted.
    fn give_up(&mut self) {
        self.done = true;
    }
}
