//! Bytes that come: cut into frames, each judged, what streams carry lent on.

use std::borrow::Cow;
use std::time::Duration;

use super::frame::{self, Header, UPD_LEN};
use super::stream::Stream;
use super::{HEADER, Mux};
use crate::gost::datagram::HEAD;
use crate::time::Boot;
use crate::tunnel::{Code, Effect, Flood, Key, Unread, Wrong};

/// What is weighed against floods: a sign of life, fifty a second.
const NOP_WEIGHT: Duration = Duration::from_millis(20);
/// An opening beyond the limit.
const OPEN_WEIGHT: Duration = Duration::from_micros(200);
/// A frame that does nothing, twenty thousand a second.
const FRAME_WEIGHT: Duration = Duration::from_micros(50);

/// What has come.
#[derive(Debug, PartialEq, Eq)]
pub(in super::super) enum Came<'a> {
    Opened(Key),
    Data(Key, &'a [u8]),
    Ended(Key),
    Reset(Key, Code),
}

/// Where in a frame the next byte belongs.
#[derive(Debug)]
pub(super) enum Reader {
    Head,
    Update(Header),
    /// Bytes of a stream, or of none that is left.
    Body {
        key: Option<Key>,
        left: usize,
    },
    /// The rest of a frame that cost its stream.
    Overrun {
        key: Key,
        left: usize,
    },
}

