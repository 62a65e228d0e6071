//! Frames in, frames out: what RFC 9113 and RFC 7541 say must happen, case by case.

mod backends;
mod frames;
mod heads;
mod limits;
mod streams;

use std::time::Duration;

use super::frame::{self, flag, kind, setting};
use super::*;
use crate::http1::{BodyLength, Reject};
use crate::time::Boot;

const LIMITS: Limits =
    Limits { head_max: 16_384, fields_max: 100, streams_max: 100, drop_underscores: false };

/// A request as everybody sends it: GET http / with an authority.
const GET: &[u8] = &[0x82, 0x86, 0x84, 0x41, 1, b'a'];

/// The same as POST.
const POST: &[u8] = &[0x83, 0x86, 0x84, 0x41, 1, b'a'];

/// A server and what it said.
struct Peer {
    server: Connection,
    now: Boot,
    left: Vec<u8>,
}

/// A frame that was said.
#[derive(Debug, PartialEq)]
struct Frame {
    kind: u8,
    flags: u8,
    stream: u32,
    payload: Vec<u8>,
}

fn bytes(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    frame::head(&mut out, payload.len(), kind, flags, stream);
    out.extend_from_slice(payload);
    out
}

/// A field that is neither numbered nor packed.
fn literal(name: &str, value: &str) -> Vec<u8> {
    let mut out = vec![0];
    for text in [name, value] {
        assert!(text.len() < 127);
        out.push(text.len() as u8);
        out.extend_from_slice(text.as_bytes());
    }
    out
}

fn with(base: &[u8], fields: &[(&str, &str)]) -> Vec<u8> {
    fields.iter().fold(base.to_vec(), |mut block, (name, value)| {
        block.extend(literal(name, value));
        block
    })
}

fn frames(mut out: &[u8]) -> Vec<Frame> {
    let mut all = Vec::new();
    while let Some(head) = frame::Head::parse(out) {
        let end = frame::HEAD + head.length;
        let payload = out[frame::HEAD..end].to_vec();
        all.push(Frame { kind: head.kind, flags: head.flags, stream: head.stream, payload });
        out = &out[end..];
    }
    assert!(out.is_empty(), "half a frame");
    all
}

impl Peer {
    /// Before the preface.
    fn fresh() -> Self {
        Self {
            server: Connection::server(LIMITS),
            now: Boot::ZERO + Duration::from_secs(1000),
            left: Vec::new(),
        }
    }

    /// Behind preface and SETTINGS, whose answers are read.
    fn new() -> Self {
        let mut peer = Self::fresh();
        peer.send(PREFACE);
        peer.send(&bytes(kind::SETTINGS, 0, 0, &[]));
        let said = peer.said();
        assert_eq!(
            said.iter().map(|f| f.kind).collect::<Vec<_>>(),
            [kind::SETTINGS, kind::WINDOW_UPDATE, kind::SETTINGS]
        );
        peer
    }

    fn send(&mut self, bytes: &[u8]) {
        self.left.extend_from_slice(bytes);
        let taken = self.server.receive(&self.left, self.now);
        self.left.drain(..taken);
    }

    fn frame(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
        self.send(&bytes(kind, flags, stream, payload));
    }

    fn get(&mut self, stream: u32) {
        self.frame(kind::HEADERS, flag::END_HEADERS | flag::END_STREAM, stream, GET);
    }

    fn post(&mut self, stream: u32) {
        self.frame(kind::HEADERS, flag::END_HEADERS, stream, POST);
    }

    fn said(&mut self) -> Vec<Frame> {
        let out = self.server.output().to_vec();
        self.server.sent(out.len());
        frames(&out)
    }

    /// The stream that was opened.
    fn opened(&mut self) -> Key {
        while let Some(event) = self.server.poll_event() {
            if let Event::Opened(key) = event {
                return key;
            }
        }
        panic!("no stream was opened: {:?}", frames(self.server.output()));
    }

    fn request(&mut self) -> (Key, Box<RequestHead>) {
        let key = self.opened();
        (key, self.server.request(key).expect("its head"))
    }

    /// Answers with a body, whole.
    fn answer(&mut self, key: Key, body: &[u8]) {
        self.server.respond(key, 200, std::iter::empty());
        assert_eq!(self.server.send(key, body), Ok(body.len()));
        self.server.finish(key, std::iter::empty());
    }

    #[track_caller]
    fn ends_with(&mut self, code: Code) {
        let last = self.said().pop().expect("something was said");
        assert_eq!(last.kind, kind::GOAWAY, "{last:?}");
        assert_eq!(frame::number(&last.payload[4..]), Some(code as u32), "{last:?}");
        assert!(self.server.is_closed());
        let mut closed = None;
        while let Some(event) = self.server.poll_event() {
            closed = Some(event);
        }
        assert_eq!(closed, Some(Event::Closed(code)));
    }

    #[track_caller]
    fn resets(&mut self, stream: u32, code: Code) {
        let last = self.said().pop().expect("something was said");
        assert_eq!((last.kind, last.stream), (kind::RST_STREAM, stream), "{last:?}");
        assert_eq!(frame::number(&last.payload), Some(code as u32), "{last:?}");
        // The connection goes on.
        self.frame(kind::PING, 0, 0, b"and now?");
        assert_eq!(self.said().pop().unwrap().payload, b"and now?");
    }

