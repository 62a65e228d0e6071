//! Descriptors that outlive an exec, by number: how a program hands them to its successor in the same process.

use std::io;
use std::os::fd::{FromRawFd, OwnedFd, RawFd};

use crate::os;

/// Standard input, output and error are everybody's.
const FIRST: RawFd = 3;

/// Has an exec keep a descriptor, or close it as usual.
///
/// # Errors
/// When there is no such descriptor.
pub fn keep_over_exec(fd: RawFd, keep: bool) -> io::Result<()> {
    let flags = if keep { 0 } else { libc::FD_CLOEXEC };
    // SAFETY: takes integers only, and touches no more than the descriptor's flag.
    os::check(unsafe { libc::fcntl(fd, libc::F_SETFD, flags) }).map(drop)
}

/// Takes over a descriptor that the program before us kept open for us by [`keep_over_exec`].
///
/// Whatever this program opens itself is closed by an exec, so that a number without that mark is nobody's; the mark is set here,
/// and a second call finds it.
///
/// # Errors
/// When there is no such descriptor, or it has an owner.
pub fn inherit(fd: RawFd) -> io::Result<OwnedFd> {
    // SAFETY: takes integers only, and reads the descriptor's flag.
    let flags = os::check(unsafe { libc::fcntl(fd, libc::F_GETFD) })?;
    if fd < FIRST || flags & libc::FD_CLOEXEC != 0 {
        return Err(io::Error::other(format!("descriptor {fd} was not left for us")));
    }
    keep_over_exec(fd, false)?;
    // SAFETY: it is open, and as said above nobody in this program owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

#[cfg(test)]
mod tests {
    use std::os::fd::{AsRawFd, IntoRawFd};

    use super::*;

    #[test]
    fn a_descriptor_is_inherited_once_and_one_that_is_owned_never() {
        let owned = std::fs::File::open("/dev/null").expect("open");
        assert!(inherit(owned.as_raw_fd()).is_err());
        assert!(inherit(1).is_err() && inherit(-1).is_err());
        let left = owned.into_raw_fd();
        keep_over_exec(left, true).expect("keep");
        let taken = inherit(left).expect("left for us");
        assert!(inherit(left).is_err());
        drop(taken);
    }
}
