//! One side of a connection: what it knows, what it says of itself, how it ends.

use std::collections::VecDeque;
use std::time::Duration;

use super::decode::Decoder;
use super::encode::Encoder;
use super::frame::{self, setting};
use super::head::ResponseHead;
use super::stream::{End, Head, Key, Stream, Streams};
use super::{Code, PREFACE, RequestHead};
use crate::time::Boot;

/// Window of a connection before its SETTINGS and its first WINDOW_UPDATE (RFC 9113 section 6.9.2).
pub(super) const FIRST_WINDOW: u32 = 65_535;

/// What the peer may send of all bodies together before they are taken: at 20 ms 400 Mbit/s, and the most that one connection can
/// make us hold.
pub(super) const CONNECTION_WINDOW: u32 = 1 << 20;

/// The same for one stream.
pub(super) const STREAM_WINDOW: u32 = 256 << 10;

/// Bytes that wait to be sent before senders and the peer have to wait themselves.
pub(super) const OUTPUT_MAX: usize = 128 << 10;

/// A backend that has not said how many streams it takes.
const STREAMS_ASSUMED: u32 = 100;

/// The payload of the PING behind the first GOAWAY, and of those that keep a connection alive.
const DRAIN_PING: [u8; 8] = *b"drained?";
const ALIVE_PING: [u8; 8] = *b"alive?  ";

/// Streams that a client may reset at once, beside as many as it may have open; browsers do so when a page is left.
const RESETS: u32 = 200;

/// For each of these a client may reset one more stream.
const RESET_EVERY: Duration = Duration::from_millis(20);

/// Bytes of frames that carry nothing, which a peer may send beyond eight times those that carry something.
const IDLE_BYTES: u64 = 1 << 20;

/// A client that still sends when its response is whole has this long to read that before the stream is reset: curl 7.88
/// loses a response that a reset follows too soon.
const LINGER: Duration = Duration::from_secs(1);

/// A body that a successful response did not wait for is thrown away up to here: curl wants to send all of it.
pub(super) const LINGER_BYTES: u32 = 64 << 20;

/// Bounds of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of a head, as RFC 9113 6.5.2 counts them.
    pub head_max: u32,
    /// Fields of a head.
    pub fields_max: u32,
    /// Streams at once that the peer may open.
    pub streams_max: u32,
    /// Whether fields with `_` in their names are left out, trailers apart.
    pub drop_underscores: bool,
}

/// What has happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// A client has opened a stream: its [`Connection::request`] is there.
    Opened(Key),
    /// There is something to take that was waited for: a head, bytes, the end, a reset.
    Readable(Key),
    /// There is room that was waited for, or there never will be.
    Writable(Key),
    /// A request was refused, for this reason; for counters.
    Refused(&'static str),
    /// The connection is over: send what is there and close it.
    Closed(Code),
}

/// Which side we are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    Server,
    Client,
}

/// How the connection comes to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    Open,
    /// The first GOAWAY was sent: streams that cross it are still taken.
    Leaving,
    /// The last one was sent, with this stream.
    Draining(u32),
    Closed(Code),
}

/// A header block that has not come whole.
#[derive(Debug)]
pub(super) struct Block {
    pub(super) stream: u32,
    pub(super) flags: u8,
    pub(super) bytes: Vec<u8>,
    pub(super) frames: u32,
    /// The stream depends on itself.
    pub(super) circular: bool,
}

/// What the peer's SETTINGS say.
#[derive(Clone, Copy, Debug)]
pub(super) struct Peer {
    pub(super) window: u32,
    pub(super) streams_max: u32,
}

