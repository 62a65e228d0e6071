//! A stream that a hub has opened, joined to a target.

use std::future::poll_fn;
use std::rc::Rc;
use std::time::Duration;

use mainstay_core::proxy_header::{write_binary, write_text};
use mainstay_link::tunnel::{Code, DATAGRAM_MAX, Incoming, Kind, Open, Splice, Stream, splice_stream};
use tokio::io::AsyncWriteExt as _;
use tokio::net::UdpSocket;
use tokio::task::spawn_local;
use tokio::time::timeout;

use super::offer::{Offered, To};
use super::streams::Counted;
use super::target::{Targets, reach};
use super::{Agent, files};

/// Datagrams of a visitor end with this silence.
const IDLE: Duration = Duration::from_secs(60);

impl Agent {
    /// Serves the streams of a session until it has none.
    pub(super) async fn serve(self: Rc<Self>, mut incoming: Incoming) {
        while let Some((open, stream)) = incoming.next().await {
            let route = |offered: &&Rc<Offered>| offered.offer().route() == open.target;
            let offered = self.offered.borrow().iter().find(route).cloned();
            let Some(offered) = offered else {
                tracing::debug!(target = open.target, "a hub asks for what is not offered");
                stream.reset(Code::Denied);
                continue;
            };
            spawn_local(carry(offered, open, stream));
        }
    }
}

/// Carries a stream. All that is needed to begin is gone when bytes flow: a connection that rests is small.
pub(super) async fn carry(offered: Rc<Offered>, open: Open, stream: Stream) {
    let Some((splice, _counted)) = Box::pin(begin(offered, open, stream)).await else { return };
    if let Err(error) = splice.await {
        tracing::debug!("a stream has ended: {error}");
    }
}

/// Joins a stream to its target when that is a matter of two sockets, and serves it to its end otherwise.
async fn begin(offered: Rc<Offered>, open: Open, stream: Stream) -> Option<(Splice, Counted)> {
    let counted = offered.streams.count();
    match (&offered.to, open.kind) {
        (To::Tcp(targets), Kind::Bytes) => {
            return tcp(&offered, targets, &open, stream).await.map(|splice| (splice, counted));
        }
        (To::Udp(targets), Kind::Datagrams) => udp(targets, stream).await,
        (To::Files(thread, snapshot), Kind::Bytes) => files::serve(thread, snapshot, stream).await,
        (To::Tcp(_) | To::Files(..), Kind::Datagrams) | (To::Udp(_), Kind::Bytes) => {
            stream.reset(Code::Denied)
        }
    }
    None
}

async fn tcp(offered: &Offered, targets: &Rc<Targets>, open: &Open, stream: Stream) -> Option<Splice> {
    for (at, addr) in targets.turn() {
        let mut socket = match reach(&addr).await {
            Ok(socket) => socket,
            Err(why) => {
                tracing::debug!(target = addr, "{why}");
                offered.failed(at, &addr, &why.to_string());
                continue;
            }
        };
        if let Some(header) = header(offered.service.header, open)
            && socket.write_all(&header).await.is_err()
        {
            continue;
        }
        return Some(splice_stream(socket, stream));
    }
    // Not a byte was handed on: the hub may try another agent.
    stream.reset(Code::Unreachable);
    None
}

/// What tells the target who the visitor is.
fn header(version: Option<u8>, open: &Open) -> Option<Vec<u8>> {
    let ends = open.visitor.zip(open.destination.or(open.visitor));
    let mut bytes = Vec::new();
    match version? {
        1 => write_text(ends, &mut bytes),
        _ => write_binary(ends, false, &mut bytes),
    }
    Some(bytes)
}

async fn udp(targets: &Rc<Targets>, mut stream: Stream) {
    let Some((_, addr)) = targets.turn().into_iter().next() else { return stream.reset(Code::Unreachable) };
    let socket = match bind(&addr).await {
        Ok(socket) => socket,
        Err(why) => {
            tracing::debug!(target = addr, "{why}");
            return stream.reset(Code::Unreachable);
        }
    };
    let mut buffer = vec![0; DATAGRAM_MAX];
    loop {
        let turn = timeout(IDLE, async {
            tokio::select! {
                came = poll_fn(|cx| stream.poll_datagram(cx)) => came.ok().flatten().map(Some),
                came = socket.recv(&mut buffer) => match came {
                    Ok(count) => {
                        stream.send_datagram(&buffer[..count]);
                        Some(None)
                    }
                    // The target's port was closed a moment ago: it may open again.
                    Err(error) => (error.kind() == std::io::ErrorKind::ConnectionRefused).then_some(None),
                },
            }
        });
        match turn.await {
            Ok(Some(Some(datagram))) => {
                let _ = socket.send(&datagram).await;
            }
            Ok(Some(None)) => {}
            Ok(None) | Err(_) => break,
        }
    }
    stream.finish();
}

async fn bind(addr: &str) -> std::io::Result<UdpSocket> {
    let missing = || std::io::Error::new(std::io::ErrorKind::NotFound, "it stands for no address");
    let to = tokio::net::lookup_host(addr).await?.next().ok_or_else(missing)?;
    let from = if to.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
    let socket = UdpSocket::bind(from).await?;
    socket.connect(to).await?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_is_told_who_the_visitor_is_when_it_wants_to_know() {
        let open = Open {
            visitor: Some("192.0.2.1:5000".parse().unwrap()),
            destination: Some("192.0.2.9:443".parse().unwrap()),
            ..Open::default()
        };
        assert_eq!(header(None, &open), None);
        assert_eq!(header(Some(1), &open).unwrap(), b"PROXY TCP4 192.0.2.1 192.0.2.9 5000 443\r\n");
        assert_eq!(header(Some(2), &open).unwrap().len(), 28);
        assert_eq!(header(Some(1), &Open::default()).unwrap(), b"PROXY UNKNOWN\r\n");
    }
}
