//! The two sides of a request on its way: the client's and the backend's, whatever version of HTTP each speaks.
//!
//! Everything here is polled, so that one task moves both directions at once: a backend may answer while the request's
//! body is still coming. Whoever drives a side keeps the deadlines; a side only says that it waits.

use std::task::{Context, Poll};

use mainstay_core::http1::Reject;

use crate::exchange::FieldSink;
use crate::response::ResponseHead;
use crate::transport::Stream;

/// Why a side can go no further.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Broken {
    /// Its connection ended or was reset before it should.
    #[error("the connection ended too soon")]
    Gone,
    /// What it sent breaks the rules.
    #[error(transparent)]
    Malformed(#[from] Reject),
    /// It refused this request and has done nothing with it (HTTP/2: REFUSED_STREAM, GOAWAY): another try is safe.
    #[error("the request was refused unprocessed")]
    Refused,
}

/// What [`Source::poll_data`] waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum More {
    /// [`Source::data`] has bytes.
    Data,
    /// The body is at its end.
    End,
}

/// A field behind a body.
pub type Trailer = (Vec<u8>, Vec<u8>);

/// Where a body comes from: a request's from the client, a response's from the backend.
pub trait Source {
    /// Waits for bytes or for the end; either is said again until [`Source::consume`] has taken the bytes.
    fn poll_data(&mut self, cx: &mut Context<'_>) -> Poll<Result<More, Broken>>;

    /// The bytes that came and were not consumed.
    fn data(&self) -> &[u8];

    /// Takes bytes away from the beginning of [`Source::data`] (and opens HTTP/2's window for as many).
    fn consume(&mut self, count: usize);

    /// The fields behind the body, once its end was seen.
    fn trailers(&mut self) -> Vec<Trailer>;

    /// Bytes of the body that are still to come, beyond [`Source::data`], when that is known and they can be read from
    /// the socket as they are; with that socket.
    fn direct(&self) -> Option<(&Stream, u64)> {
        None
    }

    /// So many bytes were read from the socket itself.
    fn took_direct(&mut self, _count: u64) {}
}

/// Where a body goes: a request's to the backend, a response's to the client. Its head is written before: the head is
/// begun by [`Client::start_head`] or [`Backend::start_head`], its fields follow through [`FieldSink`], then comes
/// [`Sink::end_head`].
pub trait Sink: FieldSink {
    /// The head is complete. It may wait for [`Sink::poll_flush`] or go out with the first bytes of the body.
    fn end_head(&mut self);

    /// Takes the body's next bytes, or the first of them, and says how many; waits while it can take none. What it took
    /// may wait for [`Sink::poll_flush`].
    fn poll_send(&mut self, cx: &mut Context<'_>, data: &[u8]) -> Poll<Result<usize, Broken>>;

    /// The body is complete; said once. What that takes may wait for [`Sink::poll_flush`].
    fn finish(&mut self, trailers: Vec<Trailer>);

    /// Sends everything that waits.
    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Broken>>;

    /// The socket, when the next bytes of the body may go to it as they are: nothing waits, no chunks.
    fn direct(&self) -> Option<&Stream> {
        None
    }

    /// So many bytes were written to the socket itself.
    fn gave_direct(&mut self, _count: u64) {}
}

/// How the body of a response is delimited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResponseBody {
    /// There is none; a response to HEAD and 304 may name a length all the same.
    None(Option<u64>),
    /// So many bytes.
    Known(u64),
    /// Until its end: chunks, END_STREAM, or the end of the connection.
    Open,
}

/// The client's side of one request. Its [`Source`] is the request's body, its [`Sink`] the response.
pub trait Client: Source + Sink {
    /// Begins the head of a response; a status below 200 (never 101 to HTTP/2) may be followed by another head. `reason`
    /// may be empty. Date and Server are fields like others; Connection and what frames the body are added here.
    fn start_head(&mut self, status: u16, reason: &[u8], body: ResponseBody);

    /// Waits until the client is gone for good, which nothing but an error tells.
    fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<()>;

    /// Whether it is worth the while to look for that from the beginning.
    fn is_watched(&self) -> bool {
        false
    }

    /// No further request is served on this connection after this one (HTTP/2: nothing).
    fn close_after(&mut self);

    /// The response cannot be completed: the client must see that it is cut.
    fn abort(&mut self);

    /// After a 101: both directions are bytes without framing from here on; [`Sink::finish`] closes one.
    fn tunnel(&mut self);

    /// Bytes that came in, head included, since the request began.
    fn received(&self) -> u64;

    /// Bytes that went out since the request began.
    fn sent(&self) -> u64;
}

/// What a backend is asked.
#[derive(Clone, Copy, Debug)]
pub struct Ask<'a> {
    /// Method.
    pub method: &'a [u8],
    /// Target in origin form, or `*`.
    pub target: &'a [u8],
    /// How the body is delimited.
    pub body: mainstay_core::http1::BodyLength,
    /// The protocols that the connection may be upgraded to; HTTP/2 ignores them.
    pub upgrade: Option<&'a [u8]>,
}

/// The backend's side of one request. Its [`Sink`] is the request, its [`Source`] the response's body.
pub trait Backend: Source + Sink {
    /// Its responses' heads.
    type Head: ResponseHead;

    /// Begins the request's head. Host is a field like others (HTTP/2 makes `:authority` of it); Connection, Upgrade and
    /// what frames the body are added here.
    fn start_head(&mut self, ask: &Ask<'_>);

    /// Waits for the head of a response: of each 1xx but 100, then of the final one. What waits to be sent is sent by
    /// others.
    fn poll_head(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Broken>>;

    /// The head that came last.
    fn head(&self) -> &Self::Head;

    /// The phrase behind its status; empty in HTTP/2.
    fn reason(&self) -> &[u8] {
        b""
    }

    /// How its body is delimited.
    fn body(&self) -> ResponseBody;

    /// The connection was kept from before and nothing of a response came: the backend may have closed it before it saw
    /// the request.
    fn is_stale(&self) -> bool {
        false
    }

    /// After a 101: both directions are bytes without framing from here on; [`Sink::finish`] closes one.
    fn tunnel(&mut self);

    /// The exchange is over: the connection is kept for the next one if both bodies came to their end, else it is closed
    /// (HTTP/2: the stream is reset).
    fn release(self);
}
