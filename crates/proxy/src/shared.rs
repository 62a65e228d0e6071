//! Counters that all edge processes share: memory of the supervisor's, mapped into each.
//!
//! A process that is killed leaves its own column behind, which the supervisor sets to zero before it starts the next.
//!
//! Layout in words of 64 bits: `BACKENDS * COLUMNS` for backends, then `KEYS * 2` for keys of zones, then `KEYS_HELD *
//! COLUMNS` for requests at once by key.

use std::sync::atomic::{AtomicU64, Ordering};

/// Backends that can be told apart at once.
pub const BACKENDS: usize = 4096;

/// Columns: edge processes at once, those that drain among them.
pub const COLUMNS: usize = 16;

/// Slots for keys of rates.
pub const KEYS: usize = 65_536;

/// Slots for keys of requests at once.
pub const KEYS_HELD: usize = 8192;

/// Words in all.
pub const WORDS: usize = BACKENDS * COLUMNS + KEYS * 2 + KEYS_HELD * (COLUMNS + 1);

/// The memory, and which column is ours.
#[derive(Clone, Copy, Debug)]
pub struct Cells {
    words: &'static [AtomicU64],
    column: usize,
}

impl Cells {
    /// `words` has [`WORDS`] words; `column` is this process's own.
    #[must_use]
    pub fn new(words: &'static [AtomicU64], column: usize) -> Self {
        assert!(words.len() >= WORDS && column < COLUMNS, "the supervisor maps what this module asks for");
        Self { words, column }
    }

    /// Memory of this process alone, for tests and for tools.
    #[must_use]
    pub fn private() -> Self {
        let words: Vec<AtomicU64> = (0..WORDS).map(|_| AtomicU64::new(0)).collect();
        Self::new(Box::leak(words.into_boxed_slice()), 0)
    }

    /// Requests under way to a backend, by every process.
    #[must_use]
    pub fn load(self, slot: u32) -> u64 {
        let row = slot as usize * COLUMNS;
        self.words[row..row + COLUMNS].iter().map(|w| w.load(Ordering::Relaxed)).sum()
    }

    /// One more request to a backend, until the permit is dropped.
    #[must_use]
    pub fn take(self, slot: u32) -> Permit {
        let word = &self.words[slot as usize * COLUMNS + self.column];
        word.fetch_add(1, Ordering::Relaxed);
        Permit { word }
    }

    /// The words of the keys of rates: pairs of a key's hash and its theoretical arrival time.
    #[must_use]
    pub fn keys(self) -> &'static [AtomicU64] {
        &self.words[BACKENDS * COLUMNS..BACKENDS * COLUMNS + KEYS * 2]
    }

    /// The words of requests at once: a key's hash, then a count for each column.
    #[must_use]
    pub fn held(self) -> &'static [AtomicU64] {
        &self.words[BACKENDS * COLUMNS + KEYS * 2..WORDS]
    }

    /// Our column.
    #[must_use]
    pub const fn column(self) -> usize {
        self.column
    }

    /// Forgets what a dead process had under way.
    pub fn clear(words: &[AtomicU64], column: usize) {
        for row in words[..BACKENDS * COLUMNS].chunks(COLUMNS) {
            row[column].store(0, Ordering::Relaxed);
        }
        for row in words[BACKENDS * COLUMNS + KEYS * 2..WORDS].chunks(COLUMNS + 1) {
            row[column + 1].store(0, Ordering::Relaxed);
        }
    }
}

/// A place that is taken until this is dropped.
#[derive(Debug)]
pub struct Permit {
    word: &'static AtomicU64,
}

impl Permit {
    /// Takes a place in a word.
    #[must_use]
    pub fn take(word: &'static AtomicU64) -> Self {
        word.fetch_add(1, Ordering::Relaxed);
        Self { word }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.word.fetch_sub(1, Ordering::Relaxed);
    }
}
