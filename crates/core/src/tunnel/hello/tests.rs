//! What is written is read again, and what anybody else writes is refused without harm.

use super::*;

pub(super) fn hello() -> Hello {
    let name = "branch office".to_owned();
    Hello { low: 1, high: 1, caller: Caller::Agent, name, instance: 0x0102_0304_0506_0708, nonce: [7; 32] }
}

pub(super) fn challenge() -> Challenge {
    let place = Place { process: 1, processes: 2, thread: 0, threads: 3 };
    Challenge { version: 1, hub: "edge-1".into(), instance: 9, place, nonce: [8; 32] }
}

pub(super) fn claims() -> Claims {
    let tunnel = "381433e1-7980-11ee-bbdb-60f262c1e32d".to_owned();
    let first =
        Offer { index: 0, tunnel: tunnel.clone(), kind: Kind::Tcp, weight: 1, host: None, healthy: true };
    let host = Some("app.example.com".to_owned());
    let second = Offer { index: 7, tunnel, kind: Kind::Http, weight: 300, host, healthy: false };
    Claims { key: [3; 32], offers: vec![first, second] }
}

fn every_message() -> Vec<Message> {
    let claims = encode_claims(&claims()).unwrap();
    let served = Answer::Served(vec!["http://b7de88a94729b931.gost.local".into(), "tcp://:8022".into()]);
    let refused = Answer::Refused("this key may not offer that tunnel".into());
    let grants = vec![Grant { index: 0, answer: served }, Grant { index: 7, answer: refused }];
    let hubs = vec!["wss://edge-1.example.com".into(), "tls://10.0.0.2:7000".into()];
    let mut all = vec![
        Message::Hello(hello()),
        Message::Challenge(challenge()),
        Message::Proof(Proof { claims, signature: [4; 64] }),
        Message::Welcome(Welcome {
            grants,
            hubs,
            names: vec!["edge-1".into(), "edge-2".into()],
            streams: 1000,
        }),
        Message::Welcome(Welcome::default()),
    ];
    let causes =
        [Cause::Version, Cause::Key, Cause::Signature, Cause::Forbidden, Cause::Full, Cause::Leaving];
    for cause in causes.into_iter().chain([Cause::Garbled, Cause::Other(77)]) {
        all.push(Message::Refused(Refused { cause, sentence: "the hub leaves".into() }));
    }
    all
}

#[test]
fn what_is_written_is_read_again() {
    for message in every_message() {
        let bytes = encode(&message).unwrap();
        assert_eq!(size(&bytes), Ok(Some(bytes.len())));
        assert_eq!(parse(&bytes), Ok(message));
    }
    assert_eq!(parse_claims(&encode_claims(&claims()).unwrap()), Ok(claims()));
}

#[test]
fn a_message_cut_anywhere_is_refused_and_one_with_more_behind_it_too() {
    for message in every_message() {
        let mut bytes = encode(&message).unwrap();
        for cut in 0..bytes.len() {
            assert!(parse(&bytes[..cut]).is_err(), "{message:?} cut at {cut}");
            assert!(matches!(size(&bytes[..cut]), Ok(None | Some(_))));
        }
        bytes.push(0);
        assert_eq!(parse(&bytes), Err(Wrong::Long));
    }
}

/// The bytes of a message with these fields.
fn message(kind: u8, fields: &[(u8, &[u8])]) -> Vec<u8> {
    let mut bytes = MAGIC.to_vec();
    bytes.extend_from_slice(&[kind, 0, 0, 0]);
    bytes.extend_from_slice(&self::fields(fields));
    let length = u16::try_from(bytes.len() - HEAD).unwrap();
    bytes[6..HEAD].copy_from_slice(&length.to_be_bytes());
    bytes
}

fn fields(fields: &[(u8, &[u8])]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (kind, value) in fields {
        bytes.push(*kind);
        bytes.extend_from_slice(&u16::try_from(value.len()).unwrap().to_be_bytes());
        bytes.extend_from_slice(value);
    }
    bytes
}

#[test]
fn a_field_of_a_later_version_is_skipped_and_so_is_a_longer_value() {
    let nonce = [7; 32];
    let instance = 5_u64.to_be_bytes();
    let mut known: Vec<(u8, &[u8])> =
        vec![(1, &[1, 9, 0xff]), (2, &[1]), (3, b"a"), (4, &instance), (200, b"later"), (5, &nonce)];
    let Ok(Message::Hello(hello)) = parse(&message(1, &known)) else { panic!("it is a hello") };
    assert_eq!((hello.low, hello.high, hello.version()), (1, 9, Some(VERSION)));
    known.push((2, &[1]));
    assert_eq!(parse(&message(1, &known)), Err(Wrong::Twice(2)));
    assert_eq!(parse(&message(1, &known[..4])), Err(Wrong::Missing(5)));
    assert_eq!(parse(&message(99, &known)), Err(Wrong::Type(99)));
}

