//! What a peer sends, frame by frame (RFC 9113 sections 5 and 6).

use super::connection::{Block, Connection, Event, Phase, Role};
use super::frame::{self, Head as FrameHead, flag, kind, setting};
use super::head::{Malformed, Said, Trailer};
use super::stream::{End, Head, Key};
use super::{Code, PREFACE};
use crate::time::Boot;

/// Heads before the final one of a response that wait to be taken.
const INTERIM_MAX: usize = 8;

/// Frames of one header block: each may carry 16 KiB (CVE-2024-27316 and its like).
const BLOCK_FRAMES: u32 = 32;

/// Room for trailers.
const TRAILERS_MAX: usize = 8192;

/// Largest window (RFC 9113 section 6.9.1).
const WINDOW_MAX: i64 = (1 << 31) - 1;

/// What a frame ends, when it breaks a rule.
enum Fault {
    Connection(Code),
    Stream(u32, Code, &'static str),
}

impl From<Code> for Fault {
    fn from(code: Code) -> Self {
        Self::Connection(code)
    }
}

type Outcome = Result<(), Fault>;

impl Connection {
    /// Takes whole frames off the front of what came: how many bytes. The others must be there again, with those that follow
    /// them. After an [`Event::Closed`] nothing is taken any more.
    pub fn receive(&mut self, bytes: &[u8], now: Boot) -> usize {
        self.now = now;
        let mut at = self.receive_preface(bytes);
        while self.preface == 0 && self.wants_input() {
            let Some(head) = FrameHead::parse(&bytes[at..]) else { break };
            if head.length > frame::PAYLOAD_MAX {
                self.fail(Code::FrameSize);
                break;
            }
            let start = at + frame::HEAD;
            let Some(payload) = bytes.get(start..start + head.length) else { break };
            self.frame(&head, payload);
            at = start + head.length;
        }
        at
    }

    fn receive_preface(&mut self, bytes: &[u8]) -> usize {
        let expected = &PREFACE[PREFACE.len() - self.preface..];
        let count = expected.len().min(bytes.len());
        if expected[..count] != bytes[..count] {
            self.fail(Code::Protocol);
            return 0;
        }
        self.preface -= count;
        count
    }

    fn fail(&mut self, code: Code) {
        self.events.push_back(Event::Refused(code.name()));
        self.close(code);
    }

    fn frame(&mut self, head: &FrameHead, payload: &[u8]) {
        self.frames_bytes += (frame::HEAD + payload.len()) as u64;
        let outcome = if let Some(block) = &self.block {
            if head.kind == kind::CONTINUATION && head.stream == block.stream {
                self.continuation(head, payload)
            } else {
                Err(Code::Protocol.into())
            }
        } else if !self.settled && head.kind != kind::SETTINGS {
            Err(Code::Protocol.into())
        } else {
            self.dispatch(head, payload)
        };
        match outcome {
            Ok(()) if self.is_useful() => {}
            Ok(()) => self.fail(Code::EnhanceYourCalm),
            Err(Fault::Connection(code)) => self.fail(code),
            Err(Fault::Stream(id, code, why)) => self.fail_stream(id, code, why),
        }
    }

    fn dispatch(&mut self, head: &FrameHead, payload: &[u8]) -> Outcome {
        match head.kind {
            kind::DATA => self.data(head, payload),
            kind::HEADERS => self.headers(head, payload),
            kind::PRIORITY => self.priority(head, payload),
            kind::RST_STREAM => self.reset_by_peer(head, payload),
            kind::SETTINGS => self.settings(head, payload),
            kind::PING => self.pinged(head, payload),
            kind::GOAWAY => self.goaway(head, payload),
            kind::WINDOW_UPDATE => self.window_update(head, payload),
            // Pushes were never allowed, and a block is continued only while there is one.
            kind::PUSH_PROMISE | kind::CONTINUATION => Err(Code::Protocol.into()),
            // Extensions are ignored (RFC 9113 section 5.5).
            _ => Ok(()),
        }
    }

