//! The frames of a session, each stream's over a stream of QUIC's own (a *lane*), so that what one has lost holds up no other.
//!
//! The session's machine is the same as over TCP. It writes frames one after the other; here they are parted by their stream: the session's
//! own (LIMITS, PING ...) go over the connection's first stream, those of a stream over a lane that is opened with it. On the way in
//! ([`Lanes::read`]) frames are put one behind the other again in an order in which the machine can have been told: openings in theirs, of
//! one stream as they were sent. Datagrams go beside the lanes, where they fit.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::io;

use bytes::Bytes;
use mainstay_core::tunnel::HEADER;
use mainstay_core::tunnel::lane::{self, Frame};
use quinn_proto::{Connection, Dir, ReadError, StreamId, WriteError};
use tokio::io::ReadBuf;

use super::credit::Account;

/// Bytes of frames that have not come as a whole, of all lanes: whoever has us keep more breaks the protocol.
const PIECES_MAX: usize = 8 << 20;

/// A stream of the session's.
#[derive(Debug)]
struct Stream {
    /// The lane that we send over; without one, we send where the session's own frames go.
    lane: Option<StreamId>,
    /// The other side has said something on it, so it knows of it.
    known: bool,
    sent_end: bool,
    got_end: bool,
    /// Of a stream of datagrams.
    account: Option<Account>,
}

/// What comes over a stream of QUIC's.
#[derive(Debug, Default)]
struct Incoming {
    /// The session's stream that it is for; none before its first frame.
    id: Option<u32>,
    /// The beginning of a frame.
    part: Vec<u8>,
    /// Bytes of a stream of which so many have not come, and whether they are its last.
    body: Option<(u32, usize, bool)>,
    queued: bool,
}

/// How far a lane was read.
enum Step {
    /// Nothing more is there.
    Drained,
    /// There is no room for more.
    Full,
    /// Its opening waits for an earlier one.
    Parked(u32),
    /// It has ended.
    Ended,
    /// What comes next of it ends the session: all others are read before.
    Last,
}

/// The lanes of a connection.
#[derive(Debug)]
pub(super) struct Lanes {
    /// Where the session's own frames go.
    control: StreamId,
    streams: HashMap<u32, Stream>,
    incoming: HashMap<StreamId, Incoming>,
    /// Those that may have something.
    ready: VecDeque<StreamId>,
    /// Those whose opening came before an earlier one.
    parked: BTreeMap<u32, StreamId>,
    /// The other side's next stream.
    next: u32,
    /// The other side's limits have come: nothing is told before.
    settled: bool,
    /// Bytes in pieces.
    pieces: usize,
    /// What a lane has not taken of a frame.
    stuck: Option<(StreamId, Vec<u8>)>,
    /// Lanes that end with what is stuck.
    ending: Vec<StreamId>,
    /// Lanes that have ended here and may have something on its way.
    closing: usize,
    /// What we tell our own machine: credit for what went beside the lanes.
    own: Vec<u8>,
    /// Credit of a new stream, as our machine grants it.
    window: u32,
}

/// Why the other side cannot be understood.
fn wrong(why: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why.to_owned())
}

impl Lanes {
    /// Those of a connection whose first stream is `control`; who dialled has the odd streams.
    pub(super) fn new(control: StreamId, dialer: bool) -> Self {
        Self {
            control,
            streams: HashMap::new(),
            incoming: HashMap::from([(
                control,
                Incoming { id: Some(0), queued: true, ..Incoming::default() },
            )]),
            ready: VecDeque::from([control]),
            parked: BTreeMap::new(),
            next: if dialer { 2 } else { 1 },
            settled: false,
            pieces: 0,
            stuck: None,
            ending: Vec::new(),
            closing: 0,
            own: Vec::new(),
            window: lane::WINDOW,
        }
    }

    /// A stream of QUIC's may have something to read.
    pub(super) fn is_readable(&mut self, stream: StreamId) {
        if let Some(incoming) = self.incoming.get_mut(&stream)
            && !std::mem::replace(&mut incoming.queued, true)
        {
            self.ready.push_back(stream);
        }
    }

    /// Whether our own machine is to be told something.
    pub(super) fn has_own(&self) -> bool {
        !self.own.is_empty()
    }

    /// Takes whole frames off these bytes, as many as the connection takes now: how many bytes that were.
    pub(super) fn write(&mut self, machine: &mut Connection, bytes: &[u8]) -> usize {
        let mut taken = 0;
        while self.unstick(machine) {
            let Some(frame) = Frame::read(&bytes[taken..]) else { break };
            let whole = &bytes[taken..][..frame.whole()];
            if lane::is_the_end(whole) && self.closing > 0 {
                // It must not overtake what went over lanes.
                break;
            }
            taken += whole.len();
            self.send(machine, frame, whole);
        }
        taken
    }

