//! Open WebSockets that say something now and then, and notice when they are cut.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, Result};

use crate::Host;
use crate::probe::Task;

/// How long an echo may take.
const LIMIT: Duration = Duration::from_secs(10);

/// Between two rounds over all of them.
const PAUSE: Duration = Duration::from_millis(200);

/// A masked text frame that says `ping`; the mirror sends it back as it came.
const PING: &[u8] = &[0x81, 0x84, 0, 0, 0, 0, b'p', b'i', b'n', b'g'];

const HELLO: &[u8] =
    b"GET /ws HTTP/1.1\r\nHost: edge.example\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
      Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

/// Open WebSockets.
#[derive(Debug)]
pub(super) struct Sockets {
    count: usize,
    task: Task<usize>,
}

impl Sockets {
    /// Opens so many.
    pub(super) fn open(host: &Host, at: SocketAddr, count: usize) -> Result<Self> {
        let open = || (0..count).map(|_| upgrade(at)).collect::<Result<Vec<_>>>();
        let open = host.run(open)?.context("open WebSockets")?;
        let task = Task::start("lab-sockets", move |stop| watch(open, stop))?;
        Ok(Self { count, task })
    }

    /// How many there were, and how many of them were cut.
    pub(super) fn stop(self) -> (usize, usize) {
        (self.count, self.task.finish().unwrap_or(self.count))
    }
}

fn upgrade(at: SocketAddr) -> Result<TcpStream> {
    let mut stream = TcpStream::connect_timeout(&at, LIMIT)?;
    stream.set_read_timeout(Some(LIMIT))?;
    stream.write_all(HELLO)?;
    let mut head = Vec::new();
    let mut one = [0];
    while !head.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut one)?;
        head.push(one[0]);
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    anyhow::ensure!(head.starts_with("HTTP/1.1 101"), "{head}");
    Ok(stream)
}

fn watch(mut open: Vec<TcpStream>, stop: &AtomicBool) -> usize {
    let count = open.len();
    while !stop.load(Ordering::Relaxed) {
        open.retain_mut(|stream| echo(stream).is_ok());
        std::thread::sleep(PAUSE);
    }
    count - open.len()
}

fn echo(stream: &mut TcpStream) -> std::io::Result<()> {
    stream.write_all(PING)?;
    let mut back = [0; PING.len()];
    stream.read_exact(&mut back)?;
    if back == PING { Ok(()) } else { Err(std::io::ErrorKind::InvalidData.into()) }
}
