//! What a TLS ClientHello asks for: the server name and the application protocols, read without ending the TLS.
//!
//! RFC 8446 4.1.2 and 5.1, RFC 6066 3 (server_name), RFC 7301 3.1 (ALPN).

use thiserror::Error;

/// The longest ClientHello that is waited for: hybrid key shares and a pre-shared key fit in several times.
pub const HELLO_MAX: usize = 16 * 1024;

/// Content type of handshake records.
const HANDSHAKE: u8 = 22;
/// Handshake type of a ClientHello.
const CLIENT_HELLO: u8 = 1;
/// Extension numbers.
const SERVER_NAME: u16 = 0;
const ALPN: u16 = 16;

/// What a client asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hello {
    /// The name, in lower case; absent when it asks for none.
    pub server_name: Option<String>,
    /// The protocols, in its order.
    pub alpn: Vec<Vec<u8>>,
}

/// Why this is no ClientHello.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Wrong {
    /// Not a TLS handshake record.
    #[error("the connection does not begin with TLS")]
    NotTls,
    /// Lengths that contradict each other, or a message of another kind.
    #[error("the ClientHello is malformed")]
    Malformed,
    /// Longer than anybody's.
    #[error("the ClientHello is longer than 16 KiB")]
    TooLong,
}

/// Reads the ClientHello at the beginning of `bytes`; `None` when more bytes are needed.
///
/// # Errors
/// When no further byte can make a ClientHello of it.
pub fn parse(bytes: &[u8]) -> Result<Option<Hello>, Wrong> {
    let mut message = Vec::new();
    let mut rest = bytes;
    // A ClientHello may be spread over several records.
    loop {
        if let Some(length) = wanted(&message)?
            && message.len() >= length
        {
            return body(&message[4..length]).map(Some);
        }
        match rest.first() {
            Some(&HANDSHAKE) => {}
            Some(_) => return Err(Wrong::NotTls),
            None => return if bytes.len() >= HELLO_MAX { Err(Wrong::TooLong) } else { Ok(None) },
        }
        // The record's version is 3.x for all of TLS.
        if rest.get(1).is_some_and(|&major| major != 3) {
            return Err(Wrong::NotTls);
        }
        let Some(head) = rest.get(..5) else { return Ok(None) };
        let length = usize::from(u16::from_be_bytes([head[3], head[4]]));
        if length == 0 || length > HELLO_MAX {
            return Err(Wrong::Malformed);
        }
        let end = rest.len().min(5 + length);
        message.extend_from_slice(&rest[5..end]);
        rest = &rest[end..];
        if message.len() > HELLO_MAX {
            return Err(Wrong::TooLong);
        }
    }
}

/// Length of the handshake message, its head included, once that is known.
fn wanted(message: &[u8]) -> Result<Option<usize>, Wrong> {
    match message.first() {
        Some(&CLIENT_HELLO) => {}
        Some(_) => return Err(Wrong::Malformed),
        None => return Ok(None),
    }
    let Some(&[_, a, b, c]) = message.first_chunk::<4>() else { return Ok(None) };
    let length = 4 + u32::from_be_bytes([0, a, b, c]) as usize;
    if length > HELLO_MAX { Err(Wrong::TooLong) } else { Ok(Some(length)) }
}

/// Bytes that are taken from the front, piece by piece.
struct Cursor<'a>(&'a [u8]);

impl<'a> Cursor<'a> {
    fn take(&mut self, n: usize) -> Result<&'a [u8], Wrong> {
        let (head, tail) = self.0.split_at_checked(n).ok_or(Wrong::Malformed)?;
        self.0 = tail;
        Ok(head)
    }

    fn byte(&mut self) -> Result<usize, Wrong> {
        Ok(usize::from(self.take(1)?[0]))
    }

    fn word(&mut self) -> Result<u16, Wrong> {
        let bytes = self.take(2)?;
        Ok(u16::from_be_bytes([bytes[0], bytes[1]]))
    }

    /// A vector whose length is told in one byte.
    fn short(&mut self) -> Result<Cursor<'a>, Wrong> {
        let n = self.byte()?;
        self.take(n).map(Cursor)
    }

    /// A vector whose length is told in two bytes.
    fn long(&mut self) -> Result<Cursor<'a>, Wrong> {
        let n = usize::from(self.word()?);
        self.take(n).map(Cursor)
    }
}

fn body(bytes: &[u8]) -> Result<Hello, Wrong> {
    let mut all = Cursor(bytes);
    all.take(2 + 32)?;
    all.short()?;
    all.long()?;
    all.short()?;
    let mut hello = Hello::default();
    if all.0.is_empty() {
        return Ok(hello);
    }
    let mut extensions = all.long()?;
    while !extensions.0.is_empty() {
        let kind = extensions.word()?;
        let mut data = extensions.long()?;
        match kind {
            SERVER_NAME => hello.server_name = server_name(&mut data)?,
            ALPN => hello.alpn = alpn(&mut data)?,
            _ => {}
        }
    }
    Ok(hello)
}

