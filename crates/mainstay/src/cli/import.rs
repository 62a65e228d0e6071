//! `import`: TOML on standard output, findings on standard error.

use std::path::Path;

use mainstay_config::keepalived;

use super::local::print;

pub(super) fn keepalived(file: &Path, lenient: bool, config_id: Option<&str>) -> anyhow::Result<u8> {
    let import = keepalived::import(file, &keepalived::Disk, config_id);
    for finding in &import.findings {
        eprintln!("{finding}");
    }
    // Of a file that could not be read there is nothing but the heading.
    if import.toml.lines().any(|line| !line.is_empty() && !line.starts_with('#')) {
        print(&import.toml)?;
    }
    Ok(import.exit_code(lenient))
}
