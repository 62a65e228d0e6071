//! The right to build labs: root's, or a user namespace of our own in which we are root.

use std::os::unix::process::ExitStatusExt;
use std::process::{Command, ExitStatus};

use anyhow::{Context, Result, bail};

/// Set in the environment of a process that was started again inside its own user namespace.
const INSIDE: &str = "MAINSTAY_LAB_INSIDE";

/// Makes sure that this process may build labs. Call it at the start of `main`.
///
/// With the needed capabilities it returns at once. Else the program is started again, with the same
/// arguments, as root of a user namespace with its own mounts and network, and this process ends with that one's result.
/// Where user namespaces are forbidden the error says how to allow them.
pub fn enter() -> Result<()> {
    if privileged() {
        return Ok(());
    }
    let arguments: Vec<_> = std::env::args_os().skip(1).collect();
    let status = again(&mut Command::new("/proc/self/exe"), &arguments)?;
    if let Some(signal) = status.signal() {
        std::process::exit(128 + signal);
    }
    std::process::exit(status.code().unwrap_or(1))
}

/// Runs one test, inside a user namespace when the tests run without root.
///
/// The body must be a closure written in the test function itself: its type carries the test's name, under
/// which the test binary is started again.
///
/// # Panics
/// When the body returns an error or the test fails inside.
pub fn test<F: FnOnce() -> Result<()>>(body: F) {
    if privileged() {
        if let Err(error) = body() {
            panic!("{error:?}");
        }
        return;
    }
    let name = test_name(std::any::type_name::<F>());
    let mut command = Command::new("/proc/self/exe");
    let status = again(&mut command, &["--exact", &name, "--nocapture", "--test-threads=1"]);
    match status {
        Ok(status) => assert!(status.success(), "inside its user namespace {name} failed: {status}"),
        Err(error) => panic!("{error:?}"),
    }
}

/// `crate::module::claim::{{closure}}` to `module::claim`.
fn test_name(closure: &str) -> String {
    let path = closure.trim_end_matches("::{{closure}}");
    path.split_once("::").map_or(path, |(_, rest)| rest).to_owned()
}

/// Whether this process can make network namespaces and name them.
fn privileged() -> bool {
    const CAP_SYS_ADMIN: u64 = 1 << 21;
    const CAP_NET_ADMIN: u64 = 1 << 12;
    let needed = CAP_SYS_ADMIN | CAP_NET_ADMIN;
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let effective = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    let held = effective.and_then(|text| u64::from_str_radix(text.trim(), 16).ok()).unwrap_or(0);
    rustix::process::geteuid().is_root() && held & needed == needed
}

/// Whether only one user exists here, so that programs cannot drop to another one.
pub(crate) fn single_user() -> bool {
    std::fs::read_to_string("/proc/self/setgroups").is_ok_and(|text| text.trim() == "deny")
}

fn again<A: AsRef<std::ffi::OsStr>>(command: &mut Command, arguments: &[A]) -> Result<ExitStatus> {
    if std::env::var_os(INSIDE).is_some() {
        bail!("a user namespace was made, but it lacks the right to make networks: {}", advice());
    }
    command.args(arguments).env(INSIDE, "1");
    mainstay_sys::netns::unshare_on_exec(command);
    command.status().with_context(|| format!("a lab needs root or user namespaces: {}", advice()))
}

/// What to do so that user namespaces work, for the lock that is found.
fn advice() -> &'static str {
    let knob = |path: &str| std::fs::read_to_string(path).map(|text| text.trim().to_owned()).ok();
    if knob("/proc/sys/kernel/apparmor_restrict_unprivileged_userns").as_deref() == Some("1") {
        "AppArmor forbids them to unprivileged programs; run as root, or allow them: \
         sudo sysctl kernel.apparmor_restrict_unprivileged_userns=0"
    } else if knob("/proc/sys/kernel/unprivileged_userns_clone").as_deref() == Some("0") {
        "they are off; run as root, or switch them on: sudo sysctl kernel.unprivileged_userns_clone=1"
    } else if knob("/proc/sys/user/max_user_namespaces").as_deref() == Some("0") {
        "their number is limited to 0; run as root, or raise it: sudo sysctl user.max_user_namespaces=1000"
    } else {
        "they are refused here (a container's seccomp profile, perhaps); run as root with CAP_SYS_ADMIN"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_closure_knows_the_test_around_it() {
        fn name_of<F: Fn()>(_: &F) -> &'static str {
            std::any::type_name::<F>()
        }
        let body = || {};
        assert_eq!(test_name(name_of(&body)), "enter::tests::a_closure_knows_the_test_around_it");
        body();
    }
}
