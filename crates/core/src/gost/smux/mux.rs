//! The session itself: what it knows, what its time does, how it ends.

use std::collections::VecDeque;
use std::time::Duration;

use super::frame::{self, Header};
use super::receive::Reader;
use super::stream::Stream;
use super::{HEADER, Limits, Role};
use crate::time::Boot;
use crate::tunnel::outbox::{OUTBOX_MAX, Outbox};
use crate::tunnel::stream::Table;
use crate::tunnel::{Closed, Code, Counts, Effect, Flood, Key, Refused, Wrong};

/// A side may be ahead of what floods are measured by so far.
const FLOOD_BURST: Duration = Duration::from_secs(2);

/// Streams of a side that has ended them wait so long for its credit: it may have ended one direction alone, but most that end
/// a stream have let go of it and never tell what they read.
pub(super) const STARVING: Duration = Duration::from_secs(30);

/// Where a session is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Open,
    /// We open no new streams; until then, or until the last has ended.
    Leaving(Boot),
    Closed,
}

/// One side of a session. Its face is that of [`crate::tunnel::Mux`], but for what smux does not have.
#[derive(Debug)]
pub struct Mux {
    pub(super) limits: Limits,
    phase: Phase,
    pub(in super::super) streams: Table<Stream>,
    pub(super) next_own: u32,
    pub(super) own: u32,
    pub(super) peer: u32,
    pub(super) out: Outbox,
    pub(super) reader: Reader,
    /// Pieces of what must be whole.
    pub(super) kept: Vec<u8>,
    /// Unread bytes that are kept.
    pub(super) unread: u64,
    /// Streams that wait for their turn.
    pub(super) ring: VecDeque<Key>,
    /// Streams that have their turn and have not used it.
    pub(super) grants: u32,
    /// Streams that may wait in vain, in the order in which they began to.
    pub(super) starving: VecDeque<(Boot, Key)>,
    pub(super) effects: VecDeque<Effect>,
    pub(super) now: Boot,
    heard_at: Boot,
    next_ping: Boot,
    flood: Boot,
    pub(in super::super) counts: Counts,
}

impl Mux {
    /// A session. `greeting` is sent before its first frame.
    #[must_use]
    pub fn new(role: Role, limits: Limits, greeting: &[u8], now: Boot) -> Self {
        let limits = limits.sound();
        let mut out = Outbox::default();
        out.raw(greeting);
        Self {
            limits,
            phase: Phase::Open,
            streams: Table::default(),
            next_own: match role {
                Role::Client => 3,
                Role::Server => 2,
            },
            own: 0,
            peer: 0,
            out,
            reader: Reader::Head,
            kept: Vec::new(),
            unread: 0,
            ring: VecDeque::new(),
            grants: 0,
            starving: VecDeque::new(),
            effects: VecDeque::new(),
            now,
            heard_at: now,
            next_ping: now + limits.ping,
            flood: now,
            counts: Counts::default(),
        }
    }

    /// What the session asks for, until it asks for nothing more.
    pub fn poll_effect(&mut self) -> Option<Effect> {
        self.effects.pop_front()
    }

    /// When [`Self::tick`] is to be called next.
    #[must_use]
    pub fn poll_timeout(&self) -> Boot {
        let silent = if self.is_full() { Boot::NEVER } else { self.heard_at + self.limits.silence };
        let starved = self.starving.front().map_or(Boot::NEVER, |(until, _)| *until);
        let due = silent.min(self.next_ping).min(starved);
        match self.phase {
            Phase::Open => due,
            Phase::Leaving(until) => due.min(until),
            Phase::Closed => Boot::NEVER,
        }
    }

    /// Time has passed. Whoever drives it hands over what has come before: silence is judged by what was handed over.
    pub fn tick(&mut self, now: Boot) {
        let late = now.since(self.poll_timeout());
        self.now = self.now.max(now);
        if self.is_closed() {
            return;
        }
        if self.is_full() {
            // It is we who do not read.
            self.heard_at = self.now;
        } else if late > Duration::from_secs(1) {
            // It was we who were away: what they say has yet to be heard.
            self.heard_at = self.heard_at.max(now + self.limits.ping - self.limits.silence);
        }
        if now >= self.heard_at + self.limits.silence {
            return self.end(Closed::Silent(now.since(self.heard_at)));
        }
        if matches!(self.phase, Phase::Leaving(until) if now >= until) {
            return self.end(Closed::Drained);
        }
        self.starve(now);
        if now >= self.next_ping {
            self.next_ping = now + self.limits.ping;
            self.stage(Header { kind: frame::NOP, len: 0, id: 0 }, &[]);
            self.out.rest();
        }
    }

    /// Gives up what waited in vain for the credit of a side that has ended: whoever writes is told when it tries again.
    fn starve(&mut self, now: Boot) {
        while let Some(&(_, key)) = self.starving.front().filter(|(until, _)| now >= *until) {
            self.starving.pop_front();
            let Some(stream) = self.streams.get_mut(key) else { continue };
            stream.listed = false;
            match stream.starves {
                Some(until) if until > now => self.starved(key, until),
                Some(_) if !stream.is_over() => {
                    self.reset(key, Code::Cancel);
                    self.effects.push_back(Effect::Writable(key));
                }
                Some(_) | None => {}
            }
        }
    }

    /// The stream waits for credit that may never come, until then.
    pub(super) fn starved(&mut self, key: Key, until: Boot) {
        let Some(stream) = self.streams.get_mut(key) else { return };
        stream.starves = Some(until);
        if !std::mem::replace(&mut stream.listed, true) {
            self.starving.push_back((until, key));
        }
    }

