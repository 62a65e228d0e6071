//! Frames: a header of 8 bytes, then as many bytes as it says.

use super::HEADER;

/// OPEN: a stream begins; fields, then its first bytes.
pub const OPEN: u8 = 1;
/// DATA: bytes of a stream, or one datagram.
pub const DATA: u8 = 2;
/// RESET: a stream is over; code 2.
pub const RESET: u8 = 3;
/// CREDIT: bytes were taken; how many 4, the window 4.
pub const CREDIT: u8 = 4;
/// PING: token 8, fields.
pub(super) const PING: u8 = 5;
/// PONG: the token, 8.
pub(super) const PONG: u8 = 6;
/// GOAWAY: no more streams; milliseconds until the end 4, why.
pub(super) const GOAWAY: u8 = 7;
/// LIMITS: fields; the first frame of each side.
pub const LIMITS: u8 = 8;

/// A flag of OPEN and DATA: the last bytes of this side.
pub const FIN: u8 = 1;
/// A flag of OPEN: each DATA is a datagram.
pub const DATAGRAMS: u8 = 2;

/// The longest frame of the session's own, and the longest fields of an OPEN.
pub(super) const CONTROL_MAX: usize = 4096;

/// What stands before each frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    /// 0 is the session itself.
    pub(super) id: u32,
    pub(super) len: u16,
    pub(super) kind: u8,
    pub(super) flags: u8,
}

impl Header {
    pub(super) fn read(bytes: [u8; HEADER]) -> Self {
        let [a, b, c, d, e, f, kind, flags] = bytes;
        Self { id: u32::from_be_bytes([a, b, c, d]), len: u16::from_be_bytes([e, f]), kind, flags }
    }

    pub(super) fn bytes(self) -> [u8; HEADER] {
        let [a, b, c, d] = self.id.to_be_bytes();
        let [e, f] = self.len.to_be_bytes();
        [a, b, c, d, e, f, self.kind, self.flags]
    }
}
