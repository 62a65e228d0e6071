//! The role as the supervisor meets it: over a channel, with real processes.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use mainstay_config::plan::{Command, Group, Notify, NotifyHow, Plan};
use mainstay_core::election::GroupSpec;
use mainstay_core::name::CommandId;

use crate::ipc::{Asker, Channel, FromExec, Outcome, Run, ToExec};

#[test]
fn code_and_output_of_a_command_come_back() {
    let exec = Exec::with(&[sh("echo out; echo err >&2; exit 3")]);
    let outcome = exec.run(0, &[]);
    assert_eq!((outcome.code, outcome.signal, outcome.timed_out), (Some(3), None, false));
    assert_eq!(outcome.output, "out\nerr\n");
    assert!(!outcome.ok());
}

#[test]
fn a_command_killed_by_a_signal_says_which() {
    let outcome = Exec::with(&[sh("kill -9 $$")]).run(0, &[]);
    assert_eq!((outcome.code, outcome.signal), (None, Some(9)));
}

#[test]
fn what_cannot_be_run_is_an_error_that_names_it() {
    let temp = Temp::new();
    let file = temp.file("plain", "#!/bin/sh\n");
    let mut stranger = sh("true");
    stranger.user = Some("no-such-user".into());
    let exec = Exec::with(&[argv(&[&file]), argv(&["/no/such/program"]), stranger]);
    for (index, word) in [(0, "plain"), (1, "/no/such/program"), (2, "no-such-user")] {
        let outcome = exec.run(index, &[]);
        assert!(!outcome.ok());
        let error = outcome.error.unwrap();
        assert!(error.contains(word), "{error}");
    }
}

#[test]
fn a_command_that_hangs_is_told_at_its_timeout_and_its_group_is_gone_soon_after() {
    let temp = Temp::new();
    let pids = temp.path("pids");
    let script = format!("trap '' TERM; sleep 1000 & echo $$ $! > {}; wait; wait", pids.display());
    let exec = Exec::with(&[within(sh(&script), 300)]);
    let started = Instant::now();
    let outcome = exec.run(0, &[]);
    assert!(outcome.timed_out && !outcome.ok());
    assert!(started.elapsed() >= Duration::from_millis(300));
    let pids = std::fs::read_to_string(pids).unwrap();
    for pid in pids.split_whitespace() {
        until("the group is gone", || !is_alive(pid));
    }
}

#[test]
fn of_a_flood_the_end_is_kept() {
    let exec = Exec::with(&[sh("head -c 3000000 /dev/zero | tr '\\0' x; echo end")]);
    let outcome = exec.run(0, &[]);
    assert!(outcome.ok(), "{outcome:?}");
    assert_eq!(outcome.output.len(), 2048);
    assert!(outcome.output.ends_with("xxend\n"));
}

#[test]
fn an_endless_flood_ends_at_the_timeout_and_others_are_served_meanwhile() {
    let exec = Exec::with(&[within(sh("yes"), 400), sh("echo quick")]);
    exec.ask(1, 0, &[]);
    exec.ask(2, 1, &[]);
    assert_eq!(exec.outcome().output, "quick\n");
    assert!(exec.outcome().timed_out);
}

#[test]
fn a_daemon_left_behind_delays_nothing_and_can_go_on_writing() {
    let temp = Temp::new();
    let done = temp.path("done");
    let script = format!("(sleep 0.2; head -c 800000 /dev/zero; echo x > {}) & echo up", done.display());
    let exec = Exec::with(&[within(sh(&script), 60_000)]);
    let outcome = exec.run(0, &[]);
    assert!(outcome.ok());
    assert_eq!(outcome.output, "up\n");
    assert!(!done.exists(), "the command ended before its daemon wrote");
    until("the daemon got rid of more than a pipe holds", || done.exists());
}

