//! One peer: the handshakes with it, its sessions, its wires.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Duration;

use mainstay_core::name::NodeId;
use mainstay_core::peer::{WireChange, Wires};
use mainstay_core::time::Boot;
use snow::HandshakeState;

use crate::enrol::Joining;
use crate::event::Event;
use crate::house::House;
use crate::limit::Bucket;
use crate::noise;
use crate::session::Session;
use crate::sessions::PeerSpec;

mod handshake;
mod letters;

pub(crate) use handshake::{Answer, Hello, write};
pub(crate) use letters::{Data, Said};

/// A session is followed by another one after this time.
const REKEY: Duration = Duration::from_secs(120);
/// The side that did not begin it leaves the other one so much longer.
const REKEY_GRACE: Duration = Duration::from_secs(10);
/// Or after so many letters.
const REKEY_LETTERS: u64 = 1 << 32;
/// And ends, if no other one could be made.
const LIFE: Duration = Duration::from_secs(190);
/// What is neither answered nor confirmed by then never will be.
pub(crate) const HALF_OPEN: Duration = Duration::from_secs(10);
/// Handshakes of one peer that are under way at once, each way: an answer may take longer than the next try.
pub(crate) const UNDER_WAY: usize = 4;
/// Two sessions of the same processes so close to each other were begun by both at once.
const CROSSING: Duration = Duration::from_secs(2);
/// A will is good for so long after its session was replaced: its author may have died before it sealed another.
const WILL_GRACE: Duration = Duration::from_secs(10);
/// A process that is heard so long after another one with its key took over is not dead.
const TWIN_GRACE: Duration = Duration::from_millis(50);
/// First pause between tries, and the longest.
const PAUSE: Duration = Duration::from_millis(50);
const PAUSE_MAX: Duration = Duration::from_secs(1);
/// What does not open makes us try anew at most so often.
const SUSPECT: Duration = Duration::from_secs(1);
/// A peer that says twice, so close to each other, that our id is in use by another process.
const IN_USE: Duration = Duration::from_secs(10);
/// Handshakes in a second from the peer's own addresses, copies over several wires included.
const HANDSHAKES: u32 = 40;
/// Questions about other nodes' keys that a peer gets an answer to in a second.
const ASIDES: u32 = 10;
/// Warnings of one kind about one peer are this far apart.
const WARN: Duration = Duration::from_secs(10);

/// Why a handshake is tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Why {
    /// The peer is silent, or what it sends does not open: no need once it is heard again.
    Doubt,
    /// The session grows old.
    Rekey,
    /// There is no session.
    New,
}

/// Tries of handshakes, until one succeeds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Dial {
    pub(crate) why: Why,
    pub(crate) next: Boot,
    pub(crate) tries: u32,
}

/// A hello that waits for its answer.
struct Flight {
    mine: u32,
    sent: Boot,
    handshake: HandshakeState,
}

/// Everything about one peer.
pub(crate) struct Peer {
    pub(crate) spec: PeerSpec,
    /// Key of the code in front of it, once its key is known.
    code: Option<[u8; 32]>,
    pub(crate) dial: Option<Dial>,
    flights: VecDeque<Flight>,
    pub(crate) joining: VecDeque<Joining>,
    /// Since when it says that another process with our key is there.
    in_use: Option<Boot>,
    /// It said that it does not know our key: enrol, although its key is known.
    pub(crate) ask: bool,
    pending: VecDeque<Session>,
    pub(crate) current: Option<Session>,
    previous: Option<Session>,
    /// The last hello of its that was taken: instance and number.
    seen: Option<(u64, u64)>,
    pub(crate) wires: Wires,
    /// The last answer that was taken, and when what it answers was sent: copies of it measure the other wires.
    timed: Option<(u32, Boot)>,
    pub(crate) rtt: Vec<Option<Duration>>,
    pub(crate) bucket: Bucket,
    /// When something authentic came last, and from where.
    pub(crate) heard: Boot,
    pub(crate) source: Option<SocketAddr>,
    /// Which address is answered to next, when the source is none of them.
    turn: usize,
    suspect_from: Boot,
    warn_from: Boot,
    /// The key that last said it is this node's while none was pinned, and when.
    pub(crate) knocked: Option<([u8; 32], Boot)>,
    /// When the others are asked whose key it is, and when they may be asked again.
    pub(crate) asks_at: Option<Boot>,
    pub(crate) ask_from: Boot,
    /// What it may ask us.
    pub(crate) asides: Bucket,
    pub(crate) letters_sent: u64,
    pub(crate) letters_heard: u64,
    pub(crate) handshakes: u64,
}

