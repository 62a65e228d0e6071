//! Adverts as keepalived 2.2.7 sent them on a wire: each is read as what its configuration says, and written the same.

use std::net::IpAddr;
use std::time::Duration;

use super::{Advert, Checksum, Reject, TTL, Version, encode, parse};

/// One captured advert.
struct Vector {
    /// The `vrrp_instance` that sent it.
    what: &'static str,
    src: &'static str,
    dst: &'static str,
    ttl: u8,
    bytes: &'static str,
    version: Version,
    vrid: u8,
    priority: u8,
    interval: Duration,
    addrs: &'static [&'static str],
    password: Option<&'static [u8; 8]>,
    checksum: Checksum,
}

const V2_MULTICAST: Vector = Vector {
    what: "version 2, multicast, auth_pass s3cret",
    src: "10.0.4.1",
    dst: "224.0.0.18",
    ttl: 255,
    bytes: "213396020101eee9 0a000463 0a000462 7333637265740000",
    version: Version::V2,
    vrid: 51,
    priority: 150,
    interval: Duration::from_secs(1),
    addrs: &["10.0.4.99", "10.0.4.98"],
    password: Some(b"s3cret\0\0"),
    checksum: Checksum::Message,
};

const V2_UNICAST: Vector = Vector {
    what: "version 2, unicast, no authentication, advert_int 2",
    dst: "10.0.4.2",
    bytes: "2134640100026c65 0a000463 0000000000000000",
    vrid: 52,
    priority: 100,
    interval: Duration::from_secs(2),
    addrs: &["10.0.4.99"],
    password: None,
    ..V2_MULTICAST
};

const V3_MULTICAST: Vector = Vector {
    what: "version 3, multicast, advert_int 0.1",
    bytes: "3135c801000a09cc 0a000463",
    version: Version::V3,
    vrid: 53,
    priority: 200,
    interval: Duration::from_millis(100),
    addrs: &["10.0.4.99"],
    password: None,
    checksum: Checksum::PseudoHeader,
    ..V2_MULTICAST
};

const V3_UNICAST: Vector = Vector {
    what: "version 3, unicast, two addresses",
    dst: "10.0.4.2",
    bytes: "3135c802000acd76 0a000463 0a000461",
    addrs: &["10.0.4.99", "10.0.4.97"],
    ..V3_MULTICAST
};

const V6_MULTICAST: Vector = Vector {
    what: "version 3, IPv6, multicast",
    src: "fe80::ff:fe00:a",
    dst: "ff02::12",
    bytes: "3137c80200640c72 fe800000000000000000000000000099 fd000004000000000000000000000099",
    vrid: 55,
    interval: Duration::from_secs(1),
    addrs: &["fe80::99", "fd00:4::99"],
    ..V3_MULTICAST
};

/// keepalived 2.2.7 sends unicast over IPv6 with the kernel's hop limit of 64, over IPv4 with 255.
const V6_UNICAST: Vector = Vector {
    what: "version 3, IPv6, unicast, advert_int 1.5",
    src: "fd00:4::1",
    dst: "fd00:4::2",
    ttl: 64,
    bytes: "313801010096d4fd fd000004000000000000000000000099",
    vrid: 56,
    priority: 1,
    interval: Duration::from_millis(1_500),
    addrs: &["fd00:4::99"],
    ..V6_MULTICAST
};

/// Each configuration's usual advert, and what it sent when it was stopped.
const CAPTURED: [Vector; 12] = [
    V2_MULTICAST,
    Vector { bytes: "21330002010184ea 0a000463 0a000462 7333637265740000", priority: 0, ..V2_MULTICAST },
    V2_UNICAST,
    Vector { bytes: "213400010002d065 0a000463 0000000000000000", priority: 0, ..V2_UNICAST },
    V3_MULTICAST,
    Vector { bytes: "31350001000ad1cc 0a000463", priority: 0, ..V3_MULTICAST },
    V3_UNICAST,
    Vector { bytes: "31350002000a9577 0a000463 0a000461", priority: 0, ..V3_UNICAST },
    V6_MULTICAST,
    Vector {
        bytes: "313700020064d472 fe800000000000000000000000000099 fd000004000000000000000000000099",
        priority: 0,
        ..V6_MULTICAST
    },
    V6_UNICAST,
    Vector { bytes: "313800010096d5fd fd000004000000000000000000000099", priority: 0, ..V6_UNICAST },
];

#[test]
fn what_keepalived_sends_is_read_as_its_configuration_says() {
    for vector in CAPTURED {
        let read = parse(&hex(vector.bytes), ip(vector.src), ip(vector.dst), vector.ttl);
        assert_eq!(read, Ok((vector.advert(), vector.checksum)), "{}", vector.what);
    }
}

#[test]
fn we_write_the_bytes_that_keepalived_writes() {
    for vector in CAPTURED {
        let mut out = Vec::new();
        encode(&vector.advert(), ip(vector.src), ip(vector.dst), vector.checksum, &mut out);
        assert_eq!(out, hex(vector.bytes), "{}", vector.what);
    }
}

#[test]
fn no_bit_of_a_captured_advert_can_flip_unnoticed() {
    for vector in CAPTURED {
        let bytes = hex(vector.bytes);
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            let read = parse(&flipped, ip(vector.src), ip(vector.dst), vector.ttl);
            let reject = read.expect_err("a flipped bit is noticed");
            let early = [Reject::Version, Reject::Type, Reject::Count, Reject::Length, Reject::Family];
            assert!(reject == Reject::Checksum || early.contains(&reject), "{}: bit {bit}", vector.what);
        }
    }
}

#[test]
fn multicast_adverts_of_keepalived_with_any_other_ttl_are_refused() {
    for vector in [V2_MULTICAST, V3_MULTICAST, V6_MULTICAST] {
        for ttl in 0..TTL {
            let read = parse(&hex(vector.bytes), ip(vector.src), ip(vector.dst), ttl);
            assert_eq!(read, Err(Reject::Ttl), "{}: {ttl}", vector.what);
        }
    }
}

impl Vector {
    fn advert(&self) -> Advert {
        let &Self { version, vrid, priority, interval, .. } = self;
        let addrs = self.addrs.iter().map(|addr| ip(addr)).collect();
        Advert { version, vrid, priority, interval, addrs, password: self.password.copied() }
    }
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.bytes().filter(|byte| *byte != b' ').collect();
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
    digits.chunks(2).map(byte).collect()
}
