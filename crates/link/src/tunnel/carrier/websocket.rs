//! WebSocket under a session (RFC 6455): the dialer's handshake, and both sides' frames as a stream of bytes.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use aws_lc_rs::digest;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use mainstay_core::tunnel::address::Address;
use mainstay_core::tunnel::websocket::{Control, Decoder, Side, put_binary, put_close, put_pong};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};

use super::{Error, field, read_head, refused, status};
use crate::noise::{SystemEntropy, draw};

/// What the RFC has both sides hash with the key.
const GUID: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// The longest load of a frame that we write.
const FRAME: usize = 64 * 1024;

/// Answers to PINGs that wait to be written; a side that asks for more and does not read is cut off.
const OWED: usize = 16 * 1024;

/// Reads in a row that bring nothing but frames without bytes, before others have their turn.
const EMPTY_MAX: u32 = 4;

/// What a server answers to a client's key (`Sec-WebSocket-Accept`).
#[must_use]
pub fn accept_key(key: &str) -> String {
    let hash = digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, format!("{key}{GUID}").as_bytes());
    STANDARD.encode(hash)
}

/// The handshake of the dialer.
pub(super) async fn connect<C>(mut stream: C, address: &Address) -> Result<WebSocket<C>, Error>
where
    C: AsyncRead + AsyncWrite + Unpin,
{
    let key = STANDARD.encode(draw::<16>(&mut SystemEntropy));
    let authority = address.authority();
    let host = authority.strip_suffix(if address.way.is_sealed() { ":443" } else { ":80" });
    let head = format!(
        "GET {} HTTP/1.1\r\nHost: {}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: {key}\r\n\
         Sec-WebSocket-Version: 13\r\nUser-Agent: mainstay\r\n\r\n",
        address.path,
        host.unwrap_or(&authority),
    );
    stream.write_all(head.as_bytes()).await?;
    stream.flush().await?;
    let answer = read_head(&mut stream).await?;
    let upgrades = field(&answer, "upgrade").is_some_and(|to| to.eq_ignore_ascii_case("websocket"));
    let accepts = field(&answer, "sec-websocket-accept").is_some_and(|shown| shown == accept_key(&key));
    if status(&answer, &authority)? != 101 || !upgrades || !accepts {
        return Err(refused(&answer, &authority));
    }
    Ok(WebSocket::new(stream, Side::Client))
}

/// A stream of bytes as binary frames, one for each write.
#[derive(Debug)]
pub struct WebSocket<C> {
    stream: C,
    side: Side,
    decoder: Decoder,
    asked: Vec<Control>,
    /// Frames that wait to be written, from `sent` on.
    out: Vec<u8>,
    sent: usize,
    /// A close frame was written.
    closing: bool,
    /// The stream has ended, or the other side has said so.
    ended: bool,
}

impl<C> WebSocket<C> {
    /// A stream whose handshake is done.
    #[must_use]
    pub fn new(stream: C, side: Side) -> Self {
        let decoder = Decoder::new(side);
        Self {
            stream,
            side,
            decoder,
            asked: Vec::new(),
            out: Vec::new(),
            sent: 0,
            closing: false,
            ended: false,
        }
    }

    fn mask(&self) -> Option<[u8; 4]> {
        (self.side == Side::Client).then(|| draw(&mut SystemEntropy))
    }

    fn answer(&mut self) -> io::Result<()> {
        for asked in std::mem::take(&mut self.asked) {
            match asked {
                Control::Ping(load) => {
                    if self.out.len() - self.sent > FRAME + OWED {
                        return Err(io::Error::other("it asks for answers and does not read them"));
                    }
                    let mask = self.mask();
                    put_pong(&mut self.out, &load, mask);
                }
                Control::Close => {
                    self.ended = true;
                    self.close();
                }
            }
        }
        Ok(())
    }

    fn close(&mut self) {
        if !std::mem::replace(&mut self.closing, true) {
            let mask = self.mask();
            put_close(&mut self.out, mask);
        }
    }
}

impl<C: AsyncWrite + Unpin> WebSocket<C> {
    fn poll_drain(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.sent < self.out.len() {
            let went = ready!(Pin::new(&mut self.stream).poll_write(cx, &self.out[self.sent..]))?;
            if went == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.sent += went;
        }
        // An idle stream holds no buffer.
        (self.out, self.sent) = (Vec::new(), 0);
        Poll::Ready(Ok(()))
    }
}

