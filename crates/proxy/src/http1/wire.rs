//! A connection with what came and was not read yet, and what is to be sent.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::AsyncWrite as _;

use crate::buffers::{self, Block, SIZES};
use crate::clock;
use crate::transport::Io;

/// Staged bytes beyond which more are not copied to them but written from where they are.
const STAGE_MAX: usize = 16 << 10;

/// A piece up to this long is copied behind what is staged: one write of a little more is cheaper than writev.
const COPY_MAX: usize = 4 << 10;

/// A connection with its buffers.
#[derive(Debug)]
pub(crate) struct Wire {
    io: Io,
    block: Option<Block>,
    start: usize,
    end: usize,
    /// The size of the next block.
    class: usize,
    staged: Vec<u8>,
    staged_at: usize,
    /// Bytes that came.
    pub(crate) received: u64,
    /// Bytes that went.
    pub(crate) sent: u64,
    /// The other end sends no more.
    pub(crate) ended: bool,
}

impl Wire {
    pub(crate) fn new(io: Io) -> Self {
        Self {
            io,
            block: None,
            start: 0,
            end: 0,
            class: 0,
            staged: Vec::new(),
            staged_at: 0,
            received: 0,
            sent: 0,
            ended: false,
        }
    }

    /// Puts bytes that were read ahead where what comes is kept; nothing came before.
    pub(crate) fn preload(&mut self, bytes: &[u8]) {
        // Deadlines of what came count from when it came.
        clock::refresh();
        self.make_room();
        while self.block.as_deref().is_some_and(|block| block.len() < bytes.len()) && self.grow() {}
        if let Some(block) = self.block.as_deref_mut() {
            block[..bytes.len()].copy_from_slice(bytes);
            self.end = bytes.len();
            self.received += bytes.len() as u64;
        }
    }

    pub(crate) fn io(&self) -> &Io {
        &self.io
    }

    /// The connection, when nothing is under way on it.
    pub(crate) fn into_io(mut self) -> Io {
        self.rest();
        self.io
    }

    /// What came and was not read.
    pub(crate) fn unread(&self) -> &[u8] {
        self.block.as_deref().map_or(&[], |block| &block[self.start..self.end])
    }

    pub(crate) fn consume(&mut self, count: usize) {
        self.start += count;
        debug_assert!(self.start <= self.end, "nobody consumes what did not come");
        if self.start == self.end {
            self.start = 0;
            self.end = 0;
        }
    }

    /// Waits until the other end says something, or ends.
    pub(crate) fn poll_peer(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.io.poll_readable(cx)
    }

    /// Waits for more bytes and says how many came; none at the end. The buffer must have room, see [`Wire::is_full`].
    pub(crate) fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        self.make_room();
        let Some(block) = self.block.as_deref_mut() else { return Poll::Ready(Ok(0)) };
        let room = block.len() - self.end;
        let Poll::Ready(count) = self.io.poll_fill(cx, &mut block[self.end..]) else {
            // What waits owns no buffer.
            if self.start == self.end {
                self.give_back_block();
            }
            return Poll::Pending;
        };
        let count = count?;
        clock::refresh();
        self.end += count;
        self.received += count as u64;
        self.ended |= count == 0;
        // A stream that fills its buffer gets a larger one.
        if count == room && self.start == 0 && self.class + 1 < SIZES.len() {
            self.class += 1;
        }
        Poll::Ready(Ok(count))
    }

    /// Whether unread bytes fill the buffer.
    pub(crate) fn is_full(&self) -> bool {
        self.start == 0 && self.block.as_deref().is_some_and(|block| self.end == block.len())
    }

    /// A larger buffer, when there is one.
    pub(crate) fn grow(&mut self) -> bool {
        let Some(old) = self.block.take() else { return true };
        let larger = SIZES.iter().position(|size| *size > old.len());
        let Some(class) = larger else {
            self.block = Some(old);
            return false;
        };
        let mut block = buffers::block(class);
        let count = self.end - self.start;
        block[..count].copy_from_slice(&old[self.start..self.end]);
        self.start = 0;
        self.end = count;
        self.block = Some(block);
        true
    }

    fn make_room(&mut self) {
        if self.start == self.end {
            self.start = 0;
            self.end = 0;
            let class = buffers::affordable(self.class);
            if self.block.as_deref().is_none_or(|block| block.len() < SIZES[class]) {
                self.give_back_block();
                self.block = Some(buffers::block(class));
            }
        } else if let Some(block) = self.block.as_deref_mut().filter(|block| self.end == block.len()) {
            block.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
        }
    }

    /// What is to be sent; more may be put behind it.
    pub(crate) fn stage(&mut self) -> &mut Vec<u8> {
        if self.staged.capacity() == 0 {
            self.staged = buffers::text();
        }
        &mut self.staged
    }

    pub(crate) fn has_staged(&self) -> bool {
        self.staged_at < self.staged.len()
    }

    /// Sends what is staged.
    pub(crate) fn poll_drain(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.staged_at < self.staged.len() {
            let count = ready!(Pin::new(&mut self.io).poll_write(cx, &self.staged[self.staged_at..]))?;
            if count == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.staged_at += count;
            self.sent += count as u64;
        }
        self.give_back_staged();
        Pin::new(&mut self.io).poll_flush(cx)
    }

    /// Sends what is staged and then bytes of `data`, or stages these too when they are few; says how many of them.
    pub(crate) fn poll_send(&mut self, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        if data.len() <= COPY_MAX && self.staged.len() + data.len() <= STAGE_MAX {
            self.stage().extend_from_slice(data);
            return Poll::Ready(Ok(data.len()));
        }
        while self.staged_at < self.staged.len() {
            let staged = &self.staged[self.staged_at..];
            let both = [IoSlice::new(staged), IoSlice::new(data)];
            let ahead = staged.len();
            let count = ready!(Pin::new(&mut self.io).poll_write_vectored(cx, &both))?;
            if count == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.sent += count as u64;
            self.staged_at += count.min(ahead);
            if count > ahead {
                self.give_back_staged();
                return Poll::Ready(Ok(count - ahead));
            }
        }
        self.give_back_staged();
        let count = ready!(Pin::new(&mut self.io).poll_write(cx, data))?;
        self.sent += count as u64;
        if count == 0 { Poll::Ready(Err(io::ErrorKind::WriteZero.into())) } else { Poll::Ready(Ok(count)) }
    }

    /// Says that nothing more will be sent.
    pub(crate) fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_drain(cx))?;
        Pin::new(&mut self.io).poll_shutdown(cx)
    }

    /// Gives back all memory that is not in use.
    pub(crate) fn rest(&mut self) {
        self.class = 0;
        if self.start == self.end {
            self.give_back_block();
        }
        if !self.has_staged() {
            self.give_back_staged();
        }
    }

    fn give_back_block(&mut self) {
        self.start = 0;
        self.end = 0;
        self.block = None;
    }

    fn give_back_staged(&mut self) {
        self.staged_at = 0;
        if self.staged.capacity() > 0 {
            buffers::give_back_text(std::mem::take(&mut self.staged));
        }
    }
}