impl Peer {
    pub(crate) fn new(spec: PeerSpec, beat: Duration, now: Boot) -> Self {
        Self {
            code: spec.key.as_ref().map(noise::code_key),
            dial: Some(Dial { why: Why::New, next: now, tries: 0 }),
            flights: VecDeque::new(),
            joining: VecDeque::new(),
            in_use: None,
            ask: false,
            pending: VecDeque::new(),
            current: None,
            previous: None,
            seen: None,
            wires: Wires::new(spec.addrs.len(), beat, now),
            timed: None,
            rtt: vec![None; spec.addrs.len()],
            bucket: Bucket::new(HANDSHAKES, now),
            heard: now,
            source: None,
            turn: 0,
            suspect_from: now,
            warn_from: Boot::ZERO,
            knocked: None,
            asks_at: None,
            ask_from: now,
            asides: Bucket::new(ASIDES, now),
            letters_sent: 0,
            letters_heard: 0,
            handshakes: 0,
            spec,
        }
    }

    pub(crate) fn node(&self) -> NodeId {
        self.spec.node
    }

    /// The wire that an address is, or nearly is: a peer may speak from another port.
    pub(crate) fn wire(&self, from: SocketAddr) -> Option<usize> {
        let near = || self.spec.addrs.iter().position(|addr| addr.ip() == from.ip());
        self.wire_exactly(from).or_else(near)
    }

    /// The wire that an address is; an IPv6 scope is no part of it.
    pub(crate) fn wire_exactly(&self, from: SocketAddr) -> Option<usize> {
        let is = |addr: &SocketAddr| addr.ip() == from.ip() && addr.port() == from.port();
        self.spec.addrs.iter().position(is)
    }

    /// Pins a key, or forgets it; what was agreed under another one is void.
    pub(crate) fn pin(&mut self, key: Option<[u8; 32]>, now: Boot) {
        self.spec.key = key;
        self.code = key.as_ref().map(noise::code_key);
        (self.current, self.previous, self.seen) = (None, None, None);
        self.pending.clear();
        self.flights.clear();
        self.joining.clear();
        (self.in_use, self.ask, self.knocked) = (None, false, None);
        self.dial = Some(Dial { why: Why::New, next: now, tries: 0 });
    }

    /// New addresses; sessions live on.
    pub(crate) fn move_to(&mut self, addrs: Vec<SocketAddr>, beat: Duration, now: Boot) {
        self.rtt = vec![None; addrs.len()];
        self.wires = Wires::new(addrs.len(), self.beat(beat), now);
        self.spec.addrs = addrs;
        if let Some(dial) = &mut self.dial {
            (dial.next, dial.tries) = (now, 0);
        }
    }

    /// Whether one of its sessions or hellos is addressed by this number.
    pub(crate) fn owns(&self, index: u32) -> bool {
        self.sessions().any(|session| session.mine == index)
    }

    pub(crate) fn flies(&self, index: u32) -> bool {
        self.flights.iter().any(|flight| flight.mine == index)
            || self.timed.is_some_and(|(mine, _)| mine == index)
    }

    fn sessions(&self) -> impl Iterator<Item = &Session> {
        self.current.iter().chain(&self.previous).chain(&self.pending)
    }

