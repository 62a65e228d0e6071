//! What an agent's bytes come over.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};

use mainstay_core::tunnel::websocket::Side;
use mainstay_link::tunnel::carrier::{WebSocket, tune};
use mainstay_proxy::road::{Ahead, Arrival, Way};
use mainstay_proxy::transport::Io;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// The bytes of a session.
pub(super) type Carrier = Box<dyn mainstay_link::tunnel::Carrier>;

/// What a connection is called.
pub(super) fn name(arrival: &Arrival) -> &'static str {
    match (arrival.way, arrival.connection.tls.is_some()) {
        (Way::Straight, false) => "tcp",
        (Way::Straight, true) => "tls",
        (Way::WebSocket, false) => "ws",
        (Way::WebSocket, true) => "wss",
    }
}

/// The bytes of a connection.
pub(super) fn carrier_of(io: Io, early: Vec<u8>, way: Way) -> Carrier {
    if let Some(socket) = io.socket() {
        tune(socket);
    }
    let own = Own { io: Ahead::new(early, io), ended: false };
    match way {
        Way::Straight => Box::new(own),
        Way::WebSocket => Box::new(WebSocket::new(own, Side::Server)),
    }
}

/// An agent's connection. Dropped without an orderly end (`poll_shutdown`) it is reset: an agent that is not heard any more may still
/// hear, and a FIN would wait behind what was never acknowledged.
struct Own {
    io: Ahead<Io>,
    ended: bool,
}

impl Drop for Own {
    fn drop(&mut self) {
        if !self.ended {
            self.io.get_ref().reset();
        }
    }
}

impl AsyncRead for Own {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_read(cx, buf)
    }
}

impl AsyncWrite for Own {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        all: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(cx, all)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.ended = true;
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}
