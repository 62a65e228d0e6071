//! RFC 9113 section 5: streams, their states and their numbers.

use super::*;

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
