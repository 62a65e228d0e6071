//! A stream to an agent as the proxy has it: a connection.

use std::fmt;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use mainstay_link::tunnel::{Code, Splice, Stream, Tally, code_of, splice_counted};
use mainstay_proxy::policy::tunnel::Held;
use mainstay_proxy::road::{Joint, Road};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Sleep, sleep};

use super::Desk;
use super::seat::{Offered, Seat};

/// To many of gost's clients the end of one direction is that of both: they are told of ours when nothing has come for so long, so
/// that answers to who has said all come through, and a target that waits for the end hears of it.
pub(super) const LAST_WORDS: Duration = Duration::from_secs(2);

/// What is at the other end of a connection.
pub(super) trait End: fmt::Debug + Unpin {
    /// Whether further streams may be opened there.
    fn serves(&self) -> bool;

    /// A stream says that its session has ended.
    fn broken(&self);

    /// A stream was refused with this code: whether that means that not a byte was handed on, which other codes do not say.
    fn refused(&self, _code: Code) -> bool {
        false
    }

    /// Whether the end of one direction is the end of both to who is there.
    fn ends_both(&self) -> bool {
        false
    }

    /// What has gone there and come from there, over all connections.
    fn tally(&self) -> &Rc<Tally>;
}

/// An agent that has a session with this thread.
pub(super) struct Near {
    desk: Rc<Desk>,
    seat: Rc<Seat>,
    offer: Rc<Offered>,
}

impl Near {
    pub(super) fn new(desk: Rc<Desk>, seat: Rc<Seat>, offer: Rc<Offered>) -> Self {
        offer.streams.set(offer.streams.get() + 1);
        offer.opened.set(offer.opened.get() + 1);
        Self { desk, seat, offer }
    }
}

impl fmt::Debug for Near {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.seat.fmt(f)
    }
}

impl End for Near {
    fn serves(&self) -> bool {
        self.seat.serves()
    }

    fn broken(&self) {
        self.desk.unseat(&self.seat, "its session has broken");
    }

    fn ends_both(&self) -> bool {
        self.seat.gost.is_some()
    }

    fn tally(&self) -> &Rc<Tally> {
        &self.offer.tally
    }
}

impl Drop for Near {
    fn drop(&mut self) {
        self.offer.streams.set(self.offer.streams.get() - 1);
    }
}

/// A connection's place in its tunnel, and where it leads.
struct Pass<E: End> {
    end: E,
    held: Held,
}

/// A connection through a tunnel.
pub(super) struct Through<E: End> {
    stream: Stream,
    pass: Pass<E>,
    datagrams: bool,
    /// A datagram that was waited for and not read yet; nothing inside at the end.
    next: Option<Option<Vec<u8>>>,
    /// Our end is told when this has passed.
    ends: Option<Pin<Box<Sleep>>>,
}

impl<E: End> Through<E> {
    pub(super) const fn new(stream: Stream, end: E, held: Held, datagrams: bool) -> Self {
        Self { stream, pass: Pass { end, held }, datagrams, next: None, ends: None }
    }

    /// Tells our end once nothing has come for a while, or that something has come.
    fn end_late(&mut self, cx: &mut Context<'_>, came: bool) {
        let Some(ends) = &mut self.ends else { return };
        if came {
            *ends = Box::pin(sleep(LAST_WORDS));
        } else if ends.as_mut().poll(cx).is_ready() {
            self.ends = None;
            self.stream.finish();
        }
    }

    /// Waits for a datagram, or the end. One without bytes says nothing.
    fn poll_datagram(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.next.is_none() {
            let came = ready!(self.stream.poll_datagram(cx)).map_err(|error| self.pass.told(error))?;
            self.next = Some(came).filter(|came| came.as_ref().is_none_or(|bytes| !bytes.is_empty()));
        }
        Poll::Ready(Ok(()))
    }
}

impl<E: End> Pass<E> {
    /// What an error means to the proxy: a target that has seen nothing has refused. Whoever finds out that a session has ended
    /// tells the pools at once, so that nobody else is sent there.
    fn told(&self, error: io::Error) -> io::Error {
        match code_of(&error) {
            Some(code) if code.is_untouched() || self.end.refused(code) => {
                io::Error::new(io::ErrorKind::ConnectionRefused, code)
            }
            Some(Code::Gone) => {
                self.end.broken();
                error
            }
            Some(_) | None => error,
        }
    }

