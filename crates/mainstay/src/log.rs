//! Logs leave a process without blocking it; what is dropped is counted.

use std::io::IsTerminal as _;
use std::sync::OnceLock;

use tracing_appender::non_blocking::{ErrorCounter, NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::EnvFilter;

/// Lines kept for a reader that does not keep up.
const LINES: usize = 4096;

static LOG: OnceLock<(WorkerGuard, ErrorCounter)> = OnceLock::new();

/// Logs to standard error; `MAINSTAY_LOG` chooses the level as `info` or `mainstay=debug`.
pub fn start() {
    start_from("info");
}

/// The same, from another level on where nobody asks for one.
pub fn start_at(level: &'static str) {
    start_from(level);
}

/// The same for who is run by another program: without being asked, it tells of trouble alone.
pub fn start_quiet() {
    start_from("warn");
}

fn start_from(usual: &str) {
    let (writer, guard) = NonBlockingBuilder::default()
        .lossy(true)
        .buffered_lines_limit(LINES)
        .thread_name("log")
        .finish(std::io::stderr());
    let dropped = writer.error_counter();
    let filter = EnvFilter::try_from_env("MAINSTAY_LOG").unwrap_or_else(|_| EnvFilter::new(usual));
    let journal = std::env::var_os("JOURNAL_STREAM").is_some();
    let builder = tracing_subscriber::fmt()
        .with_writer(writer)
        .with_env_filter(filter)
        .with_target(false)
        .with_ansi(std::io::stderr().is_terminal());
    // The journal has its own clock.
    let started = if journal { builder.without_time().try_init() } else { builder.try_init() };
    if started.is_ok() {
        let _ = LOG.set((guard, dropped));
    }
}

/// Lines that were dropped because nobody read them in time.
#[must_use]
pub fn dropped() -> u64 {
    LOG.get().map_or(0, |(_, counter)| counter.dropped_lines() as u64)
}