    /// Tries from `at` on, unless it is tried already for a better reason.
    pub(crate) fn dial(&mut self, why: Why, at: Boot) {
        match &mut self.dial {
            Some(dial) if dial.why >= why => {}
            dial => *dial = Some(Dial { why, next: at, tries: 0 }),
        }
    }

    /// How often it says something: as it told, or as we do.
    fn beat(&self, ours: Duration) -> Duration {
        self.current.as_ref().and_then(|session| session.beat).unwrap_or(ours)
    }

    /// How long it may be silent.
    fn patience(&self, ours: Duration) -> Duration {
        (self.beat(ours) * 5).max(Duration::from_millis(100))
    }

    /// A process that has been silent for longer may be dead.
    fn quiet(&self, ours: Duration) -> Duration {
        (self.beat(ours) * 7 / 2).max(Duration::from_millis(100))
    }

    fn rekey_at(session: &Session) -> Boot {
        if session.sent >= REKEY_LETTERS {
            return session.born;
        }
        session.born + REKEY + if session.initiated { Duration::ZERO } else { REKEY_GRACE }
    }

    pub(crate) fn poll_timeout(&self, beat: Duration) -> Boot {
        let half_open = self.pending.iter().map(|session| session.born + HALF_OPEN);
        let flights = self.flights.iter().map(|flight| flight.sent + HALF_OPEN);
        let previous = self.previous.iter().map(|session| session.born + LIFE);
        let mut next = half_open.chain(flights).chain(previous).min().unwrap_or(Boot::NEVER);
        if let Some(dial) = self.dial {
            next = next.min(dial.next);
        }
        if let Some(current) = &self.current {
            next = next.min(current.born + LIFE).min(self.wires.poll_timeout().unwrap_or(Boot::NEVER));
            if self.dial.is_none() {
                next = next.min(Self::rekey_at(current)).min(self.heard + self.patience(beat));
            }
        }
        next
    }

    pub(crate) fn tick(&mut self, house: &mut House, now: Boot) {
        self.pending.retain(|session| now < session.born + HALF_OPEN);
        self.flights.retain(|flight| now < flight.sent + HALF_OPEN);
        self.joining.retain(|joining| now < joining.sent + HALF_OPEN);
        self.previous.take_if(|session| now >= session.born + LIFE);
        if self.current.take_if(|session| now >= session.born + LIFE).is_some() {
            house.tell(Event::Lost { node: self.node() });
            self.dial(Why::New, now);
        }
        if let Some(current) = &self.current {
            if now >= Self::rekey_at(current) {
                self.dial(Why::Rekey, now);
            } else if now >= self.heard + self.patience(house.beat) {
                self.dial(Why::Doubt, now);
            }
            self.wires.tick(now);
            self.tell_wires(house);
        }
        if self.dial.is_some_and(|dial| now >= dial.next) {
            self.try_handshake(house, now);
        }
    }

    fn tell_wires(&mut self, house: &mut House) {
        let node = self.node();
        while let Some(change) = self.wires.poll_change() {
            house.tell(match change {
                WireChange::Lost(wire) => Event::WireLost { node, wire },
                WireChange::Back(wire) => Event::WireBack { node, wire },
            });
        }
    }

    fn try_handshake(&mut self, house: &mut House, now: Boot) {
        let Some(dial) = &mut self.dial else { return };
        let pause = house.jitter((PAUSE * (1 << dial.tries.min(8))).min(PAUSE_MAX));
        dial.tries += 1;
        dial.next = now + pause;
        match self.spec.key {
            Some(key) if !self.ask => self.hello(&key, house, now),
            _ => self.join(house, now),
        }
    }

    /// Whether a warning about it is due.
    pub(crate) fn warns(&mut self, now: Boot) -> bool {
        let due = now >= self.warn_from;
        if due {
            self.warn_from = now + WARN;
        }
        due
    }
}