/// One side of a connection.
#[derive(Debug)]
pub struct Connection {
    pub(super) role: Role,
    pub(super) phase: Phase,
    pub(super) limits: Limits,
    pub(super) decoder: Decoder,
    pub(super) encoder: Encoder,
    pub(super) streams: Streams,
    /// Bytes of the preface that are still to come.
    pub(super) preface: usize,
    /// The peer's SETTINGS have come.
    pub(super) settled: bool,
    pub(super) block: Option<Block>,
    /// The last stream that the peer has opened.
    pub(super) last_peer: u32,
    /// The stream that we open next.
    pub(super) next_own: u32,
    pub(super) peer: Peer,
    /// The peer will not answer streams above this one.
    pub(super) peer_last: Option<u32>,
    pub(super) receive_window: i64,
    pub(super) credit: u32,
    pub(super) send_window: i64,
    /// Those who wait for the connection's window or for room in `out`.
    pub(super) queue: VecDeque<Key>,
    pub(super) events: VecDeque<Event>,
    pub(super) out: Vec<u8>,
    /// Bytes of `out` that were sent.
    pub(super) out_at: usize,
    /// Bytes that left `out` since the beginning, with those of `out` that were sent.
    pub(super) out_gone: u64,
    pub(super) awaits_pong: bool,
    /// Identifiers of streams that linger, and until when, once [`Connection::tick`] has seen them.
    pub(super) lingering: VecDeque<(u32, Option<Boot>)>,
    /// When bytes came last.
    pub(super) now: Boot,
    /// When the client could have reset the last stream of those that it may.
    resets: Boot,
    /// Bytes of frames, and those of them that carry something.
    pub(super) frames_bytes: u64,
    pub(super) useful_bytes: u64,
    /// Requests so far.
    pub(super) opened: u64,
}

impl Connection {
    /// Towards a client; expects the preface.
    #[must_use]
    pub fn server(limits: Limits) -> Self {
        let mut connection = Self::new(Role::Server, limits, PREFACE.len());
        frame::settings(
            &mut connection.out,
            &[
                (setting::MAX_CONCURRENT_STREAMS, limits.streams_max),
                (setting::INITIAL_WINDOW_SIZE, STREAM_WINDOW),
                (setting::MAX_HEADER_LIST_SIZE, limits.head_max),
            ],
        );
        frame::window(&mut connection.out, 0, CONNECTION_WINDOW - FIRST_WINDOW);
        connection
    }

    /// Towards a backend.
    #[must_use]
    pub fn client(limits: Limits) -> Self {
        let mut connection = Self::new(Role::Client, limits, 0);
        connection.out.extend_from_slice(PREFACE);
        frame::settings(
            &mut connection.out,
            &[
                (setting::ENABLE_PUSH, 0),
                (setting::INITIAL_WINDOW_SIZE, STREAM_WINDOW),
                (setting::MAX_HEADER_LIST_SIZE, limits.head_max),
            ],
        );
        frame::window(&mut connection.out, 0, CONNECTION_WINDOW - FIRST_WINDOW);
        connection
    }

    fn new(role: Role, limits: Limits, preface: usize) -> Self {
        Self {
            role,
            phase: Phase::Open,
            limits,
            decoder: Decoder::new(),
            encoder: Encoder::new(),
            streams: Streams::default(),
            preface,
            settled: false,
            block: None,
            last_peer: 0,
            next_own: 1,
            peer: Peer { window: FIRST_WINDOW, streams_max: STREAMS_ASSUMED },
            peer_last: None,
            receive_window: i64::from(CONNECTION_WINDOW),
            credit: 0,
            send_window: i64::from(FIRST_WINDOW),
            queue: VecDeque::new(),
            events: VecDeque::new(),
            out: Vec::new(),
            out_at: 0,
            out_gone: 0,
            awaits_pong: false,
            lingering: VecDeque::new(),
            now: Boot::ZERO,
            resets: Boot::ZERO,
            frames_bytes: 0,
            useful_bytes: 0,
            opened: 0,
        }
    }

    /// What has happened since it was asked last.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// Whether anything has happened that was not asked for.
    #[must_use]
    pub fn has_events(&self) -> bool {
        !self.events.is_empty()
    }

    /// Bytes to send.
    #[must_use]
    pub fn output(&self) -> &[u8] {
        &self.out[self.out_at..]
    }

    /// So many of them were sent.
    pub fn sent(&mut self, count: usize) {
        self.out_at += count;
        self.out_gone += count as u64;
        if self.out_at < self.out.len() {
            return;
        }
        self.out_at = 0;
        if self.streams.living() == 0 {
            // A connection that waits for its next request owns no memory for it.
            self.out = Vec::new();
        } else {
            self.out.clear();
        }
        self.make_room();
    }

    /// Whether the peer's bytes should be received: not while it takes in nothing of what it makes us send.
    #[must_use]
    pub fn wants_input(&self) -> bool {
        self.output().len() < OUTPUT_MAX && !self.is_closed()
    }