#[test]
fn what_the_plan_does_not_hold_is_refused() {
    let exec = Exec::with(&[sh("echo \"$@\""), sh("true")]);
    assert!(exec.run(7, &[]).error.unwrap().contains("not in the configuration"));
    let args = ["INSTANCE", "front", "MASTER", "100"];
    assert!(exec.run_with(1, &args).error.unwrap().contains("arguments"), "this one takes none");
    for wrong in [["INSTANCE", "front", "MASTER", "-c"], ["-c", "id", "MASTER", "100"]] {
        assert!(exec.run_with(0, &wrong).error.is_some(), "{wrong:?}");
    }
    assert!(exec.run_with(0, &args).ok());
}

#[test]
fn a_command_sees_our_variables_and_none_of_the_daemons_secrets() {
    let exec = Exec::with(&[sh("env")]);
    let outcome = exec.run(0, &[("MAINSTAY_EPOCH", "7"), ("LD_PRELOAD", "/tmp/evil.so")]);
    let has = |name: &str| outcome.output.lines().any(|line| line.starts_with(name));
    assert!(has("MAINSTAY_EPOCH=7") && has("PATH=/") && has("HOME=/"), "{}", outcome.output);
    assert!(!has("LD_PRELOAD") && !has("CARGO"), "{}", outcome.output);
}

#[test]
fn a_command_holds_no_descriptor_of_ours_even_if_it_was_inheritable() {
    let file = std::fs::File::open("/dev/null").unwrap();
    rustix::io::fcntl_setfd(&file, rustix::io::FdFlags::empty()).unwrap();
    let outcome = Exec::with(&[sh("ls -l /proc/self/fd | grep -c 'socket:\\|/dev/null'")]).run(0, &[]);
    assert_eq!(outcome.output, "1\n", "its standard input alone");
}

#[test]
fn a_command_runs_as_its_user_or_not_at_all() {
    let mut command = sh("id -un; id -Gn; echo $HOME");
    command.user = Some("nobody".into());
    let outcome = Exec::with(&[command]).run(0, &[]);
    let maps = std::fs::read_to_string("/proc/self/uid_map").unwrap();
    let whole_host = maps.split_whitespace().last() == Some("4294967295");
    if rustix::process::geteuid().is_root() && whole_host {
        assert_eq!(outcome.output, "nobody\nnogroup\n/nonexistent\n");
    } else {
        assert!(outcome.output.starts_with("nobody\n") || outcome.error.is_some(), "{outcome:?}");
    }
}

#[test]
fn a_slow_notify_of_one_change_is_not_overtaken_by_the_next() {
    let temp = Temp::new();
    let log = temp.path("log");
    let slow = sh(&format!("sleep 0.3; echo master >> {}", log.display()));
    let quick = sh(&format!("echo backup >> {}", log.display()));
    let exec = Exec::with(&[slow, quick]);
    exec.ask_as(Asker::Vip, 1, 0, &[("MAINSTAY_VIP", "front"), ("MAINSTAY_STATE", "MASTER")]);
    exec.ask_as(Asker::Vip, 2, 1, &[("MAINSTAY_VIP", "front"), ("MAINSTAY_STATE", "BACKUP")]);
    assert_eq!([exec.outcome().id, exec.outcome().id], [1, 2]);
    assert_eq!(std::fs::read_to_string(log).unwrap(), "master\nbackup\n");
}

#[test]
fn after_a_reload_the_new_commands_are_run() {
    let exec = Exec::with(&[sh("echo old")]);
    exec.load(&[sh("echo new")]);
    assert_eq!(exec.run(0, &[]).output, "new\n");
}

#[test]
fn when_the_supervisor_leaves_a_notify_finishes_and_a_check_is_ended() {
    let temp = Temp::new();
    let (told, pid) = (temp.path("told"), temp.path("pid"));
    let notify = sh(&format!("sleep 0.3; echo x > {}", told.display()));
    let check = within(sh(&format!("echo $$ > {}; sleep 1000", pid.display())), 600_000);
    let exec = Exec::with(&[notify, check]);
    exec.ask_as(Asker::Vip, 1, 0, &[("MAINSTAY_VIP", "front"), ("MAINSTAY_STATE", "STOP")]);
    exec.ask(2, 1, &[]);
    until("the check runs", || std::fs::read_to_string(&pid).is_ok_and(|text| text.ends_with('\n')));
    let Exec { channel, thread } = exec;
    drop(channel);
    thread.join().unwrap().unwrap();
    assert!(told.exists());
    assert!(!is_alive(std::fs::read_to_string(pid).unwrap().trim()));
}

