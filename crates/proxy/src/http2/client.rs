//! The client's side of one request: a stream of its connection.

use std::task::{Context, Poll};

use mainstay_core::http2::{Code, Key, RequestHead, Taken};
use smallvec::SmallVec;

use super::mux::{Fields, Shared};
use crate::exchange::FieldSink;
use crate::forward::{Broken, Client, More, ResponseBody, Sink, Source, Trailer};
use crate::request::{Request, Version};

/// A stream that a client has opened.
#[derive(Debug)]
pub(super) struct Side {
    shared: Shared,
    key: Key,
    /// Bytes of the request's body that were taken, from `at` on.
    chunk: Vec<u8>,
    at: usize,
    status: u16,
    body: ResponseBody,
    fields: Fields,
    /// The client waits for a 100 before it sends the body.
    awaits_continue: bool,
    /// HEAD: a body is not sent whatever is said of its length.
    bodiless: bool,
    /// The response is whole.
    answered: bool,
    received: u64,
    sent: u64,
}

/// The request of a head.
pub(super) fn request(head: RequestHead) -> Request {
    Request {
        raw: head.raw,
        method: head.method,
        target: head.target,
        authority: head.authority,
        version: Version::Http2,
        body: head.body,
        close: false,
        upgrade: None,
        expects_continue: head.expects_continue,
        fields: SmallVec::from_vec(head.fields),
    }
}

impl Side {
    pub(super) fn new(shared: Shared, key: Key, head: &RequestHead) -> Self {
        Self {
            shared,
            key,
            chunk: Vec::new(),
            at: 0,
            status: 0,
            body: ResponseBody::None(None),
            fields: Fields::new(),
            awaits_continue: head.expects_continue,
            bodiless: head.method.of(&head.raw) == b"HEAD",
            answered: false,
            received: head.raw.len() as u64,
            sent: 0,
        }
    }

    /// Discards the rest of a request that was answered before its end; ready when there is none.
    pub(super) fn poll_rest(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if !self.answered {
            return Poll::Ready(());
        }
        loop {
            match self.poll_data(cx) {
                Poll::Ready(Ok(More::Data)) => self.consume(self.data().len()),
                Poll::Ready(Ok(More::End) | Err(_)) => return Poll::Ready(()),
                Poll::Pending => return Poll::Pending,
            }
        }
    }
}

impl Source for Side {
    fn poll_data(&mut self, cx: &mut Context<'_>) -> Poll<Result<More, Broken>> {
        if self.at < self.chunk.len() {
            return Poll::Ready(Ok(More::Data));
        }
        self.chunk.clear();
        self.at = 0;
        let mut mux = self.shared.borrow();
        match mux.h2.take(self.key, &mut self.chunk) {
            Taken::Data => {
                self.received += self.chunk.len() as u64;
                self.awaits_continue = false;
                Poll::Ready(Ok(More::Data))
            }
            Taken::End => Poll::Ready(Ok(More::End)),
            Taken::Reset(_) => Poll::Ready(Err(Broken::Gone)),
            Taken::Later => {
                if std::mem::take(&mut self.awaits_continue) {
                    mux.h2.respond(self.key, 100, std::iter::empty());
                }
                mux.wait_to_read(self.key, cx);
                Poll::Pending
            }
        }
    }

    fn data(&self) -> &[u8] {
        &self.chunk[self.at..]
    }

    fn consume(&mut self, count: usize) {
        self.at += count;
        self.shared.borrow().h2.consumed(self.key, count);
    }

    fn trailers(&mut self) -> Vec<Trailer> {
        self.shared.borrow().h2.trailers(self.key)
    }
}

impl FieldSink for Side {
    fn field(&mut self, name: &[u8], value: &[u8]) {
        self.fields.field(name, value);
    }
}

impl Sink for Side {
    fn end_head(&mut self) {
        match self.body {
            ResponseBody::None(Some(length)) | ResponseBody::Known(length) => {
                self.fields.number(b"content-length", length);
            }
            ResponseBody::None(None) | ResponseBody::Open => {}
        }
        self.sent += self.fields.len() as u64;
        self.shared.borrow().h2.respond(self.key, self.status, self.fields.iter());
    }

    fn poll_send(&mut self, cx: &mut Context<'_>, data: &[u8]) -> Poll<Result<usize, Broken>> {
        if self.bodiless {
            return Poll::Ready(Ok(data.len()));
        }
        let mut mux = self.shared.borrow();
        match mux.h2.send(self.key, data) {
            Ok(0) if !data.is_empty() => {
                mux.wait_to_write(self.key, cx);
                Poll::Pending
            }
            Ok(count) => {
                self.sent += count as u64;
                Poll::Ready(Ok(count))
            }
            Err(_) => Poll::Ready(Err(Broken::Gone)),
        }
    }

    fn finish(&mut self, trailers: Vec<Trailer>) {
        let trailers = trailers.iter().map(|(name, value)| (name.as_slice(), value.as_slice()));
        self.shared.borrow().h2.finish(self.key, trailers);
        self.answered = true;
    }

    /// The connection's task sends what all streams have to say when each had its turn.
    fn poll_flush(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Broken>> {
        Poll::Ready(Ok(()))
    }
}

impl Client for Side {
    fn start_head(&mut self, status: u16, _reason: &[u8], body: ResponseBody) {
        self.fields.clear();
        self.status = status;
        self.body = if status < 200 { ResponseBody::None(None) } else { body };
        // Whoever answers has no need of the body, or asks for it himself.
        self.awaits_continue &= status < 200;
    }

    fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let mut mux = self.shared.borrow();
        if mux.h2.is_reset(self.key).is_some() {
            return Poll::Ready(());
        }
        mux.wait_to_read(self.key, cx);
        Poll::Pending
    }

    fn close_after(&mut self) {}

    fn abort(&mut self) {
        self.shared.borrow().h2.reset(self.key, Code::Internal);
    }

    /// HTTP/2 never asks for an upgrade, so there is none.
    fn tunnel(&mut self) {
        self.abort();
    }

    fn received(&self) -> u64 {
        self.received
    }

    fn sent(&self) -> u64 {
        self.sent
    }
}

impl Drop for Side {
    fn drop(&mut self) {
        let mut mux = self.shared.borrow();
        // What was taken and goes nowhere must not narrow the connection's window.
        mux.h2.consumed(self.key, self.chunk.len() - self.at);
        mux.h2.forget(self.key, Code::Internal);
    }
}
