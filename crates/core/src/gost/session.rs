//! A session of a tunnel: streams over smux, each behind a header that says who visits, with the face of [`crate::tunnel::Mux`].
//!
//! Headers are read within a time and a size, and one that cannot be read costs its stream alone. In a session of datagrams a
//! stream carries them behind their lengths; what is not whole is kept here and counts as unread.

use std::borrow::Cow;
use std::collections::{HashMap, VecDeque};
use std::hash::BuildHasherDefault;
use std::time::Duration;

use super::datagram;
use super::relay::{self, Addr, Host, Status};
use super::smux::{self, Limits, Role};
use super::{ask, relay::Message};
use crate::time::Boot;
use crate::tunnel::stream::Spread;
use crate::tunnel::{Closed, Code, Counts, Effect, Flood, Heard, Key, Kind, Open, Refused, Side, Unread};

/// The longest header of a stream that is taken: two addresses, and features that nobody knows.
pub const HEADER_MAX: usize = 4 << 10;

/// How long a stream's header may take: gost sends it with what opens the stream, or right behind it.
const HEADER_TIME: Duration = Duration::from_secs(10);

/// Streams that may wait for their headers at once.
const NAMELESS_MAX: usize = 4096;

/// What a stream that comes to nothing is weighed, against floods of them.
const REFUSAL: Duration = Duration::from_micros(200);

/// Datagrams of one stream that are kept; more are dropped, as UDP does.
const DATAGRAMS_MAX: u32 = 1024;

/// A stream that is not plain bytes.
#[derive(Debug)]
enum Part {
    /// Its header has not come.
    Header { reader: relay::Reader, count: usize, until: Boot },
    /// Datagrams, and how many of them are kept.
    Datagrams { reader: datagram::Reader, kept: u32 },
}

/// One side of a tunnel's session.
#[derive(Debug)]
pub struct Session {
    mux: smux::Mux,
    kind: Kind,
    parts: HashMap<Key, Part, BuildHasherDefault<Spread>>,
    /// Streams whose header has not come, by when it must have.
    late: VecDeque<(Boot, Key)>,
    /// How many have none.
    nameless: usize,
}

impl Session {
    /// A session whose request was granted. [`Side::Hub`] was dialled and opens all streams. `greeting` is sent before
    /// everything: a [`ask::Grant`]'s message of the side that grants.
    #[must_use]
    pub fn new(side: Side, kind: Kind, limits: Limits, greeting: &[u8], now: Boot) -> Self {
        let (role, streams) = match side {
            // Its clients open none: what they open is answered with its end, as gost does.
            Side::Hub => (Role::Client, 0),
            Side::Agent => (Role::Server, limits.streams),
        };
        let limits = Limits { streams, ..limits };
        Self {
            mux: smux::Mux::new(role, limits, greeting, now),
            kind,
            parts: HashMap::default(),
            late: VecDeque::new(),
            nameless: 0,
        }
    }

    /// What its streams carry.
    #[must_use]
    pub const fn kind(&self) -> Kind {
        self.kind
    }

    /// Opens a stream: its header and as many of `first` as a turn allows go with it in one piece; how many is told. The
    /// kind is the session's, and so is the target.
    ///
    /// # Errors
    ///
    /// When no stream can be opened; nothing was sent.
    pub fn open(&mut self, open: &Open, first: &[u8], now: Boot) -> Result<(Key, usize), Refused> {
        let port = open.destination.map_or(0, |to| to.port());
        let target = match (&open.host, open.destination) {
            (Some(host), _) if host.len() > 255 => return Err(Refused::TooLong),
            (Some(host), _) => Addr::new(host, port),
            (None, Some(to)) => Addr::from(to),
            (None, None) => Addr::NONE,
        };
        let head = ask::header(open.visitor, target).bytes();
        let first = match self.kind {
            Kind::Bytes => first,
            Kind::Datagrams => &[],
        };
        let (key, count) = self.mux.open(&head, first, now)?;
        self.begin(key);
        Ok((key, count))
    }

    /// The header is known: what follows?
    fn begin(&mut self, key: Key) {
        self.part(key);
        match self.kind {
            Kind::Bytes => self.mux.set_cut(key, 0),
            Kind::Datagrams => {
                let reader = datagram::Reader::default();
                self.mux.set_cut(key, reader.wants());
                self.parts.insert(key, Part::Datagrams { reader, kept: 0 });
            }
        }
    }

