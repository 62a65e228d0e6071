//! Access logs: lines are gathered by each thread and written by threads of their own, so that a full disk or a stuck
//! pipe never holds a request up.

mod escape;
mod id;
mod json;
mod line;
mod writer;

use std::cell::{Cell, RefCell};
use std::sync::Arc;
use std::time::Duration;

use mainstay_config::plan::edge::{AccessLog, LogTarget, LogUse};
use mainstay_core::name::LogId;
use mainstay_core::time::Boot;
use tokio::sync::Notify;

pub use id::request_id;
pub use writer::Writers;

use crate::clock;
use crate::exchange::{Exchange, Render};
use crate::snapshot::Snapshot;
use line::Lines;
use writer::Sink;

/// Bytes that are gathered before they are handed over.
const GATHERED: usize = 32 * 1024;

/// Bytes of the longest line; longer ones are cut.
const LONGEST: usize = 256 * 1024;

/// How long a line waits for others to go with.
const WAIT: Duration = Duration::from_millis(100);

/// The access logs of one thread.
#[derive(Debug)]
pub struct Logs {
    writers: Arc<Writers>,
    buffers: RefCell<Vec<Buffer>>,
    lines: Lines,
    /// Something waits.
    waits: Notify,
    /// When something was handed over last.
    handed: Cell<Boot>,
}

#[derive(Debug)]
struct Buffer {
    target: LogTarget,
    sink: Arc<Sink>,
    bytes: Vec<u8>,
    lines: u64,
}

impl Logs {
    /// For one thread; `writers` are those of its process.
    #[must_use]
    pub fn new(writers: Arc<Writers>) -> Self {
        Self {
            writers,
            buffers: RefCell::default(),
            lines: Lines::default(),
            waits: Notify::new(),
            handed: Cell::new(Boot::ZERO),
        }
    }

    /// Writes a request that is over to the logs of its route.
    pub fn write(&self, snapshot: &Snapshot, exchange: &Exchange, render: Render<'_>) {
        let Some(route) = exchange.route.and_then(|id| snapshot.edge.routes.get(id.index())) else { return };
        self.write_to(&route.logs, snapshot, exchange, render);
    }

    /// Writes to these logs: those of a route, or of a listener whose connections are relayed as bytes.
    pub fn write_to(&self, logs: &[LogUse], snapshot: &Snapshot, exchange: &Exchange, render: Render<'_>) {
        let mut scratch = Vec::new();
        for used in logs {
            let Some(log) = snapshot.edge.logs.get(used.log.index()) else { continue };
            if let Some(when) = &used.when {
                scratch.clear();
                render(when, exchange, &mut scratch);
                if scratch.is_empty() || scratch == b"0" {
                    continue;
                }
            }
            let now = clock::boot_now();
            self.append(log, now, |out| self.lines.write(used.log, log, snapshot, exchange, render, out));
        }
    }

    /// Writes a line of one's own (without its end) to a log: those of TCP and UDP.
    pub fn line(&self, snapshot: &Snapshot, log: LogId, text: &[u8]) {
        let Some(log) = snapshot.edge.logs.get(log.index()) else { return };
        self.append(log, clock::boot_now(), |out| out.extend_from_slice(text));
    }

    fn append(&self, log: &AccessLog, now: Boot, write: impl FnOnce(&mut Vec<u8>)) {
        let mut buffers = self.buffers.borrow_mut();
        let at = match buffers.iter().position(|buffer| same(&buffer.target, &log.to)) {
            Some(at) => at,
            None => {
                let Some(sink) = self.writers.sink(&log.to) else { return };
                buffers.push(Buffer { target: log.to.clone(), sink, bytes: Vec::new(), lines: 0 });
                buffers.len() - 1
            }
        };
        let buffer = &mut buffers[at];
        let start = buffer.bytes.len();
        write(&mut buffer.bytes);
        buffer.bytes.truncate(start + LONGEST);
        buffer.bytes.push(b'\n');
        buffer.lines += 1;
        if buffer.bytes.len() >= GATHERED {
            buffer.hand_over();
        } else if now.since(self.handed.get()) >= WAIT {
            self.handed.set(now);
            buffer.hand_over();
        } else {
            self.waits.notify_one();
        }
    }

    /// Hands over what waits: before a thread ends.
    pub fn flush(&self) {
        for buffer in self.buffers.borrow_mut().iter_mut() {
            buffer.hand_over();
        }
        self.handed.set(clock::boot_now());
    }

    /// Hands over what waits, again and again; never ends. Each thread runs this once.
    pub async fn run(&self) {
        loop {
            self.waits.notified().await;
            tokio::time::sleep(WAIT).await;
            self.flush();
        }
    }
}

impl Drop for Logs {
    fn drop(&mut self) {
        self.flush();
    }
}

impl Buffer {
    fn hand_over(&mut self) {
        if self.bytes.is_empty() {
            return;
        }
        let room = self.bytes.capacity().min(GATHERED + LONGEST);
        let bytes = std::mem::replace(&mut self.bytes, Vec::with_capacity(room.min(GATHERED)));
        self.sink.send(bytes, std::mem::take(&mut self.lines));
    }
}

/// Whether two logs go to the same place; bytes are compared, not the parts of paths.
fn same(one: &LogTarget, other: &LogTarget) -> bool {
    match (one, other) {
        (LogTarget::Stdout, LogTarget::Stdout) => true,
        (LogTarget::File(one), LogTarget::File(other)) => one.as_os_str() == other.as_os_str(),
        (LogTarget::Stdout, LogTarget::File(_)) | (LogTarget::File(_), LogTarget::Stdout) => false,
    }
}

#[cfg(test)]
mod tests;
