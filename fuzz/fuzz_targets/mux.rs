//! A tunnel's session and a hostile other side: no panic, bounded memory, and it owes nothing in the end.
#![no_main]

use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use mainstay_core::time::Boot;
use mainstay_core::tunnel::{Heard, Key, Limits, Mux, Open, Side, Unread};

const LIMITS: Limits = Limits {
    budget: 64 << 10,
    streams: 256,
    window: 16 << 10,
    window_max: 64 << 10,
    ping: Duration::from_secs(1),
    silence: Duration::from_secs(3),
};

/// What is staged at most: answers up to their bound, and what streams may stage.
const STAGED_MAX: usize = (1 << 20) + (128 << 10);

fuzz_target!(|input: &[u8]| {
    let Some((&mode, bytes)) = input.split_first() else { return };
    let side = if mode & 1 == 0 { Side::Hub } else { Side::Agent };
    let mut now = Boot::from_nanos(1);
    let mut mux = Mux::new(side, LIMITS, now);
    let mut stream = Vec::new();
    if mode & 2 == 0 {
        // LIMITS with nothing in it: what must be allowed at least.
        stream.extend_from_slice(&[0, 0, 0, 0, 0, 0, 8, 0]);
    }
    stream.extend_from_slice(bytes);
    let mut keys: Vec<Key> =
        (0..3).filter_map(|_| mux.open(&Open::default(), b"first", now).ok()).map(|(key, _)| key).collect();
    for chunk in stream.chunks(usize::from(mode >> 4) * 37 + 1) {
        now += Duration::from_micros(200);
        hear(&mut mux, chunk, &mut keys, mode & 4 == 0, now);
        mux.tick(now);
        for key in &keys {
            let _ = mux.send(*key, &[7; 3000]);
        }
        while mux.poll_effect().is_some() {}
        assert!(mux.output().len() <= STAGED_MAX, "{} bytes are staged", mux.output().len());
        assert!(mux.unread() <= LIMITS.memory_max() + 3 * (8 << 10), "{} bytes are unread", mux.unread());
        if mode & 8 == 0 {
            mux.sent(mux.output().len());
        }
    }
    mux.lost("over");
    keys.drain(..).for_each(|key| mux.forget(key));
    assert_eq!((mux.living(), mux.unread()), (0, 0), "a lost session has no streams");
});

fn hear(mux: &mut Mux, mut input: &[u8], keys: &mut Vec<Key>, eager: bool, now: Boot) {
    while let Some(heard) = mux.receive(&mut input, now) {
        match heard {
            Heard::Opened(key, _) => keys.push(key),
            Heard::Data(key, bytes) => mux.deliver(key, bytes, if eager { bytes.len() } else { 0 }, now),
            Heard::Datagram(key, bytes) => {
                let len = bytes.len();
                mux.deliver_datagram(key, len, (!eager).then_some(bytes), now);
            }
            Heard::Ended(key) => {
                while let Ok(Unread::Bytes(bytes)) = mux.unread_of(key) {
                    let count = bytes.len();
                    mux.consume(key, count, now);
                }
                mux.finish(key);
            }
            Heard::Reset(key, _) => {
                keys.retain(|kept| *kept != key);
                mux.forget(key);
            }
            Heard::Left | Heard::News => {}
        }
    }
}
