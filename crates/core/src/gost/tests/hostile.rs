//! What breaks the protocol, floods or overruns: named, and no dearer than it must be.

use std::time::Duration;

use super::rig::{Rig, Told, hear, hex, read};
use crate::gost::smux::{FIN, Header, INITIAL_WINDOW, Limits, NOP, PSH, SYN, UPD};
use crate::tunnel::{Closed, Code, Flood, Key, Kind, Open, Wrong};

fn frame(kind: u8, id: u32, body: &[u8]) -> Vec<u8> {
    let mut bytes = Header { kind, len: body.len() as u16, id }.bytes().to_vec();
    bytes.extend_from_slice(body);
    bytes
}

fn rig() -> Rig {
    Rig::new(Kind::Bytes, Limits::default())
}

/// A header that every client takes.
fn header() -> Vec<u8> {
    hex("01 00 0014 02 0007 01 00000000 0000 02 0007 01 00000000 0000")
}

/// How a client takes these frames from its server.
fn fate(bytes: &[u8]) -> Option<Closed> {
    let mut rig = rig();
    hear(&mut rig.agent, bytes, rig.now).into_iter().find_map(|told| match told {
        Told::Closed(why) => Some(why),
        _ => None,
    })
}

fn opened(rig: &mut Rig, id: u32) -> Key {
    let told = hear(&mut rig.agent, &[frame(SYN, id, b""), frame(PSH, id, &header())].concat(), rig.now);
    let [Told::Opened(key, _)] = told[..] else { panic!("{told:?}") };
    key
}

#[test]
fn what_cannot_be_framed_costs_the_session_and_has_a_name() {
    let cases = [
        (hex("01 00 0000 03000000"), Wrong::Version(1)),
        (hex("47 45 5420 2f204854"), Wrong::Version(b'G')),
        (frame(5, 3, b""), Wrong::Kind(5)),
        (frame(SYN, 3, b"x"), Wrong::Length(SYN)),
        (frame(FIN, 3, b"x"), Wrong::Length(FIN)),
        (frame(NOP, 0, b"x"), Wrong::Length(NOP)),
        (frame(UPD, 3, &[0; 7]), Wrong::Length(UPD)),
    ];
    for (bytes, wrong) in cases {
        assert_eq!(fate(&bytes), Some(Closed::Wrong(wrong)), "{wrong}");
    }
}

#[test]
fn frames_for_streams_that_nobody_knows_are_skipped_and_counted() {
    let mut rig = rig();
    let bytes = [frame(PSH, 77, b"late"), frame(FIN, 77, b""), frame(UPD, 77, &[0; 8])].concat();
    assert_eq!(hear(&mut rig.agent, &bytes, rig.now), []);
    assert_eq!((rig.agent.counts().late, rig.agent.is_closed(), rig.agent.output()), (3, false, &b""[..]));
    opened(&mut rig, 3);
}

#[test]
fn a_header_that_cannot_be_read_costs_one_stream() {
    let mut rig = rig();
    let good = opened(&mut rig, 3);
    let bad: [&[u8]; 6] = [
        b"GET / HTTP/1.1\r\n",
        &[1, 6, 0, 0],          // refused, which is no stream
        &[1, 0, 0, 2, 1, 0],    // a feature that breaks off
        &[1, 0, 0, 3, 2, 0, 0], // an address without anything
        &[1, 0, 0xff, 0xff],    // far too long
        &[1, 0, 0x20, 0],       // longer than a stream's may be
    ];
    for (n, body) in (0..).zip(bad) {
        let id = 5 + 2 * n;
        let bytes = [frame(SYN, id, b""), frame(PSH, id, body), frame(PSH, id, b"more")].concat();
        assert_eq!(hear(&mut rig.agent, &bytes, rig.now), [], "{body:?}");
        assert_eq!(rig.agent.output(), frame(FIN, id, b""));
        rig.agent.sent(8);
    }
    let cut = [frame(SYN, 41, b""), frame(PSH, 41, &[1, 0]), frame(FIN, 41, b"")].concat();
    assert_eq!(hear(&mut rig.agent, &cut, rig.now), []);
    assert_eq!((rig.agent.counts().refused, rig.agent.living()), (7, 1));
    let told = hear(&mut rig.agent, &frame(PSH, 3, b"fine"), rig.now);
    assert_eq!(told, [Told::Data(good, b"fine".to_vec())]);
}

#[test]
fn a_header_that_does_not_come_costs_one_stream_after_ten_seconds() {
    let mut rig = rig();
    let good = opened(&mut rig, 3);
    hear(&mut rig.agent, &frame(SYN, 5, b""), rig.now);
    hear(&mut rig.agent, &[frame(SYN, 7, b""), frame(PSH, 7, &header()[..20])].concat(), rig.now);
    rig.now += Duration::from_secs(9);
    rig.agent.tick(rig.now);
    assert_eq!(rig.agent.living(), 3);
    assert!(rig.agent.poll_timeout() <= rig.now + Duration::from_secs(1));
    rig.now += Duration::from_secs(1);
    rig.agent.tick(rig.now);
    assert_eq!((rig.agent.living(), rig.agent.counts().refused), (1, 2));
    assert!(!rig.agent.is_closed() && !rig.agent.has_unread(good));
}

