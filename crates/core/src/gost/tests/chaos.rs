//! Two sides at random: bytes cut anywhere, late, in bursts; slow readers, small buckets, streams given up. What is read is
//! what was sent, nothing stands still, and nothing is left behind.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use super::rig::Dice;
use crate::gost::Session;
use crate::gost::smux::Limits;
use crate::time::Boot;
use crate::tunnel::{Effect, Heard, Key, Kind, Open, Side, Unread};

/// What one side does with one stream.
#[derive(Debug, Default)]
struct Talk {
    to_send: u64,
    sent: u64,
    received: u64,
    finished: bool,
    ended: bool,
    /// The other side may have given it up, which looks like its end.
    lossy: bool,
}

/// The byte that stands at a place of what a side sends over a stream.
fn byte(side: usize, id: u32, at: u64) -> u8 {
    (at.wrapping_mul(31) ^ (at >> 8) ^ u64::from(id) ^ (side as u64 * 101)) as u8
}

/// How much a side sends over a stream, which the other knows.
fn length(side: usize, id: u32) -> u64 {
    match id % 7 {
        0 => 300_000,
        1 | 2 => 60_000 + side as u64,
        _ => u64::from(id) * 13,
    }
}

/// Bytes on their way, and when they arrive.
type Wire = VecDeque<(Boot, Vec<u8>)>;

struct World {
    dice: Dice,
    sides: [Session; 2],
    talks: [HashMap<Key, Talk>; 2],
    /// Towards each side.
    wires: [Wire; 2],
    given_up: Vec<u32>,
    now: Boot,
    opened: u32,
    done: u32,
}

impl World {
    fn new(seed: u64, limits: Limits) -> Self {
        let now = Boot::from_nanos(5);
        let side = |side| Session::new(side, Kind::Bytes, limits, b"", now);
        Self {
            dice: Dice(seed),
            sides: [side(Side::Hub), side(Side::Agent)],
            talks: Default::default(),
            wires: Default::default(),
            given_up: Vec::new(),
            now,
            opened: 0,
            done: 0,
        }
    }

    fn step(&mut self, opens: bool) {
        let side = self.dice.roll(2) as usize;
        match self.dice.roll(12) {
            0 if opens => self.open(),
            1..=3 => self.write(side),
            4..=6 => self.arrive(side),
            7..=8 => self.read(side),
            9 if opens && self.dice.one_in(60) => self.give_up(side),
            _ => {
                self.now += Duration::from_micros(self.dice.roll(300));
                self.sides.iter_mut().for_each(|session| session.tick(self.now));
                self.flush(side);
            }
        }
        for session in &mut self.sides {
            while let Some(effect) = session.poll_effect() {
                assert!(matches!(effect, Effect::Writable(_)), "{effect:?}");
            }
            assert!(session.unread() <= (512 << 10) + (128 << 10), "{}", session.unread());
        }
    }

    fn open(&mut self) {
        if self.opened >= 60 {
            return;
        }
        let id = 3 + 2 * self.opened;
        let to_send = length(0, id);
        let first: Vec<u8> = (0..to_send.min(500)).map(|at| byte(0, id, at)).collect();
        let open = Open { visitor: Some("192.0.2.1:9".parse().unwrap()), ..Open::default() };
        let (key, count) = self.sides[0].open(&open, &first, self.now).unwrap();
        assert_eq!(key.id(), id);
        self.opened += 1;
        self.talks[0].insert(key, Talk { to_send, sent: count as u64, ..Talk::default() });
    }

    fn some_key(&mut self, side: usize) -> Option<Key> {
        let mut keys: Vec<Key> = self.talks[side].keys().copied().collect();
        keys.sort_by_key(|key| key.id());
        (!keys.is_empty()).then(|| keys[self.dice.roll(keys.len() as u64) as usize])
    }

    fn write(&mut self, side: usize) {
        let Some(key) = self.some_key(side) else { return };
        let talk = self.talks[side].get_mut(&key).unwrap();
        if talk.finished {
            return;
        }
        let want = (talk.to_send - talk.sent).min(1 + self.dice.roll(40_000));
        match self.sides[side].room(key) {
            Ok(room) => {
                let count = (want as usize).min(room);
                let lent = self.sides[side].lend(count);
                (talk.sent..).zip(lent).for_each(|(at, to)| *to = byte(side, key.id(), at));
                self.sides[side].commit(key, count);
                talk.sent += count as u64;
            }
            Err(code) => {
                assert!(self.given_up.contains(&key.id()), "{code:?}");
                (talk.finished, talk.lossy) = (true, true);
            }
        }
        if talk.sent == talk.to_send && !talk.finished {
            self.sides[side].finish(key);
            talk.finished = true;
        }
        self.close(side, key);
    }