/// The first host name of the list (type 0).
fn server_name(data: &mut Cursor<'_>) -> Result<Option<String>, Wrong> {
    let mut list = data.long()?;
    while !list.0.is_empty() {
        let kind = list.byte()?;
        let name = list.long()?.0;
        if kind == 0 {
            let plain = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_');
            if name.is_empty() || name.len() > 255 || !name.iter().all(plain) {
                return Err(Wrong::Malformed);
            }
            let name = String::from_utf8_lossy(name).to_ascii_lowercase();
            return Ok(Some(name));
        }
    }
    Ok(None)
}

fn alpn(data: &mut Cursor<'_>) -> Result<Vec<Vec<u8>>, Wrong> {
    let mut list = data.long()?;
    let mut all = Vec::new();
    while !list.0.is_empty() {
        all.push(list.short()?.0.to_vec());
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vector16(bytes: &[u8]) -> Vec<u8> {
        let length = u16::try_from(bytes.len()).unwrap().to_be_bytes();
        [&length[..], bytes].concat()
    }

    fn extension(kind: u16, data: &[u8]) -> Vec<u8> {
        [&kind.to_be_bytes()[..], &vector16(data)].concat()
    }

    fn sni(name: &str) -> Vec<u8> {
        let entry = [&[0][..], &vector16(name.as_bytes())].concat();
        extension(SERVER_NAME, &vector16(&entry))
    }

    /// A handshake message in one record for each of `pieces` bytes.
    fn hello(extensions: &[u8], piece: usize) -> Vec<u8> {
        let mut body = vec![3, 3];
        body.extend_from_slice(&[7; 32]);
        body.push(0);
        body.extend_from_slice(&vector16(&[0x13, 0x01]));
        body.extend_from_slice(&[1, 0]);
        body.extend_from_slice(&vector16(extensions));
        let length = u32::try_from(body.len()).unwrap().to_be_bytes();
        let message = [&[CLIENT_HELLO, length[1], length[2], length[3]][..], &body].concat();
        message.chunks(piece).flat_map(|part| [&[HANDSHAKE, 3, 1][..], &vector16(part)].concat()).collect()
    }

    #[test]
    fn name_and_protocols_are_found_however_the_message_is_cut_into_records() {
        let alpn = extension(ALPN, &vector16(b"\x02h2\x08http/1.1"));
        let extensions = [extension(0x0a0a, &[]), sni("App.Example.com"), alpn].concat();
        for piece in [1, 7, 4096] {
            let bytes = hello(&extensions, piece);
            let read = parse(&bytes).unwrap().unwrap();
            assert_eq!(read.server_name.as_deref(), Some("app.example.com"));
            assert_eq!(read.alpn, [b"h2".to_vec(), b"http/1.1".to_vec()]);
            for cut in 0..bytes.len() {
                assert_eq!(parse(&bytes[..cut]), Ok(None), "{cut} of {} bytes", bytes.len());
            }
        }
    }

    #[test]
    fn a_client_may_ask_for_no_name() {
        let read = parse(&hello(&extension(ALPN, &vector16(b"\x02h2")), 4096)).unwrap().unwrap();
        assert_eq!(read.server_name, None);
    }

    #[test]
    fn what_is_no_hello_is_refused_and_never_waited_for() {
        assert_eq!(parse(b"GET / HTTP/1.1"), Err(Wrong::NotTls));
        assert_eq!(parse(&[HANDSHAKE, 2, 0]), Err(Wrong::NotTls));
        assert_eq!(parse(&[HANDSHAKE, 3, 1, 0, 0]), Err(Wrong::Malformed));
        assert_eq!(parse(&[HANDSHAKE, 3, 1, 0, 4, 2, 0, 0, 0]), Err(Wrong::Malformed));
        assert_eq!(parse(&[HANDSHAKE, 3, 1, 0, 4, CLIENT_HELLO, 0xff, 0xff, 0xff]), Err(Wrong::TooLong));
        let mut long = hello(&[], 4096);
        long[45] = 200;
        assert_eq!(parse(&long), Err(Wrong::Malformed));
    }

    #[test]
    fn a_name_that_is_no_host_is_malformed() {
        for name in ["", "a b", "a/b", "\u{0}"] {
            assert_eq!(parse(&hello(&sni(name), 4096)), Err(Wrong::Malformed), "{name:?}");
        }
    }
}
