//! WebSocket frames (RFC 6455 5) as a carrier of bytes: binary frames, whose borders mean nothing.
//!
//! [`Decoder`] works in the buffer that was read into: what frames carry is moved to its front, heads and control frames are taken out. It
//! keeps no buffer of its own but for a head or a control frame that is cut in two.

use thiserror::Error;

/// The longest head: two bytes, eight of length, four of mask.
pub const HEAD_MAX: usize = 14;

/// The longest control frame's load.
pub const CONTROL_MAX: usize = 125;

/// The longest frame that is taken; its bytes are handed on as they come.
pub const FRAME_MAX: u64 = 64 << 20;

/// Which side decodes: frames of clients are masked, those of servers are not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// Who dialled.
    Client,
    /// Who accepted.
    Server,
}

/// Types of frames.
mod op {
    pub(super) const MORE: u8 = 0;
    pub(super) const BINARY: u8 = 2;
    pub(super) const CLOSE: u8 = 8;
    pub(super) const PING: u8 = 9;
    pub(super) const PONG: u8 = 10;
}

/// How the other side breaks the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Wrong {
    /// A bit that no extension was agreed on for.
    #[error("a WebSocket frame has bits set that mean nothing")]
    Bits,
    /// A type that a tunnel has no use for, text among them.
    #[error("a WebSocket frame of type {0}")]
    Type(u8),
    /// A mask where there must be none, or none where there must be one.
    #[error("a WebSocket frame is masked the wrong way")]
    Mask,
    /// A frame that is too long, or a control frame that is too long or cut.
    #[error("a WebSocket frame is too long")]
    Long,
    /// A message that goes on without having begun, or begins inside of another.
    #[error("a WebSocket message is cut in a wrong way")]
    Cut,
}

/// What a control frame asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Control {
    /// An answer with the same bytes.
    Ping(Vec<u8>),
    /// The end: nothing follows.
    Close,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum At {
    Head,
    Load { left: u64, mask: Option<[u8; 4]>, turn: u8 },
    Control { op: u8, left: u8, mask: Option<[u8; 4]>, turn: u8 },
    Closed,
}

/// Takes frames apart.
#[derive(Clone, Debug)]
pub struct Decoder {
    side: Side,
    at: At,
    /// A head that has not come as a whole.
    head: Vec<u8>,
    /// The load of a control frame.
    control: Vec<u8>,
    /// Whether a message goes on.
    inside: bool,
}

impl Decoder {
    /// One that has read nothing.
    #[must_use]
    pub const fn new(side: Side) -> Self {
        Self { side, at: At::Head, head: Vec::new(), control: Vec::new(), inside: false }
    }

