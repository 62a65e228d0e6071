//! A connection from accept on.

use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpStream, UnixStream};

use crate::snapshot::Snapshot;
use crate::thread::Thread;

/// An accepted connection.
#[derive(Debug)]
pub enum Accepted {
    /// With its peer.
    Tcp(TcpStream, SocketAddr),
    /// By a unix socket.
    Unix(UnixStream),
}

/// Serves a connection until it ends.
pub async fn connection(thread: Rc<Thread>, snapshot: Arc<Snapshot>, listener: u32, socket: Accepted) {
    thread.counters.accepted(listener);
    let name = snapshot.edge.listeners[listener as usize].name.clone();
    let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{name}", name.len());
    if let Accepted::Tcp(mut stream, _) = socket {
        let mut buffer = [0; 4096];
        while let Ok(got) = stream.read(&mut buffer).await {
            if got == 0 || stream.write_all(answer.as_bytes()).await.is_err() || thread.draining() {
                break;
            }
        }
    }
    thread.counters.closed(listener);
}
