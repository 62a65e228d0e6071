//! A backend that shows what it was asked: its name on the first line, then the request as it came.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, Result};

use crate::Host;
use crate::probe::{NAP, Task, readable};

/// Longer heads and bodies are not shown, but read.
const SHOWN: usize = 64 * 1024;

/// The one key of a WebSocket that is answered as one: RFC 6455's example (section 1.3).
const SAMPLE: (&str, &str) =
    ("dGhlIHNhbXBsZSBub25jZQ==", "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n");

/// A running mirror.
#[derive(Debug)]
pub struct Mirror {
    _task: Task<()>,
    served: Arc<AtomicU64>,
}

impl Mirror {
    /// Answers on `addr`, HTTP/1.1 with kept connections. A request with `Upgrade` gets 101, then its bytes back.
    pub fn start(host: &Host, addr: SocketAddr, name: &str) -> Result<Self> {
        let listener = host.run(|| TcpListener::bind(addr))?.with_context(|| format!("bind {addr}"))?;
        let served = Arc::new(AtomicU64::new(0));
        let (counter, name) = (Arc::clone(&served), name.to_owned());
        let task = Task::start("lab-mirror", move |stop| accept(&listener, &name, &counter, stop))?;
        Ok(Self { _task: task, served })
    }

    /// Requests so far.
    pub fn served(&self) -> u64 {
        self.served.load(Ordering::Relaxed)
    }
}

fn accept(listener: &TcpListener, name: &str, served: &Arc<AtomicU64>, stop: &AtomicBool) {
    std::thread::scope(|scope| {
        while !stop.load(Ordering::Relaxed) {
            if !readable(listener, NAP) {
                continue;
            }
            let Ok((stream, _)) = listener.accept() else { continue };
            scope.spawn(|| {
                let _ = serve(stream, name, served, stop);
            });
        }
    });
}

/// Waits for bytes in naps, so that the end of the mirror is noticed.
fn read(stream: &mut TcpStream, buffer: &mut [u8], stop: &AtomicBool) -> std::io::Result<usize> {
    while !stop.load(Ordering::Relaxed) {
        if readable(stream, NAP) {
            return stream.read(buffer);
        }
    }
    Ok(0)
}

/// One connection of a client.
struct Visit<'a> {
    stream: TcpStream,
    held: Vec<u8>,
    buffer: Vec<u8>,
    name: &'a str,
    stop: &'a AtomicBool,
}

fn serve(stream: TcpStream, name: &str, served: &AtomicU64, stop: &AtomicBool) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    stream.set_write_timeout(Some(Duration::from_secs(10)))?;
    let mut visit = Visit { stream, held: Vec::new(), buffer: vec![0; 65_536], name, stop };
    while let Some(head) = visit.head()? {
        served.fetch_add(1, Ordering::Relaxed);
        if !visit.answer(&head)? {
            break;
        }
    }
    Ok(())
}

/// The value of a field of a head; `name` with its colon, in lower case.
fn field<'h>(head: &'h str, name: &str) -> Option<&'h str> {
    let named = |line: &&str| line.to_ascii_lowercase().starts_with(name);
    head.lines().find(named).and_then(|line| line.split_once(':')).map(|(_, value)| value.trim())
}

impl Visit<'_> {
    /// Takes more bytes in; false at the end.
    fn more(&mut self) -> std::io::Result<bool> {
        let got = read(&mut self.stream, &mut self.buffer, self.stop)?;
        self.held.extend_from_slice(&self.buffer[..got]);
        Ok(got > 0)
    }

    fn head(&mut self) -> std::io::Result<Option<String>> {
        loop {
            if let Some(at) = self.held.windows(4).position(|four| four == b"\r\n\r\n") {
                let head = String::from_utf8_lossy(&self.held[..(at + 4).min(SHOWN)]).into_owned();
                self.held.drain(..at + 4);
                return Ok(Some(head));
            }
            if !self.more()? {
                return Ok(None);
            }
        }
    }

    /// Answers one request; false when the connection ends with it.
    fn answer(&mut self, head: &str) -> std::io::Result<bool> {
        let name = self.name;
        if let Some(protocol) = field(head, "upgrade:") {
            let accept = if head.contains(SAMPLE.0) { SAMPLE.1 } else { "" };
            let answer = format!(
                "HTTP/1.1 101 Switching Protocols\r\nUpgrade: {protocol}\r\nConnection: Upgrade\r\n{accept}X-Mirror: {name}\r\n\r\n"
            );
            self.stream.write_all(answer.as_bytes())?;
            return self.echo().map(|()| false);
        }
        let Some(body) = self.body(head)? else { return Ok(false) };
        let text = format!("{name}\n{head}body: {body} bytes\n");
        let length = text.len();
        let answer = format!(
            "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nServer: mirror\r\nX-Mirror: {name}\r\nContent-Length: {length}\r\n\r\n"
        );
        let text = if head.starts_with("HEAD ") { "" } else { &text };
        self.stream.write_all(format!("{answer}{text}").as_bytes())?;
        Ok(!field(head, "connection:").is_some_and(|value| value.eq_ignore_ascii_case("close")))
    }

    /// After a 101: every byte goes back.
    fn echo(&mut self) -> std::io::Result<()> {
        loop {
            self.stream.write_all(&self.held)?;
            self.held.clear();
            if !self.more()? {
                return Ok(());
            }
        }
    }

    /// Reads a body to its end and tells its length, chunks with their sizes; `None` when it is cut.
    fn body(&mut self, head: &str) -> std::io::Result<Option<u64>> {
        if field(head, "transfer-encoding:").is_some() {
            while !self.held.ends_with(b"0\r\n\r\n") {
                if !self.more()? {
                    return Ok(None);
                }
            }
            return Ok(Some(std::mem::take(&mut self.held).len() as u64));
        }
        let length = field(head, "content-length:").and_then(|value| value.parse::<u64>().ok()).unwrap_or(0);
        let mut seen = 0;
        while seen < length {
            if self.held.is_empty() && !self.more()? {
                return Ok(None);
            }
            let taken = usize::try_from(length - seen).unwrap_or(usize::MAX).min(self.held.len());
            self.held.drain(..taken);
            seen += taken as u64;
        }
        Ok(Some(seen))
    }
}
