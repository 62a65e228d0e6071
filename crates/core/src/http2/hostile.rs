//! Peers that say anything: whatever comes, nothing panics, nothing loops and what is held stays bounded.

use std::time::Duration;

use super::frame::{self, kind};
use super::*;
use crate::time::Boot;

const LIMITS: Limits = Limits { head_max: 4096, fields_max: 20, streams_max: 8, drop_underscores: true };

/// What may wait to be sent: what senders may fill, and what the frames of one read add to it.
const OUTPUT_MAX: usize = (128 << 10) + (64 << 10);

/// Draws without a crate.
struct Draw(u64);

impl Draw {
    fn next(&mut self, below: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % below
    }

    fn bytes(&mut self, most: u64) -> Vec<u8> {
        (0..self.next(most + 1)).map(|_| self.next(256) as u8).collect()
    }

    /// A header block that is nearly right.
    fn block(&mut self) -> Vec<u8> {
        let mut block = vec![0x82 + self.next(2) as u8, 0x86, 0x84, 0x41, 1, b'a'];
        for _ in 0..self.next(5) {
            let piece: &[u8] = match self.next(9) {
                0 => &[0xbe],
                1 => &[0x40, 1, b'x', 3, b'a', b'b', b'c'],
                2 => &[0x00, 6, b'c', b'o', b'o', b'k', b'i', b'e', 3, b'a', b'=', b'1'],
                3 => &[0x0f, 0x0d, 1, b'5'],
                4 => &[0x3f, 0x01],
                5 => &[0x00, 2, b't', b'e', 8, b't', b'r', b'a', b'i', b'l', b'e', b'r', b's'],
                6 => &[0x7f, 0x00, 0x84, 0xf1, 0xe3, 0xc2, 0xe5],
                7 => &[0x10, 1, b'_', 0],
                _ => &[0xff, 0x80],
            };
            block.extend_from_slice(piece);
        }
        block
    }

    /// A frame that is wrong in some way.
    fn wild(&mut self, out: &mut Vec<u8>) {
        let stream = if self.next(4) == 0 { self.next(3) as u32 } else { 2 * self.next(40) as u32 + 1 };
        let (kind, flags) = (self.next(11) as u8, self.next(64) as u8);
        let payload = match kind {
            kind::HEADERS | kind::CONTINUATION => self.block(),
            kind::WINDOW_UPDATE | kind::RST_STREAM => self.next(1 << 32).to_be_bytes()[4..].to_vec(),
            kind::SETTINGS => {
                let mut parameters = Vec::new();
                for _ in 0..self.next(3) {
                    parameters.extend_from_slice(&[0, self.next(8) as u8]);
                    parameters.extend_from_slice(&(self.next(70_000) as u32).to_be_bytes());
                }
                parameters
            }
            kind::PING | kind::GOAWAY => vec![self.next(256) as u8; 8],
            kind::PRIORITY => self.bytes(5),
            _ => self.bytes(600),
        };
        let stream = if matches!(kind, kind::SETTINGS | kind::PING) { 0 } else { stream };
        // Mostly the flags that let things go on.
        let flags = if self.next(3) == 0 { flags } else { (flags & 1) | 4 };
        frame::head(out, payload.len(), kind, flags, stream);
        out.extend_from_slice(&payload);
    }
}

impl Draw {
    /// A frame as good clients send it; `last` is the stream that was opened last.
    fn tame(&mut self, out: &mut Vec<u8>, last: &mut u32) {
        let some = last.saturating_sub(2 * self.next(4) as u32).max(1);
        let (kind, flags, stream, payload) = match self.next(10) {
            0..=3 => {
                *last = if *last == 0 { 1 } else { *last + 2 };
                let field: &[u8] = if self.next(2) == 0 { &[0x40, 1, b'x', 1, b'y'] } else { &[] };
                let block = [&[0x83, 0x86, 0x84, 0x41, 1, b'a'], field].concat();
                (kind::HEADERS, 4 | self.next(2) as u8, *last, block)
            }
            4 | 5 if *last > 0 => (kind::DATA, 0, *last, self.bytes(900)),
            6 if *last > 0 => (kind::WINDOW_UPDATE, 0, some, vec![0, 0, 9, 9]),
            7 if *last > 0 => (kind::RST_STREAM, 0, some, vec![0, 0, 0, 8]),
            8 => (kind::SETTINGS, 0, 0, vec![0, 4, 0, 0, self.next(256) as u8, 0]),
            _ => (kind::WINDOW_UPDATE, 0, 0, vec![0, 0, 9, 9]),
        };
        frame::head(out, payload.len(), kind, flags, stream);
        out.extend_from_slice(&payload);
    }
}

