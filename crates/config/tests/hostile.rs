//! Whatever the text is, reading it ends soon and without a panic.

#![allow(clippy::disallowed_methods, reason = "a test measures; no vip depends on its clock")]

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use mainstay_config::{Checks, Loaded, Report, fmt, parse_str};

const TEXT: &str = include_str!("../../../examples/iam-nginx/node-1.toml");
const EDGE: &str = include_str!("../../../examples/edge/web-1.toml");

fn parse(text: &str) -> Result<Loaded, Report> {
    parse_str("t.toml", text, &|name| Some(name.to_owned()), Checks::NONE)
}

fn read(text: &str) -> String {
    match parse(text) {
        Ok(loaded) => format!("{loaded:?}"),
        Err(report) => format!("{report} {}", report.coloured()),
    }
}

/// Formatting twice is formatting once, and what was meant stays.
fn assert_formatted(text: &str) {
    let Ok(once) = fmt("a file", text) else { return };
    assert_eq!(fmt("a file", &once).as_deref(), Ok(once.as_str()), "formatted from\n{text}");
    match (parse(text), parse(&once)) {
        (Ok(before), Ok(after)) => assert_eq!(before.plan, after.plan),
        (Err(_), Err(_)) => {}
        (before, after) => panic!("{before:?} became {after:?} for\n{text}"),
    }
}

#[test]
fn a_text_cut_or_changed_anywhere_is_read_or_refused() {
    cut_and_changed(TEXT, 1);
}

#[test]
fn an_edge_cut_or_changed_is_read_or_refused() {
    cut_and_changed(EDGE, 5);
}

/// Cuts and changes the text at each `step`th byte.
fn cut_and_changed(whole: &str, step: usize) {
    let strange = [
        "\"",
        "[",
        "]",
        "{",
        "}",
        "=",
        "#",
        "\n",
        "\0",
        "é",
        "${",
        "-",
        "'''",
        "\u{202e}",
        "\t",
        "9999999999999",
    ];
    for at in (0..whole.len()).step_by(step).filter(|at| whole.is_char_boundary(*at)) {
        let piece = strange[at % strange.len()];
        let (before, after) = whole.split_at(at);
        let replaced = format!("{before}{piece}{}", &after[1..]);
        for text in [before.to_owned(), format!("{before}{piece}{after}"), replaced] {
            read(&text);
            assert_formatted(&text);
        }
    }
}

/// A text of nearly the largest size, made of one piece.
fn full_of(piece: impl Fn(usize) -> String) -> String {
    let mut text = String::new();
    for nth in 0.. {
        let piece = piece(nth);
        if text.len() + piece.len() > 1024 * 1024 {
            break;
        }
        text.push_str(&piece);
    }
    text
}

#[test]
fn the_largest_texts_are_read_in_seconds() {
    let vip = |n: usize| {
        let (a, b) = (n / 250, n % 250 + 1);
        format!(
            "[[vip]]\nname=\"v{n}\"\naddrs=[\"10.0.{a}.{b}\"]\ninterface=\"e{n}\"\nvrid=1\nrequires=[\"x{n}\"]\n"
        )
    };
    let one_line = format!("a=[{}]\n", full_of(|n| format!("{n},")).split_at(900_000).0);
    let values = full_of(|n| format!("{{regex='\\w+x{n}',to=''}},")).split_at(1_000_000).0.to_owned();
    let texts = [
        full_of(|n| format!("a{n}=1\n")),
        full_of(vip),
        full_of(|n| format!("[[probe]]\nname=\"p{n}\"\nhttp=\"http://h/\"\nbody=\"(a{{99}}){{99}}\"\n")),
        full_of(|n| format!("[[route]]\npath_regex='(a{{99}}){{99}}{n}'\nanswer={{}}\n")),
        full_of(|_| "[[route]]\nanswer={}\n".to_owned()),
        full_of(|n| format!("[[listener]]\nname='{n}'\nbind='unix:/{n}'\n[[route]]\nanswer={{}}\n")),
        full_of(|n| format!("[[map]]\nname='m{n}'\nfrom='{{m{}}}'\nvalues=[]\n", n + 1)),
        full_of(|n| format!("[[pool]]\nname='{n}'\nbackends=['a:1','b:1']\nprobe={{tcp=true}}\n")),
        format!("[[map]]\nname='m'\nfrom='{{uri}}'\nvalues=[{}]", &values[..values.rfind("{regex").unwrap()]),
        full_of(|n| format!("[[probe]]\nname=\"p\"\nexec=[\"/bin/{n}\"]\n")),
        full_of(|_| "[".to_owned()),
        full_of(|_| "a={b=[".to_owned()),
        full_of(|_| "=\n".to_owned()),
        full_of(|_| "a.".to_owned()),
        full_of(|_| "\"".to_owned()),
        one_line,
    ];
    for text in texts {
        let start = Instant::now();
        let shown = read(&text);
        let _ = fmt("a file", &text);
        let took = start.elapsed();
        let head: String = text.chars().take(40).collect();
        assert!(took < Duration::from_secs(20), "{head:?} took {took:?}");
        assert!(shown.len() < 1024 * 1024 * 64);
    }
}

