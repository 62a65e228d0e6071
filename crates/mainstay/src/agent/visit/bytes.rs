//! One connection, brought to its tunnel.
//!
//! Until the first byte comes back, what the connection has said is kept: a hub that can't serve it costs no more than another try.

use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use mainstay_link::tunnel::{Code, Kind, Open, Stream, code_of, splice_stream};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use super::Door;
use crate::agent::{Agent, gost};

/// Bytes that are kept for another try; a connection that says more before it hears anything has had its last.
const KEPT: usize = 64 << 10;

/// Bytes that are read at once before the first answer.
const READ: usize = 4 << 10;

/// What a connection has said.
#[derive(Default)]
struct Said {
    bytes: Vec<u8>,
    /// It has said its last.
    ended: bool,
}

/// What became of a try.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Try {
    /// It has been answered, or has said more than is kept: what follows goes this way.
    Held,
    /// Nothing of it has reached anybody.
    Untouched,
    /// It broke.
    Broken,
}

/// Brings a TCP connection to the tunnel, and stays with it to its end.
pub(super) async fn tcp(agent: &Agent, door: &Rc<Door>, mut tcp: TcpStream, peer: Option<SocketAddr>) {
    if agent.servers.is_some() {
        if !gost::bytes(agent, door, &mut tcp, peer).await {
            unserved(&tcp);
        }
        return;
    }
    match reach(agent, door, &mut tcp, peer).await {
        Some(stream) => {
            if let Err(error) = splice_stream(tcp, stream).await {
                tracing::debug!(tunnel = door.tunnel, "a connection has ended: {error}");
            }
        }
        None => unserved(&tcp),
    }
}

/// What was not served must not look as if it had been.
fn unserved(tcp: &TcpStream) {
    let _ = rustix::net::sockopt::set_socket_linger(tcp, Some(Duration::ZERO));
}

/// A stream to the tunnel that has what the connection said so far, by one hub after the other.
pub(super) async fn reach<L>(
    agent: &Agent,
    door: &Rc<Door>,
    local: &mut L,
    peer: Option<SocketAddr>,
) -> Option<Stream>
where
    L: AsyncRead + Unpin,
{
    let (mut said, mut tried) = (Said::default(), Vec::new());
    let open = Open { kind: Kind::Bytes, target: door.wish().route(), visitor: peer, ..Open::default() };
    while let Some((number, session)) = agent.way(door.index, &tried).await {
        tried.push(number);
        let Ok(mut stream) = session.open(&open, &said.bytes) else { continue };
        match begin(local, &mut stream, &mut said).await {
            Try::Held => return Some(stream),
            Try::Untouched => tracing::debug!(tunnel = door.tunnel, "a hub could not serve a connection"),
            Try::Broken => return None,
        }
    }
    door.lost.set(door.lost.get() + 1);
    agent.no_way(door);
    None
}

/// Passes on what the connection says until it is answered.
async fn begin<L: AsyncRead + Unpin>(local: &mut L, stream: &mut Stream, said: &mut Said) -> Try {
    let (mut at, mut finished) = (stream.sent_first(), false);
    poll_fn(|cx| {
        let answered = match stream.poll_chunk(cx) {
            Poll::Ready(Ok(_)) => true,
            Poll::Ready(Err(error)) => return Poll::Ready(broken(&error, said)),
            Poll::Pending => false,
        };
        loop {
            // An answer may come before all that is kept has gone.
            while at < said.bytes.len() {
                match Pin::new(&mut *stream).poll_write(cx, &said.bytes[at..]) {
                    Poll::Ready(Ok(count)) => at += count,
                    Poll::Ready(Err(error)) => return Poll::Ready(broken(&error, said)),
                    Poll::Pending => return Poll::Pending,
                }
            }
            if answered || said.bytes.len() >= KEPT {
                return Poll::Ready(Try::Held);
            }
            if said.ended {
                if !finished {
                    finished = true;
                    stream.finish();
                }
                return Poll::Pending;
            }
            match said.hear(cx, local) {
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(_)) => return Poll::Ready(Try::Broken),
                Poll::Pending => return Poll::Pending,
            }
        }
    })
    .await
}

/// What an error before the first answer means. A hub that refuses has handed nothing on; of a session that broke only who said
/// nothing can be sure.
fn broken(error: &io::Error, said: &Said) -> Try {
    match code_of(error) {
        Some(Code::Refused | Code::Unreachable | Code::Denied) => Try::Untouched,
        Some(Code::Gone) if said.bytes.is_empty() && !said.ended => Try::Untouched,
        Some(_) | None => Try::Broken,
    }
}

impl Said {
    fn hear<L: AsyncRead + Unpin>(&mut self, cx: &mut Context<'_>, local: &mut L) -> Poll<io::Result<()>> {
        let mut room = [0; READ];
        let mut buf = ReadBuf::new(&mut room);
        std::task::ready!(Pin::new(local).poll_read(cx, &mut buf))?;
        self.ended = buf.filled().is_empty();
        self.bytes.extend_from_slice(buf.filled());
        Poll::Ready(Ok(()))
    }
}
