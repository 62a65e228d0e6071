//! What a client says before its protocol begins: the PROXY header, read the same on every kind of connection.

use mainstay_core::proxy_header::{self, BINARY_MAX, Header, Wrong};
use tokio::io::{AsyncRead, AsyncReadExt as _};

/// Bytes asked for at once.
const STEP: usize = 2048;

/// Reads a PROXY header; what came behind it stays in `first`.
///
/// # Errors
/// A word for counters.
pub(crate) async fn read(
    stream: &mut (impl AsyncRead + Unpin),
    first: &mut Vec<u8>,
) -> Result<Header, &'static str> {
    loop {
        match proxy_header::parse(first) {
            Ok(Some((header, used))) => {
                first.drain(..used);
                return Ok(header);
            }
            Ok(None) => {}
            Err(wrong) => return Err(word(wrong)),
        }
        if !read_more(stream, first, BINARY_MAX).await {
            return Err("proxy:closed");
        }
    }
}

/// Appends what comes, up to `most` bytes in all; false when no more will.
pub(crate) async fn read_more(
    stream: &mut (impl AsyncRead + Unpin),
    into: &mut Vec<u8>,
    most: usize,
) -> bool {
    let room = (most + 1).saturating_sub(into.len());
    let mut buffer = [0; STEP];
    let part = buffer.len().min(room);
    match stream.read(&mut buffer[..part]).await {
        Ok(got @ 1..) => {
            into.extend_from_slice(&buffer[..got]);
            true
        }
        Ok(0) | Err(_) => false,
    }
}

const fn word(wrong: Wrong) -> &'static str {
    match wrong {
        Wrong::Missing => "proxy:missing",
        Wrong::TextTooLong | Wrong::BinaryTooLong => "proxy:too-long",
        Wrong::Text | Wrong::Version | Wrong::Command | Wrong::Family | Wrong::Short => "proxy:malformed",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn told(bytes: &[u8]) -> (Result<Header, &'static str>, Vec<u8>) {
        let (mut bytes, mut first) = (bytes, Vec::new());
        (read(&mut bytes, &mut first).await, first)
    }

    #[tokio::test]
    async fn what_stands_behind_the_header_is_kept_and_what_is_none_has_a_word() {
        let (header, rest) = told(b"PROXY TCP4 192.0.2.1 192.0.2.2 1000 80\r\nGET /").await;
        assert!(matches!(header, Ok(Header::Relayed { source, .. }) if source.port() == 1000));
        assert_eq!(rest, b"GET /");
        assert_eq!(told(b"GET / HTTP/1.1\r\n").await.0.unwrap_err(), "proxy:missing");
        assert_eq!(told(b"PROXY TCP4 192.0.2.1").await.0.unwrap_err(), "proxy:closed");
        assert_eq!(told(b"PROXY TCP4 a b c d\r\n").await.0.unwrap_err(), "proxy:malformed");
    }
}
