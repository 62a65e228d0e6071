//! Two sides at random: bytes cut anywhere, slow readers, little budget, resets; nothing is lost, doubled or out of order.

use std::collections::HashMap;
use std::time::Duration;

use super::rig::SMALL;
use crate::time::Boot;
use crate::tunnel::{Effect, Heard, Key, Limits, Mux, Open, Side, Unread};

/// Numbers from a seed (splitmix64).
struct Dice(u64);

impl Dice {
    fn roll(&mut self, below: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % below
    }

    fn one_in(&mut self, n: u64) -> bool {
        self.roll(n) == 0
    }
}

/// What one side does with one stream.
#[derive(Debug)]
struct Talk {
    to_send: u64,
    sent: u64,
    received: u64,
    finished: bool,
    ended: bool,
    reset: bool,
    /// Takes what comes at once, or reads now and then.
    eager: bool,
}

/// The byte that stands at a place of what a side sends over a stream.
fn byte(side: usize, id: u32, at: u64) -> u8 {
    (at.wrapping_mul(31) ^ (at >> 8) ^ u64::from(id) ^ (side as u64 * 101)) as u8
}

struct World {
    dice: Dice,
    sides: [Mux; 2],
    talks: [HashMap<Key, Talk>; 2],
    /// What was sent and has not arrived, towards each side.
    wires: [Vec<u8>; 2],
    now: Boot,
    opened: u64,
    total: [u64; 2],
}

impl World {
    fn new(seed: u64, limits: Limits) -> Self {
        let now = Boot::from_nanos(5);
        let sides = [Mux::new(Side::Hub, limits, now), Mux::new(Side::Agent, limits, now)];
        let (talks, wires) = (Default::default(), Default::default());
        Self { dice: Dice(seed), sides, talks, wires, now, opened: 0, total: [0; 2] }
    }

    fn talk(&mut self) -> Talk {
        let most = if self.dice.one_in(4) { 200_000 } else { 3_000 };
        Talk {
            to_send: self.dice.roll(most),
            sent: 0,
            received: 0,
            finished: false,
            ended: false,
            reset: false,
            eager: self.dice.one_in(2),
        }
    }

    fn step(&mut self) {
        let side = self.dice.roll(2) as usize;
        match self.dice.roll(12) {
            0 => self.open(side),
            1..=3 => self.write(side),
            4..=6 => self.arrive(side),
            7..=8 => self.read(side),
            9 => self.flush(side),
            10 if self.dice.one_in(40) => self.give_up(side),
            _ => {
                self.now += Duration::from_micros(self.dice.roll(3_000));
                self.sides.iter_mut().for_each(|mux| mux.tick(self.now));
                self.flush(side);
            }
        }
        self.check(side);
    }

    fn open(&mut self, side: usize) {
        if self.opened >= 60 {
            return;
        }
        let mut talk = self.talk();
        let id_guess = self.sides[side].next_own;
        let first: Vec<u8> = (0..talk.to_send.min(500)).map(|at| byte(side, id_guess, at)).collect();
        if let Ok((key, count)) = self.sides[side].open(&Open::default(), &first, self.now) {
            assert_eq!(key.id(), id_guess);
            talk.sent = count as u64;
            self.opened += 1;
            self.talks[side].insert(key, talk);
        }
    }

    fn some_key(&mut self, side: usize) -> Option<Key> {
        let mut keys: Vec<Key> = self.talks[side].keys().copied().collect();
        keys.sort_by_key(|key| key.id());
        (!keys.is_empty()).then(|| keys[self.dice.roll(keys.len() as u64) as usize])
    }

    fn write(&mut self, side: usize) {
        let Some(key) = self.some_key(side) else { return };
        let talk = self.talks[side].get_mut(&key).unwrap();
        if talk.finished || talk.reset {
            return;
        }
        let want = (talk.to_send - talk.sent).min(1 + self.dice.roll(40_000));
        let bytes: Vec<u8> = (talk.sent..talk.sent + want).map(|at| byte(side, key.id(), at)).collect();
        match self.sides[side].send(key, &bytes) {
            Ok(count) => talk.sent += count as u64,
            Err(_) => talk.reset = true,
        }
        if talk.sent == talk.to_send && !talk.reset {
            self.sides[side].finish(key);
            talk.finished = true;
        }
        self.close(side, key);
    }

    fn flush(&mut self, side: usize) {
        let mux = &mut self.sides[side];
        let count = (self.dice.roll(90_000) as usize).min(mux.output().len());
        let bytes = mux.output()[..count].to_vec();
        mux.sent(count);
        mux.turn();
        self.wires[1 - side].extend(bytes);
    }

