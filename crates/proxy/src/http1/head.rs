//! From the bytes of a head to a [`Request`], and back.

use mainstay_core::http1::{self, HeadLimits, Reject, RequestHead, Span};

use crate::request::{Request, Version};

/// Parses a request's head into one of which nothing is known; says how many bytes it took.
pub(crate) fn parse(
    bytes: &[u8],
    limits: &HeadLimits,
    request: &mut Request,
) -> Result<Option<usize>, Reject> {
    let fields = &mut request.fields;
    fields.clear();
    let Some(head) = http1::request(bytes, limits, |field| fields.push(field))? else { return Ok(None) };
    request.target = copy(bytes, &head, &mut request.raw);
    request.method = head.method;
    request.authority = head.authority;
    request.version = if head.minor == 0 { Version::Http10 } else { Version::Http11 };
    request.body = head.body;
    request.close = head.close;
    request.upgrade = head.upgrade;
    request.expects_continue = head.expects_continue;
    Ok(Some(head.length))
}

/// Copies the head's bytes and says where its target is; a slash that the target lacks is put behind them.
fn copy(bytes: &[u8], head: &RequestHead, into: &mut Vec<u8>) -> Span {
    let bytes = &bytes[..head.length];
    into.clear();
    into.extend_from_slice(bytes);
    if !head.target_lacks_slash {
        return head.target;
    }
    into.push(b'/');
    into.extend_from_slice(head.target.of(bytes));
    let end = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
    Span { start: end(head.length), end: end(into.len()) }
}
