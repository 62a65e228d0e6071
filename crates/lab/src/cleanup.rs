//! Leaves nothing behind: a lab's namespaces, processes and files are found by the prefix of their name.
//!
//! The prefix holds the process id of the lab's owner, so that a later lab can remove what a killed one left.

use std::collections::BTreeSet;
use std::fs;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Mutex, Once, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use rustix::process::{Pid, Signal};

/// Where named namespaces stand (ip-netns(8)).
pub(crate) const NAMESPACES: &str = "/run/netns";

/// Where files need not wait for a disk that others keep busy: a daemon that logs there is not held up.
const MEMORY: &str = "/dev/shm";

const MARK: &str = "mainstay-lab-";

/// Labs of this process that stand.
static STANDING: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());

/// The start of every name that lab `number` of process `pid` gives.
pub(crate) fn prefix(pid: u32, number: u32) -> String {
    format!("{MARK}{pid}-{number}-")
}

/// Where labs keep their files: in memory, if files there may be written and executed.
pub(crate) fn folder() -> PathBuf {
    use rustix::fs::{Access, StatVfsMountFlags, access, statvfs};
    let executable = statvfs(MEMORY).is_ok_and(|data| !data.f_flag.contains(StatVfsMountFlags::NOEXEC));
    let usable = executable && access(MEMORY, Access::WRITE_OK | Access::EXEC_OK).is_ok();
    if usable { PathBuf::from(MEMORY) } else { std::env::temp_dir() }
}

/// Notes a lab that is to be removed when the process is interrupted.
pub(crate) fn register(prefix: &str) -> Result<()> {
    static WATCH: Once = Once::new();
    let mut failure = Ok(());
    WATCH.call_once(|| failure = watch_for_interrupts());
    failure.context("cannot watch for interrupts")?;
    STANDING.lock().unwrap_or_else(PoisonError::into_inner).insert(prefix.to_owned());
    Ok(())
}

/// After Ctrl-C the labs are removed, then the process dies of the signal as usual.
fn watch_for_interrupts() -> std::io::Result<()> {
    let signals = mainstay_sys::netns::interrupts()?;
    std::thread::Builder::new().name("lab-interrupts".into()).spawn(move || end_on_interrupt(&signals))?;
    Ok(())
}

fn end_on_interrupt(signals: &OwnedFd) {
    let mut signal = [0_u8];
    while !matches!(rustix::io::read(signals, &mut signal), Ok(1)) {}
    let standing = STANDING.lock().unwrap_or_else(PoisonError::into_inner).clone();
    for prefix in standing {
        erase(&prefix);
    }
    mainstay_sys::netns::die_of(signal[0])
}

/// Removes a lab of this process.
pub(crate) fn remove(prefix: &str) {
    erase(prefix);
    STANDING.lock().unwrap_or_else(PoisonError::into_inner).remove(prefix);
}

/// Removes what labs of dead processes left.
pub(crate) fn sweep() {
    let mut dead = BTreeSet::new();
    for path in marked(MARK) {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if let Some((pid, number)) = owner(&name)
            && !Path::new(&format!("/proc/{pid}")).exists()
        {
            dead.insert(prefix(pid, number));
        }
    }
    for prefix in dead {
        erase(&prefix);
    }
}

/// The owner's process id and the lab's number, from a name that starts with a prefix.
fn owner(name: &str) -> Option<(u32, u32)> {
    let mut parts = name.strip_prefix(MARK)?.split('-');
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

/// Namespaces and directories whose name starts with `prefix`.
fn marked(prefix: &str) -> Vec<PathBuf> {
    let folders = [PathBuf::from(NAMESPACES), PathBuf::from(MEMORY), std::env::temp_dir()];
    let entries = folders.iter().filter_map(|folder| fs::read_dir(folder).ok()).flatten().flatten();
    entries
        .filter(|entry| entry.file_name().to_string_lossy().starts_with(prefix))
        .map(|entry| entry.path())
        .collect()
}

fn erase(prefix: &str) {
    let found = marked(prefix);
    let (namespaces, directories): (Vec<_>, Vec<_>) =
        found.into_iter().partition(|path| path.starts_with(NAMESPACES));
    end_processes(&namespaces);
    for path in &namespaces {
        let name = path.file_name().unwrap_or_default();
        let _ = Command::new("ip").args(["netns", "del"]).arg(name).stderr(Stdio::null()).status();
    }
    if std::env::var_os("MAINSTAY_LAB_KEEP").is_none() {
        for path in directories {
            let _ = fs::remove_dir_all(path);
        }
    }
}

/// Kills whoever lives in one of the namespaces, until nobody does.
fn end_processes(namespaces: &[PathBuf]) {
    let inodes: BTreeSet<u64> =
        namespaces.iter().filter_map(|path| fs::metadata(path).ok()).map(|data| data.ino()).collect();
    let deadline = Instant::now() + Duration::from_secs(2);
    while Instant::now() < deadline {
        let inhabitants = inhabitants(&inodes);
        if inhabitants.is_empty() {
            return;
        }
        for pid in inhabitants {
            let _ = rustix::process::kill_process(pid, Signal::KILL);
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}

fn inhabitants(inodes: &BTreeSet<u64>) -> Vec<Pid> {
    let Ok(processes) = fs::read_dir("/proc") else { return Vec::new() };
    let own = rustix::process::getpid();
    processes
        .flatten()
        .filter_map(|entry| Pid::from_raw(entry.file_name().to_str()?.parse().ok()?))
        .filter(|pid| *pid != own)
        .filter(|pid| {
            let namespace = fs::metadata(format!("/proc/{}/ns/net", pid.as_raw_nonzero()));
            namespace.is_ok_and(|data| inodes.contains(&data.ino()))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_tells_its_owner() {
        assert_eq!(owner(&format!("{}web-1", prefix(42, 7))), Some((42, 7)));
        assert_eq!(owner("somebody-elses"), None);
    }
}