    fn fail_stream(&mut self, id: u32, code: Code, why: &'static str) {
        self.events.push_back(Event::Refused(why));
        frame::reset(&mut self.out, id, code);
        match self.streams.find(id) {
            Some(key) => self.drop_stream(key, code, true),
            None if self.is_idle(id) || self.streams.reset_again(id, End::ByUs) => {}
            None => self.streams.remember(id, End::ByUs),
        }
        // It makes no difference who is made to reset streams again and again (CVE-2025-8671).
        if self.role == Role::Server && !self.may_reset() {
            self.fail(Code::EnhanceYourCalm);
        }
    }

    /// Nobody has opened it yet.
    fn is_idle(&self, id: u32) -> bool {
        let ours = (id & 1 == 1) == (self.role == Role::Client);
        if ours { id >= self.next_own } else { id > self.last_peer }
    }

    fn data(&mut self, head: &FrameHead, payload: &[u8]) -> Outcome {
        if head.stream == 0 || self.is_idle(head.stream) {
            return Err(Code::Protocol.into());
        }
        let size = payload.len();
        self.receive_window -= size as i64;
        if self.receive_window < 0 {
            return Err(Code::FlowControl.into());
        }
        let data = frame::unpadded(head, payload)?;
        self.useful_bytes += data.len() as u64;
        let Some(key) = self.streams.find(head.stream) else {
            self.give_credit(size);
            return match self.streams.end_of(head.stream) {
                // What was on its way when we reset a stream is no fault.
                Some(End::ByUs) => Ok(()),
                // Data behind the end of the data (RFC 9113 section 5.1).
                Some(End::Whole) => Err(Code::StreamClosed.into()),
                Some(End::ByPeer) | None => {
                    Err(Fault::Stream(head.stream, Code::StreamClosed, "h2:stream-closed"))
                }
            };
        };
        let padding = size - data.len();
        self.give_credit(padding);
        let Some(stream) = self.streams.get(key) else { return Ok(()) };
        let fault = |code, why| Err(Fault::Stream(head.stream, code, why));
        if stream.received_end || (self.role == Role::Client && !stream.answered) {
            let closed = stream.received_end;
            self.give_credit(data.len());
            return if closed {
                fault(Code::StreamClosed, "h2:stream-closed")
            } else {
                fault(Code::Protocol, "h2:data-before-head")
            };
        }
        stream.receive_window -= size as i64;
        if stream.receive_window < 0 {
            self.give_credit(data.len());
            return fault(Code::FlowControl, "h2:flow-control");
        }
        let end = head.has(flag::END_STREAM);
        let length = data.len() as u64;
        if let Some(missing) = &mut stream.missing {
            if length > *missing || (end && length < *missing) {
                self.give_credit(data.len());
                return fault(Code::Protocol, "h2:body-length");
            }
            *missing -= length;
        }
        if stream.lingers {
            stream.heard = self.now;
            if let Some(spare) = stream.spare.checked_sub(data.len() as u32) {
                stream.spare = spare;
                self.consumed(key, data.len());
            } else {
                self.give_credit(data.len());
            }
        } else {
            stream.credit += padding as u32;
            stream.received.extend_from_slice(data);
        }
        if end {
            self.received_end(key);
        }
        self.readable(key);
        Ok(())
    }

    fn received_end(&mut self, key: Key) {
        let Some(stream) = self.streams.get(key) else { return };
        stream.received_end = true;
        let (id, sent_end, lingers) = (stream.id, stream.sent_end, stream.lingers);
        if sent_end {
            self.streams.close(id, End::Whole);
        }
        if lingers {
            self.streams.remove(key);
        }
    }

    fn headers(&mut self, head: &FrameHead, payload: &[u8]) -> Outcome {
        if head.stream == 0 {
            return Err(Code::Protocol.into());
        }
        let mut block = frame::unpadded(head, payload)?;
        let mut circular = false;
        if head.has(flag::PRIORITY) {
            let dependency = frame::number(block).ok_or(Code::FrameSize)?;
            circular = dependency & 0x7fff_ffff == head.stream;
            block = block.get(5..).ok_or(Code::FrameSize)?;
        }
        self.check_headers(head.stream)?;
        if head.has(flag::END_HEADERS) {
            return self.block(head.stream, head.flags, circular, block);
        }
        let bytes = block.to_vec();
        self.block = Some(Block { stream: head.stream, flags: head.flags, bytes, frames: 1, circular });
        Ok(())
    }

