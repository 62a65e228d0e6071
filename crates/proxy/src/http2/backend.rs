//! The backend's side of one request: a stream of a connection that others share.

use std::task::{Context, Poll};

use mainstay_core::http1::{BodyLength, Field, Reject};
use mainstay_core::http2::{Code, Key, RequestLine, ResponseHead, Taken};

use super::links::Link;
use super::mux::Fields;
use crate::exchange::FieldSink;
use crate::forward::{Ask, Backend, Broken, More, ResponseBody, Sink, Source, Trailer};

/// A request over a stream.
#[derive(Debug)]
pub struct Exchange {
    link: Link,
    /// The connection is under TLS.
    secure: bool,
    key: Option<Key>,
    method: Vec<u8>,
    target: Vec<u8>,
    authority: Vec<u8>,
    fields: Fields,
    length: BodyLength,
    head: Head,
    body: ResponseBody,
    chunk: Vec<u8>,
    at: usize,
    /// The connection was used before, and nothing came on this stream.
    stale: bool,
}

/// A response's head.
#[derive(Debug, Default)]
pub struct Head(ResponseHead);

impl crate::response::ResponseHead for Head {
    fn status(&self) -> u16 {
        self.0.status
    }

    fn each(&self, visit: &mut dyn FnMut(&[u8], &[u8])) {
        for field in &self.0.fields {
            visit(field.name.of(&self.0.raw), field.value.of(&self.0.raw));
        }
    }

    fn field(&self, name: &str) -> Option<&[u8]> {
        let named = |f: &&Field| f.name.of(&self.0.raw).eq_ignore_ascii_case(name.as_bytes());
        self.0.fields.iter().find(named).map(|f| f.value.of(&self.0.raw))
    }
}

impl Exchange {
    /// A request over `link`.
    #[must_use]
    pub fn new(link: Link, secure: bool) -> Self {
        let stale = link.used.get();
        Self {
            link,
            secure,
            key: None,
            method: Vec::new(),
            target: Vec::new(),
            authority: Vec::new(),
            fields: Fields::new(),
            length: BodyLength::None,
            head: Head::default(),
            body: ResponseBody::None(None),
            chunk: Vec::new(),
            at: 0,
            stale,
        }
    }

    fn accept(&mut self, head: ResponseHead) {
        let bare = self.method == b"HEAD" || matches!(head.status, 204 | 304) || head.end;
        self.body = match head.content_length {
            length if bare => ResponseBody::None(length),
            Some(length) => ResponseBody::Known(length),
            None => ResponseBody::Open,
        };
        self.head = Head(head);
    }
}

fn broken(code: Code) -> Broken {
    match code {
        Code::RefusedStream => Broken::Refused,
        Code::Protocol => Broken::Malformed(Reject::StatusLine),
        _ => Broken::Gone,
    }
}

impl Source for Exchange {
    fn poll_data(&mut self, cx: &mut Context<'_>) -> Poll<Result<More, Broken>> {
        if self.at < self.chunk.len() {
            return Poll::Ready(Ok(More::Data));
        }
        self.chunk.clear();
        self.at = 0;
        let Some(key) = self.key else { return Poll::Ready(Err(Broken::Gone)) };
        let mut mux = self.link.shared.borrow();
        match mux.h2.take(key, &mut self.chunk) {
            Taken::Data => Poll::Ready(Ok(More::Data)),
            Taken::End => Poll::Ready(Ok(More::End)),
            Taken::Reset(code) => Poll::Ready(Err(broken(code))),
            Taken::Later => {
                mux.wait_to_read(key, cx);
                Poll::Pending
            }
        }
    }

    fn data(&self) -> &[u8] {
        &self.chunk[self.at..]
    }

    fn consume(&mut self, count: usize) {
        self.at += count;
        let Some(key) = self.key else { return };
        let mut mux = self.link.shared.borrow();
        mux.h2.consumed(key, count);
        if !mux.h2.output().is_empty() {
            mux.flush();
        }
    }

