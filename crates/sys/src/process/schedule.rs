//! Being on time: real-time scheduling, memory that is never paged out, and what a worker sets up first.

use std::ffi::CString;
use std::io;
use std::time::Duration;

use mainstay_core::time::Boot;
use rustix::mm::{MlockAllFlags, mlockall};
use rustix::process::{Resource, Rlimit, Signal, set_parent_process_death_signal, setrlimit};
use rustix::time::Timespec;

use crate::clock::boot_now;
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

/// How long a real-time loop may run without a wait before it takes a breath; a fifth of the smallest budget given to
/// [`real_time`].
const BREATHLESS: Duration = Duration::from_millis(200);

/// Long enough to be a wait, short enough that nobody misses us.
const BREATH: Timespec = Timespec { tv_sec: 0, tv_nsec: 100_000 };

/// Keeps a busy real-time loop within its budget: more work than time, as in a flood of packets, would otherwise look
/// to the kernel like a loop that never ends.
#[derive(Debug)]
pub struct Breath {
    looked: Boot,
    waits: Option<i64>,
}

impl Default for Breath {
    fn default() -> Self {
        Self { looked: boot_now(), waits: None }
    }
}

impl Breath {
    /// To be called in each round: waits a moment if this thread has not waited by itself for too long.
    pub fn take(&mut self) {
        if boot_now().since(self.looked) < BREATHLESS {
            return;
        }
        let waits = times_waited();
        if waits.is_some() && waits == self.waits {
            let _ = rustix::thread::nanosleep(&BREATH);
        }
        self.waits = times_waited();
        self.looked = boot_now();
    }
}

/// How often this thread has given up its core to wait.
fn times_waited() -> Option<i64> {
    let mut usage = os::zeroed::<libc::rusage>();
    // SAFETY: `usage` is a writable structure of that type.
    let ret = unsafe { libc::getrusage(libc::RUSAGE_THREAD, &raw mut usage) };
    (ret == 0).then_some(usage.ru_nvcsw)
}

/// Does something long without the real-time priority that [`real_time`] gave this thread.
pub fn at_leisure<T>(work: impl FnOnce() -> T) -> T {
    let mut before = scheduling(0);
    // SAFETY: takes an integer only; 0 is this thread.
    let policy = unsafe { libc::sched_getscheduler(0) };
    // SAFETY: `before` is a writable structure of that type.
    let known = unsafe { libc::sched_getparam(0, &raw mut before) } == 0;
    if !known || policy & !libc::SCHED_RESET_ON_FORK != libc::SCHED_FIFO {
        return work();
    }
    let ordinary = scheduling(0);
    // SAFETY: 0 is this thread; `ordinary` lives until the call returns.
    unsafe {
        libc::sched_setscheduler(0, libc::SCHED_OTHER | libc::SCHED_RESET_ON_FORK, &raw const ordinary)
    };
    let done = work();
    // SAFETY: as above, with what it was before.
    unsafe { libc::sched_setscheduler(0, policy, &raw const before) };
    done
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
    fn a_loop_with_more_work_than_time_waits_now_and_then() {
        let (mut breath, before) = (Breath::default(), times_waited().expect("counted"));
        let start = boot_now();
        while boot_now().since(start) < BREATHLESS * 4 {
            breath.take();
        }
        assert!(times_waited().expect("counted") > before);
    }

    #[test]
    fn leisure_ends_and_what_it_made_is_kept() {
        assert_eq!(at_leisure(|| 7), 7);
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
