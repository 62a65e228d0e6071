//! Any text as nginx.conf: importing never panics and ends soon, says the same twice, and whatever was imported
//! without an error loads or is refused by our own loader, never crashes it.

#![no_main]

use std::path::{Path, PathBuf};

use libfuzzer_sys::fuzz_target;
use mainstay_config::nginx::{Files, Options, Part, import};
use mainstay_config::{Checks, parse_str};

const CONF: &str = "/etc/nginx/nginx.conf";
/// Where the input's second half stands, so that includes are reached.
const OTHER: &str = "/etc/nginx/other.conf";

fuzz_target!(|input: &[u8]| {
    let Some((part, text)) = input.split_first() else { return };
    let part = [Part::Main, Part::Http, Part::Stream][usize::from(*part) % 3];
    let text = String::from_utf8_lossy(text);
    let (conf, other) = text.split_once('\0').unwrap_or((&text, ""));
    let files = Two { conf, other };
    let options = Options { part, prefix: None };
    let done = import(Path::new(CONF), &files, &options);
    assert_eq!(done, import(Path::new(CONF), &files, &options));
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

    fn list(&self, dir: &Path) -> Vec<PathBuf> {
        [CONF, OTHER].iter().map(PathBuf::from).filter(|path| path.parent() == Some(dir)).collect()
    }
}