    /// Whether a message has begun and is not whole: the preface, the first SETTINGS, a header block.
    #[must_use]
    pub fn is_midway(&self) -> bool {
        self.preface > 0 || !self.settled || self.block.is_some()
    }

    /// Whether the peer's SETTINGS have come: how many streams it takes is a guess before.
    #[must_use]
    pub const fn is_settled(&self) -> bool {
        self.settled
    }

    /// Streams that are not over.
    #[must_use]
    pub fn living(&self) -> usize {
        self.streams.living()
    }

    /// Streams that were opened so far.
    #[must_use]
    pub const fn opened(&self) -> u64 {
        self.opened
    }

    /// Whether the connection failed or was closed.
    #[must_use]
    pub const fn is_closed(&self) -> bool {
        matches!(self.phase, Phase::Closed(_))
    }

    /// Whether the last GOAWAY was sent and every stream is over.
    #[must_use]
    pub fn is_drained(&self) -> bool {
        matches!(self.phase, Phase::Draining(_)) && self.streams.living() == 0
    }

    /// Whether a further stream may be opened.
    #[must_use]
    pub fn may_open(&self) -> bool {
        self.phase == Phase::Open
            && self.peer_last.is_none()
            && self.next_own < 1 << 31
            && self.streams.living() < self.peer.streams_max as usize
    }

    /// Whether no further stream may ever be opened.
    #[must_use]
    pub fn is_spent(&self) -> bool {
        self.phase != Phase::Open || self.peer_last.is_some() || self.next_own >= 1 << 31
    }

    /// Takes no further streams, in two steps so that none is lost that is on its way (RFC 9113 section 6.8): those that come
    /// before the peer has answered a PING are served.
    pub fn leave(&mut self) {
        if self.phase == Phase::Open {
            self.phase = Phase::Leaving;
            frame::goaway(&mut self.out, (1 << 31) - 1, Code::NoError);
            frame::ping(&mut self.out, 0, &DRAIN_PING);
        }
    }

    /// Takes no further streams from now on.
    pub fn leave_now(&mut self) {
        if matches!(self.phase, Phase::Open | Phase::Leaving) {
            self.phase = Phase::Draining(self.last_peer);
            frame::goaway(&mut self.out, self.last_peer, Code::NoError);
        }
    }

    /// Ends the connection.
    pub fn close(&mut self, code: Code) {
        if self.is_closed() {
            return;
        }
        let last = match self.phase {
            Phase::Draining(last) => last,
            Phase::Open | Phase::Leaving | Phase::Closed(_) => self.last_peer,
        };
        frame::goaway(&mut self.out, last, code);
        self.end(code);
    }

    /// The transport is gone.
    pub fn lost(&mut self) {
        self.out.clear();
        self.out_at = 0;
        if !self.is_closed() {
            self.end(Code::Internal);
        }
    }

    fn end(&mut self, code: Code) {
        self.phase = Phase::Closed(code);
        self.block = None;
        let living: Vec<Key> = self.streams.keys().collect();
        for key in living {
            self.drop_stream(key, Code::Cancel, true);
        }
        self.events.push_back(Event::Closed(code));
    }

    /// Resets streams that have lingered long enough, and says when to ask again.
    pub fn tick(&mut self, now: Boot) -> Option<Boot> {
        while let Some((id, until)) = self.lingering.front_mut() {
            let (id, until) = (*id, *until.get_or_insert(now + LINGER));
            let key = self.streams.find(id);
            let lingers =
                key.and_then(|key| self.streams.look(key).filter(|s| s.lingers).map(|s| (key, s.heard)));
            match lingers {
                Some((_, heard)) if now < until.max(heard + LINGER) => {
                    return Some(until.max(heard + LINGER));
                }
                Some((key, _)) => {
                    frame::reset(&mut self.out, id, Code::NoError);
                    self.drop_stream(key, Code::NoError, true);
                }
                None => {}
            }
            self.lingering.pop_front();
        }
        None
    }

    /// Asks whether the peer is alive; [`Self::awaits_pong`] until it has answered.
    pub fn ping(&mut self) {
        if !self.awaits_pong {
            self.awaits_pong = true;
            frame::ping(&mut self.out, 0, &ALIVE_PING);
        }
    }

