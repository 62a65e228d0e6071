//! Frames in, frames out: what RFC 9113 and RFC 7541 say must happen, case by case.

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

// 5.1

#[test]
fn idle_streams_take_nothing_but_headers_and_priority() {
    for (kind, payload) in [
        (kind::DATA, &b"x"[..]),
        (kind::RST_STREAM, &[0; 4]),
        (kind::WINDOW_UPDATE, &[0, 0, 0, 9]),
        (kind::CONTINUATION, GET),
    ] {
        let mut peer = Peer::new();
        peer.frame(kind, 0, 1, payload);
        peer.ends_with(Code::Protocol);
    }
    let mut peer = Peer::new();
    peer.frame(kind::PRIORITY, 0, 1, &[0, 0, 0, 0, 9]);
    peer.goes_on();
}

#[test]
fn behind_the_end_of_a_request_comes_nothing() {
    for (kind, flags, payload) in
        [(kind::DATA, 0, &b"x"[..]), (kind::HEADERS, flag::END_HEADERS | flag::END_STREAM, GET)]
    {
        let mut peer = Peer::new();
        peer.get(1);
        peer.frame(kind, flags, 1, payload);
        peer.resets(1, Code::StreamClosed);
    }
    let mut peer = Peer::new();
    peer.get(1);
    peer.frame(kind::CONTINUATION, flag::END_HEADERS, 1, GET);
    peer.ends_with(Code::Protocol);
    let mut peer = Peer::new();
    peer.get(1);
    peer.frame(kind::WINDOW_UPDATE, 0, 1, &[0, 0, 0, 9]);
    peer.frame(kind::PRIORITY, 0, 1, &[0, 0, 0, 0, 9]);
    peer.goes_on();
}

#[test]
fn a_stream_that_is_over_stays_so() {
    let over = |by_reset: bool| {
        let mut peer = Peer::new();
        peer.get(1);
        if by_reset {
            peer.frame(kind::RST_STREAM, 0, 1, &[0; 4]);
        } else {
            let (key, _) = peer.request();
            peer.answer(key, b"x");
            peer.said();
        }
        peer
    };
    for by_reset in [false, true] {
        let mut peer = over(by_reset);
        peer.frame(kind::DATA, 0, 1, b"x");
        if by_reset {
            peer.resets(1, Code::StreamClosed);
        } else {
            peer.ends_with(Code::StreamClosed);
        }
        let mut peer = over(by_reset);
        peer.get(1);
        peer.ends_with(Code::StreamClosed);
        let mut peer = over(by_reset);
        peer.frame(kind::CONTINUATION, flag::END_HEADERS, 1, GET);
        peer.ends_with(Code::Protocol);
        let mut peer = over(by_reset);
        peer.frame(kind::RST_STREAM, 0, 1, &[0; 4]);
        peer.frame(kind::WINDOW_UPDATE, 0, 1, &[0, 0, 0, 9]);
        peer.frame(kind::PRIORITY, 0, 1, &[0, 0, 0, 0, 9]);
        peer.goes_on();
    }
}

/// A stream whose response is whole while its request is not.
fn answered_early(status: u16) -> Peer {
    let mut peer = Peer::new();
    peer.post(1);
    let (key, _) = peer.request();
    peer.server.respond(key, status, std::iter::empty());
    peer.server.finish(key, std::iter::empty());
    peer.server.forget(key, Code::Internal);
    assert!(
        peer.said().iter().all(|frame| frame.kind != kind::RST_STREAM),
        "who reads slowly sees the response"
    );
    assert!(peer.server.tick(peer.now).is_some());
    peer
}

#[test]
fn who_still_sends_when_it_is_answered_is_reset_after_a_while() {
    let mut peer = answered_early(200);
    peer.now += Duration::from_millis(900);
    peer.frame(kind::DATA, 0, 1, &[7; 16_384]);
    peer.goes_on();
    // Who sends gets more time.
    assert!(peer.server.tick(peer.now + Duration::from_millis(900)).is_some());
    peer.now += Duration::from_secs(2);
    assert_eq!(peer.server.tick(peer.now), None);
    let last = peer.said().pop().unwrap();
    assert_eq!((last.kind, &last.payload[..]), (kind::RST_STREAM, &[0, 0, 0, 0][..]));
    assert_eq!(peer.server.living(), 0);
    // What was on its way is no fault.
    peer.frame(kind::DATA, 0, 1, b"late");
    peer.frame(kind::HEADERS, flag::END_HEADERS | flag::END_STREAM, 1, &literal("x", "y"));
    peer.goes_on();
}

