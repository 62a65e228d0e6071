//! Any bytes before a tunnel's streams: reading never panics, and what is read is written and read again as the same.

#![no_main]

use libfuzzer_sys::fuzz_target;
use mainstay_core::tunnel::hello::{MESSAGE_MAX, Message, encode, encode_claims, parse, parse_claims, size};

fuzz_target!(|input: &[u8]| {
    if let Ok(Some(whole)) = size(input) {
        assert!(whole <= MESSAGE_MAX);
    }
    if let Ok(claims) = parse_claims(input) {
        // More than a message holds may be read from bytes that are in none.
        if let Ok(bytes) = encode_claims(&claims) {
            assert_eq!(parse_claims(&bytes), Ok(claims));
        }
    }
    let Ok(message) = parse(input) else { return };
    if let Message::Proof(proof) = &message {
        let _ = parse_claims(&proof.claims);
    }
    // Less than was read, never more: fields that are not known are left out.
    let bytes = encode(&message).expect("what was read fits into a message");
    assert_eq!(parse(&bytes), Ok(message));
});
