//! Compression of responses: which, as nginx decides it, and how.
//!
//! Whoever writes a response asks [`choose`], lets its fields pass through [`Fields`], and pushes its body through an
//! [`Encoder`], flushing whenever the source has nothing more at hand, so that what is streamed is never held back.

use std::cell::RefCell;

use flate2::{Compress, Compression, FlushCompress, Status};
use mainstay_config::plan::edge::Gzip;

use crate::exchange::FieldSink;
use crate::request::{Request, Version};

/// Encoders at once in a thread; one takes about a quarter of a MiB. Further responses go out as they are.
const AT_ONCE: usize = 256;

/// Encoders that a thread keeps for the next responses.
const KEPT: usize = 8;

/// log2 of the window.
const WINDOW: u8 = 15;

/// Room that is made for output at least.
const ROOM: usize = 1024;

/// What becomes of a response's body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Choice {
    /// It goes out as it is.
    Leave,
    /// It goes out as it is to this client, and compressed to others: `Vary` says so.
    LeaveAndVary,
    /// It is compressed; its length is not known beforehand.
    Compress,
}

/// Decides on a response: its status, the length of its body when it is known, and its fields by name (in lower case).
#[must_use]
pub fn choose<'a>(
    gzip: &Gzip,
    request: &Request,
    status: u16,
    length: Option<u64>,
    field: impl Fn(&str) -> Option<&'a [u8]>,
) -> Choice {
    let may = matches!(status, 200 | 403 | 404)
        && request.method() != "HEAD"
        && length.is_none_or(|length| length >= gzip.min_length)
        && field("content-encoding").is_none()
        && is_among(&gzip.types, field("content-type").unwrap_or_default())
        && !field("cache-control").is_some_and(forbids);
    if !may {
        return Choice::Leave;
    }
    let wants = accepts(request)
        && (gzip.http10 || request.version != Version::Http10)
        && (gzip.proxied || request.field("via").is_none());
    if wants { Choice::Compress } else { Choice::LeaveAndVary }
}

/// Whether a media type, its parameters aside, is in the list.
fn is_among(types: &[String], media: &[u8]) -> bool {
    let media = media.split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii();
    types
        .iter()
        .any(|known| known == "*" || (!media.is_empty() && known.as_bytes().eq_ignore_ascii_case(media)))
}

/// Whether a `Cache-Control` forbids to change the body (RFC 9111 5.2.2.6).
fn forbids(value: &[u8]) -> bool {
    value.split(|byte| *byte == b',').any(|word| word.trim_ascii().eq_ignore_ascii_case(b"no-transform"))
}

/// Whether a client takes gzip: its `Accept-Encoding` names it, with a weight above zero. As with nginx, `*` is no name.
#[must_use]
pub fn accepts(request: &Request) -> bool {
    request
        .fields()
        .filter(|(name, _)| name.eq_ignore_ascii_case(b"accept-encoding"))
        .flat_map(|(_, value)| value.split(|byte| *byte == b','))
        .any(|coding| {
            let mut parts = coding.split(|byte| *byte == b';').map(<[u8]>::trim_ascii);
            parts.next().is_some_and(|name| name.eq_ignore_ascii_case(b"gzip")) && parts.all(above_zero)
        })
}

/// Whether a parameter is no weight, or one above zero: `q=0.001`.
fn above_zero(parameter: &[u8]) -> bool {
    let Some(weight) = parameter.strip_prefix(b"q=").or_else(|| parameter.strip_prefix(b"Q=")) else {
        return true;
    };
    let good = weight.len() <= 5 && weight.iter().all(|byte| byte.is_ascii_digit() || *byte == b'.');
    good && weight.iter().any(|byte| (b'1'..=b'9').contains(byte))
}

/// Passes a response's fields on, changed as the choice asks for; [`Fields::end`] adds what is new.
pub struct Fields<'a> {
    inner: &'a mut dyn FieldSink,
    choice: Choice,
    vary: bool,
}

impl<'a> Fields<'a> {
    /// What is passed goes to `inner`.
    #[must_use]
    pub fn new(gzip: &Gzip, choice: Choice, inner: &'a mut dyn FieldSink) -> Self {
        Self { inner, choice, vary: gzip.vary && choice != Choice::Leave }
    }

