//! Heads of requests.

use super::*;

fn parse(bytes: &[u8]) -> Result<Option<RequestHead>, Reject> {
    request(bytes, &LIMITS, |_| {})
}

fn whole(bytes: &[u8]) -> RequestHead {
    parse(bytes).unwrap().expect("a whole head")
}

/// What each head is refused for.
const REFUSED: &[(&str, Reject)] = &[
    // Request line.
    ("GET /\r\n\r\n", Reject::RequestLine),
    ("GET\r\n\r\n", Reject::RequestLine),
    ("GET  / HTTP/1.1\r\nHost: x\r\n\r\n", Reject::RequestLine),
    ("GET /  HTTP/1.1\r\nHost: x\r\n\r\n", Reject::VersionSyntax),
    ("GET / HTTP/1.1 \r\nHost: x\r\n\r\n", Reject::VersionSyntax),
    ("GET\t/ HTTP/1.1\r\nHost: x\r\n\r\n", Reject::RequestLine),
    ("GET /\tHTTP/1.1\r\nHost: x\r\n\r\n", Reject::RequestLine),
    (" GET / HTTP/1.1\r\nHost: x\r\n\r\n", Reject::Fold),
    ("\tGET / HTTP/1.1\r\nHost: x\r\n\r\n", Reject::Fold),
    ("GET / x HTTP/1.1\r\nHost: x\r\n\r\n", Reject::VersionSyntax),
    ("/ HTTP/1.1\r\nHost: x\r\n\r\n", Reject::Method),
    ("\r\n\r\n\r\n\r\n\r\nGET / HTTP/1.1\r\nHost: x\r\n\r\n", Reject::RequestLine),
    ("\nGET / HTTP/1.1\r\nHost: x\r\n\r\n", Reject::BareLf),
    ("\rGET / HTTP/1.1\r\nHost: x\r\n\r\n", Reject::BareCr),
    // Method.
    ("get / HTTP/1.1\r\nHost: x\r\n\r\n", Reject::Method),
    ("GeT / HTTP/1.1\r\nHost: x\r\n\r\n", Reject::Method),
    ("GE(T / HTTP/1.1\r\nHost: x\r\n\r\n", Reject::Method),
    ("G\0T / HTTP/1.1\r\nHost: x\r\n\r\n", Reject::Method),
    ("\u{7f}GET / HTTP/1.1\r\nHost: x\r\n\r\n", Reject::Method),
    ("ABCDEFGHIJKLMNOPQRSTUVWXYZABCDEFGHIJ / HTTP/1.1\r\nHost: x\r\n\r\n", Reject::Method),
    ("CONNECT x:443 HTTP/1.1\r\nHost: x:443\r\n\r\n", Reject::Connect),
    ("TRACE / HTTP/1.1\r\nHost: x\r\n\r\n", Reject::Trace),
    // Target.
    ("GET x HTTP/1.1\r\nHost: x\r\n\r\n", Reject::Target),
    ("GET * HTTP/1.1\r\nHost: x\r\n\r\n", Reject::Target),
    ("GET ../a HTTP/1.1\r\nHost: x\r\n\r\n", Reject::Target),
    ("GET \\a HTTP/1.1\r\nHost: x\r\n\r\n", Reject::Target),
    ("GET /a#b HTTP/1.1\r\nHost: x\r\n\r\n", Reject::Target),
    ("GET /a\u{1}b HTTP/1.1\r\nHost: x\r\n\r\n", Reject::Target),
    ("GET /a\0b HTTP/1.1\r\nHost: x\r\n\r\n", Reject::Target),
    ("GET /a\u{7f}b HTTP/1.1\r\nHost: x\r\n\r\n", Reject::Target),
    ("GET ftp://x/ HTTP/1.1\r\nHost: x\r\n\r\n", Reject::Target),
    ("GET http:/x/ HTTP/1.1\r\nHost: x\r\n\r\n", Reject::Target),
    ("GET http:// HTTP/1.1\r\nHost: x\r\n\r\n", Reject::Host),
    ("GET http:///a HTTP/1.1\r\nHost: x\r\n\r\n", Reject::Host),
    ("GET http://u@x/ HTTP/1.1\r\nHost: x\r\n\r\n", Reject::Host),
    ("GET http://x:y/ HTTP/1.1\r\nHost: x\r\n\r\n", Reject::Host),
    ("GET http://x\\y/ HTTP/1.1\r\nHost: x\r\n\r\n", Reject::Host),
    // Version.
    ("GET / HTTP/2.0\r\nHost: x\r\n\r\n", Reject::Version),
    ("GET / HTTP/0.9\r\nHost: x\r\n\r\n", Reject::Version),
    ("GET / HTTP/9.1\r\nHost: x\r\n\r\n", Reject::Version),
    ("GET / HTTP/1.10\r\nHost: x\r\n\r\n", Reject::VersionSyntax),
    ("GET / HTTP/11\r\nHost: x\r\n\r\n", Reject::VersionSyntax),
    ("GET / HTTP/1,1\r\nHost: x\r\n\r\n", Reject::VersionSyntax),
    ("GET / HTTP/1.\r\nHost: x\r\n\r\n", Reject::VersionSyntax),
    ("GET / http/1.1\r\nHost: x\r\n\r\n", Reject::VersionSyntax),
    ("GET / XTTP/1.1\r\nHost: x\r\n\r\n", Reject::VersionSyntax),
    ("GET / HTTP /1.1\r\nHost: x\r\n\r\n", Reject::VersionSyntax),
    // Ends of lines.
    ("GET / HTTP/1.1\nHost: x\r\n\r\n", Reject::BareLf),
    ("GET / HTTP/1.1\r\nHost: x\n\r\n", Reject::BareLf),
    ("GET / HTTP/1.1\r\nHost: x\r\n\n", Reject::BareLf),
    ("GET / HTTP/1.1\r\nHost: x\r\nA: b\nC: d\r\n\r\n", Reject::BareLf),
    ("GET / HTTP/1.1\r\nHost: x\r\nA:\nC: d\r\n\r\n", Reject::BareLf),
    ("GET / HTTP/1.1\r\nHost: x\r\nA: b \nC: d\r\n\r\n", Reject::BareLf),
    ("GET / HTTP/1.1\r\nHost: x\n\n", Reject::BareLf),
    ("GET / HTTP/1.1\r\nHost: x\rA: b\r\n\r\n", Reject::BareCr),
    ("GET / HTTP/1.1\r\nHost: x\r\r\n\r\n", Reject::BareCr),
    ("GET / HTTP/1.1\rHost: x\r\n\r\n", Reject::BareCr),
    ("GET / HTTP/1.1\r\nHost: x\r\n\rA: b\r\n\r\n", Reject::BareCr),
    // Lines of fields.
    ("GET / HTTP/1.1\r\nHost: x\r\nA: b\r\n c\r\n\r\n", Reject::Fold),
    ("GET / HTTP/1.1\r\nHost: x\r\nA: b\r\n\tc\r\n\r\n", Reject::Fold),
    ("GET / HTTP/1.1\r\n Host: x\r\n\r\n", Reject::Fold),
    ("GET / HTTP/1.1\r\nHost : x\r\n\r\n", Reject::SpaceBeforeColon),
    ("GET / HTTP/1.1\r\nHost: x\r\nContent-Length\t: 5\r\n\r\n", Reject::SpaceBeforeColon),
    ("GET / HTTP/1.1\r\nHost: x\r\n: b\r\n\r\n", Reject::EmptyName),
    ("GET / HTTP/1.1\r\nHost: x\r\nnothing\r\n\r\n", Reject::FieldName),
    ("GET / HTTP/1.1\r\nHost: x\r\nA(: b\r\n\r\n", Reject::FieldName),
    ("GET / HTTP/1.1\r\nHost: x\r\nA B: c\r\n\r\n", Reject::FieldName),
    ("GET / HTTP/1.1\r\nHost: x\r\nA\0: b\r\n\r\n", Reject::FieldName),
    ("GET / HTTP/1.1\r\nHost: x\r\nÄ: b\r\n\r\n", Reject::FieldName),
    ("GET / HTTP/1.1\r\nHost: x\r\nA: b\0c\r\n\r\n", Reject::FieldValue),
    ("GET / HTTP/1.1\r\nHost: x\r\nA: b\u{1}c\r\n\r\n", Reject::FieldValue),
    ("GET / HTTP/1.1\r\nHost: x\r\nA: b\u{7f}\r\n\r\n", Reject::FieldValue),
    // Host.
    ("GET / HTTP/1.1\r\n\r\n", Reject::HostMissing),
    ("GET http://x/ HTTP/1.1\r\n\r\n", Reject::HostMissing),
    ("GET / HTTP/1.1\r\nHost: x\r\nHost: x\r\n\r\n", Reject::HostTwice),
    ("GET / HTTP/1.1\r\nHost: x\r\nhost: y\r\n\r\n", Reject::HostTwice),
    ("GET / HTTP/1.1\r\nHost:\r\n\r\n", Reject::Host),
    ("GET / HTTP/1.1\r\nHost: \r\n\r\n", Reject::Host),
    ("GET / HTTP/1.1\r\nHost: a b\r\n\r\n", Reject::Host),
    ("GET / HTTP/1.1\r\nHost: a,b\r\n\r\n", Reject::Host),
    ("GET / HTTP/1.1\r\nHost: u@x\r\n\r\n", Reject::Host),
    ("GET / HTTP/1.1\r\nHost: x/y\r\n\r\n", Reject::Host),
    ("GET / HTTP/1.1\r\nHost: http://x\r\n\r\n", Reject::Host),
    ("GET / HTTP/1.1\r\nHost: x:port\r\n\r\n", Reject::Host),
    ("GET / HTTP/1.1\r\nHost: x:99999\r\n\r\n", Reject::Host),
    ("GET / HTTP/1.1\r\nHost: x:1:2\r\n\r\n", Reject::Host),
    ("GET / HTTP/1.1\r\nHost: :80\r\n\r\n", Reject::Host),
    ("GET / HTTP/1.1\r\nHost: [::1\r\n\r\n", Reject::Host),
    ("GET / HTTP/1.1\r\nHost: [g::1]\r\n\r\n", Reject::Host),
    ("GET / HTTP/1.1\r\nHost: [::1]x\r\n\r\n", Reject::Host),
    ("GET / HTTP/1.1\r\nHost: x?y\r\n\r\n", Reject::Host),
    ("GET / HTTP/1.1\r\nHost: x%00\r\n\r\n", Reject::Host),
    ("GET / HTTP/1.1\r\nHost: \u{fc}x\r\n\r\n", Reject::Host),
    // Lengths.
    ("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n", Reject::LengthTwice),
    ("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\n", Reject::LengthTwice),
    ("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5, 5\r\n\r\n", Reject::Length),
    ("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: +5\r\n\r\n", Reject::Length),
    ("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: -5\r\n\r\n", Reject::Length),
    ("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 0x5\r\n\r\n", Reject::Length),
    ("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5 5\r\n\r\n", Reject::Length),
    ("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: five\r\n\r\n", Reject::Length),
    ("POST / HTTP/1.1\r\nHost: x\r\nContent-Length:\r\n\r\n", Reject::Length),
    ("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5;\r\n\r\n", Reject::Length),
    ("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: \"5\"\r\n\r\n", Reject::Length),
    ("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999999999999\r\n\r\n", Reject::Length),
    ("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1.0\r\n\r\n", Reject::Length),
    // Codings.
    (
        "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
        Reject::LengthAndEncoding,
    ),
    (
        "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nContent-Length: 0\r\n\r\n",
        Reject::LengthAndEncoding,
    ),
    (
        "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n",
        Reject::EncodingTwice,
    ),
    (
        "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n",
        Reject::EncodingTwice,
    ),
    ("POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", Reject::Encoding),
    ("POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked, gzip\r\n\r\n", Reject::Encoding),
    ("POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked, chunked\r\n\r\n", Reject::Encoding),
    ("POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked,\r\n\r\n", Reject::Encoding),
    ("POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: ,chunked\r\n\r\n", Reject::Encoding),
    ("POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked;a=b\r\n\r\n", Reject::Encoding),
    ("POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: \"chunked\"\r\n\r\n", Reject::Encoding),
    ("POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding:\r\n\r\n", Reject::Encoding),
    ("POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: \u{b}chunked\r\n\r\n", Reject::FieldValue),
    ("POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip\r\n\r\n", Reject::UnknownCoding),
    ("POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: identity\r\n\r\n", Reject::UnknownCoding),
    ("POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: xchunked\r\n\r\n", Reject::UnknownCoding),
    ("POST / HTTP/1.0\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n", Reject::EncodingInHttp10),
];

