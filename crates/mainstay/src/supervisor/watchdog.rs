//! A hardware watchdog, fed while this node is not alone for too long: each sign of life of the vip role is a meal.
//!
//! Closed in order it is told so (`V`, the magic close of Linux); whoever dies with it open leaves it to count down.

use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use mainstay_config::plan::arbitration::IsolatedAction;
use rustix::fs::{Mode, OFlags};

use super::Supervisor;

/// Any byte but `V` is a meal.
const MEAL: &[u8] = b"\0";
const CLOSE: &[u8] = b"V";

/// An open one, or one that is still to be opened.
pub(super) struct Watchdog {
    path: PathBuf,
    device: Option<File>,
    complained: bool,
}

impl Watchdog {
    const fn new(path: PathBuf) -> Self {
        Self { path, device: None, complained: false }
    }

    fn feed(&mut self) {
        if let Err(error) = self.try_feed() {
            if !std::mem::replace(&mut self.complained, true) {
                tracing::error!(path = %self.path.display(), "the watchdog can't be fed: {error}");
            }
            self.device = None;
        }
    }

    fn try_feed(&mut self) -> std::io::Result<()> {
        let device = match &mut self.device {
            Some(device) => device,
            slot @ None => {
                let flags = OFlags::WRONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
                let opened = File::from(rustix::fs::open(&self.path, flags, Mode::empty())?);
                tracing::info!(path = %self.path.display(), "the watchdog is fed from here on");
                slot.insert(opened)
            }
        };
        device.write_all(MEAL)
    }

    /// Closed in order, it reboots nobody.
    fn close(mut self) {
        if let Some(device) = &mut self.device
            && let Err(error) = device.write_all(CLOSE)
        {
            tracing::error!(path = %self.path.display(), "the watchdog can't be stopped: {error}");
        }
    }
}

impl Supervisor {
    /// The vip role lives.
    pub(super) fn feed_watchdog(&mut self) {
        if self.stop.is_some() {
            // Closed once the vips are gone, and not opened again.
            self.watchdog.iter_mut().for_each(Watchdog::feed);
            return;
        }
        let path = self.watchdog_path();
        if self.watchdog.as_ref().map(|watchdog| watchdog.path.as_path()) != path.as_deref() {
            self.close_watchdog();
            self.watchdog = path.map(Watchdog::new);
        }
        if !self.alone
            && let Some(watchdog) = &mut self.watchdog
        {
            watchdog.feed();
        }
    }

    /// On an orderly end, when addresses are gone: nothing is left that a reboot would free.
    pub(super) fn close_watchdog(&mut self) {
        if let Some(watchdog) = self.watchdog.take() {
            watchdog.close();
        }
    }

    fn watchdog_path(&self) -> Option<PathBuf> {
        match &self.plan.cluster.as_ref()?.isolated.as_ref()?.action {
            IsolatedAction::Watchdog(path) => Some(Path::to_path_buf(path)),
            IsolatedAction::Exec(_) => None,
        }
    }
}
