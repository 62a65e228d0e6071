//! What a check script does that cannot work: it is not executable, it sleeps longer than it may run, it stops
//! keepalived. The last one usually means `restart`, and where that is plain the probe is written so.

use std::path::Path;
use std::time::Duration;

use super::Files;
use super::draft::{Check, Command, Probe};
use super::report::Report;
use super::table::shorten;

mod seen;

use seen::Seen;

/// Any of the three x bits.
const EXECUTABLE: u32 = 0o111;

/// Where a program without a path is looked for; the common PATH of a service.
const PATH: &[&str] = &["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"];

/// Gives the program its whole path, as keepalived does by PATH; nothing is looked up when it is run.
pub(super) fn full_path(command: &mut Command, files: &dyn Files, report: &mut Report) {
    let Some(program) = command.argv.first_mut().filter(|program| !program.starts_with('/')) else { return };
    let name = shorten(program);
    if program.contains('/') {
        let text = format!("{name} is not an absolute path");
        return report.error(command.pos, text, "write the whole path");
    }
    let found =
        PATH.iter().map(|dir| format!("{dir}/{program}")).find(|path| files.mode(Path::new(path)).is_some());
    let path = match found {
        Some(path) => {
            report.note(
                command.pos,
                format!("{name} is {path}"),
                "write the whole path: no PATH is searched later",
            );
            path
        }
        // That it is not here is said when it is looked into.
        None => format!("/usr/bin/{program}"),
    };
    *program = path;
}

/// A program that is started: it must be there and executable.
pub(super) fn must_run(command: &Command, files: &dyn Files, report: &mut Report) -> bool {
    let program = &command.argv[0];
    match files.mode(Path::new(program)) {
        None => {
            let text = format!("{} is not on this machine, so it was not looked into", shorten(program));
            report.note(command.pos, text, "copy it to the node, or import there");
            false
        }
        Some(mode) if mode & EXECUTABLE == 0 => {
            let text = format!("{} is not executable", shorten(program));
            report.error(command.pos, text, format!("chmod 755 {}", shorten(program)));
            false
        }
        Some(_) => true,
    }
}

/// Looks into the script of a probe, and changes the probe where its author can only have meant something else.
pub(super) fn look_into(probe: &mut Probe, files: &dyn Files, report: &mut Report) {
    let Check::Exec(command) = &probe.check else { return };
    if command.argv.is_empty() {
        probe.check = Check::Nothing;
        return;
    }
    let inline = inline_shell(command);
    let (text, name) = if let Some(text) = inline {
        (text, "the command".to_owned())
    } else {
        let command = command.clone();
        if !must_run(&command, files, report) {
            return;
        }
        let path = interpreted(&command);
        let Ok(text) = files.read(Path::new(path)) else { return };
        if text.contains('\0') {
            return;
        }
        if path == command.argv[0] && !text.starts_with("#!") {
            let what = format!("{} has no #! line, so the kernel cannot start it", shorten(path));
            report.error(command.pos, what, "make `#!/bin/sh` its first line");
        }
        (text, shorten(path))
    };
    let seen = Seen::of(&text);
    if let Some(line) = seen.stops {
        stops(probe, &seen, &format!("{name}:{line}"), report);
    } else if let Some((line, sleep)) = seen.longest_sleep() {
        too_long(probe, &name, line, sleep, report);
    }
}

/// `sh -c TEXT`.
fn inline_shell(command: &Command) -> Option<String> {
    let shell = Path::new(&command.argv[0]).file_name()?.to_str()?;
    let is_shell = ["sh", "bash", "dash"].contains(&shell);
    (is_shell && command.argv.get(1).is_some_and(|arg| arg == "-c")).then(|| command.argv.get(2).cloned())?
}

/// The script itself: behind a shell, its first argument.
fn interpreted(command: &Command) -> &str {
    let program = &command.argv[0];
    let shell = program.rsplit('/').next().is_some_and(|name| ["sh", "bash", "dash"].contains(&name));
    match command.argv.get(1) {
        Some(script) if shell && script.starts_with('/') => script,
        _ => program,
    }
}

fn too_long(probe: &Probe, name: &str, line: usize, sleep: Duration, report: &mut Report) {
    let limit = probe.timeout.or(probe.interval).unwrap_or(Duration::from_secs(1));
    if sleep >= limit {
        let text = format!(
            "{name}:{line} sleeps {} s, and the script is ended after {} s, as a failure",
            sleep.as_secs_f64(),
            limit.as_secs_f64()
        );
        report.note(
            probe.pos,
            text,
            "keepalived ends it at its interval too: give it a longer timeout, or no sleep",
        );
    }
}

fn stops(probe: &mut Probe, seen: &Seen, place: &str, report: &mut Report) {
    probe.stops_keepalived = true;
    let unreached = seen.longest_sleep().map(|(_, sleep)| sleep);
    let limit = probe.timeout.or(probe.interval).unwrap_or(Duration::from_secs(1));
    let unreached = unreached.filter(|sleep| *sleep >= limit).map_or(String::new(), |sleep| {
        format!(
            " (it never gets there: it sleeps {} s and is ended after {} s)",
            sleep.as_secs(),
            limit.as_secs()
        )
    });
    let text = format!("{place} stops keepalived to give the vip up{unreached}");
    let (Some(process), Some(start), None) = (&seen.process, &seen.start, &seen.stranger) else {
        let help = format!(
            "let the script exit 1 instead, or replace it by these two lines of [[probe]]:\n\
             process = \"{}\"\n\
             restart = {{ exec = [\"/usr/bin/systemctl\", \"restart\", \"NAME\"], tries = 1, wait = \"5s\" }}",
            seen.process.as_deref().unwrap_or("NAME")
        );
        return report.dropped(probe.pos, text, help);
    };
    replace(probe, process, start, seen, text, report);
}

/// The script counts a process, starts its service and gives up: that is a probe with `restart`.
fn replace(
    probe: &mut Probe,
    process: &str,
    start: &[String],
    seen: &Seen,
    text: String,
    report: &mut Report,
) {
    let wait = seen.longest_sleep().map_or(5, |(_, sleep)| sleep.as_secs().clamp(1, 60));
    let exec: Vec<String> = start.iter().map(|word| crate::import::quote(word)).collect();
    let help = format!(
        "these two lines of [[probe]] replace the script:\n\
         process = {}\n\
         restart = {{ exec = [{}], tries = 1, wait = \"{wait}s\" }}",
        crate::import::quote(process),
        exec.join(", ")
    );
    report.note(probe.pos, text, help);
    if let Check::Exec(command) = &probe.check {
        let argv: Vec<String> = command.argv.iter().map(|word| crate::import::quote(word)).collect();
        probe.remarks.push(format!(
            "replaces exec = [{}], which restarts {process} or stops keepalived",
            argv.join(", ")
        ));
    }
    probe.restart = Some(start.to_vec());
    probe.restart_wait = Some(Duration::from_secs(wait));
    probe.check = Check::Process { name: process.to_owned(), args: None, min: 1, max: None };
    // The process is looked at, not asked: its own time limit has no use.
    probe.timeout = None;
}

#[cfg(test)]
mod tests;