    /// Whether a head may come on this stream at all.
    fn check_headers(&self, id: u32) -> Result<(), Code> {
        if self.streams.find(id).is_some() {
            return Ok(());
        }
        if !self.is_idle(id) {
            return match self.streams.end_of(id) {
                Some(End::ByUs) => Ok(()),
                Some(End::Whole | End::ByPeer) => Err(Code::StreamClosed),
                None => Err(Code::Protocol),
            };
        }
        match self.role {
            Role::Server if id & 1 == 1 => Ok(()),
            Role::Server | Role::Client => Err(Code::Protocol),
        }
    }

    fn continuation(&mut self, head: &FrameHead, payload: &[u8]) -> Outcome {
        let Some(block) = &mut self.block else { return Err(Code::Protocol.into()) };
        block.frames += 1;
        block.bytes.extend_from_slice(payload);
        // Packed text is never longer than twice what it stands for, so what is beyond is waste at best.
        if block.frames > BLOCK_FRAMES
            || block.bytes.len() > 2 * self.limits.head_max as usize + frame::PAYLOAD_MAX
        {
            return Err(Code::EnhanceYourCalm.into());
        }
        if !head.has(flag::END_HEADERS) {
            return Ok(());
        }
        let Some(block) = self.block.take() else { return Ok(()) };
        self.block(block.stream, block.flags, block.circular, &block.bytes)
    }

    /// A header block is whole. Whatever becomes of it, it must be read: later ones refer to it.
    fn block(&mut self, id: u32, flags: u8, circular: bool, block: &[u8]) -> Outcome {
        self.useful_bytes += block.len() as u64;
        let end = flags & flag::END_STREAM != 0;
        let known = self.streams.find(id);
        let trailers = known.and_then(|key| self.streams.look(key)).is_some_and(|stream| match self.role {
            Role::Server => true,
            Role::Client => stream.answered,
        });
        let limit = if trailers { TRAILERS_MAX } else { self.limits.head_max as usize };
        let mut said = Said::new(self.limits.fields_max, self.limits.drop_underscores && !trailers);
        let mut raw = Vec::with_capacity((block.len() * 2).clamp(256, 2048));
        let whole = self
            .decoder
            .decode(block, limit, &mut raw, &mut |raw, field| said.hear(raw, field))
            .map_err(|_| Code::Compression)?;
        if circular {
            if self.is_idle(id) {
                self.last_peer = id;
            }
            return Err(Fault::Stream(id, Code::Protocol, "h2:circular-priority"));
        }
        let fault = |Malformed(why): Malformed| Fault::Stream(id, Code::Protocol, why);
        match known {
            Some(key) if trailers => {
                if self.streams.look(key).is_some_and(|stream| stream.received_end) {
                    return Err(Fault::Stream(id, Code::StreamClosed, "h2:stream-closed"));
                }
                if !end {
                    return Err(fault(Malformed("h2:second-head")));
                }
                let fields = said.trailers(&raw, whole).map_err(fault)?;
                self.trailed(key, id, fields)
            }
            Some(key) => {
                if self.streams.look(key).is_some_and(|stream| stream.received_end) {
                    return Err(Fault::Stream(id, Code::StreamClosed, "h2:stream-closed"));
                }
                let head = said.response(raw, whole, end).map_err(fault)?;
                self.answer(key, id, head)
            }
            None if self.is_idle(id) => self.open_by_peer(id, said, raw, whole, end),
            // A stream that we have reset. Its first head is behind it, so a client sends its trailers or what is wrong.
            None if self.role == Role::Client => Ok(()),
            None if end => said.trailers(&raw, whole).map(drop).map_err(fault),
            None => Err(fault(Malformed("h2:second-head"))),
        }
    }

    fn trailed(&mut self, key: Key, id: u32, fields: Vec<Trailer>) -> Outcome {
        let Some(stream) = self.streams.get(key) else { return Ok(()) };
        if stream.missing.is_some_and(|missing| missing > 0) {
            return Err(Fault::Stream(id, Code::Protocol, "h2:body-length"));
        }
        stream.trailers = fields;
        self.received_end(key);
        self.readable(key);
        Ok(())
    }

