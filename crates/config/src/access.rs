//! Whether a user of this host can run a file: asked of the file system before the day it is needed.

use std::fs::{File, Metadata};
use std::io::{ErrorKind, Read as _};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;

use nix::unistd::{Gid, Group, User};

/// The answer.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Access {
    Ok,
    /// It can be run, but perhaps should not be.
    Dubious {
        message: String,
        help: String,
    },
    /// We are not allowed to look.
    Unknown(String),
    Refused {
        message: String,
        help: String,
    },
}

/// A user and the groups that count for him.
#[derive(Debug)]
pub(crate) struct Account {
    name: String,
    uid: u32,
    gid: Gid,
}

/// A user of this host by name.
pub(crate) fn user(name: &str) -> Option<Account> {
    let user = User::from_name(name).ok().flatten()?;
    Some(Account { name: user.name, uid: user.uid.as_raw(), gid: user.gid })
}

impl Account {
    fn in_group(&self, gid: u32) -> bool {
        let gid = Gid::from_raw(gid);
        gid == self.gid
            || Group::from_gid(gid).ok().flatten().is_some_and(|group| group.mem.contains(&self.name))
    }

    /// Whether the permission bit (4 read, 1 execute) is granted.
    fn may(&self, meta: &Metadata, bit: u32) -> bool {
        let mode = meta.permissions().mode();
        if self.uid == 0 {
            return bit != 1 || meta.is_dir() || mode & 0o111 != 0;
        }
        let shift = if meta.uid() == self.uid {
            6
        } else if self.in_group(meta.gid()) {
            3
        } else {
            0
        };
        mode >> shift & bit != 0
    }
}

/// Whether every user of this host may read a file, as far as its own mode says.
pub(crate) fn open_to_all(path: &std::path::Path) -> bool {
    std::fs::metadata(path).is_ok_and(|meta| meta.permissions().mode() & 0o004 != 0)
}

/// A longer first line is cut by the kernel (BINPRM_BUF_SIZE).
const FIRST_LINE: usize = 256;
/// Longer files are no check scripts.
const LONGEST_SCRIPT: u64 = 256 * 1024;

/// Whether `account` can run `path`; without an account only whether somebody can.
pub(crate) fn executable(path: &str, account: Option<&Account>) -> Access {
    let meta = match look(path, account) {
        Ok(meta) => meta,
        Err(access) => return access,
    };
    let writable = meta.permissions().mode() & 0o002 != 0;
    match interpreter(path) {
        Ok(Interpreter::Binary) => {}
        Ok(Interpreter::Program(program)) => {
            if let Some(access) = interpreted(path, &meta, &program, account) {
                return access;
            }
        }
        Ok(Interpreter::None) => {
            let message = format!("{path} is neither a program nor a script that names its interpreter");
            return refused(message, "begin the script with a line such as #!/bin/sh");
        }
        Err(error) => return Access::Unknown(error.to_string()),
    }
    if writable {
        let message = format!("{path} can be changed by every user of this host");
        return Access::Dubious { message, help: format!("chmod o-w {path}") };
    }
    Access::Ok
}

