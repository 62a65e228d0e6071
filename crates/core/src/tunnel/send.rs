//! What is sent: streams opened, payload staged in turn, credit returned, streams ended.

use std::time::Duration;

use super::frame::{self, DATAGRAMS, FIN, Header};
use super::stream::{Stream, excess};
use super::{
    Code, DATAGRAM_COST, DATAGRAM_MAX, Effect, HEADER, Key, Kind, Mux, Open, RESERVE, Refused, STAGE, TURN,
};
use crate::time::Boot;

/// A stream's pace is taken over this time at least: what is read in bursts says nothing of it.
const LOOK: Duration = Duration::from_millis(10);

/// Writes that go through as a whole before a carrier that had to be waited for counts as free again.
const PRESSED: u32 = 64;

/// Streams that are woken at once when the other side's budget has room again.
const ENRICHED: usize = 8;

/// What may be staged when others wait for their turn and a datagram comes.
const DATAGRAM_STAGE: usize = STAGE / 4;

impl Mux {
    /// Opens a stream. As many of `first` go with it as one turn and the credit allow; how many is told.
    ///
    /// # Errors
    ///
    /// When no stream can be opened; nothing was sent.
    pub fn open(&mut self, open: &Open, first: &[u8], now: Boot) -> Result<(Key, usize), Refused> {
        self.now = self.now.max(now);
        self.may_open()?;
        if !open.fits() {
            return Err(Refused::TooLong);
        }
        let datagrams = open.kind == Kind::Datagrams;
        let mut fields = Vec::with_capacity(64);
        open.write(&mut fields);
        let id = self.next_own;
        let mut stream = Stream::new(id, true, self.granted.window, self.limits.window, self.now);
        stream.datagrams = datagrams;
        let affordable = self.affordable(&stream);
        let key = self.streams.insert(stream);
        self.next_own += 2;
        self.own += 1;
        self.counts.opened += 1;
        let most = if datagrams { 0 } else { affordable.min(TURN) };
        let first = &first[..first.len().min(most)];
        let flags = if datagrams { DATAGRAMS } else { 0 };
        let len = (fields.len() as u16).to_be_bytes();
        self.stage(Header { id, len: 0, kind: frame::OPEN, flags }, &[&len, &fields, first]);
        self.spend(key, first.len() as u32);
        if self.is_closed() { Err(Refused::Closed) } else { Ok((key, first.len())) }
    }

    /// How many bytes the other side lets the stream send.
    fn affordable(&self, stream: &Stream) -> usize {
        let window = stream.send_window.saturating_sub(stream.unacked);
        let budget = u64::from(self.granted.budget).saturating_sub(self.spent);
        let budget = budget + u64::from(RESERVE.saturating_sub(stream.unacked));
        u64::from(window).min(budget) as usize
    }

    fn spend(&mut self, key: Key, count: u32) {
        let Some(stream) = self.streams.get(key) else { return };
        let unacked = stream.unacked + count;
        self.counts.bytes_sent += u64::from(count);
        self.set_unacked(key, unacked);
    }

    /// How many bytes the stream may send; 0 when it has to wait, and [`Effect::Writable`] will tell.
    ///
    /// # Errors
    ///
    /// When the other side does not want any.
    pub fn room(&mut self, key: Key) -> Result<usize, Code> {
        let Some(stream) = self.streams.get(key) else { return Err(Code::Gone) };
        if let Some(code) = stream.reset.or(stream.deaf) {
            return Err(code);
        }
        if stream.finished {
            return Err(Code::Internal);
        }
        let affordable = self.affordable(stream);
        let (staged, stage) = (self.out.staged(), self.stage_size());
        let alone = self.ring.is_empty() && self.grants == 0;
        let Some(stream) = self.streams.get_mut(key) else { return Err(Code::Gone) };
        if affordable == 0 && stream.unacked >= stream.send_window {
            stream.wants_credit = true;
            return Ok(0);
        }
        if affordable == 0 {
            if !std::mem::replace(&mut stream.wants_budget, true) {
                self.poor.push_back(key);
            }
            return Ok(0);
        }
        let granted = std::mem::take(&mut stream.granted);
        self.grants = self.grants.saturating_sub(u32::from(granted));
        if staged >= stage || !(alone || granted) {
            if !std::mem::replace(&mut stream.queued, true) {
                if granted { self.ring.push_front(key) } else { self.ring.push_back(key) }
            }
            return Ok(0);
        }
        // Who is alone fills the stage: its bytes go out in the same order however they are cut.
        let turn = if alone { (stage - staged).max(TURN) } else { TURN };
        Ok(turn.min(affordable).min(usize::from(u16::MAX)))
    }

