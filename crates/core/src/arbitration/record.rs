//! What stands in the lock: one block of text, whole or not at all.

use std::fmt::Write as _;

/// How many bytes the lock takes of a file or a disk: the largest sector that disks have.
pub const BLOCK: usize = 4096;

/// What every block that was ever a lock begins with.
const MAGIC: &str = "mainstay-lock 1";

/// Longer names are nobody's.
const NAME_MAX: usize = 128;

/// Who wrote a record.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Owner {
    /// Its `node.id`.
    pub node: String,
    /// The instance of its process.
    pub instance: u64,
}

/// Somebody's claim to the lock.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Record {
    /// Whose.
    pub owner: Owner,
    /// Rises with each renewal: whoever watches sees that its owner lives.
    pub number: u64,
}

/// What a block says.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Block {
    /// It is nobody's.
    Free,
    /// It is somebody's.
    Owned(Record),
    /// Once a lock, but not whole: somebody writes it just now, or died over it. The text's hash tells two apart.
    Torn(u64),
    /// It never was a lock, and must not be written.
    Foreign,
}

impl Block {
    /// Reads the bytes that lie at the place of the lock; an empty file is nobody's.
    #[must_use]
    pub fn parse(bytes: &[u8]) -> Self {
        let bytes = &bytes[..bytes.len().min(BLOCK)];
        let end = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
        let text = &bytes[..end];
        if text.is_empty() {
            return Self::Free;
        }
        if !text.starts_with(MAGIC.as_bytes()) {
            return Self::Foreign;
        }
        read(text).unwrap_or_else(|| Self::Torn(hash(text)))
    }

    /// The text that is written; what follows it in the block is zero.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = format!("{MAGIC}\n");
        match self {
            Self::Owned(Record { owner, number }) => {
                let _ = write!(text, "node {}\ninstance {}\nnumber {number}\n", owner.node, owner.instance);
            }
            Self::Free | Self::Torn(_) | Self::Foreign => text.push_str("free\n"),
        }
        let sum = hash(text.as_bytes());
        let _ = writeln!(text, "sum {sum:016x}");
        text
    }
}

fn read(text: &[u8]) -> Option<Block> {
    let text = std::str::from_utf8(text).ok()?;
    let (body, sum) = text.trim_end().rsplit_once("sum ")?;
    if u64::from_str_radix(sum, 16).ok()? != hash(body.as_bytes()) {
        return None;
    }
    let mut lines = body.lines().skip(1);
    let first = lines.next()?;
    if first == "free" {
        return Some(Block::Free);
    }
    let node = first.strip_prefix("node ")?;
    let instance = lines.next()?.strip_prefix("instance ")?.parse().ok()?;
    let number = lines.next()?.strip_prefix("number ")?.parse().ok()?;
    let odd = node.is_empty() || node.len() > NAME_MAX || node.contains(char::is_control);
    (!odd).then(|| Block::Owned(Record { owner: Owner { node: node.to_owned(), instance }, number }))
}

/// FNV-1a: tells a torn block from a whole one, and keeps nobody out.
fn hash(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .fold(0xcbf2_9ce4_8422_2325, |sum, byte| (sum ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owned() -> Block {
        Block::Owned(Record { owner: Owner { node: "web-1".to_owned(), instance: 7 }, number: 3 })
    }

    #[test]
    fn what_is_written_is_read_and_padding_is_nothing() {
        for block in [owned(), Block::Free] {
            let mut bytes = block.text().into_bytes();
            assert_eq!(Block::parse(&bytes), block);
            bytes.resize(BLOCK, 0);
            assert_eq!(Block::parse(&bytes), block);
        }
        assert_eq!(Block::parse(&[0; BLOCK]), Block::Free);
        assert_eq!(Block::parse(&[]), Block::Free);
    }

    #[test]
    fn half_a_record_is_torn_and_what_never_was_one_is_foreign() {
        let text = owned().text();
        for cut in MAGIC.len()..text.len() - 1 {
            assert!(matches!(Block::parse(&text.as_bytes()[..cut]), Block::Torn(_)), "cut at {cut}");
        }
        let changed = text.replace("number 3", "number 4");
        assert!(matches!(Block::parse(changed.as_bytes()), Block::Torn(_)));
        for foreign in [&b"LABELONE"[..], b"mainstay", b"\xeb\x3c\x90", b"\n"] {
            assert_eq!(Block::parse(foreign), Block::Foreign);
        }
    }
}
