//! RFC 9113 section 6: frames, settings and windows.

use super::*;

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
