//! What the sides tell each other of themselves, with every PING.

use super::fields::{Broken, Fields, number, put, text};
use super::open::NAME_MAX;

const LOAD: u8 = 1;
const TARGET: u8 = 2;

/// The most targets that a PING tells of.
pub const TARGETS_MAX: usize = 64;

/// Bytes that targets may take of a PING.
const BYTES_MAX: usize = 3 << 10;

/// Whether a target answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Health {
    /// It does.
    Up,
    /// It does not.
    Down,
    /// Nobody knows.
    Unknown,
}

/// Load and health of targets.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct News {
    /// How busy the sender is, in a unit that senders of one tunnel share.
    pub load: u32,
    /// Its targets by name; at most [`TARGETS_MAX`], and 3 KiB of names.
    pub targets: Vec<(String, Health)>,
}

impl News {
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        put(out, LOAD, &self.load.to_be_bytes());
        let begun = out.len();
        for (name, health) in self.targets.iter().take(TARGETS_MAX) {
            if name.len() > NAME_MAX || out.len() - begun + name.len() + 4 > BYTES_MAX {
                continue;
            }
            let health = match health {
                Health::Up => 1,
                Health::Down => 2,
                Health::Unknown => 0,
            };
            put(out, TARGET, &[&[health], name.as_bytes()].concat());
        }
    }

    pub(super) fn read(bytes: &[u8]) -> Result<Self, Broken> {
        let mut news = Self::default();
        for field in Fields(bytes) {
            let (kind, bytes) = field?;
            match kind {
                LOAD => news.load = number(bytes)?,
                TARGET if news.targets.len() < TARGETS_MAX => {
                    let (&health, name) = bytes.split_first().ok_or(Broken)?;
                    let health = match health {
                        1 => Health::Up,
                        2 => Health::Down,
                        _ => Health::Unknown,
                    };
                    news.targets.push((text(name, NAME_MAX)?, health));
                }
                _ => {}
            }
        }
        Ok(news)
    }
}
