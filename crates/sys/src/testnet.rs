//! For tests: threads in network namespaces of their own, wired together, gone with the thread.

use std::process::Command;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::thread::{UnshareFlags, gettid, unshare_unsafe};

/// Set in a test binary that was started again inside a user namespace.
const INSIDE: &str = "MAINSTAY_TEST_INSIDE";

/// A condition that is not met within this time never will be.
const PATIENCE: Duration = Duration::from_secs(10);

/// Runs a test as root of a new network namespace: directly when we are root, else by starting the same test again in
/// an unprivileged user namespace. Says so when the machine allows neither.
pub(crate) fn in_namespace(test: &str, body: impl FnOnce() + Send + 'static) {
    if rustix::process::getuid().is_root() {
        Host::start().run(body);
        return;
    }
    assert!(std::env::var_os(INSIDE).is_none(), "{test}: still not root inside a user namespace");
    let this = std::env::current_exe().expect("the test binary's path");
    let mut again = Command::new("unshare");
    again.args(["-Urnm", "--"]).arg(this).args(["--exact", test, "--nocapture"]).env(INSIDE, "1");
    let output = again.output().expect("unshare from util-linux");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    if said.contains("unshare:") {
        eprintln!("skipped: {test}: neither root nor a user namespace: {}", said.trim());
        return;
    }
    eprint!("{said}");
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stdout));
}

/// Runs a command in this thread's namespace and returns what it printed; it must succeed.
pub(crate) fn sh(line: &str) -> String {
    let (ok, text) = try_sh(line);
    assert!(ok, "{line}: {text}");
    text
}

/// Runs a command in this thread's namespace: whether it succeeded, and what it printed.
pub(crate) fn try_sh(line: &str) -> (bool, String) {
    let output = Command::new("sh").args(["-c", line]).output().expect("a shell");
    let text = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8_lossy(&text).into_owned())
}

/// Waits for a condition.
pub(crate) fn until(what: &str, mut met: impl FnMut() -> bool) {
    let start = Instant::now();
    while !met() {
        assert!(start.elapsed() < PATIENCE, "never came: {what}");
        std::thread::yield_now();
    }
}

/// A network namespace with one thread in it that runs what it is given.
pub(crate) struct Host {
    jobs: Option<Sender<Box<dyn FnOnce() + Send>>>,
    thread: Option<JoinHandle<()>>,
    /// The thread's number, by which `ip link set ... netns` finds the namespace.
    pub(crate) tid: i32,
}

impl Host {
    /// A new namespace whose loopback is up.
    pub(crate) fn start() -> Self {
        let (jobs, inbox): (_, Receiver<Box<dyn FnOnce() + Send>>) = channel();
        let (ready, started) = channel();
        let thread = std::thread::spawn(move || {
            // SAFETY: the thread leaves the others' network namespace and nothing else that is shared.
            unsafe { unshare_unsafe(UnshareFlags::NEWNET) }.expect("a network namespace");
            ready.send(gettid().as_raw_nonzero().get()).expect("the test waits");
            sh("ip link set lo up");
            for job in inbox {
                job();
            }
        });
        let tid = started.recv().expect("the thread started");
        Self { jobs: Some(jobs), thread: Some(thread), tid }
    }

    /// Runs something inside and waits for its result; a panic inside is a panic here.
    pub(crate) fn run<T: Send + 'static>(&self, job: impl FnOnce() -> T + Send + 'static) -> T {
        let (send, receive) = channel();
        let boxed: Box<dyn FnOnce() + Send> = Box::new(move || {
            let _ = send.send(job());
        });
        self.jobs.as_ref().expect("until it is dropped").send(boxed).expect("the host's thread lives");
        receive.recv().expect("the job panicked: see above")
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        self.jobs = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Makes a wire from this thread's namespace (`here`) to another host (`there`), both ends up with their addresses.
pub(crate) fn wire(host: &Host, here: &str, there: &str, ours: &[&str], theirs: &[&str]) {
    sh(&format!("ip link add {here} type veth peer name {there} netns {}", host.tid));
    let lines = |name: &str, addrs: &[&str]| {
        let mut lines = vec![format!("sysctl -qw net.ipv6.conf.{name}.accept_dad=0")];
        lines.extend(addrs.iter().map(|addr| format!("ip addr add {addr} dev {name}")));
        lines.push(format!("ip link set {name} up"));
        lines.join(" && ")
    };
    let far = lines(there, theirs);
    host.run(move || sh(&far));
    sh(&lines(here, ours));
    // An IPv6 address can be bound only once the kernel has finished with it, some time after the carrier came.
    let ready = |name: &str| {
        let is = format!(
            "ip link show {name} | grep -q LOWER_UP && test -z \"$(ip -6 addr show dev {name} tentative)\""
        );
        move || try_sh(&is).0
    };
    let far = ready(there);
    until("the far end", || host.run(far.clone()));
    until("our end", ready(here));
}