    /// Whether the other side has said that nothing follows.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.at == At::Closed
    }

    /// Takes what was read; gives how many bytes of load stand at the front then, and what was asked for.
    ///
    /// # Errors
    /// When the other side breaks the protocol; nothing more is to be read.
    pub fn decode(&mut self, bytes: &mut [u8], asked: &mut Vec<Control>) -> Result<usize, Wrong> {
        let (mut read, mut kept) = (0, 0);
        while read < bytes.len() {
            match self.at {
                At::Closed => break,
                At::Head => {
                    self.head.push(bytes[read]);
                    read += 1;
                    self.begin(asked)?;
                }
                At::Load { left, mask, turn } => {
                    let count = usize::try_from(left).unwrap_or(usize::MAX).min(bytes.len() - read);
                    bytes.copy_within(read..read + count, kept);
                    let turn = mask.map_or(0, |m| apply(m, turn, &mut bytes[kept..kept + count]));
                    (read, kept) = (read + count, kept + count);
                    let left = left - count as u64;
                    self.at = if left == 0 { At::Head } else { At::Load { left, mask, turn } };
                }
                At::Control { op, left, mask, turn } => {
                    let count = usize::from(left).min(bytes.len() - read);
                    let from = self.control.len();
                    self.control.extend_from_slice(&bytes[read..read + count]);
                    let turn = mask.map_or(0, |m| apply(m, turn, &mut self.control[from..]));
                    read += count;
                    let left = left - u8::try_from(count).unwrap_or(left);
                    self.at = At::Control { op, left, mask, turn };
                    if left == 0 {
                        self.controlled(op, asked);
                    }
                }
            }
        }
        Ok(kept)
    }

    /// Looks whether the head is there as a whole.
    fn begin(&mut self, asked: &mut Vec<Control>) -> Result<(), Wrong> {
        let &[first, second, ref rest @ ..] = self.head.as_slice() else { return Ok(()) };
        let (ends, op, masked) = (first & 0x80 != 0, first & 0x0f, second & 0x80 != 0);
        if first & 0x70 != 0 {
            return Err(Wrong::Bits);
        }
        if masked != (self.side == Side::Server) {
            return Err(Wrong::Mask);
        }
        let wide = match second & 0x7f {
            126 => 2,
            127 => 8,
            _ => 0,
        };
        if rest.len() < wide + if masked { 4 } else { 0 } {
            return Ok(());
        }
        let (length, mask) = rest.split_at(wide);
        let length = match wide {
            0 => u64::from(second & 0x7f),
            _ => length.iter().fold(0, |all, byte| all << 8 | u64::from(*byte)),
        };
        let mask = mask.first_chunk::<4>().copied();
        match op {
            op::CLOSE | op::PING | op::PONG => {
                if !ends || length > CONTROL_MAX as u64 || wide != 0 {
                    return Err(Wrong::Long);
                }
                let left = u8::try_from(length).map_err(|_| Wrong::Long)?;
                self.at = At::Control { op, left, mask, turn: 0 };
                if left == 0 {
                    self.controlled(op, asked);
                }
            }
            op::BINARY | op::MORE => {
                if (op == op::MORE) != self.inside {
                    return Err(Wrong::Cut);
                }
                if length > FRAME_MAX {
                    return Err(Wrong::Long);
                }
                self.inside = !ends;
                self.at = if length == 0 { At::Head } else { At::Load { left: length, mask, turn: 0 } };
            }
            other => return Err(Wrong::Type(other)),
        }
        self.head.clear();
        Ok(())
    }

    fn controlled(&mut self, op: u8, asked: &mut Vec<Control>) {
        let load = std::mem::take(&mut self.control);
        self.at = At::Head;
        match op {
            op::PING => asked.push(Control::Ping(load)),
            op::CLOSE => {
                asked.push(Control::Close);
                self.at = At::Closed;
            }
            // A PONG: we did not ask, and need no answer.
            _ => {}
        }
    }
}

/// Appends a binary frame, masked when there is a mask.
pub fn put_binary(out: &mut Vec<u8>, load: &[u8], mask: Option<[u8; 4]>) {
    put(out, op::BINARY, load, mask);
}

/// Appends the answer to a PING.
pub fn put_pong(out: &mut Vec<u8>, load: &[u8], mask: Option<[u8; 4]>) {
    put(out, op::PONG, load, mask);
}

/// Appends a close frame: nothing follows (1000, a normal end).
pub fn put_close(out: &mut Vec<u8>, mask: Option<[u8; 4]>) {
    put(out, op::CLOSE, &1000_u16.to_be_bytes(), mask);
}

fn put(out: &mut Vec<u8>, op: u8, load: &[u8], mask: Option<[u8; 4]>) {
    let bit = if mask.is_some() { 0x80 } else { 0 };
    out.reserve(HEAD_MAX + load.len());
    out.push(0x80 | op);
    match load.len() {
        short @ 0..=125 => out.push(bit | u8::try_from(short).unwrap_or(125)),
        long => match u16::try_from(long) {
            Ok(long) => {
                out.push(bit | 126);
                out.extend_from_slice(&long.to_be_bytes());
            }
            Err(_) => {
                out.push(bit | 127);
                out.extend_from_slice(&(long as u64).to_be_bytes());
            }
        },
    }
    out.extend_from_slice(mask.as_ref().map_or(&[][..], |mask| &mask[..]));
    let from = out.len();
    out.extend_from_slice(load);
    if let Some(mask) = mask {
        apply(mask, 0, &mut out[from..]);
    }
}

