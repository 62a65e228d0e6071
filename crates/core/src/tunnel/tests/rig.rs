//! Two sides and the bytes between them.

use std::time::Duration;

use crate::time::Boot;
use crate::tunnel::{Closed, Code, Effect, Heard, Key, Limits, Mux, Open, Side, Unread};

/// Small limits, so that rules strike soon.
pub(super) const SMALL: Limits = Limits {
    budget: 64 << 10,
    streams: 256,
    window: 16 << 10,
    window_max: 64 << 10,
    ping: Duration::from_secs(1),
    silence: Duration::from_secs(3),
};

/// What a side heard, in a form that owns it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Told {
    Opened(Key, Open),
    Data(Key, Vec<u8>),
    Datagram(Key, Vec<u8>),
    Ended(Key),
    Reset(Key, Code),
    Left,
    News,
    Writable(Key),
    Closed(Closed),
}

/// A hub and an agent whose carrier is whole.
pub(super) struct Rig {
    pub(super) hub: Mux,
    pub(super) agent: Mux,
    pub(super) now: Boot,
}

impl Rig {
    pub(super) fn new(limits: Limits) -> Self {
        let now = Boot::from_nanos(1_000_000_000);
        let mut rig =
            Self { hub: Mux::new(Side::Hub, limits, now), agent: Mux::new(Side::Agent, limits, now), now };
        rig.settle();
        rig
    }

    /// What has passed the carrier is known on both sides.
    pub(super) fn settle(&mut self) -> (Vec<Told>, Vec<Told>) {
        let (mut hub, mut agent) = (Vec::new(), Vec::new());
        while !self.hub.output().is_empty() || !self.agent.output().is_empty() {
            agent.extend(self.agent_hears());
            hub.extend(self.hub_hears());
        }
        hub.extend(effects(&mut self.hub));
        agent.extend(effects(&mut self.agent));
        (hub, agent)
    }

    pub(super) fn agent_hears(&mut self) -> Vec<Told> {
        carry(&mut self.hub, &mut self.agent, self.now)
    }

    pub(super) fn hub_hears(&mut self) -> Vec<Told> {
        carry(&mut self.agent, &mut self.hub, self.now)
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
fn carry(from: &mut Mux, to: &mut Mux, now: Boot) -> Vec<Told> {
    let bytes = from.output().to_vec();
    from.sent(bytes.len());
    hear(to, &bytes, now)
}

pub(super) fn hear(to: &mut Mux, bytes: &[u8], now: Boot) -> Vec<Told> {
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
            Heard::Left => Told::Left,
            Heard::News => Told::News,
        });
    }
    told.extend(effects(to));
    told
}

pub(super) fn effects(mux: &mut Mux) -> Vec<Told> {
    let one = |effect| match effect {
        Effect::Writable(key) => Told::Writable(key),
        Effect::Closed(why) => Told::Closed(why),
    };
    std::iter::from_fn(|| mux.poll_effect()).map(one).collect()
}

/// All that is unread of a stream.
pub(super) fn read(mux: &mut Mux, key: Key, now: Boot) -> Vec<u8> {
    let mut all = Vec::new();
    while let Ok(Unread::Bytes(bytes)) = mux.unread_of(key) {
        let count = bytes.len();
        all.extend_from_slice(bytes);
        mux.consume(key, count, now);
    }
    all
}

/// Sends until there is no more room.
pub(super) fn fill(mux: &mut Mux, key: Key) -> usize {
    let mut sent = 0;
    loop {
        match mux.send(key, &[7; 4096]) {
            Ok(0) | Err(_) => return sent,
            Ok(count) => sent += count,
        }
    }
}