#[test]
fn what_breaks_a_rule_is_refused_for_it() {
    for (head, cause) in REFUSED {
        assert_eq!(parse(head.as_bytes()), Err(*cause), "{head:?}");
    }
}

#[test]
fn a_refused_head_is_refused_or_waited_for_however_few_bytes_of_it_are_here() {
    for (head, _) in REFUSED {
        for end in 0..head.len() {
            if let Ok(Some(taken)) = parse(&head.as_bytes()[..end]) {
                panic!("{:?} of {head:?} was taken as {taken:?}", &head[..end]);
            }
        }
    }
}

#[test]
fn a_head_is_waited_for_until_its_last_byte() {
    let head = b"\r\nPOST /a?b HTTP/1.1\r\nHost: x:80\r\nContent-Length: 5\r\nEmpty:\r\nX: a b \t\r\n\r\n";
    for end in 0..head.len() {
        assert_eq!(parse(&head[..end]), Ok(None), "{end}");
    }
    let mut with_body = head.to_vec();
    with_body.extend_from_slice(b"hello");
    let mut fields = Vec::new();
    let found = request(&with_body, &LIMITS, |field| fields.push(field)).unwrap().unwrap();
    assert_eq!(found.length, head.len());
    assert_eq!(found.method.of(head), b"POST");
    assert_eq!(found.target.of(head), b"/a?b");
    assert_eq!(found.authority.of(head), b"x:80");
    assert_eq!((found.minor, found.body, found.close), (1, BodyLength::Known(5), false));
    let texts: Vec<_> = fields
        .iter()
        .map(|f| (String::from_utf8_lossy(f.name.of(head)), String::from_utf8_lossy(f.value.of(head))))
        .collect();
    let texts: Vec<(&str, &str)> = texts.iter().map(|(n, v)| (&**n, &**v)).collect();
    assert_eq!(texts, [("Host", "x:80"), ("Content-Length", "5"), ("Empty", ""), ("X", "a b")]);
}

