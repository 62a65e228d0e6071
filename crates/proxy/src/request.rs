//! A request's head, whatever version of HTTP it came by.

use smallvec::SmallVec;

pub use mainstay_core::http1::{BodyLength, Field, Span};

/// Bytes of a head that are kept for the next one on the same connection.
const RAW_KEPT: usize = 4 << 10;

/// The version of HTTP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// HTTP/1.0.
    Http10,
    /// HTTP/1.1.
    Http11,
    /// HTTP/2.
    Http2,
}

/// A request's head. Bytes were checked when it was made: names are tokens, values hold no CR, LF or NUL, the target no blank or
/// control byte, there is one Host at most, and HTTP/2's pseudo headers are no fields.
#[derive(Clone, Debug)]
pub struct Request {
    /// What the spans point into.
    pub raw: Vec<u8>,
    /// Method.
    pub method: Span,
    /// Target in origin form, or `*` (OPTIONS), or `host:port` (CONNECT); scheme and authority of an absolute form are cut off.
    pub target: Span,
    /// Host with port: of the absolute form or `:authority`, else the Host header; empty when neither is there.
    pub authority: Span,
    /// Version.
    pub version: Version,
    /// How the body is delimited.
    pub body: BodyLength,
    /// `Connection: close`, or HTTP/1.0 without keep-alive.
    pub close: bool,
    /// The protocols of an Upgrade that `Connection` names; always `None` for HTTP/2.
    pub upgrade: Option<Span>,
    /// `Expect: 100-continue`.
    pub expects_continue: bool,
    /// The fields in their order.
    pub fields: SmallVec<[Field; 24]>,
}

impl Request {
    /// No request: for the logs of connections that are relayed as bytes.
    #[must_use]
    pub fn none() -> Self {
        Self {
            raw: Vec::new(),
            method: Span::default(),
            target: Span::default(),
            authority: Span::default(),
            version: Version::Http11,
            body: BodyLength::None,
            close: true,
            upgrade: None,
            expects_continue: false,
            fields: SmallVec::new(),
        }
    }

    /// Forgets the request; the memory stays for the next one, unless it is large.
    pub(crate) fn forget(&mut self) {
        let Self { raw, method, target, authority, upgrade, fields, .. } = self;
        if raw.capacity() <= RAW_KEPT {
            raw.clear();
        } else {
            *raw = Vec::new();
        }
        fields.clear();
        if fields.spilled() {
            *fields = SmallVec::new();
        }
        (*method, *target, *authority, *upgrade) = (Span::default(), Span::default(), Span::default(), None);
    }

    /// The bytes of a span.
    #[must_use]
    pub fn bytes(&self, span: Span) -> &[u8] {
        &self.raw[span.start as usize..span.end as usize]
    }

    /// A span as text; what is not ASCII or UTF-8 reads as empty.
    #[must_use]
    pub fn text(&self, span: Span) -> &str {
        std::str::from_utf8(self.bytes(span)).unwrap_or("")
    }

    /// The method.
    #[must_use]
    pub fn method(&self) -> &str {
        self.text(self.method)
    }

    /// Each field: name and value.
    pub fn fields(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.fields.iter().map(|f| (self.bytes(f.name), self.bytes(f.value)))
    }

    /// The first value of a header; `name` in lower case.
    #[must_use]
    pub fn field(&self, name: &str) -> Option<&[u8]> {
        self.fields().find(|(n, _)| n.eq_ignore_ascii_case(name.as_bytes())).map(|(_, value)| value)
    }
}
