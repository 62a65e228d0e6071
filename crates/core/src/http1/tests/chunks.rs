//! Chunked bodies.

use super::*;

/// The body in `bytes`, given to the decoder in pieces of `piece` bytes; `None` when there is no end.
fn decode(bytes: &[u8], piece: usize) -> Result<Option<(Vec<u8>, usize, usize)>, Reject> {
    let mut decoder = Decoder::default();
    let (mut body, mut at, mut known) = (Vec::new(), 0, 0);
    loop {
        match decoder.step(&bytes[at..known])? {
            Step::Skip(count) => at += count,
            Step::Data(count) => {
                body.extend_from_slice(&bytes[at..at + count]);
                decoder.took(count);
                at += count;
            }
            Step::End(count, fields) => {
                assert!(decoder.is_over());
                return Ok(Some((body, at + count, fields.len())));
            }
            Step::More if known == bytes.len() => return Ok(None),
            Step::More => known = (known + piece).min(bytes.len()),
        }
    }
}

#[test]
fn a_body_is_the_same_however_it_comes() {
    let whole = b"5\r\nhello\r\n00006;a=b;c=\"d e\"\r\n world\r\nA \t;x\r\n0123456789\r\n0\r\nX-A: b\r\nX-C:\r\n\r\nGET";
    for piece in 1..=whole.len() {
        let (body, taken, trailers) = decode(whole, piece).unwrap().unwrap();
        assert_eq!(body, b"hello world0123456789", "{piece}");
        assert_eq!((&whole[taken..], trailers), (&b"GET"[..], 2), "{piece}");
    }
    assert_eq!(decode(b"0\r\n\r\n", 100), Ok(Some((Vec::new(), 5, 0))));
    for end in 0..whole.len() - 3 {
        assert_eq!(decode(&whole[..end], 7), Ok(None), "{end}");
    }
}

#[test]
fn what_is_no_chunked_body_is_refused() {
    let long = format!("5;{}\r\nhello\r\n0\r\n\r\n", "a".repeat(300));
    let many = format!("0\r\n{}\r\n", "A: b\r\n".repeat(70));
    let large = format!("0\r\nA: {}\r\n\r\n", "b".repeat(9000));
    let cases: &[(&str, Reject)] = &[
        ("\r\n", Reject::ChunkSize),
        ("\n", Reject::BareLf),
        ("g\r\n", Reject::ChunkSize),
        ("-5\r\nhello\r\n0\r\n\r\n", Reject::ChunkSize),
        ("+5\r\nhello\r\n0\r\n\r\n", Reject::ChunkSize),
        ("0x5\r\nhello\r\n0\r\n\r\n", Reject::ChunkSize),
        (" 5\r\nhello\r\n0\r\n\r\n", Reject::ChunkSize),
        ("5 \r\nhello\r\n0\r\n\r\n", Reject::ChunkSize),
        ("5\t\r\nhello\r\n0\r\n\r\n", Reject::ChunkSize),
        ("5 5\r\nhello\r\n0\r\n\r\n", Reject::ChunkSize),
        ("5,\r\nhello\r\n0\r\n\r\n", Reject::ChunkSize),
        (";a\r\nhello\r\n0\r\n\r\n", Reject::ChunkSize),
        ("5\nhello\r\n0\r\n\r\n", Reject::BareLf),
        ("5\rhello\r\n0\r\n\r\n", Reject::BareCr),
        ("5;a\nhello\r\n0\r\n\r\n", Reject::BareLf),
        ("5;a\rhello\r\n0\r\n\r\n", Reject::BareCr),
        ("5;a\0\r\nhello\r\n0\r\n\r\n", Reject::ChunkExtension),
        (&long, Reject::ChunkExtension),
        ("5\r\nhello0\r\n\r\n", Reject::ChunkEnd),
        ("5\r\nhello world\r\n0\r\n\r\n", Reject::ChunkEnd),
        ("5\r\nhello\n0\r\n\r\n", Reject::BareLf),
        ("5\r\nhello\r0\r\n\r\n", Reject::BareCr),
        ("ffffffffffffffff\r\n", Reject::ChunkTooLarge),
        ("10000000000000000\r\n", Reject::ChunkTooLarge),
        ("00000000000000000005\r\n", Reject::ChunkTooLarge),
        ("0\r\n\n", Reject::BareLf),
        ("0\r\nA: b\n\r\n", Reject::BareLf),
        ("0\r\nA: b\r\n c\r\n\r\n", Reject::Fold),
        ("0\r\nA : b\r\n\r\n", Reject::SpaceBeforeColon),
        ("0\r\nnothing\r\n\r\n", Reject::FieldName),
        ("0\r\nContent-Length: 5\r\n\r\n", Reject::Trailer),
        ("0\r\ntransfer-encoding: chunked\r\n\r\n", Reject::Trailer),
        ("0\r\nHost: y\r\n\r\n", Reject::Trailer),
        ("0\r\nX-Forwarded-For: 10.0.0.1\r\n\r\n", Reject::Trailer),
        ("0\r\nx-real-ip: 10.0.0.1\r\n\r\n", Reject::Trailer),
        ("0\r\nCookie: a=b\r\n\r\n", Reject::Trailer),
        (&many, Reject::TrailersTooLarge),
        (&large, Reject::TrailersTooLarge),
    ];
    for (body, cause) in cases {
        for piece in [1, 3, body.len()] {
            assert_eq!(decode(body.as_bytes(), piece), Err(*cause), "{body:?} by {piece}");
        }
    }
}

#[test]
fn a_chunk_is_told_as_far_as_it_is_here() {
    let mut decoder = Decoder::default();
    assert_eq!(decoder.step(b"ffff\r\nab"), Ok(Step::Skip(6)));
    assert_eq!(decoder.step(b""), Ok(Step::More));
    assert_eq!(decoder.step(b"ab"), Ok(Step::Data(2)));
    decoder.took(1);
    assert_eq!(decoder.step(b"b"), Ok(Step::Data(1)));
    decoder.took(1);
    let rest = vec![b'x'; 0xffff];
    assert_eq!(decoder.step(&rest), Ok(Step::Data(0xfffd)));
}
