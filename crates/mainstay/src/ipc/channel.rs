//! One end of a conversation between the supervisor and a worker.

use std::io::{IoSlice, IoSliceMut, Read, Seek, SeekFrom, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};

use anyhow::{Context, bail, ensure};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType, recvmsg, sendmsg, socketpair,
};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// The version of the messages; N and N-1 understand each other because unknown fields are skipped.
const VERSION: u8 = 1;

/// version, kind, length (u32, little endian).
const HEADER: usize = 6;

/// The JSON follows the header.
const INLINE: u8 = 0;

/// The JSON lies in the memfd that is attached.
const ATTACHED: u8 = 1;

/// Larger payloads travel in a memfd: well below the kernel's default socket buffer of 208 KiB.
const INLINE_MAX: usize = 32 * 1024;

/// No message is larger than this, in bytes.
const MAX: usize = 64 * 1024 * 1024;

/// File descriptors that may come with one message, the memfd included.
const FDS_MAX: usize = 8;

/// One end of a socket pair; non-blocking when made so.
#[derive(Debug)]
pub struct Channel {
    fd: OwnedFd,
}

/// A message and the file descriptors that came with it.
#[derive(Debug)]
pub struct Received<T> {
    /// The message.
    pub message: T,
    /// Its file descriptors, in the order they were sent.
    pub fds: Vec<OwnedFd>,
}

impl Channel {
    /// Two connected ends, both close-on-exec and blocking.
    ///
    /// # Errors
    /// When the kernel has no descriptors left.
    pub fn pair() -> anyhow::Result<(Self, Self)> {
        let (a, b) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)
            .context("socketpair for a worker")?;
        Ok((Self { fd: a }, Self { fd: b }))
    }

    /// The end that a descriptor already is.
    #[must_use]
    pub const fn from_fd(fd: OwnedFd) -> Self {
        Self { fd }
    }

    /// The descriptor itself.
    #[must_use]
    pub fn into_fd(self) -> OwnedFd {
        self.fd
    }

    /// Tells the other end that nothing more will come; it reads what is queued, then finds the channel closed.
    ///
    /// # Errors
    /// When the other end is gone already.
    pub fn shut_down(&self) -> anyhow::Result<()> {
        rustix::net::shutdown(&self.fd, rustix::net::Shutdown::Write).context("shut a worker's channel")
    }

    /// Makes sends and receives return instead of waiting.
    ///
    /// # Errors
    /// When the descriptor is not a socket.
    pub fn set_nonblocking(&self) -> anyhow::Result<()> {
        rustix::io::ioctl_fionbio(&self.fd, true).context("make a worker's channel non-blocking")
    }

    /// Sends a message; false when the other end's queue is full and this end does not block.
    ///
    /// # Errors
    /// When the other end is gone.
    pub fn send<T: Serialize>(&self, message: &T) -> anyhow::Result<bool> {
        self.send_with(message, &[])
    }

    /// Sends a message with file descriptors.
    ///
    /// # Errors
    /// When the other end is gone or there are more than seven descriptors.
    pub fn send_with<T: Serialize>(&self, message: &T, fds: &[BorrowedFd<'_>]) -> anyhow::Result<bool> {
        self.send_encoded(&serde_json::to_vec(message).context("encode a message")?, fds)
    }

    /// Sends a message that has been encoded already.
    ///
    /// # Errors
    /// As `send_with`.
    pub fn send_encoded(&self, json: &[u8], fds: &[BorrowedFd<'_>]) -> anyhow::Result<bool> {
        ensure!(fds.len() < FDS_MAX, "{} descriptors in one message, at most {}", fds.len(), FDS_MAX - 1);
        ensure!(json.len() <= MAX, "a message of {} bytes, at most {MAX}", json.len());
        let length = u32::try_from(json.len()).expect("MAX fits u32").to_le_bytes();
        let attach = json.len() > INLINE_MAX;
        let mut header = [VERSION, if attach { ATTACHED } else { INLINE }, 0, 0, 0, 0];
        header[2..].copy_from_slice(&length);
        let memfd = attach.then(|| memfd_with(json)).transpose()?;
        let mut all: Vec<BorrowedFd<'_>> = memfd.iter().map(AsFd::as_fd).collect();
        all.extend_from_slice(fds);
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(FDS_MAX))];
        let mut ancillary = SendAncillaryBuffer::new(&mut space);
        if !all.is_empty() {
            let pushed = ancillary.push(SendAncillaryMessage::ScmRights(&all));
            assert!(pushed, "the space was made for FDS_MAX descriptors");
        }
        let body: &[u8] = if attach { &[] } else { json };
        let slices = [IoSlice::new(&header), IoSlice::new(body)];
        loop {
            return match sendmsg(&self.fd, &slices, &mut ancillary, SendFlags::NOSIGNAL) {
                Ok(_) => Ok(true),
                Err(Errno::INTR) => continue,
                Err(Errno::AGAIN) => Ok(false),
                Err(Errno::PIPE | Errno::CONNRESET) => bail!(Closed),
                Err(error) => Err(error).context("send to a worker's channel"),
            };
        }
    }

    /// The next message; `None` when none is there (non-blocking) or the other end is gone (`closed` tells).
    ///
    /// # Errors
    /// When the message is malformed or of an unknown version.
    pub fn receive<T: DeserializeOwned>(&self) -> anyhow::Result<Option<Received<T>>> {
        let mut buffer = vec![0_u8; HEADER + INLINE_MAX];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(FDS_MAX))];
        let mut ancillary = RecvAncillaryBuffer::new(&mut space);
        let got = loop {
            match recvmsg(
                &self.fd,
                &mut [IoSliceMut::new(&mut buffer)],
                &mut ancillary,
                RecvFlags::CMSG_CLOEXEC,
            ) {
                Ok(got) => break got,
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return Ok(None),
                // The other end closed without having read all that we sent.
                Err(Errno::CONNRESET) => bail!(Closed),
                Err(error) => return Err(error).context("receive from a worker's channel"),
            }
        };
        let mut fds: Vec<OwnedFd> = Vec::new();
        for message in ancillary.drain() {
            if let RecvAncillaryMessage::ScmRights(rights) = message {
                fds.extend(rights);
            }
        }
        if got.bytes == 0 {
            bail!(Closed);
        }
        ensure!(!got.flags.contains(ReturnFlags::TRUNC), "a message larger than a packet");
        ensure!(got.bytes >= HEADER, "a message of {} bytes, shorter than its header", got.bytes);
        ensure!(buffer[0] == VERSION, "message version {}, this build speaks {VERSION}", buffer[0]);
        let length = u32::from_le_bytes(buffer[2..HEADER].try_into().expect("four bytes")) as usize;
        ensure!(length <= MAX, "a message of {length} bytes, at most {MAX}");
        let json = match buffer[1] {
            INLINE => {
                ensure!(
                    got.bytes == HEADER + length,
                    "a message whose length field disagrees with its packet"
                );
                buffer.truncate(got.bytes);
                buffer.split_off(HEADER)
            }
            ATTACHED => {
                ensure!(!fds.is_empty(), "a message without its memfd");
                read_memfd(fds.remove(0), length)?
            }
            kind => bail!("message kind {kind} is unknown"),
        };
        let message = serde_json::from_slice(&json).context("decode a message")?;
        Ok(Some(Received { message, fds }))
    }
}