    /// What is staged goes onto the wire, in part, and takes its time there; order is kept.
    fn flush(&mut self, side: usize) {
        let delay = Duration::from_micros(self.dice.roll(4_000));
        let count = (self.dice.roll(90_000) as usize).min(self.sides[side].output().len());
        let bytes = self.sides[side].output()[..count].to_vec();
        self.sides[side].sent(count);
        self.sides[side].turn();
        let after = self.wires[1 - side].back().map_or(Boot::ZERO, |(at, _)| *at);
        if count > 0 {
            self.wires[1 - side].push_back(((self.now + delay).max(after), bytes));
        }
    }

    fn arrive(&mut self, side: usize) {
        let due = self.wires[side].front().is_some_and(|(at, _)| *at <= self.now);
        if !due || self.sides[side].is_full() {
            return;
        }
        let (at, mut bytes) = self.wires[side].pop_front().unwrap();
        let rest = bytes.split_off((1 + self.dice.roll(bytes.len() as u64)) as usize);
        if !rest.is_empty() {
            self.wires[side].push_front((at, rest));
        }
        let mut input = &bytes[..];
        while let Some(heard) = self.sides[side].receive(&mut input, self.now) {
            match heard {
                Heard::Opened(key, open) => {
                    assert_eq!(open.visitor, Some("192.0.2.1:9".parse().unwrap()));
                    let to_send = length(side, key.id());
                    self.talks[side].insert(key, Talk { to_send, ..Talk::default() });
                }
                Heard::Data(key, bytes) => {
                    let talk = self.talks[side].get_mut(&key).expect("data of a stream that is known");
                    let eager = key.id() % 3 != 0 && !self.sides[side].has_unread(key);
                    let taken = if eager { self.dice.roll(bytes.len() as u64 + 1) as usize } else { 0 };
                    talk.check(side, key, &bytes[..taken]);
                    self.sides[side].deliver(key, bytes, taken, self.now);
                }
                Heard::Ended(_) => {}
                other => panic!("{other:?}"),
            }
        }
        assert!(input.is_empty());
    }

    fn read(&mut self, side: usize) {
        let Some(key) = self.some_key(side) else { return };
        let talk = self.talks[side].get_mut(&key).unwrap();
        match self.sides[side].unread_of(key) {
            Ok(Unread::Bytes(bytes)) => {
                let count = 1 + self.dice.roll(bytes.len() as u64) as usize;
                talk.check(side, key, &bytes[..count]);
                self.sides[side].consume(key, count, self.now);
            }
            Ok(Unread::End) => talk.ended = true,
            Ok(Unread::Nothing) => {}
            Err(_) => (talk.ended, talk.lossy) = (true, true),
        }
        self.close(side, key);
    }

    /// Lets go of a stream that was read and written to its ends.
    fn close(&mut self, side: usize, key: Key) {
        let talk = &self.talks[side][&key];
        if !talk.ended || !talk.finished {
            return;
        }
        if !self.given_up.contains(&key.id()) {
            assert_eq!(talk.received, length(1 - side, key.id()), "stream {} is whole", key.id());
            self.done += 1;
        }
        self.talks[side].remove(&key);
        self.sides[side].forget(key);
    }

    fn give_up(&mut self, side: usize) {
        if let Some(key) = self.some_key(side) {
            self.given_up.push(key.id());
            self.talks[side].remove(&key);
            self.sides[side].forget(key);
        }
    }
}

impl Talk {
    fn check(&mut self, side: usize, key: Key, bytes: &[u8]) {
        for got in bytes {
            assert_eq!(*got, byte(1 - side, key.id(), self.received), "stream {}", key.id());
            self.received += 1;
        }
    }
}

fn small() -> Limits {
    Limits { window: 128 << 10, bucket: 512 << 10, frame: 5_000, ..Limits::default() }
}

#[test]
fn no_byte_is_lost_or_doubled_and_nothing_stands_still() {
    for seed in 0..10 {
        let mut world = World::new(seed, small());
        for _ in 0..6_000 {
            world.step(true);
        }
        let mut steps = 0;
        while world.talks.iter().any(|talks| !talks.is_empty())
            || world.sides.iter().any(|session| session.living() > 0)
        {
            world.step(false);
            steps += 1;
            assert!(steps < 2_000_000, "seed {seed} stands still: {:?}", world.talks);
        }
        assert!(world.done > 40, "seed {seed}: {} ends of streams", world.done);
        for session in &world.sides {
            assert_eq!(
                (session.living(), session.unread(), session.is_closed()),
                (0, 0, false),
                "seed {seed}"
            );
        }
    }
}

/// What is left of a session whose carrier is cut anywhere owes nothing.
#[test]
fn a_carrier_that_is_cut_anywhere_leaves_nothing_behind() {
    for seed in 0..40 {
        let mut world = World::new(seed, small());
        for _ in 0..200 + seed * 30 {
            world.step(true);
        }
        for side in 0..2 {
            let session = &mut world.sides[side];
            session.lost("cut");
            assert!(matches!(session.poll_effect(), Some(Effect::Closed(_))));
            for key in world.talks[side].keys() {
                session.forget(*key);
            }
            assert_eq!((session.living(), session.unread()), (0, 0), "seed {seed}");
        }
    }
}