    fn arrive(&mut self, side: usize) {
        let most = if self.dice.one_in(3) { 30 } else { 60_000 };
        let count = 1 + self.dice.roll(most) as usize;
        let count = count.min(self.wires[side].len());
        let bytes: Vec<u8> = self.wires[side].drain(..count).collect();
        let mut input = &bytes[..];
        while let Some(heard) = self.sides[side].receive(&mut input, self.now) {
            match heard {
                Heard::Opened(key, _) => {
                    let talk = Talk {
                        eager: key.id() % 3 != 0,
                        to_send: u64::from(key.id()) * 77,
                        ..self.dice_free()
                    };
                    self.talks[side].insert(key, talk);
                }
                Heard::Data(key, bytes) => {
                    let Some(talk) = self.talks[side].get_mut(&key) else { panic!("data for nobody") };
                    let taken = match talk.eager && !self.sides[side].has_unread(key) {
                        true => self.dice.roll(bytes.len() as u64 + 1) as usize,
                        false => 0,
                    };
                    for got in &bytes[..taken] {
                        assert_eq!(*got, byte(1 - side, key.id(), talk.received), "stream {}", key.id());
                        talk.received += 1;
                    }
                    self.total[side] += taken as u64;
                    self.sides[side].deliver(key, bytes, taken, self.now);
                }
                Heard::Datagram(..) => panic!("no datagrams here"),
                Heard::Ended(_) | Heard::Left | Heard::News => {}
                Heard::Reset(key, _) => {
                    self.talks[side].get_mut(&key).expect("a stream that we know").reset = true;
                    let ended = matches!(self.sides[side].unread_of(key), Ok(Unread::Bytes(_)));
                    if !ended {
                        self.drop_stream(side, key);
                    }
                }
            }
        }
        assert!(input.is_empty() || self.sides[side].is_closed());
    }

    fn dice_free(&self) -> Talk {
        Talk { to_send: 0, sent: 0, received: 0, finished: false, ended: false, reset: false, eager: false }
    }

    fn read(&mut self, side: usize) {
        let Some(key) = self.some_key(side) else { return };
        let talk = self.talks[side].get_mut(&key).unwrap();
        match self.sides[side].unread_of(key) {
            Ok(Unread::Bytes(bytes)) => {
                let count = 1 + self.dice.roll(bytes.len() as u64) as usize;
                for got in &bytes[..count] {
                    assert_eq!(*got, byte(1 - side, key.id(), talk.received), "stream {}", key.id());
                    talk.received += 1;
                }
                self.total[side] += count as u64;
                self.sides[side].consume(key, count, self.now);
            }
            Ok(Unread::End) => talk.ended = true,
            Ok(Unread::Nothing) => {}
            Err(_) => talk.reset = true,
        }
        self.close(side, key);
    }

    /// Lets go of a stream that was read and written to its ends.
    fn close(&mut self, side: usize, key: Key) {
        let talk = &self.talks[side][&key];
        if talk.ended && (talk.finished || talk.reset) {
            self.drop_stream(side, key);
        }
    }

    fn give_up(&mut self, side: usize) {
        if let Some(key) = self.some_key(side) {
            self.drop_stream(side, key);
        }
    }

    fn drop_stream(&mut self, side: usize, key: Key) {
        self.talks[side].remove(&key);
        self.sides[side].forget(key);
    }

    fn check(&mut self, side: usize) {
        let mux = &mut self.sides[side];
        while let Some(effect) = mux.poll_effect() {
            assert!(matches!(effect, Effect::Writable(_)), "{effect:?}");
        }
        assert!(!mux.is_closed());
        assert!(mux.unread <= mux.limits.memory_max(), "{} bytes unread", mux.unread);
        assert!(mux.spent <= u64::from(mux.granted.budget), "the other side's budget is overrun");
        assert!(mux.held <= u64::from(mux.limits.budget), "ours is");
    }

    /// Everything that was begun is brought to its end.
    fn finish(&mut self) {
        for round in 0..200_000 {
            if self.talks.iter().all(HashMap::is_empty) && self.sides.iter().all(|mux| mux.living() == 0) {
                return;
            }
            let side = round % 2;
            for _ in 0..4 {
                self.write(side);
                self.read(side);
            }
            self.flush(side);
            self.flush(1 - side);
            self.arrive(side);
            self.now += Duration::from_micros(10);
            self.sides.iter_mut().for_each(|mux| mux.tick(self.now));
            self.check(side);
        }
        panic!("it stands still: {:?}", self.talks);
    }
}

fn play(seed: u64) {
    let limits = Limits { ping: Duration::from_millis(50), silence: Duration::from_secs(60), ..SMALL };
    let mut world = World::new(seed, limits);
    for _ in 0..3_000 {
        world.step();
    }
    world.finish();
    for mux in &world.sides {
        assert_eq!(
            (mux.spent, mux.held, mux.taken, mux.unread),
            (0, 0, 0, 0),
            "seed {seed}: something is still counted"
        );
        assert_eq!((mux.own, mux.peer, mux.living()), (0, 0, 0));
        assert!(mux.poor.is_empty() || mux.streams.len() == 0);
    }
}

#[test]
fn no_byte_is_lost_or_doubled_and_nothing_stands_still() {
    for seed in 0..24 {
        play(seed);
    }
}

/// What is left of a session whose carrier is cut anywhere owes nothing.
#[test]
fn a_carrier_that_is_cut_anywhere_leaves_nothing_behind() {
    for seed in 0..40 {
        let mut world = World::new(seed, Limits { silence: Duration::from_secs(60), ..SMALL });
        for _ in 0..200 + seed * 30 {
            world.step();
        }
        for side in 0..2 {
            world.sides[side].lost("cut");
            assert!(matches!(world.sides[side].poll_effect(), Some(Effect::Closed(_))));
            let keys: Vec<Key> = world.talks[side].keys().copied().collect();
            keys.into_iter().for_each(|key| world.drop_stream(side, key));
            let mux = &world.sides[side];
            assert_eq!((mux.living(), mux.unread, mux.spent, mux.held), (0, 0, 0, 0), "seed {seed}");
        }
    }
}
