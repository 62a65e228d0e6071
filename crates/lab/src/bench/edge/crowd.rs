//! Very many connections in one thread: opened at once, asked at once, or slow in one of three ways.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use rustix::buffer::spare_capacity;
use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, connect, socket_with, sockopt};

use crate::Host;
use crate::probe::Task;

/// Bytes that a slow reader's socket holds at most.
const SMALL: usize = 4096;

/// Connections that belong together.
#[derive(Debug)]
pub(super) struct Crowd {
    epoll: OwnedFd,
    members: Vec<TcpStream>,
}

/// What became of a request of each.
#[derive(Clone, Debug, Default)]
pub(super) struct Answers {
    /// With 200.
    pub good: usize,
    /// With something else, or closed.
    pub bad: usize,
    /// Not within the time.
    pub none: usize,
    /// When the last answer came.
    pub last: Duration,
}

/// Begins a connection, which need not be there yet.
fn begin(at: SocketAddr, receive: Option<usize>) -> Result<TcpStream> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let fd = socket_with(AddressFamily::INET, SocketType::STREAM, flags, None)?;
    if let Some(bytes) = receive {
        sockopt::set_socket_recv_buffer_size(&fd, bytes)?;
    }
    match connect(&fd, &at) {
        Ok(()) | Err(Errno::INPROGRESS) => Ok(fd.into()),
        Err(error) => Err(error).with_context(|| format!("connect to {at}")),
    }
}

impl Crowd {
    /// Begins so many connections at once, within the namespace of the thread.
    pub(super) fn open(at: SocketAddr, count: usize) -> Result<Self> {
        let epoll = epoll::create(CreateFlags::CLOEXEC)?;
        let mut members = Vec::with_capacity(count);
        for number in 0..count {
            let stream = begin(at, None)?;
            epoll::add(&epoll, &stream, EventData::new_u64(number as u64), EventFlags::OUT)?;
            members.push(stream);
        }
        Ok(Self { epoll, members })
    }

    /// Asks over each, as soon as it can be written to, and waits for the answers.
    pub(super) fn ask(&mut self, path: &str, limit: Duration) -> Result<Answers> {
        let request = format!("GET {path} HTTP/1.1\r\nHost: edge.example\r\n\r\n");
        let began = Instant::now();
        let mut got: Vec<Vec<u8>> = vec![Vec::new(); self.members.len()];
        let mut waits = vec![true; self.members.len()];
        let mut answers = Answers { none: self.members.len(), ..Answers::default() };
        for (number, stream) in self.members.iter().enumerate() {
            epoll::modify(&self.epoll, stream, EventData::new_u64(number as u64), EventFlags::OUT)?;
        }
        let mut events = Vec::with_capacity(1024);
        let wait = rustix::event::Timespec { tv_sec: 0, tv_nsec: 100_000_000 };
        while answers.none > 0 && began.elapsed() < limit {
            events.clear();
            epoll::wait(&self.epoll, spare_capacity(&mut events), Some(&wait))?;
            for event in &events {
                let number = usize::try_from(event.data.u64())?;
                let flags = event.flags;
                let good = if waits[number] {
                    self.step(number, request.as_bytes(), &mut got[number], flags)?
                } else {
                    // It was closed when it had its answer.
                    self.watch(number, EventFlags::ONESHOT)?;
                    None
                };
                let Some(good) = good else { continue };
                self.watch(number, EventFlags::ONESHOT)?;
                waits[number] = false;
                answers.none -= 1;
                answers.last = began.elapsed();
                if good {
                    answers.good += 1;
                } else {
                    answers.bad += 1;
                }
            }
        }
        Ok(answers)
    }

    fn watch(&self, number: usize, flags: EventFlags) -> Result<()> {
        Ok(epoll::modify(&self.epoll, &self.members[number], EventData::new_u64(number as u64), flags)?)
    }

