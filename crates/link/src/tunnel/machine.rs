//! What a session speaks: our own protocol, or gost's (`core::gost`), which has no words for some of what ours tells.

use std::borrow::Cow;
use std::time::Duration;

use mainstay_core::gost;
use mainstay_core::time::Boot;
use mainstay_core::tunnel::{Closed, Code, Counts, Effect, Heard, Key, Mux, News, Open, Refused, Unread};

/// The machine of a session.
pub(super) enum Machine {
    /// Both sides are ours.
    Own(Mux),
    /// The other side is gost's, or speaks as gost does.
    Gost(gost::Session),
}

macro_rules! either {
    ($self:ident, $mux:ident => $what:expr) => {
        match $self {
            Self::Own($mux) => $what,
            Self::Gost($mux) => $what,
        }
    };
}

/// What both have.
impl Machine {
    pub(super) fn open(&mut self, open: &Open, first: &[u8], now: Boot) -> Result<(Key, usize), Refused> {
        either!(self, mux => mux.open(open, first, now))
    }

    pub(super) fn may_open(&self) -> Result<(), Refused> {
        either!(self, mux => mux.may_open())
    }

    pub(super) fn receive<'a>(&mut self, input: &mut &'a [u8], now: Boot) -> Option<Heard<'a>> {
        either!(self, mux => mux.receive(input, now))
    }

    pub(super) fn deliver(&mut self, key: Key, bytes: &[u8], taken: usize, now: Boot) {
        either!(self, mux => mux.deliver(key, bytes, taken, now));
    }

    pub(super) fn keep_datagram(&mut self, key: Key, bytes: Cow<'_, [u8]>, now: Boot) {
        either!(self, mux => mux.deliver_datagram(key, bytes.len(), Some(bytes), now));
    }

    pub(super) fn take_datagram(&mut self, key: Key, now: Boot) -> Option<Vec<u8>> {
        either!(self, mux => mux.take_datagram(key, now))
    }

    pub(super) fn send_datagram(&mut self, key: Key, bytes: &[u8]) -> bool {
        either!(self, mux => mux.send_datagram(key, bytes))
    }

    pub(super) fn consume(&mut self, key: Key, count: usize, now: Boot) {
        either!(self, mux => mux.consume(key, count, now));
    }

    pub(super) fn unread_of(&self, key: Key) -> Result<Unread<'_>, Code> {
        either!(self, mux => mux.unread_of(key))
    }

    pub(super) fn has_unread(&self, key: Key) -> bool {
        either!(self, mux => mux.has_unread(key))
    }

    pub(super) fn room(&mut self, key: Key) -> Result<usize, Code> {
        either!(self, mux => mux.room(key))
    }

    pub(super) fn lend(&mut self, len: usize) -> &mut [u8] {
        either!(self, mux => mux.lend(len))
    }

    pub(super) fn commit(&mut self, key: Key, len: usize) {
        either!(self, mux => mux.commit(key, len));
    }

    pub(super) fn finish(&mut self, key: Key) {
        either!(self, mux => mux.finish(key));
    }

    pub(super) fn reset(&mut self, key: Key, code: Code) {
        either!(self, mux => mux.reset(key, code));
    }

    pub(super) fn forget(&mut self, key: Key) {
        either!(self, mux => mux.forget(key));
    }

    pub(super) fn output(&self) -> &[u8] {
        either!(self, mux => mux.output())
    }

    pub(super) fn sent(&mut self, count: usize) {
        either!(self, mux => mux.sent(count));
    }

    pub(super) fn has_waiting(&self) -> bool {
        either!(self, mux => mux.has_waiting())
    }

    pub(super) fn turn(&mut self) {
        either!(self, mux => mux.turn());
    }

    pub(super) fn poll_effect(&mut self) -> Option<Effect> {
        either!(self, mux => mux.poll_effect())
    }

    pub(super) fn poll_timeout(&self) -> Boot {
        either!(self, mux => mux.poll_timeout())
    }

    pub(super) fn tick(&mut self, now: Boot) {
        either!(self, mux => mux.tick(now));
    }

    pub(super) fn drain(&mut self, within: Duration, now: Boot) {
        either!(self, mux => mux.drain(within, now));
    }

    pub(super) fn close(&mut self, why: Closed) {
        either!(self, mux => mux.close(why));
    }

    pub(super) fn lost(&mut self, why: &str) {
        either!(self, mux => mux.lost(why));
    }

    pub(super) fn is_closed(&self) -> bool {
        either!(self, mux => mux.is_closed())
    }

    pub(super) fn living(&self) -> usize {
        either!(self, mux => mux.living())
    }

    pub(super) fn counts(&self) -> Counts {
        either!(self, mux => mux.counts())
    }

    pub(super) fn unread(&self) -> u64 {
        either!(self, mux => mux.unread())
    }
}

/// What only one of them has.
impl Machine {
    /// Whether so much is unread that the carrier is not to be read. Ours holds back single streams instead.
    pub(super) fn is_full(&self) -> bool {
        match self {
            Self::Own(_) => false,
            Self::Gost(session) => session.is_full(),
        }
    }

    /// A write has ended. gost's has no budget that depends on it.
    pub(super) fn carried(&mut self, all: bool) {
        match self {
            Self::Own(mux) => mux.carried(all),
            Self::Gost(_) => {}
        }
    }

    /// What the other side is to know of us, for which gost has no words.
    pub(super) fn tell(&mut self, news: News) {
        match self {
            Self::Own(mux) => mux.tell(news),
            Self::Gost(_) => {}
        }
    }

    pub(super) fn set_load(&mut self, load: u32) {
        match self {
            Self::Own(mux) => mux.set_load(load),
            Self::Gost(_) => {}
        }
    }

    pub(super) fn heard(&self) -> News {
        match self {
            Self::Own(mux) => mux.heard().clone(),
            Self::Gost(_) => News::default(),
        }
    }

    /// In gost's protocol nobody says so: a side that leaves closes.
    pub(super) fn has_left(&self) -> bool {
        match self {
            Self::Own(mux) => mux.has_left(),
            Self::Gost(_) => false,
        }
    }

    /// Signs of life are not answered in gost's.
    pub(super) fn rtt(&self) -> Option<Duration> {
        match self {
            Self::Own(mux) => mux.rtt(),
            Self::Gost(_) => None,
        }
    }
}