#[test]
fn who_ends_its_request_behind_the_response_is_not_reset() {
    for trailers in [false, true] {
        let mut peer = answered_early(200);
        if trailers {
            peer.frame(kind::HEADERS, flag::END_HEADERS | flag::END_STREAM, 1, &literal("x", "y"));
        } else {
            peer.frame(kind::DATA, flag::END_STREAM, 1, b"all of it");
        }
        assert_eq!(peer.server.living(), 0);
        assert_eq!(peer.server.tick(peer.now + Duration::from_secs(2)), None);
        peer.goes_on();
    }
    let mut peer = answered_early(200);
    peer.frame(kind::RST_STREAM, 0, 1, &[0, 0, 0, 8]);
    assert_eq!(peer.server.living(), 0);
}

#[test]
fn who_is_refused_and_still_sends_is_stopped() {
    let mut peer = answered_early(413);
    for _ in 0..17 {
        peer.frame(kind::DATA, 0, 1, &[0; 16_384]);
    }
    peer.resets(1, Code::FlowControl);
    assert_eq!(peer.server.living(), 0);
}

#[test]
fn who_is_answered_may_send_the_rest_within_bounds() {
    let mut peer = answered_early(200);
    let (mut window, mut sent) = (256 << 10, 0);
    while window >= 16_384 {
        peer.frame(kind::DATA, 0, 1, &[0; 16_384]);
        (window, sent) = (window - 16_384, sent + 16_384);
        let more =
            peer.said().into_iter().filter(|frame| frame.kind == kind::WINDOW_UPDATE && frame.stream == 1);
        window += more.filter_map(|frame| frame::number(&frame.payload)).sum::<u32>();
    }
    assert!(!peer.server.is_closed());
    assert!((64 << 20..65 << 20).contains(&sent), "{sent}");
}

#[test]
fn to_a_stream_that_both_sides_have_reset_nothing_is_on_its_way() {
    let over = || {
        let mut peer = Peer::new();
        peer.post(1);
        let (key, _) = peer.request();
        peer.answer(key, b"early");
        peer.server.forget(key, Code::Internal);
        peer.said();
        peer
    };
    let mut peer = over();
    peer.frame(kind::RST_STREAM, 0, 1, &[0; 4]);
    peer.frame(kind::DATA, 0, 1, b"late");
    peer.resets(1, Code::StreamClosed);
    // That was our reset; what comes behind it may have been sent before it was known.
    peer.frame(kind::DATA, 0, 1, b"late");
    peer.goes_on();
    let mut peer = over();
    peer.frame(kind::RST_STREAM, 0, 1, &[0; 4]);
    peer.frame(kind::HEADERS, flag::END_HEADERS | flag::END_STREAM, 1, GET);
    peer.ends_with(Code::StreamClosed);
    // What was wrong before we reset it is wrong behind it.
    for (end, block) in [(0, literal("x", "y")), (flag::END_STREAM, literal(":method", "GET"))] {
        let mut peer = over();
        peer.frame(kind::HEADERS, flag::END_HEADERS | end, 1, &block);
        peer.resets(1, Code::Protocol);
    }
    let mut peer = over();
    peer.frame(kind::WINDOW_UPDATE, 0, 1, &[0; 4]);
    peer.resets(1, Code::Protocol);
}

#[test]
fn streams_are_odd_and_rise() {
    let mut peer = Peer::new();
    peer.get(2);
    peer.ends_with(Code::Protocol);
    let mut peer = Peer::new();
    peer.get(5);
    peer.get(3);
    peer.ends_with(Code::Protocol);
}

#[test]
fn more_streams_than_allowed_are_refused() {
    let mut peer = Peer::new();
    for n in 0..100 {
        peer.get(2 * n + 1);
    }
    assert!(peer.said().is_empty());
    peer.get(201);
    peer.resets(201, Code::RefusedStream);
    let key = peer.opened();
    peer.answer(key, b"x");
    peer.said();
    peer.get(203);
    assert!(peer.said().is_empty());
}

#[test]
fn a_stream_depends_on_another_one() {
    let mut peer = Peer::new();
    peer.frame(kind::PRIORITY, 0, 3, &[0, 0, 0, 3, 9]);
    peer.resets(3, Code::Protocol);
    let mut peer = Peer::new();
    let block = [&[0x80, 0, 0, 1, 9], GET].concat();
    peer.frame(kind::HEADERS, flag::END_HEADERS | flag::PRIORITY, 1, &block);
    peer.resets(1, Code::Protocol);
    let mut peer = Peer::new();
    let block = [&[0x80, 0, 0, 7, 9], GET].concat();
    peer.frame(kind::HEADERS, flag::END_HEADERS | flag::PRIORITY, 1, &block);
    peer.opened();
}

