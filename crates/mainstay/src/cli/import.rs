//! `import`: TOML on standard output, findings on standard error.

use std::path::Path;

use mainstay_config::keepalived::{self, Severity};

use super::local::print;

pub(super) fn keepalived(file: &Path, lenient: bool, config_id: Option<&str>) -> anyhow::Result<u8> {
    let import = keepalived::import(file, &keepalived::Disk, config_id);
    for finding in &import.findings {
        eprintln!("{finding}");
    }
    let dropped = import.findings.iter().filter(|finding| finding.severity == Severity::Dropped).count();
    if dropped > 0 && !lenient {
        let what = if dropped == 1 {
            "1 thing that changes behaviour is".to_owned()
        } else {
            format!("{dropped} things that change behaviour are")
        };
        eprintln!("{what} left out (dropped, above): --lenient accepts that");
    }
    // Of a file that could not be read there is nothing but the heading.
    if import.toml.lines().any(|line| !line.is_empty() && !line.starts_with('#')) {
        print(&import.toml)?;
    }
    Ok(import.exit_code(lenient))
}
