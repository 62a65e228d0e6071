//! A second reader for every packet that we write: tshark must dissect them without a complaint. Where tshark is not
//! installed these tests say so and pass.

use std::io::Write;
use std::net::IpAddr;
use std::process::{Command, Stdio};
use std::time::Duration;

use mainstay_core::vrrp::{Advert, Checksum, GROUP_V4, GROUP_V6, PROTOCOL, TTL, Version, encode};
use mainstay_core::{arp, ndp};

/// tshark takes version 3 over IPv4 to cover the pseudo-header unless this is true.
const MESSAGE_ONLY: &str = "vrrp.v3_checksum_as_in_v2:TRUE";
const PSEUDO_HEADER: &str = "vrrp.v3_checksum_as_in_v2:FALSE";
const MAC: arp::Mac = [2, 0, 0, 0, 0, 0x0a];
const ASKER: arp::Mac = [2, 0, 0, 0, 0, 0x0b];

#[test]
fn adverts_of_every_kind_are_dissected_without_a_warning() {
    let (one, two) = (ip("10.0.4.1"), ip("10.0.4.2"));
    let (near, far) = (ip("fe80::1"), ip("fd00:4::2"));
    let secret = Some(*b"s3cret\0\0");
    let (v4, v6) = (["10.0.4.99", "10.0.4.98"], ["fe80::99", "fd00:4::99"]);
    let mut frames = Vec::new();
    for (version, src, dst, addrs, password) in [
        (Version::V2, one, GROUP_V4.into(), v4, secret),
        (Version::V2, one, two, v4, None),
        (Version::V3, one, GROUP_V4.into(), v4, None),
        (Version::V3, one, two, v4, None),
        (Version::V3, near, GROUP_V6.into(), v6, None),
        (Version::V3, near, far, v6, None),
    ] {
        for (priority, seconds) in [(0, 1), (100, 3), (255, 40)] {
            let (interval, addrs) = (Duration::from_secs(seconds), addrs.map(ip).to_vec());
            frames.push((src, dst, Advert { version, vrid: 51, priority, interval, addrs, password }));
        }
    }
    for (checksum, preference) in [(Checksum::PseudoHeader, PSEUDO_HEADER), (Checksum::Message, MESSAGE_ONLY)]
    {
        let wire: Vec<_> =
            frames.iter().map(|(src, dst, advert)| sent(advert, *src, *dst, checksum)).collect();
        for (said, (_, _, advert)) in dissect(&wire, preference).iter().zip(&frames) {
            assert_eq!(complaints(said), Vec::<&str>::new(), "{advert:?}\n{said}");
            assert!(said.contains("Virtual Router Redundancy Protocol"), "{said}");
            assert!(said.contains("Checksum Status: Good"), "{said}");
            assert!(said.contains(&format!("Priority: {} ", advert.priority)), "{said}");
        }
    }
}

#[test]
fn this_reader_can_tell_the_forms_of_checksum_apart() {
    let (src, dst) = (ip("10.0.4.1"), GROUP_V4.into());
    let (version, interval, addrs) = (Version::V3, Duration::from_secs(1), vec![ip("10.0.4.99")]);
    let advert = Advert { version, vrid: 51, priority: 100, interval, addrs, password: None };
    for (checksum, preference) in [(Checksum::Message, PSEUDO_HEADER), (Checksum::PseudoHeader, MESSAGE_ONLY)]
    {
        for said in dissect(&[sent(&advert, src, dst, checksum)], preference) {
            assert_ne!(complaints(&said), Vec::<&str>::new(), "{checksum:?}\n{said}");
        }
    }
}

#[test]
fn announcements_probes_and_answers_are_dissected_without_a_warning() {
    let (v4, v6) = ([10, 0, 4, 99].into(), "fd00:4::99".parse().expect("an address"));
    let (asker_v4, asker_v6) = ([10, 0, 4, 2].into(), "fd00:4::2".parse().expect("an address"));
    let (frames, titles): (Vec<Vec<u8>>, Vec<&str>) = [
        (arp::gratuitous(v4, MAC).to_vec(), "(request/gratuitous ARP)"),
        (arp::probe(v4, MAC).to_vec(), "(ARP Probe)"),
        (arp::reply(v4, MAC, asker_v4, ASKER).to_vec(), "Opcode: reply (2)"),
        (ndp::unsolicited(v6, MAC, false).to_vec(), "Neighbor Advertisement"),
        (ndp::unsolicited(v6, MAC, true).to_vec(), "Neighbor Advertisement"),
        (ndp::reply(v6, MAC, asker_v6, ASKER, false).to_vec(), "Neighbor Advertisement"),
        (ndp::probe(v6, MAC).to_vec(), "Neighbor Solicitation"),
    ]
    .into_iter()
    .unzip();
    for (said, title) in dissect(&frames, PSEUDO_HEADER).iter().zip(titles) {
        assert_eq!(complaints(said), Vec::<&str>::new(), "{said}");
        assert!(said.contains(title), "{title}\n{said}");
    }
}

