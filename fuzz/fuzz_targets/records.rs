//! Any bytes between hubs: reading never panics and keeps no more than a message, what is read is written and read again as the same, and
//! the directory takes whatever was said.

#![no_main]

use libfuzzer_sys::fuzz_target;
use mainstay_core::tunnel::directory::{Directory, Input, MESSAGE_MAX, Reader, encode};

fuzz_target!(|input: &[u8]| {
    let mut directory = Directory::default();
    for session in 0..3 {
        directory.handle(Input::Began { session, hub: format!("hub-{}", session % 2), epoch: session });
    }
    let mut reader = Reader::default();
    for (nth, piece) in input.chunks(97).enumerate() {
        reader.feed(piece);
        loop {
            let Ok(message) = reader.take() else { return };
            let Some(message) = message else { break };
            let bytes = encode(&message);
            assert!(bytes.len() <= MESSAGE_MAX);
            let mut again = Reader::default();
            again.feed(&bytes);
            assert_eq!(again.take(), Ok(Some(message.clone())));
            directory.handle(Input::Said(nth as u64 % 3, message));
            while directory.poll_effect().is_some() {}
        }
    }
    for session in 0..3 {
        directory.handle(Input::Ended(session));
    }
    assert_eq!(directory.hubs().count(), 0);
});
