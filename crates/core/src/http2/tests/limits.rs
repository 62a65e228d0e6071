//! What nobody should do, and how a connection ends.

use super::*;

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
