//! Importing keepalived.conf: the files that people have, and what is said about them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use mainstay_config::keepalived::{Files, Finding, Import, Severity, import};

const CONF: &str = "/etc/keepalived/keepalived.conf";

#[test]
fn show() {
    for text in [
        include_str!("keepalived/gateway.conf"),
        include_str!("keepalived/trap.conf"),
        include_str!("keepalived/web1-checked.conf"),
        include_str!("keepalived/director1.conf"),
    ] {
        let files =
            Memory::with(text).script("/etc/keepalived/ck_ng.sh", include_str!("keepalived/ck_ng.sh"));
        let done = import(Path::new(CONF), &files);
        println!("{}\n----", done.toml);
        for f in &done.findings {
            println!("{:?} {f}", f.severity);
        }
        println!("=== {}", done.exit_code(false));
    }
}

/// Files that need no disk.
#[derive(Default)]
struct Memory {
    files: BTreeMap<PathBuf, (String, u32)>,
}

impl Memory {
    fn with(conf: &str) -> Memory {
        Memory::default().file(CONF, conf, 0o644)
    }

    fn file(mut self, path: &str, text: &str, mode: u32) -> Memory {
        self.files.insert(path.into(), (text.to_owned(), mode));
        self
    }

    fn script(self, path: &str, text: &str) -> Memory {
        self.file(path, text, 0o755)
    }
}

impl Files for Memory {
    fn read(&self, path: &Path) -> Result<String, String> {
        self.files.get(path).map(|(text, _)| text.clone()).ok_or_else(|| "no such file".to_owned())
    }

    fn mode(&self, path: &Path) -> Option<u32> {
        self.files.get(path).map(|(_, mode)| *mode)
    }

    fn list(&self, dir: &Path) -> Vec<PathBuf> {
        self.files.keys().filter(|path| path.parent() == Some(dir)).cloned().collect()
    }

    fn config_id(&self) -> String {
        "main".to_owned()
    }
}
