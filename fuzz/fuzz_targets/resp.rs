//! Any bytes as what redis answers: no panic, no more than is borne, and what is whole stays the same whatever follows.

#![no_main]

use libfuzzer_sys::fuzz_target;
use mainstay_core::resp::{Bounds, Reply, reply};

const BOUNDS: Bounds = Bounds { value: 64, list: 5 };

fuzz_target!(|bytes: &[u8]| {
    let Ok(Some((read, length))) = reply(bytes, BOUNDS) else { return };
    assert!((1..=bytes.len()).contains(&length));
    assert_eq!(reply(&bytes[..length], BOUNDS), Ok(Some((read.clone(), length))));
    for short in 0..length.min(200) {
        assert_eq!(reply(&bytes[..short], BOUNDS), Ok(None), "cut at {short}");
    }
    match read {
        Reply::List(list) => {
            assert!(list.len() <= BOUNDS.list);
            assert!(list.iter().all(|one| !matches!(one, Reply::List(_))));
        }
        Reply::Bytes(bytes) => assert!(bytes.len() <= BOUNDS.value),
        Reply::Word(_) | Reply::Error(_) | Reply::Number(_) | Reply::Nothing => {}
    }
});
