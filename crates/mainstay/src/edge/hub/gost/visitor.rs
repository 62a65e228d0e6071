//! A connection of gost's visitor as the proxy has it: its bytes, or the datagrams that stand in them.

use std::fmt;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use mainstay_core::gost::datagram;
use mainstay_proxy::road::{Counted, Freight, Road};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::edge::hub::carrier::Carrier;

/// Bytes that are read ahead.
const AHEAD: usize = 16 << 10;

/// A visitor that was let in.
pub(super) struct Visitor {
    /// Gone once it was refused.
    carrier: Option<Carrier>,
    datagrams: bool,
    /// What was read and not given on.
    early: Vec<u8>,
    at: usize,
    reader: datagram::Reader,
    /// A datagram that was waited for and not read yet; nothing inside at the end.
    next: Option<Option<Vec<u8>>>,
    /// A datagram that is on its way.
    out: Vec<u8>,
    /// Counts as open at its listener.
    _open: Counted,
}

impl Visitor {
    pub(super) fn new(carrier: Carrier, freight: Freight, open: Counted) -> Self {
        Self {
            carrier: Some(carrier),
            datagrams: freight == Freight::Datagrams,
            early: Vec::new(),
            at: 0,
            reader: datagram::Reader::default(),
            next: None,
            out: Vec::new(),
            _open: open,
        }
    }

    fn carrier(&mut self) -> io::Result<Pin<&mut Carrier>> {
        self.carrier.as_mut().map(Pin::new).ok_or_else(|| io::ErrorKind::ConnectionReset.into())
    }

    /// Reads ahead when nothing is there; nothing is there after the end.
    fn poll_ahead(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.at < self.early.len() {
            return Poll::Ready(Ok(()));
        }
        let mut bytes = [0; AHEAD];
        let mut read = ReadBuf::new(&mut bytes);
        ready!(self.carrier()?.poll_read(cx, &mut read)).map_err(broken)?;
        (self.early, self.at) = (read.filled().to_vec(), 0);
        Poll::Ready(Ok(()))
    }

    /// Waits for a datagram, or the end. One without bytes says nothing.
    fn poll_datagram(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // What could not be sent at once goes before more is asked for.
        let _ = self.poll_out(cx)?;
        while self.next.is_none() {
            ready!(self.poll_ahead(cx))?;
            let mut rest = &self.early[self.at..];
            if rest.is_empty() {
                self.next = Some(None);
                break;
            }
            let came = self.reader.receive(&mut rest).map(std::borrow::Cow::into_owned);
            self.at = self.early.len() - rest.len();
            self.next = came.filter(|bytes| !bytes.is_empty()).map(Some);
        }
        Poll::Ready(Ok(()))
    }

    /// Sends what is on its way.
    fn poll_out(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.out.is_empty() {
            let Self { carrier, out, .. } = self;
            let Some(carrier) = carrier else {
                return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
            };
            let count = ready!(Pin::new(carrier).poll_write(cx, out)).map_err(broken)?;
            if count == 0 {
                return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
            }
            out.drain(..count);
        }
        self.carrier()?.poll_flush(cx).map_err(broken)
    }
}

/// A visitor that breaks off is no backend that refuses.
fn broken(error: io::Error) -> io::Error {
    io::Error::new(io::ErrorKind::ConnectionReset, error)
}

impl fmt::Debug for Visitor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Visitor").field("datagrams", &self.datagrams).finish_non_exhaustive()
    }
}

impl AsyncRead for Visitor {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.datagrams {
            ready!(this.poll_datagram(cx))?;
            match this.next.take().flatten() {
                Some(bytes) => buf.put_slice(&bytes[..bytes.len().min(buf.remaining())]),
                None => this.next = Some(None),
            }
            return Poll::Ready(Ok(()));
        }
        if this.at < this.early.len() {
            let count = buf.remaining().min(this.early.len() - this.at);
            buf.put_slice(&this.early[this.at..this.at + count]);
            this.at += count;
            return Poll::Ready(Ok(()));
        }
        this.carrier()?.poll_read(cx, buf).map_err(broken)
    }
}

impl AsyncWrite for Visitor {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        if !this.datagrams {
            return this.carrier()?.poll_write(cx, bytes).map_err(broken);
        }
        let sent = this.poll_out(cx)?;
        // One that finds no room is lost, as datagrams are.
        if let (Poll::Ready(()), Some(head)) = (sent, datagram::head(bytes.len())) {
            this.out.extend_from_slice(&head);
            this.out.extend_from_slice(bytes);
            let _ = this.poll_out(cx)?;
        }
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_out(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_out(cx))?;
        self.carrier()?.poll_shutdown(cx).map_err(broken)
    }
}

impl Road for Visitor {
    fn poll_readable(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.datagrams { self.poll_datagram(cx) } else { self.poll_ahead(cx) }
    }

    fn refuse(&mut self) {
        self.carrier = None;
    }
}
