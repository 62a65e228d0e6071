//! Connections as bytes: TCP and unix sockets, plain or under TLS.

use std::io::{self, IoSlice};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use rustix::net::{RecvFlags, SendFlags};
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::{TcpStream, UnixStream};

use crate::road::Road;
use crate::tls::TlsStream;

/// A socket, and what was read of it ahead of those who read it.
#[derive(Debug)]
pub struct Socket {
    stream: Stream,
    /// Bytes that come before those of the socket.
    early: Option<Box<[u8]>>,
}

/// A connected socket.
#[derive(Debug)]
pub enum Stream {
    /// TCP.
    Tcp(TcpStream),
    /// A unix socket.
    Unix(UnixStream),
}

impl From<TcpStream> for Socket {
    fn from(stream: TcpStream) -> Self {
        Self { stream: Stream::Tcp(stream), early: None }
    }
}

impl From<UnixStream> for Socket {
    fn from(stream: UnixStream) -> Self {
        Self { stream: Stream::Unix(stream), early: None }
    }
}

impl Socket {
    /// Puts bytes before those that the socket will give.
    pub fn unread(&mut self, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        let mut all = bytes.to_vec();
        all.extend_from_slice(self.early.as_deref().unwrap_or_default());
        self.early = Some(all.into_boxed_slice());
    }

    /// The connected socket, and the bytes that come before those that it will give.
    #[must_use]
    pub fn into_stream(self) -> (Stream, Box<[u8]>) {
        (self.stream, self.early.unwrap_or_default())
    }

    /// Waits until there is something to read, or the end, without holding a buffer.
    pub fn poll_readable(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.early.is_some() {
            return Poll::Ready(Ok(()));
        }
        match &self.stream {
            Stream::Tcp(stream) => stream.poll_read_ready(cx),
            Stream::Unix(stream) => stream.poll_read_ready(cx),
        }
    }

    /// The socket itself, when what it gives next is not here already.
    #[must_use]
    pub fn direct(&self) -> Option<&Stream> {
        self.early.is_none().then_some(&self.stream)
    }

    fn give_early(&mut self, buf: &mut ReadBuf<'_>) -> bool {
        let Some(early) = self.early.take() else { return false };
        let count = early.len().min(buf.remaining());
        buf.put_slice(&early[..count]);
        if count < early.len() {
            self.early = Some(early[count..].into());
        }
        true
    }
}

impl Stream {
    /// Waits until it can be written to.
    pub fn poll_writable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Tcp(stream) => stream.poll_write_ready(cx),
            Self::Unix(stream) => stream.poll_write_ready(cx),
        }
    }

    /// Waits until it can be read.
    pub fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Tcp(stream) => stream.poll_read_ready(cx),
            Self::Unix(stream) => stream.poll_read_ready(cx),
        }
    }

    /// Receives into `into`; zero is the end.
    ///
    /// Called without the C library, whose `recv` is a point where a thread may be cancelled and pays for that.
    pub fn poll_recv(&self, cx: &mut Context<'_>, into: &mut [u8]) -> Poll<io::Result<usize>> {
        loop {
            ready!(self.poll_readable(cx))?;
            let mut drained = None;
            let came = self.try_io(Interest::READABLE, || {
                let (_, count) = rustix::net::recv(self, &mut *into, RecvFlags::empty())?;
                // Fewer bytes than there is room for were all: nobody has to ask in vain to know that.
                if count > 0 && count < into.len() {
                    drained = Some(count);
                    return Err(io::ErrorKind::WouldBlock.into());
                }
                Ok(count)
            });
            match (came, drained) {
                (_, Some(count)) | (Ok(count), None) => return Poll::Ready(Ok(count)),
                (Err(error), None) if goes_on(&error) => {}
                (Err(error), None) => return Poll::Ready(Err(error)),
            }
        }
    }

    /// Sends bytes, as many as are taken.
    pub fn poll_send(&self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        loop {
            ready!(self.poll_writable(cx))?;
            let mut full = None;
            let went = self.try_io(Interest::WRITABLE, || {
                let count = rustix::net::send(self, bytes, SendFlags::NOSIGNAL)?;
                if count > 0 && count < bytes.len() {
                    full = Some(count);
                    return Err(io::ErrorKind::WouldBlock.into());
                }
                Ok(count)
            });
            match (went, full) {
                (_, Some(count)) | (Ok(count), None) => return Poll::Ready(Ok(count)),
                (Err(error), None) if goes_on(&error) => {}
                (Err(error), None) => return Poll::Ready(Err(error)),
            }
        }
    }

    /// Does something to the descriptor that may say that it would have to wait.
    ///
    /// # Errors
    ///
    /// What `operation` says.
    pub fn try_io<R>(&self, interest: Interest, operation: impl FnOnce() -> io::Result<R>) -> io::Result<R> {
        match self {
            Self::Tcp(stream) => stream.try_io(interest, operation),
            Self::Unix(stream) => stream.try_io(interest, operation),
        }
    }
}

/// Whether an error only says that it is to be tried again.
fn goes_on(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
}

