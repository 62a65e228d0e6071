//! Threads that write logs, one for each place: a place that is stuck or full costs its own lines and nothing else.

use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use mainstay_config::plan::edge::LogTarget;
use mainstay_core::time::Boot;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::FileType;
use rustix::io::Errno;

use crate::clock;

/// Bytes that wait for one place; what comes beyond is dropped and counted.
const WAITING: usize = 4 * 1024 * 1024;

/// A write of up to this many bytes to a pipe is never mixed with another's (PIPE_BUF).
const PIPE: usize = 4096;

/// How often a stuck pipe is looked at for a new place to write to.
const LOOK: Timespec = Timespec { tv_sec: 0, tv_nsec: 200_000_000 };

/// Losses are told of no more often than this.
const TOLD: Duration = Duration::from_secs(10);

/// The access logs of a process.
#[derive(Debug, Default)]
pub struct Writers {
    /// A handful at most.
    sinks: Mutex<Vec<(LogTarget, Arc<Sink>)>>,
    /// Lines for places that nobody has opened.
    nowhere: AtomicU64,
}

/// A place that lines go to.
#[derive(Debug)]
pub(super) struct Sink {
    sender: Sender<Vec<u8>>,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    name: String,
    /// Bytes that were handed over and not written yet.
    waiting: AtomicUsize,
    dropped: AtomicU64,
    next: Mutex<Next>,
    /// All that was handed over has been written.
    written: Condvar,
}

#[derive(Debug, Default)]
struct Next {
    /// Where to write from now on.
    fd: Option<OwnedFd>,
    /// Stop waiting for a place that takes nothing in.
    hurry: bool,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Writers {
    /// Lines for `target` go to `fd` from now on: opened for appending, or a pipe. What waits goes there too.
    ///
    /// # Errors
    /// The thread that writes can't be started.
    pub fn open(&self, target: &LogTarget, fd: OwnedFd) -> std::io::Result<()> {
        let mut sinks = lock(&self.sinks);
        if let Some((_, sink)) = sinks.iter().find(|(known, _)| known == target) {
            lock(&sink.shared.next).fd = Some(fd);
            return Ok(());
        }
        let name = match target {
            LogTarget::File(path) => path.display().to_string(),
            LogTarget::Stdout => "standard output".to_owned(),
        };
        let shared = Arc::new(Shared {
            name,
            waiting: AtomicUsize::new(0),
            dropped: AtomicU64::new(0),
            next: Mutex::new(Next { fd: Some(fd), hurry: false }),
            written: Condvar::new(),
        });
        let (sender, receiver) = channel();
        let writer =
            Writer { shared: Arc::clone(&shared), fd: None, mid_line: false, told: Boot::ZERO, lost: 0 };
        std::thread::Builder::new().name("access-log".to_owned()).spawn(move || writer.run(&receiver))?;
        sinks.push((target.clone(), Arc::new(Sink { sender, shared })));
        Ok(())
    }

    /// The places that are open.
    #[must_use]
    pub fn targets(&self) -> Vec<LogTarget> {
        lock(&self.sinks).iter().map(|(target, _)| target.clone()).collect()
    }

    /// Lines that were lost so far: their place took nothing in, failed, or was never opened.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        let sinks = lock(&self.sinks);
        let lost: u64 = sinks.iter().map(|(_, sink)| sink.shared.dropped.load(Ordering::Relaxed)).sum();
        lost + self.nowhere.load(Ordering::Relaxed)
    }

    /// Waits until everything that was handed over is written, at most this long: at the end of a process. Tells
    /// whether it is.
    #[must_use]
    pub fn settle(&self, within: Duration) -> bool {
        let until = clock::boot_now() + within;
        let sinks: Vec<Arc<Sink>> = lock(&self.sinks).iter().map(|(_, sink)| Arc::clone(sink)).collect();
        sinks.iter().all(|sink| sink.settle(until))
    }

    pub(super) fn sink(&self, target: &LogTarget) -> Option<Arc<Sink>> {
        let sink =
            lock(&self.sinks).iter().find(|(known, _)| known == target).map(|(_, sink)| Arc::clone(sink));
        if sink.is_none() && self.nowhere.fetch_add(1, Ordering::Relaxed) == 0 {
            tracing::error!(?target, "an access log was not opened: its lines are lost");
        }
        sink
    }
}