    /// A PING was sent and not answered.
    #[must_use]
    pub const fn awaits_pong(&self) -> bool {
        self.awaits_pong
    }

    pub(super) fn pong(&mut self, payload: [u8; 8]) {
        match payload {
            ALIVE_PING => self.awaits_pong = false,
            DRAIN_PING if self.phase == Phase::Leaving => self.leave_now(),
            _ => {}
        }
    }

    /// A client has reset a stream: false when it does so too often (CVE-2023-44487).
    pub(super) fn may_reset(&mut self) -> bool {
        let burst = RESET_EVERY * (RESETS + self.limits.streams_max.min(10_000));
        self.resets = self.resets.max(self.now) + RESET_EVERY;
        self.resets <= self.now + burst
    }

    /// False when a peer sends next to nothing but frames that carry nothing.
    pub(super) fn is_useful(&self) -> bool {
        self.frames_bytes / 8 <= self.useful_bytes + IDLE_BYTES
    }

    /// A stream is over at once, and whoever waits for it is told.
    pub(super) fn drop_stream(&mut self, key: Key, code: Code, by_us: bool) {
        let Some(stream) = self.streams.get(key) else { return };
        stream.reset = Some(code);
        let id = stream.id;
        let (read, write) = (std::mem::take(&mut stream.wants_read), std::mem::take(&mut stream.wants_write));
        let unknown = stream.lingers || matches!(stream.head, Some(Head::Request(_)));
        let unread = stream.received.len();
        stream.received = Vec::new();
        self.streams.close(id, if by_us { End::ByUs } else { End::ByPeer });
        self.give_credit(unread);
        if unknown {
            // Nobody knows of it yet, and its event finds nothing; or nobody does any more.
            self.streams.remove(key);
            return;
        }
        if read {
            self.events.push_back(Event::Readable(key));
        }
        if write {
            self.events.push_back(Event::Writable(key));
        }
    }

    /// Bytes were taken, or nobody will: the peer may send as many more.
    pub(super) fn give_credit(&mut self, count: usize) {
        // Never more than the window.
        self.credit += count as u32;
        if self.credit >= CONNECTION_WINDOW / 2 && !self.is_closed() {
            frame::window(&mut self.out, 0, self.credit);
            self.receive_window += i64::from(self.credit);
            self.credit = 0;
        }
    }

    pub(super) fn readable(&mut self, key: Key) {
        if let Some(stream) = self.streams.get(key)
            && std::mem::take(&mut stream.wants_read)
        {
            self.events.push_back(Event::Readable(key));
        }
    }

    pub(super) fn writable(&mut self, key: Key) {
        if let Some(stream) = self.streams.get(key)
            && std::mem::take(&mut stream.wants_write)
        {
            self.events.push_back(Event::Writable(key));
        }
    }

    /// Those who wait for the connection may go on.
    pub(super) fn make_room(&mut self) {
        if self.send_window <= 0 || self.output().len() >= OUTPUT_MAX {
            return;
        }
        while let Some(key) = self.queue.pop_front() {
            if let Some(stream) = self.streams.get(key) {
                stream.queued = false;
            }
            self.writable(key);
        }
    }

    /// The stream may be opened by its request's head: what it says is taken once.
    pub fn request(&mut self, key: Key) -> Option<Box<RequestHead>> {
        match self.streams.get(key)?.head.take()? {
            Head::Request(head) => Some(head),
            Head::Responses(_) => None,
        }
    }

    /// The next head of a response that has come; after [`Event::Readable`] when there is none yet.
    ///
    /// # Errors
    ///
    /// When the stream was reset.
    pub fn response(&mut self, key: Key) -> Result<Option<ResponseHead>, Code> {
        let Some(stream) = self.streams.get(key) else { return Err(Code::Internal) };
        if let Some(Head::Responses(heads)) = &mut stream.head
            && !heads.is_empty()
        {
            return Ok(Some(heads.remove(0)));
        }
        if let Some(code) = stream.reset {
            return Err(code);
        }
        stream.wants_read = true;
        Ok(None)
    }

    pub(super) fn new_stream(&mut self, id: u32) -> Stream {
        self.opened += 1;
        Stream::new(id, STREAM_WINDOW, i64::from(self.peer.window))
    }
}