#[test]
fn a_head_that_comes_in_pieces_is_looked_at_again_when_it_may_be_whole() {
    let head = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n";
    let mut seen = 0;
    let mut looked = 0;
    for end in 1..=head.len() {
        if seen == 0 || head_may_be_whole(&head[..end], seen) {
            looked += 1;
            if parse(&head[..end]).unwrap().is_some() {
                assert_eq!((end, looked), (head.len(), 2));
                return;
            }
        }
        seen = end;
    }
    panic!("the head was never whole");
}

#[test]
fn every_form_of_a_target_is_understood() {
    let cases: &[(&str, &str, &str)] = &[
        ("GET /a/b?c=d HTTP/1.1\r\nHost: x\r\n\r\n", "/a/b?c=d", "x"),
        ("GET /{a}|\"<>^`\\ HTTP/1.1\r\nHost: x\r\n\r\n", "/{a}|\"<>^`\\", "x"),
        ("GET //a HTTP/1.1\r\nHost: x\r\n\r\n", "//a", "x"),
        ("OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n", "*", "x"),
        ("GET http://y/a?b HTTP/1.1\r\nHost: x\r\n\r\n", "/a?b", "y"),
        ("GET HTTPS://y:1/a HTTP/1.1\r\nHost: x\r\n\r\n", "/a", "y:1"),
        ("GET http://y HTTP/1.1\r\nHost: x\r\n\r\n", "/", "y"),
        ("GET http://[::1]:8/ HTTP/1.1\r\nHost: x\r\n\r\n", "/", "[::1]:8"),
        ("GET / HTTP/1.1\r\nHost: [::1]\r\n\r\n", "/", "[::1]"),
        ("GET / HTTP/1.1\r\nHost: x:\r\n\r\n", "/", "x:"),
        ("GET / HTTP/1.1\r\nHost: a_b.x-y.~z:65535\r\n\r\n", "/", "a_b.x-y.~z:65535"),
        ("GET / HTTP/1.0\r\n\r\n", "/", ""),
    ];
    for (head, target, authority) in cases {
        let found = whole(head.as_bytes());
        assert_eq!(found.target.of(head.as_bytes()), target.as_bytes(), "{head:?}");
        assert_eq!(found.authority.of(head.as_bytes()), authority.as_bytes(), "{head:?}");
        assert!(!found.target_lacks_slash);
    }
    let query = whole(b"GET http://y?a=b HTTP/1.1\r\nHost: x\r\n\r\n");
    assert!(query.target_lacks_slash);
    assert_eq!(query.target.of(b"GET http://y?a=b HTTP/1.1"), b"?a=b");
}