    /// Adds `Vary` and `Content-Encoding`.
    pub fn end(self) {
        if self.vary {
            self.inner.field(b"Vary", b"Accept-Encoding");
        }
        if self.choice == Choice::Compress {
            self.inner.field(b"Content-Encoding", b"gzip");
        }
    }
}

impl FieldSink for Fields<'_> {
    fn field(&mut self, name: &[u8], value: &[u8]) {
        let is = |known: &[u8]| name.eq_ignore_ascii_case(known);
        if is(b"vary") && value.to_ascii_lowercase().windows(15).any(|word| word == b"accept-encoding") {
            self.vary = false;
        }
        if self.choice != Choice::Compress {
            return self.inner.field(name, value);
        }
        if is(b"content-length") || is(b"accept-ranges") || is(b"content-md5") {
            return;
        }
        if is(b"etag") && !value.starts_with(b"W/") {
            // The bytes differ from those that the tag is for: it is a weak one (RFC 9110 8.8.1).
            let weak = [b"W/".as_slice(), value].concat();
            return self.inner.field(name, &weak);
        }
        self.inner.field(name, value);
    }
}

#[derive(Default)]
struct Stock {
    kept: Vec<(u8, Compress)>,
    lent: usize,
}

thread_local! {
    static STOCK: RefCell<Stock> = RefCell::new(Stock::default());
}

/// Compresses one body; its memory goes back to its thread when it is dropped.
pub struct Encoder {
    level: u8,
    compress: Option<Compress>,
    /// Something went in since the last flush.
    held: bool,
}

impl std::fmt::Debug for Encoder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Encoder").field("level", &self.level).finish_non_exhaustive()
    }
}

impl Encoder {
    /// One at this level; `None` when the thread has too many at once, and the body goes out as it is.
    #[must_use]
    pub fn new(gzip: &Gzip) -> Option<Self> {
        let level = gzip.level.clamp(1, 9);
        STOCK.with_borrow_mut(|stock| {
            if stock.lent >= AT_ONCE {
                return None;
            }
            stock.lent += 1;
            let at = stock.kept.iter().position(|(kept, _)| *kept == level);
            let compress = at.map_or_else(
                || Compress::new_gzip(Compression::new(u32::from(level)), WINDOW),
                |at| stock.kept.swap_remove(at).1,
            );
            Some(Self { level, compress: Some(compress), held: false })
        })
    }

    /// Takes a part of the body; what is ready is appended to `out`.
    pub fn push(&mut self, input: &[u8], out: &mut Vec<u8>) {
        if !input.is_empty() {
            self.held = true;
            self.run(input, out, FlushCompress::None);
        }
    }

    /// Appends everything that was taken so far: nothing more is at hand for the moment.
    pub fn flush(&mut self, out: &mut Vec<u8>) {
        if self.held {
            self.held = false;
            self.run(&[], out, FlushCompress::Sync);
        }
    }

    /// Appends the end.
    pub fn finish(mut self, out: &mut Vec<u8>) {
        self.run(&[], out, FlushCompress::Finish);
    }

    fn run(&mut self, mut input: &[u8], out: &mut Vec<u8>, flush: FlushCompress) {
        let Some(compress) = &mut self.compress else { return };
        loop {
            out.reserve(ROOM.max(input.len() / 4));
            let (before_in, before_out) = (compress.total_in(), out.len());
            // The error is one of use, after the end; nothing is lost by stopping.
            let Ok(status) = compress.compress_vec(input, out, flush) else { return };
            let taken = usize::try_from(compress.total_in() - before_in).unwrap_or(usize::MAX);
            input = input.get(taken..).unwrap_or_default();
            let stuck = taken == 0 && out.len() == before_out;
            let drained = out.len() < out.capacity();
            let done = match flush {
                FlushCompress::Finish => status == Status::StreamEnd,
                _ => input.is_empty() && drained,
            };
            if done || stuck {
                return;
            }
        }
    }
}

impl Drop for Encoder {
    fn drop(&mut self) {
        let Some(mut compress) = self.compress.take() else { return };
        STOCK.with_borrow_mut(|stock| {
            stock.lent = stock.lent.saturating_sub(1);
            if stock.kept.len() < KEPT {
                compress.reset();
                stock.kept.push((self.level, compress));
            }
        });
    }
}
