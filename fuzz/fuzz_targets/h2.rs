//! HTTP/2 from a hostile client, and from a hostile backend: no panic, no loop without end, bounded memory.
#![no_main]

use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use mainstay_core::http2::{Code, Connection, Event, Key, Limits, PREFACE, RequestLine, Taken};
use mainstay_core::time::Boot;

const LIMITS: Limits = Limits { head_max: 4096, fields_max: 20, streams_max: 8, drop_underscores: true };

/// Waits to be sent at most: what senders may fill, and what one frame may add to it.
const OUTPUT_MAX: usize = (128 << 10) + (64 << 10);

/// Heads are at most as long as the limits say, bodies as the windows allow.
const HELD_MAX: usize = (1 << 20) + 9 * 4096;

fuzz_target!(|input: &[u8]| {
    let Some((&mode, bytes)) = input.split_first() else { return };
    let server = mode & 1 == 0;
    let mut connection = if server { Connection::server(LIMITS) } else { Connection::client(LIMITS) };
    let mut stream = Vec::new();
    if server && mode & 2 == 0 {
        stream.extend_from_slice(PREFACE);
    }
    if mode & 4 == 0 {
        stream.extend_from_slice(&[0, 0, 0, 4, 0, 0, 0, 0, 0]);
    }
    stream.extend_from_slice(bytes);
    if !server {
        for method in [&b"GET"[..], b"HEAD", b"POST"] {
            let line = RequestLine { method, scheme: b"http", authority: b"a", target: b"/" };
            connection.open(&line, [(&b"x"[..], &b"y"[..])].into_iter());
        }
    }
    let piece = usize::from(mode >> 4) * 37 + 1;
    let mut left = Vec::new();
    let mut now = Boot::ZERO;
    let mut keys = Vec::new();
    for chunk in stream.chunks(piece) {
        now += Duration::from_micros(100);
        left.extend_from_slice(chunk);
        let taken = connection.receive(&left, now);
        assert!(taken <= left.len());
        left.drain(..taken);
        serve(&mut connection, server, &mut keys, mode & 8 == 0);
        connection.tick(now);
        assert!(connection.output().len() < OUTPUT_MAX, "{} bytes wait", connection.output().len());
        if mode & 8 == 0 {
            connection.sent(connection.output().len());
        }
        if connection.is_closed() {
            break;
        }
        assert!(left.len() < 9 + 16_384 + piece || !connection.wants_input(), "a whole frame is left");
    }
    connection.lost();
    while connection.poll_event().is_some() {}
    for key in keys {
        connection.forget(key, Code::Cancel);
    }
    assert_eq!(connection.living(), 0, "a lost connection has no streams");
});

fn serve(connection: &mut Connection, server: bool, keys: &mut Vec<Key>, eager: bool) {
    let mut held = 0;
    while let Some(event) = connection.poll_event() {
        match event {
            Event::Opened(key) => {
                let Some(head) = connection.request(key) else { continue };
                assert!(server && head.fields.len() <= 20);
                held += head.raw.len();
                keys.push(key);
                connection.respond(key, 200, [(&b"Content-Type"[..], &b"text/plain"[..])].into_iter());
                let _ = connection.send(key, &[7; 3000]);
                connection.finish(key, [(&b"t"[..], &b"1"[..])].into_iter());
                let _ = connection.take(key, &mut Vec::new());
            }
            Event::Readable(key) => {
                let mut body = Vec::new();
                if connection.take(key, &mut body) == Taken::Data {
                    held += body.len();
                    connection.consumed(key, body.len());
                }
            }
            Event::Writable(key) => {
                let _ = connection.send(key, &[7; 70_000]);
            }
            Event::Refused(_) | Event::Closed(_) => {}
        }
    }
    assert!(held < HELD_MAX, "{held} bytes at once");
    if eager {
        keys.drain(..).for_each(|key| connection.forget(key, Code::Internal));
    }
}
