//! RFC 9113 section 8: heads, bodies and trailers.

use super::*;

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