    /// Whether nothing is stuck.
    pub(super) fn unstick(&mut self, machine: &mut Connection) -> bool {
        if let Some((lane, rest)) = self.stuck.take() {
            self.put(machine, lane, &rest);
        }
        if self.stuck.is_some() {
            return false;
        }
        while let Some(lane) = self.ending.pop() {
            self.finish(machine, lane);
        }
        true
    }

    /// Writes to a lane; what it does not take is kept.
    fn put(&mut self, machine: &mut Connection, lane: StreamId, bytes: &[u8]) {
        let count = match machine.send_stream(lane).write(bytes) {
            Ok(count) => count,
            Err(WriteError::Blocked) => 0,
            // The other side wants no more of it.
            Err(WriteError::Stopped(_) | WriteError::ClosedStream) => bytes.len(),
        };
        if count < bytes.len() {
            self.stuck = Some((lane, bytes[count..].to_vec()));
        }
    }

    fn send(&mut self, machine: &mut Connection, frame: Frame, whole: &[u8]) {
        match frame.kind {
            lane::LIMITS => self.window = lane::window_of(whole).unwrap_or(self.window),
            lane::OPEN => {
                let lane = machine.streams().open(Dir::Bi);
                if let Some(lane) = lane {
                    self.incoming.insert(lane, Incoming { id: Some(frame.id), ..Incoming::default() });
                }
                self.streams.insert(frame.id, Stream::new(lane, frame, self.window, false));
            }
            _ => {}
        }
        let Some(stream) = self.streams.get_mut(&frame.id) else {
            return self.put(machine, self.control, whole);
        };
        let credit;
        let mut whole = whole;
        if let (lane::CREDIT, Some(account)) = (frame.kind, &mut stream.account) {
            let Some((count, window)) = lane::credit_of(whole) else { return };
            let Some(count) = account.returns(count, window) else { return };
            credit = lane::credit(frame.id, count, window);
            whole = &credit;
        }
        let beside = stream.account.is_some() && stream.known && frame.kind == lane::DATA && !frame.ends();
        if beside && machine.datagrams().max_size().is_some_and(|most| whole.len() <= most) {
            // The oldest that wait go first: they are worth the least.
            if machine.datagrams().send(Bytes::copy_from_slice(whole), true).is_ok() {
                // It may be lost, and what it has cost with it: so it is given back here, and counted by who takes it.
                return self.own.extend_from_slice(&lane::credit(frame.id, lane::cost(frame.len), 0));
            }
        }
        let lane = stream.lane.unwrap_or(self.control);
        self.put(machine, lane, whole);
        if frame.ends() {
            self.ended(machine, frame.id, true);
        } else if frame.kind == lane::RESET {
            self.over(machine, frame.id);
        }
    }

    /// One side has said its last.
    fn ended(&mut self, machine: &mut Connection, id: u32, ours: bool) {
        let Some(stream) = self.streams.get_mut(&id) else { return };
        stream.sent_end |= ours;
        stream.got_end |= !ours;
        if stream.sent_end && stream.got_end {
            self.over(machine, id);
        }
    }

    /// Nothing more goes over a stream's lane. What is still said of the stream is credit, which goes with the session's own frames.
    fn over(&mut self, machine: &mut Connection, id: u32) {
        let Some(lane) = self.streams.remove(&id).and_then(|stream| stream.lane) else { return };
        if self.stuck.as_ref().is_some_and(|(stuck, _)| *stuck == lane) {
            return self.ending.push(lane);
        }
        self.finish(machine, lane);
    }

    fn finish(&mut self, machine: &mut Connection, lane: StreamId) {
        if machine.send_stream(lane).finish().is_ok() {
            self.closing += 1;
        }
    }

    /// All that went over a lane that has ended here has arrived.
    pub(super) fn arrived(&mut self, lane: StreamId) {
        if lane != self.control {
            self.closing = self.closing.saturating_sub(1);
        }
    }

    /// Whether something may be on its way over lanes that have ended.
    pub(super) fn is_closing(&self) -> bool {
        self.closing > 0
    }

