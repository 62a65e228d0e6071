//! The role as the supervisor meets it: over a channel, against real servers and processes on this host.

mod edge;
mod servers;

use std::net::{IpAddr, Ipv4Addr, TcpListener};
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::process::Command as Process;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use mainstay_config::plan::{
    Check, Command, HttpCheck, Mail, Notify, NotifyHow, NotifyOn, Plan, Probe, Restart,
};
use mainstay_core::election::Verdict;
use mainstay_core::name::{CommandId, VipId};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use self::servers::{http, https, smtp};
use crate::exec::tests::{Temp, plan, until};
use crate::ipc::{Channel, FromProbe, Notice, Outcome, Run, ToProbe};
use crate::notify::tests::{event, vip};
use crate::status::{Event, ProbeStatus};

#[test]
fn a_listener_is_up_and_down_as_soon_as_it_has_gone() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let target = listener.local_addr().unwrap().to_string();
    let role = Role::with(vec![probe("db", Check::Tcp { target })]);
    role.verdict("db", Verdict::Up);
    drop(listener);
    let status = role.verdict("db", Verdict::Down);
    assert!(status.detail.contains("refused"), "{}", status.detail);
}

#[test]
fn names_are_looked_up_and_unknown_ones_are_down() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let good = probe("good", Check::Tcp { target: format!("localhost:{port}") });
    let bad = probe("bad", Check::Tcp { target: format!("no-such-host.invalid:{port}") });
    let role = Role::with(vec![slow(good), slow(bad)]);
    let wanted = [("good", Verdict::Up), ("bad", Verdict::Down)];
    role.verdicts(&wanted);
}

#[test]
fn pages_are_judged_by_status_body_and_time() {
    let server = http();
    let page = |path: &str| HttpCheck { url: format!("http://{server}{path}"), ..page() };
    let hangs = Probe { timeout: Duration::from_millis(200), ..probe("hangs", Check::Http(page("/hang"))) };
    let fits = HttpCheck { body: Some("state: (ready|warm)".into()), ..page("/body") };
    let fits_not = HttpCheck { body: Some("^drained$".into()), ..page("/body") };
    let hosted = HttpCheck {
        host: Some("iam.example.com".into()),
        body: Some("host=iam.example.com".into()),
        ..page("/host")
    };
    let head = HttpCheck { method: "HEAD".into(), ..page("/ok") };
    let unavailable = HttpCheck { status: vec![(500, 599)], ..page("/503") };
    let broken = HttpCheck { url: "http://".into(), ..page("/") };
    let all: [(&str, HttpCheck, Verdict); 10] = [
        ("ok", page("/ok"), Verdict::Up),
        ("503", page("/503"), Verdict::Down),
        ("503-wanted", unavailable, Verdict::Up),
        ("redirect", page("/302"), Verdict::Up),
        ("fits", fits, Verdict::Up),
        ("fits-not", fits_not, Verdict::Down),
        ("host", hosted, Verdict::Up),
        ("head", head, Verdict::Up),
        ("cut", page("/cut"), Verdict::Down),
        ("broken", broken, Verdict::Down),
    ];
    let mut probes: Vec<Probe> =
        all.iter().map(|(name, check, _)| slow(probe(name, Check::Http(check.clone())))).collect();
    probes.push(hangs);
    let mut wanted: Vec<_> = all.iter().map(|(name, _, verdict)| (*name, *verdict)).collect();
    wanted.push(("hangs", Verdict::Down));
    Role::with(probes).verdicts(&wanted);
}

#[test]
fn certificates_are_verified_unless_told_not_to() {
    let temp = Temp::new();
    let server = https();
    let ca = PathBuf::from(temp.file("ca.pem", &server.ca));
    let url = |host: &str| format!("https://{host}:{}/ok", server.port);
    let check = |url: String, ca: Option<&PathBuf>, insecure| {
        Check::Http(HttpCheck { url, ca: ca.cloned(), insecure, ..page() })
    };
    let by_name = HttpCheck {
        url: url("127.0.0.1"),
        ca: Some(ca.clone()),
        host: Some("shop.example.com".into()),
        server_name: Some("localhost".into()),
        ..page()
    };
    let by_host =
        HttpCheck { url: url("127.0.0.1"), ca: Some(ca.clone()), host: Some("localhost".into()), ..page() };
    let role = Role::with(vec![
        slow(probe("trusted", check(url("localhost"), Some(&ca), false))),
        slow(probe("stranger", check(url("localhost"), None, false))),
        slow(probe("wrong-name", check(url("127.0.0.1"), Some(&ca), false))),
        slow(probe("named", Check::Http(by_host))),
        slow(probe("server-name", Check::Http(by_name))),
        slow(probe("insecure", check(url("127.0.0.1"), None, true))),
        slow(probe("no-ca", check(url("localhost"), Some(&temp.path("missing")), false))),
    ]);
    role.verdicts(&[
        ("trusted", Verdict::Up),
        ("stranger", Verdict::Down),
        ("wrong-name", Verdict::Down),
        ("named", Verdict::Up),
        ("server-name", Verdict::Up),
        ("insecure", Verdict::Up),
        ("no-ca", Verdict::Down),
    ]);
}

