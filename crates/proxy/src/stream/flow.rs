//! One direction of a relayed connection: bytes from one socket to another, copied at first, spliced once there are many.
//!
//! Sockets are watched edge by edge: what a socket was last found to be (readable, writable) is remembered in its [`End`]. A read
//! that does not fill the buffer has emptied the socket unless its other end has shut down, so no further call asks.

use std::os::fd::{AsFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, Shutdown};
use rustix::pipe::{SpliceFlags, splice};

use super::pipes::{PIPE_BYTES, Pipe, Pipes};

/// A direction with more bytes than this is spliced from there on: below, setting a pipe up costs more than it saves.
const BULK: u64 = 64 * 1024;

/// Bytes that one direction moves before others get their turn.
const TURN: usize = 1 << 20;

/// A socket and what is known of its state.
#[derive(Debug)]
pub struct End {
    /// The socket.
    pub fd: OwnedFd,
    /// A read may find something.
    pub readable: bool,
    /// A write may find room.
    pub writable: bool,
    /// Its other end sends no more: reads go on until they find the end.
    pub hung: bool,
    /// It is watched for room too: only a socket that has once been full is.
    pub room_watched: bool,
}

impl End {
    /// A socket that nobody has asked yet.
    #[must_use]
    pub const fn new(fd: OwnedFd, readable: bool, writable: bool) -> Self {
        Self { fd, readable, writable, hung: false, room_watched: false }
    }
}

/// What a direction holds between its two sockets.
#[derive(Debug, Default)]
pub struct Flow {
    /// Bytes that found no room.
    rest: Option<Box<[u8]>>,
    pipe: Option<Pipe>,
    /// Bytes that arrived at the far side.
    pub moved: u64,
    /// The source has ended.
    ended: bool,
    /// The destination was told so.
    pub done: bool,
}

/// How a turn of a direction ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// Nothing can be done until a socket changes.
    Waits,
    /// There is more to do at once.
    More,
}

impl Flow {
    /// A direction that begins with bytes which are here already.
    #[must_use]
    pub fn with(first: &[u8]) -> Self {
        let rest = (!first.is_empty()).then(|| first.into());
        Self { rest, ..Self::default() }
    }

    /// Whether bytes are under way.
    #[must_use]
    pub fn holds(&self) -> bool {
        self.rest.is_some() || self.pipe.as_ref().is_some_and(|pipe| pipe.held > 0)
    }

    /// Moves what can be moved. `last` says that the other direction is done: the sockets are closed after this one, which tells
    /// the end without a shutdown.
    ///
    /// # Errors
    /// When one of the sockets is broken.
    pub fn pump(
        &mut self,
        from: &mut End,
        to: &mut End,
        last: bool,
        pipes: &Pipes,
        buffer: &mut [u8],
    ) -> Result<Turn, Errno> {
        let mut budget = TURN;
        loop {
            if !self.push(to)? {
                return Ok(Turn::Waits);
            }
            if self.ended {
                self.finish(to, last);
                return Ok(Turn::Waits);
            }
            if !from.readable {
                self.let_go(pipes);
                return Ok(Turn::Waits);
            }
            if budget == 0 {
                return Ok(Turn::More);
            }
            let bulk = self.moved >= BULK && (self.pipe.is_some() || self.take_pipe(pipes));
            let got = if bulk { self.pull_spliced(from)? } else { self.pull_copied(from, to, buffer)? };
            budget = budget.saturating_sub(got);
        }
    }

    /// Hands the pipe back while it is empty.
    pub fn let_go(&mut self, pipes: &Pipes) {
        if let Some(pipe) = self.pipe.take_if(|pipe| pipe.held == 0) {
            pipes.give_back(pipe);
        }
    }

    /// Hands the pipe back whatever it holds.
    pub fn close(&mut self, pipes: &Pipes) {
        if let Some(pipe) = self.pipe.take() {
            pipes.give_back(pipe);
        }
    }

    fn take_pipe(&mut self, pipes: &Pipes) -> bool {
        self.pipe = pipes.lend();
        self.pipe.is_some()
    }

