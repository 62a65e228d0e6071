//! Messages as bytes, so that a version of today is spoken tomorrow.

use super::tests::{challenge, claims, hello};
use super::*;

const HELLO: &str =
    "4d53544e01000047 0100020101 02000101 03000d6272616e6368206f6666696365 0400080102030405060708
    0500200707070707070707070707070707070707070707070707070707070707070707";
const CHALLENGE: &str =
    "4d53544e02000046 01000101 020006656467652d31 0300080000000000000009 0400080001000200000003
    0500200808080808080808080808080808080808080808080808080808080808080808";
const CLAIMS: &str = "0100200303030303030303030303030303030303030303030303030303030303030303
    02002c 0000 01 01 0001 2433383134333365312d373938302d313165652d626264622d363066323632633165333264 00
    02003b 0007 03 00 012c 2433383134333365312d373938302d313165652d626264622d363066323632633165333264
    0f6170702e6578616d706c652e636f6d";

fn bytes(hex: &str) -> Vec<u8> {
    let digits: Vec<u32> = hex.chars().filter_map(|c| c.to_digit(16)).collect();
    digits.chunks(2).map(|pair| u8::try_from(pair[0] * 16 + pair[1]).unwrap()).collect()
}

#[test]
fn a_hello_is_these_bytes() {
    assert_eq!(encode(&Message::Hello(hello())).unwrap(), bytes(HELLO));
    assert_eq!(parse(&bytes(HELLO)), Ok(Message::Hello(hello())));
}

#[test]
fn a_challenge_is_these_bytes() {
    assert_eq!(encode(&Message::Challenge(challenge())).unwrap(), bytes(CHALLENGE));
    assert_eq!(parse(&bytes(CHALLENGE)), Ok(Message::Challenge(challenge())));
}

#[test]
fn claims_are_these_bytes() {
    assert_eq!(encode_claims(&claims()).unwrap(), bytes(CLAIMS));
    assert_eq!(parse_claims(&bytes(CLAIMS)), Ok(claims()));
}

#[test]
fn a_refusal_is_these_bytes() {
    let refused = Message::Refused(Refused { cause: Cause::Leaving, sentence: "bye".into() });
    let golden = bytes("4d53544e0500000b 0100020006 020003627965");
    assert_eq!(encode(&refused).unwrap(), golden);
    assert_eq!(parse(&golden), Ok(refused));
}

#[test]
fn what_is_signed_is_these_bytes() {
    let golden =
        bytes("00000011 6d61696e737461792074756e6e656c2031 00000001 61 00000002 6263 00000000 00000001 64");
    assert_eq!(transcript(b"a", b"bc", b"", b"d"), golden);
}
