//! Compression of responses: which, as nginx decides it, and how.
//!
//! Whoever writes a response asks [`choose`], lets its fields pass through [`Fields`], and pushes its body through an
//! [`Encoder`], flushing whenever the source has nothing more at hand, so that what is streamed is never held back.

use std::cell::RefCell;

use flate2::{Compress, Compression, FlushCompress, Status};
use mainstay_config::plan::edge::Gzip;

use crate::exchange::FieldSink;
use crate::request::{Request, Version};
use crate::response::{Body, Response};

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

/// Fields of a response of ours.
#[derive(Default)]
struct Kept(Vec<(Box<str>, Vec<u8>)>);

impl FieldSink for Kept {
    fn field(&mut self, name: &[u8], value: &[u8]) {
        self.0.push((String::from_utf8_lossy(name).into(), value.to_vec()));
    }
}

/// Compresses a response of ours where that is to be: a body in memory here and now; for one from a file the encoder that
/// it is to go through is returned, and its length is not known. The fields are changed in any case.
#[must_use]
pub fn apply(gzip: &Gzip, request: &Request, response: &mut Response) -> Option<Encoder> {
    let fields = &response.fields;
    let mut choice = choose(gzip, request, response.status, Some(response.body.len()), |name| {
        let found = fields.iter().find(|(known, _)| known.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_slice())
    });
    if response.body.is_empty() || choice == Choice::Leave {
        return None;
    }
    let encoder = (choice == Choice::Compress).then(|| Encoder::new(gzip)).flatten();
    if encoder.is_none() {
        choice = Choice::LeaveAndVary;
    }
    let mut kept = Kept::default();
    let mut changed = Fields::new(gzip, choice, &mut kept);
    for (name, value) in &response.fields {
        changed.field(name.as_bytes(), value);
    }
    changed.end();
    response.fields = kept.0;
    let mut encoder = encoder?;
    let Body::Bytes(bytes) = &response.body else { return Some(encoder) };
    let mut packed = Vec::with_capacity(bytes.len() / 3 + ROOM);
    encoder.push(bytes, &mut packed);
    encoder.finish(&mut packed);
    response.body = Body::Bytes(packed.into());
    None
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

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use super::*;
    use crate::fixture::request;

    fn gzip() -> Gzip {
        Gzip {
            types: vec!["text/html".to_owned(), "application/json".to_owned()],
            min_length: 20,
            level: 1,
            vary: true,
            proxied: false,
            http10: false,
        }
    }

    type Had<'a> = &'a [(&'a str, &'a str)];

    fn choice(gzip: &Gzip, head: &str, status: u16, length: Option<u64>, had: Had<'_>) -> Choice {
        choose(gzip, &request(head), status, length, |name| {
            had.iter().find(|(known, _)| *known == name).map(|(_, value)| value.as_bytes())
        })
    }

    const HTML: Had<'static> = &[("content-type", "Text/HTML; charset=utf-8")];

    const TAKES: &str = "GET / HTTP/1.1\nAccept-Encoding: deflate, gzip\n";

    #[test]
    fn what_nginx_would_compress_is_compressed() {
        let gzip = gzip();
        for (status, length, had, expected) in [
            (200, Some(20), HTML, Choice::Compress),
            (200, None, HTML, Choice::Compress),
            (403, None, HTML, Choice::Compress),
            (404, None, HTML, Choice::Compress),
            (200, Some(19), HTML, Choice::Leave),
            (500, None, HTML, Choice::Leave),
            (204, None, HTML, Choice::Leave),
            (206, None, HTML, Choice::Leave),
            (304, None, HTML, Choice::Leave),
            (200, None, &[("content-type", "image/png")], Choice::Leave),
            (200, None, &[], Choice::Leave),
            (200, None, &[("content-type", "text/html"), ("content-encoding", "br")], Choice::Leave),
            (
                200,
                None,
                &[("content-type", "text/html"), ("cache-control", "max-age=1, No-Transform")],
                Choice::Leave,
            ),
        ] {
            assert_eq!(choice(&gzip, TAKES, status, length, had), expected, "{status} {length:?} {had:?}");
        }
        let every = Gzip { types: vec!["*".to_owned()], ..gzip };
        assert_eq!(choice(&every, TAKES, 200, None, &[]), Choice::Compress);
    }

    #[test]
    fn only_for_clients_that_take_it() {
        let gzip = gzip();
        for (head, expected) in [
            ("HEAD / HTTP/1.1\nAccept-Encoding: gzip\n", Choice::Compress),
            ("GET / HTTP/1.0\nAccept-Encoding: gzip\n", Choice::LeaveAndVary),
            ("GET / HTTP/2.0\nAccept-Encoding: gzip\n", Choice::Compress),
            ("GET / HTTP/1.1\nAccept-Encoding: gzip\nVia: 1.1 x\n", Choice::LeaveAndVary),
            ("GET / HTTP/1.1", Choice::LeaveAndVary),
        ] {
            assert_eq!(choice(&gzip, head, 200, None, HTML), expected, "{head}");
        }
        let open = Gzip { proxied: true, http10: true, ..gzip };
        let head = "GET / HTTP/1.0\nAccept-Encoding: gzip\nVia: 1.1 x\n";
        assert_eq!(choice(&open, head, 200, None, HTML), Choice::Compress);
    }

    #[test]
    fn weights_are_heeded() {
        for (coding, takes) in [
            ("gzip", true),
            ("GZIP;q=1", true),
            ("br, gzip ; q=0.001", true),
            ("gzip;q=0", false),
            ("gzip; q=0.000", false),
            ("gzip;q=x", false),
            ("gzip;q=", false),
            ("xgzip, gzipx", false),
            ("*", false),
            ("", false),
        ] {
            assert_eq!(
                accepts(&request(&format!("GET / HTTP/1.1\nAccept-Encoding: {coding}\n"))),
                takes,
                "{coding}"
            );
        }
        assert!(accepts(&request("GET / HTTP/1.1\nAccept-Encoding: br\naccept-encoding: gzip\n")));
    }

    #[derive(Default)]
    struct Lines(Vec<String>);

    impl FieldSink for Lines {
        fn field(&mut self, name: &[u8], value: &[u8]) {
            self.0.push(format!("{}: {}", String::from_utf8_lossy(name), String::from_utf8_lossy(value)));
        }
    }

    fn passed(choice: Choice, had: Had<'_>) -> Vec<String> {
        let mut lines = Lines::default();
        let mut fields = Fields::new(&gzip(), choice, &mut lines);
        for (name, value) in had {
            fields.field(name.as_bytes(), value.as_bytes());
        }
        fields.end();
        lines.0
    }

    #[test]
    fn fields_that_are_about_the_bytes_are_changed_with_them() {
        let had: Had<'_> =
            &[("Content-Length", "9"), ("Accept-Ranges", "bytes"), ("ETag", "\"a\""), ("X", "y")];
        let compressed = ["ETag: W/\"a\"", "X: y", "Vary: Accept-Encoding", "Content-Encoding: gzip"];
        assert_eq!(passed(Choice::Compress, had), compressed);
        let left = ["Content-Length: 9", "Accept-Ranges: bytes", "ETag: \"a\"", "X: y"];
        assert_eq!(passed(Choice::Leave, had), left);
        assert_eq!(passed(Choice::LeaveAndVary, &[("X", "y")]), ["X: y", "Vary: Accept-Encoding"]);
        let once = passed(Choice::LeaveAndVary, &[("Vary", "Origin, accept-encoding")]);
        assert_eq!(once, ["Vary: Origin, accept-encoding"]);
        assert_eq!(passed(Choice::Compress, &[("ETag", "W/\"a\"")])[0], "ETag: W/\"a\"");
    }

    #[test]
    fn a_response_of_ours_is_compressed_in_memory_or_handed_an_encoder() {
        let request = request(TAKES);
        let fields =
            || vec![("Content-Type".into(), b"text/html".to_vec()), ("ETag".into(), b"\"a\"".to_vec())];
        let body = text(5000);
        let mut response = Response { status: 200, fields: fields(), body: Body::Bytes(body.clone().into()) };
        assert!(apply(&gzip(), &request, &mut response).is_none());
        let Body::Bytes(packed) = &response.body else { panic!("no bytes") };
        assert_eq!(plain(packed), body);
        let names: Vec<&str> = response.fields.iter().map(|(name, _)| &**name).collect();
        assert_eq!(names, ["Content-Type", "ETag", "Vary", "Content-Encoding"]);
        let file = std::rc::Rc::new(std::fs::File::open("/dev/null").unwrap());
        let pieces = vec![crate::response::FilePiece::Range { start: 0, length: 5000 }];
        let mut response = Response { status: 200, fields: fields(), body: Body::File { file, pieces } };
        assert!(apply(&gzip(), &request, &mut response).is_some());
        let mut response = Response { status: 200, fields: fields(), body: Body::Empty };
        assert!(apply(&Gzip { min_length: 0, ..gzip() }, &request, &mut response).is_none());
        assert_eq!(response.fields, fields());
    }

    fn plain(packed: &[u8]) -> Vec<u8> {
        let mut plain = Vec::new();
        let _ = flate2::read::GzDecoder::new(packed).read_to_end(&mut plain);
        plain
    }

    fn text(bytes: usize) -> Vec<u8> {
        (0..bytes).map(|n| b"abcdefghijklmnop"[(n * n / 7 + n / 31) % 16]).collect()
    }

    #[test]
    fn what_goes_in_comes_out_whatever_the_sizes_and_the_memory_is_used_again() {
        for (level, bytes, step) in
            [(1, 0, 1), (1, 1, 1), (6, 100_000, 777), (9, 1_000_000, 300_000), (1, 5000, 5000)]
        {
            let body = text(bytes);
            let mut encoder = Encoder::new(&Gzip { level, ..gzip() }).unwrap();
            let mut packed = Vec::new();
            for part in body.chunks(step) {
                encoder.push(part, &mut packed);
            }
            encoder.finish(&mut packed);
            assert_eq!(plain(&packed), body, "{level} {bytes} {step}");
            assert!(bytes < 100 || packed.len() < bytes, "{level} {bytes}: {}", packed.len());
        }
        let kept = STOCK.with_borrow(|stock| (stock.kept.len(), stock.lent));
        assert_eq!(kept, (3, 0));
    }

    #[test]
    fn a_flush_lets_everything_out_and_a_second_one_adds_nothing() {
        let mut encoder = Encoder::new(&gzip()).unwrap();
        let mut packed = Vec::new();
        for event in ["data: 1\n\n", "data: 2\n\n"] {
            encoder.push(event.as_bytes(), &mut packed);
            encoder.flush(&mut packed);
            assert!(plain(&packed).ends_with(event.as_bytes()));
            let length = packed.len();
            encoder.flush(&mut packed);
            assert_eq!(packed.len(), length);
        }
        let body = text(300_000);
        encoder.push(&body, &mut packed);
        encoder.flush(&mut packed);
        assert!(plain(&packed).ends_with(&body));
    }

    #[test]
    fn encoders_at_once_are_bounded() {
        let all: Vec<Encoder> = std::iter::from_fn(|| Encoder::new(&gzip())).collect();
        assert_eq!(all.len(), AT_ONCE);
        drop(all);
        assert!(Encoder::new(&gzip()).is_some());
        assert_eq!(STOCK.with_borrow(|stock| stock.kept.len()), KEPT);
    }
}