    fn open_by_peer(&mut self, id: u32, said: Said, raw: Vec<u8>, whole: bool, end: bool) -> Outcome {
        self.last_peer = id;
        match self.phase {
            Phase::Open | Phase::Leaving => {}
            // Behind the last GOAWAY the client knows that this is not looked at.
            Phase::Draining(_) | Phase::Closed(_) => {
                self.streams.remember(id, End::ByUs);
                return Ok(());
            }
        }
        // Streams that were reset but are still at work here count as well.
        let most = self.limits.streams_max as usize;
        if self.streams.living() >= most || self.streams.kept() >= 2 * most + 16 {
            return Err(Fault::Stream(id, Code::RefusedStream, "h2:too-many-streams"));
        }
        let head = match said.request(raw, whole, end) {
            Ok(head) => head,
            Err(Malformed(why)) => return Err(Fault::Stream(id, Code::Protocol, why)),
        };
        let mut stream = self.new_stream(id);
        stream.missing = match head.body {
            crate::http1::BodyLength::Known(length) => Some(length),
            crate::http1::BodyLength::None | crate::http1::BodyLength::Open => None,
        };
        stream.received_end = end;
        stream.head = Some(Head::Request(Box::new(head)));
        let key = self.streams.insert(stream);
        self.events.push_back(Event::Opened(key));
        Ok(())
    }

    fn answer(&mut self, key: Key, id: u32, head: super::ResponseHead) -> Outcome {
        let Some(stream) = self.streams.get(key) else { return Ok(()) };
        let end = head.end;
        if head.status >= 200 {
            stream.answered = true;
            let bare = stream.to_head || matches!(head.status, 204 | 304);
            stream.missing = if bare { Some(0) } else { head.content_length };
            if end && stream.missing.is_some_and(|missing| missing > 0) {
                return Err(Fault::Stream(id, Code::Protocol, "h2:body-length"));
            }
        }
        match &mut stream.head {
            Some(Head::Responses(heads)) if heads.len() >= INTERIM_MAX => {
                return Err(Fault::Stream(id, Code::EnhanceYourCalm, "h2:too-many-heads"));
            }
            Some(Head::Responses(heads)) => heads.push(head),
            Some(Head::Request(_)) | None => stream.head = Some(Head::Responses(vec![head])),
        }
        if end {
            self.received_end(key);
        }
        self.readable(key);
        Ok(())
    }

    fn priority(&mut self, head: &FrameHead, payload: &[u8]) -> Outcome {
        if head.stream == 0 {
            return Err(Code::Protocol.into());
        }
        if payload.len() != 5 {
            return Err(Fault::Stream(head.stream, Code::FrameSize, "h2:frame-size"));
        }
        let dependency = frame::number(payload).unwrap_or(0) & 0x7fff_ffff;
        if dependency == head.stream {
            return Err(Fault::Stream(head.stream, Code::Protocol, "h2:circular-priority"));
        }
        Ok(())
    }

    fn reset_by_peer(&mut self, head: &FrameHead, payload: &[u8]) -> Outcome {
        if head.stream == 0 || self.is_idle(head.stream) {
            return Err(Code::Protocol.into());
        }
        let (4, Some(code)) = (payload.len(), frame::number(payload)) else {
            return Err(Code::FrameSize.into());
        };
        let Some(key) = self.streams.find(head.stream) else {
            self.streams.reset_again(head.stream, End::ByPeer);
            return Ok(());
        };
        // A response that is whole stays so: a server may end a request's body with a reset (RFC 9113 section 8.1).
        let whole = self.streams.look(key).is_some_and(|stream| stream.received_end);
        if self.role == Role::Client && whole && code == Code::NoError as u32 {
            if let Some(stream) = self.streams.get(key) {
                stream.sent_end = true;
            }
            self.streams.close(head.stream, End::Whole);
            self.writable(key);
            return Ok(());
        }
        self.drop_stream(key, Code::from_number(code), false);
        if self.role == Role::Server && !self.may_reset() {
            return Err(Code::EnhanceYourCalm.into());
        }
        Ok(())
    }

    fn settings(&mut self, head: &FrameHead, payload: &[u8]) -> Outcome {
        if head.stream != 0 {
            return Err(Code::Protocol.into());
        }
        if head.has(flag::ACK) {
            return if payload.is_empty() { Ok(()) } else { Err(Code::FrameSize.into()) };
        }
        if !payload.len().is_multiple_of(6) {
            return Err(Code::FrameSize.into());
        }
        self.settled = true;
        for parameter in payload.chunks_exact(6) {
            let name = u16::from_be_bytes([parameter[0], parameter[1]]);
            let value = frame::number(&parameter[2..]).unwrap_or(0);
            self.setting(name, value)?;
        }
        frame::head(&mut self.out, 0, kind::SETTINGS, flag::ACK, 0);
        Ok(())
    }

