//! A connection to a plugin that says no more than calls may be answered with: what comes beside answers, such as responses without end
//! that announce another, is read by nobody who counts.

use std::cell::Cell;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::ANSWER_MAX;
use crate::registry::tls::Wire;

/// What one call may be answered with, headers and framing included.
const CALL: usize = ANSWER_MAX + (64 << 10);

/// Calls of one connection that may be under way at once count so often at most.
const CALLS: usize = 16;

/// How many bytes a connection may still say.
#[derive(Clone, Debug)]
pub(super) struct Bound(Rc<Cell<usize>>);

impl Bound {
    /// Another call is made.
    pub(super) fn refill(&self) {
        self.0.set((self.0.get() + CALL).min(CALLS * CALL));
    }
}

pub(super) struct Carrier {
    wire: Box<dyn Wire>,
    left: Bound,
}

impl Carrier {
    /// A connection, and what bounds it.
    pub(super) fn new(wire: Box<dyn Wire>) -> (Self, Bound) {
        let left = Bound(Rc::new(Cell::new(CALL)));
        (Self { wire, left: left.clone() }, left)
    }
}

impl AsyncRead for Carrier {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.wire).poll_read(cx, buf))?;
        let count = buf.filled().len() - before;
        match self.left.0.get().checked_sub(count) {
            Some(left) => {
                self.left.0.set(left);
                Poll::Ready(Ok(()))
            }
            None => Poll::Ready(Err(io::Error::other("it says more than answers to what it was asked"))),
        }
    }
}

impl AsyncWrite for Carrier {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.wire).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.wire).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.wire).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    #[tokio::test]
    async fn a_plugin_that_talks_without_end_is_cut_off() {
        let (mut theirs, ours) = tokio::io::duplex(64 << 10);
        let (mut ours, bound) = Carrier::new(Box::new(ours));
        let talks =
            async move { while theirs.write_all(b"HTTP/1.1 103 Early Hints\r\n\r\n").await.is_ok() {} };
        let hears = async move {
            bound.refill();
            let (mut heard, mut room) = (0, [0; 4096]);
            let error = loop {
                match ours.read(&mut room).await {
                    Ok(count) => heard += count,
                    Err(error) => break error,
                }
            };
            (heard, error)
        };
        let ((), (heard, error)) = tokio::join!(talks, hears);
        assert!(heard <= 2 * CALL && heard > 2 * CALL - 4096, "{heard} bytes");
        assert!(error.to_string().contains("says more"), "{error}");
    }
}