#[test]
fn deep_nesting_and_too_much_of_anything_are_refused() {
    let deep = format!("a = {}1{}", "[".repeat(100_000), "]".repeat(100_000));
    assert!(read(&deep).contains("error"));
    let large = "#".repeat(1024 * 1024 + 1);
    assert!(read(&large).contains("the file is too large"));
    let mut many = String::new();
    for n in 0..4097 {
        let (a, b) = (n / 250, n % 250 + 1);
        let vip = format!("[[vip]]\nname=\"v{n}\"\naddrs=[\"10.0.{a}.{b}\"]\ninterface=\"e{a}\"\nvrid={b}\n");
        writeln!(many, "{vip}").expect("a String takes everything");
    }
    assert!(read(&many).contains("more than 4096 vips"));
}

#[test]
fn a_pipe_in_place_of_a_file_is_refused_and_not_waited_for() {
    let dir = std::env::temp_dir().join(format!("mainstay-pipe-{}", std::process::id()));
    std::fs::create_dir_all(&dir).unwrap();
    let pipe = dir.join("pipe");
    let made = std::process::Command::new("mkfifo").arg(&pipe).status().unwrap();
    assert!(made.success() || pipe.exists());
    let name = pipe.display();
    let vip =
        "[[vip]]\nname = \"v\"\naddrs = [\"10.0.0.9\"]\ninterface = \"eth0\"\nvrid = 1\nrequires = [\"p\"]\n";
    let probe = format!("[[probe]]\nname = \"p\"\nhttp = \"https://h/\"\nca = \"{name}\"\n");
    let checks = Checks { files: true, users: false };
    let report = parse_str("t.toml", &format!("{vip}{probe}"), &|_| None, checks).unwrap_err();
    assert!(report.to_string().contains("not a regular file"), "{report}");
    let import = mainstay_config::keepalived::import(&pipe, &mainstay_config::keepalived::Disk, None);
    let import = import.findings;
    assert!(format!("{import:?}").contains("not a regular file"), "{import:?}");
    std::fs::remove_dir_all(&dir).unwrap();
}

#[test]
fn what_a_terminal_would_obey_is_not_repeated() {
    let report = parse("[node]\nid = \"\u{1b}]0;x\u{7}\nbo\u{1b}[31mgus = 1\n").unwrap_err();
    assert!(!report.to_string().contains('\u{1b}'), "{report}");
    let file = std::env::temp_dir().join(format!("mainstay-escape-{}", std::process::id()));
    std::fs::write(&file, "vrrp_instance \"\u{1b}]0;x\nbogus\u{1b}[2J x\n").unwrap();
    let import = mainstay_config::keepalived::import(&file, &mainstay_config::keepalived::Disk, None);
    std::fs::remove_file(&file).unwrap();
    assert!(import.findings.len() > 1);
    assert!(import.findings.iter().all(|finding| !finding.to_string().contains('\u{1b}')));
}