    fn setting(&mut self, name: u16, value: u32) -> Result<(), Code> {
        match name {
            setting::HEADER_TABLE_SIZE => self.encoder.resize(value as usize),
            setting::ENABLE_PUSH if value > 1 => return Err(Code::Protocol),
            setting::ENABLE_PUSH if value == 1 && self.role == Role::Client => return Err(Code::Protocol),
            setting::MAX_CONCURRENT_STREAMS => self.peer.streams_max = value,
            setting::INITIAL_WINDOW_SIZE => {
                if i64::from(value) > WINDOW_MAX {
                    return Err(Code::FlowControl);
                }
                self.resize_windows(value)?;
            }
            // Frames longer than every peer must take are never sent.
            setting::MAX_FRAME_SIZE if !(16_384..1 << 24).contains(&value) => return Err(Code::Protocol),
            _ => {}
        }
        Ok(())
    }

    /// The windows of all streams change with SETTINGS, below zero even (RFC 9113 section 6.9.2).
    fn resize_windows(&mut self, window: u32) -> Result<(), Code> {
        let more = i64::from(window) - i64::from(self.peer.window);
        self.peer.window = window;
        let living: Vec<Key> = self.streams.keys().collect();
        for key in living {
            let Some(stream) = self.streams.get(key) else { continue };
            stream.send_window += more;
            if stream.send_window > WINDOW_MAX {
                return Err(Code::FlowControl);
            }
            if more > 0 && stream.send_window > 0 {
                self.writable(key);
            }
        }
        Ok(())
    }

    fn pinged(&mut self, head: &FrameHead, payload: &[u8]) -> Outcome {
        if head.stream != 0 {
            return Err(Code::Protocol.into());
        }
        let payload: [u8; 8] = payload.try_into().map_err(|_| Code::FrameSize)?;
        if head.has(flag::ACK) {
            self.pong(payload);
        } else {
            frame::ping(&mut self.out, flag::ACK, &payload);
        }
        Ok(())
    }

    fn goaway(&mut self, head: &FrameHead, payload: &[u8]) -> Outcome {
        if head.stream != 0 {
            return Err(Code::Protocol.into());
        }
        let last = frame::number(payload).ok_or(Code::FrameSize)? & 0x7fff_ffff;
        if payload.len() < 8 {
            return Err(Code::FrameSize.into());
        }
        match self.role {
            // A client that leaves opens no further streams; those that it has are served.
            Role::Server => self.leave_now(),
            Role::Client => {
                self.peer_last = Some(self.peer_last.map_or(last, |before| before.min(last)));
                let unseen: Vec<Key> = self.streams.keys().collect();
                for key in unseen {
                    if self.streams.look(key).is_some_and(|stream| stream.id > last) {
                        self.drop_stream(key, Code::RefusedStream, true);
                    }
                }
            }
        }
        Ok(())
    }

    fn window_update(&mut self, head: &FrameHead, payload: &[u8]) -> Outcome {
        let (4, Some(more)) = (payload.len(), frame::number(payload)) else {
            return Err(Code::FrameSize.into());
        };
        let more = i64::from(more & 0x7fff_ffff);
        if head.stream == 0 {
            if more == 0 {
                return Err(Code::Protocol.into());
            }
            self.send_window += more;
            if self.send_window > WINDOW_MAX {
                return Err(Code::FlowControl.into());
            }
            self.make_room();
            return Ok(());
        }
        if self.is_idle(head.stream) {
            return Err(Code::Protocol.into());
        }
        if more == 0 {
            return Err(Fault::Stream(head.stream, Code::Protocol, "h2:empty-window-update"));
        }
        let Some(key) = self.streams.find(head.stream) else { return Ok(()) };
        let Some(stream) = self.streams.get(key) else { return Ok(()) };
        stream.send_window += more;
        if stream.send_window > WINDOW_MAX {
            return Err(Fault::Stream(head.stream, Code::FlowControl, "h2:flow-control"));
        }
        if stream.send_window > 0 {
            self.writable(key);
        }
        Ok(())
    }
}
