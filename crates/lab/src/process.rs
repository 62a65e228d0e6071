//! Processes as /proc shows them: trees, names, processor time, memory (proc(5)).

use std::collections::HashMap;
use std::fs;
use std::time::Duration;

use anyhow::{Context, Result};
use rustix::process::Pid;

/// `root` and everybody who descends from it, parents before children.
pub fn tree(root: Pid) -> Vec<Pid> {
    let mut children: HashMap<Pid, Vec<Pid>> = HashMap::new();
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let pid = entry.file_name().to_str().and_then(|name| name.parse().ok()).and_then(Pid::from_raw);
        let Some(pid) = pid else { continue };
        let Some(parent) = parent(pid) else { continue };
        children.entry(parent).or_default().push(pid);
    }
    let mut found = vec![root];
    let mut next = 0;
    while let Some(pid) = found.get(next) {
        found.extend(children.remove(pid).unwrap_or_default());
        next += 1;
    }
    found
}

/// The fields of /proc/PID/stat after the command's name, which may hold anything.
fn stat(pid: Pid) -> Option<Vec<String>> {
    let text = fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero())).ok()?;
    let (_, fields) = text.rsplit_once(')')?;
    Some(fields.split_whitespace().map(str::to_owned).collect())
}

fn parent(pid: Pid) -> Option<Pid> {
    Pid::from_raw(stat(pid)?.get(1)?.parse().ok()?)
}

/// Whether the process runs: a zombie does not.
pub fn alive(pid: Pid) -> bool {
    stat(pid).is_some_and(|fields| !matches!(fields.first().map(String::as_str), Some("Z" | "X") | None))
}

/// The command line, words separated by blanks.
pub fn command_line(pid: Pid) -> String {
    let bytes = fs::read(format!("/proc/{}/cmdline", pid.as_raw_nonzero())).unwrap_or_default();
    String::from_utf8_lossy(&bytes).trim_end_matches('\0').replace('\0', " ")
}

/// User and system time that a process has used, its dead threads included; its children's is their own.
pub fn cpu_time(pid: Pid) -> Result<Duration> {
    let fields = stat(pid).with_context(|| format!("process {} is gone", pid.as_raw_nonzero()))?;
    let ticks: u64 = fields.iter().skip(11).take(2).filter_map(|field| field.parse::<u64>().ok()).sum();
    let per_second = rustix::param::clock_ticks_per_second();
    Ok(Duration::from_nanos(ticks * 1_000_000_000 / per_second))
}

/// Time on a processor as the scheduler counts it, to the nanosecond, of every thread that lives (schedstat).
pub fn cpu_time_exact(pid: Pid) -> Result<Duration> {
    let folder = format!("/proc/{}/task", pid.as_raw_nonzero());
    let mut sum = 0;
    for entry in fs::read_dir(&folder).with_context(|| format!("cannot read {folder}"))?.flatten() {
        let Ok(text) = fs::read_to_string(entry.path().join("schedstat")) else { continue };
        sum += text.split_whitespace().next().and_then(|word| word.parse::<u64>().ok()).unwrap_or(0);
    }
    Ok(Duration::from_nanos(sum))
}

/// Memory in bytes, shared pages divided among those who share them (PSS).
pub fn memory(pid: Pid) -> Result<u64> {
    let path = format!("/proc/{}/smaps_rollup", pid.as_raw_nonzero());
    let text = fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
    let line = text.lines().find_map(|line| line.strip_prefix("Pss:"));
    let kibibytes = line.and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok());
    Ok(kibibytes.with_context(|| format!("{path} has no line Pss"))? * 1024)
}
