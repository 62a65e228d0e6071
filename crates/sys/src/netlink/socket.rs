//! One netlink socket: requests whose answers are waited for within a bound, or notifications without waiting.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::{AddressFamily, Protocol, RecvFlags, SendFlags, SocketType};

use super::wire::{Batch, Message, Messages, u32_at};
use crate::os;

/// The kernel fills a dump's datagrams up to this size when we offer it.
const BUFFER: usize = 32 * 1024;
/// What may queue up before the kernel tells us of an overflow: 1000 addresses at once, with room to spare.
const RECEIVE_BUFFER: i32 = 2 * 1024 * 1024;
/// The kernel answers within the call that asked; this bounds the wait when something is very wrong.
const ANSWER_WITHIN: Timespec = Timespec { tv_sec: 1, tv_nsec: 0 };
/// A dump that was overtaken by changes is asked for again this many times.
const DUMP_TRIES: usize = 5;

/// `NETLINK_CAP_ACK`: answers don't repeat the request.
const CAP_ACK: i32 = 10;
/// `NETLINK_ADD_MEMBERSHIP`.
const ADD_MEMBERSHIP: i32 = 1;
/// `NLMSG_ERROR`, which carries an acknowledgement too, with error 0.
const ERROR: u16 = 2;
/// `NLMSG_DONE`: the end of a dump.
const DONE: u16 = 3;
/// `NLM_F_DUMP_INTR`: things changed while they were listed.
const DUMP_INTERRUPTED: u16 = 0x10;

/// Request flags.
pub(crate) const REQUEST: u16 = 1;
/// An acknowledgement is wanted.
pub(crate) const ACK: u16 = 4;
/// All of a kind are wanted.
pub(crate) const DUMP: u16 = 0x300;
/// Replace what exists.
pub(crate) const REPLACE: u16 = 0x100;
/// Refuse what exists.
#[cfg(mainstay_bpf)]
pub(crate) const EXCLUSIVE: u16 = 0x200;
/// Create what doesn't exist.
pub(crate) const CREATE: u16 = 0x400;

/// A netlink socket with its sequence numbers and its one receive buffer.
pub(crate) struct Socket {
    fd: OwnedFd,
    seq: u32,
    buffer: Box<[u8]>,
}

impl Socket {
    /// Opens a socket of a netlink family (`None` is NETLINK_ROUTE, number 0), listening to `groups`.
    pub(crate) fn open(protocol: Option<Protocol>, groups: &[u32]) -> io::Result<Self> {
        let fd = os::socket(AddressFamily::NETLINK, SocketType::RAW, protocol)?;
        rustix::net::bind(&fd, &SocketAddrNetlink::new(0, 0))?;
        os::receive_buffer(&fd, RECEIVE_BUFFER)?;
        // Before Linux 4.3 answers repeat their request, which only costs bytes.
        let _ = os::set_option(&fd, libc::SOL_NETLINK, CAP_ACK, &1i32);
        for group in groups {
            os::set_option(&fd, libc::SOL_NETLINK, ADD_MEMBERSHIP, group)?;
        }
        Ok(Self { fd, seq: 0, buffer: vec![0; BUFFER].into_boxed_slice() })
    }

    /// The address the kernel knows this socket by; it stands in notifications of what we caused.
    pub(crate) fn port(&self) -> io::Result<u32> {
        let address = rustix::net::getsockname(&self.fd)?;
        SocketAddrNetlink::try_from(address).map(|address| address.pid()).map_err(io::Error::from)
    }

    /// The number for the next request.
    pub(crate) fn next_seq(&mut self) -> u32 {
        self.seq = self.seq.wrapping_add(1).max(1);
        self.seq
    }