    fn trailers(&mut self) -> Vec<Trailer> {
        self.key.map(|key| self.link.shared.borrow().h2.trailers(key)).unwrap_or_default()
    }
}

impl FieldSink for Exchange {
    fn field(&mut self, name: &[u8], value: &[u8]) {
        if name.eq_ignore_ascii_case(b"host") {
            self.authority.clear();
            self.authority.extend_from_slice(value);
        } else {
            self.fields.field(name, value);
        }
    }
}

impl Sink for Exchange {
    fn end_head(&mut self) {
        if let BodyLength::Known(length) = self.length {
            self.fields.number(b"content-length", length);
        }
        let line = RequestLine {
            method: &self.method,
            scheme: if self.secure { b"https" } else { b"http" },
            authority: &self.authority,
            target: &self.target,
        };
        // Trailers are passed to whoever reads the response, whatever version that is in.
        let te = std::iter::once((&b"te"[..], &b"trailers"[..]));
        let mut mux = self.link.shared.borrow();
        self.key = mux.h2.open(&line, self.fields.iter().chain(te));
        mux.flush();
    }

    fn poll_send(&mut self, cx: &mut Context<'_>, data: &[u8]) -> Poll<Result<usize, Broken>> {
        let Some(key) = self.key else { return Poll::Ready(Err(Broken::Refused)) };
        let mut mux = self.link.shared.borrow();
        match mux.h2.send(key, data) {
            Ok(0) if !data.is_empty() => {
                mux.wait_to_write(key, cx);
                Poll::Pending
            }
            Ok(count) => {
                mux.flush();
                Poll::Ready(Ok(count))
            }
            Err(code) => Poll::Ready(Err(broken(code))),
        }
    }

    fn finish(&mut self, trailers: Vec<Trailer>) {
        let Some(key) = self.key else { return };
        let mut mux = self.link.shared.borrow();
        mux.h2.finish(key, trailers.iter().map(|(name, value)| (name.as_slice(), value.as_slice())));
        mux.flush();
    }

    /// The connection's task sends what all streams have to say.
    fn poll_flush(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Broken>> {
        Poll::Ready(Ok(()))
    }
}

impl Backend for Exchange {
    type Head = Head;

    fn start_head(&mut self, ask: &Ask<'_>) {
        self.method.extend_from_slice(ask.method);
        self.target.extend_from_slice(ask.target);
        self.length = ask.body;
    }

    fn poll_head(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Broken>> {
        // The backend took its leave between the choice of this connection and the request's head.
        let Some(key) = self.key else { return Poll::Ready(Err(Broken::Refused)) };
        loop {
            let mut mux = self.link.shared.borrow();
            let head = match mux.h2.response(key) {
                Ok(Some(head)) => head,
                Ok(None) => {
                    mux.wait_to_read(key, cx);
                    return Poll::Pending;
                }
                Err(code) => return Poll::Ready(Err(broken(code))),
            };
            drop(mux);
            self.stale = false;
            if head.status != 100 {
                self.accept(head);
                return Poll::Ready(Ok(()));
            }
        }
    }

    fn head(&self) -> &Head {
        &self.head
    }

    fn body(&self) -> ResponseBody {
        self.body
    }

    fn is_stale(&self) -> bool {
        self.stale
    }

    /// HTTP/2 never asks for an upgrade, so there is none.
    fn tunnel(&mut self) {}

    fn release(self) {}
}

impl Drop for Exchange {
    fn drop(&mut self) {
        if let Some(key) = self.key {
            let mut mux = self.link.shared.borrow();
            // What was taken and goes nowhere must not narrow the connection's window.
            mux.h2.consumed(key, self.chunk.len() - self.at);
            mux.h2.forget(key, Code::Cancel);
            mux.flush();
        }
    }
}
