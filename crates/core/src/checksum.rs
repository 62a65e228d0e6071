//! The Internet checksum (RFC 1071) and the pseudo-header of both families (RFC 9568 5.2.8, RFC 8200 8.1).

use std::net::IpAddr;

/// A running one's complement sum of big-endian 16-bit words.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Sum(u64);

impl Sum {
    /// The sum with what the receiver puts in front of a message: both addresses, its length and its protocol.
    pub(crate) fn pseudo_header(src: IpAddr, dst: IpAddr, protocol: u8, len: usize) -> Self {
        let length = u32::try_from(len).expect("a message is shorter than 4 GiB").to_be_bytes();
        Self::default().addr(src).addr(dst).bytes(&length).bytes(&[0, protocol])
    }

    /// The sum with `bytes` added; an odd last byte counts as the high half of a word.
    pub(crate) fn bytes(self, bytes: &[u8]) -> Self {
        let (words, rest) = bytes.as_chunks::<2>();
        let sum = words.iter().fold(self.0, |sum, word| sum + u64::from(u16::from_be_bytes(*word)));
        Self(rest.iter().fold(sum, |sum, byte| sum + (u64::from(*byte) << 8)))
    }

    /// The folded sum: 0xffff over a message that carries its right checksum.
    pub(crate) fn fold(self) -> u16 {
        let mut sum = self.0;
        while sum > 0xffff {
            sum = (sum & 0xffff) + (sum >> 16);
        }
        u16::try_from(sum).expect("folded to 16 bits")
    }

    /// What goes into the checksum field of a message that was summed with that field zero.
    pub(crate) fn finish(self) -> [u8; 2] {
        (!self.fold()).to_be_bytes()
    }

    fn addr(self, addr: IpAddr) -> Self {
        match addr {
            IpAddr::V4(addr) => self.bytes(&addr.octets()),
            IpAddr::V6(addr) => self.bytes(&addr.octets()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_of_rfc_1071_sums_to_its_printed_value() {
        let sum = Sum::default().bytes(&[0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7]);
        assert_eq!(sum.fold(), 0xddf2);
    }

    #[test]
    fn an_odd_last_byte_is_the_high_half_of_a_word() {
        assert_eq!(Sum::default().bytes(&[0x12, 0x34, 0x56]).fold(), 0x1234 + 0x5600);
    }

    #[test]
    fn a_message_with_its_checksum_in_it_sums_to_all_ones() {
        let mut message = [0x45, 0xc0, 0, 44, 0, 1, 0, 0, 255, 112, 0, 0, 10, 0, 4, 1, 224, 0, 0, 18];
        let sum = Sum::default().bytes(&message).finish();
        message[10..12].copy_from_slice(&sum);
        assert_eq!(sum, [0xcc, 0x8d], "what the kernel wrote over the same header");
        assert_eq!(Sum::default().bytes(&message).fold(), 0xffff);
    }
}