#[test]
fn files_and_interfaces_are_looked_at_and_pings_answered_or_explained() {
    let temp = Temp::new();
    let path = PathBuf::from(temp.file("state", "ready\n"));
    let up = Check::File { path: path.clone(), content: Some("ready".into()) };
    let target = IpAddr::V4(Ipv4Addr::LOCALHOST);
    let role = Role::with(vec![
        probe("file", up),
        slow(probe("no-interface", Check::Interface { name: "mainstay-no".into() })),
        slow(probe("ping", Check::Ping { target })),
    ]);
    role.verdicts(&[("file", Verdict::Up), ("no-interface", Verdict::Down)]);
    std::fs::write(path, "drained\n").unwrap();
    role.verdict("file", Verdict::Down);
    let ping = loop {
        if let FromProbe::Verdict(status) = role.next()
            && status.name == "ping"
            && status.verdict != Verdict::Pending
        {
            break status;
        }
    };
    let explained = ping.verdict == Verdict::Down && ping.detail.contains("CAP_NET_RAW");
    assert!(ping.verdict == Verdict::Up || explained, "{}", ping.detail);
}

#[test]
fn the_death_of_a_process_is_told_at_once_and_not_at_the_next_interval() {
    let mut child = Process::new("sleep").arg("7321").spawn().unwrap();
    let check = Check::Process { name: "sleep".into(), args: Some(vec!["7321".into()]), min: 1, max: None };
    let hour = Probe { interval: Duration::from_secs(3600), ..probe("sleep", check) };
    let role = Role::with(vec![hour]);
    role.verdict("sleep", Verdict::Up);
    child.kill().unwrap();
    let killed = Instant::now();
    role.verdict("sleep", Verdict::Down);
    assert!(killed.elapsed() < Duration::from_secs(5), "{:?}, far below the interval", killed.elapsed());
    child.wait().unwrap();
}

#[test]
fn a_command_is_asked_for_and_its_outcome_decides() {
    let role = Role::with(vec![probe("script", Check::Exec { command: CommandId(0) })]);
    let run = role.run();
    assert_eq!(run.command, CommandId(0));
    assert!(run.env.contains(&("MAINSTAY_PROBE".into(), "script".into())));
    role.answer(&run, Some(0), "fine");
    assert_eq!(role.verdict("script", Verdict::Up).detail, "fine");
    let run = role.run();
    role.answer(&run, Some(2), "broken");
    assert_eq!(role.verdict("script", Verdict::Down).detail, "exit code 2: broken");
}

#[test]
fn an_outcome_that_never_comes_says_nothing_of_the_service() {
    let script = probe("script", Check::Exec { command: CommandId(0) });
    let role = Role::with(vec![Probe { timeout: Duration::from_millis(100), ..script }]);
    let run = role.run();
    role.answer(&run, Some(0), "fine");
    role.verdict("script", Verdict::Up);
    role.verdict("script", Verdict::Unknown);
}

#[test]
fn a_service_is_restarted_before_its_verdict_falls_and_what_was_tried_is_told() {
    let restart = Restart { command: CommandId(1), tries: 1, wait: Duration::from_millis(400) };
    let check = Check::Exec { command: CommandId(0) };
    let role = Role::with(vec![Probe { restart: Some(restart), ..probe("nginx", check) }]);
    let mut seen = Vec::new();
    let mut healthy = true;
    let down = loop {
        match role.next() {
            FromProbe::Run(run) if run.command == CommandId(1) => {
                seen.push("restart");
                role.answer(&run, Some(0), "");
            }
            FromProbe::Run(run) => {
                role.answer(&run, Some(i32::from(!healthy)), "");
                healthy = false;
            }
            FromProbe::Verdict(status) if status.verdict == Verdict::Down => break status,
            FromProbe::Verdict(_) | FromProbe::Ready => {}
            FromProbe::Event(event) if event.to.is_none() => seen.push("event"),
            FromProbe::Event(_) => {}
        }
    };
    assert_eq!(seen.iter().filter(|what| **what == "restart").count(), 1);
    assert!(seen.iter().filter(|what| **what == "event").count() >= 2, "tried, and how it ended: {seen:?}");
    assert_eq!(down.restarts, 1);
}

