//! Lines, from a request to a file.

use std::fs;
use std::io::Read as _;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::rc::Rc;

use mainstay_config::plan::edge::{Edge, LogFormat, LogUse, Route, Template};

use super::*;
use crate::exchange::Attempt;
use crate::fixture::{exchange, render, route, snapshot, template};

const SOON: Duration = Duration::from_secs(20);

fn log(to: LogTarget, format: LogFormat) -> AccessLog {
    AccessLog { name: "main".to_owned(), to, format }
}

fn configured(log: AccessLog, when: Option<Template>) -> Snapshot {
    let logs = vec![LogUse { log: LogId(0), when }];
    snapshot(Edge { logs: vec![log], routes: vec![Route { logs, ..route() }], ..Edge::default() })
}

fn append(path: &Path) -> OwnedFd {
    fs::File::options().create(true).append(true).open(path).unwrap().into()
}

/// What a log of this format says of these requests.
fn written(format: LogFormat, when: Option<Template>, exchanges: &[Exchange]) -> String {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("access.log");
    let target = LogTarget::File(path.clone());
    let writers = Arc::new(Writers::default());
    writers.open(&target, append(&path)).unwrap();
    let snapshot = configured(log(target, format), when);
    let logs = Logs::new(Arc::clone(&writers));
    for exchange in exchanges {
        logs.write(&snapshot, exchange, &render);
    }
    logs.flush();
    assert!(writers.settle(SOON));
    assert_eq!(writers.dropped(), 0);
    fs::read_to_string(path).unwrap()
}

fn done(head: &str) -> Exchange {
    let mut done = exchange(head);
    (done.status, done.body_sent, done.sent, done.received, done.complete) = (200, 6, 240, 100, true);
    done
}