    /// Goes on with one; whether it has got a good answer, once it has any.
    fn step(
        &self,
        number: usize,
        request: &[u8],
        got: &mut Vec<u8>,
        flags: EventFlags,
    ) -> Result<Option<bool>> {
        let mut stream = &self.members[number];
        if flags.contains(EventFlags::OUT) {
            if stream.write(request).is_err() {
                return Ok(Some(false));
            }
            self.watch(number, EventFlags::IN)?;
            return Ok(None);
        }
        let mut buffer = [0; 4096];
        match stream.read(&mut buffer) {
            Ok(0) => return Ok(Some(false)),
            Ok(count) => got.extend_from_slice(&buffer[..count]),
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(None),
            Err(_) => return Ok(Some(false)),
        }
        Ok(whole(got).then(|| got.starts_with(b"HTTP/1.1 200")))
    }
}

/// Whether an answer with a Content-Length is there.
fn whole(got: &[u8]) -> bool {
    let Some(end) = got.windows(4).position(|four| four == b"\r\n\r\n") else { return false };
    let head = String::from_utf8_lossy(&got[..end]).to_ascii_lowercase();
    let length =
        head.lines().find_map(|line| line.strip_prefix("content-length:")?.trim().parse::<usize>().ok());
    length.is_some_and(|length| got.len() >= end + 4 + length)
}

/// In which way a client is slow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Slow {
    /// A line of the head each second.
    Head,
    /// Eight bytes of the body each second.
    Body,
    /// Reads half a KiB of a large answer each second.
    Read,
}

impl Slow {
    pub(super) const ALL: [Self; 3] = [Self::Head, Self::Body, Self::Read];

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Head => "header",
            Self::Body => "body",
            Self::Read => "read",
        }
    }

    const fn first(self) -> &'static [u8] {
        match self {
            Self::Head => b"GET /1k HTTP/1.1\r\nHost: edge.example\r\n",
            Self::Body => b"POST /1k HTTP/1.1\r\nHost: edge.example\r\nContent-Length: 100000\r\n\r\n",
            Self::Read => b"GET /big HTTP/1.1\r\nHost: edge.example\r\n\r\n",
        }
    }

    fn go_on(self, mut stream: &TcpStream) -> std::io::Result<usize> {
        match self {
            Self::Head => stream.write(b"X-Slow: 1\r\n"),
            Self::Body => stream.write(b"slowslow"),
            Self::Read => stream.read(&mut [0; 512]),
        }
    }
}

/// Slow clients at work.
#[derive(Debug)]
pub(super) struct Crawl(Task<usize>);

impl Crawl {
    /// So many; what is closed is opened anew.
    pub(super) fn start(host: &Host, at: SocketAddr, slow: Slow, count: usize) -> Result<Self> {
        let inside = host.clone();
        let crawl =
            move |stop: &AtomicBool| inside.run(|| crawl(at, slow, count, stop).unwrap_or(0)).unwrap_or(0);
        Ok(Self(Task::start("lab-crawl", crawl)?))
    }

    /// How many had to be opened anew.
    pub(super) fn stop(self) -> usize {
        self.0.finish().unwrap_or(0)
    }
}

/// In ten parts of a second, so that no second has a peak.
fn crawl(at: SocketAddr, slow: Slow, count: usize, stop: &AtomicBool) -> Result<usize> {
    const PARTS: usize = 10;
    let receive = (slow == Slow::Read).then_some(SMALL);
    let mut members: Vec<(TcpStream, bool)> = Vec::with_capacity(count);
    for _ in 0..count {
        members.push((begin(at, receive)?, false));
    }
    let mut again = 0;
    let mut part = 0;
    while !stop.load(Ordering::Relaxed) {
        for (stream, asked) in members.iter_mut().skip(part).step_by(PARTS) {
            let done = if *asked { slow.go_on(stream) } else { (&*stream).write(slow.first()) };
            match done {
                Ok(0) => {}
                Ok(_) => {
                    *asked = true;
                    continue;
                }
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::NotConnected) => {
                    continue;
                }
                Err(_) => {}
            }
            (*stream, *asked, again) = (begin(at, receive)?, false, again + 1);
        }
        part = (part + 1) % PARTS;
        std::thread::sleep(Duration::from_secs(1) / u32::try_from(PARTS)?);
    }
    Ok(again)
}
