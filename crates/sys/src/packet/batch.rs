//! Many packets in one system call: names, control messages and payloads laid out for `sendmmsg` and `recvmmsg`.

use std::ffi::c_void;
use std::io;
use std::mem;
use std::os::fd::AsFd;
use std::ptr;

use crate::os;

/// Packets handed to the kernel in one call.
const SEND_BATCH: usize = 64;
/// Bytes of a control message's header: length, level, type (`CMSG_LEN(0)`).
const CONTROL_HEADER: usize = (mem::size_of::<usize>() + 8).next_multiple_of(mem::size_of::<usize>());
/// Room for the control messages of one packet: packet info and hop limit need 64.
const CONTROL_WORDS: usize = 16;

/// What became of a batch.
#[derive(Debug, Default)]
pub struct Sent {
    /// Packets that the kernel took.
    pub count: usize,
    /// Why the first of the others was refused.
    pub error: Option<io::Error>,
}

/// A packet's address in the kernel's form.
#[derive(Clone, Copy)]
pub(super) enum Name {
    /// IPv4.
    V4(libc::sockaddr_in),
    /// IPv6.
    V6(libc::sockaddr_in6),
    /// None: the socket is bound to where its packets go.
    Bound,
}

impl Name {
    fn parts(&mut self) -> (*mut c_void, libc::socklen_t) {
        match self {
            Self::V4(address) => (ptr::from_mut(address).cast(), os::socklen::<libc::sockaddr_in>()),
            Self::V6(address) => (ptr::from_mut(address).cast(), os::socklen::<libc::sockaddr_in6>()),
            Self::Bound => (ptr::null_mut(), 0),
        }
    }
}

/// The control messages of one packet.
#[derive(Clone, Copy)]
pub(super) struct Control {
    words: [usize; CONTROL_WORDS],
    len: usize,
}

impl Control {
    /// None yet.
    pub(super) const EMPTY: Self = Self { words: [0; CONTROL_WORDS], len: 0 };

    /// One message of bytes.
    pub(super) fn one(level: i32, kind: i32, value: &[u8]) -> Self {
        const WORD: usize = mem::size_of::<usize>();
        let len = CONTROL_HEADER + value.len();
        let mut bytes = [0u8; CONTROL_WORDS * WORD];
        bytes[..WORD].copy_from_slice(&len.to_ne_bytes());
        bytes[WORD..WORD + 4].copy_from_slice(&level.to_ne_bytes());
        bytes[WORD + 4..WORD + 8].copy_from_slice(&kind.to_ne_bytes());
        bytes[CONTROL_HEADER..len].copy_from_slice(value);
        let mut control = Self { words: [0; CONTROL_WORDS], len: len.next_multiple_of(WORD) };
        for (word, chunk) in control.words.iter_mut().zip(bytes.chunks_exact(WORD)) {
            *word = usize::from_ne_bytes(chunk.try_into().expect("chunks of a word"));
        }
        control
    }

    /// The value of a message of this level and type.
    pub(super) fn find(&self, level: i32, kind: i32) -> Option<Vec<u8>> {
        const WORD: usize = mem::size_of::<usize>();
        let bytes: Vec<u8> = self.words.iter().flat_map(|word| word.to_ne_bytes()).take(self.len).collect();
        let mut rest = &bytes[..];
        loop {
            let len = usize::from_ne_bytes(rest.get(..WORD)?.try_into().ok()?);
            let number = |at| rest.get(at..at + 4).and_then(|n| n.try_into().ok()).map(i32::from_ne_bytes);
            let value = rest.get(CONTROL_HEADER..len)?;
            if number(WORD)? == level && number(WORD + 4)? == kind {
                return Some(value.to_vec());
            }
            rest = rest.get(len.next_multiple_of(WORD)..)?;
        }
    }
}

/// One packet on its way out.
pub(super) struct Packet<'a> {
    /// Where to.
    pub(super) name: Name,
    /// With what control messages.
    pub(super) control: Control,
    /// Its bytes.
    pub(super) payload: &'a [u8],
}

/// Sends packets in as few calls as possible; one that is refused is passed over, a full queue ends the batch.
pub(super) fn send<'a>(fd: impl AsFd, packets: impl Iterator<Item = Packet<'a>>) -> Sent {
    let mut done = Sent::default();
    let mut packets = packets.peekable();
    while packets.peek().is_some() {
        let mut chunk: Vec<_> = packets.by_ref().take(SEND_BATCH).collect();
        let mut at = 0;
        while at < chunk.len() {
            match send_chunk(fd.as_fd(), &mut chunk[at..]) {
                Ok(0) => return done,
                Ok(count) => {
                    at += count;
                    done.count += count;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    let full = matches!(error.raw_os_error(), Some(libc::EAGAIN | libc::ENOBUFS));
                    done.error.get_or_insert(error);
                    if full {
                        return done;
                    }
                    at += 1;
                }
            }
        }
    }
    done
}