struct Exec {
    channel: Channel,
    thread: JoinHandle<anyhow::Result<()>>,
}

impl Exec {
    fn with(commands: &[Command]) -> Self {
        let (channel, theirs) = Channel::pair().unwrap();
        let exec = Self { channel, thread: std::thread::spawn(move || super::run(theirs)) };
        exec.load(commands);
        exec
    }

    /// Loads commands; the first of them is one that a notify calls with arguments.
    fn load(&self, commands: &[Command]) {
        let how = NotifyHow::Exec { command: CommandId(0), args: true };
        let group = Group {
            spec: GroupSpec { name: "all".into(), vips: vec!["front".into()] },
            notify: vec![Notify { on: Vec::new(), how }],
        };
        let plan = Plan { commands: commands.to_vec(), groups: vec![group], ..plan() };
        self.channel.send(&ToExec::Plan(Box::new(plan))).unwrap();
        assert!(matches!(self.channel.receive().unwrap().unwrap().message, FromExec::Ready));
    }

    fn ask(&self, id: u64, command: u32, env: &[(&str, &str)]) {
        self.ask_as(Asker::Probe, id, command, env);
    }

    fn ask_as(&self, asker: Asker, id: u64, command: u32, env: &[(&str, &str)]) {
        let env = env.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        let run = Run { id, command: CommandId(command), args: Vec::new(), env, asker };
        self.channel.send(&ToExec::Run(run)).unwrap();
    }

    fn outcome(&self) -> Outcome {
        let message = self.channel.receive::<FromExec>().unwrap().unwrap().message;
        let FromExec::Ran(outcome) = message else { panic!("{message:?} instead of an outcome") };
        outcome
    }

    fn run(&self, command: u32, env: &[(&str, &str)]) -> Outcome {
        self.ask(9, command, env);
        self.outcome()
    }

    fn run_with(&self, command: u32, args: &[&str]) -> Outcome {
        let args = args.iter().map(|arg| (*arg).to_owned()).collect();
        let run = Run { id: 9, command: CommandId(command), args, env: Vec::new(), asker: Asker::Vip };
        self.channel.send(&ToExec::Run(run)).unwrap();
        self.outcome()
    }
}

fn sh(script: &str) -> Command {
    argv(&["/bin/sh", "-c", script])
}

fn argv(argv: &[&str]) -> Command {
    let argv = argv.iter().map(|arg| (*arg).to_owned()).collect();
    Command { argv, user: None, timeout: Duration::from_secs(20) }
}

fn within(command: Command, ms: u64) -> Command {
    Command { timeout: Duration::from_millis(ms), ..command }
}

/// Alive, and not a zombie that waits to be reaped.
fn is_alive(pid: &str) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with('Z'))
}

/// A Plan that does nothing.
pub(crate) fn plan() -> Plan {
    Plan {
        node: "web-1".into(),
        cluster: None,
        links: Vec::new(),
        vips: Vec::new(),
        groups: Vec::new(),
        probes: Vec::new(),
        commands: Vec::new(),
        mail: None,
        metrics: None,
        agents: Vec::new(),
        registry: None,
        visits: Vec::new(),
        edge: mainstay_config::plan::edge::Edge::default(),
    }
}

/// Waits for a condition, for at most ten seconds.
pub(crate) fn until(what: &str, mut condition: impl FnMut() -> bool) {
    mainstay_lab::wait_until(what, Duration::from_secs(10), || Ok(condition())).expect("in time");
}

/// A directory that goes away with the value.
pub(crate) struct Temp(PathBuf);

impl Temp {
    pub(crate) fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("mainstay-test-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    pub(crate) fn file(&self, name: &str, content: &str) -> String {
        let path = self.path(name);
        std::fs::write(&path, content).unwrap();
        path.to_str().unwrap().to_owned()
    }
}

impl Drop for Temp {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all::<&Path>(&self.0);
    }
}