// 6.1 to 6.10

#[test]
fn frames_that_belong_to_a_stream_need_one() {
    for (kind, payload) in [
        (kind::DATA, &b"x"[..]),
        (kind::HEADERS, GET),
        (kind::PRIORITY, &[0; 5]),
        (kind::RST_STREAM, &[0; 4]),
    ] {
        let mut peer = Peer::new();
        peer.frame(kind, flag::END_HEADERS, 0, payload);
        peer.ends_with(Code::Protocol);
    }
    for (kind, payload) in [(kind::SETTINGS, &[][..]), (kind::PING, &[0; 8]), (kind::GOAWAY, &[0; 8])] {
        let mut peer = Peer::new();
        peer.post(1);
        peer.frame(kind, 0, 1, payload);
        peer.ends_with(Code::Protocol);
    }
}

#[test]
fn padding_is_shorter_than_its_frame() {
    for kind in [kind::DATA, kind::HEADERS] {
        let mut peer = Peer::new();
        peer.post(1);
        peer.frame(kind, flag::PADDED | flag::END_HEADERS | flag::END_STREAM, 1, &[6, 0, 0, 0, 0, 0]);
        peer.ends_with(Code::Protocol);
    }
    let mut peer = Peer::new();
    peer.post(1);
    let (key, _) = peer.request();
    peer.frame(kind::DATA, flag::PADDED | flag::END_STREAM, 1, &[3, b'o', b'k', 0, 0, 0]);
    let mut got = Vec::new();
    assert_eq!(peer.server.take(key, &mut got), Taken::Data);
    assert_eq!(got, b"ok");
    got.clear();
    assert_eq!(peer.server.take(key, &mut got), Taken::End);
}

#[test]
fn frames_of_a_wrong_length_are_refused() {
    for (kind, flags, stream, length) in [
        (kind::RST_STREAM, 0, 1, 3),
        (kind::SETTINGS, 0, 0, 3),
        (kind::SETTINGS, flag::ACK, 0, 6),
        (kind::PING, 0, 0, 6),
        (kind::GOAWAY, 0, 0, 7),
        (kind::WINDOW_UPDATE, 0, 0, 3),
        (kind::WINDOW_UPDATE, 0, 1, 5),
    ] {
        let mut peer = Peer::new();
        peer.post(1);
        peer.frame(kind, flags, stream, &vec![0; length]);
        peer.ends_with(Code::FrameSize);
    }
    let mut peer = Peer::new();
    peer.post(1);
    peer.frame(kind::PRIORITY, 0, 1, &[0; 4]);
    peer.resets(1, Code::FrameSize);
}

#[test]
fn settings_have_bounds() {
    for (name, value, code) in [
        (setting::ENABLE_PUSH, 2, Code::Protocol),
        (setting::INITIAL_WINDOW_SIZE, 1 << 31, Code::FlowControl),
        (setting::MAX_FRAME_SIZE, 16_383, Code::Protocol),
        (setting::MAX_FRAME_SIZE, 1 << 24, Code::Protocol),
    ] {
        let mut peer = Peer::new();
        let mut out = Vec::new();
        frame::settings(&mut out, &[(name, value)]);
        peer.send(&out);
        peer.ends_with(code);
    }
    let mut peer = Peer::new();
    let mut out = Vec::new();
    frame::settings(
        &mut out,
        &[(0xff, 7), (setting::ENABLE_PUSH, 1), (setting::MAX_FRAME_SIZE, (1 << 24) - 1)],
    );
    peer.send(&out);
    assert_eq!(
        peer.said(),
        [Frame { kind: kind::SETTINGS, flags: flag::ACK, stream: 0, payload: Vec::new() }]
    );
}

#[test]
fn pushes_are_for_servers() {
    let mut peer = Peer::new();
    peer.post(1);
    peer.frame(kind::PUSH_PROMISE, flag::END_HEADERS, 1, &[&[0, 0, 0, 2], GET].concat());
    peer.ends_with(Code::Protocol);
}

#[test]
fn pings_are_answered_with_their_own_bytes() {
    let mut peer = Peer::new();
    peer.frame(kind::PING, 0, 0, b"01234567");
    assert_eq!(
        peer.said(),
        [Frame { kind: kind::PING, flags: flag::ACK, stream: 0, payload: b"01234567".to_vec() }]
    );
    peer.frame(kind::PING, flag::ACK, 0, b"01234567");
    assert!(peer.said().is_empty());
}