fn send_chunk(fd: impl AsFd, packets: &mut [Packet<'_>]) -> io::Result<usize> {
    let mut vectors: Vec<_> = packets.iter().map(|packet| vector(packet.payload)).collect();
    let mut headers: Vec<_> = packets
        .iter_mut()
        .zip(&mut vectors)
        .map(|(packet, vector)| {
            let mut header = empty_header();
            (header.msg_hdr.msg_name, header.msg_hdr.msg_namelen) = packet.name.parts();
            header.msg_hdr.msg_iov = vector;
            header.msg_hdr.msg_iovlen = 1;
            if packet.control.len > 0 {
                header.msg_hdr.msg_control = packet.control.words.as_mut_ptr().cast();
                header.msg_hdr.msg_controllen = packet.control.len as _;
            }
            header
        })
        .collect();
    // SAFETY: names, control words, payloads and vectors are borrowed above and live past the call.
    unsafe { os::send_many(fd, &mut headers) }
}

/// Buffers for packets on their way in; pages that no packet touched cost no memory.
pub(super) struct Inbox {
    bytes: Box<[u8]>,
    size: usize,
    controls: Box<[Control]>,
}

/// One packet that came in.
pub(super) struct Received<'a> {
    /// Who it came from, for IPv6.
    pub(super) name: libc::sockaddr_in6,
    /// Its control messages.
    pub(super) control: Control,
    /// Its bytes.
    pub(super) bytes: &'a [u8],
}

impl Inbox {
    /// Room for `count` packets of `size` bytes.
    pub(super) fn new(count: usize, size: usize) -> Self {
        Self {
            bytes: vec![0; count * size].into_boxed_slice(),
            size,
            controls: vec![Control::EMPTY; count].into_boxed_slice(),
        }
    }

    /// How many packets fit.
    pub(super) fn room(&self) -> usize {
        self.controls.len()
    }

    /// Receives up to `max` packets without waiting and hands each to `each`; one that did not fit is passed over.
    pub(super) fn receive(
        &mut self,
        fd: impl AsFd,
        max: usize,
        mut each: impl FnMut(Received<'_>),
    ) -> io::Result<usize> {
        let max = max.min(self.room());
        let mut names = vec![os::zeroed::<libc::sockaddr_in6>(); max];
        let mut vectors: Vec<_> = self.bytes.chunks_exact_mut(self.size).take(max).map(vector_mut).collect();
        let mut headers: Vec<_> = vectors
            .iter_mut()
            .map(|vector| {
                let mut header = empty_header();
                header.msg_hdr.msg_iov = vector;
                header.msg_hdr.msg_iovlen = 1;
                header
            })
            .collect();
        for ((header, name), control) in headers.iter_mut().zip(&mut names).zip(&mut self.controls) {
            header.msg_hdr.msg_name = ptr::from_mut(name).cast();
            header.msg_hdr.msg_namelen = os::socklen::<libc::sockaddr_in6>();
            header.msg_hdr.msg_control = control.words.as_mut_ptr().cast();
            header.msg_hdr.msg_controllen = mem::size_of_val(&control.words) as _;
        }
        // SAFETY: names, control words, buffers and vectors are borrowed above and live past the call.
        let got = match unsafe { os::receive_many(fd, &mut headers) } {
            Ok(got) => got,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(0),
            Err(error) => return Err(error),
        };
        for (at, header) in headers[..got].iter().enumerate() {
            let len = usize::try_from(header.msg_len).unwrap_or(0).min(self.size);
            let control = &mut self.controls[at];
            #[allow(clippy::useless_conversion, reason = "musl's length is 32 bits wide")]
            let filled = usize::try_from(header.msg_hdr.msg_controllen).unwrap_or(0);
            control.len = filled;
            if header.msg_hdr.msg_flags & libc::MSG_TRUNC == 0 {
                let start = at * self.size;
                each(Received { name: names[at], control: *control, bytes: &self.bytes[start..start + len] });
            }
        }
        Ok(got)
    }
}

fn vector(payload: &[u8]) -> libc::iovec {
    libc::iovec { iov_base: payload.as_ptr().cast_mut().cast(), iov_len: payload.len() }
}

fn vector_mut(buffer: &mut [u8]) -> libc::iovec {
    libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() }
}

fn empty_header() -> libc::mmsghdr {
    // SAFETY: null pointers and zero lengths are a valid header of nothing.
    unsafe { mem::zeroed() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_control_message_is_found_by_level_and_type() {
        let control = Control::one(41, 50, &[7; 20]);
        assert_eq!(control.find(41, 50), Some(vec![7; 20]));
        assert_eq!(control.find(41, 52), None);
        assert_eq!(Control::EMPTY.find(0, 0), None);
    }
}
