//! Any bytes from any peer: reading never panics, and what is read is written and read again as the same.

#![no_main]

use libfuzzer_sys::{Corpus, fuzz_target};
use mainstay_core::peer::{LETTER_MAX, encode, parse};

fuzz_target!(|input: &[u8]| -> Corpus {
    let Ok(letter) = parse(input) else { return Corpus::Keep };
    // A letter with many short records may grow by what the reader skipped or by heads: then it takes several pieces.
    let pieces = encode(&letter, LETTER_MAX).expect("what was read has names that can be written");
    if let [piece] = &pieces[..] {
        assert_eq!(parse(piece), Ok(letter.clone()));
    }
    for piece in encode(&letter, 1_400).expect("the same names") {
        let part = parse(&piece).expect("what we write we read");
        assert_eq!((part.instance, part.heir_of, part.mark), (letter.instance, letter.heir_of, letter.mark));
    }
    Corpus::Keep
});