    /// Sends one request and hands every message of its dump to `each`; starts over when things changed meanwhile.
    pub(crate) fn dump<T>(
        &mut self,
        kind: u16,
        body: impl Fn(&mut Batch),
        each: impl Fn(Message<'_>) -> Option<T>,
    ) -> io::Result<Vec<T>> {
        for _ in 0..DUMP_TRIES {
            let seq = self.next_seq();
            let mut batch = Batch::new();
            batch.begin(kind, REQUEST | DUMP, seq);
            body(&mut batch);
            self.send(batch.bytes())?;
            if let Some(found) = self.read_dump(seq, &each)? {
                return Ok(found);
            }
        }
        Err(io::Error::from(io::ErrorKind::ResourceBusy))
    }

    fn read_dump<T>(
        &mut self,
        seq: u32,
        each: impl Fn(Message<'_>) -> Option<T>,
    ) -> io::Result<Option<Vec<T>>> {
        let mut found = Vec::new();
        let mut whole = true;
        loop {
            for message in self.receive_within()?.filter(|message| message.seq == seq) {
                whole &= message.flags & DUMP_INTERRUPTED == 0;
                match message.kind {
                    DONE => return Ok(whole.then_some(found)),
                    ERROR => return error_of(message).map(|()| whole.then_some(found)),
                    _ => found.extend(each(message)),
                }
            }
        }
    }

    /// Sends a batch of requests numbered `first..=last`, the last one with `ACK`, and reports each that failed.
    ///
    /// The kernel queues all answers before the sending call returns, so once one was read an empty queue is the end.
    pub(crate) fn transact(
        &mut self,
        bytes: &[u8],
        first: u32,
        last: u32,
        mut failed: impl FnMut(u32, io::Error),
    ) -> io::Result<()> {
        self.send(bytes)?;
        let mut answered = false;
        loop {
            let Some(answers) = self.receive()? else {
                if answered {
                    return Ok(());
                }
                self.wait()?;
                continue;
            };
            let ours = |message: &Message<'_>| message.kind == ERROR && (first..=last).contains(&message.seq);
            for message in Messages(answers).filter(ours) {
                answered = true;
                let seq = message.seq;
                if let Err(error) = error_of(message) {
                    failed(seq, error);
                }
                if seq == last {
                    return Ok(());
                }
            }
        }
    }

    /// Sends raw bytes to the kernel.
    pub(crate) fn send(&self, bytes: &[u8]) -> io::Result<()> {
        let kernel = SocketAddrNetlink::new(0, 0);
        rustix::net::sendto(&self.fd, bytes, SendFlags::empty(), &kernel)?;
        Ok(())
    }

    /// What is there, without waiting: `None` when nothing is, `ENOBUFS` as an error after an overflow.
    pub(crate) fn receive(&mut self) -> io::Result<Option<&[u8]>> {
        loop {
            match rustix::net::recv(&self.fd, &mut *self.buffer, RecvFlags::DONTWAIT) {
                Ok((len, _)) => return Ok(Some(&self.buffer[..len])),
                Err(Errno::AGAIN) => return Ok(None),
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn receive_within(&mut self) -> io::Result<Messages<'_>> {
        loop {
            match rustix::net::recv(&self.fd, &mut *self.buffer, RecvFlags::DONTWAIT) {
                Ok((len, _)) => return Ok(Messages(&self.buffer[..len])),
                Err(Errno::AGAIN) => self.wait()?,
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn wait(&self) -> io::Result<()> {
        let mut fds = [PollFd::new(&self.fd, PollFlags::IN)];
        match poll(&mut fds, Some(&ANSWER_WITHIN)) {
            Ok(0) => Err(io::ErrorKind::TimedOut.into()),
            Ok(_) | Err(Errno::INTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// What an `NLMSG_ERROR` says: nothing wrong, or an errno.
pub(crate) fn error_of(message: Message<'_>) -> io::Result<()> {
    match u32_at(message.body, 0).map(u32::cast_signed) {
        Some(0) => Ok(()),
        Some(errno) => Err(io::Error::from_raw_os_error(errno.saturating_neg())),
        None => Err(io::ErrorKind::UnexpectedEof.into()),
    }
}