impl AsFd for Stream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Tcp(stream) => stream.as_fd(),
            Self::Unix(stream) => stream.as_fd(),
        }
    }
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_read(cx, buf),
            Self::Unix(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.early.is_some() && self.give_early(buf) {
            return Poll::Ready(Ok(()));
        }
        let count = ready!(self.stream.poll_recv(cx, buf.initialize_unfilled()))?;
        buf.advance(count);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Socket {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.stream.poll_send(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match &mut self.stream {
            Stream::Tcp(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
            Stream::Unix(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.stream {
            Stream::Tcp(stream) => Pin::new(stream).poll_shutdown(cx),
            Stream::Unix(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}

/// A connection: a socket or a road through a tunnel, with or without TLS.
#[derive(Debug)]
pub enum Io {
    /// Without TLS.
    Plain(Socket),
    /// Under TLS.
    Tls(Box<TlsStream<Socket>>),
    /// Through a tunnel.
    Road(Box<dyn Road>),
    /// Under TLS that ends behind a tunnel.
    TlsRoad(Box<TlsStream<Box<dyn Road>>>),
}

impl Io {
    /// Waits until there is something to read, or the end, without holding a buffer.
    pub fn poll_readable(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Plain(socket) => socket.poll_readable(cx),
            Self::Tls(stream) => stream.poll_readable(cx),
            Self::Road(road) => road.poll_readable(cx),
            Self::TlsRoad(stream) => stream.poll_readable(cx),
        }
    }

    /// Reads into `into`; zero is the end.
    pub fn poll_fill(&mut self, cx: &mut Context<'_>, into: &mut [u8]) -> Poll<io::Result<usize>> {
        if let Self::Plain(Socket { stream, early: None }) = self {
            return stream.poll_recv(cx, into);
        }
        let mut buf = ReadBuf::new(into);
        ready!(Pin::new(self).poll_read(cx, &mut buf))?;
        Poll::Ready(Ok(buf.filled().len()))
    }

    /// Has the other side be told of the end by a reset, once this is dropped; what was not sent by then is lost.
    pub fn reset(&self) {
        let socket = match self {
            Self::Plain(socket) => socket,
            Self::Tls(stream) => stream.get_ref(),
            // A tunnel's stream is reset when it is dropped.
            Self::Road(_) | Self::TlsRoad(_) => return,
        };
        let _ = rustix::net::sockopt::set_socket_linger(&socket.stream, Some(std::time::Duration::ZERO));
    }

    /// The descriptor alone, of a socket without TLS.
    ///
    /// # Errors
    ///
    /// When there is TLS or no socket, or the runtime does not let go of the socket.
    pub fn into_descriptor(self) -> io::Result<OwnedFd> {
        match self {
            Self::Plain(socket) => match socket.stream {
                Stream::Tcp(stream) => Ok(stream.into_std()?.into()),
                Stream::Unix(stream) => Ok(stream.into_std()?.into()),
            },
            Self::Tls(_) | Self::Road(_) | Self::TlsRoad(_) => Err(io::ErrorKind::Unsupported.into()),
        }
    }

    /// The TCP socket alone, when there is nothing else and it was not read ahead.
    #[must_use]
    pub fn into_tcp(self) -> Option<TcpStream> {
        match self {
            Self::Plain(Socket { stream: Stream::Tcp(stream), early: None }) => Some(stream),
            Self::Plain(_) | Self::Tls(_) | Self::Road(_) | Self::TlsRoad(_) => None,
        }
    }

    /// The socket underneath, whatever is between; none of a road.
    #[must_use]
    pub fn socket(&self) -> Option<&Stream> {
        match self {
            Self::Plain(socket) => Some(&socket.stream),
            Self::Tls(stream) => Some(&stream.get_ref().stream),
            Self::Road(_) | Self::TlsRoad(_) => None,
        }
    }

    /// The socket itself, when bytes may go to it and come from it as they are.
    #[must_use]
    pub fn direct(&self) -> Option<&Stream> {
        match self {
            Self::Plain(socket) => socket.direct(),
            Self::Tls(_) | Self::Road(_) | Self::TlsRoad(_) => None,
        }
    }
}

impl AsyncRead for Io {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(socket) => Pin::new(socket).poll_read(cx, buf),
            Self::Tls(stream) => Pin::new(&mut **stream).poll_read(cx, buf),
            Self::Road(road) => Pin::new(&mut **road).poll_read(cx, buf),
            Self::TlsRoad(stream) => Pin::new(&mut **stream).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Io {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(socket) => Pin::new(socket).poll_write(cx, buf),
            Self::Tls(stream) => Pin::new(&mut **stream).poll_write(cx, buf),
            Self::Road(road) => Pin::new(&mut **road).poll_write(cx, buf),
            Self::TlsRoad(stream) => Pin::new(&mut **stream).poll_write(cx, buf),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(socket) => Pin::new(socket).poll_write_vectored(cx, bufs),
            Self::Tls(stream) => Pin::new(&mut **stream).poll_write_vectored(cx, bufs),
            Self::Road(road) => Pin::new(&mut **road).poll_write_vectored(cx, bufs),
            Self::TlsRoad(stream) => Pin::new(&mut **stream).poll_write_vectored(cx, bufs),
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(socket) => Pin::new(socket).poll_flush(cx),
            Self::Tls(stream) => Pin::new(&mut **stream).poll_flush(cx),
            Self::Road(road) => Pin::new(&mut **road).poll_flush(cx),
            Self::TlsRoad(stream) => Pin::new(&mut **stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(socket) => Pin::new(socket).poll_shutdown(cx),
            Self::Tls(stream) => Pin::new(&mut **stream).poll_shutdown(cx),
            Self::Road(road) => Pin::new(&mut **road).poll_shutdown(cx),
            Self::TlsRoad(stream) => Pin::new(&mut **stream).poll_shutdown(cx),
        }
    }
}
