//! What runs on this host, read from /proc, for the process probe.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::Path;

use crate::error::{Doing, Result};

/// A command line is read up to this many bytes.
const COMMAND_LINE: u64 = 4096;

/// One running process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Process {
    /// Its number.
    pub pid: u32,
    /// Its name as the kernel keeps it, 15 bytes at most.
    pub comm: String,
    /// Its words, the program first, up to 4096 bytes of them; none for a kernel thread or in the middle of exec.
    pub command: Vec<String>,
}

/// Walks the processes that this PID namespace shows. Those that end meanwhile are left out, as are zombies.
///
/// # Errors
/// When /proc is not there.
pub fn processes() -> Result<impl Iterator<Item = Process>> {
    let entries = fs::read_dir("/proc").doing(|| "cannot list processes")?;
    Ok(entries.filter_map(|entry| {
        let entry = entry.ok()?;
        let pid = entry.file_name().to_str()?.parse().ok()?;
        read(pid, &entry.path()).ok().flatten()
    }))
}

fn read(pid: u32, folder: &Path) -> io::Result<Option<Process>> {
    let stat = bounded(&folder.join("stat"))?;
    // pid (comm) state ...: the name may hold anything, parentheses and blanks included.
    let stat = String::from_utf8_lossy(&stat);
    let Some((comm, rest)) = stat.split_once('(').and_then(|(_, rest)| rest.rsplit_once(')')) else {
        return Ok(None);
    };
    if rest.trim_start().starts_with(['Z', 'X']) {
        return Ok(None);
    }
    let line = bounded(&folder.join("cmdline"))?;
    let words = line.split(|byte| *byte == 0).map(|word| String::from_utf8_lossy(word).into_owned());
    let mut command: Vec<_> = words.collect();
    while command.last().is_some_and(String::is_empty) {
        command.pop();
    }
    Ok(Some(Process { pid, comm: comm.to_owned(), command }))
}

fn bounded(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(COMMAND_LINE).read_to_end(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;
    use crate::testnet::until;

    #[test]
    fn a_running_child_is_listed_with_its_words_and_a_zombie_is_not() {
        let mut child = Command::new("sleep").arg("4321").spawn().expect("sleep");
        let find = || processes().expect("list").find(|process| process.pid == child.id());
        until("the end of exec", || find().is_some_and(|found| !found.command.is_empty()));
        let found = find();
        let held = crate::process::PidFd::open(child.id()).expect("hold");
        held.signal(libc::SIGKILL).expect("kill");
        rustix::event::poll(&mut [rustix::event::PollFd::new(&held, rustix::event::PollFlags::IN)], None)
            .expect("poll");
        assert_eq!(find(), None, "it ended and was not reaped");
        child.wait().expect("reap");
        let found = found.expect("it ran");
        assert_eq!(
            (found.comm.as_str(), found.command),
            ("sleep", vec!["sleep".to_owned(), "4321".to_owned()])
        );
    }
}