/// What tshark prints about each Ethernet frame; nothing without tshark.
fn dissect(frames: &[Vec<u8>], preference: &str) -> Vec<String> {
    let arguments = ["-r", "-", "-V", "-o", preference, "-o", "ip.check_checksum:TRUE"];
    let mut command = Command::new("tshark");
    command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
    let Ok(mut tshark) = command.spawn() else {
        eprintln!("skipped: tshark is not installed");
        return Vec::new();
    };
    let mut stdin = tshark.stdin.take().expect("it was asked for");
    stdin.write_all(&capture(frames)).expect("tshark reads its standard input");
    drop(stdin);
    let output = tshark.wait_with_output().expect("tshark was started");
    assert!(output.status.success(), "tshark {arguments:?} ended with {}", output.status);
    let text = String::from_utf8(output.stdout).expect("tshark prints UTF-8");
    let said: Vec<_> = text.split("\n\n").filter(|said| said.contains("Frame")).map(str::to_owned).collect();
    assert_eq!(said.len(), frames.len(), "one answer for each frame\n{text}");
    said
}

/// The lines that find fault with a packet.
fn complaints(said: &str) -> Vec<&str> {
    let faults = ["expert info", "malformed", "incorrect", "bad checksum", "status: bad", "unverified"];
    let found = |line: &&str| faults.iter().any(|fault| line.to_ascii_lowercase().contains(fault));
    said.lines().filter(found).collect()
}

/// A capture file (pcap, Ethernet), one frame a second.
fn capture(frames: &[Vec<u8>]) -> Vec<u8> {
    let header = [0xa1b2_c3d4_u32, 0x0002_0004, 0, 0, 65_535, 1];
    let mut file: Vec<u8> = header.iter().flat_map(|word| word.to_be_bytes()).collect();
    for (second, frame) in (0..).zip(frames) {
        let len = u32::try_from(frame.len()).expect("a frame is short");
        file.extend([second, 0, len, len].iter().flat_map(|word: &u32| word.to_be_bytes()));
        file.extend(frame);
    }
    file
}

/// The advert as it goes over the wire.
fn sent(advert: &Advert, src: IpAddr, dst: IpAddr, checksum: Checksum) -> Vec<u8> {
    let mut message = Vec::new();
    encode(advert, src, dst, checksum, &mut message);
    ethernet(src, dst, &message)
}

/// The frame in which a kernel would send a VRRP message.
fn ethernet(src: IpAddr, dst: IpAddr, message: &[u8]) -> Vec<u8> {
    let len = u16::try_from(message.len()).expect("a message is short");
    let (to, ethertype, header) = match (src, dst) {
        (IpAddr::V4(src), IpAddr::V4(dst)) => {
            let [_, b, c, d] = dst.octets();
            let [high, low] = (len + 20).to_be_bytes();
            let mut header = vec![0x45, 0xc0, high, low, 0, 1, 0, 0, TTL, PROTOCOL, 0, 0];
            header.extend(src.octets());
            header.extend(dst.octets());
            let sum = ip_checksum(&header);
            header[10..12].copy_from_slice(&sum);
            (if dst.is_multicast() { [1, 0, 0x5e, b, c, d] } else { ASKER }, 0x0800_u16, header)
        }
        (IpAddr::V6(src), IpAddr::V6(dst)) => {
            let [high, low] = len.to_be_bytes();
            let mut header = vec![0x6c, 0, 0, 0, high, low, PROTOCOL, TTL];
            header.extend(src.octets());
            header.extend(dst.octets());
            (if dst.is_multicast() { ndp::multicast(dst) } else { ASKER }, ndp::ETHERTYPE, header)
        }
        (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => panic!("{src} cannot reach {dst}"),
    };
    [&to[..], &MAC, &ethertype.to_be_bytes(), &header, message].concat()
}

fn ip_checksum(header: &[u8]) -> [u8; 2] {
    let words = header.chunks(2).map(|pair| u32::from(pair[0]) << 8 | u32::from(pair[1]));
    let sum: u32 = words.sum();
    let folded = (sum & 0xffff) + (sum >> 16);
    (!u16::try_from((folded & 0xffff) + (folded >> 16)).expect("folded twice")).to_be_bytes()
}

fn ip(text: &str) -> IpAddr {
    text.parse().expect("a test writes its addresses well")
}