impl<C: AsyncRead + AsyncWrite + Unpin> AsyncRead for WebSocket<C> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        for empty in 0.. {
            if this.ended {
                break;
            }
            if empty == EMPTY_MAX {
                // Frames without a byte for us: others have their turn before more of them.
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            let before = buf.filled().len();
            ready!(Pin::new(&mut this.stream).poll_read(cx, buf))?;
            if buf.filled().len() == before {
                this.ended = true;
                break;
            }
            let kept = this.decoder.decode(&mut buf.filled_mut()[before..], &mut this.asked);
            buf.set_filled(before + *kept.as_ref().unwrap_or(&0));
            kept.map_err(io::Error::other)?;
            if !this.asked.is_empty() {
                this.answer()?;
                // What does not go at once goes with the next write; that nobody reads it any more is no error of what was read.
                let _ = this.poll_drain(cx);
            }
            if buf.filled().len() > before {
                break;
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl<C: AsyncRead + AsyncWrite + Unpin> AsyncWrite for WebSocket<C> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        ready!(this.poll_drain(cx))?;
        if this.closing {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        let count = buf.len().min(FRAME);
        if count > 0 {
            let mask = this.mask();
            put_binary(&mut this.out, &buf[..count], mask);
            // They are taken: what the socket does not take at once goes with the next call.
            if let Poll::Ready(gone) = this.poll_drain(cx) {
                gone?;
            }
        }
        Poll::Ready(Ok(count))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(this.poll_drain(cx))?;
        Pin::new(&mut this.stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        this.close();
        ready!(this.poll_drain(cx))?;
        Pin::new(&mut this.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, duplex};

    use super::*;

    #[test]
    fn the_answer_to_a_key_is_the_rfcs() {
        assert_eq!(accept_key("dGhlIHNhbXBsZSBub25jZQ=="), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }

    async fn server(mut stream: tokio::io::DuplexStream, accept: impl FnOnce(&str) -> String) -> String {
        let head = read_head(&mut stream).await.unwrap();
        let answer = accept(field(&head, "Sec-WebSocket-Key").unwrap());
        stream.write_all(answer.as_bytes()).await.unwrap();
        let mut socket = WebSocket::new(stream, Side::Server);
        let mut came = vec![0; 200_000];
        if socket.read_exact(&mut came).await.is_ok() {
            socket.write_all(&came).await.unwrap();
            socket.shutdown().await.unwrap();
        }
        head
    }

    fn run<T>(future: impl Future<Output = T>) -> T {
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        runtime.enable_all().build().unwrap().block_on(future)
    }

    #[test]
    fn bytes_go_both_ways_and_a_close_is_the_end() {
        run(async {
            let (near, far) = duplex(3000);
            let address: Address = "ws://edge.example.com/in".parse().unwrap();
            let client = async {
                let mut socket = connect(near, &address).await.unwrap();
                let sent: Vec<u8> = (0..200_000_u32).map(|n| n.to_le_bytes()[1]).collect();
                socket.write_all(&sent).await.unwrap();
                socket.flush().await.unwrap();
                let mut back = Vec::new();
                socket.read_to_end(&mut back).await.unwrap();
                assert!(back == sent);
            };
            let accept = |key: &str| {
                let accept = accept_key(key);
                format!(
                    "HTTP/1.1 101 Switching\r\nupgrade: WebSocket\r\nConnection: upgrade\r\nSec-WebSocket-Accept: {accept}\r\n\r\n"
                )
            };
            let ((), head) = tokio::join!(client, server(far, accept));
            assert!(head.starts_with("GET /in HTTP/1.1\r\nHost: edge.example.com\r\n"), "{head}");
        });
    }

    #[test]
    fn a_server_that_does_not_upgrade_is_quoted() {
        run(async {
            let answers = [
                "HTTP/1.1 404 Not Found\r\n\r\n",
                "HTTP/1.1 101 Yes\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: wrong\r\n\r\n",
                "SSH-2.0-OpenSSH\r\n\r\n",
            ];
            for answer in answers {
                let (near, far) = duplex(3000);
                let address: Address = "ws://edge".parse().unwrap();
                let client = connect(near, &address);
                let (client, _) = tokio::join!(client, server(far, |_| answer.to_owned()));
                let Err(Error::Http { says, .. }) = client.map(drop) else { panic!("{answer}") };
                assert_eq!(says, answer.lines().next().unwrap());
            }
        });
    }
}