    fn came(&self, count: usize) {
        let tally = self.end.tally();
        tally.received.set(tally.received.get() + count as u64);
        self.held.spend(count);
    }

    fn went(&self, count: usize) {
        let tally = self.end.tally();
        tally.sent.set(tally.sent.get() + count as u64);
        self.held.spend(count);
    }
}

impl<E: End> fmt::Debug for Through<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Through").field("end", &self.pass.end).finish_non_exhaustive()
    }
}

impl<E: End> AsyncRead for Through<E> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        ready!(this.pass.held.poll_turn(cx));
        if this.datagrams {
            ready!(this.poll_datagram(cx))?;
            let Some(bytes) = this.next.take().flatten() else {
                this.next = Some(None);
                return Poll::Ready(Ok(()));
            };
            let count = bytes.len().min(buf.remaining());
            buf.put_slice(&bytes[..count]);
            this.pass.came(count);
            return Poll::Ready(Ok(()));
        }
        let before = buf.filled().len();
        let read = Pin::new(&mut this.stream).poll_read(cx, buf);
        if this.ends.is_some() {
            this.end_late(cx, read.is_ready());
        }
        ready!(read).map_err(|error| this.pass.told(error))?;
        this.pass.came(buf.filled().len() - before);
        Poll::Ready(Ok(()))
    }
}

impl<E: End> AsyncWrite for Through<E> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        ready!(this.pass.held.poll_turn(cx));
        let count = if this.datagrams {
            // One that finds no room is lost, as datagrams are.
            this.stream.send_datagram(bytes);
            bytes.len()
        } else {
            ready!(Pin::new(&mut this.stream).poll_write(cx, bytes)).map_err(|error| this.pass.told(error))?
        };
        this.pass.went(count);
        Poll::Ready(Ok(count))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        Pin::new(&mut this.stream).poll_flush(cx).map_err(|error| this.pass.told(error))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.pass.end.ends_both() {
            this.ends.get_or_insert_with(|| Box::pin(sleep(LAST_WORDS)));
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut this.stream).poll_shutdown(cx).map_err(|error| this.pass.told(error))
    }
}

impl<E: End + 'static> Road for Through<E> {
    fn poll_readable(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.datagrams {
            return self.poll_datagram(cx);
        }
        // One that rests is not kept for another request when its agent leaves, which waits for it.
        if !self.pass.end.serves() {
            return Poll::Ready(Ok(()));
        }
        let chunk = ready!(self.stream.poll_chunk(cx));
        Poll::Ready(chunk.map(|_| ()).map_err(|error| self.pass.told(error)))
    }

    fn joins(&self) -> bool {
        !self.datagrams && !self.pass.held.is_bounded() && !self.pass.end.ends_both()
    }

    fn poll_answered(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let chunk = ready!(self.stream.poll_chunk(cx));
        Poll::Ready(chunk.map(|_| ()).map_err(|error| self.pass.told(error)))
    }

    fn join(self: Box<Self>, client: TcpStream) -> Option<Box<dyn Joint>> {
        let Self { stream, pass, .. } = *self;
        let splice = splice_counted(client, stream, Rc::clone(pass.end.tally()));
        Some(Box::new(Between { splice, pass }))
    }
}

/// A client's socket and a stream that are joined.
struct Between<E: End> {
    splice: Splice,
    pass: Pass<E>,
}

impl<E: End> fmt::Debug for Between<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Between").field("end", &self.pass.end).finish_non_exhaustive()
    }
}

impl<E: End> Joint for Between<E> {
    fn poll_moving(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let ended = ready!(Pin::new(&mut self.splice).poll(cx));
        Poll::Ready(ended.map(|_| ()).map_err(|error| self.pass.told(error)))
    }

    fn moved(&self) -> (u64, u64) {
        let moved = self.splice.moved();
        (moved.sent, moved.received)
    }
}
