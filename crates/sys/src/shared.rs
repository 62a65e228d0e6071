//! Memory that several processes of ours count in: a sealed memfd, mapped for as long as the process lives.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::ptr;
use std::slice;
use std::sync::atomic::AtomicU64;

use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, fcntl_get_seals, fstat, ftruncate, memfd_create};
use rustix::mm::{MapFlags, ProtFlags, mmap};

use crate::error::{Doing, Error, Result};

/// A number of 64-bit words that begin as zero.
#[derive(Debug)]
pub struct Shared {
    fd: OwnedFd,
    words: &'static [AtomicU64],
}

impl Shared {
    /// Makes the memory; pages that nobody touches cost nothing.
    ///
    /// # Errors
    /// When the kernel has no memory or descriptor left.
    pub fn create(name: &str, words: usize) -> Result<Self> {
        let fd = memfd_create(name, MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)
            .doing(|| format!("cannot create the shared memory {name}"))?;
        ftruncate(&fd, bytes(words) as u64).doing(|| format!("cannot size the shared memory {name}"))?;
        fcntl_add_seals(&fd, SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL)
            .doing(|| format!("cannot seal the shared memory {name}"))?;
        Self::open(fd, words)
    }

    /// Maps memory that another process made by [`Shared::create`].
    ///
    /// # Errors
    /// When it is smaller than `words`, or could become so.
    pub fn open(fd: OwnedFd, words: usize) -> Result<Self> {
        let sealed = fcntl_get_seals(&fd).doing(|| "cannot ask for the seals of shared memory")?;
        let size = fstat(&fd).doing(|| "cannot ask for the size of shared memory")?.st_size;
        if !sealed.contains(SealFlags::SHRINK) || size < i64::try_from(bytes(words)).unwrap_or(i64::MAX) {
            return Err(Error::Unsupported(format!(
                "the shared memory has {size} bytes with seals {sealed:?} and should have {}",
                bytes(words)
            )));
        }
        let words = map(&fd, words).doing(|| "cannot map shared memory")?;
        Ok(Self { fd, words })
    }

    /// The words.
    #[must_use]
    pub const fn words(&self) -> &'static [AtomicU64] {
        self.words
    }
}

impl AsFd for Shared {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

const fn bytes(words: usize) -> usize {
    words * size_of::<AtomicU64>()
}

/// The mapping is never undone, so that what was handed out stays good.
fn map(fd: &OwnedFd, words: usize) -> io::Result<&'static [AtomicU64]> {
    let access = ProtFlags::READ | ProtFlags::WRITE;
    // SAFETY: the kernel chooses a free place, so that no memory of ours is replaced.
    let start = unsafe { mmap(ptr::null_mut(), bytes(words), access, MapFlags::SHARED, fd, 0)? };
    // SAFETY: the mapping is page-aligned, as long as the slice, sealed against shrinking and never unmapped; every
    // pattern of bits is a valid word, and all who share it reach it by atomic operations alone.
    Ok(unsafe { slice::from_raw_parts(start.cast::<AtomicU64>(), words) })
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering;

    use super::*;

    #[test]
    fn what_one_mapping_counts_another_reads() {
        let first = Shared::create("claim", 1000).expect("create");
        let fd = first.as_fd().try_clone_to_owned().expect("another descriptor");
        let second = Shared::open(fd, 1000).expect("open");
        first.words()[999].fetch_add(7, Ordering::Relaxed);
        assert_eq!(second.words()[999].load(Ordering::Relaxed), 7);
        assert_eq!(second.words()[0].load(Ordering::Relaxed), 0);
    }

    #[test]
    fn memory_that_is_too_small_or_may_shrink_is_refused() {
        let small = Shared::create("claim", 10).expect("create");
        let fd = small.as_fd().try_clone_to_owned().expect("another descriptor");
        assert!(Shared::open(fd, 11).is_err());
        let loose = memfd_create("claim", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING).expect("memfd");
        ftruncate(&loose, 8000).expect("size");
        assert!(Shared::open(loose, 10).is_err());
    }
}
