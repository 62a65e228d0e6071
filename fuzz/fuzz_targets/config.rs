//! Any text is read or refused in bounded time, without a panic; what is read can be formatted and read again.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mainstay_config::{Checks, fmt, parse_str};

fuzz_target!(|text: &str| {
    let env = |_: &str| None;
    let first = parse_str("fuzz.toml", text, &env, Checks::NONE);
    if let Ok(first) = first {
        let formatted = fmt("a file", text).expect("what can be read can be formatted");
        let second = parse_str("fuzz.toml", &formatted, &env, Checks::NONE).expect("what was formatted can be read");
        assert_eq!(first.plan, second.plan, "formatting changes no meaning");
    }
});