fn window(peer: &mut Peer, first: u32) {
    let mut out = Vec::new();
    frame::settings(&mut out, &[(setting::INITIAL_WINDOW_SIZE, first)]);
    peer.send(&out);
    peer.said();
}

#[test]
fn no_more_is_sent_than_the_windows_allow() {
    let mut peer = Peer::new();
    window(&mut peer, 1);
    peer.get(1);
    let (key, _) = peer.request();
    peer.server.respond(key, 200, std::iter::empty());
    assert_eq!(peer.server.send(key, b"hello"), Ok(1));
    assert_eq!(peer.server.send(key, b"ello"), Ok(0));
    assert_eq!(peer.said().last().unwrap().payload, b"h");
    // The window shrinks below zero, then opens.
    window(&mut peer, 0);
    peer.frame(kind::WINDOW_UPDATE, 0, 1, &[0, 0, 0, 1]);
    assert_eq!(peer.server.send(key, b"ello"), Ok(0));
    peer.frame(kind::WINDOW_UPDATE, 0, 1, &[0, 0, 0, 2]);
    assert_eq!(peer.server.poll_event(), Some(Event::Writable(key)));
    assert_eq!(peer.server.send(key, b"ello"), Ok(2));
    window(&mut peer, 100);
    assert_eq!(peer.server.send(key, b"lo"), Ok(2));
    peer.server.finish(key, std::iter::empty());
    let last = peer.said().pop().unwrap();
    assert_eq!((last.payload, last.flags), (b"lo".to_vec(), flag::END_STREAM));
}

#[test]
fn the_window_of_the_connection_bounds_all_streams() {
    let mut peer = Peer::new();
    window(&mut peer, 1 << 20);
    peer.get(1);
    let (key, _) = peer.request();
    peer.server.respond(key, 200, std::iter::empty());
    assert_eq!(peer.server.send(key, &[7; 100_000]), Ok(65_535));
    peer.said();
    assert_eq!(peer.server.send(key, &[7; 9]), Ok(0));
    peer.frame(kind::WINDOW_UPDATE, 0, 0, &[0, 0, 0, 4]);
    assert_eq!(peer.server.poll_event(), Some(Event::Writable(key)));
    assert_eq!(peer.server.send(key, &[7; 9]), Ok(4));
}

#[test]
fn windows_are_opened_by_something_and_have_an_end() {
    let mut peer = Peer::new();
    peer.frame(kind::WINDOW_UPDATE, 0, 0, &[0; 4]);
    peer.ends_with(Code::Protocol);
    let mut peer = Peer::new();
    peer.frame(kind::WINDOW_UPDATE, 0, 0, &[0x7f, 0xff, 0xff, 0xff]);
    peer.ends_with(Code::FlowControl);
    let mut peer = Peer::new();
    peer.post(1);
    peer.frame(kind::WINDOW_UPDATE, 0, 1, &[0; 4]);
    peer.resets(1, Code::Protocol);
    let mut peer = Peer::new();
    peer.post(1);
    peer.frame(kind::WINDOW_UPDATE, 0, 1, &[0x7f, 0xff, 0xff, 0xff]);
    peer.resets(1, Code::FlowControl);
}

#[test]
fn a_client_that_sends_more_than_it_may_is_stopped() {
    let mut peer = Peer::new();
    peer.post(1);
    for _ in 0..17 {
        peer.frame(kind::DATA, 0, 1, &[0; 16_384]);
    }
    peer.resets(1, Code::FlowControl);
    let mut peer = Peer::new();
    for stream in 0..5 {
        peer.post(2 * stream + 1);
        for _ in 0..16 {
            peer.frame(kind::DATA, 0, 2 * stream + 1, &[0; 16_384]);
        }
    }
    peer.ends_with(Code::FlowControl);
}

#[test]
fn what_is_consumed_may_be_sent_again() {
    let mut peer = Peer::new();
    peer.post(1);
    let (key, _) = peer.request();
    let mut total = 0;
    for _ in 0..400 {
        peer.frame(kind::DATA, 0, 1, &[0; 16_384]);
        let mut got = Vec::new();
        assert_eq!(peer.server.take(key, &mut got), Taken::Data);
        peer.server.consumed(key, got.len());
        total += got.len();
        for frame in peer.said() {
            assert_eq!(frame.kind, kind::WINDOW_UPDATE);
        }
    }
    assert_eq!(total, 400 * 16_384);
}

