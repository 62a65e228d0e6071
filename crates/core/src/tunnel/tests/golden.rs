//! The wire, byte by byte.

use super::rig::{SMALL, hear};
use crate::time::Boot;
use crate::tunnel::{Closed, Code, Health, Kind, Limits, Mux, News, Open, Side};

/// An agent that has said what a session begins with, and has heard it.
fn agent() -> Mux {
    let now = Boot::from_nanos(1);
    let mut agent = Mux::new(Side::Agent, SMALL, now);
    let begun = agent.output().to_vec();
    assert_eq!(
        begun,
        hex("00000000 0015 08 00  01 0004 00010000  02 0004 00000100  03 0004 00004000
                           00000000 000f 05 00  0000000000000001  01 0004 00000000")
    );
    agent.sent(begun.len());
    hear(&mut agent, &begun, now);
    // Our own PING came back to us, so we answer it.
    assert_eq!(agent.output(), hex("00000000 0008 06 00  0000000000000001"));
    agent.sent(agent.output().len());
    agent
}

fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
    digits.chunks(2).map(|two| u8::from_str_radix(std::str::from_utf8(two).unwrap(), 16).unwrap()).collect()
}

#[test]
fn the_default_limits_are_what_the_page_says() {
    let limits = Limits::default();
    assert_eq!((limits.window, limits.window_max), (256 << 10, 4 << 20));
    assert_eq!((limits.ping.as_secs(), limits.silence.as_secs()), (1, 3));
}

#[test]
fn an_opening_with_first_bytes_data_and_an_end() {
    let mut agent = agent();
    let open = Open {
        kind: Kind::Bytes,
        target: "web".to_owned(),
        visitor: Some("192.0.2.7:80".parse().unwrap()),
        destination: Some("[::1]:443".parse().unwrap()),
        host: Some("a.b".to_owned()),
        hops: vec!["h1".to_owned()],
    };
    let (key, _) = agent.open(&open, b"hi", Boot::from_nanos(2)).unwrap();
    agent.send(key, b"abc").unwrap();
    agent.finish(key);
    let wire = hex("00000001 0033 01 00  002f
                    01 0003 776562  02 0006 c0000207 0050  03 0012 00000000000000000000000000000001 01bb
                    04 0003 612e62  05 0002 6831  6869
                    00000001 0003 02 01  616263");
    assert_eq!(agent.output(), wire);
}

#[test]
fn datagrams_resets_and_an_end_by_itself() {
    let mut agent = agent();
    let open = Open { kind: Kind::Datagrams, ..Open::default() };
    let (key, _) = agent.open(&open, b"", Boot::from_nanos(2)).unwrap();
    agent.send_datagram(key, b"");
    agent.finish(key);
    agent.reset(key, Code::Denied);
    let wire = hex("00000001 0005 01 02  0003  01 0000
                    00000001 0000 02 00
                    00000001 0000 02 01
                    00000001 0002 03 00  0004");
    assert_eq!(agent.output(), wire);
}

#[test]
fn pings_with_news_and_goodbyes() {
    let mut agent = agent();
    let now = Boot::from_nanos(2);
    agent.tell(News {
        load: 258,
        targets: vec![("web".to_owned(), Health::Up), ("x".to_owned(), Health::Down)],
    });
    agent.tick(now);
    agent.close(Closed::Asked);
    let wire =
        hex("00000000 001b 05 00  0000000000000002  01 0004 00000102  02 0004 01 776562  02 0002 02 78
                    00000000 0012 07 00  00000000 69742077617320746f6c6420746f");
    assert_eq!(agent.output(), wire);
}
