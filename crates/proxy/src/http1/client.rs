//! The client's side of an HTTP/1.1 connection.

use std::io;
use std::task::{Context, Poll, ready};

use mainstay_config::plan::edge::HttpLimits;
use mainstay_core::http1::{BodyLength, Decoder};
use rustix::io::Errno;
use rustix::net::RecvFlags;
use tokio::io::Interest;

use super::status;
use super::talk::{Incoming, Outgoing, Talk, decimal, line};
use super::wire::Wire;
use crate::exchange::FieldSink;
use crate::forward::{Broken, Client, More, ResponseBody, Sink, Source, Trailer};
use crate::request::{Request, Version};
use crate::transport::{Io, Stream};

/// A client's connection and the request that it is at.
#[derive(Debug)]
pub struct Side {
    pub(super) talk: Talk,
    /// The head that is being written.
    heading: Heading,
    /// The client reads chunks.
    chunks: bool,
    /// Staying is said: the client asked with HTTP/1.0, or all are told.
    says_keep: bool,
    /// Seconds of `Keep-Alive`.
    keep_hint: u32,
    /// A client that sends no more is still there.
    half_close: bool,
    /// HEAD.
    bodiless: bool,
    /// The client waits for a 100 before it sends the body.
    awaits_continue: bool,
    /// The connection stays for another request.
    pub(super) keep: bool,
    /// The response was cut.
    pub(super) aborted: bool,
    /// The final head was begun.
    pub(super) answered: bool,
    /// Whether an error of the connection is looked for while nothing is read.
    watch_gone: bool,
    received_before: u64,
    sent_before: u64,
}

/// Which head is being written.
#[derive(Clone, Copy, Debug)]
enum Heading {
    /// Of a 1xx.
    Interim,
    /// Of a 101.
    Switch,
    /// Of the response.
    Final(ResponseBody),
}

impl Side {
    pub(super) fn new(io: Io) -> Self {
        Self {
            talk: Talk::new(Wire::new(io)),
            heading: Heading::Interim,
            chunks: true,
            says_keep: false,
            keep_hint: 0,
            half_close: true,
            bodiless: false,
            awaits_continue: false,
            keep: true,
            aborted: false,
            answered: false,
            watch_gone: true,
            received_before: 0,
            sent_before: 0,
        }
    }

    /// A request begins; its head of `length` bytes is taken away.
    pub(super) fn begin(&mut self, request: &Request, length: usize, limits: &HttpLimits) {
        let wire = &mut self.talk.wire;
        self.received_before = wire.received - wire.unread().len() as u64;
        self.sent_before = wire.sent;
        wire.consume(length);
        self.talk.incoming = match request.body {
            BodyLength::None => Incoming::Over,
            BodyLength::Known(count) => Incoming::Known(count),
            BodyLength::Open => Incoming::Chunked(Decoder::default()),
        };
        self.talk.outgoing = Outgoing::Nothing;
        let old = request.version == Version::Http10;
        self.chunks = !old;
        self.says_keep = old || limits.says_keep;
        self.keep_hint = limits.keep_hint;
        self.half_close = limits.half_close;
        self.bodiless = request.bytes(request.method) == b"HEAD";
        self.awaits_continue = request.expects_continue;
        self.keep = !request.close;
        self.answered = false;
        self.watch_gone = true;
    }

    /// A head that cannot be read: what follows answers it, and the connection ends.
    pub(super) fn refuse(&mut self) {
        self.talk.incoming = Incoming::Over;
        self.keep = false;
        self.chunks = true;
        self.says_keep = false;
        self.bodiless = false;
        self.awaits_continue = false;
        self.answered = false;
    }

    /// What is left of a request's body, as far as it is here, is thrown away; whether that was all of it.
    fn discard_present(&mut self) -> bool {
        loop {
            match self.talk.have() {
                Ok(Some(More::End)) => return true,
                Ok(Some(More::Data)) => self.talk.consume(self.talk.data().len()),
                Ok(None) | Err(_) => return false,
            }
        }
    }

    /// Whether the next request can be read.
    pub(super) fn is_ready_for_next(&mut self) -> bool {
        self.keep && !self.aborted && self.discard_present() && self.talk.is_clean() && !self.talk.wire.ended
    }

    /// What the error of a connection looks like while nobody reads: it stays readable.
    fn is_broken(&mut self) -> bool {
        let Some(socket) = self.talk.wire.io().direct() else { return false };
        let peeked = socket.try_io(Interest::READABLE, || {
            let mut one = [0_u8; 1];
            let flags = RecvFlags::PEEK | RecvFlags::DONTWAIT;
            rustix::net::recv(socket, &mut one[..], flags).map_err(io::Error::from)
        });
        match peeked {
            Ok((_, 0)) if !self.half_close => true,
            Ok(_) => {
                self.watch_gone = false;
                false
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => false,
            Err(error) => error.raw_os_error() != Some(Errno::INTR.raw_os_error()),
        }
    }
}

impl Source for Side {
    fn poll_data(&mut self, cx: &mut Context<'_>) -> Poll<Result<More, Broken>> {
        if self.awaits_continue {
            if let Some(more) = self.talk.have()? {
                self.awaits_continue = false;
                return Poll::Ready(Ok(more));
            }
            if !self.answered {
                self.talk.wire.stage().extend_from_slice(b"HTTP/1.1 100 Continue\r\n\r\n");
            }
            self.awaits_continue = false;
        }
        if !self.answered && self.talk.wire.has_staged() {
            ready!(self.talk.poll_flush(cx))?;
        }
        self.talk.poll_data(cx)
    }

