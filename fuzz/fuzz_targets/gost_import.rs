//! Any text as gost's YAML and as its command line: importing never panics and ends soon, says the same twice, and whatever was
//! imported without an error loads or is refused by our own loader, never crashes it.

#![no_main]

use std::path::{Path, PathBuf};

use libfuzzer_sys::fuzz_target;
use mainstay_config::gost::{Files, Options, import, import_line};
use mainstay_config::{Checks, parse_str};

const CONF: &str = "/etc/gost/gost.yaml";
/// Where the input's second half stands, so that files of users and rules are reached.
const OTHER: &str = "/etc/gost/other";

fuzz_target!(|input: &[u8]| {
    let Some((kind, text)) = input.split_first() else { return };
    let text = String::from_utf8_lossy(text);
    let (conf, other) = text.split_once('\0').unwrap_or((&text, ""));
    let files = Two { conf, other };
    let options = Options { dir: PathBuf::from("/etc/gost"), domain: None };
    let done = if kind % 2 == 0 {
        import(Path::new(CONF), &files, &options)
    } else {
        let args: Vec<String> = conf.lines().map(str::to_owned).collect();
        import_line(&args, &files, &options)
    };
    assert!(done.findings.len() <= 1001, "findings are bounded");
    let _ = parse_str("mainstay.toml", &done.toml, &|_| None, Checks::NONE);
});

struct Two<'a> {
    conf: &'a str,
    other: &'a str,
}

impl Files for Two<'_> {
    fn read(&self, path: &Path) -> Result<String, String> {
        match path.to_str() {
            Some(CONF) => Ok(self.conf.to_owned()),
            Some(OTHER) => Ok(self.other.to_owned()),
            _ => Err("no such file".to_owned()),
        }
    }

    fn mode(&self, path: &Path) -> Option<u32> {
        self.read(path).ok().map(|_| 0o644)
    }

    fn list(&self, _: &Path) -> Vec<PathBuf> {
        Vec::new()
    }
}
