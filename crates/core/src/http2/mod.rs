//! HTTP/2 (RFC 9113) and HPACK (RFC 7541): one side of a connection as a pure value, for clients and for backends.
//!
//! [`Connection::receive`] takes the bytes that came, [`Connection::poll_event`] says what they mean, [`Connection::output`] has
//! the bytes that are to be sent. Streams are named by [`Key`]s until [`Connection::forget`]. What a peer sends is bounded in
//! memory and in work, and what breaks the protocol ends the stream or the connection with the code that the RFC names.

mod connection;
mod decode;
mod encode;
mod frame;
mod head;
#[cfg(test)]
mod hostile;
mod huffman;
mod receive;
mod send;
mod stream;
mod table;
#[cfg(test)]
mod tests;

pub use connection::{Connection, Event, Limits};
pub use head::{RequestHead, ResponseHead, Trailer};
pub use send::RequestLine;
pub use stream::{Key, Taken};

/// What a client says first (RFC 9113 section 3.4).
pub const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Why a stream or a connection ends (RFC 9113 section 7).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u32)]
pub enum Code {
    /// Nothing is wrong.
    NoError = 0,
    /// The peer broke a rule that has no code of its own.
    Protocol = 1,
    /// Something of ours failed.
    Internal = 2,
    /// More data than the window allows, or a window beyond 2^31.
    FlowControl = 3,
    /// SETTINGS were not acknowledged.
    SettingsTimeout = 4,
    /// A frame on a stream that is closed.
    StreamClosed = 5,
    /// A frame of a length that it may not have.
    FrameSize = 6,
    /// The request was not looked at: it may be sent again.
    RefusedStream = 7,
    /// Nobody wants the stream any more.
    Cancel = 8,
    /// A header block that cannot be read.
    Compression = 9,
    /// The tunnel of a CONNECT broke.
    Connect = 10,
    /// The peer makes too much work.
    EnhanceYourCalm = 11,
    /// The transport is not safe enough.
    InadequateSecurity = 12,
    /// Only by HTTP/1.1.
    Http11Required = 13,
}

impl Code {
    /// By its number; what is unknown is taken for INTERNAL_ERROR (RFC 9113 section 7).
    #[must_use]
    pub const fn from_number(number: u32) -> Self {
        match number {
            0 => Self::NoError,
            1 => Self::Protocol,
            3 => Self::FlowControl,
            4 => Self::SettingsTimeout,
            5 => Self::StreamClosed,
            6 => Self::FrameSize,
            7 => Self::RefusedStream,
            8 => Self::Cancel,
            9 => Self::Compression,
            10 => Self::Connect,
            11 => Self::EnhanceYourCalm,
            12 => Self::InadequateSecurity,
            13 => Self::Http11Required,
            _ => Self::Internal,
        }
    }

    /// What a connection or a stream that it ends is counted as.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::NoError => "h2:no-error",
            Self::Protocol => "h2:protocol",
            Self::Internal => "h2:internal",
            Self::FlowControl => "h2:flow-control",
            Self::SettingsTimeout => "h2:settings-timeout",
            Self::StreamClosed => "h2:stream-closed",
            Self::FrameSize => "h2:frame-size",
            Self::RefusedStream => "h2:refused-stream",
            Self::Cancel => "h2:cancel",
            Self::Compression => "h2:compression",
            Self::Connect => "h2:connect",
            Self::EnhanceYourCalm => "h2:enhance-your-calm",
            Self::InadequateSecurity => "h2:inadequate-security",
            Self::Http11Required => "h2:http11-required",
        }
    }
}