impl Mux {
    /// Takes bytes off `input` until something has come that the caller should know of; `None` when all were taken. Each
    /// call goes on where the last one ended, wherever that cut a frame. Nothing is taken once the session is closed.
    pub(in super::super) fn receive<'a>(&mut self, input: &mut &'a [u8], now: Boot) -> Option<Came<'a>> {
        if !input.is_empty() && !self.is_closed() {
            self.hear(now);
        }
        while !self.is_closed() {
            match self.reader {
                Reader::Head => {
                    let head = self.gather(input, HEADER)?;
                    let head = head.as_ref().try_into().expect("as many as were asked for");
                    match Header::read(head).map_err(Wrong::Version).and_then(|header| self.begin(header)) {
                        Ok(Some(came)) => return Some(came),
                        Ok(None) => {}
                        Err(wrong) => self.wrong(wrong),
                    }
                }
                Reader::Update(header) => {
                    let body = self.gather(input, UPD_LEN)?;
                    let word =
                        |at: usize| u32::from_le_bytes([body[at], body[at + 1], body[at + 2], body[at + 3]]);
                    let (consumed, window) = (word(0), word(4));
                    self.reader = Reader::Head;
                    if let Some(came) = self.updated(header.id, consumed, window) {
                        return Some(came);
                    }
                }
                Reader::Body { left: 0, .. } => self.reader = Reader::Head,
                Reader::Overrun { key, left: 0 } => {
                    self.reader = Reader::Head;
                    if self.streams.get(key).is_some_and(|s| !s.forgotten) {
                        return Some(Came::Reset(key, Code::Overrun));
                    }
                }
                Reader::Body { key, left } => {
                    let key = key.filter(|key| self.hears(*key));
                    let cut = key.and_then(|key| self.streams.get(key)).map_or(0, |s| s.cut as usize);
                    let most = if cut == 0 { left } else { left.min(cut) };
                    let piece = take(input, most)?;
                    self.reader = Reader::Body { key, left: left - piece.len() };
                    if let Some(key) = key {
                        return Some(Came::Data(key, piece));
                    }
                }
                Reader::Overrun { key, left } => {
                    let piece = take(input, left)?;
                    self.reader = Reader::Overrun { key, left: left - piece.len() };
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
    fn begin<'a>(&mut self, header: Header) -> Result<Option<Came<'a>>, Wrong> {
        let Header { kind, len, id } = header;
        let fits = match kind {
            frame::SYN | frame::FIN | frame::NOP => len == 0,
            frame::PSH => true,
            frame::UPD => usize::from(len) == UPD_LEN,
            _ => return Err(Wrong::Kind(kind)),
        };
        if !fits {
            // What would have to be skipped is anybody's guess: smux itself does not look at the length.
            return Err(Wrong::Length(kind));
        }
        match kind {
            frame::SYN => return Ok(self.opened(id)),
            frame::FIN => return Ok(self.finished(id)),
            frame::PSH => self.pushed(id, len),
            frame::UPD => self.reader = Reader::Update(header),
            _ => self.weigh(NOP_WEIGHT, Flood::Pings),
        }
        Ok(None)
    }

    /// The stream that a frame is for; none when it is over, or never was: smux does not tell the two apart either.
    fn stream_of(&mut self, id: u32) -> Option<Key> {
        let key = self.streams.find(id);
        if key.is_none() {
            self.counts.late += 1;
        }
        key
    }

    /// Whether somebody still wants what comes for a stream.
    fn hears(&self, key: Key) -> bool {
        self.streams.get(key).is_some_and(|s| !s.forgotten && s.reset.is_none())
    }

    fn opened<'a>(&mut self, id: u32) -> Option<Came<'a>> {
        if self.streams.find(id).is_some() || id % 2 == self.next_own % 2 {
            // One that is open already, or a number of ours: nothing that could be answered.
            self.counts.refused += 1;
            self.weigh(OPEN_WEIGHT, Flood::Opens);
            return None;
        }
        if self.peer >= self.limits.streams {
            self.counts.refused += 1;
            self.weigh(OPEN_WEIGHT, Flood::Opens);
            self.stage(Header { kind: frame::FIN, len: 0, id }, &[]);
            return None;
        }
        self.peer += 1;
        self.counts.accepted += 1;
        Some(Came::Opened(self.streams.insert(Stream::new(id, false))))
    }

    fn finished<'a>(&mut self, id: u32) -> Option<Came<'a>> {
        let Some(key) = self.stream_of(id) else {
            self.weigh(FRAME_WEIGHT, Flood::Idle);
            return None;
        };
        let hears = self.hears(key);
        let stream = self.streams.get_mut(key)?;
        if std::mem::replace(&mut stream.ended, true) {
            self.weigh(FRAME_WEIGHT, Flood::Idle);
            return None;
        }
        if stream.wants_credit {
            // It may have let go of the stream: who waits looks again, and begins to wait for a time.
            self.effects.push_back(Effect::Writable(key));
        }
        self.settle(key);
        hears.then_some(Came::Ended(key))
    }

    fn pushed(&mut self, id: u32, len: u16) {
        let left = usize::from(len);
        let key = self.stream_of(id);
        self.reader = Reader::Body { key, left };
        if len == 0 {
            self.weigh(FRAME_WEIGHT, Flood::Idle);
        }
        let Some(key) = key else { return };
        let Some(stream) = self.streams.get_mut(key) else { return };
        if stream.ended || stream.open() < u32::from(len) {
            let known = !stream.forgotten && stream.reset.is_none();
            self.reset(key, Code::Overrun);
            self.reader =
                if known { Reader::Overrun { key, left } } else { Reader::Body { key: None, left } };
            return;
        }
        stream.received = stream.received.wrapping_add(len.into());
        self.counts.bytes_received += u64::from(len);
    }

    fn updated<'a>(&mut self, id: u32, consumed: u32, window: u32) -> Option<Came<'a>> {
        let Some(key) = self.stream_of(id) else {
            self.weigh(FRAME_WEIGHT, Flood::Idle);
            return None;
        };
        let stream = self.streams.get_mut(key)?;
        let unacked = stream.sent.wrapping_sub(consumed);
        // More than was sent, or less than was read before.
        if unacked > stream.sent.wrapping_sub(stream.acked) {
            let known = !stream.forgotten && stream.reset.is_none();
            self.reset(key, Code::Overrun);
            return known.then_some(Came::Reset(key, Code::Overrun));
        }
        let window = window.min(1 << 30);
        let idle = consumed == stream.acked && window <= stream.send_window;
        (stream.acked, stream.send_window) = (consumed, window);
        if stream.affordable() > 0 {
            stream.starves = None;
            if std::mem::take(&mut stream.wants_credit) {
                self.effects.push_back(Effect::Writable(key));
            }
        }
        if idle {
            self.weigh(FRAME_WEIGHT, Flood::Idle);
        }
        None
    }

    /// Of the bytes that were lent, `taken` were taken; the others are kept until they are asked for.
    pub(in super::super) fn deliver(&mut self, key: Key, bytes: &[u8], taken: usize) {
        let rest = &bytes[taken.min(bytes.len())..];
        let Some(stream) = self.streams.get_mut(key).filter(|s| s.reset.is_none() && !s.forgotten) else {
            return;
        };
        if !rest.is_empty() {
            stream.inbox.get_or_insert_default().push(rest);
            self.unread += rest.len() as u64;
        }
        self.took(key, bytes.len() - rest.len());
    }

    /// The bytes that were lent belong to something that is not whole: they are kept by the caller, and counted.
    pub(in super::super) fn hold(&mut self, key: Key, count: usize) {
        let Some(stream) = self.streams.get_mut(key).filter(|s| s.reset.is_none() && !s.forgotten) else {
            return;
        };
        stream.held += count as u32;
        self.unread += count as u64;
    }

    /// So many of the held bytes went on.
    pub(in super::super) fn release(&mut self, key: Key, count: usize) {
        let Some(stream) = self.streams.get_mut(key) else { return };
        let count = stream.held.min(count as u32);
        stream.held -= count;
        self.unread -= u64::from(count);
        self.took(key, count as usize);
    }

    /// A datagram of so many bytes went from what is held to the inbox; only its head was held besides.
    pub(in super::super) fn moved(&mut self, key: Key, len: usize) {
        if let Some(stream) = self.streams.get_mut(key) {
            stream.held = stream.held.saturating_sub(len as u32);
        }
    }

    /// The first unread datagram; its head goes with it.
    pub(in super::super) fn take_datagram(&mut self, key: Key) -> Option<Vec<u8>> {
        let stream = self.streams.get_mut(key)?;
        let inbox = stream.inbox.as_mut()?;
        let bytes = inbox.pop_datagram()?;
        if inbox.is_empty() {
            stream.inbox = None;
        }
        stream.held += bytes.len() as u32;
        self.release(key, bytes.len() + HEAD);
        Some(bytes)
    }

    /// Lends at most so many bytes of the stream at once; 0: as many as there are.
    pub(in super::super) fn set_cut(&mut self, key: Key, cut: usize) {
        if let Some(stream) = self.streams.get_mut(key) {
            stream.cut = cut as u32;
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
    pub fn consume(&mut self, key: Key, count: usize) {
        let Some(stream) = self.streams.get_mut(key) else { return };
        let Some(inbox) = &mut stream.inbox else { return };
        let count = count.min(inbox.front().len());
        inbox.advance(count);
        if inbox.is_empty() {
            stream.inbox = None;
        }
        self.unread -= count as u64;
        self.took(key, count);
    }
}

fn take<'a>(input: &mut &'a [u8], most: usize) -> Option<&'a [u8]> {
    if input.is_empty() {
        return None;
    }
    let (piece, rest) = input.split_at(most.min(input.len()));
    *input = rest;
    Some(piece)
}
