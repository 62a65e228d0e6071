//! The PROXY header, versions 1 and 2: who is at the far end of a connection that a proxy has passed on.
//!
//! Source: "The PROXY protocol, Versions 1 & 2", haproxy.org/download/2.6/doc/proxy-protocol.txt, sections 2.1 and 2.2.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use thiserror::Error;

/// The binary form begins with these bytes.
pub const SIGNATURE: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";

/// The text form is never longer, its CRLF included (section 2.1).
pub const TEXT_MAX: usize = 107;

/// The longest binary form that is taken: the addresses and some kilobytes of TLVs (a certificate's names among them).
pub const BINARY_MAX: usize = 4096;

/// Bytes of the binary form before its addresses.
const FIXED: usize = 16;

/// What a header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Header {
    /// The connection is relayed for this source, which wanted this destination.
    Relayed {
        /// Who connected.
        source: SocketAddr,
        /// Where to.
        destination: SocketAddr,
    },
    /// Relayed, but by an address family that is no use here (`UNKNOWN`, unix sockets): the connection's own addresses count.
    Unknown,
    /// The proxy speaks for itself, a health check as a rule (`LOCAL`).
    Local,
}

/// What is wrong with a header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Wrong {
    /// Neither form.
    #[error("the connection does not begin with a PROXY header")]
    Missing,
    /// No CRLF where the longest text form ends.
    #[error("the text form is longer than 107 bytes")]
    TextTooLong,
    /// The text form does not say what it should.
    #[error("the text form is malformed")]
    Text,
    /// A version other than 2.
    #[error("the binary form is not of version 2")]
    Version,
    /// A command other than LOCAL and PROXY.
    #[error("the binary form has an unknown command")]
    Command,
    /// A family or transport that the form does not have.
    #[error("the binary form has an unknown address family")]
    Family,
    /// Addresses that do not fit into the announced length.
    #[error("the binary form is too short for its addresses")]
    Short,
    /// More TLVs than anybody needs.
    #[error("the binary form is longer than 4096 bytes")]
    BinaryTooLong,
}

/// Reads a header at the beginning of `bytes`: what it says and how long it is, or `None` when more bytes are needed.
///
/// # Errors
/// When no further byte can make a header of it.
pub fn parse(bytes: &[u8]) -> Result<Option<(Header, usize)>, Wrong> {
    let common = bytes.iter().zip(&SIGNATURE).take_while(|(a, b)| a == b).count();
    if common == SIGNATURE.len() {
        return binary(bytes);
    }
    if common == bytes.len() && !bytes.is_empty() {
        return Ok(None);
    }
    let start = b"PROXY ";
    let common = bytes.iter().zip(start).take_while(|(a, b)| a == b).count();
    if common == start.len() {
        return text(bytes);
    }
    if common == bytes.len() { Ok(None) } else { Err(Wrong::Missing) }
}

/// Section 2.1.
fn text(bytes: &[u8]) -> Result<Option<(Header, usize)>, Wrong> {
    let seen = &bytes[..bytes.len().min(TEXT_MAX)];
    let Some(end) = seen.windows(2).position(|pair| pair == b"\r\n") else {
        return if seen.len() == TEXT_MAX { Err(Wrong::TextTooLong) } else { Ok(None) };
    };
    let line = std::str::from_utf8(&seen[..end]).map_err(|_| Wrong::Text)?;
    let used = end + 2;
    let mut words = line.split(' ').skip(1);
    let family = words.next().ok_or(Wrong::Text)?;
    if family == "UNKNOWN" {
        return Ok(Some((Header::Unknown, used)));
    }
    let mut next = || words.next().ok_or(Wrong::Text);
    let (source, destination, source_port, destination_port) = (next()?, next()?, next()?, next()?);
    if words.next().is_some() {
        return Err(Wrong::Text);
    }
    let addr = |word: &str| -> Result<IpAddr, Wrong> {
        match family {
            "TCP4" => word.parse::<Ipv4Addr>().map(IpAddr::V4).map_err(|_| Wrong::Text),
            "TCP6" => word.parse::<Ipv6Addr>().map(IpAddr::V6).map_err(|_| Wrong::Text),
            _ => Err(Wrong::Text),
        }
    };
    let port = |word: &str| -> Result<u16, Wrong> {
        let plain = !word.is_empty() && word.bytes().all(|b| b.is_ascii_digit());
        if !plain || (word.len() > 1 && word.starts_with('0')) {
            return Err(Wrong::Text);
        }
        word.parse().map_err(|_| Wrong::Text)
    };
    let source = SocketAddr::new(addr(source)?, port(source_port)?);
    let destination = SocketAddr::new(addr(destination)?, port(destination_port)?);
    Ok(Some((Header::Relayed { source, destination }, used)))
}

