//! Letters to and from a peer: sealed, opened, counted by wire; and wills.

use std::net::SocketAddr;
use std::time::Duration;

use mainstay_core::lease::Letter;
use mainstay_core::peer;
use mainstay_core::time::Boot;

use super::{Peer, SUSPECT, TWIN_GRACE, WILL_GRACE, Why};
use crate::event::Event;
use crate::house::House;
use crate::packet::{self, DATA_HEAD, DATAGRAM, OVERHEAD};
use crate::session::{Opened, inside};

impl Peer {
    /// A sealed datagram to one of its sessions; its letter, when it is a fresh one.
    pub(crate) fn on_data(&mut self, datagram: Data<'_>, house: &mut House, now: Boot) -> Option<Said> {
        let Data { from, mine, number, .. } = datagram;
        let is_will = number & packet::WILL != 0;
        let plain = self.open(datagram, house, now)?;
        // The author of a will is dead: it proves no wire and no session.
        if !is_will {
            let pending = self.pending.iter().position(|session| session.mine == mine);
            if let Some(session) = pending.and_then(|at| self.pending.remove(at)) {
                self.adopt(session, house, now);
            }
            self.note(datagram, false, house, now);
        }
        match plain.split_first() {
            Some((&inside::LETTER, text)) => match peer::parse(text) {
                Ok(letter) => {
                    self.letters_heard += 1;
                    Some(Said::Letter(self.wire(from).unwrap_or(0), letter))
                }
                Err(_) => {
                    house.causes.bad_letter += 1;
                    None
                }
            },
            // The author of a will answers no more.
            Some((&kind, text)) if !is_will && matches!(kind, inside::WHOSE | inside::VOUCH) => {
                Some(Said::Aside(self.wire(from).unwrap_or(0), kind, text.to_vec()))
            }
            // A confirmation, or what a later version adds.
            _ => None,
        }
    }

    /// What is inside, when it comes for the first time.
    fn open(&mut self, datagram: Data<'_>, house: &mut House, now: Boot) -> Option<Vec<u8>> {
        let Data { mine, number, sealed, .. } = datagram;
        let is_will = number & packet::WILL != 0;
        let mut all = self.current.iter_mut().chain(&mut self.previous).chain(&mut self.pending);
        let session = all.find(|session| session.mine == mine)?;
        if is_will && session.replaced.is_some_and(|since| now > since + WILL_GRACE) {
            house.causes.too_old += 1;
            return None;
        }
        match session.open(number, sealed) {
            Opened::Fresh(plain) => return Some(plain),
            Opened::Duplicate if is_will => {}
            Opened::Duplicate => self.note(datagram, true, house, now),
            Opened::Old => house.causes.too_old += 1,
            Opened::Bad => {
                house.causes.undecryptable += 1;
                self.suspect(house.beat, now);
            }
        }
        None
    }

    /// Something authentic came from the peer's living process.
    fn note(&mut self, datagram: Data<'_>, duplicate: bool, house: &mut House, now: Boot) {
        let Data { from, mine, sealed, .. } = datagram;
        self.wires.heard(self.wire(from).unwrap_or(0), DATA_HEAD + sealed.len(), duplicate, now);
        self.tell_wires(house);
        // What comes in an older session says nothing of the one in use.
        let Some(current) = &self.current else { return };
        if current.mine == mine {
            if !duplicate {
                self.alive(from, now);
            }
            return;
        }
        // Two processes with one key: each takes over from the other, and the older one goes on to speak.
        let grace = (self.beat(house.beat) * 2).max(TWIN_GRACE);
        let twin = self.previous.as_ref().filter(|old| old.mine == mine && old.instance != current.instance);
        if twin.and_then(|old| old.replaced).is_some_and(|since| now > since + grace) && self.warns(now) {
            house.tell(Event::Twin { node: self.node(), addr: from });
        }
    }

    /// The session in use is.
    pub(super) fn alive(&mut self, from: SocketAddr, now: Boot) {
        (self.heard, self.source) = (now, Some(from));
        self.dial.take_if(|dial| dial.why == Why::Doubt);
    }

    /// What came from its address does not open: one of us may have forgotten the session.
    pub(crate) fn suspect(&mut self, beat: Duration, now: Boot) {
        let well = self.current.is_some() && now.since(self.heard) < self.beat(beat) * 2;
        if well || now < self.suspect_from {
            return;
        }
        self.suspect_from = now + SUSPECT;
        match &mut self.dial {
            Some(dial) => dial.next = dial.next.min(now),
            None => self.dial(Why::Doubt, now),
        }
    }

    pub(crate) fn seal_to_all(&mut self, kind: u8, text: &[u8], house: &mut House) -> bool {
        let sealed = self.current.as_mut().and_then(|session| session.seal(kind, text));
        let Some(datagram) = sealed else { return false };
        for addr in &self.spec.addrs {
            house.transmit(*addr, datagram.clone());
        }
        true
    }

    /// The same over one wire.
    pub(crate) fn seal_to(&mut self, wire: usize, kind: u8, text: &[u8], house: &mut House) {
        let sealed = self.current.as_mut().and_then(|session| session.seal(kind, text));
        if let (Some(datagram), Some(addr)) = (sealed, self.spec.addrs.get(wire)) {
            house.transmit(*addr, datagram);
        }
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

/// What a peer has said.
pub(crate) enum Said {
    /// To the owner of the sessions, by this wire.
    Letter(usize, Letter),
    /// To us, by this wire: about keys.
    Aside(usize, u8, Vec<u8>),
}

/// A letter, still sealed.
#[derive(Clone, Copy)]
pub(crate) struct Data<'a> {
    pub(crate) from: SocketAddr,
    pub(crate) mine: u32,
    pub(crate) number: u64,
    pub(crate) sealed: &'a [u8],
}