#[test]
fn streams_without_headers_are_bounded_and_one_with_a_header_makes_room() {
    let mut rig = rig();
    let many: Vec<u8> = (0..5000).flat_map(|n| frame(SYN, 3 + 2 * n, b"")).collect();
    assert_eq!(hear(&mut rig.agent, &many, rig.now), []);
    assert_eq!((rig.agent.living(), rig.agent.counts().refused), (4096, 904));
    let told = hear(&mut rig.agent, &frame(PSH, 3, &header()), rig.now);
    assert!(matches!(told[..], [Told::Opened(..)]));
    opened(&mut rig, 20_001);
    rig.agent.lost("over");
    rig.agent.poll_effect();
    assert_eq!(rig.agent.living(), 2, "those that were told of");
}

#[test]
fn a_number_that_is_used_again_is_another_stream() {
    let mut rig = rig();
    let first = opened(&mut rig, 3);
    // It ends both ways, and whoever has it has not let go of it.
    hear(&mut rig.agent, &frame(FIN, 3, b""), rig.now);
    rig.agent.finish(first);
    hear(&mut rig.agent, &frame(SYN, 3, b""), rig.now);
    rig.agent.forget(first);
    let told = hear(&mut rig.agent, &[frame(PSH, 3, &header()), frame(PSH, 3, b"second")].concat(), rig.now);
    let [Told::Opened(second, _), Told::Data(..)] = told[..] else { panic!("{told:?}") };
    assert_ne!(first, second);
    assert_eq!(read(&mut rig.agent, second, rig.now), b"second");
    // One that came to nothing: the time of the first is not that of the second.
    hear(&mut rig.agent, &[frame(SYN, 5, b""), frame(FIN, 5, b"")].concat(), rig.now);
    rig.now += Duration::from_secs(6);
    hear(&mut rig.agent, &frame(SYN, 5, b""), rig.now);
    rig.now += Duration::from_secs(5);
    rig.agent.tick(rig.now);
    assert_eq!(rig.agent.living(), 2);
    rig.agent.lost("over");
    rig.agent.poll_effect();
    rig.agent.forget(second);
    assert_eq!((rig.agent.living(), rig.agent.unread()), (0, 0));
}

#[test]
fn floods_of_streams_that_cannot_be_read_end_the_session() {
    let mut rig = rig();
    let bad: Vec<u8> = (0..20_000)
        .flat_map(|n| [frame(SYN, 3 + 2 * n, b""), frame(PSH, 3 + 2 * n, b"x")].concat())
        .collect();
    let told = hear(&mut rig.agent, &bad, rig.now);
    assert_eq!(told, [Told::Closed(Closed::Wrong(Wrong::Flood(Flood::Opens)))]);
    assert_eq!(rig.agent.living(), 0);
}

#[test]
fn headers_of_any_pieces_are_read() {
    let bytes = [frame(SYN, 3, b""), frame(PSH, 3, &header()[..1]), frame(PSH, 3, &header()[1..9])].concat();
    let bytes = [bytes, frame(PSH, 3, b""), frame(PSH, 3, &[&header()[9..], b"first"].concat())].concat();
    for size in [1, 2, 7, bytes.len()] {
        let mut rig = rig();
        let told: Vec<Told> =
            bytes.chunks(size).flat_map(|piece| hear(&mut rig.agent, piece, rig.now)).collect();
        let Told::Opened(key, _) = told[0] else { panic!("{told:?}") };
        assert_eq!(read(&mut rig.agent, key, rig.now), b"first");
    }
}

#[test]
fn more_than_the_window_costs_the_stream_and_nobody_else() {
    let mut rig = rig();
    let (bad, good) = (opened(&mut rig, 3), opened(&mut rig, 5));
    let piece = vec![1; 32 << 10];
    let mut left = INITIAL_WINDOW as usize - header().len();
    while left >= piece.len() {
        hear(&mut rig.agent, &frame(PSH, 3, &piece), rig.now);
        left -= piece.len();
    }
    let told = hear(&mut rig.agent, &frame(PSH, 3, &piece), rig.now);
    assert_eq!(told, [Told::Reset(bad, Code::Overrun)]);
    assert_eq!((rig.agent.unread(), rig.agent.output()), (0, &frame(FIN, 3, b"")[..]));
    assert_eq!(hear(&mut rig.agent, &frame(PSH, 3, b"x"), rig.now), []);
    assert_eq!(hear(&mut rig.agent, &frame(PSH, 5, b"x"), rig.now), [Told::Data(good, b"x".to_vec())]);
    rig.agent.forget(bad);
    assert_eq!(rig.agent.living(), 1);
}

