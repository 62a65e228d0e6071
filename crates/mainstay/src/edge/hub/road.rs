//! A stream to an agent as the proxy has it: a connection.

use std::fmt;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use mainstay_link::tunnel::{Code, Stream, code_of};
use mainstay_proxy::policy::tunnel::Held;
use mainstay_proxy::road::Road;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::Desk;
use super::seat::{Offered, Seat};

/// What is at the other end of a connection.
pub(super) trait End: fmt::Debug + Unpin {
    /// Whether further streams may be opened there.
    fn serves(&self) -> bool;

    /// A stream says that its session has ended.
    fn broken(&self);

    /// So many bytes came from there.
    fn came(&self, count: usize);

    /// So many went there.
    fn went(&self, count: usize);
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

    fn came(&self, count: usize) {
        self.offer.received.set(self.offer.received.get() + count as u64);
    }

    fn went(&self, count: usize) {
        self.offer.sent.set(self.offer.sent.get() + count as u64);
    }
}

impl Drop for Near {
    fn drop(&mut self) {
        self.offer.streams.set(self.offer.streams.get() - 1);
    }
}

/// A connection through a tunnel.
pub(super) struct Through<E: End> {
    stream: Stream,
    end: E,
    held: Held,
    datagrams: bool,
    /// A datagram that was waited for and not read yet; nothing inside at the end.
    next: Option<Option<Vec<u8>>>,
}

impl<E: End> Through<E> {
    pub(super) const fn new(stream: Stream, end: E, held: Held, datagrams: bool) -> Self {
        Self { stream, end, held, datagrams, next: None }
    }

    /// What an error means to the proxy: a target that has seen nothing has refused. Whoever finds out that a session has ended
    /// tells the pools at once, so that nobody else is sent there.
    fn told(&self, error: io::Error) -> io::Error {
        match code_of(&error) {
            Some(code) if code.is_untouched() => io::Error::new(io::ErrorKind::ConnectionRefused, code),
            Some(Code::Gone) => {
                self.end.broken();
                error
            }
            Some(_) | None => error,
        }
    }

    /// Waits for a datagram, or the end. One without bytes says nothing.
    fn poll_datagram(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.next.is_none() {
            let came = ready!(self.stream.poll_datagram(cx)).map_err(|error| self.told(error))?;
            self.next = Some(came).filter(|came| came.as_ref().is_none_or(|bytes| !bytes.is_empty()));
        }
        Poll::Ready(Ok(()))
    }

    fn came(&self, count: usize) {
        self.end.came(count);
        self.held.spend(count);
    }

    fn went(&self, count: usize) {
        self.end.went(count);
        self.held.spend(count);
    }
}

impl<E: End> fmt::Debug for Through<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Through").field("end", &self.end).finish_non_exhaustive()
    }
}

impl<E: End> AsyncRead for Through<E> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        ready!(this.held.poll_turn(cx));
        if this.datagrams {
            ready!(this.poll_datagram(cx))?;
            let Some(bytes) = this.next.take().flatten() else {
                this.next = Some(None);
                return Poll::Ready(Ok(()));
            };
            let count = bytes.len().min(buf.remaining());
            buf.put_slice(&bytes[..count]);
            this.came(count);
            return Poll::Ready(Ok(()));
        }
        let before = buf.filled().len();
        ready!(Pin::new(&mut this.stream).poll_read(cx, buf)).map_err(|error| this.told(error))?;
        this.came(buf.filled().len() - before);
        Poll::Ready(Ok(()))
    }
}

impl<E: End> AsyncWrite for Through<E> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        ready!(this.held.poll_turn(cx));
        let count = if this.datagrams {
            // One that finds no room is lost, as datagrams are.
            this.stream.send_datagram(bytes);
            bytes.len()
        } else {
            ready!(Pin::new(&mut this.stream).poll_write(cx, bytes)).map_err(|error| this.told(error))?
        };
        this.went(count);
        Poll::Ready(Ok(count))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        Pin::new(&mut this.stream).poll_flush(cx).map_err(|error| this.told(error))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        Pin::new(&mut this.stream).poll_shutdown(cx).map_err(|error| this.told(error))
    }
}

impl<E: End> Road for Through<E> {
    fn poll_readable(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.datagrams {
            return self.poll_datagram(cx);
        }
        // One that rests is not kept for another request when its agent leaves, which waits for it.
        if !self.end.serves() {
            return Poll::Ready(Ok(()));
        }
        let chunk = ready!(self.stream.poll_chunk(cx));
        Poll::Ready(chunk.map(|_| ()).map_err(|error| self.told(error)))
    }
}
