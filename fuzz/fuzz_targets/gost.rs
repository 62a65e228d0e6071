//! gost's wire and a hostile other side: its beginning, its streams. No panic, bounded memory, and it owes nothing in the end.
#![no_main]

use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use mainstay_core::gost::Session;
use mainstay_core::gost::ask::{Ask, Bind};
use mainstay_core::gost::relay::{Addr, Id};
use mainstay_core::gost::smux::Limits;
use mainstay_core::gost::step::{Call, Door, answer};
use mainstay_core::time::Boot;
use mainstay_core::tunnel::{Heard, Key, Kind, Open, Side, Unread};

/// What is staged at most: answers up to their bound, and what streams may stage.
const STAGED_MAX: usize = (1 << 20) + (192 << 10);

/// Unread bytes at most: the bucket, and what one read brings beyond it.
const UNREAD_MAX: u64 = (256 << 10) + (64 << 10);

fuzz_target!(|input: &[u8]| {
    let Some((&mode, bytes)) = input.split_first() else { return };
    match mode & 3 {
        0 => begin(bytes),
        1 => session(Side::Hub, mode, bytes),
        _ => session(Side::Agent, mode, bytes),
    }
});

/// What a request says is said again in the same way.
fn begin(bytes: &[u8]) {
    let now = Boot::from_nanos(1);
    let mut input = bytes;
    match Door::new(now).receive(&mut input) {
        Ok(Some((ask, _))) => {
            let again = ask.message().bytes();
            let mut rest = &again[..];
            let said = Door::new(now).receive(&mut rest).expect("what we write can be read");
            let same = |said: &Ask| match (said, &ask) {
                (Ask::Bind(a), Ask::Bind(b)) => {
                    (a.tunnel, a.kind, &a.wanted) == (b.tunnel, b.kind, &b.wanted)
                }
                (Ask::Connect(a), Ask::Connect(b)) => {
                    (a.tunnel, a.kind, &a.target) == (b.tunnel, b.kind, &b.target)
                }
                (Ask::Bind(_), Ask::Connect(_)) | (Ask::Connect(_), Ask::Bind(_)) => false,
            };
            assert!(said.is_some_and(|(said, skipped)| skipped == 0 && same(&said)));
        }
        Ok(None) => assert!(input.is_empty(), "a request that is not whole leaves nothing"),
        Err(failed) => drop(answer(failed)),
    }
    let bind =
        Bind { tunnel: Id::default(), kind: Kind::Bytes, source: None, wanted: Addr::NONE, login: None };
    let _ = Call::bind(bind, now).receive(&mut &bytes[..]);
}

fn session(side: Side, mode: u8, bytes: &[u8]) {
    let limits =
        Limits { bucket: 256 << 10, window: 64 << 10, frame: 4096, streams: 300, ..Limits::default() };
    let kind = if mode & 4 == 0 { Kind::Bytes } else { Kind::Datagrams };
    let mut now = Boot::from_nanos(1);
    let mut session = Session::new(side, kind, limits, b"", now);
    let mut keys: Vec<Key> = Vec::new();
    if side == Side::Hub {
        let opened = (0..3).filter_map(|_| session.open(&Open::default(), b"first", now).ok());
        keys.extend(opened.map(|(key, _)| key));
    }
    for chunk in bytes.chunks(usize::from(mode >> 4) * 37 + 1) {
        now += Duration::from_micros(200);
        if session.is_full() {
            // Whoever drives it reads no more until somebody has read.
            keys.iter().for_each(|key| read(&mut session, *key, now));
        }
        hear(&mut session, chunk, &mut keys, mode & 8 == 0, now);
        session.tick(now);
        for key in &keys {
            let _ = session.send(*key, &[7; 3000]);
            let _ = session.send_datagram(*key, &[7; 30]);
        }
        while session.poll_effect().is_some() {}
        assert!(session.output().len() <= STAGED_MAX, "{} bytes are staged", session.output().len());
        assert!(session.unread() <= UNREAD_MAX, "{} bytes are unread", session.unread());
        if mode & 8 == 0 {
            session.sent(session.output().len());
        }
    }
    session.lost("over");
    while session.poll_effect().is_some() {}
    keys.drain(..).for_each(|key| session.forget(key));
    assert_eq!((session.living(), session.unread()), (0, 0), "a lost session has no streams");
}

fn hear(session: &mut Session, mut input: &[u8], keys: &mut Vec<Key>, eager: bool, now: Boot) {
    while let Some(heard) = session.receive(&mut input, now) {
        match heard {
            Heard::Opened(key, _) => keys.push(key),
            Heard::Data(key, bytes) => session.deliver(key, bytes, if eager { bytes.len() } else { 0 }, now),
            Heard::Datagram(key, bytes) => {
                let len = bytes.len();
                session.deliver_datagram(key, len, (!eager).then_some(bytes), now);
            }
            Heard::Ended(key) => {
                read(session, key, now);
                session.finish(key);
            }
            Heard::Reset(key, _) => {
                keys.retain(|kept| *kept != key);
                session.forget(key);
            }
            Heard::Left | Heard::News => unreachable!("smux has no such word"),
        }
    }
}

fn read(session: &mut Session, key: Key, now: Boot) {
    if session.kind() == Kind::Datagrams {
        while session.take_datagram(key, now).is_some() {}
        return;
    }
    while let Ok(Unread::Bytes(bytes)) = session.unread_of(key) {
        let count = bytes.len();
        session.consume(key, count, now);
    }
}