#[test]
fn a_version_is_agreed_on_only_where_both_ranges_meet() {
    let of = |low, high| Hello { low, high, ..hello() }.version();
    assert_eq!(of(1, 1), Some(1));
    assert_eq!(of(OLDEST, 200), Some(VERSION));
    assert_eq!(of(VERSION + 1, 200), None);
    assert_eq!(of(0, OLDEST - 1), None);
    assert_eq!(of(3, 2), None, "a range that is none");
}

#[test]
fn a_place_outside_of_its_hub_is_refused() {
    let mut bytes = encode(&Message::Challenge(challenge())).unwrap();
    let place = bytes.windows(8).position(|window| window == [0, 1, 0, 2, 0, 0, 0, 3]).unwrap();
    bytes[place + 1] = 2;
    assert_eq!(parse(&bytes), Err(Wrong::Place { process: 2, processes: 2, thread: 0, threads: 3 }));
}

#[test]
fn a_name_or_a_text_that_cannot_be_shown_is_neither_read_nor_written() {
    for name in [String::new(), "x".repeat(NAME_MAX + 1), "a\nb".into(), "\u{1b}[2J".into()] {
        assert_eq!(encode(&Message::Hello(Hello { name: name.clone(), ..hello() })), Err(Unfit::Name));
        let bytes = message(1, &[(3, name.as_bytes())]);
        assert!(matches!(parse(&bytes), Err(Wrong::Name | Wrong::Text)), "{name:?}");
    }
    assert_eq!(parse(&message(1, &[(3, b"\xff\xfe")])), Err(Wrong::Text));
    let sentence = "x".repeat(TEXT_MAX + 1);
    assert_eq!(encode(&Message::Refused(Refused { cause: Cause::Key, sentence })), Err(Unfit::Text));
}

#[test]
fn lists_have_an_end_and_offers_a_number_each() {
    let mut many = claims();
    many.offers = (0..65)
        .map(|index| Offer {
            index,
            tunnel: "t".into(),
            kind: Kind::Udp,
            weight: 1,
            host: None,
            healthy: true,
        })
        .collect();
    assert_eq!(encode_claims(&many), Err(Unfit::List));
    many.offers.truncate(OFFERS_MAX);
    let bytes = encode_claims(&many).unwrap();
    assert_eq!(parse_claims(&bytes), Ok(many));
    let offer: &[u8] = &[0, 1, 1, 1, 0, 1, 1, b't', 0];
    assert_eq!(parse_claims(&fields(&[(1, &[3; 32]), (2, offer), (2, offer)])), Err(Wrong::Index(1)));
    let hub: (u8, &[u8]) = (2, b"wss://a");
    assert_eq!(parse(&message(4, &vec![hub; LIST_MAX + 1])), Err(Wrong::List));
}

#[test]
fn an_offer_of_a_kind_that_came_later_is_skipped_alone() {
    let later: &[u8] = &[0, 1, 9, 1, 0, 1, 1, b't', 0];
    let known: &[u8] = &[0, 2, 2, 0, 0, 5, 1, b't', 0, 0xaa];
    let claims = parse_claims(&fields(&[(1, &[3; 32]), (2, later), (2, known)])).unwrap();
    let offer =
        Offer { index: 2, tunnel: "t".into(), kind: Kind::Udp, weight: 5, host: None, healthy: false };
    assert_eq!(claims.offers, [offer]);
}

#[test]
fn what_is_no_message_is_known_by_its_first_byte() {
    assert_eq!(size(b"G"), Err(Wrong::Magic));
    assert_eq!(size(b"MSG"), Err(Wrong::Magic));
    assert_eq!(size(b""), Ok(None));
    assert_eq!(size(b"MSTN\x01\x00\x20\x00"), Err(Wrong::Long));
    let claims = vec![0; MESSAGE_MAX];
    assert_eq!(encode(&Message::Proof(Proof { claims, signature: [0; 64] })), Err(Unfit::Long));
}

#[test]
fn no_part_of_what_is_signed_can_move_over_a_border() {
    assert_ne!(transcript(b"ab", b"c", b"", b""), transcript(b"a", b"bc", b"", b""));
    assert_ne!(transcript(b"a", b"c", b"x", b""), transcript(b"a", b"c", b"", b"x"));
}

#[test]
fn any_change_of_one_byte_is_read_without_harm() {
    for message in every_message() {
        let bytes = encode(&message).unwrap();
        for at in 0..bytes.len() {
            for flip in [1, 0x80, 0xff] {
                let mut other = bytes.clone();
                other[at] ^= flip;
                if let Ok(read) = parse(&other) {
                    // What is read can be said again, unless it is a list or text of another's making that is too long.
                    let _ = encode(&read);
                }
            }
        }
    }
}
