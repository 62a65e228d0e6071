//! Heads of responses.

use super::*;

fn parse(head: &str) -> Result<Option<ResponseHead>, Reject> {
    response(head.as_bytes(), &LIMITS, false, |_| {})
}

fn whole(head: &str) -> ResponseHead {
    parse(head).unwrap().expect("a whole head")
}

#[test]
fn what_could_be_read_in_two_ways_is_refused() {
    let cases: &[(&str, Reject)] = &[
        ("HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\n", Reject::LengthTwice),
        ("HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n", Reject::LengthTwice),
        ("HTTP/1.1 200 OK\r\nContent-Length: 5, 5\r\n\r\n", Reject::Length),
        ("HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n", Reject::Length),
        ("HTTP/1.1 200 OK\r\nContent-Length:\r\n\r\n", Reject::Length),
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
            Reject::LengthAndEncoding,
        ),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n", Reject::Encoding),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked, chunked\r\n\r\n", Reject::Encoding),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n",
            Reject::EncodingTwice,
        ),
        ("HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", Reject::EncodingInHttp10),
        ("HTTP/1.1 200 OK\nA: b\r\n\r\n", Reject::BareLf),
        ("HTTP/1.1 200 OK\r\nA: b\n\r\n", Reject::BareLf),
        ("HTTP/1.1 200 OK\r\nA: b\r\n\n", Reject::BareLf),
        ("HTTP/1.1 200 O\rK\r\n\r\n", Reject::BareCr),
        ("HTTP/1.1 200 O\0K\r\n\r\n", Reject::StatusLine),
        ("HTTP/1.1 200 OK\r\nA: b\rC: d\r\n\r\n", Reject::BareCr),
        ("HTTP/1.1 200 OK\r\nA: b\r\n c\r\n\r\n", Reject::Fold),
        ("HTTP/1.1 200 OK\r\nA : b\r\n\r\n", Reject::SpaceBeforeColon),
        ("HTTP/1.1 200 OK\r\n: b\r\n\r\n", Reject::EmptyName),
        ("HTTP/1.1 200 OK\r\nA: b\0\r\n\r\n", Reject::FieldValue),
        ("HTTP/2.0 200 OK\r\n\r\n", Reject::StatusLine),
        ("HTTP/1.1 20 OK\r\n\r\n", Reject::StatusLine),
        ("HTTP/1.1 2000 OK\r\n\r\n", Reject::StatusLine),
        ("HTTP/1.1 099 Low\r\n\r\n", Reject::StatusLine),
        ("HTTP/1.1  200 OK\r\n\r\n", Reject::StatusLine),
        ("HTTP/1.1 2x0 OK\r\n\r\n", Reject::StatusLine),
        ("ICY 200 OK\r\n\r\n", Reject::StatusLine),
        ("HTTP/1.1\r\n\r\n", Reject::StatusLine),
        ("\r\nHTTP/1.1 200 OK\r\n\r\n", Reject::StatusLine),
    ];
    for (head, cause) in cases {
        assert_eq!(parse(head), Err(*cause), "{head:?}");
        for end in 0..head.len() {
            assert!(!matches!(parse(&head[..end]), Ok(Some(_))), "{:?}", &head[..end]);
        }
    }
}

#[test]
fn bodies_are_delimited_as_status_method_and_fields_say() {
    let framing = |status: u16, fields: &str| whole(&format!("HTTP/1.1 {status} X\r\n{fields}\r\n")).framing;
    assert_eq!(framing(200, "Content-Length: 5\r\n"), Framing::Known(5));
    assert_eq!(framing(200, "Content-Length: 0\r\n"), Framing::Known(0));
    assert_eq!(framing(200, "Transfer-Encoding: chunked\r\n"), Framing::Chunked);
    assert_eq!(framing(200, ""), Framing::Close);
    for status in [101, 204, 304] {
        assert_eq!(framing(status, "Content-Length: 5\r\n"), Framing::None, "{status}");
        assert_eq!(framing(status, "Transfer-Encoding: chunked\r\n"), Framing::None, "{status}");
    }
    let head = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n";
    let to_head = response(head.as_bytes(), &LIMITS, true, |_| {}).unwrap().unwrap();
    assert_eq!((to_head.framing, to_head.content_length), (Framing::None, Some(5)));
}