/// What a request's owner does with what has happened.
fn serve(connection: &mut Connection, keys: &mut Vec<Key>, draw: &mut Draw) {
    while let Some(event) = connection.poll_event() {
        match event {
            Event::Opened(key) => {
                let Some(head) = connection.request(key) else { continue };
                assert!(head.fields.len() <= 20 && head.raw.len() < 3 * 4096);
                keys.push(key);
                connection.respond(key, 200, [(&b"Content-Type"[..], &b"text/plain"[..])].into_iter());
                let _ = connection.send(key, &[7; 3000]);
                if draw.next(2) == 0 {
                    connection.finish(key, [(&b"t"[..], &b"1"[..])].into_iter());
                }
                connection.take(key, &mut Vec::new());
            }
            Event::Readable(key) => {
                let mut body = Vec::new();
                if connection.take(key, &mut body) == Taken::Data {
                    assert!(body.len() <= 256 << 10);
                    connection.consumed(key, body.len());
                }
            }
            Event::Writable(key) => {
                let _ = connection.send(key, &[7; 70_000]);
            }
            Event::Refused(_) | Event::Closed(_) => {}
        }
    }
    if draw.next(3) == 0 && !keys.is_empty() {
        let key = keys.swap_remove(draw.next(keys.len() as u64) as usize);
        connection.forget(key, Code::Internal);
    }
}

/// Plays a session and says how many streams there were.
fn play(mut connection: Connection, mut stream: Vec<u8>, seed: u64) -> u64 {
    let mut draw = Draw(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    let mut keys = Vec::new();
    for method in [&b"GET"[..], b"HEAD", b"POST"] {
        let line = RequestLine { method, scheme: b"http", authority: b"a", target: b"/" };
        keys.extend(connection.open(&line, [(&b"x"[..], &b"y"[..])].into_iter()));
    }
    stream.extend([0, 0, 0, 4, 0, 0, 0, 0, 0]);
    let mut last = 0;
    for _ in 0..60 {
        match draw.next(150) {
            0 => stream.extend(draw.bytes(40)),
            1..=5 => draw.wild(&mut stream),
            _ => draw.tame(&mut stream, &mut last),
        }
    }
    let (mut left, mut now) = (Vec::new(), Boot::ZERO);
    let reads = draw.next(2) == 0;
    while !stream.is_empty() && !connection.is_closed() {
        let piece = (1 + draw.next(700) as usize).min(stream.len());
        left.extend(stream.drain(..piece));
        now += Duration::from_micros(100);
        let taken = connection.receive(&left, now);
        left.drain(..taken);
        serve(&mut connection, &mut keys, &mut draw);
        connection.tick(now);
        assert!(connection.output().len() < OUTPUT_MAX, "{} bytes wait", connection.output().len());
        if reads {
            connection.sent(connection.output().len());
        }
        assert!(left.len() < 9 + 16_384 + 700 || !connection.wants_input(), "a whole frame is left");
    }
    connection.lost();
    serve(&mut connection, &mut keys, &mut draw);
    keys.into_iter().for_each(|key| connection.forget(key, Code::Cancel));
    assert_eq!(connection.living(), 0);
    connection.opened()
}

#[test]
fn whatever_a_client_says_is_bounded() {
    let streams = (1..4000).map(|seed| play(Connection::server(LIMITS), PREFACE.to_vec(), seed)).sum::<u64>();
    assert!(streams > 10_000, "next to nothing got past the first fault: {streams} streams");
}

#[test]
fn whatever_a_backend_says_is_bounded() {
    for seed in 1..4000 {
        play(Connection::client(LIMITS), Vec::new(), seed);
    }
}

#[test]
fn blocks_of_any_bytes_are_read_or_refused() {
    let mut draw = Draw(7);
    for _ in 0..20_000 {
        let mut decoder = super::decode::Decoder::new();
        let mut raw = Vec::new();
        for _ in 0..3 {
            let block = draw.bytes(80);
            let _ = decoder.decode(&block, 2000, &mut raw, &mut |raw, field| {
                assert!(field.value.of(raw).len() + field.name.of(raw).len() <= raw.len());
            });
        }
    }
}

#[test]
fn what_is_written_is_read_as_it_was() {
    let mut draw = Draw(11);
    let (mut encoder, mut decoder) = (super::encode::Encoder::new(), super::decode::Decoder::new());
    let names: Vec<Vec<u8>> = (0..40).map(|n| format!("X-Name-{n}").into_bytes()).collect();
    for round in 0..2000 {
        if round % 97 == 0 {
            encoder.resize(draw.next(5000) as usize);
        }
        let fields: Vec<(&[u8], Vec<u8>)> = (0..draw.next(12))
            .map(|_| {
                (
                    names[draw.next(40) as usize].as_slice(),
                    format!("{}", draw.next(30)).repeat(5).into_bytes(),
                )
            })
            .collect();
        let mut block = Vec::new();
        encoder.begin(&mut block);
        fields.iter().for_each(|(name, value)| encoder.field(name, value, &mut block));
        let (mut raw, mut at) = (Vec::new(), 0);
        let whole = decoder.decode(&block, 1 << 20, &mut raw, &mut |raw, field| {
            let (name, value) = &fields[at];
            assert!(field.name.of(raw).eq_ignore_ascii_case(name) && field.value.of(raw) == value.as_slice());
            at += 1;
        });
        assert_eq!((whole, at), (Ok(true), fields.len()));
    }
}
