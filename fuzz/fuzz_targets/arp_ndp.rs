//! Any frame from the link: reading never panics, and what is read is written and read again as the same.

#![no_main]

use libfuzzer_sys::fuzz_target;
use mainstay_core::arp::{ArpView, ETHERTYPE as ARP};
use mainstay_core::ndp::{ETHERTYPE as IPV6, NdpView};

fuzz_target!(|frame: &[u8]| {
    both(frame);
    // Few random frames get past the headers: the same bytes again behind good ones.
    for ethertype in [ARP, IPV6] {
        both(&framed(frame, ethertype));
    }
});

fn both(frame: &[u8]) {
    if let Some(view) = ArpView::parse(frame) {
        let written = view.encode();
        assert_eq!(written[..], frame[..written.len()], "an ARP frame has no second spelling");
        assert_eq!(ArpView::parse(&written), Some(view));
        assert!(!view.claims(view.sender_ip, &[view.sender_mac]));
        assert!(view.claims(view.sender_ip, &[]));
    }
    if let Some(view) = NdpView::parse(frame) {
        assert_eq!(NdpView::parse(&view.encode()), Some(view));
        assert!(!view.target.is_multicast() && !view.src.is_multicast());
        assert!(!view.wants(view.target, &[view.from]));
    }
}

/// `body` behind right Ethernet and IPv6 headers, with a right length and checksum.
fn framed(body: &[u8], ethertype: u16) -> Vec<u8> {
    let mut frame = vec![2; 12];
    frame.extend(ethertype.to_be_bytes());
    if ethertype != IPV6 {
        frame.extend([0, 1, 8, 0, 6, 4, 0]);
        frame.extend(body);
        return frame;
    }
    let Some((ends, message)) = body.split_at_checked(32) else { return frame };
    let message = &message[..message.len().min(1_500)];
    frame.extend([0x60, 0, 0, 0]);
    frame.extend((message.len() as u16).to_be_bytes());
    frame.extend([58, 255]);
    frame.extend(ends);
    let start = frame.len();
    frame.extend(message);
    if message.len() >= 4 {
        let sum = checksum(ends, message);
        frame[start + 2..start + 4].copy_from_slice(&sum);
    }
    frame
}

/// The ICMPv6 checksum of a message whose own checksum field counts as zero.
fn checksum(ends: &[u8], message: &[u8]) -> [u8; 2] {
    let mut covered = ends.to_vec();
    covered.extend((message.len() as u32).to_be_bytes());
    covered.extend([0, 0, 0, 58]);
    let start = covered.len();
    covered.extend(message);
    covered[start + 2..start + 4].fill(0);
    if covered.len() % 2 == 1 {
        covered.push(0);
    }
    let words = covered.chunks(2).map(|pair| u64::from(pair[0]) << 8 | u64::from(pair[1]));
    let sum = (words.sum::<u64>().max(1) - 1) % 0xffff + 1;
    (!(sum as u16)).to_be_bytes()
}
