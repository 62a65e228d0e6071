//! Request ids: 128 bits that no other request has, in hex.

use std::cell::Cell;
use std::hash::{BuildHasher as _, Hasher as _, RandomState};

thread_local! {
    /// State of a generator (xoshiro256++), seeded by the system; ids are to be unique, not to be secret.
    static STATE: Cell<[u64; 4]> = Cell::new(std::array::from_fn(|n| {
        let mut hasher = RandomState::new().build_hasher();
        hasher.write_usize(n);
        hasher.finish()
    }));
}

/// A new id.
pub(super) fn draw() -> [u8; 32] {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut id = [0; 32];
    for (n, word) in [next(), next()].into_iter().enumerate() {
        for (at, byte) in word.to_be_bytes().into_iter().enumerate() {
            id[n * 16 + at * 2] = DIGITS[usize::from(byte >> 4)];
            id[n * 16 + at * 2 + 1] = DIGITS[usize::from(byte & 15)];
        }
    }
    id
}

fn next() -> u64 {
    STATE.with(|state| {
        let mut s = state.get();
        let result = s[0].wrapping_add(s[3]).rotate_left(23).wrapping_add(s[0]);
        let t = s[1] << 17;
        s[2] ^= s[0];
        s[3] ^= s[1];
        s[1] ^= s[2];
        s[0] ^= s[3];
        s[2] ^= t;
        s[3] = s[3].rotate_left(45);
        state.set(s);
        result
    })
}
