//! Rules on a Rust file's shape: chapter head, length, unwrap, sleeps, bare ignores, unsafe, core's purity.

use super::Fault;
use super::source::{Source, close_of};

/// Lines of a file before its tests.
const FILE_LINES: usize = 600;

/// Lines of a function, from `fn` to its closing brace.
const FUNCTION_LINES: usize = 70;

/// Words that core may not say: it has no clock, no chance and no I/O.
const IMPURE: [&str; 16] = [
    "tokio",
    "Instant",
    "SystemTime",
    "rand",
    "getrandom",
    "TcpStream",
    "TcpListener",
    "UdpSocket",
    "UnixStream",
    "UnixListener",
    "UnixDatagram",
    "File",
    "println",
    "eprintln",
    "libc",
    "rustix",
];

/// Modules of std that core may not name.
const IMPURE_STD: [&str; 6] = ["fs", "process", "thread", "env", "io", "os"];

/// Every rule of this chapter.
pub(super) fn check(source: &Source) -> Vec<Fault> {
    let mut faults = Vec::new();
    if !source.text.starts_with("//!") {
        faults.push(Fault::new(&source.path, 1, "the first line is not `//! ...`: say what this file is"));
    }
    let lines = source.lines_before_tests();
    if lines > FILE_LINES {
        let says = format!("{lines} lines before the tests, at most {FILE_LINES}: split it by meaning");
        faults.push(Fault::new(&source.path, 0, says));
    }
    faults.extend(calls(source));
    faults.extend(functions(source));
    if source.krate() == "core" {
        faults.extend(impure(source));
    }
    faults
}

fn calls(source: &Source) -> Vec<Fault> {
    let mut faults = Vec::new();
    let mut fault = |at: usize, says: &str| faults.push(Fault::new(&source.path, source.line(at), says));
    for (at, word) in source.words() {
        let next = source.after(at + word.len());
        match word {
            "unwrap" if next.starts_with("()") && source.code[..at].ends_with('.') && !source.in_test(at) => {
                fault(at, "unwrap() outside tests: use `expect(\"why it cannot fail\")` or return the error");
            }
            "sleep" if next.starts_with('(') && source.in_test(at) => {
                fault(at, "a sleep in a test: wait for the condition");
            }
            "ignore" if next.starts_with(']') && source.code[..at].ends_with("#[") => {
                fault(at, "a bare #[ignore]: say why, `#[ignore = \"...\"]`");
            }
            "unsafe" if source.krate() != "sys" => {
                fault(at, "unsafe lives in crates/sys alone");
            }
            _ => {}
        }
    }
    faults
}

fn functions(source: &Source) -> Vec<Fault> {
    let mut faults = Vec::new();
    for (at, _) in source.words().filter(|(_, word)| *word == "fn") {
        let Some(name) = source.after(at + 2).split(|c: char| c != '_' && !c.is_alphanumeric()).next() else {
            continue;
        };
        let Some(open) = body_of(&source.code, at) else { continue };
        let lines = source.line(close_of(&source.code, open) - 1) + 1 - source.line(at);
        if !name.is_empty() && lines > FUNCTION_LINES {
            let says =
                format!("fn {name} has {lines} lines, at most {FUNCTION_LINES}: a function fits a screen");
            faults.push(Fault::new(&source.path, source.line(at), says));
        }
    }
    faults
}

/// The opening brace of the function whose `fn` stands here; none for a declaration or a function type.
fn body_of(code: &str, at: usize) -> Option<usize> {
    let mut depth = 0_i32;
    for (n, byte) in code.bytes().enumerate().skip(at) {
        match byte {
            b'(' | b'[' => depth += 1,
            b')' | b']' => depth -= 1,
            b'{' if depth == 0 => return Some(n),
            b';' | b',' | b'=' if depth == 0 && !code[n..].starts_with("=>") => return None,
            _ => {}
        }
        if depth < 0 {
            return None;
        }
    }
    None
}

fn impure(source: &Source) -> Vec<Fault> {
    let mut faults = Vec::new();
    for (at, word) in source.words().filter(|(at, _)| !source.in_test(*at)) {
        let of_std = IMPURE_STD.contains(&word) && source.code[..at].ends_with("std::");
        if of_std || IMPURE.contains(&word) {
            let says = format!("`{word}` in core, which has no clock, no chance and no I/O");
            faults.push(Fault::new(&source.path, source.line(at), says));
        }
    }
    faults
}

