//! One peer: the handshakes with it, its sessions, its wires.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Duration;

use mainstay_core::lease::Letter;
use mainstay_core::name::NodeId;
use mainstay_core::peer::{self, WireChange, Wires};
use mainstay_core::time::Boot;
use snow::HandshakeState;

use crate::enrol::Joining;
use crate::event::Event;
use crate::house::House;
use crate::limit::Bucket;
use crate::noise::{self, CODE, TAG};
use crate::packet::{self, Code, DATAGRAM, Greeting, OVERHEAD};
use crate::session::{Opened, Session, inside};
use crate::sessions::PeerSpec;

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
/// First pause between tries, and the longest.
const PAUSE: Duration = Duration::from_millis(50);
const PAUSE_MAX: Duration = Duration::from_secs(1);
/// What does not open makes us try anew at most so often.
const SUSPECT: Duration = Duration::from_secs(1);
/// Handshakes in a second from the peer's own addresses, copies over several wires included.
const HANDSHAKES: u32 = 40;
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
    suspect_from: Boot,
    warn_from: Boot,
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
            suspect_from: now,
            warn_from: Boot::ZERO,
            letters_sent: 0,
            letters_heard: 0,
            handshakes: 0,
            spec,
        }
    }

    pub(crate) fn node(&self) -> NodeId {
        self.spec.node
    }

    /// The wire that an address is, or nearly is.
    pub(crate) fn wire(&self, from: SocketAddr) -> Option<usize> {
        let addrs = &self.spec.addrs;
        let exact = addrs.iter().position(|addr| *addr == from);
        exact.or_else(|| addrs.iter().position(|addr| addr.ip() == from.ip()))
    }

    /// Pins a key, or forgets it; what was agreed under another one is void.
    pub(crate) fn pin(&mut self, key: Option<[u8; 32]>, now: Boot) {
        self.spec.key = key;
        self.code = key.as_ref().map(noise::code_key);
        (self.current, self.previous, self.seen) = (None, None, None);
        self.pending.clear();
        self.flights.clear();
        self.joining.clear();
        self.ask = false;
        self.dial(Why::New, now);
    }

    /// New addresses; sessions live on.
    pub(crate) fn move_to(&mut self, addrs: Vec<SocketAddr>, beat: Duration, now: Boot) {
        self.rtt = vec![None; addrs.len()];
        self.wires = Wires::new(addrs.len(), beat, now);
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

    fn patience(beat: Duration) -> Duration {
        (beat * 5).max(Duration::from_millis(100))
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
                next = next.min(Self::rekey_at(current)).min(self.heard + Self::patience(beat));
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
            } else if now >= self.heard + Self::patience(house.beat) {
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

    fn hello(&mut self, key: &[u8; 32], house: &mut House, now: Boot) {
        let Some(code_key) = self.code else { return };
        let handshake = noise::pinned(&house.cluster, &house.secret, Some(key), &mut *house.entropy);
        let Ok(mut handshake) = handshake else { return };
        let greeting = house.greeting().write(0);
        let mine = house.index();
        let Some(datagram) = write(packet::hello(mine), &mut handshake, &greeting, &code_key) else { return };
        if self.flights.len() >= UNDER_WAY {
            self.flights.pop_front();
        }
        self.flights.push_back(Flight { mine, sent: now, handshake });
        self.handshakes += 1;
        for addr in &self.spec.addrs {
            house.transmit(*addr, datagram.clone());
        }
    }

    /// A copy of a hello that was answered already gets the same answer, on the wire that it came by.
    pub(crate) fn answer_again(&self, noise: &[u8], from: SocketAddr, house: &mut House) -> bool {
        let Some(ephemeral) = noise.first_chunk::<32>() else { return false };
        let known = self.sessions().find(|session| !session.initiated && session.hello == *ephemeral);
        let Some(session) = known else { return false };
        self.send_answer(&session.answer, from, house);
        true
    }

    fn send_answer(&self, answer: &[u8], from: SocketAddr, house: &mut House) {
        let addrs = &self.spec.addrs;
        match self.wire(from) {
            Some(wire) => house.transmit(addrs[wire], answer.to_vec()),
            // Its own choice of a source is no place to answer to.
            None => addrs.iter().for_each(|addr| house.transmit(*addr, answer.to_vec())),
        }
    }

    /// A hello under the pinned key, opened.
    pub(crate) fn on_hello(
        &mut self,
        hello: Hello<'_>,
        mut handshake: HandshakeState,
        house: &mut House,
        now: Boot,
    ) {
        let Hello { from, theirs, ephemeral, greeting } = hello;
        if self.seen.is_some_and(|(instance, n)| instance == greeting.instance && n >= greeting.number) {
            house.causes.repeated += 1;
            return;
        }
        let (mine, text) = (house.index(), house.answer().write(0));
        let Some(code_key) = self.code else { return };
        let written = write(packet::answer(theirs, mine), &mut handshake, &text, &code_key);
        let Some(answer) = written else { return };
        let Some(mut session) = Session::new(handshake, (mine, theirs), greeting, now) else { return };
        self.send_answer(&answer, from, house);
        (session.hello, session.answer) = (*ephemeral, answer);
        self.seen = Some((greeting.instance, greeting.number));
        if self.pending.len() >= UNDER_WAY {
            self.pending.pop_front();
        }
        self.pending.push_back(session);
        self.handshakes += 1;
    }

    /// An answer to one of our hellos. What it says when it is a refusal.
    pub(crate) fn on_answer(&mut self, answer: Answer<'_>, house: &mut House, now: Boot) -> Option<Greeting> {
        let Answer { from, mine, theirs, noise, code } = answer;
        if !noise::code_fits(&house.code, code.covered, code.code) {
            house.causes.bad_code += 1;
            return None;
        }
        let wire = self.wire(from).unwrap_or(0);
        if let Some((_, sent)) = self.timed.filter(|(timed, _)| *timed == mine) {
            if let Some(rtt) = self.rtt.get_mut(wire).filter(|rtt| rtt.is_none()) {
                *rtt = Some(now.since(sent));
            }
            return None;
        }
        let at = self.flights.iter().position(|flight| flight.mine == mine)?;
        let flight = &mut self.flights[at];
        let mut text = vec![0; noise.len()];
        let read = flight.handshake.read_message(noise, &mut text).ok();
        let Some(greeting) = read.and_then(|len| Greeting::read(&text[..len])) else {
            house.causes.bad_handshake += 1;
            return None;
        };
        let flight = self.flights.remove(at)?;
        if greeting.refused.is_some() {
            return Some(greeting);
        }
        self.rtt.fill(None);
        if let Some(rtt) = self.rtt.get_mut(wire) {
            *rtt = Some(now.since(flight.sent));
        }
        self.timed = Some((mine, flight.sent));
        let session = Session::new(flight.handshake, (mine, theirs), &greeting, now)?;
        self.note(from, noise.len(), false, now);
        self.adopt(session, house, now);
        None
    }

    /// A session that both sides are known to have: from now on it is the one, unless it crossed another.
    fn adopt(&mut self, new: Session, house: &mut House, now: Boot) {
        let Some(key) = self.spec.key else { return };
        self.dial = None;
        self.flights.clear();
        if let Some(current) = &self.current {
            let crossed = current.instance == new.instance && now.since(current.born) < CROSSING;
            let prefers = |session: &Session| house.prefers(session.initiated, &key);
            if crossed && prefers(current) && !prefers(&new) {
                // What was sent under it before the other side saw ours is still taken.
                self.previous = Some(new.replaced_at(now));
                return;
            }
        }
        let initiated = new.initiated;
        let instance = new.instance;
        let old = self.current.replace(new);
        let node = self.node();
        if old.as_ref().is_some_and(|old| old.instance == instance) {
            house.tell(Event::Replaced { node });
        } else {
            self.wires.restart(now);
            house.tell(Event::Established { node });
        }
        if let Some(old) = old {
            self.previous = Some(old.replaced_at(now));
        }
        if initiated {
            self.seal_to_all(inside::CONFIRM, &[], house);
        }
    }

    /// A sealed datagram to one of its sessions; its letter, when it is a fresh one.
    pub(crate) fn on_data(
        &mut self,
        datagram: Data<'_>,
        house: &mut House,
        now: Boot,
    ) -> Option<(usize, Letter)> {
        let Data { from, mine, number, sealed } = datagram;
        let is_will = number & packet::WILL != 0;
        let mut all = self.current.iter_mut().chain(&mut self.previous).chain(&mut self.pending);
        let session = all.find(|session| session.mine == mine)?;
        if is_will && session.replaced.is_some_and(|since| now > since + WILL_GRACE) {
            house.causes.too_old += 1;
            return None;
        }
        let len = sealed.len() + OVERHEAD - TAG - 1;
        let plain = match session.open(number, sealed) {
            Opened::Fresh(plain) => plain,
            Opened::Duplicate => {
                // A will may be sent again by anybody who saw it: it proves no wire.
                if !is_will {
                    self.note(from, len, true, now);
                    self.tell_wires(house);
                }
                return None;
            }
            Opened::Old => {
                house.causes.too_old += 1;
                return None;
            }
            Opened::Bad => {
                house.causes.undecryptable += 1;
                self.suspect(house.beat, now);
                return None;
            }
        };
        if let Some(at) = self.pending.iter().position(|session| session.mine == mine)
            && let Some(session) = self.pending.remove(at)
        {
            self.adopt(session, house, now);
        }
        self.note(from, len, false, now);
        self.tell_wires(house);
        if self.dial.is_some_and(|dial| dial.why == Why::Doubt) {
            self.dial = None;
        }
        match plain.split_first() {
            Some((&inside::LETTER, text)) => match peer::parse(text) {
                Ok(letter) => {
                    self.letters_heard += 1;
                    Some((self.wire(from).unwrap_or(0), letter))
                }
                Err(_) => {
                    house.causes.bad_letter += 1;
                    None
                }
            },
            // A confirmation, or what a later version adds.
            _ => None,
        }
    }

    /// Something authentic came.
    fn note(&mut self, from: SocketAddr, len: usize, duplicate: bool, now: Boot) {
        self.wires.heard(self.wire(from).unwrap_or(0), len, duplicate, now);
        if !duplicate {
            (self.heard, self.source) = (now, Some(from));
        }
    }

    /// What came from its address does not open: one of us may have forgotten the session.
    pub(crate) fn suspect(&mut self, beat: Duration, now: Boot) {
        let well = self.current.is_some() && now.since(self.heard) < beat * 2;
        if well || now < self.suspect_from {
            return;
        }
        self.suspect_from = now + SUSPECT;
        match &mut self.dial {
            Some(dial) => dial.next = dial.next.min(now),
            None => self.dial(Why::Doubt, now),
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

    fn seal_to_all(&mut self, kind: u8, text: &[u8], house: &mut House) -> bool {
        let sealed = self.current.as_mut().and_then(|session| session.seal(kind, text));
        let Some(datagram) = sealed else { return false };
        for addr in &self.spec.addrs {
            house.transmit(*addr, datagram.clone());
        }
        true
    }

    /// Sends a letter over every wire.
    pub(crate) fn send(&mut self, letter: &Letter, house: &mut House) {
        if self.current.is_none() {
            house.causes.no_session += 1;
            return;
        }
        let Ok(pieces) = peer::encode(letter, DATAGRAM - OVERHEAD) else {
            house.causes.unfit += 1;
            return;
        };
        for piece in pieces {
            if self.seal_to_all(inside::LETTER, &piece, house) {
                self.letters_sent += 1;
            }
        }
    }

    /// Seals a letter that somebody else sends, should we die.
    pub(crate) fn seal_will(&mut self, letter: &Letter, house: &mut House) -> Vec<Vec<u8>> {
        let Some(session) = &mut self.current else { return Vec::new() };
        let Ok(pieces) = peer::encode(letter, DATAGRAM - OVERHEAD) else {
            house.causes.unfit += 1;
            return Vec::new();
        };
        pieces.iter().filter_map(|piece| session.seal_will(piece)).collect()
    }
}

/// A hello that opened.
pub(crate) struct Hello<'a> {
    pub(crate) from: SocketAddr,
    pub(crate) theirs: u32,
    pub(crate) ephemeral: &'a [u8; 32],
    pub(crate) greeting: &'a Greeting,
}

/// An answer, still sealed.
pub(crate) struct Answer<'a> {
    pub(crate) from: SocketAddr,
    pub(crate) mine: u32,
    pub(crate) theirs: u32,
    pub(crate) noise: &'a [u8],
    pub(crate) code: Code<'a>,
}

/// A letter, still sealed.
pub(crate) struct Data<'a> {
    pub(crate) from: SocketAddr,
    pub(crate) mine: u32,
    pub(crate) number: u64,
    pub(crate) sealed: &'a [u8],
}

/// A handshake's next message, with its head before it and its code behind.
pub(crate) fn write(
    mut datagram: Vec<u8>,
    handshake: &mut HandshakeState,
    text: &[u8],
    code_key: &[u8; 32],
) -> Option<Vec<u8>> {
    let head = datagram.len();
    // At most two keys, one of them sealed, and the sealed text.
    datagram.resize(head + 32 + 32 + TAG + text.len() + TAG, 0);
    let len = handshake.write_message(text, &mut datagram[head..]).ok()?;
    datagram.truncate(head + len);
    let code: [u8; CODE] = noise::code(code_key, &datagram);
    datagram.extend(code);
    Some(datagram)
}
