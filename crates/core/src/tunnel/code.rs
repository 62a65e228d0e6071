//! Why a stream was reset, a session closed, or an opening refused.

use std::fmt;
use std::time::Duration;

use thiserror::Error;

use super::open::NAME_MAX;

/// Why a stream was reset: two bytes on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Code {
    /// Whoever had it does not want it any more.
    Cancel,
    /// Not a byte was handed on: it may be tried elsewhere.
    Refused,
    /// The target does not answer; not a byte was handed on.
    Unreachable,
    /// Who asked may not.
    Denied,
    /// It took too long.
    TooSlow,
    /// A mistake of the side that resets.
    Internal,
    /// The session has ended, and its streams with it.
    Gone,
    /// What opened it could not be read.
    Malformed,
    /// More was sent than there was credit for, or after the end.
    Overrun,
    /// A code that this version does not know.
    Other(u16),
}

impl Code {
    /// As the wire has it.
    #[must_use]
    pub const fn number(self) -> u16 {
        match self {
            Self::Cancel => 1,
            Self::Refused => 2,
            Self::Unreachable => 3,
            Self::Denied => 4,
            Self::TooSlow => 5,
            Self::Internal => 6,
            Self::Gone => 7,
            Self::Malformed => 8,
            Self::Overrun => 9,
            Self::Other(number) => number,
        }
    }

    /// What a number of the wire means.
    #[must_use]
    pub const fn from_number(number: u16) -> Self {
        match number {
            1 => Self::Cancel,
            2 => Self::Refused,
            3 => Self::Unreachable,
            4 => Self::Denied,
            5 => Self::TooSlow,
            6 => Self::Internal,
            7 => Self::Gone,
            8 => Self::Malformed,
            9 => Self::Overrun,
            other => Self::Other(other),
        }
    }

    /// Whether nothing of the stream can have reached a target, so that another session may try.
    #[must_use]
    pub const fn is_untouched(self) -> bool {
        matches!(self, Self::Refused | Self::Unreachable)
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Cancel => "the other side gave it up",
            Self::Refused => "the other side takes no more streams",
            Self::Unreachable => "the target does not answer",
            Self::Denied => "it is not allowed",
            Self::TooSlow => "it took too long",
            Self::Internal => "the other side made a mistake",
            Self::Gone => "the session has ended",
            Self::Malformed => "the other side could not read what opened it",
            Self::Overrun => "more was sent than there was credit for",
            Self::Other(number) => return write!(f, "reset with code {number}"),
        })
    }
}

impl std::error::Error for Code {}

/// Why a stream cannot be opened; nothing was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Refused {
    /// One of the two sides takes no new streams.
    #[error("the session takes no new streams")]
    Leaving,
    /// As many streams are open as the other side allows.
    #[error("the session has as many streams as the other side allows")]
    Full,
    /// The session has no identifiers left.
    #[error("the session is used up")]
    Spent,
    /// The session has ended.
    #[error("the session has ended")]
    Closed,
    /// A name that cannot be sent.
    #[error("a name is longer than {NAME_MAX} bytes, or there are too many")]
    TooLong,
}

/// How a session ended.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Closed {
    /// We were told to close it.
    #[error("closed here")]
    Asked,
    /// We took no new streams, and the last has ended or its time was over.
    #[error("drained")]
    Drained,
    /// Nothing was heard for so long.
    #[error("nothing heard for {} ms", .0.as_millis())]
    Silent(Duration),
    /// The carrier has ended or failed.
    #[error("the carrier is gone: {0}")]
    Lost(String),
    /// The other side closed it and said why.
    #[error("the other side closed it: {0}")]
    Told(String),
    /// The other side broke the protocol.
    #[error("the other side breaks the protocol: {0}")]
    Wrong(Wrong),
}

/// How a protocol can be broken so that the session cannot go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Wrong {
    /// The first frame says the limits, no other does.
    #[error("its limits do not come first, or come twice")]
    Limits,
    /// A frame is shorter or longer than its kind can be.
    #[error("a frame of kind {0} has a wrong length")]
    Length(u8),
    /// A stream is opened out of order, or with an identifier of the other side's.
    #[error("it opens stream {0} out of order")]
    Order(u32),
    /// A frame is for a stream that was never opened.
    #[error("a frame is for stream {0}, which was never opened")]
    Unopened(u32),
    /// A stream's frame comes without a stream, or the session's with one.
    #[error("a frame of kind {0} names a wrong stream")]
    Misplaced(u8),
    /// More unread bytes than the budget.
    #[error("it sends more than the session's budget")]
    Budget,
    /// A frame of another version of smux, of which both sides must speak the same.
    #[error("it speaks version {0} of smux")]
    Version(u8),
    /// A frame of a kind that smux does not have.
    #[error("a frame of kind {0}, which smux does not have")]
    Kind(u8),
    /// More frames that carry nothing than anybody needs.
    #[error("it floods: {0}")]
    Flood(Flood),
}

/// What there is too much of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Flood {
    /// PING.
    #[error("pings")]
    Pings,
    /// Streams that are opened and reset.
    #[error("resets")]
    Resets,
    /// Streams above the limit.
    #[error("streams beyond the limit")]
    Opens,
    /// Frames that do nothing.
    #[error("frames that do nothing")]
    Idle,
    /// It asks for answers and does not read them.
    #[error("answers that it does not read")]
    Unread,
}
