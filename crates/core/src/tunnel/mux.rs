//! The session itself: what it knows, how it begins, what its time does, how it ends.

use std::collections::VecDeque;
use std::time::Duration;

use super::frame::{self, Header};
use super::limits::{Granted, LEAST};
use super::outbox::{OUTBOX_MAX, Outbox};
use super::receive::Reader;
use super::stream::{Stream, Table, excess};
use super::{Closed, Code, Flood, Key, Limits, News, Refused, Wrong};
use crate::time::Boot;

/// A side may be ahead of what floods are measured by so far.
const FLOOD_BURST: Duration = Duration::from_secs(2);

/// Answers to PINGs after which the shortest round trip is looked for anew, in case the way has become longer.
const SPELL: u64 = 64;

/// Who is who: identifiers of the hub's streams are even, the other side's odd.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// Who was dialed.
    Hub,
    /// Who dialed: an agent, or a visitor.
    Agent,
}

/// What the session asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// The stream may try to send again.
    Writable(Key),
    /// Everything is over; what is staged may still be sent, then the carrier is closed.
    Closed(Closed),
}

/// What a session counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Streams that we opened.
    pub opened: u64,
    /// Streams that the other side opened.
    pub accepted: u64,
    /// Streams of the other side's that were refused for our limits.
    pub refused: u64,
    /// Streams that either side reset.
    pub resets: u64,
    /// Payload that was sent.
    pub bytes_sent: u64,
    /// Payload that came.
    pub bytes_received: u64,
    /// Frames for streams that were over.
    pub late: u64,
    /// Frames of kinds that this version does not know.
    pub unknown: u64,
    /// Datagrams that were not sent for want of room or credit.
    pub datagrams_dropped: u64,
}

/// Where a session is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    Open,
    /// We take no new streams once the other side has heard so, which its answer to this PING says; until then, and then.
    Leaving {
        until: Boot,
        token: u64,
        heard: bool,
    },
    Closed,
}

/// One side of a session.
#[derive(Debug)]
pub struct Mux {
    pub(super) limits: Limits,
    /// What the other side allows.
    pub(super) granted: Granted,
    pub(super) phase: Phase,
    pub(super) streams: Table<Stream>,
    pub(super) next_own: u32,
    pub(super) next_peer: u32,
    /// Streams of ours, and of the other side's, that are kept.
    pub(super) own: u32,
    pub(super) peer: u32,
    pub(super) out: Outbox,
    pub(super) reader: Reader,
    /// Pieces of what must be whole.
    pub(super) kept: Vec<u8>,
    /// The other side's LIMITS have come.
    pub(super) settled: bool,
    /// What we sent that counts against the other side's budget.
    pub(super) spent: u64,
    /// What came that counts against ours.
    pub(super) held: u64,
    /// Taken and not returned, over all streams.
    pub(super) taken: u64,
    /// Unread bytes that are kept.
    pub(super) unread: u64,
    /// Streams that wait for their turn.
    pub(super) ring: VecDeque<Key>,
    /// Streams that have their turn and have not used it.
    pub(super) grants: u32,
    /// The carrier had to be waited for a few writes ago.
    pub(super) pressed: u32,
    /// Streams that wait for the other side's budget.
    pub(super) poor: VecDeque<Key>,
    pub(super) effects: VecDeque<Effect>,
    pub(super) now: Boot,
    heard_at: Boot,
    next_ping: Boot,
    /// When the last four PINGs were sent, by their number.
    pings: [Boot; 4],
    ping: u64,
    pub(super) rtt: Option<Duration>,
    /// The shortest round trip of the last [`SPELL`] answers or so: of those before the current spell, and in it.
    pub(super) shortest: [Option<Duration>; 2],
    news: News,
    pub(super) heard_news: News,
    /// The other side takes no new streams.
    pub(super) left: bool,
    flood: Boot,
    pub(super) counts: Counts,
}

impl Mux {
    /// A session whose handshake is done. Limits that are too low for the protocol are raised to what it takes.
    #[must_use]
    pub fn new(side: Side, limits: Limits, now: Boot) -> Self {
        let limits = limits.sound();
        let (next_own, next_peer) = match side {
            Side::Hub => (2, 1),
            Side::Agent => (1, 2),
        };
        let mut mux = Self {
            limits,
            granted: LEAST,
            phase: Phase::Open,
            streams: Table::default(),
            next_own,
            next_peer,
            own: 0,
            peer: 0,
            out: Outbox::default(),
            reader: Reader::Head,
            kept: Vec::new(),
            settled: false,
            spent: 0,
            held: 0,
            taken: 0,
            unread: 0,
            ring: VecDeque::new(),
            grants: 0,
            pressed: 0,
            poor: VecDeque::new(),
            effects: VecDeque::new(),
            now,
            heard_at: now,
            next_ping: now,
            pings: [now; 4],
            ping: 0,
            rtt: None,
            shortest: [None; 2],
            news: News::default(),
            heard_news: News::default(),
            left: false,
            flood: now,
            counts: Counts::default(),
        };
        let mut fields = Vec::new();
        limits.write(&mut fields);
        mux.control(frame::LIMITS, &[&fields]);
        mux.tick(now);
        mux
    }

