//! A connection that speaks HTTP/1.1, in either direction: bodies are cut out of what comes and framed into what goes.

use std::io;
use std::task::{Context, Poll, ready};

use mainstay_core::http1::{Decoder, Reject, Step};

use super::wire::Wire;
use crate::forward::{Broken, More, Trailer};
use crate::transport::Stream;

/// How the body that comes is delimited.
#[derive(Debug)]
pub(crate) enum Incoming {
    /// It is at its end.
    Over,
    /// So many bytes are left.
    Known(u64),
    /// Chunks.
    Chunked(Decoder),
    /// Everything until the end of the connection.
    UntilEnd,
}

/// How the body that goes is delimited.
#[derive(Debug)]
pub(crate) enum Outgoing {
    /// None is sent, whatever there is (HEAD).
    Nothing,
    /// So many bytes are left.
    Known(u64),
    /// Chunks; so many bytes are left of the one that was begun.
    Chunked(u64),
    /// Bytes without framing.
    Bare,
    /// Bytes without framing; its end is told by closing this direction.
    Tunnel,
    /// The direction is to be closed once everything is sent.
    Closing,
    /// It is at its end.
    Over,
}

/// A connection and where its bodies are.
#[derive(Debug)]
pub(crate) struct Talk {
    pub(crate) wire: Wire,
    pub(crate) incoming: Incoming,
    pub(crate) outgoing: Outgoing,
    /// Bytes of the body at the beginning of what is unread.
    ready: usize,
    trailers: Vec<Trailer>,
}

/// What an error of the connection means for a request on it: only behind a tunnel is a connection refused once it is there.
pub(crate) fn broken(error: io::Error) -> Broken {
    if error.kind() == io::ErrorKind::ConnectionRefused { Broken::Refused } else { Broken::Gone }
}

impl Talk {
    pub(crate) fn new(wire: Wire) -> Self {
        Self { wire, incoming: Incoming::Over, outgoing: Outgoing::Over, ready: 0, trailers: Vec::new() }
    }

    pub(crate) fn data(&self) -> &[u8] {
        &self.wire.unread()[..self.ready]
    }

    pub(crate) fn consume(&mut self, count: usize) {
        self.ready -= count;
        self.wire.consume(count);
        match &mut self.incoming {
            Incoming::Known(left) => *left -= count as u64,
            Incoming::Chunked(decoder) => decoder.took(count),
            Incoming::Over | Incoming::UntilEnd => {}
        }
    }

    pub(crate) fn trailers(&mut self) -> Vec<Trailer> {
        std::mem::take(&mut self.trailers)
    }

    pub(crate) fn poll_data(&mut self, cx: &mut Context<'_>) -> Poll<Result<More, Broken>> {
        loop {
            if let Some(more) = self.have()? {
                return Poll::Ready(Ok(more));
            }
            if self.wire.ended || (self.wire.is_full() && !self.wire.grow()) {
                return Poll::Ready(Err(Broken::Gone));
            }
            if ready!(self.wire.poll_fill(cx)).map_err(|_| Broken::Gone)? == 0 {
                if matches!(self.incoming, Incoming::UntilEnd) {
                    self.incoming = Incoming::Over;
                    return Poll::Ready(Ok(More::End));
                }
                return Poll::Ready(Err(Broken::Gone));
            }
        }
    }

    /// What there is without reading.
    pub(crate) fn have(&mut self) -> Result<Option<More>, Reject> {
        loop {
            let unread = self.wire.unread();
            match &mut self.incoming {
                Incoming::Over => return Ok(Some(More::End)),
                Incoming::Known(0) => self.incoming = Incoming::Over,
                Incoming::Known(left) => {
                    self.ready = usize::try_from(*left).unwrap_or(usize::MAX).min(unread.len());
                    return Ok((self.ready > 0).then_some(More::Data));
                }
                Incoming::UntilEnd => {
                    self.ready = unread.len();
                    return Ok((self.ready > 0).then_some(More::Data));
                }
                Incoming::Chunked(decoder) => match decoder.step(unread)? {
                    Step::Skip(count) => self.wire.consume(count),
                    Step::Data(count) => {
                        self.ready = count;
                        return Ok(Some(More::Data));
                    }
                    Step::More => return Ok(None),
                    Step::End(count, fields) => {
                        let text = |span: mainstay_core::http1::Span| span.of(unread).to_vec();
                        self.trailers = fields.iter().map(|f| (text(f.name), text(f.value))).collect();
                        self.wire.consume(count);
                        self.incoming = Incoming::Over;
                    }
                },
            }
        }
    }

    /// Bytes that are to come beyond those at hand and can be read from the socket as they are.
    pub(crate) fn direct_in(&self) -> Option<(&Stream, u64)> {
        match self.incoming {
            Incoming::Known(left) if self.wire.unread().is_empty() => {
                self.wire.io().direct().map(|socket| (socket, left))
            }
            Incoming::Known(_) | Incoming::Over | Incoming::Chunked(_) | Incoming::UntilEnd => None,
        }
    }

