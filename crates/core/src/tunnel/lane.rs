//! Frames as a carrier sees them that has several streams of its own: to whom each belongs, and what it costs.

use super::fields::{Fields, number};
use super::frame::{self, Header};
use super::{DATAGRAM_COST, HEADER};

pub use super::frame::{CREDIT, DATA, DATAGRAMS, FIN, LIMITS, OPEN, RESET};

/// Credit of a new stream until a side has said what it grants.
pub const WINDOW: u32 = super::limits::LEAST.window;

/// What stands before a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame {
    /// The stream; 0 is the session itself.
    pub id: u32,
    /// How many bytes follow.
    pub len: u16,
    /// What it is.
    pub kind: u8,
    /// How.
    pub flags: u8,
}

impl Frame {
    /// The frame at the beginning of these bytes, when it is there as a whole.
    #[must_use]
    pub fn read(bytes: &[u8]) -> Option<Self> {
        Self::head(bytes).filter(|frame| bytes.len() >= frame.whole())
    }

    /// What stands before it.
    #[must_use]
    pub fn head(bytes: &[u8]) -> Option<Self> {
        let Header { id, len, kind, flags } = Header::read(*bytes.first_chunk()?);
        Some(Self { id, len, kind, flags })
    }

    /// The same as bytes.
    #[must_use]
    pub fn bytes(self) -> [u8; HEADER] {
        Header { id: self.id, len: self.len, kind: self.kind, flags: self.flags }.bytes()
    }

    /// How long it is with what stands before it.
    #[must_use]
    pub fn whole(self) -> usize {
        HEADER + usize::from(self.len)
    }

    /// Whether its sender sends no more on its stream.
    #[must_use]
    pub const fn ends(self) -> bool {
        matches!(self.kind, OPEN | DATA) && self.flags & FIN != 0
    }
}

/// What a datagram of so many bytes costs of a stream's credit.
#[must_use]
pub fn cost(len: u16) -> u32 {
    u32::from(len) + DATAGRAM_COST
}

/// A CREDIT.
#[must_use]
pub fn credit(id: u32, count: u32, window: u32) -> [u8; HEADER + 8] {
    let mut bytes = [0; HEADER + 8];
    bytes[..HEADER].copy_from_slice(&Header { id, len: 8, kind: frame::CREDIT, flags: 0 }.bytes());
    bytes[HEADER..HEADER + 4].copy_from_slice(&count.to_be_bytes());
    bytes[HEADER + 4..].copy_from_slice(&window.to_be_bytes());
    bytes
}

/// What a whole CREDIT says: how many bytes were returned, the window from now on.
#[must_use]
pub fn credit_of(whole: &[u8]) -> Option<(u32, u32)> {
    let word = |at: usize| whole.get(at..at + 4)?.try_into().ok().map(u32::from_be_bytes);
    Some((word(HEADER)?, word(HEADER + 4)?))
}

/// Whether a whole frame says that the session is over now.
#[must_use]
pub fn is_the_end(whole: &[u8]) -> bool {
    let goes = Frame::head(whole).is_some_and(|frame| frame.kind == frame::GOAWAY);
    goes && whole.get(HEADER..HEADER + 4) == Some(&[0; 4])
}

/// The credit of a new stream that a whole LIMITS grants.
#[must_use]
pub fn window_of(whole: &[u8]) -> Option<u32> {
    let mut fields = Fields(whole.get(HEADER..)?).filter_map(Result::ok);
    fields.find(|(kind, _)| *kind == super::limits::WINDOW).and_then(|(_, bytes)| number(bytes).ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::Boot;
    use crate::tunnel::{Limits, Mux, Side};

    #[test]
    fn what_a_machine_stages_is_read_frame_by_frame() {
        let limits = Limits { window: 77_000, ..Limits::default() };
        let mux = Mux::new(Side::Agent, limits, Boot::ZERO);
        let staged = mux.output();
        let first = Frame::read(staged).unwrap();
        assert_eq!((first.id, first.kind), (0, LIMITS));
        assert_eq!(window_of(&staged[..first.whole()]), Some(77_000));
        assert_eq!(Frame::read(&staged[first.whole()..]).unwrap().kind, frame::PING);
        assert_eq!(Frame::read(&staged[..first.whole() - 1]), None, "not as a whole");
        assert_eq!(first.bytes(), staged[..HEADER]);
        let credit = credit(7, 70_000, 1 << 20);
        assert_eq!(Frame::read(&credit).map(|frame| (frame.id, frame.kind)), Some((7, CREDIT)));
        assert_eq!(credit_of(&credit), Some((70_000, 1 << 20)));
        assert_eq!(credit_of(&credit[..10]), None);
        assert!(!Frame::read(&credit).unwrap().ends());

        let mut mux = mux;
        let before = mux.output().len();
        mux.close(crate::tunnel::Closed::Asked);
        assert!(is_the_end(&mux.output()[before..]) && !is_the_end(mux.output()));
    }
}
