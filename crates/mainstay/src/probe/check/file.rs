//! A file exists; when content is given, its first line equals it.

use std::io::{ErrorKind, Read};
use std::path::Path;

use rustix::fs::{CWD, FileType, Mode, OFlags, fstat, openat, stat};

/// First lines longer than this equal nothing that was configured, in bytes.
const LINE_MAX: u64 = 64 * 1024;

/// Looks; blocking, for a file may lie on a dead server.
pub(super) fn look(path: &Path, content: Option<&str>) -> (bool, String) {
    let shown = path.display();
    let Some(content) = content else {
        return match stat(path) {
            Ok(_) => (true, format!("{shown} exists")),
            Err(error) => (false, format!("{shown}: {}", std::io::Error::from(error))),
        };
    };
    match first_line(path) {
        Ok(line) if line == content.as_bytes() => (true, format!("{shown} says \"{content}\"")),
        Ok(line) => {
            let line = String::from_utf8_lossy(&line).chars().take(200).collect::<String>();
            (false, format!("{shown} says \"{line}\", expected \"{content}\""))
        }
        Err(error) => (false, format!("{shown}: {error}")),
    }
}

fn first_line(path: &Path) -> std::io::Result<Vec<u8>> {
    // Opening a fifo would wait for a writer.
    let fd = openat(CWD, path, OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK, Mode::empty())?;
    if FileType::from_raw_mode(fstat(&fd)?.st_mode) != FileType::RegularFile {
        return Err(std::io::Error::new(ErrorKind::InvalidInput, "not a regular file"));
    }
    let mut bytes = Vec::new();
    std::fs::File::from(fd).take(LINE_MAX).read_to_end(&mut bytes)?;
    let end = bytes.iter().position(|byte| *byte == b'\n').unwrap_or(bytes.len());
    bytes.truncate(end);
    if bytes.last() == Some(&b'\r') {
        bytes.pop();
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exec::tests::Temp;

    #[test]
    fn a_file_is_judged_by_its_first_line() {
        let temp = Temp::new();
        let path = temp.file("state", "ready\r\nmore\n");
        let path = Path::new(&path);
        assert!(look(path, None).0);
        assert!(look(path, Some("ready")).0);
        let (ok, detail) = look(path, Some("drained"));
        assert!(!ok && detail.contains("ready"), "{detail}");
        assert!(!look(&temp.path("missing"), None).0);
    }

    #[test]
    fn a_fifo_is_no_file_with_content_and_nobody_waits_for_its_writer() {
        let temp = Temp::new();
        let path = temp.path("fifo");
        rustix::fs::mknodat(CWD, &path, FileType::Fifo, Mode::RWXU, 0).unwrap();
        assert!(!look(&path, Some("ready")).0);
        assert!(look(&path, None).0);
    }
}