#[test]
fn a_reload_keeps_what_did_not_change_and_carries_the_verdict_of_what_did() {
    let server = http();
    let check = |path: &str| Check::Http(HttpCheck { url: format!("http://{server}{path}"), ..page() });
    let (kept, changed) = (probe("kept", check("/ok")), probe("changed", check("/ok")));
    let role = Role::with(vec![changed.clone(), kept.clone()]);
    role.verdicts(&[("kept", Verdict::Up), ("changed", Verdict::Up)]);
    let since = role.verdict("kept", Verdict::Up).since;
    let changed = Probe { check: check("/503"), fall: 3, ..changed };
    role.send(&ToProbe::Plan(Box::new(Plan { probes: vec![kept, changed], ..plan() })));
    let failures = loop {
        let FromProbe::Verdict(status) = role.next() else { continue };
        if status.name == "kept" {
            assert_eq!((status.verdict, status.since), (Verdict::Up, since));
        } else if status.verdict == Verdict::Down {
            break status.failed;
        } else {
            assert_eq!(status.verdict, Verdict::Up, "a reload alone moves nothing");
        }
    };
    assert_eq!(failures, 3);
}

#[test]
fn the_age_of_a_verdict_is_renewed_without_a_change() {
    let server = http();
    let check = Check::Http(HttpCheck { url: format!("http://{server}/ok"), ..page() });
    let role = Role::with(vec![probe("web", check)]);
    let first = role.verdict("web", Verdict::Up);
    let second = role.verdict("web", Verdict::Up);
    assert!(second.checked > first.checked && second.passed > first.passed);
    assert_eq!(second.since, first.since);
}

#[test]
fn a_supervisor_that_listens_late_hears_the_newest_verdict() {
    let temp = Temp::new();
    let path = PathBuf::from(temp.file("state", "ready\n"));
    let check = Check::File { path: path.clone(), content: Some("ready".into()) };
    let probes: Vec<Probe> = (0..300).map(|n| probe(&format!("p{n}"), check.clone())).collect();
    let role = Role::with(probes);
    std::fs::write(&path, "drained\n").unwrap();
    let full = |role: &Role| rustix::io::ioctl_fionread(&role.channel).is_ok_and(|bytes| bytes > 0);
    until("messages wait", || full(&role));
    let names: Vec<String> = (0..300).map(|n| format!("p{n}")).collect();
    role.verdicts(&names.iter().map(|name| (name.as_str(), Verdict::Down)).collect::<Vec<_>>());
}

#[test]
fn a_webhook_is_tried_again_until_it_is_taken() {
    let (address, posts) = servers::flaky(1);
    let role = Role::telling(hook(format!("http://{address}/secret-path"), 3), None);
    role.notice();
    assert_eq!(posts.recv_timeout(Duration::from_secs(10)).unwrap().0, 500);
    let (status, body) = posts.recv_timeout(Duration::from_secs(10)).unwrap();
    let body: serde_json::Value = serde_json::from_str(&body).unwrap();
    assert_eq!(status, 200);
    assert_eq!(
        (&body["vip"], &body["on"], &body["reason"]),
        (&"front".into(), &"active".into(), &"silence".into())
    );
    assert_eq!(body["epoch"], 7);
}

#[test]
fn a_webhook_that_nobody_takes_is_told_once_without_its_secret() {
    let role = Role::telling(hook("http://127.0.0.1:1/secret-path".into(), 1), None);
    role.notice();
    let event = role.event("notify");
    assert!(
        event.message.contains("tried 2 times") && event.message.contains("127.0.0.1:1"),
        "{}",
        event.message
    );
    assert!(!event.message.contains("secret"), "{}", event.message);
    assert_eq!(event.about, "front");
}

#[test]
fn a_mail_reaches_every_recipient_with_state_and_reason() {
    let (address, mails) = smtp();
    let mail = Mail {
        smtp: address,
        helo: None,
        from: "mainstay@example.com".into(),
        to: vec!["ops@example.com".into(), "boss@example.com".into()],
        timeout: Duration::from_secs(10),
    };
    let role = Role::telling(NotifyHow::Mail, Some(mail));
    role.notice();
    let (to, text) = mails.recv_timeout(Duration::from_secs(10)).unwrap();
    assert_eq!(to, ["<ops@example.com>", "<boss@example.com>"]);
    assert!(text.contains("Subject: [web-1] vip front: entering ACTIVE"), "{text}");
    assert!(text.contains("reason: silence") && text.contains("epoch: 7"), "{text}");
}