#[test]
fn an_interim_response_that_announces_a_body_is_refused() {
    for status in [100, 102, 103] {
        for fields in ["Content-Length: 5", "Transfer-Encoding: chunked"] {
            let head = format!("HTTP/1.1 {status} X\r\n{fields}\r\n\r\n");
            assert_eq!(parse(&head).unwrap_err(), Reject::Length, "{head}");
        }
        assert_eq!(
            whole(&format!("HTTP/1.1 {status} X\r\nContent-Length: 0\r\n\r\n")).framing,
            Framing::None
        );
    }
}

#[test]
fn a_connection_that_may_hold_a_body_that_should_not_be_there_ends() {
    assert!(whole("HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\n").close);
    assert!(whole("HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n").close);
    assert!(!whole("HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n").close);
    assert_eq!(whole("HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\n").content_length, None);
    let not_modified = whole("HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n");
    assert_eq!((not_modified.close, not_modified.content_length), (false, Some(5)));
}

#[test]
fn what_becomes_of_the_connection_is_as_version_and_fields_say() {
    assert!(!whole("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").close);
    assert!(whole("HTTP/1.1 200 OK\r\n\r\n").close);
    assert!(whole("HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n").close);
    assert!(whole("HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n").close);
    assert!(!whole("HTTP/1.0 200 OK\r\nContent-Length: 0\r\nConnection: keep-alive\r\n\r\n").close);
}

#[test]
fn a_head_is_waited_for_until_its_last_byte() {
    let head = "HTTP/1.1 404 Not\tHere\u{e9}\r\nA: b\r\n\r\n";
    for end in 0..head.len() {
        assert_eq!(response(&head.as_bytes()[..end], &LIMITS, false, |_| {}), Ok(None), "{end}");
    }
    let found = whole(head);
    assert_eq!((found.status, found.length), (404, head.len()));
    assert_eq!(found.reason.of(head.as_bytes()), "Not\tHere\u{e9}".as_bytes());
    assert_eq!(whole("HTTP/1.1 200\r\n\r\n").reason, whole("HTTP/1.1 200\r\n\r\n").reason);
    assert!(whole("HTTP/1.1 200\r\nContent-Length: 0\r\n\r\n").reason.of(b"HTTP/1.1 200\r\n").is_empty());
}

#[test]
fn heads_are_bounded() {
    let long = format!("HTTP/1.1 200 {}", "a".repeat(4096));
    assert_eq!(parse(&long), Err(Reject::HeadTooLarge));
    let long = format!("HTTP/1.1 200 OK\r\nA: {}", "a".repeat(4096));
    assert_eq!(parse(&long), Err(Reject::HeadTooLarge));
    assert_eq!(parse(&format!("{long}\r\n\r\n")), Err(Reject::HeadTooLarge));
}

#[test]
fn where_it_is_allowed_lf_alone_ends_a_line() {
    let lax = HeadLimits { bare_lf: true, ..LIMITS };
    for (text, reason) in [("HTTP/1.1 200 OK\nA: b\n\n", "OK"), ("HTTP/1.1 200\n\n", "")] {
        let head = response(text.as_bytes(), &lax, false, |_| {}).unwrap().expect("it is whole");
        assert_eq!((head.length, head.reason.of(text.as_bytes())), (text.len(), reason.as_bytes()));
        assert_eq!(
            response(text.as_bytes(), &LIMITS, false, |_| {}),
            Err(if reason.is_empty() { Reject::StatusLine } else { Reject::BareLf })
        );
    }
}