    /// Gives what has come, frame by frame; true when the other side has ended.
    ///
    /// # Errors
    /// When it cannot be understood.
    pub(super) fn read(&mut self, machine: &mut Connection, buf: &mut ReadBuf<'_>) -> io::Result<bool> {
        let room = self.own.len().min(buf.remaining()) / (HEADER + 8) * (HEADER + 8);
        buf.put_slice(&self.own[..room]);
        self.own.drain(..room);
        while let Some(lane) = machine.streams().accept(Dir::Bi) {
            self.incoming.insert(lane, Incoming::default());
            self.is_readable(lane);
        }
        if !self.settled {
            // Only the session's own come before its limits.
            let control = self.ready.iter().position(|lane| *lane == self.control);
            if let Some(at) = control {
                self.ready.swap(0, at);
            }
        }
        while let Some(lane) = self.ready.front().copied() {
            if !self.settled && lane != self.control {
                break;
            }
            match self.drain(machine, lane, buf)? {
                Step::Full => return Ok(false),
                Step::Last => {
                    self.ready.rotate_left(1);
                    continue;
                }
                Step::Ended if lane == self.control => return Ok(true),
                Step::Ended => {
                    let part = self.incoming.remove(&lane).map_or(0, |incoming| incoming.part.len());
                    self.pieces -= part;
                }
                Step::Parked(id) => {
                    if self.parked.insert(id, lane).is_some() {
                        return Err(wrong("a stream was opened twice"));
                    }
                }
                Step::Drained => {
                    if let Some(incoming) = self.incoming.get_mut(&lane) {
                        incoming.queued = false;
                    }
                }
            }
            self.ready.pop_front();
            if let Some(lane) = self.parked.remove(&self.next) {
                self.ready.push_front(lane);
            }
        }
        self.beside(machine, buf);
        Ok(false)
    }

    /// Gives what came beside the lanes. What nobody can take yet, or has no credit, is lost, as datagrams may be.
    fn beside(&mut self, machine: &mut Connection, buf: &mut ReadBuf<'_>) {
        if !self.settled {
            return;
        }
        while buf.remaining() > HEADER + usize::from(u16::MAX) {
            let Some(bytes) = machine.datagrams().recv() else { return };
            let frame = Frame::read(&bytes).filter(|frame| frame.whole() == bytes.len());
            let Some(frame) = frame.filter(|frame| (frame.kind, frame.flags) == (lane::DATA, 0)) else {
                continue;
            };
            let theirs = frame.id % 2 == self.next % 2;
            let stream = self.streams.get_mut(&frame.id).filter(|_| !theirs || frame.id < self.next);
            let Some(stream) = stream.filter(|stream| !stream.got_end) else { continue };
            if stream.account.as_mut().is_some_and(|account| account.takes(lane::cost(frame.len))) {
                stream.known = true;
                buf.put_slice(&bytes);
            }
        }
    }

    /// Gives what one lane has.
    fn drain(&mut self, machine: &mut Connection, from: StreamId, buf: &mut ReadBuf<'_>) -> io::Result<Step> {
        loop {
            let Some(lane) = self.incoming.get_mut(&from) else { return Ok(Step::Ended) };
            if let Some((id, left, fin)) = lane.body {
                let is_heard = self.streams.contains_key(&id);
                let (count, step) = body(machine, from, (id, left, fin), is_heard, buf)?;
                lane.body = (left > count).then_some((id, left - count, fin));
                if fin && left == count {
                    self.ended(machine, id, false);
                }
                match step {
                    Some(step) => return Ok(step),
                    None => continue,
                }
            }
            let need = Frame::head(&lane.part).map_or(HEADER, Frame::whole);
            if lane.part.len() < need {
                match take(machine, from, need - lane.part.len())? {
                    Ok(bytes) => {
                        lane.part.extend_from_slice(&bytes);
                        self.pieces += bytes.len();
                    }
                    Err(step) => return Ok(step),
                }
                if self.pieces > PIECES_MAX {
                    return Err(wrong("too many frames have come in pieces"));
                }
            }
            if let Some(step) = self.frame(machine, from, buf)? {
                return Ok(step);
            }
        }
    }

