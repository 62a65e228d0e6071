//! Noise: frames that are right but for a byte here and there, in any order. No panic, bounded memory, nothing owed in the end.

use std::time::Duration;

use super::rig::{Dice, hex};
use crate::gost::Session;
use crate::gost::ask::{Ask, Bind};
use crate::gost::relay::{Addr, Id, Login};
use crate::gost::smux::{FIN, Header, Limits, NOP, PSH, SYN, UPD};
use crate::gost::step::{Call, Door};
use crate::time::Boot;
use crate::tunnel::{Heard, Key, Kind, Open, Side, Unread};

const LIMITS: Limits = Limits {
    window: 64 << 10,
    bucket: 512 << 10,
    frame: 4096,
    streams: 300,
    own: 300,
    ping: Duration::from_secs(10),
    silence: Duration::from_secs(30),
};

/// Some frame, mostly for a stream that is there.
fn frame(dice: &mut Dice, out: &mut Vec<u8>) {
    let id = match dice.roll(20) {
        0 => dice.roll(1 << 32) as u32,
        _ => 3 + dice.roll(12) as u32,
    };
    let body = match dice.roll(6) {
        0 => (SYN, vec![]),
        1 => (FIN, vec![]),
        2 => (PSH, hex("01 00 0014 02 0007 01 00000000 0000 02 0007 01 00000000 0000")),
        3 => (PSH, vec![0; dice.roll(9_000) as usize]),
        4 => (NOP, vec![]),
        _ => (
            UPD,
            [(dice.roll(40_000) as u32).to_le_bytes(), (dice.roll(70_000) as u32).to_le_bytes()].concat(),
        ),
    };
    let begun = out.len();
    out.extend(Header { kind: body.0, len: body.1.len() as u16, id }.bytes());
    out.extend(body.1);
    if dice.one_in(300) {
        let at = begun + dice.roll((out.len() - begun) as u64) as usize;
        out[at] = dice.roll(256) as u8;
    }
}

fn play(seed: u64) -> u64 {
    let mut dice = Dice(seed);
    let kind = if dice.one_in(2) { Kind::Bytes } else { Kind::Datagrams };
    let side = if dice.one_in(2) { Side::Hub } else { Side::Agent };
    let mut now = Boot::from_nanos(1);
    let mut session = Session::new(side, kind, LIMITS, b"", now);
    let mut keys: Vec<Key> = Vec::new();
    for _ in 0..400 {
        if side == Side::Hub && dice.one_in(4) {
            keys.extend(session.open(&Open::default(), b"first", now).map(|(key, _)| key));
        }
        let mut bytes = Vec::new();
        frame(&mut dice, &mut bytes);
        now += Duration::from_micros(dice.roll(20_000));
        let cut = dice.roll(bytes.len() as u64 + 1) as usize;
        for piece in [&bytes[..cut], &bytes[cut..]] {
            hear(&mut session, piece, &mut keys, &mut dice, now);
        }
        session.tick(now);
        for key in &keys {
            let _ = session.send(*key, &[7; 3000]);
            let _ = session.send_datagram(*key, &[7; 30]);
        }
        while session.poll_effect().is_some() {}
        assert!(session.output().len() <= (1 << 20) + (192 << 10), "seed {seed}");
        assert!(session.unread() <= (512 << 10) + (64 << 10), "seed {seed}: {}", session.unread());
        if dice.one_in(2) {
            session.sent(session.output().len());
        }
    }
    let heard = session.counts().bytes_received;
    session.lost("over");
    while session.poll_effect().is_some() {}
    keys.drain(..).for_each(|key| session.forget(key));
    assert_eq!((session.living(), session.unread()), (0, 0), "seed {seed}");
    heard
}

fn hear(session: &mut Session, mut input: &[u8], keys: &mut Vec<Key>, dice: &mut Dice, now: Boot) {
    if session.is_full() {
        assert_eq!(session.kind(), Kind::Bytes, "datagrams are lost instead");
        for key in keys.iter() {
            while let Ok(Unread::Bytes(bytes)) = session.unread_of(*key) {
                let count = bytes.len();
                session.consume(*key, count, now);
            }
        }
    }
    while let Some(heard) = session.receive(&mut input, now) {
        match heard {
            Heard::Opened(key, _) => keys.push(key),
            Heard::Data(key, bytes) => {
                let taken = if session.has_unread(key) { 0 } else { dice.roll(bytes.len() as u64 + 1) };
                session.deliver(key, bytes, taken as usize, now);
            }
            Heard::Datagram(key, bytes) => {
                let len = bytes.len();
                session.deliver_datagram(key, len, dice.one_in(2).then_some(bytes), now);
            }
            Heard::Ended(key) => session.finish(key),
            Heard::Reset(key, _) => {
                keys.retain(|kept| *kept != key);
                session.forget(key);
            }
            Heard::Left | Heard::News => panic!("smux has no such word"),
        }
    }
}

#[test]
fn a_session_takes_any_noise() {
    let heard: u64 = (0..600).map(play).sum();
    assert!(heard > 10 << 20, "{heard} bytes were heard: the noise was too loud");
}

#[test]
fn a_beginning_takes_any_noise_and_what_it_takes_it_says_again() {
    let mut dice = Dice(7);
    let bind = Bind {
        tunnel: Id { weight: 3, .."381433e1-7980-11ee-bbdb-60f262c1e32d".parse().unwrap() },
        kind: Kind::Datagrams,
        source: Some(Addr::new("::1", 1)),
        wanted: Addr::new("dash.example", 80),
        login: Some(Login { user: "ada".into(), password: "pw".into() }),
    };
    let right = Ask::Bind(bind).message().bytes();
    let now = Boot::from_nanos(1);
    let mut taken = 0;
    for _ in 0..20_000 {
        let mut bytes = right.clone();
        for _ in 0..=dice.roll(2) {
            let at = dice.roll(bytes.len() as u64) as usize;
            bytes[at] = dice.roll(256) as u8;
        }
        let mut input = &bytes[..];
        let _ = Call::bind(Bind { ..said(&right) }, now).receive(&mut &bytes[..]);
        if let Ok(Some((ask, _))) = Door::new(now).receive(&mut input) {
            taken += 1;
            let again = ask.message().bytes();
            let (heard, skipped) = Door::new(now).receive(&mut &again[..]).unwrap().unwrap();
            assert_eq!((&heard.message().bytes(), skipped), (&again, 0));
        }
    }
    assert!((1_000..20_000).contains(&taken), "{taken}");
}

fn said(bytes: &[u8]) -> Bind {
    match Door::new(Boot::from_nanos(1)).receive(&mut &bytes[..]) {
        Ok(Some((Ask::Bind(bind), _))) => bind,
        other => panic!("{other:?}"),
    }
}