#[test]
fn bodies_are_delimited_as_the_fields_say() {
    let with = |fields: &str| whole(format!("POST / HTTP/1.1\r\nHost: x\r\n{fields}\r\n").as_bytes()).body;
    assert_eq!(with(""), BodyLength::None);
    assert_eq!(with("Content-Length: 0\r\n"), BodyLength::None);
    assert_eq!(with("content-length:   00012  \r\n"), BodyLength::Known(12));
    assert_eq!(with("Content-Length: 999999999999999999\r\n"), BodyLength::Known(999_999_999_999_999_999));
    assert_eq!(with("Transfer-Encoding: chunked\r\n"), BodyLength::Open);
    assert_eq!(with("TRANSFER-ENCODING:\tChunked\r\n"), BodyLength::Open);
    assert_eq!(with("X-Content-Length: 5\r\nContent_Length: 7\r\n"), BodyLength::None);
}

#[test]
fn what_becomes_of_the_connection_is_as_version_and_fields_say() {
    let close = |version: &str, fields: &str| {
        whole(format!("GET / HTTP/{version}\r\nHost: x\r\n{fields}\r\n").as_bytes()).close
    };
    assert!(!close("1.1", ""));
    assert!(close("1.1", "Connection: close\r\n"));
    assert!(close("1.1", "Connection: keep-alive, Close\r\n"));
    assert!(close("1.1", "Connection: a\r\nConnection: close\r\n"));
    assert!(!close("1.1", "Connection: closed\r\n"));
    assert!(close("1.0", ""));
    assert!(!close("1.0", "Connection: Keep-Alive\r\n"));
    assert!(close("1.0", "Connection: keep-alive, close\r\n"));
    assert!(!close("1.7", ""), "a later minor version is read as the one that is known");
}

