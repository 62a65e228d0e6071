//! Golden vectors of letters, and what a reader makes of bytes that somebody else wrote.

use std::time::Duration;

use super::*;
use crate::lease::{
    Answered, Asked, Beat, Freed, Letter, Mark, Member, Message, Outcome, Reply, Request, Sight, Sights,
    Standing, VoterList,
};

fn letter(messages: Vec<Message>) -> Letter {
    Letter { instance: 0x0102_0304_0506_0708, heir_of: None, mark: Mark { epoch: 3, hash: 0xabcd }, messages }
}

fn standing(right: &str) -> Standing {
    Standing { right: right.to_owned(), epoch: 5, ready: true, preempts: true, priority: 100 }
}

/// One of everything.
fn everything() -> Letter {
    let answered = |right: &str, outcome| Answered { right: right.to_owned(), outcome };
    let left = Duration::from_millis(1500);
    let member = |id: &str, holds| Member { id: id.to_owned(), votes: true, holds };
    let mut all = letter(vec![
        Message::Beat(Beat { number: 9, rights: vec![standing("vip/front"), standing("node/web-1")] }),
        Message::Request(Request {
            number: 7,
            term: left,
            rights: vec![Asked { right: "vip/front".to_owned(), epoch: 6, renewal: true }],
        }),
        Message::Reply(Reply {
            number: 7,
            rights: vec![
                answered("a", Outcome::Granted { epoch: 6 }),
                answered("b", Outcome::Held { by: "web-2".to_owned(), epoch: 5, left }),
                answered("c", Outcome::Stale { epoch: 8 }),
                answered("d", Outcome::Mute { left }),
                answered("e", Outcome::Mismatch { mark: Mark { epoch: 4, hash: 1 }, term_max: left }),
                answered("f", Outcome::Full),
            ],
        }),
        Message::Free(vec![
            Freed { right: "a".to_owned(), epoch: 6, next: Some("web-2".to_owned()) },
            Freed { right: "b".to_owned(), epoch: 6, next: None },
        ]),
        Message::List(VoterList { epoch: 3, members: vec![member("web-1", true), member("w", false)] }),
        Message::Sights(Sights {
            lock_wanted: true,
            lock_owned: false,
            vips: vec![
                Sight { vip: "front".to_owned(), active: true, reference: Some(false) },
                Sight { vip: "back".to_owned(), active: false, reference: None },
            ],
        }),
    ]);
    all.heir_of = Some(42);
    all
}

