//! Responses: those that we make, and the heads of those that backends make.

use std::fs::File;
use std::rc::Rc;

use bytes::Bytes;

/// A response of ours: everything but Date, Server, Connection and framing, which whoever writes it adds.
#[derive(Debug)]
pub struct Response {
    /// Status.
    pub status: u16,
    /// Fields in order; names as they are written.
    pub fields: Vec<(Box<str>, Vec<u8>)>,
    /// Body.
    pub body: Body,
}

/// The body of a response of ours. For HEAD it is not sent, its length is.
#[derive(Debug)]
pub enum Body {
    /// None.
    Empty,
    /// These bytes.
    Bytes(Bytes),
    /// Pieces of a file, sent by sendfile where there is no TLS.
    File {
        /// The open file.
        file: Rc<File>,
        /// What is sent, in order.
        pieces: Vec<FilePiece>,
    },
}

/// A piece of a body from a file.
#[derive(Clone, Debug)]
pub enum FilePiece {
    /// Bytes of ours (the delimiters of multipart/byteranges).
    Text(Bytes),
    /// Bytes of the file.
    Range {
        /// First byte.
        start: u64,
        /// How many.
        length: u64,
    },
}

impl Body {
    /// Its length in bytes.
    #[must_use]
    pub fn len(&self) -> u64 {
        match self {
            Self::Empty => 0,
            Self::Bytes(bytes) => bytes.len() as u64,
            Self::File { pieces, .. } => pieces
                .iter()
                .map(|piece| match piece {
                    FilePiece::Text(text) => text.len() as u64,
                    FilePiece::Range { length, .. } => *length,
                })
                .sum(),
        }
    }

    /// Whether it has no byte.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// The head of a backend's response.
pub trait ResponseHead {
    /// Status.
    fn status(&self) -> u16;
    /// Calls for each field in order: name and value. Hop-by-hop fields are among them.
    fn each(&self, visit: &mut dyn FnMut(&[u8], &[u8]));
    /// The first value of a header; `name` in lower case.
    fn field(&self, name: &str) -> Option<&[u8]>;
}
