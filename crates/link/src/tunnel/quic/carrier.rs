//! A connection as a session's carrier: bytes over its first stream until the session begins, then frames over lanes.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};

use quinn_proto::{FinishError, ReadError, StreamId, WriteError};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::connection::{Held, wake};
use super::lanes::Lanes;
use super::{DONE, Error};

/// What a session's machine says first of all: a frame of its own, which begins so, and a hello does not.
const FIRST: [u8; 4] = [0; 4];

/// A connection, and its first stream; dropped without an orderly end (`poll_shutdown`) it is broken off.
pub struct Quic {
    held: Held,
    stream: StreamId,
    ended: bool,
}

impl Quic {
    pub(super) const fn new(held: Held, stream: StreamId) -> Self {
        Self { held, stream, ended: false }
    }

    /// What only the two ends of the connection know: a hello that is tied to it is worth nothing elsewhere.
    #[must_use]
    pub fn binding(&self) -> [u8; 32] {
        self.held.0.borrow().binding()
    }

    /// The other end as it is now: it may move.
    #[must_use]
    pub fn remote(&self) -> SocketAddr {
        self.held.0.borrow().machine.remote_address()
    }
}

impl Drop for Quic {
    fn drop(&mut self) {
        let mut state = self.held.0.borrow_mut();
        if self.ended && state.finished {
            state.close(DONE, "");
        }
    }
}

fn broken(error: &Error) -> io::Error {
    io::Error::new(io::ErrorKind::ConnectionReset, error.to_string())
}

impl AsyncRead for Quic {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let mut state = self.held.0.borrow_mut();
        let state = &mut *state;
        if let Some(lanes) = &mut state.lanes {
            let before = buf.filled().len();
            let ended = lanes.read(&mut state.machine, buf)?;
            if buf.filled().len() > before || ended {
                // Room that has come free is told, and what has ended.
                state.ask();
                return Poll::Ready(Ok(()));
            }
            if let Some(lost) = &state.lost {
                return Poll::Ready(Err(broken(lost)));
            }
            state.reader = Some(cx.waker().clone());
            return Poll::Pending;
        }
        let before = buf.filled().len();
        let mut end = None;
        let mut stream = state.machine.recv_stream(self.stream);
        let credit = match stream.read(true) {
            Ok(mut chunks) => {
                while buf.remaining() > 0 {
                    match chunks.next(buf.remaining()) {
                        Ok(Some(chunk)) => buf.put_slice(&chunk.bytes),
                        Ok(None) => {
                            end = Some(Ok(()));
                            break;
                        }
                        Err(ReadError::Blocked) => break,
                        Err(ReadError::Reset(_)) => {
                            end = Some(Err(io::ErrorKind::ConnectionReset.into()));
                            break;
                        }
                    }
                }
                chunks.finalize().should_transmit()
            }
            // It was read to its end before.
            Err(_) => {
                end = Some(Ok(()));
                false
            }
        };
        if credit {
            state.ask();
        }
        if buf.filled().len() > before {
            return Poll::Ready(Ok(()));
        }
        if let Some(lost) = state.lost.as_ref().filter(|_| end.is_none()) {
            return Poll::Ready(Err(broken(lost)));
        }
        match end {
            Some(end) => Poll::Ready(end),
            None => {
                state.reader = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }
}

impl AsyncWrite for Quic {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let mut state = self.held.0.borrow_mut();
        let state = &mut *state;
        if let Some(lost) = &state.lost {
            return Poll::Ready(Err(broken(lost)));
        }
        if state.lanes.is_none() && bytes.starts_with(&FIRST) {
            // A session writes before it reads.
            state.lanes = Some(Lanes::new(self.stream, state.machine.side().is_client()));
            // Signs of life and credit go before what they are for.
            let _ = state.machine.send_stream(self.stream).set_priority(1);
        }
        if let Some(lanes) = &mut state.lanes {
            let count = lanes.write(&mut state.machine, bytes);
            if lanes.has_own() {
                wake(&mut state.reader);
            }
            state.ask();
            if count > 0 {
                return Poll::Ready(Ok(count));
            }
            state.writer = Some(cx.waker().clone());
            return Poll::Pending;
        }
        match state.machine.send_stream(self.stream).write(bytes) {
            Ok(count) => {
                state.ask();
                Poll::Ready(Ok(count))
            }
            Err(WriteError::Blocked) => {
                state.writer = Some(cx.waker().clone());
                // It may have to say that it is blocked.
                state.ask();
                Poll::Pending
            }
            Err(WriteError::Stopped(_) | WriteError::ClosedStream) => {
                Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()))
            }
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut state = self.held.0.borrow_mut();
        let state = &mut *state;
        let stuck = state.lanes.as_mut().is_some_and(|lanes| !lanes.unstick(&mut state.machine));
        if stuck && state.lost.is_none() {
            state.writer = Some(cx.waker().clone());
            return Poll::Pending;
        }
        Poll::Ready(Ok(()))
    }

    /// Ready once all has arrived, the end included: what closes the connection then cannot overtake it.
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let mut state = this.held.0.borrow_mut();
        let state = &mut *state;
        let stuck = state.lanes.as_mut().is_some_and(|lanes| !lanes.unstick(&mut state.machine));
        if stuck && state.lost.is_none() {
            state.writer = Some(cx.waker().clone());
            return Poll::Pending;
        }
        if !std::mem::replace(&mut this.ended, true) {
            match state.machine.send_stream(this.stream).finish() {
                Ok(()) => state.ask(),
                Err(FinishError::Stopped(_) | FinishError::ClosedStream) => state.finished = true,
            }
        }
        let closing = state.lanes.as_ref().is_some_and(Lanes::is_closing);
        if state.finished && !closing || state.lost.is_some() {
            return Poll::Ready(Ok(()));
        }
        state.waiter = Some(cx.waker().clone());
        Poll::Pending
    }
}
