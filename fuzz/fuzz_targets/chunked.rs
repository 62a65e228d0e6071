//! Chunked bodies: the same in pieces as at once, and always an end to the work.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mainstay_core::http1::{Decoder, Reject, Step};

/// The body, when it has an end, and what is left behind it.
fn decode(bytes: &[u8], piece: usize) -> Result<Option<(Vec<u8>, usize)>, Reject> {
    let mut decoder = Decoder::default();
    let (mut body, mut at, mut known) = (Vec::new(), 0, 0);
    loop {
        match decoder.step(&bytes[at..known])? {
            Step::Skip(count) => {
                assert!(count > 0, "a step without progress");
                at += count;
            }
            Step::Data(count) => {
                assert!(count > 0, "a step without progress");
                body.extend_from_slice(&bytes[at..at + count]);
                decoder.took(count);
                at += count;
            }
            Step::End(count, _) => return Ok(Some((body, at + count))),
            Step::More if known == bytes.len() => return Ok(None),
            Step::More => known = (known + piece).min(bytes.len()),
        }
    }
}

fuzz_target!(|data: &[u8]| {
    let Some((piece, bytes)) = data.split_first() else { return };
    let whole = decode(bytes, bytes.len().max(1));
    let pieces = decode(bytes, usize::from(*piece).max(1));
    // The cause may be seen earlier in a piece; whether there is one may not differ.
    assert_eq!(whole.is_ok(), pieces.is_ok());
    if let (Ok(whole), Ok(pieces)) = (whole, pieces) {
        assert_eq!(whole, pieces);
    }
});