    /// Room of so many bytes, at most what [`Self::room`] has just said, to put payload into; [`Self::commit`] sends it.
    pub fn lend(&mut self, len: usize) -> &mut [u8] {
        self.out.room(len)
    }

    /// Makes the first `len` bytes of the room that was just lent the stream's next payload.
    pub fn commit(&mut self, key: Key, len: usize) {
        if len > 0 && !self.is_closed() {
            self.out.commit(Header { id: key.id, len: len as u16, kind: frame::DATA, flags: 0 });
            self.spend(key, len as u32);
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

    /// Sends a datagram, or drops it when there is neither credit nor room.
    pub fn send_datagram(&mut self, key: Key, bytes: &[u8]) -> bool {
        let stage = if self.ring.is_empty() { self.stage_size() } else { DATAGRAM_STAGE };
        let cost = bytes.len() + DATAGRAM_COST as usize;
        let fits = |stream: &Stream| {
            let open =
                stream.datagrams && !stream.finished && stream.reset.is_none() && stream.deaf.is_none();
            open && bytes.len() <= DATAGRAM_MAX
                && self.affordable(stream) >= cost
                && self.out.staged() < stage
        };
        if self.is_closed() || !self.streams.get(key).is_some_and(fits) {
            self.counts.datagrams_dropped += 1;
            return false;
        }
        self.out.push(Header { id: key.id, len: bytes.len() as u16, kind: frame::DATA, flags: 0 }, &[bytes]);
        self.spend(key, cost as u32);
        true
    }

    /// Sends the end of our side.
    pub fn finish(&mut self, key: Key) {
        let Some(stream) = self.streams.get_mut(key) else { return };
        if stream.finished || stream.reset.is_some() || stream.deaf.is_some() {
            return;
        }
        stream.finished = true;
        // The end of datagrams comes by itself: they have no flags.
        if stream.datagrams || !self.out.flag(key.id, FIN) {
            self.stage(Header { id: key.id, len: 0, kind: frame::DATA, flags: FIN }, &[]);
        }
        self.settle(key);
    }

    /// Gives the stream up: nothing more is sent or taken.
    pub fn reset(&mut self, key: Key, code: Code) {
        let Some(stream) = self.streams.get_mut(key) else { return };
        if stream.reset.is_some() {
            return;
        }
        let finished = stream.finished;
        let unsaid = !(stream.ended && (finished || stream.deaf.is_some()));
        stream.reset = Some(code);
        self.counts.resets += 1;
        if unsaid {
            self.stage(
                Header { id: key.id, len: 0, kind: frame::RESET, flags: 0 },
                &[&code.number().to_be_bytes()],
            );
        } else if stream.held > RESERVE {
            self.taken += u64::from(stream.held - stream.taken);
            stream.taken = stream.held;
            self.return_all(key);
        }
        self.drop_unread(key);
        if !finished {
            // The other side forgets what it has of ours; after our end it goes on reading.
            self.set_unacked(key, 0);
        }
        self.settle(key);
    }

    /// Nobody here knows of the stream any more; it is given up if it is not over.
    pub fn forget(&mut self, key: Key) {
        let Some(stream) = self.streams.get_mut(key) else { return };
        stream.forgotten = true;
        let over = stream.ended && (stream.finished || stream.deaf.is_some()) && !stream.has_unread();
        if !over {
            self.reset(key, Code::Cancel);
        }
        self.settle(key);
    }

    /// So many bytes of a stream were taken: is it time to return credit?
    pub(super) fn took(&mut self, key: Key, count: usize, now: Boot) {
        let Some(stream) = self.streams.get_mut(key) else { return };
        let count = count as u32;
        stream.taken += count;
        stream.drained = stream.drained.saturating_add(count);
        self.taken += u64::from(count);
        if stream.taken >= stream.receive_window / 4 {
            self.now = self.now.max(now);
            self.grow(key);
            self.return_all(key);
        } else {
            self.give_back(key);
        }
        if self.taken > u64::from(self.limits.budget) / 4 {
            let keys: Vec<Key> = self.streams.keys().collect();
            keys.into_iter().for_each(|key| self.return_all(key));
        }
    }

    /// After the last byte was taken the other side must not be left to count many against our budget.
    pub(super) fn give_back(&mut self, key: Key) {
        let Some(stream) = self.streams.get(key) else { return };
        if stream.ended && stream.taken == stream.held && stream.held > RESERVE {
            self.return_all(key);
        }
    }

    fn return_all(&mut self, key: Key) {
        let Some(stream) = self.streams.get_mut(key) else { return };
        let count = std::mem::take(&mut stream.taken);
        if count == 0 {
            return;
        }
        let before = stream.held;
        stream.held -= count;
        self.held = self.held + excess(stream.held) - excess(before);
        self.taken -= u64::from(count);
        let body = [count.to_be_bytes(), stream.receive_window.to_be_bytes()];
        self.stage(Header { id: key.id, len: 0, kind: frame::CREDIT, flags: 0 }, &[body.as_flattened()]);
    }

    /// A stream that is drained so fast that its window does not last for two round trips gets a wider one, while there is
    /// budget for it. A round trip is the shortest of late: what stands in queues on the way makes the others longer, and a window
    /// that is wide enough for a queue makes a longer queue. For the same reason a wider window that brought no more is the last.
    fn grow(&mut self, key: Key) {
        let (Some(rtt), Some(least), Some(stream)) = (self.rtt, self.least(), self.streams.get_mut(key))
        else {
            return;
        };
        let took = self.now.since(stream.measured);
        if took < rtt.max(LOOK) {
            return;
        }
        let drained = u128::from(std::mem::take(&mut stream.drained));
        stream.measured = self.now;
        let pace = drained * 1_000_000 / took.as_nanos();
        let need = pace * 2 * least.as_nanos() / 1_000_000;
        let need = u32::try_from(need).unwrap_or(u32::MAX).min(self.limits.window_max);
        let pace = u32::try_from(pace).unwrap_or(u32::MAX);
        let free = u64::from(self.limits.budget).saturating_sub(self.held) / 2;
        let gains = pace > stream.pace.saturating_add(stream.pace / 4);
        if gains && need > stream.receive_window && u64::from(need) <= free {
            (stream.receive_window, stream.pace) = (need, pace);
        }
    }

    /// The other side's budget may have room for those who wait for it.
    pub(super) fn enrich(&mut self) {
        let budget = u64::from(self.granted.budget);
        if self.poor.is_empty() || self.spent >= budget {
            return;
        }
        // Those who are woken may have nothing to send any more: while much is free all are asked.
        let most = if self.spent < budget / 2 { usize::MAX } else { ENRICHED };
        for _ in 0..self.poor.len().min(most) {
            let Some(key) = self.poor.pop_front() else { break };
            if let Some(stream) = self.streams.get_mut(key) {
                stream.wants_budget = false;
                self.effects.push_back(Effect::Writable(key));
            }
        }
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

    /// Whether the carrier took all that it was given, or has to be waited for.
    pub fn carried(&mut self, all: bool) {
        self.pressed = if all { self.pressed.saturating_sub(1) } else { PRESSED };
    }

    /// What may be staged: little while streams share a carrier that is slower than they are, so that who comes with a message
    /// finds little before it. What there is less of in the stage waits in the streams' own sockets.
    fn stage_size(&self) -> usize {
        if self.pressed > 0 && self.streams.len() > 1 { TURN } else { STAGE }
    }

    /// Whether streams wait for their turn.
    #[must_use]
    pub fn has_waiting(&self) -> bool {
        !self.ring.is_empty()
    }

    /// Gives the next streams their turn, if there is room. Those who had it and did not use it have lost it: to be called
    /// when they had time to, while [`Self::has_waiting`].
    pub fn turn(&mut self) {
        self.enrich();
        self.grants = 0;
        let stage = self.stage_size();
        let free = stage.saturating_sub(self.out.staged());
        if free < stage / 2 {
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
