//! Handshakes with a peer whose key is known: hello, answer, and which of several sessions stays.

use std::net::SocketAddr;

use mainstay_core::time::Boot;
use snow::HandshakeState;

use super::{CROSSING, Flight, IN_USE, Peer, UNDER_WAY};
use crate::event::Event;
use crate::house::House;
use crate::noise::{self, CODE, TAG};
use crate::packet::{self, Code, Greeting, No};
use crate::session::{Session, inside};

impl Peer {
    pub(super) fn hello(&mut self, key: &[u8; 32], house: &mut House, now: Boot) {
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
    pub(crate) fn answer_again(&mut self, noise: &[u8], from: SocketAddr, house: &mut House) -> bool {
        let Some(ephemeral) = noise.first_chunk::<32>() else { return false };
        let known = self.sessions().find(|session| !session.initiated && session.hello == *ephemeral);
        let Some(answer) = known.map(|session| session.answer.clone()) else { return false };
        self.send_answer(answer, from, house);
        true
    }

    /// To a source of its own choice nothing is said: its addresses take turns then, so that one that is cut does no harm.
    fn send_answer(&mut self, answer: Vec<u8>, from: SocketAddr, house: &mut House) {
        let wire = self.wire(from).unwrap_or_else(|| {
            self.turn = self.turn.wrapping_add(1);
            self.turn % self.spec.addrs.len().max(1)
        });
        if let Some(addr) = self.spec.addrs.get(wire) {
            house.transmit(*addr, answer);
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
        let Some(code_key) = self.code else { return };
        if let Some(holder) = self.elsewhere(&hello, house, now) {
            let text = Greeting { refused: Some(No::InUse), holder: Some(holder), ..house.answer() }.write(0);
            if let Some(answer) = write(packet::answer(theirs, 0), &mut handshake, &text, &code_key) {
                // Not to the peer's addresses: there is the one that it is in use by.
                house.transmit(from, answer);
            }
            if self.warns(now) {
                house.tell(Event::Twin { node: self.node(), addr: from });
            }
            return;
        }
        let (mine, text) = (house.index(), house.answer().write(0));
        let written = write(packet::answer(theirs, mine), &mut handshake, &text, &code_key);
        let Some(answer) = written else { return };
        let Some(mut session) = Session::new(handshake, (mine, theirs), greeting, now) else { return };
        (session.hello, session.answer) = (*ephemeral, answer.clone());
        self.send_answer(answer, from, house);
        self.seen = Some((greeting.instance, greeting.number));
        if self.pending.len() >= UNDER_WAY {
            self.pending.pop_front();
        }
        self.pending.push_back(session);
        self.handshakes += 1;
    }

    /// Where the peer's process is, when a hello comes from another one, from where the peer has no address, and the first one
    /// is alive: a copy of its state has been started there, and takes nothing from it.
    fn elsewhere(&self, hello: &Hello<'_>, house: &House, now: Boot) -> Option<SocketAddr> {
        let current = self.current.as_ref()?;
        let holder = self.source?;
        let other = current.instance != hello.greeting.instance;
        let strange = self.wire(hello.from).is_none() && holder.ip() != hello.from.ip();
        let alive = now.since(self.heard) < self.quiet(house.beat);
        (other && strange && alive).then_some(holder)
    }

    /// The peer says, to a hello that was sent at `sent`, that another process with our key is there. A hello of ours that
    /// somebody has sent on from elsewhere just after we started again is answered so too, but none that was sent when our last
    /// process is forgotten: that one counts.
    pub(crate) fn doubled(
        &mut self,
        (greeting, sent): (&Greeting, Boot),
        from: SocketAddr,
        house: &mut House,
        now: Boot,
    ) {
        let quiet = self.quiet(house.beat);
        let since = self.in_use.filter(|since| sent < *since + IN_USE).unwrap_or(sent);
        self.in_use = Some(since);
        if sent >= since + quiet {
            self.refused(No::InUse, greeting, from, house, now);
        } else if let Some(dial) = &mut self.dial {
            dial.next = dial.next.min(since + quiet).max(now);
        }
    }

    /// An answer to one of our hellos. What it says when it is a refusal, and when the hello was sent.
    pub(crate) fn on_answer(
        &mut self,
        answer: Answer<'_>,
        house: &mut House,
        now: Boot,
    ) -> Option<(Greeting, Boot)> {
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
            return Some((greeting, flight.sent));
        }
        self.rtt.fill(None);
        if let Some(rtt) = self.rtt.get_mut(wire) {
            *rtt = Some(now.since(flight.sent));
        }
        self.timed = Some((mine, flight.sent));
        let session = Session::new(flight.handshake, (mine, theirs), &greeting, now)?;
        self.adopt(session, house, now);
        self.alive(from, now);
        None
    }

    /// A session that both sides are known to have: from now on it is the one, unless it crossed another.
    pub(super) fn adopt(&mut self, new: Session, house: &mut House, now: Boot) {
        let Some(key) = self.spec.key else { return };
        (self.dial, self.in_use) = (None, None);
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
        self.wires.set_beat(self.beat(house.beat));
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
