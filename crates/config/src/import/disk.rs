//! The real machine, as an import sees it.

use std::fs;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use super::Files;

/// No configuration written by people is larger, and a device file would never end.
const LARGEST_FILE: u64 = 1024 * 1024;

/// Files of this machine.
#[derive(Clone, Copy, Debug, Default)]
pub struct Disk;

impl Files for Disk {
    fn read(&self, path: &Path) -> Result<String, String> {
        // Opening a pipe would wait for a writer.
        if !fs::metadata(path).map_err(|error| error.to_string())?.is_file() {
            return Err("not a regular file".to_owned());
        }
        let file = fs::File::open(path).map_err(|error| error.to_string())?;
        let mut bytes = Vec::new();
        file.take(LARGEST_FILE + 1).read_to_end(&mut bytes).map_err(|error| error.to_string())?;
        if bytes.len() as u64 > LARGEST_FILE {
            return Err(format!("larger than {} KiB", LARGEST_FILE / 1024));
        }
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    fn mode(&self, path: &Path) -> Option<u32> {
        let meta = fs::metadata(path).ok()?;
        meta.is_file().then(|| meta.permissions().mode())
    }

    fn list(&self, dir: &Path) -> Vec<PathBuf> {
        let Ok(entries) = fs::read_dir(dir) else { return Vec::new() };
        entries.filter_map(Result::ok).map(|entry| entry.path()).collect()
    }

    fn host(&self) -> String {
        let name = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
        name.trim().split('.').next().unwrap_or_default().to_owned()
    }

    fn env(&self, name: &str) -> Option<String> {
        std::env::var(name).ok()
    }

    fn has_user(&self, name: &str) -> bool {
        let users = fs::read_to_string("/etc/passwd").unwrap_or_default();
        users.lines().any(|line| line.split(':').next() == Some(name))
    }
}