/// Section 2.2.
fn binary(bytes: &[u8]) -> Result<Option<(Header, usize)>, Wrong> {
    let Some(fixed) = bytes.get(..FIXED) else { return Ok(None) };
    if fixed[12] >> 4 != 2 {
        return Err(Wrong::Version);
    }
    let command = fixed[12] & 0xf;
    if command > 1 {
        return Err(Wrong::Command);
    }
    let (family, transport) = (fixed[13] >> 4, fixed[13] & 0xf);
    if family > 3 || transport > 2 {
        return Err(Wrong::Family);
    }
    let length = usize::from(u16::from_be_bytes([fixed[14], fixed[15]]));
    let used = FIXED + length;
    if used > BINARY_MAX {
        return Err(Wrong::BinaryTooLong);
    }
    let Some(body) = bytes.get(FIXED..used) else { return Ok(None) };
    if command == 0 {
        return Ok(Some((Header::Local, used)));
    }
    let header = match family {
        1 => inet4(body).ok_or(Wrong::Short)?,
        2 => inet6(body).ok_or(Wrong::Short)?,
        _ => Header::Unknown,
    };
    Ok(Some((if transport == 0 { Header::Unknown } else { header }, used)))
}

fn inet4(body: &[u8]) -> Option<Header> {
    let addr = |at: usize| body.get(at..at + 4)?.first_chunk::<4>().map(|b| IpAddr::V4(Ipv4Addr::from(*b)));
    Some(Header::Relayed {
        source: SocketAddr::new(addr(0)?, port(body, 8)?),
        destination: SocketAddr::new(addr(4)?, port(body, 10)?),
    })
}

fn inet6(body: &[u8]) -> Option<Header> {
    let addr = |at: usize| body.get(at..at + 16)?.first_chunk::<16>().map(|b| IpAddr::V6(Ipv6Addr::from(*b)));
    Some(Header::Relayed {
        source: SocketAddr::new(addr(0)?, port(body, 32)?),
        destination: SocketAddr::new(addr(16)?, port(body, 34)?),
    })
}

fn port(body: &[u8], at: usize) -> Option<u16> {
    body.get(at..at + 2)?.first_chunk::<2>().map(|b| u16::from_be_bytes(*b))
}

/// Writes the text form; addresses of two families, and none at all, are `UNKNOWN`.
pub fn write_text(ends: Option<(SocketAddr, SocketAddr)>, out: &mut Vec<u8>) {
    let ends = ends.map(|(source, destination)| (plain(source), plain(destination)));
    let text = match ends {
        Some((SocketAddr::V4(s), SocketAddr::V4(d))) => {
            format!("PROXY TCP4 {} {} {} {}\r\n", s.ip(), d.ip(), s.port(), d.port())
        }
        Some((SocketAddr::V6(s), SocketAddr::V6(d))) => {
            format!("PROXY TCP6 {} {} {} {}\r\n", s.ip(), d.ip(), s.port(), d.port())
        }
        Some((SocketAddr::V4(_), SocketAddr::V6(_)) | (SocketAddr::V6(_), SocketAddr::V4(_))) | None => {
            "PROXY UNKNOWN\r\n".to_owned()
        }
    };
    out.extend_from_slice(text.as_bytes());
}

/// Writes the binary form for a stream, or for datagrams.
pub fn write_binary(ends: Option<(SocketAddr, SocketAddr)>, datagram: bool, out: &mut Vec<u8>) {
    let transport = if datagram { 2 } else { 1 };
    out.extend_from_slice(&SIGNATURE);
    let ends = ends.map(|(source, destination)| (plain(source), plain(destination)));
    let (source, destination) = match ends {
        Some((SocketAddr::V4(s), SocketAddr::V4(d))) => {
            out.extend_from_slice(&[0x21, 0x10 | transport, 0, 12]);
            out.extend_from_slice(&s.ip().octets());
            out.extend_from_slice(&d.ip().octets());
            (s.port(), d.port())
        }
        Some((SocketAddr::V6(s), SocketAddr::V6(d))) => {
            out.extend_from_slice(&[0x21, 0x20 | transport, 0, 36]);
            out.extend_from_slice(&s.ip().octets());
            out.extend_from_slice(&d.ip().octets());
            (s.port(), d.port())
        }
        Some((SocketAddr::V4(_), SocketAddr::V6(_)) | (SocketAddr::V6(_), SocketAddr::V4(_))) | None => {
            out.extend_from_slice(&[0x21, 0, 0, 0]);
            return;
        }
    };
    out.extend_from_slice(&source.to_be_bytes());
    out.extend_from_slice(&destination.to_be_bytes());
}