    /// Takes bytes off `input` until something has come that the caller should know of; `None` when all were taken. While
    /// [`Self::is_full`] nothing more should be read off the carrier.
    pub fn receive<'a>(&mut self, input: &mut &'a [u8], now: Boot) -> Option<Heard<'a>> {
        loop {
            match self.mux.receive(input, now)? {
                smux::Came::Opened(key) => self.arrived(key, now),
                smux::Came::Data(key, bytes) => match self.parts.get_mut(&key) {
                    None => return Some(Heard::Data(key, bytes)),
                    Some(Part::Header { .. }) => {
                        if let Some(open) = self.header(key, bytes) {
                            return Some(Heard::Opened(key, open));
                        }
                    }
                    Some(Part::Datagrams { .. }) => {
                        if let Some(datagram) = self.piece(key, bytes) {
                            return Some(Heard::Datagram(key, datagram));
                        }
                    }
                },
                smux::Came::Ended(key) if self.is_nameless(key) => self.refuse(key, Code::Malformed),
                smux::Came::Reset(key, code) if self.is_nameless(key) => self.refuse(key, code),
                smux::Came::Ended(key) => return Some(Heard::Ended(key)),
                smux::Came::Reset(key, code) => {
                    self.part(key);
                    return Some(Heard::Reset(key, code));
                }
            }
        }
    }

    /// The other side has opened a stream: its header is to come.
    fn arrived(&mut self, key: Key, now: Boot) {
        let reader = relay::Reader::default();
        self.mux.set_cut(key, reader.wants());
        self.parts.insert(key, Part::Header { reader, count: 0, until: now + HEADER_TIME });
        self.nameless += 1;
        if self.nameless > NAMELESS_MAX {
            return self.refuse(key, Code::Refused);
        }
        self.late.push_back((now + HEADER_TIME, key));
        if self.late.len() > 2 * NAMELESS_MAX {
            let parts = &self.parts;
            let waits = |key: &Key, at: Boot| matches!(parts.get(key), Some(Part::Header { until, .. }) if *until == at);
            self.late.retain(|(until, key)| waits(key, *until));
        }
    }

    /// The stream is not what it was: it has its header, or is gone.
    fn part(&mut self, key: Key) {
        if matches!(self.parts.remove(&key), Some(Part::Header { .. })) {
            self.nameless -= 1;
        }
    }

    /// A piece of datagrams; the next, once it is whole. A session that is tight loses them, and so never has to stop reading.
    fn piece<'a>(&mut self, key: Key, bytes: &'a [u8]) -> Option<Cow<'a, [u8]>> {
        let Some(Part::Datagrams { reader, kept }) = self.parts.get_mut(&key) else { return None };
        let skips = reader.skips();
        let mut piece = bytes;
        let whole = reader.receive(&mut piece);
        self.mux.hold(key, bytes.len());
        let tight = self.mux.is_tight();
        let lost = match &whole {
            _ if skips => bytes.len(),
            Some(datagram) if tight || *kept >= DATAGRAMS_MAX => datagram.len() + datagram::HEAD,
            Some(_) => 0,
            None if tight => {
                let begun = datagram::HEAD + reader.held();
                if reader.give_up() { begun } else { 0 }
            }
            None => 0,
        };
        self.mux.set_cut(key, reader.wants());
        if lost > 0 {
            self.mux.counts.datagrams_dropped += u64::from(!skips);
            self.mux.release(key, lost);
            return None;
        }
        whole
    }

    /// Whether nobody was told of the stream.
    fn is_nameless(&self, key: Key) -> bool {
        matches!(self.parts.get(&key), Some(Part::Header { .. }))
    }

    /// A stream that nobody was told of, and nobody will be.
    fn refuse(&mut self, key: Key, code: Code) {
        self.part(key);
        self.mux.counts.refused += 1;
        self.mux.reset(key, code);
        self.mux.forget(key);
        if !self.mux.is_closed() {
            self.mux.weigh(REFUSAL, Flood::Opens);
        }
    }

    /// A piece of a header; what it says, once it is whole.
    fn header(&mut self, key: Key, bytes: &[u8]) -> Option<Box<Open>> {
        let Some(Part::Header { reader, count, .. }) = self.parts.get_mut(&key) else { return None };
        let mut piece = bytes;
        let read = reader.receive(&mut piece);
        *count += bytes.len();
        let wants = reader.wants();
        let long = *count + wants > HEADER_MAX;
        self.mux.deliver(key, bytes, bytes.len());
        match read {
            Ok(Some(message)) => match self.open_of(&message) {
                Some(open) => {
                    self.begin(key);
                    return Some(Box::new(open));
                }
                None => self.refuse(key, Code::Malformed),
            },
            Ok(None) if !long => self.mux.set_cut(key, wants),
            Ok(None) | Err(_) => self.refuse(key, Code::Malformed),
        }
        None
    }

    /// What a header says; nothing when it says that there is no stream.
    fn open_of(&self, message: &Message) -> Option<Open> {
        if Status::of(message.word) != Status::Ok {
            return None;
        }
        let mut addrs = message.features.iter().filter_map(|feature| match feature {
            relay::Feature::Addr(addr) => Some(addr),
            relay::Feature::Login(_) | relay::Feature::Tunnel(_) | relay::Feature::Network(_) => None,
        });
        let (visitor, target) = (addrs.next(), addrs.next());
        let host = target.and_then(|addr| match &addr.host {
            Host::Name(name) if !name.is_empty() => Some(name.clone()),
            Host::Name(_) | Host::Ip(_) => None,
        });
        Some(Open {
            kind: self.kind,
            visitor: visitor.and_then(Addr::socket),
            destination: target.and_then(Addr::socket),
            host,
            ..Open::default()
        })
    }

    /// Of the bytes that [`Heard::Data`] lent, `taken` were taken; the others are kept until they are asked for.
    pub fn deliver(&mut self, key: Key, bytes: &[u8], taken: usize, _now: Boot) {
        self.mux.deliver(key, bytes, taken);
    }

    /// The datagram that [`Heard::Datagram`] lent was taken (`None`) or is to be kept.
    pub fn deliver_datagram(&mut self, key: Key, len: usize, kept: Option<Cow<'_, [u8]>>, _now: Boot) {
        match kept {
            Some(bytes) => {
                let Some(stream) = self.mux.streams.get_mut(key) else { return };
                stream.inbox.get_or_insert_default().push_datagram(bytes.into_owned());
                if let Some(Part::Datagrams { kept, .. }) = self.parts.get_mut(&key) {
                    *kept += 1;
                }
                // It moves from what is held to the inbox, and stays counted.
                self.mux.moved(key, len);
            }
            None => self.mux.release(key, len + datagram::HEAD),
        }
    }

    /// The first unread datagram.
    pub fn take_datagram(&mut self, key: Key, _now: Boot) -> Option<Vec<u8>> {
        let bytes = self.mux.take_datagram(key)?;
        if let Some(Part::Datagrams { kept, .. }) = self.parts.get_mut(&key) {
            *kept = kept.saturating_sub(1);
        }
        Some(bytes)
    }

    /// Sends a datagram, or drops it when there is neither credit nor room.
    pub fn send_datagram(&mut self, key: Key, bytes: &[u8]) -> bool {
        let sent = match datagram::head(bytes.len()) {
            Some(head) => self.mux.send_whole(key, [&head, bytes]),
            None => false,
        };
        self.mux.counts.datagrams_dropped += u64::from(!sent);
        sent
    }

    /// When [`Self::tick`] is to be called next.
    #[must_use]
    pub fn poll_timeout(&self) -> Boot {
        let late = self.late.front().filter(|_| !self.is_closed()).map_or(Boot::NEVER, |(until, _)| *until);
        self.mux.poll_timeout().min(late)
    }

    /// Time has passed. Whoever drives it hands over what has come before: silence is judged by what was handed over.
    pub fn tick(&mut self, now: Boot) {
        while let Some(&(until, key)) = self.late.front().filter(|(until, _)| now >= *until) {
            self.late.pop_front();
            // Another stream may have its number and place since.
            let Some(Part::Header { until: due, .. }) = self.parts.get_mut(&key) else { continue };
            if *due != until {
                continue;
            }
            if self.mux.is_full() {
                // A full session does not read: it is not the stream that is late.
                *due = now + HEADER_TIME;
                self.late.push_back((*due, key));
            } else {
                self.refuse(key, Code::TooSlow);
            }
        }
        self.mux.tick(now);
    }

    /// Nobody here knows of the stream any more; it is given up if it is not over.
    pub fn forget(&mut self, key: Key) {
        self.part(key);
        self.mux.forget(key);
    }

    /// Gives the stream up: nothing more is sent or taken. The other side sees an end.
    pub fn reset(&mut self, key: Key, code: Code) {
        self.part(key);
        self.mux.reset(key, code);
    }

    /// What the session asks for, until it asks for nothing more. With its end go the streams that nobody was told of.
    pub fn poll_effect(&mut self) -> Option<Effect> {
        let effect = self.mux.poll_effect();
        if matches!(effect, Some(Effect::Closed(_))) {
            self.late = VecDeque::new();
            let waits = |(key, part): (&Key, &Part)| matches!(part, Part::Header { .. }).then_some(*key);
            let nameless: Vec<Key> = self.parts.iter().filter_map(waits).collect();
            nameless.into_iter().for_each(|key| self.refuse(key, Code::Gone));
            self.parts.clear();
            self.nameless = 0;
        }
        effect
    }

    /// So many of the unread bytes were taken.
    pub fn consume(&mut self, key: Key, count: usize, _now: Boot) {
        self.mux.consume(key, count);
    }
}