#[test]
fn the_combined_format_is_nginxs() {
    let head = "GET /a%20b?x=\"y HTTP/1.1\nAuthorization: Basic YW5uOng=\nReferer: http://r/\u{e9}\n\
        User-Agent: a\"b\\c\n";
    let mut unix = done("GET / HTTP/2.0\n");
    (unix.client, unix.status) = (None, 0);
    let lines = written(LogFormat::Combined, None, &[done(head), unix]);
    let mut lines = lines.lines();
    let line = lines.next().unwrap();
    let (before, rest) = line.split_once(" [").unwrap();
    let (time, after) = rest.split_once("] ").unwrap();
    assert_eq!(before, "192.0.2.1 - ann");
    assert_eq!(time.len(), "20/Nov/2026:12:00:00 +0000".len());
    let expected = r#""GET /a%20b?x=\x22y HTTP/1.1" 200 6 "http://r/\xC3\xA9" "a\x22b\x5Cc""#;
    assert_eq!(after, expected);
    let line = lines.next().unwrap();
    assert!(
        line.starts_with("unix: - - [") && line.ends_with(r#"] "GET / HTTP/2.0" 000 6 "-" "-""#),
        "{line}"
    );
}

#[test]
fn the_json_format_is_one_object_to_a_line() {
    let mut told = done("GET /a?b=\"c HTTP/1.1\nHost: shop.example:81\nUser-Agent: x\u{e9}\n");
    told.id = Some(*b"0123456789abcdef0123456789abcdef");
    told.attempts = vec![
        Attempt {
            addr: "10.0.0.1:80".into(),
            status: None,
            connect: None,
            header: None,
            total: Some(Duration::from_millis(3)),
        },
        Attempt {
            addr: "unix:/run/b".into(),
            status: Some(200),
            connect: Some(Duration::from_micros(50)),
            header: Some(Duration::from_millis(2)),
            total: Some(Duration::from_secs(61)),
        },
    ];
    let lines = written(LogFormat::Json, None, &[told]);
    let line: serde_json::Value = serde_json::from_str(lines.trim_end()).unwrap();
    for (field, value) in [
        ("request_id", "0123456789abcdef0123456789abcdef".into()),
        ("client", "192.0.2.1".into()),
        ("client_port", 50_000.into()),
        ("route", "all".into()),
        ("method", "GET".into()),
        ("host", "shop.example:81".into()),
        ("target", "/a?b=\"c".into()),
        ("protocol", "HTTP/1.1".into()),
        ("user_agent", "x\u{e9}".into()),
        ("status", 200.into()),
        ("complete", true.into()),
        ("received", 100.into()),
        ("sent", 240.into()),
        ("body_sent", 6.into()),
    ] as [(&str, serde_json::Value); 14]
    {
        assert_eq!(line[field], value, "{field}");
    }
    assert_eq!(line["backends"][0], serde_json::json!({"addr": "10.0.0.1:80", "total": 0.003}));
    assert_eq!(line["backends"][1]["connect"], 0.00005);
    assert_eq!(line["backends"][1]["total"], 61.0);
    assert!(line.get("user").is_none() && line.get("tls").is_none());
}

#[test]
fn a_text_of_ones_own_has_its_values_escaped() {
    let line = template("<{http_x}> <{http_y}> \"{arg_a}\" {remote_addr}");
    let head = "GET /?a=\"\\ HTTP/1.1\nX: tab\tand \u{e9}\n";
    let text = |json_escape| LogFormat::Text { line: line.clone(), json_escape };
    assert_eq!(
        written(text(false), None, &[done(head)]),
        "<tab\\x09and \\xC3\\xA9> <-> \"\\x22\\x5C\" 192.0.2.1\n"
    );
    assert_eq!(written(text(true), None, &[done(head)]), "<tab\\tand \u{e9}> <> \"\\\"\\\\\" 192.0.2.1\n");
}

#[test]
fn a_condition_that_is_empty_or_0_leaves_the_line_out() {
    let all = ["GET /?w=1 HTTP/1.1", "GET /?w=0 HTTP/1.1", "GET / HTTP/1.1", "GET /?w=x HTTP/1.1"].map(done);
    let line = LogFormat::Text { line: template("{args}"), json_escape: false };
    assert_eq!(written(line, Some(template("{arg_w}")), &all), "w=1\nw=x\n");
}

#[test]
fn a_log_that_is_opened_anew_goes_on_in_the_new_place() {
    let dir = tempfile::tempdir().unwrap();
    let (old, new) = (dir.path().join("old"), dir.path().join("new"));
    let target = LogTarget::File(old.clone());
    let writers = Arc::new(Writers::default());
    writers.open(&target, append(&old)).unwrap();
    let snapshot = configured(log(target.clone(), LogFormat::Combined), None);
    let logs = Logs::new(Arc::clone(&writers));
    let say = |text: &[u8]| {
        logs.line(&snapshot, LogId(0), text);
        logs.flush();
        assert!(writers.settle(SOON));
    };
    say(b"one");
    writers.open(&target, append(&new)).unwrap();
    say(b"two");
    assert_eq!(
        (fs::read_to_string(old).unwrap(), fs::read_to_string(new).unwrap()),
        ("one\n".into(), "two\n".into())
    );
    assert_eq!(writers.targets(), [target]);
}

#[test]
fn a_stuck_pipe_holds_nobody_up_and_what_it_loses_is_counted() {
    let (reader, writer) = rustix::pipe::pipe().unwrap();
    let dir = tempfile::tempdir().unwrap();
    let good = LogTarget::File(dir.path().join("good"));
    let writers = Arc::new(Writers::default());
    writers.open(&LogTarget::Stdout, writer).unwrap();
    writers.open(&good, append(&dir.path().join("good"))).unwrap();
    let two = vec![log(LogTarget::Stdout, LogFormat::Combined), log(good, LogFormat::Combined)];
    let snapshot = snapshot(Edge { logs: two, ..Edge::default() });
    let logs = Logs::new(Arc::clone(&writers));
    let long = vec![b'x'; 999];
    for _ in 0..20_000 {
        logs.line(&snapshot, LogId(0), &long);
    }
    logs.line(&snapshot, LogId(1), b"still written");
    logs.flush();
    while fs::read_to_string(dir.path().join("good")).unwrap() != "still written\n" {
        std::thread::yield_now();
    }
    let lost = writers.dropped();
    assert!(lost > 10_000, "{lost}");
    let reading = std::thread::spawn(move || {
        let mut all = String::new();
        fs::File::from(reader).read_to_string(&mut all).unwrap();
        all
    });
    assert!(writers.settle(SOON));
    drop((logs, writers));
    let all = reading.join().unwrap();
    assert_eq!(all.lines().count() as u64 + lost, 20_000);
    assert!(all.lines().all(|line| line.len() == 999));
}

#[test]
fn a_full_disk_or_a_log_that_nobody_opened_is_counted() {
    let writers = Arc::new(Writers::default());
    let full: OwnedFd = fs::File::options().write(true).open("/dev/full").unwrap().into();
    writers.open(&LogTarget::Stdout, full).unwrap();
    let both = vec![
        log(LogTarget::Stdout, LogFormat::Combined),
        log(LogTarget::File("/nowhere".into()), LogFormat::Combined),
    ];
    let snapshot = snapshot(Edge { logs: both, ..Edge::default() });
    let logs = Logs::new(Arc::clone(&writers));
    for n in [0, 0, 1] {
        logs.line(&snapshot, LogId(n), b"x");
    }
    drop(logs);
    assert!(writers.settle(SOON));
    assert_eq!(writers.dropped(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_line_does_not_wait_for_the_next_one() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("log");
    let target = LogTarget::File(path.clone());
    let writers = Arc::new(Writers::default());
    writers.open(&target, append(&path)).unwrap();
    let snapshot = configured(log(target, LogFormat::Combined), None);
    let logs = Rc::new(Logs::new(Arc::clone(&writers)));
    for text in [b"1", b"2", b"3"] {
        logs.line(&snapshot, LogId(0), text);
    }
    let ended = tokio::time::timeout(WAIT * 3, logs.run()).await;
    assert!(ended.is_err(), "it never ends by itself");
    assert!(writers.settle(SOON));
    assert_eq!(fs::read_to_string(path).unwrap(), "1\n2\n3\n");
}

#[test]
fn a_line_is_never_longer_than_it_may_be() {
    let long = vec![b'x'; LONGEST * 2];
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("log");
    let target = LogTarget::File(path.clone());
    let writers = Arc::new(Writers::default());
    writers.open(&target, append(&path)).unwrap();
    let snapshot = configured(log(target, LogFormat::Combined), None);
    let logs = Logs::new(Arc::clone(&writers));
    logs.line(&snapshot, LogId(0), &long);
    logs.line(&snapshot, LogId(0), b"next");
    logs.flush();
    assert!(writers.settle(SOON));
    let lengths: Vec<usize> = fs::read_to_string(path).unwrap().lines().map(str::len).collect();
    assert_eq!(lengths, [LONGEST, 4]);
}