fn one(letter: &Letter) -> Vec<u8> {
    let mut pieces = encode(letter, 1400).unwrap();
    assert_eq!(pieces.len(), 1);
    pieces.remove(0)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn a_beat_has_these_bytes() {
    let bytes = one(&letter(vec![Message::Beat(Beat { number: 9, rights: vec![standing("vip/a")] })]));
    let head = "01 01 0014 0102030405060708 00000003 000000000000abcd";
    let beat = "10 001a 0000000000000009 0010 05 7669702f61 0000000000000005 03 64";
    assert_eq!(hex(&bytes), format!("{head}{beat}").replace(' ', ""));
}

#[test]
fn sights_have_these_bytes() {
    let vips = vec![Sight { vip: "a".to_owned(), active: true, reference: Some(true) }];
    let sights = Sights { lock_wanted: false, lock_owned: true, vips };
    let bytes = one(&letter(vec![Message::Sights(sights)]));
    let head = "01 01 0014 0102030405060708 00000003 000000000000abcd";
    assert_eq!(hex(&bytes), format!("{head} 15 0006 02 0003 01 61 07").replace(' ', ""));
}

#[test]
fn a_reply_and_a_release_have_these_bytes() {
    let reply = Message::Reply(Reply {
        number: 2,
        rights: vec![Answered {
            right: "a".to_owned(),
            outcome: Outcome::Held { by: "b".to_owned(), epoch: 1, left: Duration::from_nanos(255) },
        }],
    });
    let free = Message::Free(vec![Freed { right: "a".to_owned(), epoch: 1, next: Some("b".to_owned()) }]);
    let bytes = hex(&one(&letter(vec![reply, free])));
    let reply = "12 001f 0000000000000002 0015 01 61 02 01 62 0000000000000001 00000000000000ff";
    let free = "13 000f 000d 01 61 0000000000000001 01 01 62";
    assert_eq!(&bytes[48..], format!("{reply}{free}").replace(' ', ""));
}

#[test]
fn everything_is_read_as_it_was_written() {
    assert_eq!(parse(&one(&everything())), Ok(everything()));
    assert_eq!(parse(&one(&letter(vec![]))), Ok(letter(vec![])));
}

#[test]
fn what_a_later_version_adds_is_skipped() {
    // A field after the last one of an item, of the head, and a record of an unknown type.
    let mut bytes = vec![VERSION, 200, 0, 2, 9, 9, 1, 0, 22];
    bytes.extend([[0; 8], [0, 0, 0, 3, 0, 0, 0, 0], [0, 0, 0xab, 0xcd, 7, 7, 0x10, 0]].concat());
    bytes.extend([29, 0, 0, 0, 0, 0, 0, 0, 9, 0, 19, 5]);
    bytes.extend(b"vip/a");
    bytes.extend([0, 0, 0, 0, 0, 0, 0, 5, 3, 100, 1, 2, 3]);
    let read = parse(&bytes).unwrap();
    assert_eq!(read.messages, [Message::Beat(Beat { number: 9, rights: vec![standing("vip/a")] })]);
    // An unknown outcome is no answer, and its neighbours are not lost with it.
    let mut unknown = one(&letter(vec![Message::Reply(Reply {
        number: 2,
        rights: ["a", "b"].map(|right| Answered { right: right.to_owned(), outcome: Outcome::Full }).to_vec(),
    })]));
    let at = unknown.len() - 6;
    assert_eq!(unknown[at], outcome::FULL);
    unknown[at] = 99;
    let read = parse(&unknown).unwrap();
    let rest = vec![Answered { right: "b".to_owned(), outcome: Outcome::Full }];
    assert_eq!(read.messages, [Message::Reply(Reply { number: 2, rights: rest })]);
}

#[test]
fn a_long_letter_goes_on_in_further_pieces() {
    let rights: Vec<Standing> = (0..200).map(|n| standing(&format!("vip/number-{n}"))).collect();
    let asked: Vec<Asked> =
        rights.iter().map(|right| Asked { right: right.right.clone(), epoch: 1, renewal: false }).collect();
    let mut long = everything();
    long.messages.push(Message::Beat(Beat { number: 10, rights: rights.clone() }));
    long.messages.push(Message::Request(Request { number: 11, term: Duration::from_secs(1), rights: asked }));
    let pieces = encode(&long, 1400).unwrap();
    assert!(pieces.len() > 5 && pieces.len() < 12, "{}", pieces.len());
    let mut seen = (Vec::new(), 0);
    for piece in &pieces {
        assert!(piece.len() <= 1400, "{}", piece.len());
        let read = parse(piece).unwrap();
        assert_eq!((read.instance, read.heir_of, read.mark), (long.instance, long.heir_of, long.mark));
        for message in read.messages {
            match message {
                Message::Beat(beat) if beat.number == 10 => seen.0.extend(beat.rights),
                Message::Request(request) if request.number == 11 => seen.1 += request.rights.len(),
                _ => {}
            }
        }
    }
    assert_eq!(seen, (rights, 200));
}

#[test]
fn a_voter_list_is_never_cut_and_never_without_bound() {
    let member = |n: usize| Member { id: format!("{n:0>128}"), votes: true, holds: true };
    let list = |n: usize| Message::List(VoterList { epoch: 1, members: (0..n).map(member).collect() });
    let beat = Message::Beat(Beat { number: 1, rights: vec![standing("vip/a")] });
    let pieces = encode(&letter(vec![beat, list(64)]), 1400).unwrap();
    assert_eq!(pieces.len(), 2);
    assert!(pieces[0].len() < 1400 && pieces[1].len() > 1400 && pieces[1].len() <= LETTER_MAX);
    assert_eq!(parse(&pieces[1]), Ok(letter(vec![list(64)])));
    assert_eq!(encode(&letter(vec![list(65)]), 1400), Err(Unfit::Members(65)));
}

#[test]
fn a_name_that_no_peer_would_read_is_not_written() {
    for bad in [String::new(), "x".repeat(129), "a\nb".to_owned()] {
        let letter = letter(vec![Message::Beat(Beat { number: 1, rights: vec![standing(&bad)] })]);
        assert_eq!(encode(&letter, 1400), Err(Unfit::Name(bad)));
    }
}

#[test]
fn bytes_that_contradict_themselves_are_refused() {
    let good = one(&everything());
    assert_eq!(parse(&[]), Err(Wrong::Short));
    assert_eq!(parse(&[2]), Err(Wrong::Version(2)));
    assert_eq!(parse(&[VERSION]), Err(Wrong::Head));
    assert_eq!(parse(&[&good[..], &good[1..]].concat()), Err(Wrong::Head));
    assert_eq!(parse(&vec![VERSION; LETTER_MAX + 1]), Err(Wrong::Long));
    let mut name = one(&letter(vec![Message::Beat(Beat { number: 9, rights: vec![standing("vip/a")] })]));
    let at = name.len() - 15;
    name[at] = 0xff;
    assert_eq!(parse(&name), Err(Wrong::Name));
}

#[test]
fn no_bytes_make_a_reader_panic() {
    let good = one(&everything());
    for cut in 0..good.len() {
        let _ = parse(&good[..cut]);
    }
    let mut state = 1_u64;
    for _ in 0..20_000 {
        let mut bytes = good.clone();
        for _ in 0..3 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let at = usize::try_from(state >> 33).unwrap() % bytes.len();
            bytes[at] = state.to_be_bytes()[1];
        }
        if let Ok(read) = parse(&bytes) {
            let again = encode(&read, LETTER_MAX).unwrap();
            assert_eq!(parse(&again[0]), Ok(read));
        }
    }
}
