//! The place of a lock, read and written: a child of the exec role, which may hang on a dead disk without harm.

use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::path::Path;

use anyhow::{Context as _, ensure};
use mainstay_core::arbitration::{BLOCK, Block};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

/// Prints what lies there; nothing when it is nobody's.
///
/// # Errors
/// When the place is missing or can't be read, or holds something else.
pub(super) fn read(path: &Path) -> anyhow::Result<()> {
    let block = look(&mut open(path, OFlags::RDONLY)?).context("read it")?;
    match Block::parse(&block) {
        Block::Free => {}
        Block::Foreign => anyhow::bail!("{} holds something else, which is not written over", path.display()),
        Block::Owned(_) | Block::Torn(_) => {
            let end = block.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
            std::io::stdout().write_all(&block[..end])?;
        }
    }
    Ok(())
}

/// Writes a record, and returns once it is on the disk.
///
/// # Errors
/// When the place is missing or can't be written, or holds something else.
pub(super) fn write(path: &Path, text: &str) -> anyhow::Result<()> {
    ensure!(matches!(Block::parse(text.as_bytes()), Block::Free | Block::Owned(_)), "that is no record");
    let mut file = open(path, OFlags::RDWR | OFlags::DSYNC)?;
    let there = look(&mut file).context("read it")?;
    ensure!(Block::parse(&there) != Block::Foreign, "{} holds something else", path.display());
    let mut aligned = Aligned::new();
    aligned.bytes()[..text.len()].copy_from_slice(text.as_bytes());
    file.seek(SeekFrom::Start(0))?;
    file.write_all(aligned.bytes()).context("write it")?;
    file.sync_data().context("write it")
}

/// Past the caches of this host, where the file system can do that: another host may have written.
fn open(path: &Path, flags: OFlags) -> anyhow::Result<File> {
    let open = |more| rustix::fs::open(path, flags | more | OFlags::CLOEXEC, Mode::empty());
    let opened = match open(OFlags::DIRECT) {
        Err(Errno::INVAL) => open(OFlags::empty()),
        opened => opened,
    };
    let file = opened.map_err(|error| match error {
        Errno::NOENT => anyhow::anyhow!("{} does not exist: is its file system mounted?", path.display()),
        error => anyhow::Error::new(error).context(format!("open {}", path.display())),
    })?;
    Ok(File::from(file))
}

fn look(file: &mut File) -> std::io::Result<Vec<u8>> {
    let mut aligned = Aligned::new();
    file.seek(SeekFrom::Start(0))?;
    let bytes = aligned.bytes();
    let mut filled = 0;
    while filled < BLOCK {
        match file.read(&mut bytes[filled..])? {
            0 => break,
            read => filled += read,
        }
    }
    Ok(bytes[..filled].to_vec())
}

/// A block at an address that is a multiple of its length, as reads past the caches ask for.
struct Aligned(Vec<u8>);

impl Aligned {
    fn new() -> Self {
        Self(vec![0; BLOCK * 2])
    }

    fn bytes(&mut self) -> &mut [u8] {
        let at = self.0.as_ptr().align_offset(BLOCK).min(BLOCK);
        &mut self.0[at..at + BLOCK]
    }
}