// 8

#[test]
fn heads_that_are_no_http_are_reset() {
    let field = |name: &str, value: &str| with(GET, &[(name, value)]);
    malformed(&field("X-Upper", "1"));
    malformed(&field("connection", "keep-alive"));
    malformed(&field("keep-alive", "1"));
    malformed(&field("proxy-connection", "close"));
    malformed(&field("transfer-encoding", "chunked"));
    malformed(&field("upgrade", "h2c"));
    malformed(&field("te", "trailers, deflate"));
    malformed(&field(":unknown", "1"));
    malformed(&field(":status", "200"));
    malformed(&field(":method", "GET"));
    malformed(&field(":path", "/"));
    malformed(&field(":scheme", "http"));
    malformed(&field("", "1"));
    malformed(&field("a b", "1"));
    malformed(&field("x", "a\nb"));
    malformed(&field("x", "a\0b"));
    malformed(&field("content-length", "1, 2"));
    malformed(&field("content-length", "+1"));
    malformed(&field("host", "other"));
    malformed(&with(&[0x82, 0x84], &[(":authority", "a")]));
    malformed(&with(&[0x86, 0x84], &[(":authority", "a")]));
    malformed(&with(&[0x82, 0x86], &[(":authority", "a")]));
    malformed(&with(&[0x82, 0x86], &[(":path", ""), (":authority", "a")]));
    malformed(&with(&[0x82, 0x86], &[(":path", "a"), (":authority", "a")]));
    malformed(&with(&[0x82, 0x86], &[("x", "y"), (":path", "/")]));
    malformed(&with(&[0x82, 0x84], &[(":scheme", "ftp"), (":authority", "a")]));
}

#[test]
fn heads_that_are_http_but_not_served_are_answered() {
    let refused = |block: &[u8]| {
        let mut peer = Peer::new();
        peer.frame(kind::HEADERS, flag::END_HEADERS | flag::END_STREAM, 1, block);
        peer.request().1.refused
    };
    assert_eq!(refused(GET), None);
    assert_eq!(refused(&with(GET, &[("te", "trailers"), ("host", "A")])), None);
    assert_eq!(refused(&[0x82, 0x86, 0x84]), Some(Reject::HostMissing));
    assert_eq!(refused(&with(&[0x82, 0x86, 0x84], &[(":authority", "a b")])), Some(Reject::Host));
    assert_eq!(refused(&with(&[], &[(":method", "CONNECT"), (":authority", "a:1")])), Some(Reject::Connect));
    assert_eq!(
        refused(&with(&[0x86, 0x84], &[(":method", "TRACE"), (":authority", "a")])),
        Some(Reject::Trace)
    );
    assert_eq!(
        refused(&with(&[0x86, 0x84], &[(":method", "g t"), (":authority", "a")])),
        Some(Reject::Method)
    );
    assert_eq!(
        refused(&with(&[0x82, 0x86], &[(":path", "/a b"), (":authority", "a")])),
        Some(Reject::Target)
    );
    let many: Vec<(&str, &str)> = vec![("x", "y"); 101];
    assert_eq!(refused(&with(GET, &many)), Some(Reject::TooManyFields));
    let (ninety, hundred) = ("v".repeat(90), "n".repeat(100));
    let large: Vec<(&str, &str)> = vec![(hundred.as_str(), ninety.as_str()); 80];
    assert_eq!(refused(&with(GET, &large)), Some(Reject::HeadTooLarge));
}

#[test]
fn a_head_that_grows_when_it_is_read_is_bounded() {
    let mut peer = Peer::new();
    // A field of 4 KiB that is numbered, then asked for a thousand times.
    let mut block = GET.to_vec();
    block.extend_from_slice(&[0x40, 1, b'x', 0x7f, 0x81, 0x1e]);
    block.extend_from_slice(&[b'v'; 3968]);
    block.extend_from_slice(&[0xbe; 10_000]);
    peer.frame(kind::HEADERS, flag::END_HEADERS | flag::END_STREAM, 1, &block);
    let (_, head) = peer.request();
    assert_eq!(head.refused, Some(Reject::HeadTooLarge));
    assert!(head.raw.capacity() < 64 * 1024, "{}", head.raw.capacity());
    // The tables still agree.
    peer.frame(kind::HEADERS, flag::END_HEADERS | flag::END_STREAM, 3, &[GET, &[0xbf]].concat());
    let (_, head) = peer.request();
    assert_eq!((head.refused, head.fields.len()), (None, 1));
}

