//! A TCP connection and a stream as one: bytes both ways, half closes kept, no buffer of its own.

use std::cell::Cell;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use mainstay_core::tunnel::Code;
use tokio::net::TcpStream;

use super::socket::Socket;
use super::stream::{Sink, Stream};

/// Room that a connection is offered first; more when it fills it.
const ROOM: usize = 4 << 10;

/// Steps in a row before others get their turn.
const STEPS: usize = 16;

/// Bytes that passed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Spliced {
    /// From the connection into the stream.
    pub sent: u64,
    /// From the stream into the connection.
    pub received: u64,
}

/// Bytes that passed through several, as they pass.
#[derive(Debug, Default)]
pub struct Tally {
    /// From connections into streams.
    pub sent: Cell<u64>,
    /// From streams into connections.
    pub received: Cell<u64>,
}

/// Carries bytes both ways until both have ended; a stream whose side is finished already is only heard.
///
/// The connection's bytes are received straight into what the session sends next, the stream's bytes sent to the connection
/// straight out of the carrier's buffer.
#[must_use]
pub fn splice_stream(tcp: TcpStream, stream: Stream) -> Splice {
    splice(tcp, stream, None)
}

/// The same, counted by a tally besides.
#[must_use]
pub fn splice_counted(tcp: TcpStream, stream: Stream, tally: Rc<Tally>) -> Splice {
    splice(tcp, stream, Some(tally))
}

fn splice(tcp: TcpStream, mut stream: Stream, tally: Option<Rc<Tally>>) -> Splice {
    let socket = Rc::new(Socket::new(tcp, tally));
    stream.set_sink(Some(Rc::clone(&socket) as Rc<dyn Sink>));
    // Whoever read the connection before may have met its end, and told it.
    let up = !stream.has_finished();
    Splice { socket, stream: Some(stream), sent: 0, room: ROOM as u32, up, down: true }
}

/// The future of [`splice_stream`]. It ends with an error when either side fails; then the stream is reset and the connection
/// closed.
pub struct Splice {
    socket: Rc<Socket>,
    stream: Option<Stream>,
    sent: u64,
    room: u32,
    /// The connection has not ended its side.
    up: bool,
    /// The stream has not.
    down: bool,
}

impl Splice {
    /// What has passed so far.
    #[must_use]
    pub fn moved(&self) -> Spliced {
        Spliced { sent: self.sent, received: self.socket.sent.get() }
    }

    /// What the stream has goes to the connection.
    fn pull(&mut self, stream: &mut Stream, cx: &mut Context<'_>) -> io::Result<bool> {
        for _ in 0..STEPS {
            match stream.poll_chunk(cx)? {
                Poll::Pending => return Ok(false),
                Poll::Ready(0) => {
                    self.down = false;
                    // A connection that is gone hears no end.
                    let _ = self.socket.finish();
                    return Ok(false);
                }
                Poll::Ready(_) => {
                    let sent = stream.take(|bytes| match self.socket.poll_send(cx, bytes) {
                        Poll::Ready(Ok(count)) => (count, Poll::Ready(Ok(()))),
                        Poll::Ready(Err(error)) => (0, Poll::Ready(Err(error))),
                        Poll::Pending => (0, Poll::Pending),
                    });
                    match sent {
                        Poll::Ready(done) => done?,
                        Poll::Pending => return Ok(false),
                    }
                }
            }
        }
        Ok(true)
    }

    /// What the connection has goes into the stream.
    fn push(&mut self, stream: &mut Stream, cx: &mut Context<'_>) -> io::Result<bool> {
        for _ in 0..STEPS {
            if self.socket.poll_readable(cx)?.is_pending() {
                return Ok(false);
            }
            let room = self.room as usize;
            match stream.poll_lend(cx, room, |into| self.socket.receive(into)) {
                Poll::Pending => return Ok(false),
                Poll::Ready(Ok(0)) => {
                    self.up = false;
                    stream.finish();
                    return Ok(false);
                }
                Poll::Ready(Ok(count)) => {
                    self.sent += count as u64;
                    if let Some(tally) = &self.socket.tally {
                        tally.sent.set(tally.sent.get() + count as u64);
                    }
                    if count == room {
                        self.room = (self.room * 4).min(1 << 16);
                    }
                }
                Poll::Ready(Err(error)) => match error.kind() {
                    io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted => {}
                    _ => return Err(error),
                },
            }
        }
        Ok(true)
    }

    fn both(&mut self, stream: &mut Stream, cx: &mut Context<'_>) -> io::Result<()> {
        let mut more = false;
        if self.down {
            more |= self.pull(stream, cx)?;
        }
        if self.up {
            more |= self.push(stream, cx)?;
        }
        if more {
            cx.waker().wake_by_ref();
        }
        Ok(())
    }
}

impl Future for Splice {
    type Output = io::Result<Spliced>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<Spliced>> {
        let this = &mut *self;
        let Some(mut stream) = this.stream.take() else { return Poll::Pending };
        if let Err(error) = this.both(&mut stream, cx) {
            stream.reset(Code::Cancel);
            // What was cut short must not look whole.
            this.socket.abort();
            return Poll::Ready(Err(error));
        }
        if this.up || this.down {
            this.stream = Some(stream);
            return Poll::Pending;
        }
        Poll::Ready(Ok(this.moved()))
    }
}
