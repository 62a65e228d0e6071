//! What breaks the protocol, floods or overruns: named, and no dearer than it must be.

use super::rig::{Rig, SMALL, Told, fill, hear, read};
use crate::time::Boot;
use crate::tunnel::frame::{self, Header};
use crate::tunnel::{Closed, Code, Flood, Mux, Open, Side, Wrong};

fn frame(id: u32, kind: u8, flags: u8, body: &[u8]) -> Vec<u8> {
    let mut bytes = Header { id, len: body.len() as u16, kind, flags }.bytes().to_vec();
    bytes.extend_from_slice(body);
    bytes
}

/// How an agent takes these frames from its hub.
fn fate(frames: &[Vec<u8>]) -> Option<Closed> {
    let mut rig = Rig::new(SMALL);
    hear(&mut rig.agent, &frames.concat(), rig.now).into_iter().find_map(|told| match told {
        Told::Closed(why) => Some(why),
        _ => None,
    })
}

#[test]
fn each_way_to_break_the_protocol_has_a_name() {
    let cases: [(Vec<u8>, Wrong); 12] = [
        (frame(0, frame::LIMITS, 0, &[]), Wrong::Limits),
        (frame(0, frame::OPEN, 0, &[0; 2]), Wrong::Misplaced(frame::OPEN)),
        (frame(0, frame::DATA, 0, &[1]), Wrong::Misplaced(frame::DATA)),
        (frame(2, frame::PING, 0, &[0; 8]), Wrong::Misplaced(frame::PING)),
        (frame(0, frame::PING, 0, &[0; 7]), Wrong::Length(frame::PING)),
        (frame(0, frame::PING, 0, &[0; 5000]), Wrong::Length(frame::PING)),
        (frame(2, frame::OPEN, 0, &[0]), Wrong::Length(frame::OPEN)),
        (frame(2, frame::OPEN, 0, &[0, 9, 1]), Wrong::Length(frame::OPEN)),
        (frame(4, frame::OPEN, 0, &[0; 2]), Wrong::Order(4)),
        (frame(1, frame::OPEN, 0, &[0; 2]), Wrong::Order(1)),
        (frame(2, frame::DATA, 0, &[1]), Wrong::Unopened(2)),
        (frame(1, frame::CREDIT, 0, &[0; 8]), Wrong::Unopened(1)),
    ];
    for (bytes, wrong) in cases {
        assert_eq!(fate(&[bytes]), Some(Closed::Wrong(wrong)), "{wrong}");
    }
}

#[test]
fn limits_come_before_everything_else() {
    let now = Boot::from_nanos(1);
    let mut agent = Mux::new(Side::Agent, SMALL, now);
    let told = hear(&mut agent, &frame(0, frame::PING, 0, &[0; 8]), now);
    assert_eq!(told, [Told::Closed(Closed::Wrong(Wrong::Limits))]);
}

#[test]
fn the_other_side_is_told_what_it_did() {
    let mut rig = Rig::new(SMALL);
    hear(&mut rig.agent, &frame(2, frame::DATA, 0, &[1]), rig.now);
    let why = "a frame is for stream 2, which was never opened";
    assert_eq!(rig.settle().0, [Told::Closed(Closed::Told(why.to_owned()))]);
}

#[test]
fn an_opening_that_cannot_be_read_costs_one_stream() {
    let mut rig = Rig::new(SMALL);
    let bad: [&[u8]; 4] = [
        &[0, 2, 1, 0],                   // a field that breaks off
        &[0, 4, 1, 0, 1, 7],             // a control character
        &[0, 6, 2, 0, 3, 1, 2, 3],       // an address of three bytes
        &[0, 4, 4, 0, 1, 0xff, b'f', 1], // no UTF-8, then first bytes
    ];
    for (n, body) in (0..).zip(bad) {
        let id = 2 + 2 * n;
        assert_eq!(hear(&mut rig.agent, &frame(id, frame::OPEN, 0, body), rig.now), []);
        assert_eq!(rig.agent.output(), frame(id, frame::RESET, 0, &Code::Malformed.number().to_be_bytes()));
        rig.agent.sent(rig.agent.output().len());
    }
    assert_eq!((rig.agent.counts().refused, rig.agent.living()), (4, 0));
}