impl Sink {
    /// Hands whole lines over; they are dropped when too much waits already.
    pub(super) fn send(&self, bytes: Vec<u8>, lines: u64) {
        let shared = &self.shared;
        let length = bytes.len();
        if shared.waiting.fetch_add(length, Ordering::AcqRel) + length > WAITING
            || self.sender.send(bytes).is_err()
        {
            shared.waiting.fetch_sub(length, Ordering::AcqRel);
            shared.dropped.fetch_add(lines, Ordering::Relaxed);
        }
    }

    fn settle(&self, until: Boot) -> bool {
        let mut next = lock(&self.shared.next);
        loop {
            if self.shared.waiting.load(Ordering::Acquire) == 0 {
                return true;
            }
            let left = until.since(clock::boot_now());
            if left.is_zero() {
                next.hurry = true;
                return false;
            }
            next = self.shared.written.wait_timeout(next, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

struct Writer {
    shared: Arc<Shared>,
    fd: Option<OwnedFd>,
    /// The last write ended within a line.
    mid_line: bool,
    told: Boot,
    /// Losses that were told of.
    lost: u64,
}

impl Writer {
    fn run(mut self, receiver: &Receiver<Vec<u8>>) {
        while let Ok(bytes) = receiver.recv() {
            self.put(&bytes);
            self.tell();
            self.shared.waiting.fetch_sub(bytes.len(), Ordering::AcqRel);
            // Under the lock, so that whoever waits has either seen the new number or hears this.
            let _next = lock(&self.shared.next);
            self.shared.written.notify_all();
        }
    }

    /// Takes over a new place.
    fn turn(&mut self) -> bool {
        let mut next = lock(&self.shared.next);
        let Some(fd) = next.fd.take() else { return false };
        drop(next);
        self.fd = Some(fd);
        self.mid_line = false;
        true
    }

    fn put(&mut self, bytes: &[u8]) {
        self.turn();
        if self.mid_line {
            self.mid_line = self.write(b"\n").is_err();
        }
        let mut rest = bytes;
        while !rest.is_empty() {
            match self.write(rest) {
                Ok(count) => {
                    self.mid_line = rest[..count].last() != Some(&b'\n');
                    rest = &rest[count..];
                }
                Err(Errno::INTR | Errno::AGAIN) => {}
                Err(errno) => {
                    let lines = rest.iter().filter(|byte| **byte == b'\n').count();
                    self.shared.dropped.fetch_add(lines as u64, Ordering::Relaxed);
                    tracing::debug!(log = %self.shared.name, "lines are lost: {errno}");
                    return;
                }
            }
        }
    }

    /// Writes a part; to a pipe no more than goes in whole, and only once there is room.
    fn write(&mut self, bytes: &[u8]) -> Result<usize, Errno> {
        loop {
            let fd = self.fd.as_ref().ok_or(Errno::BADF)?;
            let kind = FileType::from_raw_mode(rustix::fs::fstat(fd)?.st_mode);
            if kind == FileType::RegularFile {
                return rustix::io::write(fd, bytes);
            }
            let mut polled = [PollFd::from_borrowed_fd(fd.as_fd(), PollFlags::OUT)];
            if poll(&mut polled, Some(&LOOK))? > 0 {
                return rustix::io::write(fd, whole_lines(bytes));
            }
            if lock(&self.shared.next).hurry {
                return Err(Errno::TIMEDOUT);
            }
            self.turn();
        }
    }

    /// Tells of losses, now and then.
    fn tell(&mut self) {
        let dropped = self.shared.dropped.load(Ordering::Relaxed);
        let now = clock::boot_now();
        if dropped == self.lost || (now.since(self.told) < TOLD && self.told != Boot::ZERO) {
            return;
        }
        let lines = dropped - self.lost;
        tracing::warn!(log = %self.shared.name, lines, "access log lines were lost: the disk is full or nobody reads");
        (self.lost, self.told) = (dropped, now);
    }
}

/// As many whole lines as a pipe takes in at once; of a longer line its beginning.
fn whole_lines(bytes: &[u8]) -> &[u8] {
    if bytes.len() <= PIPE {
        return bytes;
    }
    let end = bytes[..PIPE].iter().rposition(|byte| *byte == b'\n').map_or(PIPE, |at| at + 1);
    &bytes[..end]
}
