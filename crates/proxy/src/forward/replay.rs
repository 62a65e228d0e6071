//! Request bodies that are kept for another try: what was sent of a short one, or the whole, taken in beforehand.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::task::{Context, Poll};

use super::{Broken, More, Source, Trailer};
use crate::transport::Stream;

/// Bytes kept in memory; what comes beyond goes to a file.
pub(super) const MEMORY: usize = 64 << 10;

/// Bytes of the file that are read at once.
const PIECE: usize = 64 << 10;

/// A request's body as far as it was taken from the client.
#[derive(Debug, Default)]
pub(super) struct Replay {
    memory: Vec<u8>,
    file: Option<File>,
    /// Bytes in the file.
    filed: u64,
    /// Bytes given out in this try.
    at: u64,
    /// A piece of the file, and how much of it was given out.
    piece: Vec<u8>,
    piece_at: usize,
    trailers: Vec<Trailer>,
    /// The whole body is here.
    pub(super) whole: bool,
    /// What is sent is not kept any more: there is no other try.
    pub(super) lost: bool,
}

impl Replay {
    /// A body that is not passed.
    pub(super) fn nothing() -> Self {
        Self { whole: true, ..Self::default() }
    }

    /// Bytes that are kept.
    pub(super) fn len(&self) -> u64 {
        self.memory.len() as u64 + self.filed
    }

    /// Another try begins.
    pub(super) fn rewind(&mut self) {
        self.at = 0;
        self.piece.clear();
        self.piece_at = 0;
    }

    /// Keeps bytes, in memory only.
    pub(super) fn remember(&mut self, bytes: &[u8]) {
        if self.lost {
            return;
        }
        if self.memory.len() + bytes.len() > MEMORY {
            self.lost = true;
            self.memory = Vec::new();
            self.at = 0;
        } else {
            self.memory.extend_from_slice(bytes);
            self.at = self.memory.len() as u64;
        }
    }

    /// Keeps bytes, beyond the memory's bound in a file without a name.
    pub(super) fn store(&mut self, bytes: &[u8]) -> io::Result<()> {
        if self.file.is_none() && self.memory.len() + bytes.len() <= MEMORY {
            self.memory.extend_from_slice(bytes);
            return Ok(());
        }
        let file = match self.file.take() {
            Some(file) => file,
            None => nameless()?,
        };
        file.write_all_at(bytes, self.filed)?;
        self.filed += bytes.len() as u64;
        self.file = Some(file);
        Ok(())
    }

    /// The body is here whole.
    pub(super) fn complete(&mut self, trailers: Vec<Trailer>) {
        self.whole = true;
        self.trailers = trailers;
        self.rewind();
    }

    /// Whether there are bytes that this try has not given out.
    pub(super) fn has_more(&self) -> bool {
        !self.lost && self.at < self.len()
    }

    fn load(&mut self) -> io::Result<()> {
        let Some(file) = &self.file else { return Ok(()) };
        if self.at < self.memory.len() as u64 || self.piece_at < self.piece.len() {
            return Ok(());
        }
        let from = self.at - self.memory.len() as u64;
        let count = usize::try_from(self.filed - from).unwrap_or(PIECE).min(PIECE);
        self.piece.resize(count, 0);
        self.piece_at = 0;
        file.read_exact_at(&mut self.piece, from)
    }
}

impl Source for Replay {
    fn poll_data(&mut self, _: &mut Context<'_>) -> Poll<Result<More, Broken>> {
        if !self.has_more() {
            return Poll::Ready(Ok(More::End));
        }
        Poll::Ready(self.load().map(|()| More::Data).map_err(|_| Broken::Gone))
    }

    fn data(&self) -> &[u8] {
        match usize::try_from(self.at) {
            Ok(at) if at < self.memory.len() => &self.memory[at..],
            _ => &self.piece[self.piece_at..],
        }
    }

    fn consume(&mut self, count: usize) {
        if self.at >= self.memory.len() as u64 {
            self.piece_at += count;
        }
        self.at += count as u64;
    }

    fn trailers(&mut self) -> Vec<Trailer> {
        self.trailers.clone()
    }
}

/// A file that nobody else can open and that goes with its descriptor.
fn nameless() -> io::Result<File> {
    use rustix::fs::{Mode, OFlags};
    let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
    let fd = rustix::fs::open(std::env::temp_dir(), flags, Mode::RUSR | Mode::WUSR)?;
    Ok(fd.into())
}

/// The request's body: what is kept of it first, then the client.
pub(super) struct Body<'a, C> {
    pub(super) client: &'a mut C,
    pub(super) replay: Option<&'a mut Replay>,
}

impl<C: Source> Body<'_, C> {
    fn is_kept(&self) -> bool {
        self.replay.as_ref().is_some_and(|replay| replay.whole || replay.has_more())
    }
}

impl<C: Source> Source for Body<'_, C> {
    fn poll_data(&mut self, cx: &mut Context<'_>) -> Poll<Result<More, Broken>> {
        match &mut self.replay {
            Some(replay) if replay.whole || replay.has_more() => replay.poll_data(cx),
            Some(_) | None => self.client.poll_data(cx),
        }
    }

    fn data(&self) -> &[u8] {
        match &self.replay {
            Some(replay) if self.is_kept() => replay.data(),
            Some(_) | None => self.client.data(),
        }
    }

    fn consume(&mut self, count: usize) {
        let kept = self.is_kept();
        match &mut self.replay {
            Some(replay) if kept => replay.consume(count),
            Some(replay) => {
                replay.remember(&self.client.data()[..count]);
                self.client.consume(count);
            }
            None => self.client.consume(count),
        }
    }

    fn direct(&self) -> Option<(&Stream, u64)> {
        // What may be needed again must be seen.
        let seen = self.replay.as_ref().is_some_and(|replay| !replay.lost || replay.whole);
        if seen { None } else { self.client.direct() }
    }

    fn took_direct(&mut self, count: u64) {
        self.client.took_direct(count);
    }

    fn trailers(&mut self) -> Vec<Trailer> {
        match &mut self.replay {
            Some(replay) if replay.whole => replay.trailers(),
            Some(_) | None => self.client.trailers(),
        }
    }
}