    #[track_caller]
    fn goes_on(&mut self) {
        self.frame(kind::PING, 0, 0, b"and now?");
        let said = self.said();
        assert_eq!(said.len(), 1, "{said:?}");
        assert_eq!((said[0].kind, said[0].flags), (kind::PING, flag::ACK));
    }
}

#[track_caller]
fn malformed(block: &[u8]) {
    for flags in [flag::END_HEADERS, flag::END_HEADERS | flag::END_STREAM] {
        let mut peer = Peer::new();
        peer.frame(kind::HEADERS, flags, 1, block);
        peer.resets(1, Code::Protocol);
    }
}

// 3.4

#[test]
fn a_connection_begins_with_the_preface_and_settings() {
    let mut peer = Peer::fresh();
    for byte in PREFACE {
        peer.send(&[*byte]);
    }
    peer.frame(kind::SETTINGS, 0, 0, &[0, 3, 0, 0, 0, 100]);
    assert!(!peer.server.is_midway());
    peer.get(1);
    let (_, head) = peer.request();
    assert_eq!((head.method.of(&head.raw), head.target.of(&head.raw)), (&b"GET"[..], &b"/"[..]));
    assert_eq!((head.authority.of(&head.raw), head.body), (&b"a"[..], BodyLength::None));
}

#[test]
fn another_preface_is_refused() {
    let mut peer = Peer::fresh();
    peer.send(b"GET / HTTP/1.1\r\n\r\n");
    peer.ends_with(Code::Protocol);
    let mut peer = Peer::fresh();
    peer.send(PREFACE);
    peer.frame(kind::PING, 0, 0, &[0; 8]);
    peer.ends_with(Code::Protocol);
}

// 4

#[test]
fn frames_longer_than_allowed_are_refused() {
    for kind in [kind::DATA, kind::HEADERS, kind::SETTINGS] {
        let mut peer = Peer::new();
        peer.post(1);
        peer.frame(kind, 0, 1, &[0; 16_385]);
        peer.ends_with(Code::FrameSize);
    }
}

#[test]
fn unknown_frames_and_flags_are_ignored() {
    let mut peer = Peer::new();
    peer.frame(0x16, 0xff, 0, &[0; 8]);
    peer.frame(0x16, 0xff, 7, &[0; 8]);
    peer.goes_on();
    // The reserved bit of a stream's identifier means nothing.
    peer.frame(kind::PING, 0xfe, 0x8000_0000, &[0; 8]);
    assert_eq!(peer.said().len(), 1);
}

#[test]
fn blocks_that_cannot_be_read_end_the_connection() {
    for block in [
        &[0x80][..],                                       // number 0
        &[0xc6],                                           // number 70, which nobody has given out
        &[0x3f, 0xe2, 0x1f],                               // a table of 4097 bytes
        &[0x82, 0x20],                                     // a size behind a field
        &[0x00, 0x81, 0xff, 0x01, b'a'],                   // padding of eight bits
        &[0x00, 0x84, 0xff, 0xff, 0xff, 0xff, 0x01, b'a'], // EOS
        &[0x00, 0x05, b'a'],                               // cut
        &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff],             // a number without end
        &[0x40],
    ] {
        let mut peer = Peer::new();
        peer.frame(kind::HEADERS, flag::END_HEADERS | flag::END_STREAM, 1, block);
        peer.ends_with(Code::Compression);
    }
}

#[test]
fn nothing_may_come_between_the_parts_of_a_block() {
    for (kind, stream) in [
        (kind::PING, 0),
        (kind::DATA, 1),
        (kind::HEADERS, 3),
        (kind::CONTINUATION, 3),
        (kind::PRIORITY, 1),
        (0x16, 0),
    ] {
        let mut peer = Peer::new();
        peer.frame(kind::HEADERS, flag::END_STREAM, 1, GET);
        peer.frame(kind, 0, stream, &[0; 8]);
        peer.ends_with(Code::Protocol);
    }
}

#[test]
fn a_block_comes_in_pieces() {
    let mut peer = Peer::new();
    peer.frame(kind::HEADERS, flag::END_STREAM, 1, &GET[..2]);
    assert!(peer.server.is_midway());
    peer.frame(kind::CONTINUATION, 0, 1, &[]);
    peer.frame(kind::CONTINUATION, flag::END_HEADERS, 1, &GET[2..]);
    assert!(!peer.server.is_midway());
    let (_, head) = peer.request();
    assert_eq!(head.target.of(&head.raw), b"/");
}

#[test]
fn a_block_without_end_is_too_much() {
    let mut peer = Peer::new();
    peer.frame(kind::HEADERS, 0, 1, GET);
    for _ in 0..40 {
        peer.frame(kind::CONTINUATION, 0, 1, &[]);
    }
    peer.ends_with(Code::EnhanceYourCalm);
    let mut peer = Peer::new();
    peer.frame(kind::HEADERS, 0, 1, GET);
    for _ in 0..4 {
        peer.frame(kind::CONTINUATION, 0, 1, &[0; 16_384]);
    }
    peer.ends_with(Code::EnhanceYourCalm);
}
