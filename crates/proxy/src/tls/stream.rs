//! A TLS session over a stream: one record and one system call for what is written at once, and no buffer while it is idle.
//!
//! rustls is driven through its unbuffered interface. Ciphertext is read into a buffer of the thread, decrypted there, and copied to
//! the reader; only what is left over (half a record, plaintext nobody asked for, ciphertext that the socket did not take) is
//! kept with the connection. Whatever the handshake leaves to send (session tickets, TLS 1.3) goes with the first write.

use std::cell::Cell;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use rustls::client::UnbufferedClientConnection;
use rustls::server::UnbufferedServerConnection;
use rustls::unbuffered::{ConnectionState, EncodeError, EncryptError, UnbufferedStatus};
use rustls::{CommonState, ProtocolVersion};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::HandshakeError;

/// Bytes that are read at once: three whole records and some, and no handshake message is longer.
const READ: usize = 64 * 1024;

/// Bytes of plaintext that are sealed at once, in four records.
const WRITE: usize = 64 * 1024;

/// What sealing `WRITE` bytes may add: a record's header, explicit nonce, content type and tag, and tickets before them.
const WRITE_MORE: usize = 8 * 1024;

thread_local! {
    /// What the socket gives is read into this.
    static INCOMING: Cell<Option<Box<[u8]>>> = const { Cell::new(None) };
    /// What the socket gets is sealed into this.
    static OUTGOING: Cell<Option<Vec<u8>>> = const { Cell::new(None) };
    /// Pieces of a vectored write are brought together in this.
    static GATHER: Cell<Option<Vec<u8>>> = const { Cell::new(None) };
}

/// A TLS session over `S`.
pub struct TlsStream<S> {
    io: S,
    session: Box<Session>,
    /// Ciphertext of a record that is not whole yet.
    partial: Vec<u8>,
    /// Plaintext that nobody asked for yet, from `plain_at` on.
    plain: Vec<u8>,
    plain_at: usize,
    /// Ciphertext that is still to be sent, from `outgoing_at` on.
    outgoing: Vec<u8>,
    outgoing_at: usize,
    /// The socket did not take all of `outgoing`: no more is sealed before it has.
    blocked: bool,
    /// The other end has said that it is done, or has left.
    ended: bool,
    /// Our own end is said.
    closing: bool,
    /// How the session broke the protocol: rustls is not asked again.
    failed: Option<rustls::Error>,
}

/// Either side of a session.
pub(super) enum Session {
    /// We are the server.
    Server(UnbufferedServerConnection),
    /// We are the client.
    Client(UnbufferedClientConnection),
}

/// What one look at the session gave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Turn {
    /// Something was done; look again.
    Again,
    /// More ciphertext is needed, or there is nothing to do.
    Idle,
    /// The other end is done.
    Ended,
}

/// What is to be sealed.
#[derive(Clone, Copy)]
enum Seal<'a> {
    Nothing,
    Bytes(&'a [u8]),
    Close,
}

/// Sealed bytes: `at` of `space` are used.
struct Out {
    space: Vec<u8>,
    at: usize,
}

/// Where plaintext goes: to the reader, and what does not fit to `rest`.
struct Sink<'a, 'b> {
    buf: Option<&'a mut ReadBuf<'b>>,
    rest: &'a mut Vec<u8>,
}

impl Sink<'_, '_> {
    fn put(&mut self, mut bytes: &[u8]) {
        if let (Some(buf), true) = (&mut self.buf, self.rest.is_empty()) {
            let fits = bytes.len().min(buf.remaining());
            buf.put_slice(&bytes[..fits]);
            bytes = &bytes[fits..];
        }
        self.rest.extend_from_slice(bytes);
    }
}

impl Out {
    fn take() -> Self {
        Self { space: OUTGOING.take().unwrap_or_else(|| vec![0; WRITE + WRITE_MORE]), at: 0 }
    }

    fn give_back(self) {
        OUTGOING.set(Some(self.space));
    }

    fn used(&self) -> &[u8] {
        &self.space[..self.at]
    }

    fn push(&mut self, bytes: &[u8]) {
        self.reserve(bytes.len());
        self.space[self.at..self.at + bytes.len()].copy_from_slice(bytes);
        self.at += bytes.len();
    }

    fn reserve(&mut self, more: usize) {
        if self.space.len() < self.at + more {
            self.space.resize(self.at + more, 0);
        }
    }

    /// Lets `write` fill the space that is left, which grows until it is enough.
    fn fill<E>(
        &mut self,
        mut write: impl FnMut(&mut [u8]) -> Result<usize, E>,
        more: impl Fn(&E) -> Option<usize>,
    ) -> Result<(), E> {
        loop {
            match write(&mut self.space[self.at..]) {
                Ok(n) => {
                    self.at += n;
                    return Ok(());
                }
                Err(e) => match more(&e) {
                    Some(required) if self.space.len() < self.at + required => self.reserve(required),
                    Some(_) | None => return Err(e),
                },
            }
        }
    }
}

