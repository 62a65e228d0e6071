//! Running other programs: every failure names the command line and what came of it.

use std::env;
use std::ffi::OsStr;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, bail};

/// Folders where Debian keeps what an ordinary user's PATH lacks.
const SBIN: [&str; 3] = ["/usr/local/sbin", "/usr/sbin", "/sbin"];

/// cargo, in a folder, as the one that started us.
pub(crate) fn cargo(dir: &Path) -> Command {
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(dir);
    // Set by `cargo run` for xtask itself; inherited, they would make build scripts run again.
    for (name, _) in env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("CARGO_PKG_") || text.starts_with("CARGO_MANIFEST_") {
            command.env_remove(&name);
        }
    }
    command
}

/// Runs a command with our output; an exit code other than 0 is an error.
pub(crate) fn run(command: &mut Command) -> anyhow::Result<()> {
    let line = line_of(command);
    let status = command.stdin(Stdio::null()).status().with_context(|| format!("start `{line}`"))?;
    if !status.success() {
        bail!("`{line}` ended with {status}");
    }
    Ok(())
}

/// Runs a command and returns its standard output; an exit code other than 0 is an error with what it said.
pub(crate) fn output(command: &mut Command) -> anyhow::Result<String> {
    let line = line_of(command);
    let got = command.stdin(Stdio::null()).output().with_context(|| format!("start `{line}`"))?;
    if !got.status.success() {
        let words = if got.stderr.is_empty() { &got.stdout } else { &got.stderr };
        let words = String::from_utf8_lossy(words);
        bail!("`{line}` ended with {}: {}", got.status, words.trim());
    }
    String::from_utf8(got.stdout).with_context(|| format!("`{line}` printed something that is no UTF-8"))
}

/// Runs a command that must succeed and has nothing to complain of on either stream.
pub(crate) fn silent(command: &mut Command) -> anyhow::Result<()> {
    let line = line_of(command);
    let got = command.stdin(Stdio::null()).output().with_context(|| format!("start `{line}`"))?;
    let words = [got.stdout, got.stderr].concat();
    if !got.status.success() || !words.is_empty() {
        bail!("`{line}` ended with {}: {}", got.status, String::from_utf8_lossy(&words).trim());
    }
    Ok(())
}

/// Whether a command succeeds, with nothing of its output shown.
pub(crate) fn succeeds(command: &mut Command) -> bool {
    let quiet = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    quiet.status().is_ok_and(|s| s.success())
}

/// The first executable of this name in PATH or in Debian's sbin folders.
pub(crate) fn find(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let folders = env::split_paths(&path).chain(SBIN.iter().map(PathBuf::from));
    folders.map(|f| f.join(name)).find(|p| is_executable(p))
}

/// Whether this process may install packages and make network namespaces.
pub(crate) fn is_root() -> bool {
    std::fs::metadata("/proc/self").is_ok_and(|m| m.uid() == 0)
}

fn is_executable(path: &Path) -> bool {
    path.metadata().is_ok_and(|m| m.is_file() && m.permissions().mode() & 0o111 != 0)
}

fn line_of(command: &Command) -> String {
    let program = Path::new(command.get_program()).file_name().unwrap_or(command.get_program());
    let words = std::iter::once(program).chain(command.get_args());
    words.map(OsStr::to_string_lossy).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_names_the_command_and_its_last_words() {
        let error = output(Command::new("sh").args(["-c", "echo no such vip >&2; exit 3"])).unwrap_err();
        let text = error.to_string();
        assert!(
            text.contains("sh -c") && text.contains("exit status: 3") && text.contains("no such vip"),
            "{text}"
        );
    }

    #[test]
    fn a_complaint_is_a_failure_where_silence_is_asked_for() {
        assert!(silent(Command::new("sh").args(["-c", "echo unknown key >&2"])).is_err());
        assert!(silent(&mut Command::new("true")).is_ok());
    }

    #[test]
    fn a_program_that_is_missing_is_named() {
        let error = run(&mut Command::new("mainstay-no-such-program")).unwrap_err();
        assert!(error.to_string().contains("mainstay-no-such-program"));
    }

    #[test]
    fn programs_are_found_and_folders_are_not_programs() {
        assert!(find("sh").is_some());
        assert!(find("no-such-program-anywhere").is_none());
        assert!(!is_executable(Path::new("/usr")));
    }
}
