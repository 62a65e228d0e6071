//! `import`: TOML on standard output, findings on standard error.

use std::path::Path;

use mainstay_config::keepalived;

use super::local::print;

pub(super) fn keepalived(file: &Path, lenient: bool, config_id: Option<&str>) -> anyhow::Result<u8> {
    let import = keepalived::import(file, &keepalived::Disk, config_id);
    for finding in &import.findings {
        eprintln!("{finding}");
    }
    print(&import.toml)?;
    let code = import.exit_code(lenient);
    if code != 0 && import.exit_code(true) == 0 {
        eprintln!(
            "not everything was taken over, so this ends with {code}; the rest is written all the same"
        );
    }
    Ok(code)
}