    /// Sends what is held; false when there is no room.
    fn push(&mut self, to: &mut End) -> Result<bool, Errno> {
        while let Some(rest) = &self.rest {
            if !to.writable {
                return Ok(false);
            }
            match rustix::net::send(&to.fd, rest, SendFlags::NOSIGNAL) {
                Ok(sent) => {
                    self.moved += sent as u64;
                    self.rest = (sent < rest.len()).then(|| rest[sent..].into());
                }
                Err(Errno::AGAIN) => to.writable = false,
                Err(Errno::INTR) => {}
                Err(error) => return Err(error),
            }
        }
        while let Some(pipe) = self.pipe.as_mut().filter(|pipe| pipe.held > 0) {
            if !to.writable {
                return Ok(false);
            }
            let flags = SpliceFlags::MOVE | SpliceFlags::NONBLOCK;
            match splice(pipe.out.as_fd(), None, to.fd.as_fd(), None, pipe.held, flags) {
                Ok(sent) => {
                    pipe.held -= sent;
                    self.moved += sent as u64;
                }
                Err(Errno::AGAIN) => to.writable = false,
                Err(Errno::INTR) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(true)
    }

    fn pull_copied(&mut self, from: &mut End, to: &mut End, buffer: &mut [u8]) -> Result<usize, Errno> {
        let got = match rustix::net::recv(&from.fd, &mut *buffer, RecvFlags::empty()) {
            Ok((0, _)) => {
                self.ended = true;
                return Ok(0);
            }
            Ok((got, _)) => got,
            Err(Errno::AGAIN) => {
                from.readable = false;
                return Ok(0);
            }
            Err(Errno::INTR) => return Ok(0),
            Err(error) => return Err(error),
        };
        if got < buffer.len() && !from.hung {
            from.readable = false;
        }
        // The end comes next: it goes in the same segment as the last bytes.
        let flags = if from.hung { SendFlags::NOSIGNAL | SendFlags::MORE } else { SendFlags::NOSIGNAL };
        let mut sent = 0;
        while sent < got && to.writable {
            match rustix::net::send(&to.fd, &buffer[sent..got], flags) {
                Ok(n) => sent += n,
                Err(Errno::AGAIN) => to.writable = false,
                Err(Errno::INTR) => {}
                Err(error) => return Err(error),
            }
        }
        self.moved += sent as u64;
        if sent < got {
            self.rest = Some(buffer[sent..got].into());
        }
        Ok(got)
    }

    fn pull_spliced(&mut self, from: &mut End) -> Result<usize, Errno> {
        let Some(pipe) = self.pipe.as_mut() else { return Ok(0) };
        let flags = SpliceFlags::MOVE | SpliceFlags::NONBLOCK;
        match splice(from.fd.as_fd(), None, pipe.into.as_fd(), None, PIPE_BYTES, flags) {
            Ok(0) => {
                self.ended = true;
                Ok(0)
            }
            Ok(got) => {
                pipe.held += got;
                Ok(got)
            }
            Err(Errno::AGAIN) => {
                from.readable = false;
                Ok(0)
            }
            Err(Errno::INTR) => Ok(0),
            Err(error) => Err(error),
        }
    }

    /// Passes the end on, once.
    fn finish(&mut self, to: &End, last: bool) {
        if !self.done {
            self.done = true;
            if last {
                return;
            }
            // A destination that is gone needs no word.
            let _ = rustix::net::shutdown(&to.fd, Shutdown::Write);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};

    fn pair() -> (End, OwnedFd) {
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        let (a, b) = socketpair(AddressFamily::UNIX, SocketType::STREAM, flags, None).unwrap();
        (End::new(a, true, true), b)
    }

    fn read_all(fd: &OwnedFd) -> Vec<u8> {
        let mut all = Vec::new();
        let mut buffer = [0; 65_536];
        while let Ok(n @ 1..) = rustix::io::read(fd, &mut buffer) {
            all.extend_from_slice(&buffer[..n]);
        }
        all
    }

    /// Pumps and drains until the far side has everything; tells how often it had to.
    fn run(flow: &mut Flow, text: &[u8]) -> Vec<u8> {
        let pipes = Pipes::default();
        let mut buffer = vec![0; 16_384];
        let ((mut from, source), (mut to, sink)) = (pair(), pair());
        let (mut written, mut arrived) = (0, Vec::new());
        let mut source = Some(source);
        while !flow.done {
            if let Some(fd) = &source {
                match rustix::io::write(fd, &text[written..]) {
                    Ok(n) => written += n,
                    Err(Errno::AGAIN) => {}
                    Err(error) => panic!("{error}"),
                }
                from.readable = true;
                if written == text.len() {
                    source = None;
                    from.hung = true;
                }
            }
            flow.pump(&mut from, &mut to, false, &pipes, &mut buffer).unwrap();
            arrived.extend(read_all(&sink));
            to.writable = true;
            from.readable = true;
        }
        arrived.extend(read_all(&sink));
        flow.close(&pipes);
        arrived
    }

    #[test]
    fn small_and_bulk_transfers_arrive_whole_and_in_order() {
        for size in [0_usize, 1, 20_000, 3_000_000] {
            let text: Vec<u8> = (0..size).map(|n| u8::try_from(n * 7 % 251).unwrap()).collect();
            let mut flow = Flow::default();
            assert_eq!(run(&mut flow, &text), text, "{size} bytes");
            assert_eq!(flow.moved, size as u64);
        }
    }

    #[test]
    fn what_was_read_before_goes_first() {
        let mut flow = Flow::with(b"first ");
        assert_eq!(run(&mut flow, b"then"), b"first then");
    }

    #[test]
    fn a_source_that_is_empty_waits_and_holds_no_pipe() {
        let pipes = Pipes::default();
        let ((mut from, _source), (mut to, _sink)) = (pair(), pair());
        let mut flow = Flow { moved: BULK, ..Flow::default() };
        let mut buffer = vec![0; 1024];
        assert_eq!(flow.pump(&mut from, &mut to, false, &pipes, &mut buffer), Ok(Turn::Waits));
        assert!(!from.readable && flow.pipe.is_none());
    }
}
