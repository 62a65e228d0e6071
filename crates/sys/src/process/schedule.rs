//! Being on time: real-time scheduling, memory that is never paged out, and what a worker sets up first.

use std::ffi::CString;
use std::io;

use rustix::mm::{MlockAllFlags, mlockall};
use rustix::process::{Resource, Rlimit, Signal, set_parent_process_death_signal, setrlimit};

use crate::error::{Doing, Error, Result};
use crate::os;

/// Makes this thread SCHED_FIFO with this priority (1 to 99); a child is not. `budget_micros` bounds how long it may run
/// without ever waiting before the kernel sends SIGXCPU: a loop of ours cannot take the host's cores away.
///
/// # Errors
/// Without `CAP_SYS_NICE`, or in a cgroup without real-time budget; use [`set_nice`] then.
pub fn real_time(priority: i32, budget_micros: u64) -> Result<()> {
    let limit = Rlimit { current: Some(budget_micros), maximum: Some(budget_micros.saturating_mul(2)) };
    setrlimit(Resource::Rttime, limit).doing(|| "cannot bound real-time CPU use")?;
    let parameters = scheduling(priority);
    // SAFETY: 0 is this thread; `parameters` lives until the call returns.
    let ret = unsafe {
        libc::sched_setscheduler(0, libc::SCHED_FIFO | libc::SCHED_RESET_ON_FORK, &raw const parameters)
    };
    os::check(ret).doing(|| "cannot run with real-time priority").map(drop)
}

fn scheduling(priority: i32) -> libc::sched_param {
    // SAFETY: a structure of integers (musl's has more than one).
    let mut parameters: libc::sched_param = unsafe { std::mem::zeroed() };
    parameters.sched_priority = priority;
    parameters
}

/// Sets this thread's nice value (-20 to 19).
///
/// # Errors
/// A negative value without `CAP_SYS_NICE`.
pub fn set_nice(nice: i32) -> Result<()> {
    // SAFETY: takes and returns integers only.
    let ret = unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, nice) };
    os::check(ret).doing(|| format!("cannot set the nice value to {nice}")).map(drop)
}

/// Gives freed memory back to the kernel: after a configuration has been read, most of the heap is holes. Before
/// [`lock_memory`], which would keep the holes.
pub fn trim_memory() {
    #[cfg(target_env = "gnu")]
    // SAFETY: walks the allocator's own lists under its own locks.
    unsafe {
        libc::malloc_trim(0);
    }
}

/// Keeps every page in memory from the moment it is first touched; pages that nobody touches cost nothing.
///
/// # Errors
/// Without `CAP_IPC_LOCK` when `RLIMIT_MEMLOCK` is lower than what is mapped.
pub fn lock_memory() -> Result<()> {
    let flags = MlockAllFlags::CURRENT | MlockAllFlags::FUTURE | MlockAllFlags::ONFAULT;
    mlockall(flags).doing(|| "cannot lock memory")
}

/// Names this thread, as `ps` and `top` show it; 15 bytes are kept.
///
/// # Errors
/// When the name holds a zero byte.
pub fn set_name(name: &str) -> Result<()> {
    let name = CString::new(name).map_err(|_| Error::Missing(format!("{name:?} cannot name a thread")))?;
    rustix::thread::set_name(&name).doing(|| "cannot name the thread")
}

/// Has the kernel send this signal when the thread that started us ends; `None` stops that. Changing user clears it: set
/// it again afterwards.
///
/// # Errors
/// When the number is no signal.
pub fn set_parent_death_signal(signal: Option<i32>) -> Result<()> {
    let named = signal.and_then(Signal::from_named_raw);
    if signal.is_some() && named.is_none() {
        return Err(Error::Missing("there is no such signal".to_owned()));
    }
    set_parent_process_death_signal(named).doing(|| "cannot follow our parent")
}

/// Closes every descriptor from `first` on, or marks each to be closed by exec. Owners of closed descriptors in this
/// process must be gone: meant for the first lines of a child.
///
/// # Errors
/// Before Linux 5.9 (mark: 5.11).
pub fn close_descriptors_from(first: u32, only_mark: bool) -> io::Result<()> {
    let flags = if only_mark { libc::CLOSE_RANGE_CLOEXEC } else { 0 };
    // SAFETY: takes integers only; which descriptors may go is the caller's promise above.
    let ret = unsafe { libc::syscall(libc::SYS_close_range, first, u32::MAX, flags) };
    if ret == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_takes_its_name() {
        set_name("claim").expect("a short name");
        let name = rustix::thread::name().expect("the name");
        assert_eq!(name.to_bytes(), b"claim");
        assert!(set_name("a\0b").is_err());
    }

    #[test]
    fn a_number_that_is_no_signal_is_refused() {
        assert!(set_parent_death_signal(Some(0)).is_err());
        set_parent_death_signal(None).expect("stop following");
    }

    #[test]
    fn marking_descriptors_closes_none() {
        let file = std::fs::File::open("/proc/self/status").expect("open");
        close_descriptors_from(1 << 20, true).expect("mark");
        file.metadata().expect("it is still open");
    }
}