#[test]
fn bodies_have_the_length_that_was_said() {
    let post = with(POST, &[("content-length", "3")]);
    for (pieces, good) in
        [(&["ab"][..], false), (&["abcd"], false), (&["a", "bc"], true), (&["abc", "d"], false)]
    {
        let mut peer = Peer::new();
        peer.frame(kind::HEADERS, flag::END_HEADERS, 1, &post);
        for (at, piece) in pieces.iter().enumerate() {
            let flags = if at + 1 == pieces.len() { flag::END_STREAM } else { 0 };
            peer.frame(kind::DATA, flags, 1, piece.as_bytes());
        }
        if good { peer.goes_on() } else { peer.resets(1, Code::Protocol) }
    }
    malformed_end(&post);
}

#[track_caller]
fn malformed_end(block: &[u8]) {
    let mut peer = Peer::new();
    peer.frame(kind::HEADERS, flag::END_HEADERS | flag::END_STREAM, 1, block);
    peer.resets(1, Code::Protocol);
}

#[test]
fn trailers_end_a_request_and_frame_nothing() {
    let trailer = |flags: u8, fields: &[(&str, &str)]| {
        let mut peer = Peer::new();
        peer.post(1);
        let (key, _) = peer.request();
        peer.frame(kind::DATA, 0, 1, b"x");
        peer.frame(kind::HEADERS, flags, 1, &with(&[], fields));
        (peer, key)
    };
    let end = flag::END_HEADERS | flag::END_STREAM;
    trailer(flag::END_HEADERS, &[("x", "y")]).0.resets(1, Code::Protocol);
    trailer(end, &[(":path", "/")]).0.resets(1, Code::Protocol);
    trailer(end, &[("content-length", "9")]).0.resets(1, Code::Protocol);
    trailer(end, &[("connection", "close")]).0.resets(1, Code::Protocol);
    let (mut peer, key) = trailer(end, &[("grpc-status", "0")]);
    let mut got = Vec::new();
    assert_eq!(peer.server.take(key, &mut got), Taken::Data);
    got.clear();
    assert_eq!(peer.server.take(key, &mut got), Taken::End);
    assert_eq!(peer.server.trailers(key), [(b"grpc-status".to_vec(), b"0".to_vec())]);
}

#[test]
fn crumbs_of_cookies_are_joined() {
    let mut peer = Peer::new();
    let block = with(GET, &[("cookie", "a=1"), ("x", "y"), ("cookie", "b=2"), ("cookie", "c=3")]);
    peer.frame(kind::HEADERS, flag::END_HEADERS | flag::END_STREAM, 1, &block);
    let (_, head) = peer.request();
    let fields: Vec<_> = head.fields.iter().map(|f| (f.name.of(&head.raw), f.value.of(&head.raw))).collect();
    assert_eq!(fields, [(&b"cookie"[..], &b"a=1; b=2; c=3"[..]), (b"x", b"y")]);
}

// What nobody should do

#[test]
fn who_resets_stream_after_stream_is_asked_to_calm_down() {
    let mut peer = Peer::new();
    let mut stream = 1;
    while !peer.server.is_closed() {
        peer.get(stream);
        peer.frame(kind::RST_STREAM, 0, stream, &[0, 0, 0, 8]);
        stream += 2;
        assert!(stream < 2000);
    }
    peer.ends_with(Code::EnhanceYourCalm);
    assert!(stream > 400, "a browser that leaves a page is no attack: {stream}");
}

#[test]
fn who_makes_us_reset_stream_after_stream_as_well() {
    let mut peer = Peer::new();
    let mut stream = 1;
    while !peer.server.is_closed() {
        peer.get(stream);
        peer.frame(kind::WINDOW_UPDATE, 0, stream, &[0; 4]);
        peer.said();
        stream += 2;
        assert!(stream < 2000);
    }
}

#[test]
fn few_resets_a_second_are_no_attack() {
    let mut peer = Peer::new();
    for n in 0..5000 {
        peer.get(2 * n + 1);
        peer.frame(kind::RST_STREAM, 0, 2 * n + 1, &[0, 0, 0, 8]);
        peer.now += Duration::from_millis(25);
    }
    assert!(!peer.server.is_closed());
}

#[test]
fn frames_that_carry_nothing_are_bounded() {
    for (kind, flags, stream, payload) in [
        (kind::DATA, 0, 1, &[][..]),
        (kind::PRIORITY, 0, 1, &[0; 5]),
        (kind::SETTINGS, 0, 0, &[]),
        (kind::PING, 0, 0, &[0; 8]),
    ] {
        let mut peer = Peer::new();
        peer.post(1);
        let frame = bytes(kind, flags, stream, payload);
        let mut sent = 0;
        while !peer.server.is_closed() {
            peer.send(&frame);
            peer.server.sent(peer.server.output().len());
            sent += frame.len();
            assert!(sent < 20 << 20);
        }
    }
}

