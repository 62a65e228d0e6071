//! Any bytes as WebSocket frames, in pieces: no panic, no byte out of nothing, and the pieces change nothing.

#![no_main]

use libfuzzer_sys::fuzz_target;
use mainstay_core::tunnel::websocket::{Decoder, Side};

fn read(side: Side, bytes: &[u8], piece: usize) -> (Vec<u8>, usize, bool) {
    let (mut decoder, mut all, mut asked) = (Decoder::new(side), Vec::new(), Vec::new());
    for piece in bytes.chunks(piece) {
        let mut buffer = piece.to_vec();
        match decoder.decode(&mut buffer, &mut asked) {
            Ok(kept) => all.extend_from_slice(&buffer[..kept]),
            Err(_) => return (Vec::new(), 0, true),
        }
    }
    assert!(all.len() <= bytes.len());
    (all, asked.len(), decoder.is_closed())
}

fuzz_target!(|input: (bool, u8, &[u8])| {
    let (client, piece, bytes) = input;
    let side = if client { Side::Client } else { Side::Server };
    assert_eq!(read(side, bytes, usize::from(piece).max(1)), read(side, bytes, bytes.len().max(1)));
});