#[test]
fn more_than_the_credit_costs_the_stream_and_nobody_else() {
    let mut rig = Rig::new(SMALL);
    let (_, theirs) = rig.open();
    let (other, others) = rig.open();
    let mut told = Vec::new();
    for _ in 0..3 {
        told.extend(hear(&mut rig.agent, &frame(theirs.id(), frame::DATA, 0, &[1; 8000]), rig.now));
    }
    assert_eq!(told.last(), Some(&Told::Reset(theirs, Code::Overrun)));
    rig.hub.send(other, b"still here").unwrap();
    rig.settle();
    assert_eq!(read(&mut rig.agent, others, rig.now), b"still here");
    let after = rig.agent.counts().late;
    hear(&mut rig.agent, &frame(theirs.id(), frame::DATA, 0, &[1; 8000]), rig.now);
    assert_eq!(rig.agent.counts().late, after + 1);
}

#[test]
fn data_after_the_end_and_credit_for_what_was_not_sent_cost_the_stream() {
    let mut rig = Rig::new(SMALL);
    let (_, theirs) = rig.open();
    hear(&mut rig.agent, &frame(theirs.id(), frame::DATA, frame::FIN, b"end"), rig.now);
    let told = hear(&mut rig.agent, &frame(theirs.id(), frame::DATA, 0, b"more"), rig.now);
    assert_eq!(told, [Told::Reset(theirs, Code::Overrun)]);
    let (_, theirs) = Rig::open(&mut Rig::new(SMALL));
    let mut rig = Rig::new(SMALL);
    rig.open();
    let told =
        hear(&mut rig.agent, &frame(theirs.id(), frame::CREDIT, 0, &[0, 0, 0, 1, 0, 0, 0, 0]), rig.now);
    assert_eq!(told, [Told::Reset(theirs, Code::Overrun)]);
}

#[test]
fn more_than_the_budget_ends_the_session() {
    let mut rig = Rig::new(SMALL);
    let streams: Vec<_> = (0..20).map(|_| rig.open().1).collect();
    let frames: Vec<Vec<u8>> =
        streams.iter().map(|key| frame(key.id(), frame::DATA, 0, &[1; 16_000])).collect();
    let told = hear(&mut rig.agent, &frames.concat(), rig.now);
    assert_eq!(told.last(), Some(&Told::Closed(Closed::Wrong(Wrong::Budget))));
}

#[test]
fn a_side_that_keeps_the_rules_never_overruns_the_budget() {
    let mut rig = Rig::new(SMALL);
    for _ in 0..30 {
        let (ours, _) = rig.open();
        fill(&mut rig.hub, ours);
        rig.settle();
    }
    assert!(!rig.agent.is_closed());
    assert!(rig.agent.unread() > 200 << 10 && rig.agent.unread() <= (64 << 10) + 30 * (8 << 10));
}

#[test]
fn floods_are_named() {
    let pings: Vec<_> = (0..200_u64).map(|n| frame(0, frame::PING, 0, &n.to_be_bytes())).collect();
    assert_eq!(fate(&pings), Some(Closed::Wrong(Wrong::Flood(Flood::Pings))));
    // Whoever serves lets go of each stream as soon as it is reset.
    let mut rig = Rig::new(SMALL);
    let mut told = Vec::new();
    for n in 0..60_000 {
        if rig.agent.is_closed() {
            break;
        }
        told = hear(&mut rig.agent, &frame(2 + 2 * n, frame::OPEN, 0, &[0, 0]), rig.now);
        let [Told::Opened(key, _)] = told[..] else { panic!("{told:?}") };
        told = hear(&mut rig.agent, &frame(2 + 2 * n, frame::RESET, 0, &[0, 1]), rig.now);
        rig.agent.forget(key);
    }
    assert!(told.contains(&Told::Closed(Closed::Wrong(Wrong::Flood(Flood::Resets)))), "{told:?}");
    let opens: Vec<_> = (0..60_000).map(|n| frame(2 + 2 * n, frame::OPEN, 0, &[0, 0])).collect();
    assert_eq!(fate(&opens), Some(Closed::Wrong(Wrong::Flood(Flood::Opens))));
    let empty: Vec<_> = (0..60_000).map(|_| frame(0, 77, 0, &[])).collect();
    assert_eq!(fate(&empty), Some(Closed::Wrong(Wrong::Flood(Flood::Idle))));
}

#[test]
fn streams_beyond_the_limit_are_refused_one_by_one() {
    let mut rig = Rig::new(SMALL);
    let opened: Vec<_> = (0..256).map(|_| rig.open()).collect();
    assert_eq!(rig.hub.open(&Open::default(), b"", rig.now), Err(crate::tunnel::Refused::Full));
    rig.hub.forget(opened[0].0);
    rig.settle();
    // The agent's own holder has not let go of it yet.
    rig.hub.open(&Open::default(), b"", rig.now).unwrap();
    let told = rig.settle().0;
    assert!(matches!(told[..], [Told::Reset(_, Code::Refused)]), "{told:?}");
    assert!(!rig.agent.is_closed());
}