#[test]
fn bytes_after_an_end_cost_the_stream() {
    let mut rig = rig();
    let key = opened(&mut rig, 3);
    let bytes = [frame(FIN, 3, b""), frame(FIN, 3, b""), frame(PSH, 3, b"x")].concat();
    assert_eq!(hear(&mut rig.agent, &bytes, rig.now), [Told::Ended(key), Told::Reset(key, Code::Overrun)]);
}

#[test]
fn credit_for_what_was_not_sent_costs_the_stream() {
    let mut rig = rig();
    for consumed in [25_u32, 1 << 31, u32::MAX] {
        let (ours, _) = rig.open();
        let body = [consumed.to_le_bytes(), 1_u32.to_le_bytes()];
        let told = hear(&mut rig.hub, &frame(UPD, ours.id(), body.as_flattened()), rig.now);
        assert_eq!(told, [Told::Reset(ours, Code::Overrun)], "{consumed}");
        rig.hub.forget(ours);
        rig.settle();
    }
    assert!(!rig.hub.is_closed());
}

#[test]
fn streams_that_a_client_opens_are_ended_at_once_and_many_are_a_flood() {
    let mut rig = rig();
    assert_eq!(hear(&mut rig.hub, &[frame(SYN, 2, b""), frame(PSH, 2, b"x")].concat(), rig.now), []);
    assert_eq!((rig.hub.output(), rig.hub.living()), (&frame(FIN, 2, b"")[..], 0));
    let many: Vec<u8> = (0..20_000).flat_map(|n| frame(SYN, 4 + 2 * n, b"")).collect();
    let told = hear(&mut rig.hub, &many, rig.now);
    assert_eq!(told, [Told::Closed(Closed::Wrong(Wrong::Flood(Flood::Opens)))]);
}

#[test]
fn a_server_that_opens_a_number_of_ours_or_one_twice_gets_nothing() {
    let mut rig = rig();
    let key = opened(&mut rig, 3);
    let bytes = [frame(SYN, 3, b""), frame(SYN, 4, b""), frame(SYN, 0, b""), frame(PSH, 3, b"on")].concat();
    assert_eq!(hear(&mut rig.agent, &bytes, rig.now), [Told::Data(key, b"on".to_vec())]);
    assert_eq!((rig.agent.counts().refused, rig.agent.living()), (3, 1));
}

#[test]
fn more_streams_than_are_allowed_are_ended_and_the_others_stay() {
    let mut rig = Rig::new(Kind::Bytes, Limits { streams: 2, ..Limits::default() });
    let keys = [opened(&mut rig, 3), opened(&mut rig, 5)];
    assert_eq!(hear(&mut rig.agent, &frame(SYN, 7, b""), rig.now), []);
    assert_eq!(rig.agent.output(), frame(FIN, 7, b""));
    rig.agent.forget(keys[0]);
    opened(&mut rig, 9);
}

#[test]
fn floods_of_frames_that_do_nothing_end_the_session() {
    let floods = [
        (frame(NOP, 0, b""), Flood::Pings, 200),
        (frame(FIN, 9, b""), Flood::Idle, 50_000),
        (frame(UPD, 9, &[0; 8]), Flood::Idle, 50_000),
        (frame(PSH, 9, b""), Flood::Idle, 50_000),
        (frame(UPD, 3, &[0; 8]), Flood::Idle, 50_000),
        (frame(SYN, 3, b""), Flood::Opens, 20_000),
    ];
    for (one, flood, count) in floods {
        let mut rig = rig();
        opened(&mut rig, 3);
        let told = hear(&mut rig.agent, &one.repeat(count), rig.now);
        assert_eq!(told, [Told::Closed(Closed::Wrong(Wrong::Flood(flood)))]);
    }
}

#[test]
fn answers_that_are_not_read_are_bounded() {
    let mut rig = rig();
    let mut told = Vec::new();
    for n in 0..400_000_u32 {
        // Slowly enough that it is no flood of openings.
        rig.now += Duration::from_micros(300);
        told = hear(&mut rig.hub, &frame(SYN, 2 + 2 * n, b""), rig.now);
        if !told.is_empty() {
            break;
        }
    }
    assert_eq!(told, [Told::Closed(Closed::Wrong(Wrong::Flood(Flood::Unread)))]);
    assert!(rig.hub.output().len() <= 1 << 20);
}

#[test]
fn nothing_is_heard_or_sent_once_it_is_over() {
    let mut rig = rig();
    let (ours, _) = rig.open();
    rig.hub.close(Closed::Asked);
    assert_eq!(hear(&mut rig.hub, &frame(SYN, 2, b""), rig.now), [Told::Closed(Closed::Asked)]);
    assert_eq!(rig.hub.send(ours, b"x"), Err(Code::Gone));
    assert!(rig.hub.open(&Open::default(), b"", rig.now).is_err());
    rig.hub.finish(ours);
    rig.hub.forget(ours);
    assert_eq!((rig.hub.output(), rig.hub.living()), (&b""[..], 0));
}