/// Masks or unmasks in place, `turn` bytes into the mask; gives the turn of the next byte.
fn apply(mask: [u8; 4], turn: u8, bytes: &mut [u8]) -> u8 {
    let at = |n: usize| mask[(usize::from(turn) + n) % 4];
    let four = [at(0), at(1), at(2), at(3)];
    let word = u64::from_ne_bytes([four[0], four[1], four[2], four[3], four[0], four[1], four[2], four[3]]);
    let length = bytes.len();
    let (words, rest) = bytes.as_chunks_mut::<8>();
    for chunk in words {
        *chunk = (u64::from_ne_bytes(*chunk) ^ word).to_ne_bytes();
    }
    for (byte, mask) in rest.iter_mut().zip(four.into_iter().cycle()) {
        *byte ^= mask;
    }
    u8::try_from((usize::from(turn) + length) % 4).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Everything that a side reads, in pieces of so many bytes.
    fn read(side: Side, bytes: &[u8], piece: usize) -> Result<(Vec<u8>, Vec<Control>), Wrong> {
        let (mut decoder, mut all, mut asked) = (Decoder::new(side), Vec::new(), Vec::new());
        for piece in bytes.chunks(piece) {
            let mut buffer = piece.to_vec();
            let kept = decoder.decode(&mut buffer, &mut asked)?;
            all.extend_from_slice(&buffer[..kept]);
        }
        Ok((all, asked))
    }

    #[test]
    fn the_examples_of_the_rfc_are_read() {
        let masked = [0x82, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58];
        assert_eq!(read(Side::Server, &masked, 99).unwrap().0, b"Hello");
        let fragments = [0x02, 0x03, 0x48, 0x65, 0x6c, 0x89, 0x00, 0x80, 0x02, 0x6c, 0x6f];
        for piece in 1..fragments.len() {
            let (bytes, asked) = read(Side::Client, &fragments, piece).unwrap();
            assert_eq!((&bytes[..], asked), (&b"Hello"[..], vec![Control::Ping(Vec::new())]));
        }
    }

    #[test]
    fn what_one_side_writes_the_other_reads_however_it_is_cut() {
        for length in [0, 1, 7, 125, 126, 127, 1000, 65_535, 65_536, 70_000] {
            let load: Vec<u8> = (0..length).map(|n: u32| n.to_le_bytes()[0]).collect();
            for (side, mask) in [(Side::Client, None), (Side::Server, Some([1, 2, 3, 0xff]))] {
                let mut bytes = Vec::new();
                put_binary(&mut bytes, &load, mask);
                put_pong(&mut bytes, b"x", mask);
                put_binary(&mut bytes, b"end", mask);
                put_close(&mut bytes, mask);
                for piece in [1, 3, 13, 4096, usize::MAX] {
                    let (read, asked) = read(side, &bytes, piece).unwrap();
                    assert_eq!(read, [&load[..], b"end"].concat(), "{length} in pieces of {piece}");
                    assert_eq!(asked, [Control::Close]);
                }
            }
        }
    }

    #[test]
    fn a_ping_in_the_middle_of_a_message_is_answered_and_bytes_after_a_close_are_not_read() {
        let mut bytes = vec![0x02, 1, b'a'];
        bytes.extend_from_slice(&[0x89, 2, b'h', b'i', 0x80, 1, b'b', 0x88, 0, 0x82, 1, b'c']);
        let (load, asked) = read(Side::Client, &bytes, 5).unwrap();
        assert_eq!((&load[..], asked), (&b"ab"[..], vec![Control::Ping(b"hi".to_vec()), Control::Close]));
    }

    #[test]
    fn who_breaks_the_protocol_is_found_out() {
        let wrong = |bytes: &[u8]| read(Side::Client, bytes, 1).unwrap_err();
        assert_eq!(wrong(&[0xc2, 0]), Wrong::Bits);
        assert_eq!(wrong(&[0x81, 0]), Wrong::Type(1));
        assert_eq!(wrong(&[0x83, 0]), Wrong::Type(3));
        assert_eq!(wrong(&[0x82, 0x80]), Wrong::Mask);
        assert_eq!(read(Side::Server, &[0x82, 0], 1).unwrap_err(), Wrong::Mask);
        assert_eq!(wrong(&[0x80, 0]), Wrong::Cut);
        assert_eq!(wrong(&[0x02, 0, 0x82, 0]), Wrong::Cut);
        assert_eq!(wrong(&[0x09, 0]), Wrong::Long, "a control frame in pieces");
        assert_eq!(wrong(&[0x89, 126, 0, 126]), Wrong::Long);
        assert_eq!(wrong(&[0x82, 127, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]), Wrong::Long);
        assert_eq!(wrong(&[0x82, 127, 0, 0, 0, 0, 4, 0, 0, 1]), Wrong::Long);
    }
}
