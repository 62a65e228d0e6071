//! Network namespaces for commands and threads, and the few process calls that the lab needs around them.
//!
//! See namespaces(7), user_namespaces(7) and setns(2). Everything that runs between fork and exec is
//! async-signal-safe: system calls on values that were made before the fork.

use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};

use rustix::fs::{Mode, OFlags};
use rustix::process::Signal;
use rustix::thread::LinkNameSpaceType;

/// Moves the calling thread into the network namespace behind `namespace`.
pub fn enter(namespace: BorrowedFd<'_>) -> io::Result<()> {
    Ok(rustix::thread::move_into_link_name_space(namespace, Some(LinkNameSpaceType::Network))?)
}

/// Makes `command` start inside the network namespace, in a process group of its own, and end when the thread
/// that started it ends.
pub fn enter_on_exec(command: &mut Command, namespace: Arc<OwnedFd>) {
    command.process_group(0);
    let before_exec = move || {
        enter(namespace.as_fd())?;
        rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
        Ok(())
    };
    // SAFETY: the closure makes two system calls on values that exist already and allocates nothing.
    unsafe {
        command.pre_exec(before_exec);
    }
}

/// Makes `command` start as root of user, mount and network namespaces of its own, with an empty /run.
///
/// The caller's user and group are mapped to 0, no other user exists inside (so setgroups(2) is denied).
pub fn unshare_on_exec(command: &mut Command) {
    let uid = rustix::process::geteuid().as_raw();
    let gid = rustix::process::getegid().as_raw();
    let uids = format!("0 {uid} 1");
    let gids = format!("0 {gid} 1");
    let before_exec = move || {
        unshare(libc::CLONE_NEWUSER | libc::CLONE_NEWNS | libc::CLONE_NEWNET)?;
        write_to(c"/proc/self/setgroups", b"deny")?;
        write_to(c"/proc/self/uid_map", uids.as_bytes())?;
        write_to(c"/proc/self/gid_map", gids.as_bytes())?;
        mount_tmpfs(c"/run")?;
        rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
        Ok(())
    };
    // SAFETY: the closure makes system calls on memory that exists already and allocates nothing.
    unsafe {
        command.pre_exec(before_exec);
    }
}

fn unshare(flags: libc::c_int) -> io::Result<()> {
    // SAFETY: unshare takes no pointers; between fork and exec there is one thread, as CLONE_NEWUSER asks.
    if unsafe { libc::unshare(flags) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

fn write_to(path: &CStr, text: &[u8]) -> io::Result<()> {
    let file = rustix::fs::open(path, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty())?;
    rustix::io::write(&file, text)?;
    Ok(())
}

fn mount_tmpfs(target: &CStr) -> io::Result<()> {
    let (kind, options) = (c"tmpfs", c"mode=0755");
    // SAFETY: all four pointers are NUL-terminated strings that outlive the call.
    let done =
        unsafe { libc::mount(kind.as_ptr(), target.as_ptr(), kind.as_ptr(), 0, options.as_ptr().cast()) };
    if done != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// Gives the calling thread real-time priority (SCHED_FIFO, 1 to 99), so that it measures others and not
/// its own waiting. Needs CAP_SYS_NICE in the initial user namespace.
pub fn realtime(priority: i32) -> io::Result<()> {
    let param = libc::sched_param { sched_priority: priority };
    // SAFETY: `param` is a valid sched_param that outlives the call; 0 names the calling thread.
    if unsafe { libc::sched_setscheduler(0, libc::SCHED_FIFO, &param) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// Lets the kernel wake the calling thread within a microsecond of a deadline instead of the usual 50.
pub fn precise_timers() {
    const SLACK: libc::c_ulong = 1_000;
    // SAFETY: PR_SET_TIMERSLACK takes one number and touches no memory of ours.
    unsafe {
        libc::prctl(libc::PR_SET_TIMERSLACK, SLACK, 0, 0, 0);
    }
}

/// Where the signal handler writes; -1 until somebody listens.
static INTERRUPTED: AtomicI32 = AtomicI32::new(-1);

/// Returns a pipe's end from which one byte can be read for each SIGINT, SIGTERM or SIGHUP that arrives:
/// the byte is the signal's number. The process no longer dies of them by itself. Call it once.
pub fn interrupts() -> io::Result<OwnedFd> {
    let (reader, writer) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
    INTERRUPTED.store(std::os::fd::IntoRawFd::into_raw_fd(writer), Ordering::SeqCst);
    for signal in [libc::SIGINT, libc::SIGTERM, libc::SIGHUP] {
        // SAFETY: an all-zero sigaction is a valid value: no flags, empty mask.
        let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
        action.sa_sigaction = note_signal as *const () as libc::sighandler_t;
        action.sa_flags = libc::SA_RESTART;
        // SAFETY: `action` is initialised and its handler only writes to a pipe, which is async-signal-safe.
        if unsafe { libc::sigaction(signal, &action, std::ptr::null_mut()) } != 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(reader)
}

extern "C" fn note_signal(signal: libc::c_int) {
    let fd = INTERRUPTED.load(Ordering::SeqCst);
    let byte = u8::try_from(signal).unwrap_or(0);
    // SAFETY: one byte is read from a live local; a closed or full pipe only makes the write fail.
    unsafe {
        libc::write(fd, (&raw const byte).cast(), 1);
    }
}

/// Makes the process die of `signal` as if it had never been handled.
#[allow(clippy::disallowed_methods, reason = "the signal has ended the process; this is for the compiler")]
pub fn die_of(signal: u8) -> ! {
    let signal = libc::c_int::from(signal);
    // SAFETY: SIG_DFL is a valid disposition for these signals.
    unsafe {
        libc::signal(signal, libc::SIG_DFL);
    }
    // SAFETY: raise takes a number and no memory.
    unsafe {
        libc::raise(signal);
    }
    #[expect(clippy::disallowed_methods, reason = "the signal was to end us, and it did not")]
    std::process::exit(128 + signal)
}

/// The number by which the kernel knows interface `name` in the calling thread's namespace.
pub fn interface_index(name: &str) -> io::Result<u32> {
    let text = CString::new(name)?;
    // SAFETY: `text` is NUL-terminated and outlives the call.
    let index = unsafe { libc::if_nametoindex(text.as_ptr()) };
    if index == 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(index)
}
