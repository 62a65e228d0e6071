//! A process held by a descriptor: its number can be used again by another process, the descriptor cannot.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;
use rustix::process::{
    Pid, PidfdFlags, Signal, WaitId, WaitIdOptions, WaitIdStatus, pidfd_open, pidfd_send_signal, waitid,
};

use crate::error::{Doing, Error, Result};

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// It left with this code.
    Code(i32),
    /// This signal ended it.
    Signal(i32),
}

/// A process that is held; readable (for epoll) once it has ended.
#[derive(Debug)]
pub struct PidFd {
    fd: OwnedFd,
    pid: u32,
}

impl PidFd {
    /// Takes hold of a running process.
    ///
    /// # Errors
    /// When there is no such process, or Linux is older than 5.3.
    pub fn open(pid: u32) -> Result<Self> {
        let number = i32::try_from(pid).ok().and_then(Pid::from_raw);
        let number = number.ok_or_else(|| Error::Missing(format!("there is no process {pid}")))?;
        let fd = pidfd_open(number, PidfdFlags::NONBLOCK)
            .or_else(|error| match error {
                // The flag is younger than the call (Linux 5.10).
                Errno::INVAL => pidfd_open(number, PidfdFlags::empty()),
                error => Err(error),
            })
            .doing(|| format!("cannot hold process {pid}"))?;
        Ok(Self { fd, pid })
    }

    /// Wraps a pidfd that came from elsewhere, for example from another process of ours.
    #[must_use]
    pub fn from_fd(fd: OwnedFd, pid: u32) -> Self {
        Self { fd, pid }
    }

    /// Its number when it was taken hold of.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Sends a signal by number; a process that has ended is no error.
    ///
    /// # Errors
    /// When we may not, or the number is none.
    pub fn signal(&self, signal: i32) -> Result<()> {
        let number = Signal::from_named_raw(signal)
            .ok_or_else(|| Error::Missing(format!("there is no signal {signal} to send")))?;
        match pidfd_send_signal(&self.fd, number) {
            Ok(()) | Err(Errno::SRCH) => Ok(()),
            Err(error) => Err(error).doing(|| format!("cannot signal process {}", self.pid)),
        }
    }

    /// How our child ended, or `None` while it runs; never waits. The first call after the end reaps it.
    ///
    /// # Errors
    /// `ECHILD` when it isn't our child, or was reaped.
    pub fn try_wait(&self) -> io::Result<Option<Exit>> {
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG;
        match waitid(WaitId::PidFd(self.fd.as_fd()), options) {
            Ok(status) => Ok(status.and_then(|status| exit_of(&status))),
            Err(Errno::AGAIN) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}

impl AsFd for PidFd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

fn exit_of(status: &WaitIdStatus) -> Option<Exit> {
    status.exit_status().map(Exit::Code).or_else(|| status.terminating_signal().map(Exit::Signal))
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use rustix::event::{PollFd, PollFlags, poll};

    use super::*;

    fn ended(held: &PidFd) -> Exit {
        poll(&mut [PollFd::new(held, PollFlags::IN)], None).expect("poll");
        held.try_wait().expect("our child").expect("it ended")
    }

    #[test]
    #[expect(clippy::zombie_processes, reason = "the pidfd reaps them")]
    fn the_end_of_a_child_is_seen_with_its_code_or_signal() {
        let child = Command::new("sh").args(["-c", "exit 7"]).spawn().expect("sh");
        assert_eq!(ended(&PidFd::open(child.id()).expect("hold")), Exit::Code(7));
        let child = Command::new("sleep").arg("1000").spawn().expect("sleep");
        let held = PidFd::open(child.id()).expect("hold");
        assert_eq!(held.try_wait().expect("our child"), None);
        held.signal(libc::SIGKILL).expect("kill");
        assert_eq!(ended(&held), Exit::Signal(libc::SIGKILL));
        held.signal(libc::SIGTERM).expect("a dead process is no error");
    }

    #[test]
    fn a_process_that_does_not_exist_cannot_be_held() {
        assert!(PidFd::open(0).is_err());
        assert!(PidFd::open(u32::MAX).is_err());
    }
}