    fn data(&self) -> &[u8] {
        self.talk.data()
    }

    fn consume(&mut self, count: usize) {
        self.talk.consume(count);
    }

    fn trailers(&mut self) -> Vec<Trailer> {
        self.talk.trailers()
    }

    fn direct(&self) -> Option<(&Stream, u64)> {
        if self.awaits_continue {
            return None;
        }
        self.talk.direct_in()
    }

    fn took_direct(&mut self, count: u64) {
        self.talk.took_direct(count);
    }
}

impl FieldSink for Side {
    fn field(&mut self, name: &[u8], value: &[u8]) {
        line(self.talk.wire.stage(), name, value);
    }
}

impl Sink for Side {
    fn end_head(&mut self) {
        let body = match self.heading {
            Heading::Interim => {
                self.talk.wire.stage().extend_from_slice(b"\r\n");
                return;
            }
            Heading::Switch => {
                self.talk.wire.stage().extend_from_slice(b"Connection: upgrade\r\n\r\n");
                return;
            }
            Heading::Final(body) => body,
        };
        let mut length = None;
        let mut chunked = false;
        self.talk.outgoing = match body {
            ResponseBody::None(known) => {
                length = known;
                Outgoing::Nothing
            }
            ResponseBody::Known(count) => {
                length = Some(count);
                Outgoing::Known(count)
            }
            ResponseBody::Open if self.chunks => {
                chunked = true;
                Outgoing::Chunked(0)
            }
            ResponseBody::Open => {
                self.keep &= self.bodiless;
                Outgoing::Bare
            }
        };
        if self.bodiless {
            self.talk.outgoing = Outgoing::Nothing;
        }
        let (keep, says_keep, hint) = (self.keep, self.says_keep, self.keep_hint);
        let stage = self.talk.wire.stage();
        if let Some(length) = length {
            stage.extend_from_slice(b"Content-Length: ");
            decimal(stage, length);
            stage.extend_from_slice(b"\r\n");
        }
        if chunked {
            stage.extend_from_slice(b"Transfer-Encoding: chunked\r\n");
        }
        if !keep {
            stage.extend_from_slice(b"Connection: close\r\n");
        } else if says_keep {
            stage.extend_from_slice(b"Connection: keep-alive\r\n");
            if hint > 0 {
                stage.extend_from_slice(b"Keep-Alive: timeout=");
                decimal(stage, u64::from(hint));
                stage.extend_from_slice(b"\r\n");
            }
        }
        stage.extend_from_slice(b"\r\n");
    }

    fn poll_send(&mut self, cx: &mut Context<'_>, data: &[u8]) -> Poll<Result<usize, Broken>> {
        self.talk.poll_send(cx, data)
    }

    fn finish(&mut self, trailers: Vec<Trailer>) {
        self.talk.finish(&trailers);
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Broken>> {
        self.talk.poll_flush(cx)
    }

    fn direct(&self) -> Option<&Stream> {
        self.talk.direct_out()
    }

    fn gave_direct(&mut self, count: u64) {
        self.talk.gave_direct(count);
    }
}

impl Client for Side {
    fn start_head(&mut self, code: u16, reason: &[u8], body: ResponseBody) {
        self.heading = match code {
            101 => Heading::Switch,
            100..=199 => Heading::Interim,
            _ => Heading::Final(body),
        };
        if code == 101 || code >= 200 {
            self.answered = true;
            // Who is refused while the body still comes gets no further request; whose body ends here may stay.
            let whole = self.discard_if_refused(code);
            self.keep &= whole || code < 300;
        }
        let stage = self.talk.wire.stage();
        match status::line(code).filter(|_| reason.is_empty() || reason == status::reason(code).as_bytes()) {
            Some(known) => stage.extend_from_slice(known.as_bytes()),
            None => {
                stage.extend_from_slice(b"HTTP/1.1 ");
                decimal(stage, u64::from(code));
                stage.push(b' ');
                stage.extend_from_slice(reason);
                stage.extend_from_slice(b"\r\n");
            }
        }
    }

    fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        while self.watch_gone && !self.talk.wire.ended && self.talk.wire.unread().is_empty() {
            let Some(socket) = self.talk.wire.io().direct() else { return Poll::Pending };
            if ready!(socket.poll_readable(cx)).is_err() || self.is_broken() {
                return Poll::Ready(());
            }
        }
        Poll::Pending
    }

    fn is_watched(&self) -> bool {
        !self.half_close
    }

    fn close_after(&mut self) {
        self.keep = false;
    }

    fn abort(&mut self) {
        self.keep = false;
        self.aborted = true;
        // Without chunks or length only a reset tells that the body is cut.
        if let (Outgoing::Bare, Some(socket)) = (&self.talk.outgoing, self.talk.wire.io().direct()) {
            let _ = rustix::net::sockopt::set_socket_linger(socket, Some(std::time::Duration::ZERO));
        }
    }

    fn tunnel(&mut self) {
        self.keep = false;
        self.talk.tunnel();
    }

    fn received(&self) -> u64 {
        self.talk.wire.received - self.talk.wire.unread().len() as u64 - self.received_before
    }

    fn sent(&self) -> u64 {
        self.talk.wire.sent - self.sent_before
    }
}

impl Side {
    fn discard_if_refused(&mut self, code: u16) -> bool {
        if code < 300 || code == 101 {
            return matches!(self.talk.incoming, Incoming::Over);
        }
        // A client that still waits for its 100 will not send the body after this.
        !self.awaits_continue && self.discard_present()
    }
}