/// An IPv4 address that came by an IPv6 socket is an IPv4 address.
fn plain(addr: SocketAddr) -> SocketAddr {
    SocketAddr::new(addr.ip().to_canonical(), addr.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ends(source: &str, destination: &str) -> (SocketAddr, SocketAddr) {
        (source.parse().unwrap(), destination.parse().unwrap())
    }

    fn relayed(source: &str, destination: &str) -> Header {
        let (source, destination) = ends(source, destination);
        Header::Relayed { source, destination }
    }

    #[test]
    fn the_examples_of_the_specification_are_read() {
        let four = b"PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535\r\nGET";
        let header = relayed("255.255.255.255:65535", "255.255.255.255:65535");
        assert_eq!(parse(four), Ok(Some((header, 56))));
        let six = b"PROXY TCP6 2001:db8::1 2001:db8::2 1 443\r\n";
        assert_eq!(parse(six), Ok(Some((relayed("[2001:db8::1]:1", "[2001:db8::2]:443"), six.len()))));
        assert_eq!(parse(b"PROXY UNKNOWN\r\n"), Ok(Some((Header::Unknown, 15))));
        assert_eq!(parse(b"PROXY UNKNOWN what ever\r\n"), Ok(Some((Header::Unknown, 25))));
    }

    #[test]
    fn what_is_written_is_read_again() {
        for (source, destination) in
            [("10.0.0.1:1234", "10.0.0.2:80"), ("[2001:db8::1]:65535", "[::1]:1"), ("0.0.0.0:0", "1.2.3.4:5")]
        {
            let both = ends(source, destination);
            let header = relayed(source, destination);
            let (mut text, mut binary, mut datagram) = (Vec::new(), Vec::new(), Vec::new());
            write_text(Some(both), &mut text);
            write_binary(Some(both), false, &mut binary);
            write_binary(Some(both), true, &mut datagram);
            for form in [text, binary, datagram] {
                assert_eq!(parse(&form), Ok(Some((header, form.len()))));
                for cut in 0..form.len() {
                    assert_eq!(parse(&form[..cut]), Ok(None), "{cut} bytes of {form:?}");
                }
            }
        }
    }

    #[test]
    fn what_has_no_addresses_is_unknown_in_both_forms() {
        for both in [None, Some(ends("10.0.0.1:1", "[::1]:2"))] {
            let (mut text, mut binary) = (Vec::new(), Vec::new());
            write_text(both, &mut text);
            write_binary(both, false, &mut binary);
            assert_eq!(parse(&text), Ok(Some((Header::Unknown, text.len()))));
            assert_eq!(parse(&binary), Ok(Some((Header::Unknown, binary.len()))));
        }
    }

    #[test]
    fn a_mapped_address_is_an_ipv4_address() {
        let mut text = Vec::new();
        write_text(Some(ends("[::ffff:10.0.0.1]:7", "[::ffff:10.0.0.2]:80")), &mut text);
        assert_eq!(text, b"PROXY TCP4 10.0.0.1 10.0.0.2 7 80\r\n");
    }

    #[test]
    fn tlvs_are_skipped_and_local_needs_no_addresses() {
        let mut form = Vec::new();
        write_binary(Some(ends("10.0.0.1:1", "10.0.0.2:2")), false, &mut form);
        form[15] += 5;
        form.extend_from_slice(&[0x01, 0, 2, b'h', b'2']);
        assert_eq!(parse(&form), Ok(Some((relayed("10.0.0.1:1", "10.0.0.2:2"), form.len()))));
        let mut local = SIGNATURE.to_vec();
        local.extend_from_slice(&[0x20, 0, 0, 0]);
        assert_eq!(parse(&local), Ok(Some((Header::Local, 16))));
    }

    #[test]
    fn each_broken_form_is_told_apart() {
        let binary = |tail: &[u8]| [&SIGNATURE[..], tail].concat();
        let long = [&b"PROXY TCP4 "[..], &[b'1'; 200]].concat();
        let cases: [(&[u8], Wrong); 14] = [
            (b"GET / HTTP/1.1\r\n", Wrong::Missing),
            (b"PROXYTCP4", Wrong::Missing),
            (b"\r\n\r\nX", Wrong::Missing),
            (&long, Wrong::TextTooLong),
            (b"PROXY TCP5 1.1.1.1 2.2.2.2 1 2\r\n", Wrong::Text),
            (b"PROXY TCP4 1.1.1.1 2.2.2.2 1\r\n", Wrong::Text),
            (b"PROXY TCP4 1.1.1.1 2.2.2.2 1 2 3\r\n", Wrong::Text),
            (b"PROXY TCP4 1.1.1.1 ::1 1 2\r\n", Wrong::Text),
            (b"PROXY TCP4 1.1.1.1 2.2.2.2 +1 02\r\n", Wrong::Text),
            (b"PROXY TCP4 1.1.1.1 2.2.2.2 1 65536\r\n", Wrong::Text),
            (&binary(&[0x11, 0x11, 0, 12]), Wrong::Version),
            (&binary(&[0x22, 0x11, 0, 12]), Wrong::Command),
            (&binary(&[0x21, 0x41, 0, 12]), Wrong::Family),
            (&binary(&[0x21, 0x11, 0xff, 0xff]), Wrong::BinaryTooLong),
        ];
        for (bytes, wrong) in cases {
            assert_eq!(parse(bytes), Err(wrong), "{bytes:?}");
        }
        let short = [&binary(&[0x21, 0x11, 0, 4])[..], &[1, 2, 3, 4]].concat();
        assert_eq!(parse(&short), Err(Wrong::Short));
    }
}