impl Session {
    pub(super) fn state(&self) -> &CommonState {
        match self {
            Self::Server(session) => session,
            Self::Client(session) => session,
        }
    }

    /// One look: how many bytes of `input` are done with, and what came of it.
    fn turn(
        &mut self,
        input: &mut [u8],
        seal: &mut Seal<'_>,
        out: &mut Out,
        sink: &mut Sink<'_, '_>,
    ) -> (usize, Result<Turn, rustls::Error>) {
        match self {
            Self::Server(session) => act(session.process_tls_records(input), seal, out, sink),
            Self::Client(session) => act(session.process_tls_records(input), seal, out, sink),
        }
    }

    /// Looks until there is nothing left to do: how many bytes of `input` are done with, and whether the other end is.
    fn drive(
        &mut self,
        input: &mut [u8],
        mut seal: Seal<'_>,
        out: &mut Out,
        sink: &mut Sink<'_, '_>,
    ) -> (usize, Result<bool, rustls::Error>) {
        let (mut done, mut ended) = (0, false);
        loop {
            let (n, turn) = self.turn(&mut input[done..], &mut seal, out, sink);
            done += n;
            match turn {
                Ok(Turn::Again) => {}
                Ok(Turn::Ended) => ended = true,
                Ok(Turn::Idle) => return (done, Ok(ended)),
                Err(e) => {
                    self.alert(out, sink);
                    return (done, Err(e));
                }
            }
        }
    }

    /// What rustls wants to be said after an error. It must not look at the bytes again: it has remembered where messages lie in
    /// them, and would fail anew.
    fn alert(&mut self, out: &mut Out, sink: &mut Sink<'_, '_>) {
        while self.state().wants_write() {
            let before = out.at;
            let (_, turn) = self.turn(&mut [], &mut Seal::Nothing, out, sink);
            if turn.is_err() || out.at == before {
                return;
            }
        }
    }
}

/// Does what a state of the session asks for.
fn act<Data>(
    status: UnbufferedStatus<'_, '_, Data>,
    seal: &mut Seal<'_>,
    out: &mut Out,
    sink: &mut Sink<'_, '_>,
) -> (usize, Result<Turn, rustls::Error>) {
    let mut discard = status.discard;
    let state = match status.state {
        Ok(state) => state,
        Err(e) => return (discard, Err(e)),
    };
    let turn = match state {
        ConnectionState::ReadTraffic(mut traffic) => loop {
            match traffic.next_record() {
                Some(Ok(record)) => {
                    discard += record.discard;
                    sink.put(record.payload);
                }
                Some(Err(e)) => break Err(e),
                None => break Ok(Turn::Again),
            }
        },
        ConnectionState::EncodeTlsData(mut data) => out
            .fill(
                |space| data.encode(space),
                |e| if let EncodeError::InsufficientSize(e) = e { Some(e.required_size) } else { None },
            )
            .map(|()| Turn::Again)
            .map_err(|e| rustls::Error::General(e.to_string())),
        ConnectionState::TransmitTlsData(data) => {
            data.done();
            Ok(Turn::Again)
        }
        ConnectionState::WriteTraffic(mut traffic) => {
            let required = |e: &EncryptError| {
                if let EncryptError::InsufficientSize(e) = e { Some(e.required_size) } else { None }
            };
            match std::mem::replace(seal, Seal::Nothing) {
                Seal::Nothing => Ok(Turn::Idle),
                Seal::Bytes(plain) => {
                    out.fill(|space| traffic.encrypt(plain, space), required).map(|()| Turn::Idle)
                }
                Seal::Close => {
                    out.fill(|space| traffic.queue_close_notify(space), required).map(|()| Turn::Idle)
                }
            }
            .map_err(|e| rustls::Error::General(e.to_string()))
        }
        ConnectionState::PeerClosed => Ok(Turn::Ended),
        ConnectionState::BlockedHandshake | ConnectionState::Closed => Ok(Turn::Idle),
        // Early data is never offered, and what rustls may add one day is nothing that we asked for.
        _ => Err(rustls::Error::General("an unexpected state".to_owned())),
    };
    (discard, turn)
}

impl<S> TlsStream<S> {
    pub(super) fn new(io: S, session: Session) -> Self {
        Self {
            io,
            session: Box::new(session),
            partial: Vec::new(),
            plain: Vec::new(),
            plain_at: 0,
            outgoing: Vec::new(),
            outgoing_at: 0,
            blocked: false,
            ended: false,
            closing: false,
            failed: None,
        }
    }

    pub(super) fn state(&self) -> &CommonState {
        self.session.state()
    }