#[test]
fn who_does_not_read_the_answers_is_not_read() {
    let mut peer = Peer::new();
    for _ in 0..100_000 {
        if !peer.server.wants_input() {
            break;
        }
        peer.frame(kind::PING, 0, 0, &[0; 8]);
    }
    assert!(!peer.server.wants_input());
    assert!(peer.server.output().len() < 256 << 10);
    let out = peer.server.output().len();
    peer.server.sent(out);
    assert!(peer.server.wants_input());
}

// Ends

#[test]
fn a_connection_is_left_in_two_steps() {
    let mut peer = Peer::new();
    peer.get(1);
    let (key, _) = peer.request();
    peer.server.leave();
    let said = peer.said();
    assert_eq!((said[0].kind, frame::number(&said[0].payload)), (kind::GOAWAY, Some((1 << 31) - 1)));
    assert_eq!(said[1].kind, kind::PING);
    // This one crosses the GOAWAY.
    peer.get(3);
    let (other, _) = peer.request();
    peer.frame(kind::PING, flag::ACK, 0, &said[1].payload);
    let said = peer.said();
    assert_eq!((said[0].kind, frame::number(&said[0].payload)), (kind::GOAWAY, Some(3)));
    peer.get(5);
    assert!(peer.said().is_empty());
    assert!(!peer.server.is_drained());
    peer.answer(key, b"x");
    peer.answer(other, b"y");
    assert!(peer.server.is_drained());
}

// Backends

/// Our client and our server, with everything said passed on.
fn exchange(client: &mut Connection, server: &mut Connection) {
    let mut left = [Vec::new(), Vec::new()];
    loop {
        let (up, down) = (client.output().to_vec(), server.output().to_vec());
        if up.is_empty() && down.is_empty() {
            assert!(left.iter().all(Vec::is_empty));
            return;
        }
        client.sent(up.len());
        server.sent(down.len());
        left[0].extend(up);
        left[1].extend(down);
        let taken = server.receive(&left[0], Boot::ZERO);
        left[0].drain(..taken);
        let taken = client.receive(&left[1], Boot::ZERO);
        left[1].drain(..taken);
    }
}

fn pair() -> (Connection, Connection) {
    let (mut client, mut server) = (Connection::client(LIMITS), Connection::server(LIMITS));
    exchange(&mut client, &mut server);
    (client, server)
}

fn ask(client: &mut Connection, method: &[u8]) -> Key {
    let line = RequestLine { method, scheme: b"https", authority: b"b.test", target: b"/x?y" };
    client.open(&line, [(&b"Accept"[..], &b"*/*"[..]), (b"x-id", b"7")].into_iter()).expect("a stream")
}

fn next_request(server: &mut Connection) -> (Key, Box<RequestHead>) {
    loop {
        if let Event::Opened(key) = server.poll_event().expect("a request") {
            return (key, server.request(key).unwrap());
        }
    }
}

#[test]
fn requests_and_trailers_pass_both_ways() {
    let (mut client, mut server) = pair();
    for round in 0..4 {
        let key = ask(&mut client, b"POST");
        assert_eq!(client.send(key, b"question"), Ok(8));
        client.finish(key, [(&b"t"[..], &b"1"[..])].into_iter());
        exchange(&mut client, &mut server);
        let (at, head) = next_request(&mut server);
        assert_eq!(head.target.of(&head.raw), b"/x?y");
        assert_eq!(head.fields.len(), 2);
        let mut body = Vec::new();
        assert_eq!(server.take(at, &mut body), Taken::Data);
        assert_eq!(
            (&body[..], server.trailers(at)),
            (&b"question"[..], vec![(b"t".to_vec(), b"1".to_vec())])
        );
        server.respond(at, 103, [(&b"link"[..], &b"</x>"[..])].into_iter());
        server.respond(at, 200, [(&b"Content-Type"[..], &b"application/grpc"[..])].into_iter());
        assert_eq!(server.send(at, b"answer"), Ok(6));
        server.finish(at, [(&b"grpc-status"[..], &b"0"[..]), (b"Grpc-Message", b"fine")].into_iter());
        let size = server.output().len();
        exchange(&mut client, &mut server);
        assert!(round < 3 || size < 60, "fields that come again are numbered: {size}");
        assert_eq!(client.response(key).unwrap().unwrap().status, 103);
        let head = client.response(key).unwrap().unwrap();
        assert_eq!((head.status, head.fields.len()), (200, 1));
        let mut body = Vec::new();
        assert_eq!(client.take(key, &mut body), Taken::Data);
        assert_eq!(body, b"answer");
        body.clear();
        assert_eq!(client.take(key, &mut body), Taken::End);
        assert_eq!(client.trailers(key).len(), 2);
        assert!(client.is_complete(key) && server.is_complete(at));
        client.forget(key, Code::Cancel);
        server.forget(at, Code::Internal);
        assert_eq!((client.living(), server.living()), (0, 0));
        assert!(client.output().is_empty() && server.output().is_empty());
    }
}