/// The text of a script; nothing for binaries and for what can't be read.
pub(crate) fn script_text(path: &str) -> Option<String> {
    if !path.starts_with('/') || !matches!(interpreter(path), Ok(Interpreter::Program(_))) {
        return None;
    }
    let mut bytes = Vec::new();
    File::open(path).ok()?.take(LONGEST_SCRIPT).read_to_end(&mut bytes).ok()?;
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

/// A regular file, each directory above it passable, and the execute bit.
fn look(path: &str, account: Option<&Account>) -> Result<Metadata, Access> {
    for directory in Path::new(path).ancestors().skip(1).collect::<Vec<_>>().into_iter().rev() {
        let Ok(meta) = std::fs::metadata(directory) else { break };
        if let Some(account) = account
            && meta.is_dir()
            && !account.may(&meta, 1)
        {
            let message = format!(
                "user {} can't reach {path}: the directory {} is closed to it",
                account.name,
                directory.display()
            );
            return Err(refused(
                message,
                format!("move it to /usr/local/lib, or chmod o+x {}", directory.display()),
            ));
        }
    }
    let meta = std::fs::metadata(path).map_err(|error| match error.kind() {
        ErrorKind::PermissionDenied => Access::Unknown(error.to_string()),
        ErrorKind::NotFound | ErrorKind::NotADirectory => refused(
            format!("{path} does not exist"),
            "write the path of a program on this host, or install it",
        ),
        _ => refused(format!("{path}: {error}"), "write the path of a program on this host"),
    })?;
    if !meta.is_file() {
        return Err(refused(format!("{path} is not a file"), "write the path of a program"));
    }
    if meta.permissions().mode() & 0o111 == 0 {
        return Err(refused(format!("{path} is not executable"), format!("chmod +x {path}")));
    }
    match account {
        Some(account) if !account.may(&meta, 1) => {
            let message = format!("{path} is not executable for user {}", account.name);
            Err(refused(message, format!("chmod o+x {path}, or name another `user`")))
        }
        _ => Ok(meta),
    }
}

/// What is wrong with a script's interpreter, or with reading the script.
fn interpreted(path: &str, meta: &Metadata, program: &str, account: Option<&Account>) -> Option<Access> {
    if program.ends_with('\r') {
        let message = format!("{path} has the line ends of Windows, no interpreter is found with them");
        return Some(refused(message, format!("sed -i 's/\\r$//' {path}")));
    }
    if let Some(account) = account
        && !account.may(meta, 4)
    {
        let message = format!("{path} is a script that user {} can't read", account.name);
        return Some(refused(message, format!("chmod o+r {path}, or name another `user`")));
    }
    match look(program, account) {
        Ok(_) => None,
        Err(Access::Refused { message, .. }) => {
            let message = format!("{path} asks for an interpreter that can't be run: {message}");
            Some(refused(message, format!("install {program}, or change the first line of {path}")))
        }
        Err(other) => Some(other),
    }
}

fn refused(message: String, help: impl Into<String>) -> Access {
    Access::Refused { message, help: help.into() }
}

enum Interpreter {
    Binary,
    Program(String),
    None,
}

fn interpreter(path: &str) -> std::io::Result<Interpreter> {
    if !std::fs::metadata(path)?.is_file() {
        return Ok(Interpreter::None);
    }
    let mut start = Vec::new();
    File::open(path)?.take(FIRST_LINE as u64).read_to_end(&mut start)?;
    if start.starts_with(b"\x7fELF") {
        return Ok(Interpreter::Binary);
    }
    let Some(line) = start.strip_prefix(b"#!") else { return Ok(Interpreter::None) };
    let line = line.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let line = String::from_utf8_lossy(line);
    let program = line.trim_start_matches([' ', '\t']).split([' ', '\t']).next().unwrap_or_default();
    Ok(Interpreter::Program(program.to_owned()))
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};
    use std::path::PathBuf;

    use super::*;

    struct Dir(PathBuf);

    impl Dir {
        fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("mainstay-access-{name}-{}", std::process::id()));
            fs::create_dir_all(&path).unwrap();
            fs::set_permissions(&path, Permissions::from_mode(0o755)).unwrap();
            Self(path)
        }

        fn file(&self, name: &str, text: &str, mode: u32) -> String {
            let path = self.0.join(name);
            fs::write(&path, text).unwrap();
            fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
            path.to_str().unwrap().to_owned()
        }
    }

    impl Drop for Dir {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    fn refusal(access: Access) -> String {
        match access {
            Access::Refused { message, .. } => message,
            other => panic!("not refused: {other:?}"),
        }
    }

    #[test]
    fn a_script_runs_when_it_and_its_interpreter_can() {
        let dir = Dir::new("ok");
        let good = dir.file("good", "#!/bin/sh\nexit 0\n", 0o755);
        assert_eq!(executable(&good, user("root").as_ref()), Access::Ok);
        assert_eq!(executable("/bin/sh", user("nobody").as_ref()), Access::Ok);
    }

    #[test]
    fn what_would_fail_at_three_in_the_morning_is_refused_at_noon() {
        let dir = Dir::new("bad");
        let nobody = user("nobody");
        let plain = dir.file("plain", "#!/bin/sh\n", 0o644);
        assert!(refusal(executable(&plain, None)).contains("not executable"));
        let private = dir.file("private", "#!/bin/sh\n", 0o700);
        assert!(refusal(executable(&private, nobody.as_ref())).contains("for user nobody"));
        let unreadable = dir.file("unreadable", "#!/bin/sh\n", 0o711);
        assert!(refusal(executable(&unreadable, nobody.as_ref())).contains("can't read"));
        let stranger = dir.file("stranger", "#!/bin/nosuchshell\n", 0o755);
        assert!(refusal(executable(&stranger, None)).contains("/bin/nosuchshell does not exist"));
        let windows = dir.file("windows", "#!/bin/sh\r\nexit 0\r\n", 0o755);
        assert!(refusal(executable(&windows, None)).contains("Windows"));
        let nothing = dir.file("nothing", "exit 0\n", 0o755);
        assert!(refusal(executable(&nothing, None)).contains("interpreter"));
        assert!(refusal(executable("/nosuch/file", None)).contains("does not exist"));
        assert!(refusal(executable("/etc", None)).contains("not a file"));
    }
}