impl AsRawFd for Channel {
    fn as_raw_fd(&self) -> RawFd {
        self.fd.as_raw_fd()
    }
}

impl AsFd for Channel {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// Has tokio watch a channel for messages.
///
/// # Errors
/// Outside a tokio runtime, or when epoll has no room.
pub fn watched(channel: Channel) -> std::io::Result<AsyncFd<Channel>> {
    #[expect(
        deprecated,
        reason = "its successor is unsafe for types whose descriptor may change; ours does not"
    )]
    AsyncFd::with_interest(channel, Interest::READABLE)
}

/// The other end of a channel has closed it.
#[derive(Debug, thiserror::Error)]
#[error("the other end of the channel is gone")]
pub struct Closed;

fn memfd_with(bytes: &[u8]) -> anyhow::Result<OwnedFd> {
    let fd = rustix::fs::memfd_create("mainstay-message", rustix::fs::MemfdFlags::CLOEXEC)
        .context("memfd_create")?;
    let mut file = std::fs::File::from(fd);
    file.write_all(bytes).context("write a memfd")?;
    file.seek(SeekFrom::Start(0)).context("rewind a memfd")?;
    Ok(file.into())
}

fn read_memfd(fd: OwnedFd, length: usize) -> anyhow::Result<Vec<u8>> {
    let mut file = std::fs::File::from(fd);
    let mut bytes = vec![0; length];
    file.read_exact(&mut bytes).context("read a message's memfd")?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_small_and_a_large_message_arrive_as_sent() {
        let (a, b) = Channel::pair().unwrap();
        for size in [10, 3_000_000] {
            let text = "x".repeat(size);
            assert!(a.send(&text).unwrap());
            assert_eq!(b.receive::<String>().unwrap().unwrap().message, text);
        }
    }

    #[test]
    fn descriptors_arrive_in_order_beside_an_attached_message() {
        let (a, b) = Channel::pair().unwrap();
        let first = memfd_with(b"first").unwrap();
        a.send_with(&"y".repeat(100_000), &[first.as_fd()]).unwrap();
        let mut got = b.receive::<String>().unwrap().unwrap();
        assert_eq!(read_memfd(got.fds.remove(0), 5).unwrap(), b"first");
    }

    #[test]
    fn a_closed_end_is_told_from_an_empty_one() {
        let (a, b) = Channel::pair().unwrap();
        b.set_nonblocking().unwrap();
        assert!(b.receive::<String>().unwrap().is_none());
        drop(a);
        assert!(b.receive::<String>().unwrap_err().is::<Closed>());
    }

    #[test]
    fn an_end_that_closed_with_messages_unread_is_gone_all_the_same() {
        let (a, b) = Channel::pair().unwrap();
        b.send(&"unread").unwrap();
        drop(a);
        assert!(b.receive::<String>().unwrap_err().is::<Closed>());
        assert!(b.send(&"more").unwrap_err().is::<Closed>());
    }
}