    /// What the session asks for, until it asks for nothing more.
    pub fn poll_effect(&mut self) -> Option<Effect> {
        self.effects.pop_front()
    }

    /// When [`Self::tick`] is to be called next.
    #[must_use]
    pub fn poll_timeout(&self) -> Boot {
        match self.phase {
            Phase::Open => self.next_ping.min(self.heard_at + self.limits.silence),
            Phase::Leaving { until, .. } => {
                until.min(self.next_ping).min(self.heard_at + self.limits.silence)
            }
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
        if late > self.limits.ping {
            // It was we who were away: what they say of it has yet to be heard.
            self.heard_at = self.heard_at.max(now + self.limits.ping - self.limits.silence);
        }
        if now >= self.heard_at + self.limits.silence {
            return self.end(Closed::Silent(now.since(self.heard_at)));
        }
        if let Phase::Leaving { until, .. } = self.phase
            && now >= until
        {
            return self.close(Closed::Drained);
        }
        if now >= self.next_ping {
            self.next_ping = now + self.limits.ping;
            self.send_ping();
            self.out.rest();
        }
    }

    /// What our next PINGs say.
    pub fn tell(&mut self, news: News) {
        if news != self.news {
            self.news = news;
            // Whoever chooses among agents should not go on choosing one whose target has died.
            self.next_ping = self.next_ping.min(self.now);
        }
    }

    /// How busy our next PINGs say that we are. None is sent for it.
    pub const fn set_load(&mut self, load: u32) {
        self.news.load = load;
    }

    /// What the other side's last PING said.
    #[must_use]
    pub const fn heard(&self) -> &News {
        &self.heard_news
    }

    /// Takes no new streams, in a way that loses none which is on its way; ends when the last has ended, or after `within`.
    pub fn drain(&mut self, within: Duration, now: Boot) {
        self.now = self.now.max(now);
        let until = self.now + within;
        match &mut self.phase {
            Phase::Open => {
                self.goaway(within, "it leaves");
                self.send_ping();
                self.phase = Phase::Leaving { until, token: self.ping, heard: false };
            }
            Phase::Leaving { until: before, .. } => *before = until.min(*before),
            Phase::Closed => {}
        }
    }

    /// Ends the session and tells the other side why.
    pub fn close(&mut self, why: Closed) {
        if self.is_closed() {
            return;
        }
        let words = match &why {
            Closed::Asked => "it was told to".to_owned(),
            Closed::Drained => "it has drained".to_owned(),
            Closed::Silent(_) | Closed::Lost(_) | Closed::Told(_) => why.to_string(),
            Closed::Wrong(wrong) => wrong.to_string(),
        };
        self.goaway(Duration::ZERO, &words);
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

    /// Whether a stream can be opened, and if not, why.
    ///
    /// # Errors
    ///
    /// What [`Self::open`] would say.
    pub fn may_open(&self) -> Result<(), Refused> {
        match self.phase {
            Phase::Closed => Err(Refused::Closed),
            Phase::Leaving { .. } => Err(Refused::Leaving),
            Phase::Open if self.left => Err(Refused::Leaving),
            Phase::Open if self.next_own >= u32::MAX - 1 => Err(Refused::Spent),
            Phase::Open if self.own >= self.granted.streams => Err(Refused::Full),
            Phase::Open => Ok(()),
        }
    }

    /// Whether the other side takes no new streams.
    #[must_use]
    pub const fn has_left(&self) -> bool {
        self.left
    }

    /// Streams that are not over, or not forgotten.
    #[must_use]
    pub fn living(&self) -> usize {
        self.streams.len()
    }

    /// How long a PING took to be answered, smoothed.
    #[must_use]
    pub const fn rtt(&self) -> Option<Duration> {
        self.rtt
    }

    /// How long a PING takes at least, of late: with nothing before it in any queue.
    pub(super) fn least(&self) -> Option<Duration> {
        self.shortest.iter().flatten().min().copied()
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

    /// Tells the other side that we go, `within` from now.
    fn goaway(&mut self, within: Duration, why: &str) {
        let millis = u32::try_from(within.as_millis()).unwrap_or(u32::MAX);
        self.control(frame::GOAWAY, &[&millis.to_be_bytes(), why.as_bytes()]);
    }

    fn send_ping(&mut self) {
        self.ping += 1;
        self.pings[(self.ping % 4) as usize] = self.now;
        let mut fields = Vec::new();
        self.news.write(&mut fields);
        self.control(frame::PING, &[&self.ping.to_be_bytes(), &fields]);
    }

    /// A frame of the session's own.
    pub(super) fn control(&mut self, kind: u8, parts: &[&[u8]]) {
        self.stage(Header { id: 0, len: 0, kind, flags: 0 }, parts);
    }

    /// A frame that no stream has to wait for its turn with. Whoever makes us stage more than anybody would is cut off.
    pub(super) fn stage(&mut self, header: Header, parts: &[&[u8]]) {
        let len: usize = parts.iter().map(|part| part.len()).sum();
        if self.is_closed() {
            return;
        }
        if self.out.staged() + len > OUTBOX_MAX {
            return self.end(Closed::Wrong(Wrong::Flood(Flood::Unread)));
        }
        self.out.push(Header { len: len as u16, ..header }, parts);
    }

    pub(super) fn end(&mut self, why: Closed) {
        if self.is_closed() {
            return;
        }
        self.phase = Phase::Closed;
        self.kept = Vec::new();
        self.ring = VecDeque::new();
        self.poor = VecDeque::new();
        let keys: Vec<Key> = self.streams.keys().collect();
        for key in keys {
            self.cut(key, Code::Gone);
            self.settle(key);
        }
        self.effects.clear();
        self.effects.push_back(Effect::Closed(why));
    }

    /// The other side broke the protocol.
    pub(super) fn wrong(&mut self, wrong: Wrong) {
        self.close(Closed::Wrong(wrong));
    }

    /// Something came that does nothing by itself: `weight` is how long it takes until another is welcome.
    pub(super) fn weigh(&mut self, weight: Duration, flood: Flood) {
        self.flood = self.flood.max(self.now) + weight;
        if self.flood > self.now + FLOOD_BURST {
            self.wrong(Wrong::Flood(flood));
        }
    }

    pub(super) fn hear(&mut self, now: Boot) {
        self.now = self.now.max(now);
        self.heard_at = self.now;
    }

    /// An answer to a PING.
    pub(super) fn pong(&mut self, token: u64) {
        if token == 0 || token > self.ping || token + 4 <= self.ping {
            return;
        }
        let took = self.now.since(self.pings[(token % 4) as usize]);
        if token.is_multiple_of(SPELL) {
            self.shortest = [self.shortest[1], None];
        }
        self.shortest[1] = Some(self.shortest[1].map_or(took, |least| least.min(took)));
        // As TCP smooths its own (RFC 6298).
        self.rtt = Some(self.rtt.map_or(took, |rtt| (rtt * 7 + took) / 8));
        if let Phase::Leaving { token: asked, heard, .. } = &mut self.phase {
            *heard |= token >= *asked;
            self.drained();
        }
    }

    /// The last stream of a session that leaves has ended.
    pub(super) fn drained(&mut self) {
        if matches!(self.phase, Phase::Leaving { heard: true, .. }) && self.streams.len() == 0 {
            self.close(Closed::Drained);
        }
    }

    /// The other side hears no more of the stream, and sends no more; what it had sent to its end can still be read.
    pub(super) fn cut(&mut self, key: Key, code: Code) {
        match self.streams.get_mut(key) {
            Some(stream) if stream.ended && !stream.forgotten && stream.reset.is_none() => {
                stream.deaf.get_or_insert(code);
                self.set_unacked(key, 0);
            }
            Some(_) => self.kill(key, code),
            None => {}
        }
    }

    /// A stream is over both ways and holds nothing.
    pub(super) fn kill(&mut self, key: Key, code: Code) {
        let Some(stream) = self.streams.get_mut(key) else { return };
        stream.reset.get_or_insert(code);
        self.drop_unread(key);
        self.set_unacked(key, 0);
    }

    /// Forgets what is unread and what was not returned.
    pub(super) fn drop_unread(&mut self, key: Key) {
        let Some(stream) = self.streams.get_mut(key) else { return };
        let (held, taken) = (std::mem::take(&mut stream.held), std::mem::take(&mut stream.taken));
        let unread = stream.unread();
        stream.inbox = None;
        self.held -= excess(held);
        self.taken -= u64::from(taken);
        self.unread -= unread as u64;
    }

    pub(super) fn set_unacked(&mut self, key: Key, unacked: u32) {
        let Some(stream) = self.streams.get_mut(key) else { return };
        let before = std::mem::replace(&mut stream.unacked, unacked);
        self.spent = self.spent + excess(unacked) - excess(before);
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
