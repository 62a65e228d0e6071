//! What is sent: streams opened, payload staged in turn, windows told, streams ended.

use super::frame::{self, Header};
use super::mux::STARVING;
use super::stream::Stream;
use super::{HEADER, Mux};
use crate::time::Boot;
use crate::tunnel::{Code, Effect, Key, Refused, STAGE, TURN};

/// What may be unread of a stream however much others have.
const LEAST_WINDOW: u32 = 64 << 10;

impl Mux {
    /// Opens a stream: `head` goes with it as a whole, and as many of `first` as one turn allows; how many is told. All of it
    /// is staged in one piece.
    ///
    /// # Errors
    ///
    /// When no stream can be opened; nothing was sent.
    pub fn open(&mut self, head: &[u8], first: &[u8], now: Boot) -> Result<(Key, usize), Refused> {
        self.now = self.now.max(now);
        self.may_open()?;
        if head.len() > TURN {
            return Err(Refused::TooLong);
        }
        let first = &first[..first.len().min(TURN - head.len())];
        let id = self.next_own;
        self.next_own += 2;
        self.own += 1;
        self.counts.opened += 1;
        let key = self.streams.insert(Stream::new(id, true));
        self.stage(Header { kind: frame::SYN, len: 0, id }, &[]);
        let len = head.len() + first.len();
        if len > 0 && !self.is_closed() {
            self.out.push_as(Header { kind: frame::PSH, len: len as u16, id }.bytes(), len, &[head, first]);
            self.spend(key, len);
        }
        if self.is_closed() { Err(Refused::Closed) } else { Ok((key, first.len())) }
    }

    fn spend(&mut self, key: Key, count: usize) {
        if let Some(stream) = self.streams.get_mut(key) {
            stream.sent = stream.sent.wrapping_add(count as u32);
            self.counts.bytes_sent += count as u64;
        }
    }

    /// How many bytes the stream may send; 0 when it has to wait, and [`Effect::Writable`] will tell.
    ///
    /// # Errors
    ///
    /// When the other side does not want any.
    pub fn room(&mut self, key: Key) -> Result<usize, Code> {
        let staged = self.out.staged();
        let alone = self.ring.is_empty() && self.grants == 0;
        let closed = self.is_closed();
        let Some(stream) = self.streams.get_mut(key) else { return Err(Code::Gone) };
        match stream.reset {
            Some(code) => return Err(code),
            None if closed => return Err(Code::Gone),
            None if stream.finished => return Err(Code::Internal),
            None => {}
        }
        let affordable = stream.affordable();
        if affordable == 0 {
            stream.wants_credit = true;
            if stream.ended && stream.starves.is_none() {
                self.starved(key, self.now + STARVING);
            }
            return Ok(0);
        }
        let granted = std::mem::take(&mut stream.granted);
        self.grants = self.grants.saturating_sub(u32::from(granted));
        if staged >= STAGE || !(alone || granted) {
            if !std::mem::replace(&mut stream.queued, true) {
                if granted { self.ring.push_front(key) } else { self.ring.push_back(key) }
            }
            return Ok(0);
        }
        // Who is alone fills the stage: its bytes go out in the same order however they are cut.
        let turn = if alone { (STAGE - staged).max(TURN) } else { TURN };
        Ok(turn.min(affordable).min(self.limits.frame))
    }

    /// Room of so many bytes, at most what [`Self::room`] has just said, to put payload into; [`Self::commit`] sends it.
    pub fn lend(&mut self, len: usize) -> &mut [u8] {
        self.out.room(len)
    }

    /// Makes the first `len` bytes of the room that was just lent the stream's next payload.
    pub fn commit(&mut self, key: Key, len: usize) {
        if len > 0 && !self.is_closed() {
            self.out.commit_as(Header { kind: frame::PSH, len: len as u16, id: key.id }.bytes(), len);
            self.spend(key, len);
        }
    }

    /// Sends payload, as much as there is room for; 0 when the stream has to wait.
    ///
    /// # Errors
    ///
    /// When the other side does not want any.
    pub fn send(&mut self, key: Key, bytes: &[u8]) -> Result<usize, Code> {
        let count = self.room(key)?.min(bytes.len());
        if count > 0 {
            self.lend(count).copy_from_slice(&bytes[..count]);
            self.commit(key, count);
        }
        Ok(count)
    }

