//! What is sent on streams, and what is taken of them.

use super::Code;
use super::connection::{Connection, LINGER_BYTES, OUTPUT_MAX, Role, STREAM_WINDOW};
use super::encode::Encoder;
use super::frame::{self, flag, kind};
use super::head::Trailer;
use super::stream::{End, Key, Stream, Taken};

/// A request's pseudo-header fields.
#[derive(Clone, Copy, Debug)]
pub struct RequestLine<'a> {
    /// Method.
    pub method: &'a [u8],
    /// Scheme.
    pub scheme: &'a [u8],
    /// Host with port; may be empty.
    pub authority: &'a [u8],
    /// Target in origin form, or `*`.
    pub target: &'a [u8],
}

impl Connection {
    /// Opens a stream with a request's head; [`Self::may_open`] was asked before.
    pub fn open<'f>(
        &mut self,
        line: &RequestLine<'_>,
        fields: impl Iterator<Item = (&'f [u8], &'f [u8])>,
    ) -> Option<Key> {
        if self.role != Role::Client || !self.may_open() {
            return None;
        }
        let id = self.next_own;
        self.next_own += 2;
        let mut stream = self.new_stream(id);
        stream.to_head = line.method == b"HEAD";
        let key = self.streams.insert(stream);
        self.send_block(key, |encoder, out| {
            encoder.field(b":method", line.method, out);
            encoder.field(b":scheme", line.scheme, out);
            encoder.field(b":path", line.target, out);
            if !line.authority.is_empty() {
                encoder.field(b":authority", line.authority, out);
            }
            fields.for_each(|(name, value)| encoder.field(name, value, out));
        });
        Some(key)
    }

    /// Sends the head of a response, an interim one (1xx) or the final one.
    pub fn respond<'f>(&mut self, key: Key, status: u16, fields: impl Iterator<Item = (&'f [u8], &'f [u8])>) {
        if let Some(stream) = self.streams.get(key) {
            stream.spare = if status < 300 { LINGER_BYTES } else { 0 };
        }
        self.send_block(key, |encoder, out| {
            encoder.status(status, out);
            fields.for_each(|(name, value)| encoder.field(name, value, out));
        });
    }

    /// Writes a header block, in as many frames as it needs. Nothing is written on a stream that is over.
    fn send_block(&mut self, key: Key, write: impl FnOnce(&mut Encoder, &mut Vec<u8>)) {
        let Some(id) = self.streams.get(key).filter(|s| s.reset.is_none() && !s.sent_end).map(|s| s.id)
        else {
            return;
        };
        let start = self.out.len();
        frame::head(&mut self.out, 0, kind::HEADERS, flag::END_HEADERS, id);
        self.encoder.begin(&mut self.out);
        write(&mut self.encoder, &mut self.out);
        let length = self.out.len() - start - frame::HEAD;
        if length > frame::PAYLOAD_MAX {
            self.split_block(start, id);
        } else {
            frame::set_length(&mut self.out[start..], length);
        }
        self.mark_frame(key, start);
    }

    /// A block that is too long for one frame is sent in several.
    fn split_block(&mut self, start: usize, id: u32) {
        let block = self.out.split_off(start + frame::HEAD);
        let (first, rest) = block.split_at(frame::PAYLOAD_MAX);
        frame::set_length(&mut self.out[start..], first.len());
        self.out[start + 4] = 0;
        self.out.extend_from_slice(first);
        let last = rest.len().div_ceil(frame::PAYLOAD_MAX) - 1;
        for (at, piece) in rest.chunks(frame::PAYLOAD_MAX).enumerate() {
            let flags = if at == last { flag::END_HEADERS } else { 0 };
            frame::head(&mut self.out, piece.len(), kind::CONTINUATION, flags, id);
            self.out.extend_from_slice(piece);
        }
    }

    /// Remembers where a stream's last frame begins, in bytes since the connection's beginning.
    fn mark_frame(&mut self, key: Key, start: usize) {
        let position = self.out_gone + (start - self.out_at) as u64;
        if let Some(stream) = self.streams.get(key) {
            stream.last_frame = Some(position);
        }
    }

    /// Sends bytes of a body, the first of them at least: how many. None are taken while a window is shut or too much waits to be
    /// sent: [`super::Event::Writable`] tells when that has changed.
    ///
    /// # Errors
    ///
    /// When the stream was reset.
    pub fn send(&mut self, key: Key, data: &[u8]) -> Result<usize, Code> {
        let waiting = self.output().len();
        let window = self.send_window;
        let Some(stream) = self.streams.get(key) else { return Err(Code::Internal) };
        if let Some(code) = stream.reset {
            return Err(code);
        }
        if stream.sent_end {
            // The backend wants no more of the request (see `reset_by_peer`).
            return Ok(data.len());
        }
        let room = OUTPUT_MAX.saturating_sub(waiting) as i64;
        let least = room.min(window).min(stream.send_window).max(0);
        let count = data.len().min(usize::try_from(least).unwrap_or(0));
        if count == 0 && !data.is_empty() {
            stream.wants_write = true;
            if (room <= 0 || window <= 0) && !std::mem::replace(&mut stream.queued, true) {
                self.queue.push_back(key);
            }
            return Ok(0);
        }
        stream.send_window -= count as i64;
        self.send_window -= count as i64;
        self.useful_bytes += count as u64;
        let id = stream.id;
        let mut start = self.out.len();
        for piece in data[..count].chunks(frame::PAYLOAD_MAX) {
            start = self.out.len();
            frame::head(&mut self.out, piece.len(), kind::DATA, 0, id);
            self.out.extend_from_slice(piece);
        }
        if count > 0 {
            self.mark_frame(key, start);
        }
        Ok(count)
    }

    /// Ends our side of a stream: with the last frame if it has not been sent, else with an empty one.
    pub fn finish<'f>(&mut self, key: Key, trailers: impl ExactSizeIterator<Item = (&'f [u8], &'f [u8])>) {
        if trailers.len() > 0 {
            self.send_block(key, |encoder, out| {
                trailers.for_each(|(name, value)| encoder.field(name, value, out))
            });
        }
        let (gone, at) = (self.out_gone, self.out_at);
        let Some(stream) = self.streams.get(key).filter(|s| s.reset.is_none() && !s.sent_end) else { return };
        let (id, over) = (stream.id, stream.received_end);
        stream.sent_end = true;
        let unsent = stream.last_frame.and_then(|position| position.checked_sub(gone));
        match unsent.and_then(|ahead| self.out.get_mut(at + ahead as usize + 4)) {
            Some(flags) => *flags |= flag::END_STREAM,
            None => frame::head(&mut self.out, 0, kind::DATA, flag::END_STREAM, id),
        }
        if over {
            self.streams.close(id, End::Whole);
        }
    }

    /// Takes what came of the peer's body: it is swapped with `into`, which is empty.
    pub fn take(&mut self, key: Key, into: &mut Vec<u8>) -> Taken {
        let Some(stream) = self.streams.get(key) else { return Taken::Reset(Code::Internal) };
        if let Some(code) = stream.reset {
            return Taken::Reset(code);
        }
        if !stream.received.is_empty() {
            std::mem::swap(&mut stream.received, into);
            return Taken::Data;
        }
        if stream.received_end {
            return Taken::End;
        }
        stream.wants_read = true;
        Taken::Later
    }

    /// Bytes that were taken are done with: the peer may send as many more.
    pub fn consumed(&mut self, key: Key, count: usize) {
        if let Some(stream) = self.streams.get(key).filter(|s| s.reset.is_none() && !s.received_end) {
            stream.credit += count as u32;
            if stream.credit >= STREAM_WINDOW / 2 {
                let (id, credit) = (stream.id, std::mem::take(&mut stream.credit));
                stream.receive_window += i64::from(credit);
                frame::window(&mut self.out, id, credit);
            }
        }
        self.give_credit(count);
    }

    /// The fields behind the peer's body.
    pub fn trailers(&mut self, key: Key) -> Vec<Trailer> {
        self.streams.get(key).map(|stream| std::mem::take(&mut stream.trailers)).unwrap_or_default()
    }

    /// Why a stream was reset, if it was; else [`super::Event::Readable`] will tell.
    pub fn is_reset(&mut self, key: Key) -> Option<Code> {
        let Some(stream) = self.streams.get(key) else { return Some(Code::Internal) };
        if stream.reset.is_none() {
            stream.wants_read = true;
        }
        stream.reset
    }

    /// Whether both sides have ended in good order.
    #[must_use]
    pub fn is_complete(&self, key: Key) -> bool {
        self.streams.look(key).is_some_and(|s| s.reset.is_none() && s.received_end && s.sent_end)
    }

    /// Resets a stream.
    pub fn reset(&mut self, key: Key, code: Code) {
        let over = self.streams.look(key).is_none_or(Stream::is_over);
        if !over && let Some(id) = self.streams.look(key).map(|s| s.id) {
            frame::reset(&mut self.out, id, code);
            self.drop_stream(key, code, true);
        }
    }

    /// Nobody wants to know of a stream any more. One that is not over is reset with `code`; when only the rest of a request is
    /// missing it lingers, see [`Self::tick`] (RFC 9113 section 8.1).
    pub fn forget(&mut self, key: Key, code: Code) {
        let server = self.role == Role::Server;
        if let Some(stream) = self.streams.get(key).filter(|s| server && s.sent_end && !s.is_over()) {
            stream.lingers = true;
            let (id, unread) = (stream.id, std::mem::take(&mut stream.received).len());
            let refused = stream.spare == 0;
            self.lingering.push_back((id, None));
            return if refused { self.give_credit(unread) } else { self.consumed(key, unread) };
        }
        self.reset(key, code);
        if let Some(stream) = self.streams.remove(key) {
            self.give_credit(stream.received.len());
        }
    }
}