    pub(crate) fn took_direct(&mut self, count: u64) {
        self.wire.received += count;
        if let Incoming::Known(left) = &mut self.incoming {
            *left -= count;
        }
    }

    pub(crate) fn direct_out(&self) -> Option<&Stream> {
        match self.outgoing {
            Outgoing::Known(_) | Outgoing::Bare if !self.wire.has_staged() => self.wire.io().direct(),
            Outgoing::Known(_)
            | Outgoing::Bare
            | Outgoing::Nothing
            | Outgoing::Chunked(_)
            | Outgoing::Tunnel
            | Outgoing::Closing
            | Outgoing::Over => None,
        }
    }

    pub(crate) fn gave_direct(&mut self, count: u64) {
        self.wire.sent += count;
        if let Outgoing::Known(left) = &mut self.outgoing {
            *left -= count;
        }
    }

    pub(crate) fn poll_send(&mut self, cx: &mut Context<'_>, data: &[u8]) -> Poll<Result<usize, Broken>> {
        let most = match &mut self.outgoing {
            Outgoing::Nothing => return Poll::Ready(Ok(data.len())),
            Outgoing::Known(left) => usize::try_from(*left).unwrap_or(usize::MAX).min(data.len()),
            Outgoing::Chunked(left) => {
                if *left == 0 && !data.is_empty() {
                    *left = data.len() as u64;
                    chunk_size(self.wire.stage(), data.len());
                }
                usize::try_from(*left).unwrap_or(usize::MAX).min(data.len())
            }
            Outgoing::Bare | Outgoing::Tunnel => data.len(),
            Outgoing::Closing | Outgoing::Over => 0,
        };
        if most == 0 {
            // More than was promised.
            return Poll::Ready(if data.is_empty() { Ok(0) } else { Err(Broken::Gone) });
        }
        let count = ready!(self.wire.poll_send(cx, &data[..most])).map_err(broken)?;
        match &mut self.outgoing {
            Outgoing::Known(left) => *left -= count as u64,
            Outgoing::Chunked(left) => {
                *left -= count as u64;
                if *left == 0 {
                    self.wire.stage().extend_from_slice(b"\r\n");
                }
            }
            Outgoing::Nothing | Outgoing::Bare | Outgoing::Tunnel | Outgoing::Closing | Outgoing::Over => {}
        }
        Poll::Ready(Ok(count))
    }

    pub(crate) fn finish(&mut self, trailers: &[Trailer]) {
        if let Outgoing::Chunked(_) = self.outgoing {
            let stage = self.wire.stage();
            stage.extend_from_slice(b"0\r\n");
            for (name, value) in trailers {
                line(stage, name, value);
            }
            stage.extend_from_slice(b"\r\n");
        }
        self.outgoing = match self.outgoing {
            Outgoing::Tunnel => Outgoing::Closing,
            // A body that is too short leaves the connection of no use.
            Outgoing::Known(left) if left > 0 => Outgoing::Known(left),
            Outgoing::Nothing
            | Outgoing::Known(_)
            | Outgoing::Chunked(_)
            | Outgoing::Bare
            | Outgoing::Closing
            | Outgoing::Over => Outgoing::Over,
        };
    }

    pub(crate) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Broken>> {
        let done: io::Result<()> = if matches!(self.outgoing, Outgoing::Closing) {
            let done = ready!(self.wire.poll_shutdown(cx));
            self.outgoing = Outgoing::Over;
            done
        } else if self.wire.has_staged() {
            ready!(self.wire.poll_drain(cx))
        } else {
            Ok(())
        };
        Poll::Ready(done.map_err(broken))
    }

    /// Both directions are bytes without framing.
    pub(crate) fn tunnel(&mut self) {
        self.incoming = Incoming::UntilEnd;
        self.outgoing = Outgoing::Tunnel;
    }

    /// Both bodies came to their end.
    pub(crate) fn is_clean(&self) -> bool {
        matches!(self.incoming, Incoming::Over | Incoming::Known(0))
            && matches!(self.outgoing, Outgoing::Over | Outgoing::Known(0) | Outgoing::Nothing)
            && !self.wire.has_staged()
    }
}

/// A header line.
pub(crate) fn line(out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    out.reserve(name.len() + value.len() + 4);
    out.extend_from_slice(name);
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

/// A decimal number.
pub(crate) fn decimal(out: &mut Vec<u8>, mut number: u64) {
    let mut digits = [0; 20];
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = b'0' + u8::try_from(number % 10).expect("one digit");
        number /= 10;
        if number == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[at..]);
}

fn chunk_size(out: &mut Vec<u8>, size: usize) {
    let digits = (usize::BITS - size.leading_zeros()).div_ceil(4).max(1);
    for place in (0..digits).rev() {
        out.push(b"0123456789abcdef"[size >> (place * 4) & 15]);
    }
    out.extend_from_slice(b"\r\n");
}
