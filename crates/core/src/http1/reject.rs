//! Why a message was refused.

/// Why a message was refused; each has a name for its counter and, for requests, a status.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Reject {
    /// No request line: three parts with one blank between them.
    #[error("malformed request line")]
    RequestLine,
    /// A method that is no upper-case token.
    #[error("invalid method")]
    Method,
    /// CONNECT, which nobody serves here.
    #[error("CONNECT is not served")]
    Connect,
    /// TRACE, which would send credentials back.
    #[error("TRACE is not served")]
    Trace,
    /// A target that is neither path nor URL, or holds what may not be in one.
    #[error("invalid request target")]
    Target,
    /// No HTTP version.
    #[error("malformed HTTP version")]
    VersionSyntax,
    /// A major version other than 1.
    #[error("unsupported HTTP version")]
    Version,
    /// The first line is longer than a head may be.
    #[error("request line too long")]
    LineTooLong,
    /// The head is longer than it may be.
    #[error("head too large")]
    HeadTooLarge,
    /// More fields than there may be.
    #[error("too many header fields")]
    TooManyFields,
    /// Authorization, Expect, a condition or a range a second time.
    #[error("a field twice that may come once")]
    FieldTwice,
    /// LF without CR.
    #[error("bare LF")]
    BareLf,
    /// CR without LF.
    #[error("bare CR")]
    BareCr,
    /// A line that begins with a blank.
    #[error("folded header line or blank before a header")]
    Fold,
    /// A blank before the colon.
    #[error("blank before the colon of a header")]
    SpaceBeforeColon,
    /// A header without name.
    #[error("empty header name")]
    EmptyName,
    /// A header's name holds what no token does.
    #[error("invalid header name")]
    FieldName,
    /// A header's value holds a control character.
    #[error("control character in a header value")]
    FieldValue,
    /// HTTP/1.1 without Host.
    #[error("no Host header")]
    HostMissing,
    /// More than one Host.
    #[error("more than one Host header")]
    HostTwice,
    /// A Host that is no host.
    #[error("invalid Host header")]
    Host,
    /// A Content-Length that is no number.
    #[error("invalid Content-Length")]
    Length,
    /// More than one Content-Length.
    #[error("more than one Content-Length")]
    LengthTwice,
    /// Content-Length and Transfer-Encoding.
    #[error("Content-Length beside Transfer-Encoding")]
    LengthAndEncoding,
    /// More than one Transfer-Encoding.
    #[error("more than one Transfer-Encoding")]
    EncodingTwice,
    /// Transfer-Encoding in HTTP/1.0.
    #[error("Transfer-Encoding in HTTP/1.0")]
    EncodingInHttp10,
    /// A Transfer-Encoding that is neither `chunked` nor another single coding.
    #[error("invalid Transfer-Encoding")]
    Encoding,
    /// A transfer coding that nobody knows.
    #[error("unknown transfer coding")]
    UnknownCoding,
    /// A chunk's size is no hex number, or has a blank, a sign or a prefix.
    #[error("invalid chunk size")]
    ChunkSize,
    /// A chunk's size is beyond all bounds.
    #[error("chunk size too large")]
    ChunkTooLarge,
    /// A chunk extension is malformed or too long.
    #[error("invalid chunk extension")]
    ChunkExtension,
    /// A chunk does not end where it should.
    #[error("chunk without its end")]
    ChunkEnd,
    /// Trailers beyond their bounds.
    #[error("trailers too large")]
    TrailersTooLarge,
    /// A trailer that frames or routes messages.
    #[error("forbidden trailer")]
    Trailer,
    /// No status line.
    #[error("malformed status line")]
    StatusLine,
}

impl Reject {
    /// What it is counted as.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::RequestLine => "framing:request-line",
            Self::Method => "framing:method",
            Self::Connect => "connect",
            Self::Trace => "trace",
            Self::Target => "framing:target",
            Self::VersionSyntax => "framing:version",
            Self::Version => "version",
            Self::LineTooLong => "line-too-long",
            Self::HeadTooLarge => "head-too-large",
            Self::TooManyFields => "too-many-fields",
            Self::FieldTwice => "framing:field-twice",
            Self::BareLf => "framing:bare-lf",
            Self::BareCr => "framing:bare-cr",
            Self::Fold => "framing:fold",
            Self::SpaceBeforeColon => "framing:space-before-colon",
            Self::EmptyName => "framing:empty-name",
            Self::FieldName => "framing:field-name",
            Self::FieldValue => "framing:field-value",
            Self::HostMissing => "framing:no-host",
            Self::HostTwice => "framing:two-hosts",
            Self::Host => "framing:host",
            Self::Length => "framing:length",
            Self::LengthTwice => "framing:two-lengths",
            Self::LengthAndEncoding => "framing:length-and-encoding",
            Self::EncodingTwice => "framing:two-encodings",
            Self::EncodingInHttp10 => "framing:encoding-in-http10",
            Self::Encoding => "framing:encoding",
            Self::UnknownCoding => "unknown-coding",
            Self::ChunkSize => "framing:chunk-size",
            Self::ChunkTooLarge => "framing:chunk-too-large",
            Self::ChunkExtension => "framing:chunk-extension",
            Self::ChunkEnd => "framing:chunk-end",
            Self::TrailersTooLarge => "framing:trailers-too-large",
            Self::Trailer => "framing:trailer",
            Self::StatusLine => "framing:status-line",
        }
    }

    /// The status that a client gets.
    #[must_use]
    pub const fn status(self) -> u16 {
        match self {
            Self::Connect | Self::Trace => 405,
            Self::LineTooLong => 414,
            Self::HeadTooLarge | Self::TooManyFields => 431,
            Self::UnknownCoding => 501,
            Self::Version => 505,
            Self::RequestLine
            | Self::Method
            | Self::Target
            | Self::VersionSyntax
            | Self::FieldTwice
            | Self::BareLf
            | Self::BareCr
            | Self::Fold
            | Self::SpaceBeforeColon
            | Self::EmptyName
            | Self::FieldName
            | Self::FieldValue
            | Self::HostMissing
            | Self::HostTwice
            | Self::Host
            | Self::Length
            | Self::LengthTwice
            | Self::LengthAndEncoding
            | Self::EncodingTwice
            | Self::EncodingInHttp10
            | Self::Encoding
            | Self::ChunkSize
            | Self::ChunkTooLarge
            | Self::ChunkExtension
            | Self::ChunkEnd
            | Self::TrailersTooLarge
            | Self::Trailer
            | Self::StatusLine => 400,
        }
    }
}
