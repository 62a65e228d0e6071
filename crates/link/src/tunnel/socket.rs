//! A TCP connection as the end of a stream: what comes goes to it as it comes.

use std::cell::Cell;
use std::io;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use rustix::net::{RecvFlags, SendFlags};
use tokio::io::Interest;
use tokio::net::TcpStream;

use super::splice::Tally;
use super::stream::Sink;

/// The connection, and how many bytes it took.
pub(super) struct Socket {
    tcp: TcpStream,
    pub(super) sent: Cell<u64>,
    pub(super) tally: Option<Rc<Tally>>,
}

impl Socket {
    pub(super) const fn new(tcp: TcpStream, tally: Option<Rc<Tally>>) -> Self {
        Self { tcp, sent: Cell::new(0), tally }
    }

    pub(super) fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.tcp.poll_read_ready(cx)
    }

    pub(super) fn poll_writable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.tcp.poll_write_ready(cx)
    }

    /// Receives what there is: fewer bytes than there is room for were all, and nobody has to ask in vain to know that.
    pub(super) fn receive(&self, into: &mut [u8]) -> io::Result<usize> {
        let mut drained = None;
        let came = self.tcp.try_io(Interest::READABLE, || {
            let (_, count) = rustix::net::recv(&self.tcp, &mut *into, RecvFlags::empty())?;
            if count > 0 && count < into.len() {
                drained = Some(count);
                return Err(io::ErrorKind::WouldBlock.into());
            }
            Ok(count)
        });
        drained.map_or(came, Ok)
    }

    /// Sends what is taken at once.
    pub(super) fn send(&self, bytes: &[u8]) -> io::Result<usize> {
        let mut full = None;
        let went = self.tcp.try_io(Interest::WRITABLE, || {
            let count = rustix::net::send(&self.tcp, bytes, SendFlags::NOSIGNAL)?;
            if count > 0 && count < bytes.len() {
                full = Some(count);
                return Err(io::ErrorKind::WouldBlock.into());
            }
            Ok(count)
        });
        let count = full.map_or(went, Ok)?;
        self.sent.set(self.sent.get() + count as u64);
        if let Some(tally) = &self.tally {
            tally.received.set(tally.received.get() + count as u64);
        }
        Ok(count)
    }

    /// Sends as many as are taken, or waits until some are.
    pub(super) fn poll_send(&self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        loop {
            match self.send(bytes) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => ready!(self.poll_writable(cx))?,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                done => return Poll::Ready(done),
            }
        }
    }

    /// Has the other end see a failure, not an end, once the connection is dropped.
    pub(super) fn abort(&self) {
        let _ = rustix::net::sockopt::set_socket_linger(&self.tcp, Some(Duration::ZERO));
    }

    /// Sends the end.
    pub(super) fn finish(&self) -> io::Result<()> {
        Ok(rustix::net::shutdown(&self.tcp, rustix::net::Shutdown::Write)?)
    }
}

impl Sink for Socket {
    fn take(&self, bytes: &[u8]) -> usize {
        // Who reads what is left meets the same error, and can tell somebody.
        self.send(bytes).unwrap_or(0)
    }
}
