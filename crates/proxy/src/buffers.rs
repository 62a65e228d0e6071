//! Memory that connections borrow while bytes pass, and give back: one that waits owns none.

use std::cell::RefCell;

/// Sizes of buffers: the first for heads and short bodies, the others for streams that fill it.
pub const SIZES: [usize; 3] = [16 << 10, 64 << 10, 256 << 10];

/// Bytes of one size that a thread keeps for the next borrower.
const KEPT_BYTES: usize = 4 << 20;

/// Texts that a thread keeps for the next borrower.
const KEPT_TEXTS: usize = 256;

/// A text longer than this is not kept.
const TEXT_MAX: usize = 64 << 10;

/// Room of a fresh text.
const TEXT: usize = 2048;

thread_local! {
    static BLOCKS: RefCell<[Vec<Box<[u8]>>; SIZES.len()]> = const { RefCell::new([Vec::new(), Vec::new(), Vec::new()]) };
    static TEXTS: RefCell<Vec<Vec<u8>>> = const { RefCell::new(Vec::new()) };
}

/// Borrows a block of `SIZES[class]` bytes; what is in it is left over from others.
#[must_use]
pub fn block(class: usize) -> Box<[u8]> {
    let kept = BLOCKS.with_borrow_mut(|blocks| blocks[class].pop());
    kept.unwrap_or_else(|| vec![0; SIZES[class]].into_boxed_slice())
}

/// Gives a block back.
pub fn give_back(block: Box<[u8]>) {
    let Some(class) = SIZES.iter().position(|size| *size == block.len()) else { return };
    BLOCKS.with_borrow_mut(|blocks| {
        if blocks[class].len() < KEPT_BYTES / SIZES[class] {
            blocks[class].push(block);
        }
    });
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
