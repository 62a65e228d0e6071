//! Two sides of a session and the bytes between them.

use std::time::Duration;

use crate::gost::Session;
use crate::gost::smux::Limits;
use crate::time::Boot;
use crate::tunnel::{Closed, Code, Effect, Heard, Key, Kind, Open, Side, Unread};

/// What a side heard, in a form that owns it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Told {
    Opened(Key, Open),
    Data(Key, Vec<u8>),
    Datagram(Key, Vec<u8>),
    Ended(Key),
    Reset(Key, Code),
    Writable(Key),
    Closed(Closed),
}

/// A server (the hub's side) and a client whose carrier is whole.
pub(super) struct Rig {
    pub(super) hub: Session,
    pub(super) agent: Session,
    pub(super) now: Boot,
}

impl Rig {
    pub(super) fn new(kind: Kind, limits: Limits) -> Self {
        let now = Boot::from_nanos(1_000_000_000);
        let side = |side| Session::new(side, kind, limits, b"", now);
        Self { hub: side(Side::Hub), agent: side(Side::Agent), now }
    }

    /// What has passed the carrier is known on both sides.
    pub(super) fn settle(&mut self) -> (Vec<Told>, Vec<Told>) {
        let (mut hub, mut agent) = (Vec::new(), Vec::new());
        while !self.hub.output().is_empty() || !self.agent.output().is_empty() {
            agent.extend(carry(&mut self.hub, &mut self.agent, self.now));
            hub.extend(carry(&mut self.agent, &mut self.hub, self.now));
        }
        hub.extend(effects(&mut self.hub));
        agent.extend(effects(&mut self.agent));
        (hub, agent)
    }

    pub(super) fn pass(&mut self, time: Duration) {
        self.now += time;
        self.hub.tick(self.now);
        self.agent.tick(self.now);
    }

    /// A stream from the hub to the agent: its name on both sides.
    pub(super) fn open(&mut self) -> (Key, Key) {
        let (ours, _) = self.hub.open(&Open::default(), b"", self.now).unwrap();
        let told = self.settle().1;
        let [Told::Opened(theirs, _)] = told[..] else { panic!("{told:?}") };
        (ours, theirs)
    }
}

/// All that one side has to send, heard by the other, which keeps what streams carry.
fn carry(from: &mut Session, to: &mut Session, now: Boot) -> Vec<Told> {
    let bytes = from.output().to_vec();
    from.sent(bytes.len());
    hear(to, &bytes, now)
}

pub(super) fn hear(to: &mut Session, bytes: &[u8], now: Boot) -> Vec<Told> {
    let mut told = Vec::new();
    let mut input = bytes;
    while let Some(heard) = to.receive(&mut input, now) {
        told.push(match heard {
            Heard::Opened(key, open) => Told::Opened(key, *open),
            Heard::Data(key, bytes) => {
                to.deliver(key, bytes, 0, now);
                Told::Data(key, bytes.to_vec())
            }
            Heard::Datagram(key, bytes) => {
                let copy = bytes.to_vec();
                to.deliver_datagram(key, bytes.len(), Some(bytes), now);
                Told::Datagram(key, copy)
            }
            Heard::Ended(key) => Told::Ended(key),
            Heard::Reset(key, code) => Told::Reset(key, code),
            Heard::Left | Heard::News => panic!("smux has no such word"),
        });
    }
    told.extend(effects(to));
    told
}

pub(super) fn effects(session: &mut Session) -> Vec<Told> {
    let one = |effect| match effect {
        Effect::Writable(key) => Told::Writable(key),
        Effect::Closed(why) => Told::Closed(why),
    };
    std::iter::from_fn(|| session.poll_effect()).map(one).collect()
}

/// All that is unread of a stream.
pub(super) fn read(session: &mut Session, key: Key, now: Boot) -> Vec<u8> {
    let mut all = Vec::new();
    while let Ok(Unread::Bytes(bytes)) = session.unread_of(key) {
        let count = bytes.len();
        all.extend_from_slice(bytes);
        session.consume(key, count, now);
    }
    all
}

/// Sends until there is no more room, through a carrier that takes all.
pub(super) fn fill(rig: &mut Rig, key: Key, most: usize) -> usize {
    let mut sent = 0;
    while sent < most {
        match rig.hub.send(key, &[7; 32 << 10][..(most - sent).min(32 << 10)]) {
            Ok(0) if rig.hub.output().is_empty() => break,
            Ok(0) => {
                rig.settle();
            }
            Ok(count) => sent += count,
            Err(_) => break,
        }
    }
    rig.settle();
    sent
}

/// Numbers from a seed (splitmix64).
pub(super) struct Dice(pub(super) u64);

impl Dice {
    pub(super) fn roll(&mut self, below: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % below
    }

    pub(super) fn one_in(&mut self, n: u64) -> bool {
        self.roll(n) == 0
    }
}

pub(super) fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
    digits.chunks(2).map(|two| u8::from_str_radix(std::str::from_utf8(two).unwrap(), 16).unwrap()).collect()
}
