//! Memory that connections borrow while bytes pass, and give back: one that waits owns none.

use std::cell::{Cell, RefCell};
use std::ops::{Deref, DerefMut};

/// Sizes of buffers: the first for heads and short bodies, the others for streams that fill it.
pub const SIZES: [usize; 3] = [16 << 10, 64 << 10, 256 << 10];

/// Bytes of larger buffers that a thread lends at once: whoever takes a long response in slowly makes its buffer wait, and a
/// thousand of them must not take all memory. Streams beyond it have buffers of the first size.
const LENT_BYTES: usize = 32 << 20;

/// Bytes of one size that a thread keeps for the next borrower.
const KEPT_BYTES: usize = 4 << 20;

/// Texts that a thread keeps for the next borrower.
const KEPT_TEXTS: usize = 256;

/// A text longer than this is not kept.
const TEXT_MAX: usize = 64 << 10;

/// Room of a fresh text.
const TEXT: usize = 2048;

thread_local! {
    static LENT: Cell<usize> = const { Cell::new(0) };
    static BLOCKS: RefCell<[Vec<Box<[u8]>>; SIZES.len()]> = const { RefCell::new([Vec::new(), Vec::new(), Vec::new()]) };
    static TEXTS: RefCell<Vec<Vec<u8>>> = const { RefCell::new(Vec::new()) };
}

/// A block that is borrowed; it is given back when it is dropped.
#[derive(Debug)]
pub struct Block(Box<[u8]>);

impl Deref for Block {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl DerefMut for Block {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.0
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        let block = std::mem::take(&mut self.0);
        let Some(class) = SIZES.iter().position(|size| *size == block.len()) else { return };
        if class > 0 {
            let _ = LENT.try_with(|lent| lent.set(lent.get().saturating_sub(block.len())));
        }
        // A thread that ends keeps nothing.
        let _ = BLOCKS.try_with(|blocks| {
            let kept = &mut blocks.borrow_mut()[class];
            if kept.len() < KEPT_BYTES / SIZES[class] {
                kept.push(block);
            }
        });
    }
}

/// Borrows a block of `SIZES[class]` bytes; what is in it is left over from others.
#[must_use]
pub fn block(class: usize) -> Block {
    if class > 0 {
        LENT.set(LENT.get() + SIZES[class]);
    }
    let kept = BLOCKS.with_borrow_mut(|blocks| blocks[class].pop());
    Block(kept.unwrap_or_else(|| vec![0; SIZES[class]].into_boxed_slice()))
}

/// The class that a stream gets when it would like this one.
#[must_use]
pub fn affordable(class: usize) -> usize {
    if class > 0 && LENT.get() >= LENT_BYTES { 0 } else { class }
}

/// Borrows an empty text.
#[must_use]
pub fn text() -> Vec<u8> {
    TEXTS.with_borrow_mut(Vec::pop).unwrap_or_else(|| Vec::with_capacity(TEXT))
}

/// Gives a text back.
pub fn give_back_text(mut text: Vec<u8>) {
    if text.capacity() < TEXT || text.capacity() > TEXT_MAX {
        return;
    }
    text.clear();
    TEXTS.with_borrow_mut(|texts| {
        if texts.len() < KEPT_TEXTS {
            texts.push(text);
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_beyond_the_bound_get_small_buffers_until_others_end() {
        let mut lent = Vec::new();
        while affordable(2) == 2 {
            lent.push(block(2));
        }
        assert_eq!(lent.len() * SIZES[2], LENT_BYTES);
        assert_eq!((affordable(1), affordable(0)), (0, 0));
        let small = block(affordable(2));
        assert_eq!(small.len(), SIZES[0]);
        lent.pop();
        assert_eq!(affordable(2), 2);
    }
}
