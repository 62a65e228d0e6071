//! `import`: TOML on standard output, findings on standard error.

use std::path::Path;

use mainstay_config::import::{Import, Severity};
use mainstay_config::{gost, keepalived, nginx};

use super::local::print;

pub(super) fn keepalived(file: &Path, lenient: bool, config_id: Option<&str>) -> anyhow::Result<u8> {
    show(&keepalived::import(file, &keepalived::Disk, config_id), lenient)
}

pub(super) fn nginx(file: &Path, lenient: bool, options: &nginx::Options) -> anyhow::Result<u8> {
    // Relative includes and files start at the file's directory, wherever this is called from.
    let whole = std::path::absolute(file).unwrap_or_else(|_| file.to_owned());
    show(&nginx::import(&whole, &nginx::Disk, options), lenient)
}

pub(super) fn gost(
    file: Option<&Path>,
    args: &[String],
    lenient: bool,
    options: &gost::Options,
) -> anyhow::Result<u8> {
    match file {
        Some(file) => show(&gost::import(file, &gost::Disk, options), lenient),
        None => show(&gost::import_line(args, &gost::Disk, options), lenient),
    }
}

fn show(import: &Import, lenient: bool) -> anyhow::Result<u8> {
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