#[test]
fn an_upgrade_is_one_only_when_connection_names_it() {
    let upgrade = |version: &str, fields: &str| {
        let head = format!("GET / HTTP/{version}\r\nHost: x\r\n{fields}\r\n");
        whole(head.as_bytes())
            .upgrade
            .map(|span| String::from_utf8_lossy(span.of(head.as_bytes())).into_owned())
    };
    let both = "Connection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n";
    assert_eq!(upgrade("1.1", both).as_deref(), Some("websocket"));
    assert_eq!(upgrade("1.0", both), None);
    assert_eq!(upgrade("1.1", "Upgrade: websocket\r\n"), None);
    assert_eq!(upgrade("1.1", "Connection: upgrade\r\n"), None);
    assert_eq!(upgrade("1.1", "Connection: upgrade\r\nUpgrade: h2c\r\n"), None);
    assert_eq!(upgrade("1.1", "Connection: upgrade\r\nUpgrade: websocket, H2C\r\n"), None);
}

#[test]
fn who_expects_a_100_is_heard_in_http_1_1_alone() {
    let expects = |version: &str, value: &str| {
        let head =
            format!("POST / HTTP/{version}\r\nHost: x\r\nExpect: {value}\r\nContent-Length: 1\r\n\r\n");
        whole(head.as_bytes()).expects_continue
    };
    assert!(expects("1.1", "100-Continue"));
    assert!(!expects("1.0", "100-continue"));
    assert!(!expects("1.1", "200-ok"));
}