#[test]
fn when_the_supervisor_leaves_the_role_ends_though_checks_hang() {
    let server = http();
    let check = Check::Http(HttpCheck { url: format!("http://{server}/hang"), ..page() });
    let role = Role::with(vec![Probe { timeout: Duration::from_secs(3600), ..probe("web", check) }]);
    let Role { channel, thread } = role;
    drop(channel);
    thread.join().unwrap().unwrap();
}

struct Role {
    channel: Channel,
    thread: JoinHandle<anyhow::Result<()>>,
}

impl Role {
    fn with(probes: Vec<Probe>) -> Self {
        let command =
            Command { argv: vec!["/bin/true".into()], user: None, timeout: Duration::from_millis(300) };
        Self::start(Plan { probes, commands: vec![command.clone(), command], ..plan() })
    }

    /// A role whose vip has one notify entry.
    fn telling(how: NotifyHow, mail: Option<Mail>) -> Self {
        let notify = vec![Notify { on: Vec::new(), how }];
        Self::start(Plan { vips: vec![vip(notify)], mail, ..plan() })
    }

    fn start(plan: Plan) -> Self {
        let (channel, theirs) = Channel::pair().unwrap();
        let role = Self { channel, thread: std::thread::spawn(move || super::run(theirs)) };
        role.send(&ToProbe::Plan(Box::new(plan)));
        role
    }

    fn send(&self, message: &ToProbe) {
        self.channel.send(message).unwrap();
    }

    fn next(&self) -> FromProbe {
        let limit = Timespec { tv_sec: 20, tv_nsec: 0 };
        let ready = poll(&mut [PollFd::from_borrowed_fd(self.channel.as_fd(), PollFlags::IN)], Some(&limit));
        assert_eq!(ready, Ok(1), "waited in vain for a message");
        self.channel.receive().unwrap().unwrap().message
    }

    fn verdict(&self, name: &str, verdict: Verdict) -> ProbeStatus {
        loop {
            if let FromProbe::Verdict(status) = self.next()
                && status.name == name
                && status.verdict == verdict
            {
                return status;
            }
        }
    }

    /// Waits until all of these stand; none of them may have been told otherwise but as pending.
    fn verdicts(&self, wanted: &[(&str, Verdict)]) {
        let mut open: Vec<_> = wanted.to_vec();
        while !open.is_empty() {
            let FromProbe::Verdict(status) = self.next() else { continue };
            open.retain(|(name, verdict)| *name != status.name || *verdict != status.verdict);
            let is_wrong = |(name, verdict): &&(&str, Verdict)| {
                *name == status.name && *verdict == Verdict::Up && status.verdict == Verdict::Down
            };
            assert_eq!(open.iter().find(is_wrong), None, "{}", status.detail);
        }
    }

    fn run(&self) -> Run {
        loop {
            if let FromProbe::Run(run) = self.next() {
                return run;
            }
        }
    }

    fn answer(&self, run: &Run, code: Option<i32>, output: &str) {
        self.send(&ToProbe::Ran(Outcome {
            lost: false,
            id: run.id,
            asker: run.asker,
            command: run.command,
            code,
            signal: None,
            timed_out: false,
            error: None,
            output: output.into(),
            took_ms: 1,
        }));
    }

    fn notice(&self) {
        self.send(&ToProbe::Notice(Notice {
            vip: Some(VipId(0)),
            group: None,
            probe: None,
            notify: 0,
            on: NotifyOn::Active,
            event: event(),
        }));
    }

    fn event(&self, kind: &str) -> Event {
        loop {
            if let FromProbe::Event(event) = self.next()
                && event.kind == kind
            {
                return event;
            }
        }
    }
}

fn probe(name: &str, check: Check) -> Probe {
    Probe {
        name: name.into(),
        check,
        interval: Duration::from_millis(100),
        timeout: Duration::from_secs(2),
        fall: 1,
        rise: 1,
        initial: None,
        restart: None,
        through: None,
        notify: Vec::new(),
    }
}

/// Checked rarely enough for a busy machine, with all the time that it may need.
fn slow(probe: Probe) -> Probe {
    Probe { interval: Duration::from_secs(1), timeout: Duration::from_secs(15), ..probe }
}

fn page() -> HttpCheck {
    HttpCheck {
        url: String::new(),
        method: "GET".into(),
        host: None,
        server_name: None,
        status: vec![(200, 399)],
        body: None,
        ca: None,
        insecure: false,
    }
}

fn hook(url: String, retries: u8) -> NotifyHow {
    NotifyHow::Webhook { url, headers: Vec::new(), timeout: Duration::from_secs(5), retries }
}