    /// Gives the frame of a lane, when it is there.
    fn frame(
        &mut self,
        machine: &mut Connection,
        from: StreamId,
        buf: &mut ReadBuf<'_>,
    ) -> io::Result<Option<Step>> {
        let Some(lane) = self.incoming.get_mut(&from) else { return Ok(Some(Step::Ended)) };
        let Some(frame) = Frame::head(&lane.part) else { return Ok(None) };
        let control = from == self.control;
        match lane.id {
            None if frame.kind == lane::OPEN => lane.id = Some(frame.id),
            Some(id) if control || id == frame.id => {}
            None | Some(_) => return Err(wrong("a frame came over a lane that is not its stream's")),
        }
        let datagrams = self.streams.get(&frame.id).is_some_and(|stream| stream.account.is_some());
        if frame.kind == lane::DATA && frame.len > 0 && !datagrams {
            // Bytes have no borders: they are passed on as they come.
            lane.body = Some((frame.id, frame.len.into(), frame.ends()));
            self.pieces -= lane.part.len();
            lane.part.clear();
            self.knows(frame.id);
            return Ok(None);
        }
        if lane.part.len() < frame.whole() {
            return Ok(None);
        }
        if control && lane::is_the_end(&lane.part) && self.ready.len() > 1 {
            return Ok(Some(Step::Last));
        }
        if frame.kind == lane::OPEN && frame.id != self.next {
            // Over one lane alone openings are in order; the machine is to judge one that never can be.
            let waits = !control && frame.id > self.next && frame.id % 2 == self.next % 2;
            return if waits {
                Ok(Some(Step::Parked(frame.id)))
            } else {
                Err(wrong("a stream was opened twice"))
            };
        }
        if buf.remaining() < frame.whole() {
            return if buf.filled().is_empty() {
                Err(io::ErrorKind::OutOfMemory.into())
            } else {
                Ok(Some(Step::Full))
            };
        }
        let whole = std::mem::take(&mut lane.part);
        self.pieces -= whole.len();
        buf.put_slice(&whole);
        self.knows(frame.id);
        match frame.kind {
            lane::LIMITS if control => self.settled = true,
            lane::OPEN => {
                self.next = self.next.saturating_add(2);
                let over = (!control).then_some(from);
                self.streams.insert(frame.id, Stream::new(over, frame, self.window, true));
            }
            lane::RESET => self.over(machine, frame.id),
            lane::DATA if datagrams && frame.len > 0 => {
                if let Some(account) = self.streams.get_mut(&frame.id).and_then(|s| s.account.as_mut()) {
                    account.came(lane::cost(frame.len));
                }
            }
            _ => {}
        }
        if frame.ends() {
            self.ended(machine, frame.id, false);
        }
        Ok(None)
    }

    /// The other side has said something on a stream.
    fn knows(&mut self, id: u32) {
        if let Some(stream) = self.streams.get_mut(&id) {
            stream.known = true;
        }
    }
}

/// Some bytes of a stream of QUIC's, or why there are none.
fn take(machine: &mut Connection, stream: StreamId, most: usize) -> io::Result<Result<Bytes, Step>> {
    let mut stream = machine.recv_stream(stream);
    let Ok(mut chunks) = stream.read(true) else { return Ok(Err(Step::Ended)) };
    let came = match chunks.next(most) {
        Ok(Some(chunk)) => Ok(chunk.bytes),
        Ok(None) => Err(Step::Ended),
        Err(ReadError::Blocked) => Err(Step::Drained),
        Err(ReadError::Reset(_)) => return Err(wrong("a lane was reset")),
    };
    let _ = chunks.finalize();
    Ok(came)
}

/// Passes bytes of a stream on, as DATA of as many as are there, when anybody hears them: how many those were, and why not more.
fn body(
    machine: &mut Connection,
    from: StreamId,
    (id, left, fin): (u32, usize, bool),
    is_heard: bool,
    buf: &mut ReadBuf<'_>,
) -> io::Result<(usize, Option<Step>)> {
    let at = buf.filled().len();
    let most = if is_heard { buf.remaining().saturating_sub(HEADER).min(left) } else { left };
    if most == 0 {
        return Ok((0, Some(Step::Full)));
    }
    if is_heard {
        buf.put_slice(&[0; HEADER]);
    }
    let mut count = 0;
    let mut step = None;
    while count < most && step.is_none() {
        match take(machine, from, most - count)? {
            Ok(bytes) => {
                count += bytes.len();
                if is_heard {
                    buf.put_slice(&bytes);
                }
            }
            Err(why) => step = Some(why),
        }
    }
    if is_heard && count == 0 {
        buf.set_filled(at);
    } else if is_heard {
        let flags = if fin && count == left { lane::FIN } else { 0 };
        let header = Frame { id, len: count as u16, kind: lane::DATA, flags }.bytes();
        buf.filled_mut()[at..at + HEADER].copy_from_slice(&header);
    }
    Ok((count, step))
}

impl Stream {
    fn new(lane: Option<StreamId>, open: Frame, window: u32, known: bool) -> Self {
        let account = (open.flags & lane::DATAGRAMS != 0).then(|| Account::new(window));
        Self { lane, known, sent_end: false, got_end: false, account }
    }
}
