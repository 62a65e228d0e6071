//! Access logs: opened here, since edge processes may open nothing, and again when somebody has moved the file away.

use std::os::fd::{AsFd as _, OwnedFd};

use anyhow::Context as _;
use mainstay_config::plan::edge::{Edge, LogTarget};
use rustix::fs::{Mode, OFlags};

/// The logs that are open.
#[derive(Default)]
pub(super) struct Logs {
    open: Vec<(LogTarget, OwnedFd)>,
}

impl Logs {
    /// Opens every log of a Plan anew.
    ///
    /// # Errors
    /// Names the one that cannot be opened.
    pub(super) fn open(edge: &Edge) -> anyhow::Result<Self> {
        let mut open: Vec<(LogTarget, OwnedFd)> = Vec::new();
        for log in &edge.logs {
            if open.iter().any(|(to, _)| *to == log.to) {
                continue;
            }
            let fd = open_one(&log.to).with_context(|| format!("access log \"{}\"", log.name))?;
            open.push((log.to.clone(), fd));
        }
        Ok(Self { open })
    }

    /// The same; what cannot be opened is told and left out.
    pub(super) fn open_what_can_be(edge: &Edge) -> (Self, Vec<String>) {
        let (mut logs, mut wrong) = (Self::default(), Vec::new());
        for log in &edge.logs {
            match open_one(&log.to) {
                Ok(fd) => logs.open.push((log.to.clone(), fd)),
                Err(error) => wrong.push(format!("access log \"{}\": {error:#}", log.name)),
            }
        }
        (logs, wrong)
    }

    /// Descriptors to hand out.
    pub(super) fn lend(&self) -> Vec<(LogTarget, OwnedFd)> {
        let lend =
            |(to, fd): &(LogTarget, OwnedFd)| Some((to.clone(), fd.as_fd().try_clone_to_owned().ok()?));
        self.open.iter().filter_map(lend).collect()
    }
}

fn open_one(to: &LogTarget) -> anyhow::Result<OwnedFd> {
    match to {
        LogTarget::Stdout => {
            std::io::stdout().as_fd().try_clone_to_owned().context("a second descriptor of standard output")
        }
        LogTarget::File(path) => {
            // A pipe without a reader would make us wait.
            let flags = OFlags::WRONLY
                | OFlags::CREATE
                | OFlags::APPEND
                | OFlags::CLOEXEC
                | OFlags::NOCTTY
                | OFlags::NONBLOCK;
            rustix::fs::open(path, flags, Mode::from_raw_mode(0o640))
                .with_context(|| format!("cannot open {}", path.display()))
        }
    }
}