#[test]
fn a_response_to_head_has_no_body() {
    let (mut client, mut server) = pair();
    let key = ask(&mut client, b"HEAD");
    client.finish(key, std::iter::empty());
    exchange(&mut client, &mut server);
    let (at, _) = next_request(&mut server);
    server.respond(at, 200, [(&b"content-length"[..], &b"99"[..])].into_iter());
    server.finish(at, std::iter::empty());
    exchange(&mut client, &mut server);
    let head = client.response(key).unwrap().unwrap();
    assert_eq!((head.content_length, head.end), (Some(99), true));
}

#[test]
fn a_backend_that_leaves_refuses_what_it_has_not_seen() {
    let (mut client, mut server) = pair();
    let seen = ask(&mut client, b"GET");
    exchange(&mut client, &mut server);
    server.leave_now();
    let unseen = ask(&mut client, b"GET");
    exchange(&mut client, &mut server);
    assert_eq!(client.response(unseen), Err(Code::RefusedStream));
    assert_eq!(client.response(seen), Ok(None));
    assert!(client.is_spent() && !client.may_open());
}

#[test]
fn no_more_streams_are_opened_than_a_backend_takes() {
    let mut client = Connection::client(LIMITS);
    let mut server = Connection::server(Limits { streams_max: 2, ..LIMITS });
    exchange(&mut client, &mut server);
    ask(&mut client, b"GET");
    assert!(client.may_open());
    let key = ask(&mut client, b"GET");
    assert!(!client.may_open() && !client.is_spent());
    client.forget(key, Code::Cancel);
    assert!(client.may_open());
}

#[test]
fn a_large_head_is_sent_in_several_frames() {
    let (mut client, mut server) = pair();
    let (name, value) = ("n".repeat(60), "v".repeat(3000));
    let key = ask(&mut client, b"GET");
    client.finish(key, std::iter::empty());
    exchange(&mut client, &mut server);
    let (at, _) = next_request(&mut server);
    server.respond(at, 200, std::iter::repeat_n((name.as_bytes(), value.as_bytes()), 5));
    server.finish(at, std::iter::empty());
    let mut wide = Connection::client(Limits { head_max: 1 << 20, ..LIMITS });
    drop(std::mem::replace(&mut wide, client));
    exchange(&mut wide, &mut server);
    assert_eq!(wide.response(key).unwrap().unwrap().fields.len(), 5);
}

#[test]
fn a_ping_tells_whether_a_backend_lives() {
    let (mut client, mut server) = pair();
    client.ping();
    assert!(client.awaits_pong());
    exchange(&mut client, &mut server);
    assert!(!client.awaits_pong());
}

#[test]
fn a_table_is_as_small_as_the_peer_wants_it() {
    let (mut client, mut server) = pair();
    let mut out = Vec::new();
    frame::settings(&mut out, &[(setting::HEADER_TABLE_SIZE, 0), (setting::HEADER_TABLE_SIZE, 100)]);
    assert_eq!(client.receive(&out, Boot::ZERO), out.len());
    for _ in 0..5 {
        let key = ask(&mut client, b"GET");
        client.finish(key, std::iter::empty());
        exchange(&mut client, &mut server);
        let (_, head) = next_request(&mut server);
        assert_eq!(head.fields.len(), 2);
    }
}

#[test]
fn a_lost_connection_resets_every_stream() {
    let mut peer = Peer::new();
    peer.post(1);
    let (key, _) = peer.request();
    assert_eq!(peer.server.take(key, &mut Vec::new()), Taken::Later);
    peer.server.lost();
    assert_eq!(peer.server.poll_event(), Some(Event::Readable(key)));
    assert!(matches!(peer.server.take(key, &mut Vec::new()), Taken::Reset(_)));
    assert!(peer.server.output().is_empty());
}
