//! From the bytes of a head to a [`Request`], and back.

use bytes::{Bytes, BytesMut};
use mainstay_core::http1::{self, HeadLimits, Reject, RequestHead, Span};
use smallvec::SmallVec;

use crate::request::{BodyLength, Request, Version};

/// Parses a request's head into a blank one; says how many bytes it took.
pub(crate) fn parse(
    bytes: &[u8],
    limits: &HeadLimits,
    request: &mut Request,
) -> Result<Option<usize>, Reject> {
    let fields = &mut request.fields;
    let Some(head) = http1::request(bytes, limits, |field| fields.push(field))? else { return Ok(None) };
    (request.raw, request.target) = raw(bytes, &head);
    request.method = head.method;
    request.authority = head.authority;
    request.version = if head.minor == 0 { Version::Http10 } else { Version::Http11 };
    request.body = head.body;
    request.close = head.close;
    request.upgrade = head.upgrade;
    request.expects_continue = head.expects_continue;
    Ok(Some(head.length))
}

/// A request of which nothing is known.
pub(crate) fn blank() -> Request {
    Request {
        raw: Bytes::new(),
        method: Span::default(),
        target: Span::default(),
        authority: Span::default(),
        version: Version::Http11,
        body: BodyLength::None,
        close: false,
        upgrade: None,
        expects_continue: false,
        fields: SmallVec::new(),
    }
}

/// The head's bytes, and where its target is; a slash that the target lacks is put behind them.
fn raw(bytes: &[u8], head: &RequestHead) -> (Bytes, Span) {
    let bytes = &bytes[..head.length];
    if !head.target_lacks_slash {
        return (Bytes::copy_from_slice(bytes), head.target);
    }
    let query = head.target.of(bytes);
    let mut all = BytesMut::with_capacity(bytes.len() + 1 + query.len());
    all.extend_from_slice(bytes);
    all.extend_from_slice(b"/");
    all.extend_from_slice(query);
    let end = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
    (all.freeze(), Span { start: end(head.length), end: end(head.length + 1 + query.len()) })
}
