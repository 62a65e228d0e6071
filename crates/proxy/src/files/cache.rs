//! Files that a thread has had open a moment ago, so that a hot one costs no system call.
//!
//! What is known of a file is believed for a second; then it is looked at again. What is not there is never remembered.

use std::cell::RefCell;
use std::collections::HashMap;
use std::fs::File;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt as _;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use mainstay_core::time::Boot;
use rustix::fs::{FileType, Mode, OFlags, Stat};
use rustix::io::Errno;

use crate::route::date;

/// How long a file is believed to be as it was.
const BELIEVED: Duration = Duration::from_secs(1);

/// A file up to this many bytes is kept in memory.
const SMALL: u64 = 16 * 1024;

/// Bytes in memory, for each thread.
const MEMORY: u64 = 8 * 1024 * 1024;

/// Entries, for each thread: those of large files hold a descriptor.
const ENTRIES: usize = 512;

/// A file or a directory.
#[derive(Debug)]
pub(super) struct Entry {
    /// What is in it.
    pub(super) content: Content,
    /// Bytes.
    pub(super) size: u64,
    /// Last change, in seconds since 1970.
    pub(super) modified: i64,
    /// The same as HTTP writes it.
    pub(super) last_modified: String,
    /// nginx's: last change and size, hex, in quotes.
    pub(super) etag: String,
    /// What tells whether it is still the same one.
    same: Same,
}

/// What a file holds.
#[derive(Debug)]
pub(super) enum Content {
    /// It is a directory.
    Directory,
    /// All of it.
    Small(Bytes),
    /// It stays where it is.
    Large(Rc<File>),
}

/// Device, inode, size, last change of content, last change of anything.
type Same = (u64, u64, u64, (i64, u64), (i64, u64));

/// Why a file can't be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Trouble {
    /// It is not there, or it is nothing to be served.
    Missing,
    /// It may not be read.
    Forbidden,
    /// The system is at fault.
    Broken,
}

impl From<Trouble> for u16 {
    fn from(trouble: Trouble) -> Self {
        match trouble {
            Trouble::Missing => 404,
            Trouble::Forbidden => 403,
            Trouble::Broken => 500,
        }
    }
}

impl From<Errno> for Trouble {
    fn from(errno: Errno) -> Self {
        match errno {
            Errno::NOENT | Errno::NOTDIR | Errno::NAMETOOLONG | Errno::INVAL | Errno::NXIO => Self::Missing,
            Errno::ACCESS | Errno::PERM | Errno::LOOP => Self::Forbidden,
            _ => {
                tracing::error!("a file can't be opened: {errno}");
                Self::Broken
            }
        }
    }
}

impl Entry {
    pub(super) const fn is_directory(&self) -> bool {
        matches!(self.content, Content::Directory)
    }
}

#[derive(Default)]
struct Cache {
    entries: HashMap<Box<[u8]>, (Boot, Rc<Entry>)>,
    memory: u64,
}

thread_local! {
    static CACHE: RefCell<Cache> = RefCell::new(Cache::default());
}

/// What is at a place, as it is `now` or was up to a second ago.
pub(super) fn get(place: &[u8], now: Boot) -> Result<Rc<Entry>, Trouble> {
    CACHE.with_borrow_mut(|cache| {
        if let Some((checked, entry)) = cache.entries.get_mut(place) {
            if now.since(*checked) < BELIEVED {
                return Ok(Rc::clone(entry));
            }
            if rustix::fs::stat(place).is_ok_and(|stat| same(&stat) == entry.same) {
                *checked = now;
                return Ok(Rc::clone(entry));
            }
            cache.forget(place);
        }
        let entry = Rc::new(open(place)?);
        if !entry.is_directory() {
            cache.keep(place, now, &entry);
        }
        Ok(entry)
    })
}

impl Cache {
    fn keep(&mut self, place: &[u8], now: Boot, entry: &Rc<Entry>) {
        if self.entries.len() >= ENTRIES || self.memory >= MEMORY {
            self.entries.retain(|_, (checked, _)| now.since(*checked) < BELIEVED);
            if self.entries.len() >= ENTRIES / 2 {
                self.entries.clear();
            }
            self.memory = self.entries.values().map(|(_, entry)| memory(entry)).sum();
        }
        self.memory += memory(entry);
        self.entries.insert(place.into(), (now, Rc::clone(entry)));
    }

    fn forget(&mut self, place: &[u8]) {
        if let Some((_, entry)) = self.entries.remove(place) {
            self.memory = self.memory.saturating_sub(memory(&entry));
        }
    }
}

fn memory(entry: &Entry) -> u64 {
    match &entry.content {
        Content::Small(bytes) => bytes.len() as u64,
        Content::Directory | Content::Large(_) => 0,
    }
}

fn same(stat: &Stat) -> Same {
    let size = u64::try_from(stat.st_size).unwrap_or(0);
    let changed = (stat.st_ctime, stat.st_ctime_nsec);
    (stat.st_dev, stat.st_ino, size, (stat.st_mtime, stat.st_mtime_nsec), changed)
}

/// Opens a regular file or looks at a directory; anything else is not there. Never waits for a pipe's other end.
fn open(place: &[u8]) -> Result<Entry, Trouble> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC | OFlags::NOCTTY;
    let fd: OwnedFd = rustix::fs::open(place, flags, Mode::empty())?;
    let stat = rustix::fs::fstat(&fd)?;
    let mut size = u64::try_from(stat.st_size).unwrap_or(0);
    let content = match FileType::from_raw_mode(stat.st_mode) {
        FileType::Directory => Content::Directory,
        FileType::RegularFile if size <= SMALL => {
            let bytes = read(&File::from(fd), size).map_err(|_| Trouble::Broken)?;
            size = bytes.len() as u64;
            Content::Small(bytes)
        }
        FileType::RegularFile => Content::Large(Rc::new(File::from(fd))),
        _ => return Err(Trouble::Missing),
    };
    let modified = stat.st_mtime;
    Ok(Entry {
        content,
        size,
        modified,
        last_modified: date::http(modified),
        etag: format!("\"{modified:x}-{size:x}\""),
        same: same(&stat),
    })
}

fn read(file: &File, size: u64) -> std::io::Result<Bytes> {
    let mut bytes = vec![0; usize::try_from(size).unwrap_or(0)];
    let mut filled = 0;
    while filled < bytes.len() {
        match file.read_at(&mut bytes[filled..], filled as u64)? {
            0 => break,
            count => filled += count,
        }
    }
    bytes.truncate(filled);
    Ok(bytes.into())
}
