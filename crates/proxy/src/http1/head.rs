//! From the bytes of a head to a [`Request`], and back.

use bytes::{Bytes, BytesMut};
use mainstay_core::http1::{self, HeadLimits, Reject, RequestHead, Span};
use smallvec::SmallVec;

use crate::buffers;
use crate::request::{Request, Version};

/// Parses a request's head; with how many bytes it took.
pub(crate) fn request(bytes: &[u8], limits: &HeadLimits) -> Result<Option<(Request, usize)>, Reject> {
    let mut fields = SmallVec::new();
    let Some(head) = http1::request(bytes, limits, &mut fields)? else { return Ok(None) };
    let (raw, target) = raw(bytes, &head);
    let request = Request {
        raw,
        method: head.method,
        target,
        authority: head.authority,
        version: if head.minor == 0 { Version::Http10 } else { Version::Http11 },
        body: head.body,
        close: head.close,
        upgrade: head.upgrade,
        expects_continue: head.expects_continue,
        fields,
    };
    Ok(Some((request, head.length)))
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

/// A head's bytes in a borrowed text.
#[derive(Debug)]
pub(crate) struct HeadText(pub(crate) Vec<u8>);

impl Default for HeadText {
    fn default() -> Self {
        Self(buffers::text())
    }
}

impl Drop for HeadText {
    fn drop(&mut self) {
        buffers::give_back_text(std::mem::take(&mut self.0));
    }
}
