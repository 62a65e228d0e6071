//! Frames of smux: a header of 8 bytes, little-endian, then as many bytes as it says.

/// Bytes of a header.
pub const HEADER: usize = 8;

/// The most payload that gost puts into a frame; we take more.
pub const FRAME_MAX: usize = 32 << 10;

/// What may be sent of a stream before its reader has said anything.
pub const INITIAL_WINDOW: u32 = 256 << 10;

/// The version that gost speaks unless it is told otherwise; the only one that we do.
pub(super) const VERSION: u8 = 2;

/// A stream begins.
pub(in super::super) const SYN: u8 = 0;
/// A stream ends, for the sender.
pub(in super::super) const FIN: u8 = 1;
/// Bytes of a stream.
pub(in super::super) const PSH: u8 = 2;
/// A sign of life.
pub(in super::super) const NOP: u8 = 3;
/// Bytes of a stream were read: how many so far 4, how many may be unread 4.
pub(in super::super) const UPD: u8 = 4;

/// The length of UPD's body.
pub(super) const UPD_LEN: usize = 8;

/// What stands before each frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) struct Header {
    pub(in super::super) kind: u8,
    pub(in super::super) len: u16,
    pub(in super::super) id: u32,
}

impl Header {
    pub(super) fn read(bytes: [u8; HEADER]) -> Result<Self, u8> {
        let [version, kind, a, b, c, d, e, f] = bytes;
        if version != VERSION {
            return Err(version);
        }
        Ok(Self { kind, len: u16::from_le_bytes([a, b]), id: u32::from_le_bytes([c, d, e, f]) })
    }

    pub(in super::super) fn bytes(self) -> [u8; HEADER] {
        let [a, b] = self.len.to_le_bytes();
        let [c, d, e, f] = self.id.to_le_bytes();
        [VERSION, self.kind, a, b, c, d, e, f]
    }
}
