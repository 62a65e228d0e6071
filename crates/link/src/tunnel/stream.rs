//! A stream of a session, as a connection.

use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use mainstay_core::tunnel::{Code, Key, Unread};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::inner::{Inner, remember};
use super::session::{Hold, Session};

/// Takes what comes for a stream as it comes, out of the carrier's own buffer.
pub trait Sink {
    /// How many of the bytes it takes; the others wait for the stream's reader, and so do later ones until it has read them. Must
    /// not touch the session or its streams.
    fn take(&self, bytes: &[u8]) -> usize;
}

/// A stream; dropped before both sides have ended it, it is reset with [`Code::Cancel`].
pub struct Stream {
    hold: Rc<Hold>,
    key: Key,
    sent_first: u16,
    /// Our side has ended.
    finished: bool,
}

/// Why a stream failed, when it was the stream that did.
#[must_use]
pub fn code_of(error: &io::Error) -> Option<Code> {
    error.get_ref()?.downcast_ref::<Code>().copied()
}

/// A code as an error of a connection.
pub(super) fn failed(code: Code) -> io::Error {
    let kind = match code {
        Code::Cancel | Code::Refused | Code::Gone | Code::Overrun | Code::Malformed => {
            io::ErrorKind::ConnectionReset
        }
        Code::Unreachable => io::ErrorKind::ConnectionRefused,
        Code::Denied => io::ErrorKind::PermissionDenied,
        Code::TooSlow => io::ErrorKind::TimedOut,
        Code::Internal | Code::Other(_) => io::ErrorKind::Other,
    };
    io::Error::new(kind, code)
}

impl Stream {
    pub(super) fn new(hold: Rc<Hold>, key: Key, sent_first: usize) -> Self {
        Self { hold, key, sent_first: u16::try_from(sent_first).unwrap_or(u16::MAX), finished: false }
    }

    fn with<R>(&self, what: impl FnOnce(&mut Inner, Key) -> R) -> R {
        what(&mut self.hold.0.borrow_mut(), self.key)
    }

    /// The session that it belongs to.
    #[must_use]
    pub fn session(&self) -> Session {
        Session(Rc::clone(&self.hold))
    }

    /// Its number on the wire.
    #[must_use]
    pub const fn id(&self) -> u32 {
        self.key.id()
    }

    /// How many of its first bytes went with the opening.
    #[must_use]
    pub fn sent_first(&self) -> usize {
        self.sent_first.into()
    }

    /// From now on `sink` is offered what comes before it is kept for the reader.
    pub fn set_sink(&mut self, sink: Option<Rc<dyn Sink>>) {
        self.with(|inner, key| inner.slot(key).sink = sink);
    }

    /// How many bytes can be taken at once; 0 is the end. Without any, waits.
    ///
    /// # Errors
    ///
    /// When the stream was reset.
    pub fn poll_chunk(&mut self, cx: &Context<'_>) -> Poll<io::Result<usize>> {
        self.with(|inner, key| match inner.mux.unread_of(key) {
            Ok(Unread::Bytes(bytes)) => Poll::Ready(Ok(bytes.len())),
            Ok(Unread::End) => Poll::Ready(Ok(0)),
            Ok(Unread::Nothing) => {
                remember(&mut inner.slot(key).reader, cx);
                Poll::Pending
            }
            Err(code) => Poll::Ready(Err(failed(code))),
        })
    }

    /// Waits until the other side has given the stream up, also after it has ended its own.
    pub fn poll_reset(&mut self, cx: &Context<'_>) -> Poll<Code> {
        self.with(|inner, key| match inner.mux.unread_of(key) {
            Ok(Unread::Bytes(_) | Unread::End | Unread::Nothing) => {
                remember(&mut inner.slot(key).reader, cx);
                Poll::Pending
            }
            Err(code) => Poll::Ready(code),
        })
    }