#[test]
fn heads_are_bounded() {
    let limits = HeadLimits { bytes: 100, fields: 3, drop_underscores: true, bare_lf: false };
    let parse = |head: &str| request(head.as_bytes(), &limits, |_| {});
    let long = "a".repeat(100);
    assert_eq!(parse(&format!("GET /{long}")), Err(Reject::LineTooLong));
    assert_eq!(parse(&format!("GET /{long} HTTP/1.1\r\nHost: x\r\n\r\n")), Err(Reject::LineTooLong));
    assert_eq!(parse(&format!("GET / HTTP/1.1\r\nHost: x\r\nA: {long}")), Err(Reject::HeadTooLarge));
    assert_eq!(parse(&format!("GET / HTTP/1.1\r\nHost: x\r\nA: {long}\r\n\r\n")), Err(Reject::HeadTooLarge));
    assert!(parse("GET / HTTP/1.1\r\nHost: x\r\nA: b\r\nC: d\r\n\r\n").unwrap().is_some());
    assert_eq!(
        parse("GET / HTTP/1.1\r\nHost: x\r\nA: b\r\nC: d\r\nE: f\r\n\r\n"),
        Err(Reject::TooManyFields)
    );
    let mut fields = Vec::new();
    let head = "GET / HTTP/1.1\r\nHost: x\r\na_b: c\r\nD: e\r\n\r\n";
    assert!(request(head.as_bytes(), &limits, |field| fields.push(field)).unwrap().is_some());
    assert_eq!(fields.len(), 2, "names with _ are left out");
    let many = format!("GET / HTTP/1.1\r\nHost: x\r\n{}\r\n", "A: b\r\n".repeat(60));
    let wide = HeadLimits { bytes: 4096, fields: 61, drop_underscores: false, bare_lf: false };
    let mut fields = Vec::new();
    assert!(request(many.as_bytes(), &wide, |field| fields.push(field)).unwrap().is_some());
    assert_eq!(fields.len(), 61);
}

#[test]
fn every_cause_has_a_name_and_a_status() {
    let mut names: Vec<&str> = REFUSED.iter().map(|(_, cause)| cause.name()).collect();
    names.sort_unstable();
    names.dedup();
    assert!(names.len() >= 20, "{names:?}");
    for (_, cause) in REFUSED {
        assert!((400..=505).contains(&cause.status()));
        assert!(!cause.to_string().is_empty());
    }
}

#[test]
fn where_it_is_allowed_lf_alone_ends_a_line_and_nothing_else_is_laxer() {
    let lax = HeadLimits { bare_lf: true, ..LIMITS };
    for text in ["GET /a HTTP/1.0\nHost: x\nA: b \n\n", "\n\r\nGET /a HTTP/1.1\nHost: x\r\nA: b\n\r\n"] {
        let mut values = Vec::new();
        let head =
            request(text.as_bytes(), &lax, |field| values.push(field.value.of(text.as_bytes()))).unwrap();
        let head = head.expect("it is whole");
        assert_eq!((head.length, head.target.of(text.as_bytes())), (text.len(), &b"/a"[..]));
        assert_eq!(values, [b"x", b"b"]);
        for cut in 0..text.len() {
            assert_eq!(request(&text.as_bytes()[..cut], &lax, |_| {}), Ok(None), "{cut} of {text:?}");
        }
    }
    for (text, why) in [
        ("GET / HTTP/1.1\nHost: x\n A: b\n\n", Reject::Fold),
        ("GET / HTTP/1.1\nHost: x\nHost: y\n\n", Reject::HostTwice),
        ("GET / HTTP/1.1\nHost: x\nA : b\n\n", Reject::SpaceBeforeColon),
        ("GET / HTTP/1.1\nHost: x\nA: b\rC: d\n\n", Reject::BareCr),
    ] {
        assert_eq!(request(text.as_bytes(), &lax, |_| {}), Err(why), "{text:?}");
    }
}