    /// Opens no new streams; ends when the last has ended, or after `within`. smux has no word for it: what the other side
    /// opens meanwhile is served.
    pub fn drain(&mut self, within: Duration, now: Boot) {
        self.now = self.now.max(now);
        let until = self.now + within;
        match &mut self.phase {
            Phase::Open => {
                self.phase = Phase::Leaving(until);
                self.drained();
            }
            Phase::Leaving(before) => *before = until.min(*before),
            Phase::Closed => {}
        }
    }

    /// Ends the session; the other side finds its carrier closed.
    pub fn close(&mut self, why: Closed) {
        self.end(why);
    }

    /// The carrier has ended or failed.
    pub fn lost(&mut self, why: &str) {
        self.end(Closed::Lost(why.to_owned()));
    }

    /// Whether the session is over.
    #[must_use]
    pub const fn is_closed(&self) -> bool {
        matches!(self.phase, Phase::Closed)
    }

    /// Whether so much is unread that nothing more is to be read off the carrier until some of it was taken.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.unread >= u64::from(self.limits.bucket)
    }

    /// Whether so much is unread that what may be lost should be.
    pub(in super::super) fn is_tight(&self) -> bool {
        self.unread > u64::from(self.limits.bucket) / 4 * 3
    }

    /// Whether a stream can be opened, and if not, why.
    ///
    /// # Errors
    ///
    /// What [`Self::open`] would say.
    pub fn may_open(&self) -> Result<(), Refused> {
        match self.phase {
            Phase::Closed => Err(Refused::Closed),
            Phase::Leaving(_) => Err(Refused::Leaving),
            Phase::Open if self.next_own >= u32::MAX - 2 => Err(Refused::Spent),
            Phase::Open if self.own >= self.limits.own => Err(Refused::Full),
            Phase::Open => Ok(()),
        }
    }

    /// Streams that are not over, or not forgotten.
    #[must_use]
    pub fn living(&self) -> usize {
        self.streams.len()
    }

    /// What was counted so far.
    #[must_use]
    pub const fn counts(&self) -> Counts {
        self.counts
    }

    /// Unread bytes that are kept.
    #[must_use]
    pub const fn unread(&self) -> u64 {
        self.unread
    }

    /// A frame that no stream has to wait for its turn with. Whoever makes us stage more than anybody would is cut off.
    pub(super) fn stage(&mut self, header: Header, body: &[u8]) {
        if self.is_closed() {
            return;
        }
        if self.out.staged() + HEADER + body.len() > OUTBOX_MAX {
            return self.end(Closed::Wrong(Wrong::Flood(Flood::Unread)));
        }
        let len = body.len();
        self.out.push_as(Header { len: len as u16, ..header }.bytes(), len, &[body]);
    }

    pub(super) fn end(&mut self, why: Closed) {
        if self.is_closed() {
            return;
        }
        self.phase = Phase::Closed;
        self.kept = Vec::new();
        self.ring = VecDeque::new();
        self.starving = VecDeque::new();
        let keys: Vec<Key> = self.streams.keys().collect();
        for key in keys {
            // What came before the other side's end can still be read.
            let keeps = self.streams.get(key).is_some_and(|s| s.ended && !s.forgotten && s.reset.is_none());
            if let Some(stream) = self.streams.get_mut(key).filter(|_| keeps) {
                stream.finished = true;
            } else {
                self.kill(key, Code::Gone);
            }
            self.settle(key);
        }
        self.effects.clear();
        self.effects.push_back(Effect::Closed(why));
    }

    /// The other side broke the protocol.
    pub(super) fn wrong(&mut self, wrong: Wrong) {
        self.end(Closed::Wrong(wrong));
    }

    /// Something came that does nothing by itself: `weight` is how long it takes until another is welcome.
    pub(in super::super) fn weigh(&mut self, weight: Duration, flood: Flood) {
        self.flood = self.flood.max(self.now) + weight;
        if self.flood > self.now + FLOOD_BURST {
            self.wrong(Wrong::Flood(flood));
        }
    }

    pub(super) fn hear(&mut self, now: Boot) {
        self.now = self.now.max(now);
        self.heard_at = self.now;
    }

    /// The last stream of a session that leaves has ended.
    fn drained(&mut self) {
        if matches!(self.phase, Phase::Leaving(_)) && self.streams.len() == 0 {
            self.end(Closed::Drained);
        }
    }

    /// A stream is over both ways and holds nothing.
    pub(super) fn kill(&mut self, key: Key, code: Code) {
        let Some(stream) = self.streams.get_mut(key) else { return };
        stream.reset.get_or_insert(code);
        self.drop_unread(key);
    }

    fn drop_unread(&mut self, key: Key) {
        let Some(stream) = self.streams.get_mut(key) else { return };
        self.unread -= stream.unread();
        (stream.inbox, stream.held) = (None, 0);
    }

    /// Lets go of a stream that is over: of its number, and of all when nobody knows of it.
    pub(super) fn settle(&mut self, key: Key) {
        let Some(stream) = self.streams.get(key) else { return };
        if !stream.is_over() {
            return;
        }
        if !stream.forgotten {
            return self.streams.unlist(key);
        }
        self.drop_unread(key);
        let Some(Stream { ours, .. }) = self.streams.remove(key) else { return };
        if ours {
            self.own -= 1;
        } else {
            self.peer -= 1;
        }
        self.drained();
    }
}
