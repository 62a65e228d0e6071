//! Towards backends, and both sides with each other.

use super::*;

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
