//! Bytes that come: cut into frames, each judged, what streams carry lent on.

use std::borrow::Cow;
use std::time::Duration;

use super::fields::Fields;
use super::frame::{self, CONTROL_MAX, DATAGRAMS, FIN, Header};
use super::inbox::Inbox;
use super::limits::Granted;
use super::stream::{Stream, excess};
use super::{
    Closed, Code, DATAGRAM_COST, DATAGRAM_MAX, Effect, Flood, HEADER, Key, Kind, Mux, News, Open, Wrong,
};
use crate::time::Boot;

/// What is weighed against floods: a PING, fifty a second.
const PING_WEIGHT: Duration = Duration::from_millis(20);
/// An opening beyond the limit.
const OPEN_WEIGHT: Duration = Duration::from_micros(200);
/// A stream that is reset, twenty thousand a second, or a frame that does nothing.
const FRAME_WEIGHT: Duration = Duration::from_micros(50);

/// One for a stream that is over: a window of them may be on the way when it ends.
const LATE_WEIGHT: Duration = Duration::from_micros(20);

/// What has come.
#[derive(Debug, PartialEq, Eq)]
pub enum Heard<'a> {
    /// A stream was opened.
    Opened(Key, Box<Open>),
    /// Bytes of a stream, out of the caller's own buffer: [`Mux::deliver`] wants to know how many were taken.
    Data(Key, &'a [u8]),
    /// A datagram: [`Mux::deliver_datagram`] wants to know whether it was taken.
    Datagram(Key, Cow<'a, [u8]>),
    /// The other side has sent its end: after what is unread.
    Ended(Key),
    /// The stream was reset. If it had ended before, what is unread can still be read.
    Reset(Key, Code),
    /// The other side takes no new streams.
    Left,
    /// It tells other news of itself than before.
    News,
}

/// Where in a frame the next byte belongs.
#[derive(Debug)]
pub(super) enum Reader {
    Head,
    /// How long an OPEN's fields are.
    OpenLen(Header),
    OpenFields(Header, u16),
    /// A frame of the session's own, or a short one of a stream.
    Control(Header),
    /// Bytes of a stream, or of none that is left.
    Body {
        key: Option<Key>,
        left: usize,
        fin: bool,
    },
    Datagram(Key, Header),
}

impl Mux {
    /// Takes bytes off `input` until something has come that the caller should know of; `None` when all were taken. Each
    /// call goes on where the last one ended, wherever that cut a frame. Nothing is taken once the session is closed.
    pub fn receive<'a>(&mut self, input: &mut &'a [u8], now: Boot) -> Option<Heard<'a>> {
        if !input.is_empty() && !self.is_closed() {
            self.hear(now);
        }
        while !self.is_closed() {
            match self.reader {
                Reader::Head => {
                    let head = self.gather(input, HEADER)?;
                    let header = Header::read(head.as_ref().try_into().expect("as many as were asked for"));
                    if let Err(wrong) = self.begin(header) {
                        self.wrong(wrong);
                    }
                }
                Reader::OpenLen(header) => {
                    let len = self.gather(input, 2)?;
                    let len = u16::from_be_bytes([len[0], len[1]]);
                    if usize::from(len) > CONTROL_MAX || len + 2 > header.len {
                        self.wrong(Wrong::Length(header.kind));
                    } else {
                        self.reader = Reader::OpenFields(header, len);
                    }
                }
                Reader::OpenFields(header, len) => {
                    let fields = self.gather(input, len.into())?;
                    if let Some(heard) = self.opened(header, &fields) {
                        return Some(heard);
                    }
                }
                Reader::Control(header) => {
                    let body = self.gather(input, header.len.into())?;
                    self.reader = Reader::Head;
                    match self.act(header, &body) {
                        Ok(Some(heard)) => return Some(heard),
                        Ok(None) => {}
                        Err(wrong) => self.wrong(wrong),
                    }
                }
                Reader::Body { key, left, fin } => match self.body(input, key, left, fin) {
                    Step::Heard(heard) => return Some(heard),
                    Step::On => {}
                    Step::More => return None,
                },
                Reader::Datagram(key, header) => {
                    let bytes = self.gather(input, header.len.into())?;
                    self.reader = Reader::Head;
                    if header.flags & FIN != 0 {
                        self.reader = Reader::Body { key: Some(key), left: 0, fin: true };
                    }
                    if self.hears(key) {
                        return Some(Heard::Datagram(key, bytes));
                    }
                }
            }
        }
        None
    }

    /// So many bytes, once they are there.
    fn gather<'a>(&mut self, input: &mut &'a [u8], need: usize) -> Option<Cow<'a, [u8]>> {
        if self.kept.is_empty()
            && let Some((bytes, rest)) = input.split_at_checked(need)
        {
            *input = rest;
            return Some(Cow::Borrowed(bytes));
        }
        let (bytes, rest) = input.split_at((need - self.kept.len()).min(input.len()));
        self.kept.extend_from_slice(bytes);
        *input = rest;
        (self.kept.len() == need).then(|| Cow::Owned(std::mem::take(&mut self.kept)))
    }

    /// A header has come: what follows it?
    fn begin(&mut self, header: Header) -> Result<(), Wrong> {
        let Header { id, len, kind, .. } = header;
        if self.settled == (kind == frame::LIMITS) {
            return Err(Wrong::Limits);
        }
        let of_stream = matches!(kind, frame::OPEN | frame::DATA | frame::RESET | frame::CREDIT);
        let of_session = matches!(kind, frame::PING | frame::PONG | frame::GOAWAY | frame::LIMITS);
        if (of_stream && id == 0) || (of_session && id != 0) {
            return Err(Wrong::Misplaced(kind));
        }
        let least = match kind {
            frame::OPEN | frame::RESET => 2,
            frame::CREDIT | frame::PING | frame::PONG => 8,
            frame::GOAWAY => 4,
            _ => 0,
        };
        if len < least {
            return Err(Wrong::Length(kind));
        }
        match kind {
            frame::OPEN => self.reader = Reader::OpenLen(header),
            frame::DATA => return self.data(header),
            _ if !of_stream && !of_session => {
                self.counts.unknown += 1;
                self.weigh(FRAME_WEIGHT, Flood::Idle);
                self.reader = Reader::Body { key: None, left: len.into(), fin: false };
            }
            // What was added behind the known fields of a later version is skipped, within reason.
            _ if usize::from(len) > CONTROL_MAX => return Err(Wrong::Length(kind)),
            _ => self.reader = Reader::Control(header),
        }
        Ok(())
    }

    /// Whether a number of the wire was ever used.
    fn was_opened(&self, id: u32) -> bool {
        let ours = id % 2 == self.next_own % 2;
        id < if ours { self.next_own } else { self.next_peer }
    }

    /// The stream that a frame is for; none when it is over.
    fn stream_of(&mut self, id: u32) -> Result<Option<Key>, Wrong> {
        match self.streams.find(id) {
            Some(key) => Ok(Some(key)),
            None if self.was_opened(id) => {
                self.counts.late += 1;
                self.weigh(LATE_WEIGHT, Flood::Idle);
                Ok(None)
            }
            None => Err(Wrong::Unopened(id)),
        }
    }

    /// Whether somebody still wants what comes for a stream.
    fn hears(&self, key: Key) -> bool {
        self.streams.get(key).is_some_and(|s| !s.forgotten && s.reset.is_none() && s.deaf.is_none())
    }

    fn data(&mut self, header: Header) -> Result<(), Wrong> {
        let Header { id, len, flags, .. } = header;
        let fin = flags & FIN != 0;
        let key = self.stream_of(id)?.filter(|key| self.hears(*key));
        self.reader = Reader::Body { key: None, left: len.into(), fin: false };
        let Some(key) = key else { return Ok(()) };
        if len == 0 && !fin && !self.streams.get(key).is_some_and(|s| s.datagrams) {
            self.weigh(FRAME_WEIGHT, Flood::Idle);
        }
        let Some(stream) = self.streams.get(key) else { return Ok(()) };
        let datagrams = stream.datagrams;
        // An end that comes by itself is no datagram.
        let datagram = datagrams && (len > 0 || !fin);
        let cost = if datagram { u32::from(len) + DATAGRAM_COST } else { len.into() };
        let fits = !stream.ended && stream.receive_window.saturating_sub(stream.held) >= cost;
        if !fits || (datagrams && usize::from(len) > DATAGRAM_MAX) {
            self.reset(key, Code::Overrun);
            // Whoever had it is told when the frame is over.
            self.reader = Reader::Body { key: Some(key), left: len.into(), fin: false };
            return Ok(());
        }
        self.hold(key, cost)?;
        self.reader = if datagram {
            Reader::Datagram(key, header)
        } else {
            Reader::Body { key: Some(key), left: len.into(), fin }
        };
        Ok(())
    }

    fn hold(&mut self, key: Key, bytes: u32) -> Result<(), Wrong> {
        let Some(stream) = self.streams.get_mut(key) else { return Ok(()) };
        let before = stream.held;
        stream.held += bytes;
        self.held = self.held + excess(stream.held) - excess(before);
        self.counts.bytes_received += u64::from(bytes);
        if self.held > u64::from(self.limits.budget) { Err(Wrong::Budget) } else { Ok(()) }
    }

    /// The next piece of a stream's bytes.
    fn body<'a>(&mut self, input: &mut &'a [u8], key: Option<Key>, left: usize, fin: bool) -> Step<'a> {
        if left == 0 {
            self.reader = Reader::Head;
            return key.map_or(Step::On, |key| self.body_done(key, fin));
        }
        if input.is_empty() {
            return Step::More;
        }
        let (piece, rest) = input.split_at(left.min(input.len()));
        *input = rest;
        self.reader = Reader::Body { key, left: left - piece.len(), fin };
        match key.filter(|key| self.hears(*key)) {
            Some(key) => Step::Heard(Heard::Data(key, piece)),
            None => Step::On,
        }
    }

    fn body_done<'a>(&mut self, key: Key, fin: bool) -> Step<'a> {
        let Some(stream) = self.streams.get_mut(key) else { return Step::On };
        match stream.reset {
            // A stream that we reset for what it sent.
            Some(code) if !fin && !stream.forgotten => return Step::Heard(Heard::Reset(key, code)),
            Some(_) => return Step::On,
            None => {}
        }
        if !fin {
            return Step::On;
        }
        stream.ended = true;
        let forgotten = stream.forgotten;
        self.give_back(key);
        self.settle(key);
        if forgotten { Step::On } else { Step::Heard(Heard::Ended(key)) }
    }

    fn opened<'a>(&mut self, header: Header, fields: &[u8]) -> Option<Heard<'a>> {
        let Header { id, len, flags, .. } = header;
        let left = usize::from(len) - 2 - fields.len();
        self.reader = Reader::Body { key: None, left, fin: false };
        if id != self.next_peer {
            self.wrong(Wrong::Order(id));
            return None;
        }
        // Past the last number nothing can be in order.
        self.next_peer = id.checked_add(2).unwrap_or(0);
        let kind = if flags & DATAGRAMS == 0 { Kind::Bytes } else { Kind::Datagrams };
        let open = Open::read(kind, fields);
        let leaves = matches!(self.phase, super::mux::Phase::Leaving { heard: true, .. });
        if self.peer >= self.limits.streams {
            self.weigh(OPEN_WEIGHT, Flood::Opens);
        }
        let code = match open {
            _ if self.peer >= self.limits.streams || leaves => Code::Refused,
            Err(_) => Code::Malformed,
            // First bytes have no borders.
            Ok(_) if kind == Kind::Datagrams && left > 0 => Code::Malformed,
            Ok(_) if left > self.limits.window as usize => Code::Overrun,
            Ok(open) => return self.accept(header, left, open),
        };
        if code == Code::Malformed {
            self.weigh(OPEN_WEIGHT, Flood::Opens);
        }
        self.counts.refused += 1;
        self.stage(Header { id, len: 0, kind: frame::RESET, flags: 0 }, &[&code.number().to_be_bytes()]);
        None
    }

    fn accept<'a>(&mut self, header: Header, left: usize, open: Open) -> Option<Heard<'a>> {
        let (send, receive) = (self.granted.window, self.limits.window);
        let mut stream = Stream::new(header.id, false, send, receive, self.now);
        stream.datagrams = open.kind == Kind::Datagrams;
        let key = self.streams.insert(stream);
        self.peer += 1;
        self.counts.accepted += 1;
        self.reader = Reader::Body { key: Some(key), left, fin: header.flags & FIN != 0 };
        if let Err(wrong) = self.hold(key, left as u32) {
            self.wrong(wrong);
            return None;
        }
        Some(Heard::Opened(key, Box::new(open)))
    }

    /// A whole frame that is not a stream's payload.
    fn act<'a>(&mut self, header: Header, body: &[u8]) -> Result<Option<Heard<'a>>, Wrong> {
        let broken = |_| Wrong::Length(header.kind);
        let word = |at: usize| u32::from_be_bytes(body[at..at + 4].try_into().expect("four of them"));
        match header.kind {
            frame::RESET => {
                self.weigh(FRAME_WEIGHT, Flood::Resets);
                let code = Code::from_number(u16::from_be_bytes([body[0], body[1]]));
                let key = self.stream_of(header.id)?;
                return Ok(key.and_then(|key| self.reset_by_peer(key, code)));
            }
            frame::CREDIT => {
                if let Some(key) = self.stream_of(header.id)? {
                    return Ok(self.credited(key, word(0), word(4)));
                }
            }
            frame::PING => {
                self.weigh(PING_WEIGHT, Flood::Pings);
                let news = News::read(&body[8..]).map_err(broken)?;
                self.control(frame::PONG, &[&body[..8]]);
                if news != self.heard_news {
                    self.heard_news = news;
                    return Ok(Some(Heard::News));
                }
            }
            frame::PONG => {
                self.weigh(FRAME_WEIGHT, Flood::Pings);
                let token = body[..8].try_into().expect("its length was looked at");
                self.pong(u64::from_be_bytes(token));
            }
            frame::GOAWAY if word(0) == 0 => {
                let words = String::from_utf8_lossy(&body[4..body.len().min(4 + 200)]);
                self.end(Closed::Told(words.chars().filter(|c| !c.is_control()).collect()));
            }
            frame::GOAWAY => {
                self.weigh(PING_WEIGHT, Flood::Idle);
                if !std::mem::replace(&mut self.left, true) {
                    return Ok(Some(Heard::Left));
                }
            }
            frame::LIMITS => {
                if Fields(body).any(|field| field.is_err()) {
                    return Err(Wrong::Length(header.kind));
                }
                self.granted = Granted::read(body).map_err(broken)?;
                self.settled = true;
                self.widen();
            }
            _ => {}
        }
        Ok(None)
    }

    /// The other side allows more than what streams were opened with.
    fn widen(&mut self) {
        let window = self.granted.window;
        let keys: Vec<Key> = self.streams.keys().collect();
        for key in keys {
            let Some(stream) = self.streams.get_mut(key) else { continue };
            stream.send_window = stream.send_window.max(window);
            self.effects.push_back(Effect::Writable(key));
        }
    }

    fn reset_by_peer<'a>(&mut self, key: Key, code: Code) -> Option<Heard<'a>> {
        self.counts.resets += 1;
        let stream = self.streams.get_mut(key)?;
        let known = !stream.forgotten && stream.reset.is_none();
        self.cut(key, code);
        self.settle(key);
        known.then_some(Heard::Reset(key, code))
    }

    fn credited<'a>(&mut self, key: Key, count: u32, window: u32) -> Option<Heard<'a>> {
        let stream = self.streams.get_mut(key)?;
        if count > stream.unacked {
            let known = !stream.forgotten && stream.reset.is_none();
            self.reset(key, Code::Overrun);
            self.kill(key, Code::Overrun);
            self.settle(key);
            return known.then_some(Heard::Reset(key, Code::Overrun));
        }
        let idle = count == 0 && window <= stream.send_window;
        stream.send_window = stream.send_window.max(window.min(1 << 30));
        let left = stream.unacked - count;
        if std::mem::take(&mut stream.wants_credit) {
            self.effects.push_back(Effect::Writable(key));
        }
        self.set_unacked(key, left);
        self.settle(key);
        self.enrich();
        if idle {
            self.weigh(FRAME_WEIGHT, Flood::Idle);
        }
        None
    }

    /// Of the bytes that [`Heard::Data`] lent, `taken` were taken; the others are kept until they are asked for.
    pub fn deliver(&mut self, key: Key, bytes: &[u8], taken: usize, now: Boot) {
        let rest = &bytes[taken.min(bytes.len())..];
        let Some(stream) = self.streams.get_mut(key).filter(|s| s.reset.is_none() && !s.forgotten) else {
            return;
        };
        if !rest.is_empty() {
            stream.inbox.get_or_insert_default().push(rest);
            self.unread += rest.len() as u64;
        }
        self.took(key, bytes.len() - rest.len(), now);
    }

    /// The datagram that [`Heard::Datagram`] lent was taken (`None`) or is to be kept.
    pub fn deliver_datagram(&mut self, key: Key, len: usize, kept: Option<Cow<'_, [u8]>>, now: Boot) {
        let Some(stream) = self.streams.get_mut(key).filter(|s| s.reset.is_none() && !s.forgotten) else {
            return;
        };
        match kept {
            Some(bytes) => {
                stream.inbox.get_or_insert_default().push_datagram(bytes.into_owned());
                self.unread += len as u64;
            }
            None => self.took(key, len + DATAGRAM_COST as usize, now),
        }
    }

    /// Whether bytes wait for the stream's reader; new ones must not overtake them.
    #[must_use]
    pub fn has_unread(&self, key: Key) -> bool {
        self.streams.get(key).is_some_and(Stream::has_unread)
    }

    /// The first of what is unread.
    ///
    /// # Errors
    ///
    /// When the stream was reset.
    pub fn unread_of(&self, key: Key) -> Result<Unread<'_>, Code> {
        let Some(stream) = self.streams.get(key) else { return Err(Code::Gone) };
        match (&stream.inbox, stream.reset) {
            (_, Some(code)) => Err(code),
            (Some(inbox), None) if !inbox.is_empty() => Ok(Unread::Bytes(inbox.front())),
            (_, None) if stream.ended => Ok(Unread::End),
            (_, None) => Ok(Unread::Nothing),
        }
    }

    /// So many of the unread bytes were taken.
    pub fn consume(&mut self, key: Key, count: usize, now: Boot) {
        let Some(stream) = self.streams.get_mut(key) else { return };
        let Some(inbox) = &mut stream.inbox else { return };
        let count = count.min(inbox.front().len());
        inbox.advance(count);
        self.unread -= count as u64;
        self.read_on(key, count, now);
    }

    /// The first unread datagram.
    pub fn take_datagram(&mut self, key: Key, now: Boot) -> Option<Vec<u8>> {
        let bytes = self.streams.get_mut(key)?.inbox.as_mut()?.pop_datagram()?;
        self.unread -= bytes.len() as u64;
        self.read_on(key, bytes.len() + DATAGRAM_COST as usize, now);
        Some(bytes)
    }

    fn read_on(&mut self, key: Key, count: usize, now: Boot) {
        if let Some(stream) = self.streams.get_mut(key)
            && stream.inbox.as_deref().is_some_and(Inbox::is_empty)
        {
            stream.inbox = None;
        }
        self.took(key, count, now);
    }
}

/// What is unread of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unread<'a> {
    /// Bytes, at least one; or a datagram.
    Bytes(&'a [u8]),
    /// Nothing, and nothing will come.
    End,
    /// Nothing yet.
    Nothing,
}

/// What a piece of payload led to.
enum Step<'a> {
    Heard(Heard<'a>),
    On,
    More,
}
