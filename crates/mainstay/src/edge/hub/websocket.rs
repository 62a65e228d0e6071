//! The hub's end of a WebSocket (RFC 6455) as a stream of bytes: binary frames in, binary frames out, nothing of their borders kept.
//!
//! The upgrade was answered by the proxy. What an agent sends is masked (section 5.3), what it gets is not. Pings are answered, a
//! close ends the stream, text is an error.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// The longest frame that is written: a mux writes no more than this at once as a rule.
const FRAME: usize = 64 << 10;

/// Control frames have no more (RFC 6455 section 5.5).
const CONTROL_MAX: usize = 125;

/// Bytes of answers to pings that wait to be written; a peer that pings and does not read gets no further answers.
const PONGS_MAX: usize = 1024;

const CONTINUATION: u8 = 0;
const BINARY: u8 = 2;
const CLOSE: u8 = 8;
const PING: u8 = 9;
const PONG: u8 = 10;

/// A WebSocket over `S`.
#[derive(Debug)]
pub(super) struct WebSocket<S> {
    inner: S,
    head: Head,
    /// Of the frame that is being read: its kind, what is left of it, its mask and where in it we are.
    kind: u8,
    left: u64,
    mask: [u8; 4],
    turn: usize,
    /// What came of a control frame.
    control: Vec<u8>,
    ended: bool,
    /// What is to be written before anything else, from `at` on.
    out: Vec<u8>,
    at: usize,
    closing: bool,
}

/// The head of the next frame, as far as it is here.
#[derive(Debug, Default)]
struct Head {
    bytes: [u8; 14],
    have: usize,
}

/// A head that is whole.
struct Frame {
    kind: u8,
    length: u64,
    mask: [u8; 4],
}

impl Head {
    /// How many bytes the head has, as far as is known.
    fn needs(&self) -> usize {
        if self.have < 2 {
            return 2;
        }
        let length = match self.bytes[1] & 0x7f {
            126 => 2,
            127 => 8,
            _ => 0,
        };
        2 + length + 4
    }

    /// What a whole head says.
    fn frame(&self) -> Result<Frame, io::Error> {
        let wrong = |why: &'static str| io::Error::new(io::ErrorKind::InvalidData, why);
        let [first, second, ..] = self.bytes;
        if first & 0x70 != 0 {
            return Err(wrong("a frame with extensions that nobody asked for"));
        }
        if second & 0x80 == 0 {
            return Err(wrong("a frame without mask"));
        }
        let (length, at) = match second & 0x7f {
            126 => (u64::from(u16::from_be_bytes([self.bytes[2], self.bytes[3]])), 4),
            127 => {
                let long: [u8; 8] = self.bytes[2..10].try_into().expect("eight bytes");
                (u64::from_be_bytes(long), 10)
            }
            short => (u64::from(short), 2),
        };
        let kind = first & 0x0f;
        match kind {
            CONTINUATION | BINARY => {}
            CLOSE | PING | PONG if first & 0x80 != 0 && length <= CONTROL_MAX as u64 => {}
            _ => return Err(wrong("a frame that carries no bytes of a session")),
        }
        if length > u64::from(u32::MAX) {
            return Err(wrong("a frame that is too long"));
        }
        let mask = self.bytes[at..at + 4].try_into().expect("four bytes");
        Ok(Frame { kind, length, mask })
    }
}

impl<S> WebSocket<S> {
    /// Frames begin with the next byte.
    pub(super) const fn new(inner: S) -> Self {
        Self {
            inner,
            head: Head { bytes: [0; 14], have: 0 },
            kind: BINARY,
            left: 0,
            mask: [0; 4],
            turn: 0,
            control: Vec::new(),
            ended: false,
            out: Vec::new(),
            at: 0,
            closing: false,
        }
    }

    fn is_control(&self) -> bool {
        matches!(self.kind, CLOSE | PING | PONG)
    }