    /// What carries the session.
    pub fn get_ref(&self) -> &S {
        &self.io
    }

    /// Whether plaintext waits that no read of the socket would announce.
    #[must_use]
    pub fn pending(&self) -> bool {
        self.plain_at < self.plain.len()
    }

    /// Gives kept plaintext to a reader.
    fn give(&mut self, buf: &mut ReadBuf<'_>) {
        let rest = &self.plain[self.plain_at..];
        let n = rest.len().min(buf.remaining());
        buf.put_slice(&rest[..n]);
        self.plain_at += n;
        if self.plain_at == self.plain.len() {
            self.plain = Vec::new();
            self.plain_at = 0;
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> TlsStream<S> {
    /// The handshake; what is left to send afterwards goes with the first write where the protocol allows that.
    pub(super) async fn handshake(&mut self) -> Result<(), HandshakeError> {
        // A client has the first word.
        self.seal_now(Seal::Nothing)?;
        loop {
            if !self.session.state().is_handshaking() {
                break;
            }
            std::future::poll_fn(|cx| self.poll_drain(cx)).await?;
            match std::future::poll_fn(|cx| self.poll_more(cx, None)).await {
                Ok(true) => {}
                Ok(false) => return Err(HandshakeError::Closed),
                Err(e) => {
                    // The alert tells the other end why; whether it arrives is its own affair.
                    let _ = std::future::poll_fn(|cx| self.poll_drain(cx)).await;
                    return Err(e);
                }
            }
        }
        if self.session.state().protocol_version() != Some(ProtocolVersion::TLSv1_3) {
            std::future::poll_fn(|cx| self.poll_drain(cx)).await?;
        }
        Ok(())
    }

    /// Waits until plaintext can be read, or the end, while no buffer is held.
    ///
    /// # Errors
    /// The connection broke or the other end broke the protocol.
    pub fn poll_readable(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            if self.pending() || self.ended {
                return Poll::Ready(Ok(()));
            }
            match ready!(self.poll_more(cx, None)) {
                Ok(_) => {}
                Err(e) => {
                    let _ = self.poll_drain(cx);
                    return Poll::Ready(Err(io_error(e)));
                }
            }
        }
    }

    /// Reads the socket once and opens what came: whether there was anything but the end. Plaintext goes to `buf`, then to `plain`.
    fn poll_more(
        &mut self,
        cx: &mut Context<'_>,
        buf: Option<&mut ReadBuf<'_>>,
    ) -> Poll<Result<bool, HandshakeError>> {
        let mut scratch = INCOMING.take().unwrap_or_else(|| vec![0; READ].into_boxed_slice());
        let result = self.open_more(cx, buf, &mut scratch);
        INCOMING.set(Some(scratch));
        result
    }

    fn open_more(
        &mut self,
        cx: &mut Context<'_>,
        buf: Option<&mut ReadBuf<'_>>,
        scratch: &mut [u8],
    ) -> Poll<Result<bool, HandshakeError>> {
        if let Some(failed) = &self.failed {
            return Poll::Ready(Err(failed.clone().into()));
        }
        let kept = self.partial.len();
        if kept == scratch.len() {
            return Poll::Ready(Err(rustls::Error::General("a message without an end".to_owned()).into()));
        }
        let mut space = ReadBuf::new(&mut scratch[kept..]);
        ready!(Pin::new(&mut self.io).poll_read(cx, &mut space))?;
        let end = kept + space.filled().len();
        if end == kept {
            return Poll::Ready(self.end_of_stream().map(|()| false).map_err(HandshakeError::Io));
        }
        scratch[..kept].copy_from_slice(&self.partial);
        let mut out = Out::take();
        let mut sink = Sink { buf, rest: &mut self.plain };
        let (done, ended) = self.session.drive(&mut scratch[..end], Seal::Nothing, &mut out, &mut sink);
        self.outgoing.extend_from_slice(out.used());
        out.give_back();
        self.keep(&scratch[done..end]);
        self.failed = ended.as_ref().err().cloned();
        self.ended |= ended?;
        Poll::Ready(Ok(true))
    }

    /// Keeps the beginning of a record, and no more memory than it needs.
    fn keep(&mut self, rest: &[u8]) {
        if rest.is_empty() {
            self.partial = Vec::new();
        } else {
            self.partial.clear();
            self.partial.extend_from_slice(rest);
        }
    }

    /// The socket ended. A client's requests tell their own end, so that is no matter; a backend's answer may have been cut.
    fn end_of_stream(&mut self) -> io::Result<()> {
        let cut = !self.ended
            && matches!(*self.session, Session::Client(_))
            && !self.session.state().is_handshaking();
        self.ended = true;
        if cut {
            Err(io::Error::new(io::ErrorKind::UnexpectedEof, "TLS ended without close_notify"))
        } else {
            Ok(())
        }
    }

    /// Sends what is left to send.
    fn poll_drain(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.outgoing_at < self.outgoing.len() {
            let n = match Pin::new(&mut self.io).poll_write(cx, &self.outgoing[self.outgoing_at..]) {
                Poll::Ready(n) => n?,
                Poll::Pending => {
                    self.blocked = true;
                    return Poll::Pending;
                }
            };
            if n == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.outgoing_at += n;
        }
        if !self.outgoing.is_empty() {
            self.outgoing = Vec::new();
        }
        self.outgoing_at = 0;
        self.blocked = false;
        Poll::Ready(Ok(()))
    }

    /// Seals into `outgoing`, without writing.
    fn seal_now(&mut self, seal: Seal<'_>) -> Result<(), rustls::Error> {
        let mut out = Out::take();
        let result = self.seal_into(seal, &mut out);
        self.outgoing.extend_from_slice(out.used());
        out.give_back();
        result
    }

    fn seal_into(&mut self, seal: Seal<'_>, out: &mut Out) -> Result<(), rustls::Error> {
        let mut sink = Sink { buf: None, rest: &mut self.plain };
        let (done, ended) = self.session.drive(&mut self.partial, seal, out, &mut sink);
        self.partial.drain(..done);
        self.failed = ended.as_ref().err().cloned();
        self.ended |= ended?;
        Ok(())
    }

    /// Seals and writes what the socket takes; the rest waits in `outgoing`.
    fn poll_seal(&mut self, cx: &mut Context<'_>, plain: &[u8]) -> Poll<io::Result<usize>> {
        if self.closing || self.failed.is_some() {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        if self.blocked {
            ready!(self.poll_drain(cx))?;
        }
        let plain = &plain[..plain.len().min(WRITE)];
        let mut out = Out::take();
        out.push(&self.outgoing[self.outgoing_at..]);
        self.outgoing = Vec::new();
        self.outgoing_at = 0;
        let sealed = self.seal_into(Seal::Bytes(plain), &mut out);
        let written = sealed.map_err(|e| io::Error::new(io::ErrorKind::InvalidData, e)).and_then(|()| {
            let mut at = 0;
            while at < out.at {
                match Pin::new(&mut self.io).poll_write(cx, &out.used()[at..]) {
                    Poll::Ready(Ok(0)) => return Err(io::ErrorKind::WriteZero.into()),
                    Poll::Ready(Ok(n)) => at += n,
                    Poll::Ready(Err(e)) => return Err(e),
                    Poll::Pending => {
                        self.outgoing.extend_from_slice(&out.used()[at..]);
                        self.blocked = true;
                        break;
                    }
                }
            }
            Ok(plain.len())
        });
        out.give_back();
        Poll::Ready(written)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for TlsStream<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if buf.remaining() == 0 {
            return Poll::Ready(Ok(()));
        }
        let before = buf.filled().len();
        loop {
            if this.pending() {
                this.give(buf);
            }
            if buf.filled().len() > before || this.ended {
                return Poll::Ready(Ok(()));
            }
            match ready!(this.poll_more(cx, Some(buf))) {
                Ok(_) => {}
                // What came before the fault is read first; the session remembers the fault.
                Err(_) if buf.filled().len() > before => return Poll::Ready(Ok(())),
                Err(e) => {
                    // Our alert, when the socket takes it at once.
                    let _ = this.poll_drain(cx);
                    return Poll::Ready(Err(io_error(e)));
                }
            }
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for TlsStream<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_seal(cx, buf)
    }

    /// Up to 64 KiB of the pieces go out together, so a head and a short body are one record.
    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let mut filled = bufs.iter().filter(|b| !b.is_empty());
        let (first, second) = (filled.next(), filled.next());
        if second.is_none() {
            return self.poll_seal(cx, first.map_or(&[], |b| b));
        }
        let mut gather = GATHER.take().unwrap_or_else(|| Vec::with_capacity(WRITE));
        gather.clear();
        for piece in bufs {
            let fits = piece.len().min(WRITE - gather.len());
            gather.extend_from_slice(&piece[..fits]);
        }
        let written = self.poll_seal(cx, &gather);
        GATHER.set(Some(gather));
        written
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_drain(cx))?;
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.closing {
            self.closing = true;
            if self.failed.is_none() {
                // What cannot be sealed is not said: the socket is closed all the same.
                let _ = self.seal_now(Seal::Close);
            }
        }
        ready!(self.poll_drain(cx))?;
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

impl<S> std::fmt::Debug for TlsStream<S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TlsStream")
            .field("protocol", &self.state().protocol_version())
            .finish_non_exhaustive()
    }
}

fn io_error(e: HandshakeError) -> io::Error {
    match e {
        HandshakeError::Io(e) => e,
        e => io::Error::new(io::ErrorKind::InvalidData, e),
    }
}
