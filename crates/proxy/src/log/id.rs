//! Request ids: 32 hex digits that nobody can foresee.

use std::cell::RefCell;

/// Random bytes that are drawn at once.
const DRAWN: usize = 1024;

struct Drawn {
    bytes: [u8; DRAWN],
    used: usize,
}

thread_local! {
    static DRAW: RefCell<Drawn> = const { RefCell::new(Drawn { bytes: [0; DRAWN], used: DRAWN }) };
}

/// A new id: 128 random bits as lower-case hex.
#[must_use]
pub fn request_id() -> [u8; 32] {
    DRAW.with_borrow_mut(|drawn| {
        if drawn.used + 16 > DRAWN {
            aws_lc_rs::rand::fill(&mut drawn.bytes).expect("the random generator has been seeded");
            drawn.used = 0;
        }
        let mut id = [0; 32];
        for (n, byte) in drawn.bytes[drawn.used..drawn.used + 16].iter_mut().enumerate() {
            const DIGITS: &[u8; 16] = b"0123456789abcdef";
            id[2 * n] = DIGITS[usize::from(*byte >> 4)];
            id[2 * n + 1] = DIGITS[usize::from(*byte & 15)];
            *byte = 0;
        }
        drawn.used += 16;
        id
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_32_hex_digits_and_never_the_same() {
        let ids: std::collections::HashSet<[u8; 32]> = (0..1000).map(|_| request_id()).collect();
        assert_eq!(ids.len(), 1000);
        assert!(ids.iter().flatten().all(|d| d.is_ascii_digit() || (b'a'..=b'f').contains(d)));
    }
}
