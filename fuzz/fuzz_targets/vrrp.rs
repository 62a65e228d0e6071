//! Any bytes from any peer: reading never panics, and what is read is written and read again as the same.

#![no_main]

use std::net::IpAddr;

use libfuzzer_sys::{Corpus, fuzz_target};
use mainstay_core::vrrp::{Checksum, GROUP_V4, GROUP_V6, TTL, Version, encode, forms_agree, parse};

fuzz_target!(|input: &[u8]| -> Corpus {
    let Some((&[wire, ttl], payload)) = input.split_first_chunk() else { return Corpus::Reject };
    let (src, dst) = ends(wire);
    // Random bytes have no right checksum: half the inputs are given one, so that what lies behind it is reached.
    let mut sealed = payload.to_vec();
    if wire & 4 != 0 {
        seal(&mut sealed, src, dst, wire & 8 != 0);
    }
    let ttl = if wire & 16 != 0 { ttl } else { TTL };
    if let Ok((advert, form)) = parse(&sealed, src, dst, ttl) {
        assert!(ttl == TTL || !dst.is_multicast());
        assert!(!advert.addrs.is_empty() && advert.vrid != 0 && !advert.interval.is_zero());
        let mut written = Vec::new();
        encode(&advert, src, dst, form, &mut written);
        assert_eq!(written.len(), sealed.len(), "nothing is lost and nothing added");
        assert_eq!(parse(&written, src, dst, ttl), Ok((advert.clone(), form)));
        if advert.version == Version::V3 && src.is_ipv4() && form == Checksum::Message {
            assert!(!forms_agree(src, dst, sealed.len()));
        }
    }
    Corpus::Keep
});

/// Multicast or unicast, IPv4 or IPv6.
fn ends(wire: u8) -> (IpAddr, IpAddr) {
    let (v4, v6) = (IpAddr::from([10, 0, 4, 1]), IpAddr::from([0xfe80, 0, 0, 0, 0, 0, 0, 1]));
    match wire & 3 {
        0 => (v4, GROUP_V4.into()),
        1 => (v4, IpAddr::from([10, 0, 4, 2])),
        2 => (v6, GROUP_V6.into()),
        _ => (v6, IpAddr::from([0xfe80, 0, 0, 0, 0, 0, 0, 2])),
    }
}

/// Writes the right checksum, with or without the pseudo-header; the codec's own arithmetic is not asked.
fn seal(message: &mut [u8], src: IpAddr, dst: IpAddr, pseudo_header: bool) {
    if message.len() < 8 {
        return;
    }
    message[6..8].fill(0);
    let mut covered = Vec::new();
    if pseudo_header {
        for addr in [src, dst] {
            match addr {
                IpAddr::V4(addr) => covered.extend(addr.octets()),
                IpAddr::V6(addr) => covered.extend(addr.octets()),
            }
        }
        covered.extend((message.len() as u32).to_be_bytes());
        covered.extend([0, 0, 0, 112]);
    }
    covered.extend(&*message);
    if covered.len() % 2 == 1 {
        covered.push(0);
    }
    let words = covered.chunks(2).map(|pair| u64::from(pair[0]) << 8 | u64::from(pair[1]));
    // One's complement addition is addition modulo 65,535, save that only nothing sums to zero.
    let sum = match words.sum::<u64>() {
        0 => 0,
        sum => (sum - 1) % 0xffff + 1,
    };
    message[6..8].copy_from_slice(&(!(sum as u16)).to_be_bytes());
}
