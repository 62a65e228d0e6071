//! Heads of requests and responses: no panic, no head out of less than a head, nothing bare in what was taken.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mainstay_core::http1::{Field, HeadLimits, Span, head_may_be_whole, request, response};

const LIMITS: HeadLimits = HeadLimits { bytes: 8192, fields: 50, drop_underscores: false };

/// What every head that was taken has in common.
fn is_sound(head: &[u8], fields: &[Field]) {
    for (at, byte) in head.iter().enumerate() {
        match byte {
            b'\n' => assert!(at > 0 && head[at - 1] == b'\r', "a bare LF was taken"),
            b'\r' => assert_eq!(head.get(at + 1), Some(&b'\n'), "a bare CR was taken"),
            0 => panic!("a NUL was taken"),
            _ => {}
        }
    }
    let text = |span: Span| &head[span.start as usize..span.end as usize];
    for field in fields {
        assert!(!text(field.name).is_empty());
        assert!(!text(field.value).iter().any(|b| matches!(b, b'\r' | b'\n')));
    }
}

fuzz_target!(|data: &[u8]| {
    let mut fields = Vec::new();
    if let Ok(Some(head)) = request(data, &LIMITS, |field| fields.push(field)) {
        let taken = &data[..head.length];
        is_sound(taken, &fields);
        assert!(head.target.of(taken).first().is_some_and(|b| matches!(b, b'/' | b'*' | b'?')));
        assert!(!head.target.of(taken).iter().any(|b| *b <= b' '));
        for end in (0..head.length).rev().take(64) {
            assert!(!matches!(request(&data[..end], &LIMITS, |_| {}), Ok(Some(_))), "half a head was taken");
        }
        assert!(head_may_be_whole(taken, head.length - 1));
    }
    for to_head in [false, true] {
        let mut fields = Vec::new();
        if let Ok(Some(head)) = response(data, &LIMITS, to_head, |field| fields.push(field)) {
            is_sound(&data[..head.length], &fields);
            assert!((100..=999).contains(&head.status));
        }
    }
});