/// What is smux's alone.
impl Session {
    /// As [`smux::Mux::unread_of`].
    ///
    /// # Errors
    ///
    /// When the stream was reset.
    pub fn unread_of(&self, key: Key) -> Result<Unread<'_>, Code> {
        self.mux.unread_of(key)
    }

    /// As [`smux::Mux::has_unread`].
    #[must_use]
    pub fn has_unread(&self, key: Key) -> bool {
        self.mux.has_unread(key)
    }

    /// As [`smux::Mux::room`].
    ///
    /// # Errors
    ///
    /// When the other side does not want any.
    pub fn room(&mut self, key: Key) -> Result<usize, Code> {
        self.mux.room(key)
    }

    /// As [`smux::Mux::lend`].
    pub fn lend(&mut self, len: usize) -> &mut [u8] {
        self.mux.lend(len)
    }

    /// As [`smux::Mux::commit`].
    pub fn commit(&mut self, key: Key, len: usize) {
        self.mux.commit(key, len);
    }

    /// As [`smux::Mux::send`].
    ///
    /// # Errors
    ///
    /// When the other side does not want any.
    pub fn send(&mut self, key: Key, bytes: &[u8]) -> Result<usize, Code> {
        self.mux.send(key, bytes)
    }

    /// As [`smux::Mux::finish`].
    pub fn finish(&mut self, key: Key) {
        self.mux.finish(key);
    }

    /// As [`smux::Mux::output`].
    #[must_use]
    pub fn output(&self) -> &[u8] {
        self.mux.output()
    }

    /// As [`smux::Mux::sent`].
    pub fn sent(&mut self, count: usize) {
        self.mux.sent(count);
    }

    /// As [`smux::Mux::has_waiting`].
    #[must_use]
    pub fn has_waiting(&self) -> bool {
        self.mux.has_waiting()
    }

    /// As [`smux::Mux::turn`].
    pub fn turn(&mut self) {
        self.mux.turn();
    }

    /// As [`smux::Mux::is_full`].
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.mux.is_full()
    }

    /// As [`smux::Mux::may_open`].
    ///
    /// # Errors
    ///
    /// What [`Self::open`] would say.
    pub fn may_open(&self) -> Result<(), Refused> {
        self.mux.may_open()
    }

    /// As [`smux::Mux::drain`].
    pub fn drain(&mut self, within: Duration, now: Boot) {
        self.mux.drain(within, now);
    }

    /// As [`smux::Mux::close`].
    pub fn close(&mut self, why: Closed) {
        self.mux.close(why);
    }

    /// As [`smux::Mux::lost`].
    pub fn lost(&mut self, why: &str) {
        self.mux.lost(why);
    }

    /// As [`smux::Mux::is_closed`].
    #[must_use]
    pub const fn is_closed(&self) -> bool {
        self.mux.is_closed()
    }

    /// As [`smux::Mux::living`].
    #[must_use]
    pub fn living(&self) -> usize {
        self.mux.living()
    }

    /// As [`smux::Mux::counts`].
    #[must_use]
    pub const fn counts(&self) -> Counts {
        self.mux.counts()
    }

    /// As [`smux::Mux::unread`].
    #[must_use]
    pub const fn unread(&self) -> u64 {
        self.mux.unread()
    }
}