    fn unmask(&mut self, bytes: &mut [u8]) {
        for byte in bytes {
            *byte ^= self.mask[self.turn & 3];
            self.turn += 1;
        }
    }

    /// Stages a frame of ours.
    fn stage(&mut self, kind: u8, payload: &[u8]) {
        self.out.push(0x80 | kind);
        match (u8::try_from(payload.len()), u16::try_from(payload.len())) {
            (Ok(short @ 0..=125), _) => self.out.push(short),
            (_, Ok(medium)) => {
                self.out.push(126);
                self.out.extend_from_slice(&medium.to_be_bytes());
            }
            (_, Err(_)) => {
                self.out.push(127);
                self.out.extend_from_slice(&(payload.len() as u64).to_be_bytes());
            }
        }
        self.out.extend_from_slice(payload);
    }

    /// A control frame is whole.
    fn controlled(&mut self) {
        let payload = std::mem::take(&mut self.control);
        match self.kind {
            PING if self.out.len() - self.at < PONGS_MAX => self.stage(PONG, &payload),
            CLOSE => self.ended = true,
            _ => {}
        }
    }
}

impl<S: AsyncWrite + Unpin> WebSocket<S> {
    /// Writes what is staged.
    fn poll_staged(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.at < self.out.len() {
            let count = ready!(Pin::new(&mut self.inner).poll_write(cx, &self.out[self.at..]))?;
            if count == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.at += count;
        }
        self.out.clear();
        self.at = 0;
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + Unpin> WebSocket<S> {
    /// Reads the head of the next frame; false at the end.
    fn poll_head(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<bool>> {
        while self.head.have < self.head.needs() {
            let (have, needs) = (self.head.have, self.head.needs());
            let mut buf = ReadBuf::new(&mut self.head.bytes[have..needs]);
            ready!(Pin::new(&mut self.inner).poll_read(cx, &mut buf))?;
            let count = buf.filled().len();
            if count == 0 {
                self.ended = true;
                return Poll::Ready(Ok(false));
            }
            self.head.have += count;
        }
        let frame = self.head.frame()?;
        self.head.have = 0;
        (self.kind, self.left, self.mask, self.turn) = (frame.kind, frame.length, frame.mask, 0);
        if self.is_control() && self.left == 0 {
            self.controlled();
        }
        Poll::Ready(Ok(true))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for WebSocket<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        loop {
            if this.at < this.out.len() {
                // Answers to pings go out as there is room; who reads does not wait for it.
                if let Poll::Ready(written) = this.poll_staged(cx) {
                    written?;
                }
            }
            if this.ended || buf.remaining() == 0 {
                return Poll::Ready(Ok(()));
            }
            if this.left == 0 {
                ready!(this.poll_head(cx))?;
                continue;
            }
            let most = usize::try_from(this.left).unwrap_or(usize::MAX);
            if this.is_control() {
                let mut space = [0; CONTROL_MAX];
                let mut part = ReadBuf::new(&mut space[..most.min(CONTROL_MAX)]);
                ready!(Pin::new(&mut this.inner).poll_read(cx, &mut part))?;
                let count = part.filled().len();
                if count == 0 {
                    this.ended = true;
                    continue;
                }
                this.left -= count as u64;
                let mut bytes = part.filled().to_vec();
                this.unmask(&mut bytes);
                this.control.extend_from_slice(&bytes);
                if this.left == 0 {
                    this.controlled();
                }
                continue;
            }
            let room = buf.initialize_unfilled();
            let most = most.min(room.len());
            let mut part = ReadBuf::new(&mut room[..most]);
            ready!(Pin::new(&mut this.inner).poll_read(cx, &mut part))?;
            let count = part.filled().len();
            if count == 0 {
                // In the middle of a frame.
                return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
            }
            this.left -= count as u64;
            this.unmask(&mut room[..count]);
            buf.advance(count);
            return Poll::Ready(Ok(()));
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for WebSocket<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        ready!(this.poll_staged(cx))?;
        if bytes.is_empty() {
            return Poll::Ready(Ok(0));
        }
        let count = bytes.len().min(FRAME);
        this.stage(BINARY, &bytes[..count]);
        // It is taken whatever the socket takes of it now.
        if let Poll::Ready(written) = this.poll_staged(cx) {
            written?;
        }
        Poll::Ready(Ok(count))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(this.poll_staged(cx))?;
        Pin::new(&mut this.inner).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if !this.closing {
            this.closing = true;
            // 1000: normal.
            this.stage(CLOSE, &1000_u16.to_be_bytes());
        }
        ready!(this.poll_staged(cx))?;
        Pin::new(&mut this.inner).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};

    use super::*;

    /// A frame as a client sends it.
    fn masked(first: u8, payload: &[u8]) -> Vec<u8> {
        let mask = [7, 1, 2, 3];
        let mut frame = vec![first];
        match payload.len() {
            short @ 0..=125 => frame.push(0x80 | u8::try_from(short).unwrap()),
            medium => {
                frame.push(0x80 | 126);
                frame.extend(u16::try_from(medium).unwrap().to_be_bytes());
            }
        }
        frame.extend(mask);
        frame.extend(payload.iter().enumerate().map(|(at, byte)| byte ^ mask[at & 3]));
        frame
    }

    #[tokio::test]
    async fn bytes_come_out_of_frames_however_they_are_cut() {
        let long = vec![9_u8; 300];
        let frames =
            [masked(0x02, b"one "), masked(0x89, b"ping"), masked(0x80, b"two "), masked(0x82, &long)]
                .concat();
        for step in [1, 3, frames.len()] {
            let (mut client, server) = duplex(4096);
            let mut socket = WebSocket::new(server);
            let reads = async {
                let mut got = vec![0; 308];
                socket.read_exact(&mut got).await.unwrap();
                assert_eq!((&got[..8], &got[8..]), (&b"one two "[..], &long[..]));
                socket.write_all(b"answer").await.unwrap();
            };
            let writes = async {
                for part in frames.chunks(step) {
                    client.write_all(part).await.unwrap();
                    tokio::task::yield_now().await;
                }
                let mut answers = [0; 14];
                client.read_exact(&mut answers).await.unwrap();
                assert_eq!(&answers, b"\x8a\x04ping\x82\x06answer");
            };
            tokio::join!(reads, writes);
        }
    }

    #[tokio::test]
    async fn a_close_ends_it_and_ours_is_said() {
        let (mut client, server) = duplex(4096);
        let mut socket = WebSocket::new(server);
        client.write_all(&masked(0x88, &1000_u16.to_be_bytes())).await.unwrap();
        assert_eq!(socket.read(&mut [0; 10]).await.unwrap(), 0);
        socket.shutdown().await.unwrap();
        let mut said = Vec::new();
        client.read_to_end(&mut said).await.unwrap();
        assert_eq!(said, [0x88, 2, 3, 232]);
    }

    #[tokio::test]
    async fn what_is_no_frame_of_a_client_is_an_error() {
        let unmasked = vec![0x82, 1, 65];
        let long_ping = masked(0x89, &[0; 126]);
        for wrong in
            [unmasked, masked(0x81, b"text"), masked(0xc2, b"packed"), masked(0x09, b"cut"), long_ping]
        {
            let (mut client, server) = duplex(4096);
            client.write_all(&wrong).await.unwrap();
            let error = WebSocket::new(server).read(&mut [0; 10]).await.unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidData);
        }
        let (mut client, server) = duplex(4096);
        client.write_all(&masked(0x82, b"whole")[..8]).await.unwrap();
        drop(client);
        let mut socket = WebSocket::new(server);
        let mut all = Vec::new();
        let error = socket.read_to_end(&mut all).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
    }
}