#[cfg(test)]
mod tests {
    use super::*;

    fn faults(path: &str, text: &str) -> Vec<(usize, String)> {
        check(&Source::new(path, text)).into_iter().map(|f| (f.line, f.says)).collect()
    }

    fn one(path: &str, text: &str, line: usize, says: &str) {
        let got = faults(path, text);
        assert!(got.len() == 1 && got[0].0 == line && got[0].1.contains(says), "{says}: {got:?}");
    }

    #[test]
    fn a_file_opens_with_what_it_is() {
        one("crates/x/src/a.rs", "use std::fmt;\n", 1, "//!");
    }

    #[test]
    fn a_file_ends_before_600_lines_tests_not_counted() {
        let long = format!("//! A.\n{}", "const A: u8 = 1;\n".repeat(600));
        one("crates/x/src/a.rs", &long, 0, "601 lines");
        let tested = format!("//! A.\n#[cfg(test)]\nmod tests {{\n{}}}\n", "const A: u8 = 1;\n".repeat(600));
        assert_eq!(faults("crates/x/src/a.rs", &tested), []);
    }

    #[test]
    fn unwrap_is_for_tests() {
        one("crates/x/src/a.rs", "//! A.\nfn a() { b().unwrap(); }\n", 2, "unwrap()");
        assert_eq!(faults("crates/x/tests/a.rs", "//! A.\nfn a() { b().unwrap(); }\n"), []);
        assert_eq!(faults("crates/x/src/a.rs", "//! A.\n// x.unwrap()\nfn a() { b().unwrap_or(1); }\n"), []);
    }

    #[test]
    fn a_test_does_not_sleep() {
        one("crates/x/tests/a.rs", "//! A.\nfn a() { std::thread::sleep(T); }\n", 2, "sleep");
        assert_eq!(faults("crates/x/src/a.rs", "//! A.\nfn a() { std::thread::sleep(T); }\n"), []);
    }

    #[test]
    fn an_ignored_test_says_why() {
        one("crates/x/tests/a.rs", "//! A.\n#[test]\n#[ignore]\nfn a() {}\n", 3, "#[ignore");
        assert_eq!(faults("crates/x/tests/a.rs", "//! A.\n#[ignore = \"wants IPVS\"]\nfn a() {}\n"), []);
    }

    #[test]
    fn unsafe_lives_in_sys() {
        one("crates/proxy/src/a.rs", "//! A.\nfn a() { unsafe { b() } }\n", 2, "unsafe");
        assert_eq!(faults("crates/sys/src/a.rs", "//! A.\nfn a() { unsafe { b() } }\n"), []);
        assert_eq!(faults("crates/x/src/a.rs", "//! A.\n#![deny(unsafe_code)]\n"), []);
    }

    #[test]
    fn core_asks_no_clock_and_opens_nothing() {
        one("crates/core/src/a.rs", "//! A.\nuse std::time::{Duration, Instant};\n", 2, "`Instant` in core");
        one("crates/core/src/a.rs", "//! A.\nuse std::fs::read;\n", 2, "`fs` in core");
        one("crates/core/src/a.rs", "//! A.\nuse std::net::{IpAddr, UdpSocket};\n", 2, "`UdpSocket`");
        assert_eq!(faults("crates/core/src/a.rs", "//! A.\nuse std::net::IpAddr;\nuse core::fmt;\n"), []);
        assert_eq!(faults("crates/sys/src/a.rs", "//! A.\nuse std::time::Instant;\n"), []);
    }

    #[test]
    fn a_function_fits_a_screen() {
        let body = "    b();\n".repeat(69);
        one(
            "crates/x/src/a.rs",
            &format!("//! A.\nfn a<T>(x: [u8; 3]) -> T {{\n{body}}}\n"),
            2,
            "fn a has 71",
        );
        let types = format!("//! A.\nstruct A {{\n    f: fn(u8) -> u8,\n{}}}\n", "    b: u8,\n".repeat(80));
        assert_eq!(faults("crates/x/src/a.rs", &types), []);
    }
}
