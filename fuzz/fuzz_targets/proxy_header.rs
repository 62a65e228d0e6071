//! The first bytes of a connection: a PROXY header or a ClientHello is read, waited for or refused, without a panic; a prefix of
//! what is read is waited for, and a header that is written again means the same.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mainstay_core::hello;
use mainstay_core::proxy_header::{BINARY_MAX, Header, TEXT_MAX, parse, write_binary, write_text};

fuzz_target!(|bytes: &[u8]| {
    match parse(bytes) {
        Ok(Some((header, used))) => {
            assert!(used <= bytes.len() && used <= BINARY_MAX.max(TEXT_MAX));
            for cut in 0..used {
                assert_eq!(parse(&bytes[..cut]), Ok(None));
            }
            if let Header::Relayed { source, destination } = header {
                let canonical = |addr: std::net::SocketAddr| addr.ip().to_canonical().is_ipv4();
                let same_family = canonical(source) == canonical(destination);
                let (mut text, mut binary) = (Vec::new(), Vec::new());
                write_text(Some((source, destination)), &mut text);
                write_binary(Some((source, destination)), false, &mut binary);
                for form in [text, binary] {
                    let (again, length) = parse(&form).expect("what was written can be read").expect("it is whole");
                    assert_eq!(length, form.len());
                    assert!(!same_family || again != Header::Unknown);
                }
            }
        }
        Ok(None) => assert!(bytes.len() < BINARY_MAX),
        Err(_) => {}
    }
    if let Ok(Some(hello)) = hello::parse(bytes) {
        assert!(hello.server_name.is_none_or(|name| name.len() <= 255 && !name.is_empty()));
    }
});