    /// Lends the bytes that [`Self::poll_chunk`] has told of; `with` says how many it took. It must not touch the session.
    pub fn take<R>(&mut self, with: impl FnOnce(&[u8]) -> (usize, R)) -> R {
        self.with(|inner, key| {
            let bytes = match inner.mux.unread_of(key) {
                Ok(Unread::Bytes(bytes)) => bytes,
                Ok(Unread::End | Unread::Nothing) | Err(_) => &[],
            };
            let (count, said) = with(bytes);
            let now = inner.now;
            inner.mux.consume(key, count, now);
            inner.staged();
            said
        })
    }

    /// Lends room of up to `most` bytes among what is sent next; `with` fills its beginning, for example from a socket, and
    /// says how far. Waits while there is no room. `with` must not touch the session.
    ///
    /// # Errors
    ///
    /// What `with` says, or that the stream was reset.
    pub fn poll_lend(
        &mut self,
        cx: &Context<'_>,
        most: usize,
        with: impl FnOnce(&mut [u8]) -> io::Result<usize>,
    ) -> Poll<io::Result<usize>> {
        self.with(|inner, key| {
            let room = match inner.mux.room(key) {
                Ok(0) => {
                    remember(&mut inner.slot(key).writer, cx);
                    if !inner.blocked && inner.mux.has_waiting() {
                        inner.ask();
                    }
                    return Poll::Pending;
                }
                Ok(room) => room.min(most),
                Err(code) => return Poll::Ready(Err(failed(code))),
            };
            let lent = inner.mux.lend(room);
            let count = with(lent)?.min(room);
            inner.mux.commit(key, count);
            inner.staged();
            Poll::Ready(Ok(count))
        })
    }

    /// The next datagram of a stream of datagrams; `None` at the end.
    ///
    /// # Errors
    ///
    /// When the stream was reset.
    pub fn poll_datagram(&mut self, cx: &Context<'_>) -> Poll<io::Result<Option<Vec<u8>>>> {
        self.with(|inner, key| {
            let now = inner.now;
            if let Some(bytes) = inner.mux.take_datagram(key, now) {
                inner.staged();
                return Poll::Ready(Ok(Some(bytes)));
            }
            match inner.mux.unread_of(key) {
                Ok(Unread::End) => Poll::Ready(Ok(None)),
                Ok(Unread::Nothing | Unread::Bytes(_)) => {
                    remember(&mut inner.slot(key).reader, cx);
                    Poll::Pending
                }
                Err(code) => Poll::Ready(Err(failed(code))),
            }
        })
    }

    /// Sends a datagram; false when it was dropped for want of room or credit, as UDP may.
    pub fn send_datagram(&mut self, bytes: &[u8]) -> bool {
        self.with(|inner, key| {
            let sent = inner.mux.send_datagram(key, bytes);
            inner.staged();
            sent
        })
    }

    /// Whether our side has ended.
    pub(super) const fn has_finished(&self) -> bool {
        self.finished
    }

    /// Ends our side; what was written before is sent before.
    pub fn finish(&mut self) {
        self.finished = true;
        self.with(|inner, key| {
            inner.mux.finish(key);
            inner.staged();
        });
    }

    /// Gives the stream up, with a reason.
    pub fn reset(self, code: Code) {
        self.with(|inner, key| inner.mux.reset(key, code));
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.with(|inner, key| {
            if let Some(slot) = inner.slots.get_mut(key.index()) {
                *slot = super::inner::Slot::default();
            }
            inner.mux.forget(key);
            inner.effects();
            inner.staged();
        });
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if buf.remaining() == 0 || ready!(self.poll_chunk(cx))? == 0 {
            return Poll::Ready(Ok(()));
        }
        self.take(|bytes| {
            let count = bytes.len().min(buf.remaining());
            buf.put_slice(&bytes[..count]);
            (count, ())
        });
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Stream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if bytes.is_empty() {
            return Poll::Ready(Ok(0));
        }
        self.poll_lend(cx, bytes.len(), |room| {
            room.copy_from_slice(&bytes[..room.len()]);
            Ok(room.len())
        })
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.finish();
        Poll::Ready(Ok(()))
    }
}
