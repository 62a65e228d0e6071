//! Bytes from socket to socket by way of a pipe, without coming up here.

use std::io;
use std::task::{Context, Poll, ready};

use rustix::pipe::{SpliceFlags, splice};
use tokio::io::Interest;

use super::flow::Fault;
use super::{Broken, Sink, Source};
use crate::stream::pipes::{PIPE_BYTES, Pipe, Pipes};
use crate::transport::Stream;

/// Bytes that must be left of a body for a pipe to be worth it.
const BULK: u64 = 128 << 10;

/// A pipe between two sockets, once it is needed.
#[derive(Debug)]
pub(super) struct Splice<'a> {
    pipes: &'a Pipes,
    pipe: Option<Pipe>,
    /// No pipe is to be had.
    refused: bool,
    /// Bytes that arrived.
    pub(super) moved: u64,
}

impl<'a> Splice<'a> {
    pub(super) const fn new(pipes: &'a Pipes) -> Self {
        Self { pipes, pipe: None, refused: false, moved: 0 }
    }

    /// Whether the next bytes go through the pipe.
    pub(super) fn begins(&mut self, from: &impl Source, to: &impl Sink) -> bool {
        if self.pipe.is_some() {
            return true;
        }
        let bulk =
            !self.refused && from.direct().is_some_and(|(_, left)| left >= BULK) && to.direct().is_some();
        if bulk {
            self.pipe = self.pipes.lend();
            self.refused = self.pipe.is_none();
        }
        self.pipe.is_some()
    }

    /// Whether the pipe holds nothing.
    pub(super) fn is_empty(&self) -> bool {
        self.pipe.as_ref().is_none_or(|pipe| pipe.held == 0)
    }

    /// Moves some bytes; false when all that may go this way have gone.
    pub(super) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut impl Source,
        to: &mut impl Sink,
    ) -> Poll<Result<bool, Fault>> {
        let Some(pipe) = &mut self.pipe else { return Poll::Ready(Ok(false)) };
        if pipe.held > 0 {
            let Some(socket) = to.direct() else { return Poll::Ready(Err(Fault::Sink(Broken::Gone))) };
            let sent = ready!(poll_io(cx, socket, Interest::WRITABLE, || {
                Ok(splice(&pipe.out, None, socket, None, pipe.held, FLAGS)?)
            }));
            let sent = sent.ok().filter(|sent| *sent > 0).ok_or(Fault::Sink(Broken::Gone))?;
            pipe.held -= sent;
            to.gave_direct(sent as u64);
            self.moved += sent as u64;
            return Poll::Ready(Ok(true));
        }
        let Some((socket, left)) = from.direct().filter(|(_, left)| *left > 0) else {
            self.pipes.give_back(self.pipe.take().expect("it was just there"));
            return Poll::Ready(Ok(false));
        };
        let most = usize::try_from(left).unwrap_or(usize::MAX).min(PIPE_BYTES);
        let got = ready!(poll_io(cx, socket, Interest::READABLE, || {
            Ok(splice(socket, None, &pipe.into, None, most, FLAGS)?)
        }));
        let got = got.ok().filter(|got| *got > 0).ok_or(Fault::Source(Broken::Gone))?;
        pipe.held += got;
        from.took_direct(got as u64);
        Poll::Ready(Ok(true))
    }
}

const FLAGS: SpliceFlags = SpliceFlags::MOVE.union(SpliceFlags::NONBLOCK);

fn poll_io(
    cx: &mut Context<'_>,
    socket: &Stream,
    interest: Interest,
    mut operation: impl FnMut() -> io::Result<usize>,
) -> Poll<io::Result<usize>> {
    loop {
        ready!(if interest.is_writable() { socket.poll_writable(cx) } else { socket.poll_readable(cx) })?;
        match socket.try_io(interest, &mut operation) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            done => return Poll::Ready(done),
        }
    }
}

impl Drop for Splice<'_> {
    fn drop(&mut self) {
        if let Some(pipe) = self.pipe.take() {
            self.pipes.give_back(pipe);
        }
    }
}