    /// Sends these parts as a whole, or nothing: when there is no credit or no room now, it is false.
    pub(in super::super) fn send_whole(&mut self, key: Key, parts: [&[u8]; 2]) -> bool {
        let stage = if self.ring.is_empty() { STAGE } else { STAGE / 4 };
        let len = parts[0].len() + parts[1].len();
        let fits = |s: &Stream| !s.finished && s.reset.is_none() && s.affordable() >= len;
        let may = !self.is_closed() && self.out.staged() < stage && self.streams.get(key).is_some_and(fits);
        if !may {
            return false;
        }
        let frame = self.limits.frame;
        // The first frame has the head in it; what does not fit follows at once.
        let now = parts[1].len().min(frame - parts[0].len());
        let (first, rest) = parts[1].split_at(now);
        let header = |len: usize| Header { kind: frame::PSH, len: len as u16, id: key.id }.bytes();
        let len_first = parts[0].len() + first.len();
        self.out.push_as(header(len_first), len_first, &[parts[0], first]);
        for piece in rest.chunks(frame) {
            self.out.push_as(header(piece.len()), piece.len(), &[piece]);
        }
        self.spend(key, len);
        true
    }

    /// Sends the end of our side.
    pub fn finish(&mut self, key: Key) {
        let Some(stream) = self.streams.get_mut(key) else { return };
        if stream.finished || stream.reset.is_some() {
            return;
        }
        stream.finished = true;
        self.stage(Header { kind: frame::FIN, len: 0, id: key.id }, &[]);
        self.settle(key);
    }

    /// Gives the stream up: nothing more is sent or taken. The other side sees an end: smux has no other.
    pub fn reset(&mut self, key: Key, code: Code) {
        let Some(stream) = self.streams.get_mut(key) else { return };
        if stream.reset.is_some() {
            return;
        }
        stream.reset = Some(code);
        self.counts.resets += 1;
        if !stream.finished {
            stream.finished = true;
            self.stage(Header { kind: frame::FIN, len: 0, id: key.id }, &[]);
        }
        self.kill(key, code);
        self.settle(key);
    }

    /// Nobody here knows of the stream any more; it is given up if it is not over.
    pub fn forget(&mut self, key: Key) {
        let Some(stream) = self.streams.get_mut(key) else { return };
        stream.forgotten = true;
        if !stream.is_over() || stream.has_unread() {
            self.reset(key, Code::Cancel);
        }
        self.settle(key);
    }

    /// So many bytes of a stream were taken: is it time to say so?
    pub(super) fn took(&mut self, key: Key, count: usize) {
        let free = u64::from(self.limits.bucket).saturating_sub(self.unread);
        // Many slow readers are given less each, so that what they leave does not stop everybody.
        let fair = u32::try_from(free / 2).unwrap_or(u32::MAX).max(LEAST_WINDOW);
        let window = self.limits.window.min(fair);
        let Some(stream) = self.streams.get_mut(key) else { return };
        stream.taken = stream.taken.wrapping_add(count as u32);
        let due = stream.taken.wrapping_sub(stream.told) >= (stream.window / 4).max(1);
        if !due || stream.ended || stream.reset.is_some() {
            return;
        }
        (stream.told, stream.window) = (stream.taken, window);
        let edge = stream.taken.wrapping_add(window);
        if edge.wrapping_sub(stream.edge).cast_signed() > 0 {
            stream.edge = edge;
        }
        let (consumed, id) = (stream.taken, key.id);
        let body = [consumed.to_le_bytes(), window.to_le_bytes()];
        self.stage(Header { kind: frame::UPD, len: 0, id }, body.as_flattened());
    }

    /// Bytes to send, whole frames but for the first when less than all was sent.
    #[must_use]
    pub fn output(&self) -> &[u8] {
        self.out.bytes()
    }

    /// So many of them were sent.
    pub fn sent(&mut self, count: usize) {
        self.out.sent(count);
        self.turn();
    }

    /// Whether streams wait for their turn.
    #[must_use]
    pub fn has_waiting(&self) -> bool {
        !self.ring.is_empty()
    }

    /// Gives the next streams their turn, if there is room. Those who had it and did not use it have lost it: to be called
    /// when they had time to, while [`Self::has_waiting`].
    pub fn turn(&mut self) {
        self.grants = 0;
        let free = STAGE.saturating_sub(self.out.staged());
        if free < STAGE / 2 {
            return;
        }
        for _ in 0..free.div_ceil(TURN + HEADER) {
            let Some(key) = self.ring.pop_front() else { break };
            if let Some(stream) = self.streams.get_mut(key) {
                stream.queued = false;
                stream.granted = true;
                self.grants += 1;
                self.effects.push_back(Effect::Writable(key));
            }
        }
    }
}
