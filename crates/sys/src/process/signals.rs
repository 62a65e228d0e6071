//! Signals and moments as descriptors, for a thread that waits on one epoll.

use std::io;
use std::mem;
use std::os::fd::{AsFd, BorrowedFd, FromRawFd, OwnedFd};

use mainstay_core::time::Boot;
use rustix::io::Errno;
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_settime,
};

use crate::error::{Doing, Result};
use crate::os;

/// Signals that are read instead of interrupting.
#[derive(Debug)]
pub struct Signals {
    fd: OwnedFd,
}

impl Signals {
    /// Blocks these signals in this thread, and in threads and children started later, and queues them here. Call it
    /// before any thread is started; a child that runs another program should [`Signals::unblock_all`] first.
    ///
    /// # Errors
    /// When the kernel refuses a number or the descriptor.
    pub fn open(signals: &[i32]) -> Result<Self> {
        open_signals(signals).map(|fd| Self { fd }).doing(|| "cannot receive signals")
    }

    /// The next signal's number, or `None`; never waits.
    ///
    /// # Errors
    /// When the descriptor fails.
    pub fn next_signal(&mut self) -> io::Result<Option<i32>> {
        let mut record = [0u8; mem::size_of::<libc::signalfd_siginfo>()];
        match rustix::io::read(&self.fd, &mut record) {
            Ok(_) => Ok(record[..4].try_into().ok().map(i32::from_ne_bytes)),
            Err(Errno::AGAIN | Errno::INTR) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Lets all signals through again in this thread; safe between fork and exec.
    ///
    /// # Errors
    /// Never, as far as the kernel's manual says.
    pub fn unblock_all() -> io::Result<()> {
        let set = empty_set();
        // SAFETY: `set` is an initialised signal set; no old one is asked for.
        let ret = unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &raw const set, std::ptr::null_mut()) };
        if ret == 0 { Ok(()) } else { Err(io::Error::from_raw_os_error(ret)) }
    }
}

impl AsFd for Signals {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

fn open_signals(signals: &[i32]) -> io::Result<OwnedFd> {
    let mut set = empty_set();
    for signal in signals {
        // SAFETY: `set` is an initialised signal set; a bad number is answered with an error.
        os::check(unsafe { libc::sigaddset(&raw mut set, *signal) })?;
    }
    // SAFETY: `set` is an initialised signal set; no old one is asked for.
    let ret = unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, &raw const set, std::ptr::null_mut()) };
    if ret != 0 {
        return Err(io::Error::from_raw_os_error(ret));
    }
    // SAFETY: -1 asks for a new descriptor; `set` is an initialised signal set.
    let fd =
        os::check(unsafe { libc::signalfd(-1, &raw const set, libc::SFD_NONBLOCK | libc::SFD_CLOEXEC) })?;
    // SAFETY: the call above returned a new descriptor that nobody else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

fn empty_set() -> libc::sigset_t {
    // SAFETY: a signal set is an array of integers.
    let mut set: libc::sigset_t = unsafe { mem::zeroed() };
    // SAFETY: `set` is a writable signal set.
    unsafe { libc::sigemptyset(&raw mut set) };
    set
}

/// A timer on CLOCK_BOOTTIME; readable (for epoll) once its moment has come.
#[derive(Debug)]
pub struct Timer {
    fd: OwnedFd,
}

impl Timer {
    /// A timer that is not set.
    ///
    /// # Errors
    /// When the kernel refuses the descriptor.
    pub fn open() -> Result<Self> {
        let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
        let fd = timerfd_create(TimerfdClockId::Boottime, flags).doing(|| "cannot create a timer")?;
        Ok(Self { fd })
    }

    /// Sets it to a moment, replacing the one before; a moment that has passed makes it readable at once,
    /// [`Boot::NEVER`] stops it.
    ///
    /// # Errors
    /// When the descriptor fails.
    pub fn set(&self, at: Boot) -> io::Result<()> {
        // All zero would stop it instead of firing at once.
        let nanos = if at == Boot::NEVER { 0 } else { at.as_nanos().max(1) };
        let it_value = Timespec {
            tv_sec: i64::try_from(nanos / 1_000_000_000).unwrap_or(i64::MAX),
            tv_nsec: i64::try_from(nanos % 1_000_000_000).unwrap_or(0),
        };
        let it_interval = Timespec { tv_sec: 0, tv_nsec: 0 };
        timerfd_settime(&self.fd, TimerfdTimerFlags::ABSTIME, &Itimerspec { it_interval, it_value })?;
        Ok(())
    }

    /// Whether its moment has come since it was set or asked last; makes it unreadable.
    ///
    /// # Errors
    /// When the descriptor fails.
    pub fn fired(&self) -> io::Result<bool> {
        match rustix::io::read(&self.fd, &mut [0u8; 8]) {
            Ok(_) => Ok(true),
            Err(Errno::AGAIN | Errno::INTR) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }
}

impl AsFd for Timer {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use rustix::event::{PollFd, PollFlags, poll};

    use super::*;
    use crate::clock::boot_now;

    #[test]
    fn a_timer_fires_at_its_moment_and_not_before() {
        let timer = Timer::open().expect("timer");
        let at = boot_now() + Duration::from_millis(20);
        timer.set(at).expect("set");
        assert!(!timer.fired().expect("read"));
        poll(&mut [PollFd::new(&timer, PollFlags::IN)], None).expect("poll");
        assert!(boot_now() >= at);
        assert!(timer.fired().expect("read"));
        timer.set(Boot::ZERO).expect("a moment that has passed");
        assert!(timer.fired().expect("read"));
        timer.set(Boot::NEVER).expect("stop");
        assert!(!timer.fired().expect("read"));
    }

    #[test]
    fn a_signal_to_this_thread_is_read_instead_of_killing_it() {
        let mut signals = Signals::open(&[libc::SIGUSR2]).expect("signals");
        assert_eq!(signals.next_signal().expect("read"), None);
        // SAFETY: raising a signal that this thread has blocked only queues it.
        unsafe { libc::raise(libc::SIGUSR2) };
        assert_eq!(signals.next_signal().expect("read"), Some(libc::SIGUSR2));
    }
}
