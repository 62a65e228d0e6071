//! Datagrams in a stream of bytes: each behind its length, two bytes, big-endian.

use std::borrow::Cow;

/// The longest datagram.
pub const DATAGRAM_MAX: usize = u16::MAX as usize;

/// What stands before each.
pub const HEAD: usize = 2;

/// The head of a datagram of so many bytes; `None` when it is too long to be sent.
#[must_use]
pub fn head(len: usize) -> Option<[u8; HEAD]> {
    u16::try_from(len).ok().map(u16::to_be_bytes)
}

/// Takes a stream apart.
#[derive(Debug, Default)]
pub struct Reader {
    kept: Vec<u8>,
    /// The length of the next one, once it is known.
    len: Option<usize>,
    /// So much of one that was given up is still to come.
    skip: usize,
}

impl Reader {
    /// How many bytes the part that it is in still lacks: of the length, or of the datagram.
    #[must_use]
    pub fn wants(&self) -> usize {
        if self.skip > 0 { self.skip } else { self.len.unwrap_or(HEAD) - self.kept.len() }
    }

    /// How many bytes of a datagram are kept that is not whole.
    #[must_use]
    pub const fn held(&self) -> usize {
        self.kept.len()
    }

    /// Gives up the datagram that is not whole; what follows of it is skipped. False when there is none.
    pub fn give_up(&mut self) -> bool {
        let Some(len) = self.len.take() else { return false };
        self.skip = len - self.kept.len();
        self.kept = Vec::new();
        true
    }

    /// Whether what comes next belongs to one that was given up.
    #[must_use]
    pub const fn skips(&self) -> bool {
        self.skip > 0
    }

    /// Takes bytes off `input`; the next datagram, once it is there.
    pub fn receive<'a>(&mut self, input: &mut &'a [u8]) -> Option<Cow<'a, [u8]>> {
        let skipped = self.skip.min(input.len());
        *input = &input[skipped..];
        self.skip -= skipped;
        if self.skip > 0 {
            return None;
        }
        loop {
            let part = self.part(input)?;
            match self.len.take() {
                Some(_) => return Some(part),
                None => {
                    let len = usize::from(u16::from_be_bytes([part[0], part[1]]));
                    if len == 0 {
                        return Some(Cow::Borrowed(&[]));
                    }
                    self.len = Some(len);
                }
            }
        }
    }

    /// The part that it is in, once all of it has come.
    fn part<'a>(&mut self, input: &mut &'a [u8]) -> Option<Cow<'a, [u8]>> {
        let wants = self.wants();
        if self.kept.is_empty()
            && let Some((part, rest)) = input.split_at_checked(wants)
        {
            *input = rest;
            return Some(Cow::Borrowed(part));
        }
        let (piece, rest) = input.split_at(wants.min(input.len()));
        self.kept.extend_from_slice(piece);
        *input = rest;
        (piece.len() == wants).then(|| Cow::Owned(std::mem::take(&mut self.kept)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn datagrams_keep_their_borders_however_the_stream_is_cut() {
        let sent: [&[u8]; 5] = [b"one", b"", b"three", &[7; 3000], b"x"];
        let mut stream = Vec::new();
        for datagram in sent {
            stream.extend(head(datagram.len()).unwrap());
            stream.extend_from_slice(datagram);
        }
        for size in [1, 2, 3, 5, 100, stream.len()] {
            let (mut reader, mut got) = (Reader::default(), Vec::new());
            for mut piece in stream.chunks(size) {
                while let Some(datagram) = reader.receive(&mut piece) {
                    got.push(datagram.into_owned());
                }
                assert!(piece.is_empty());
            }
            assert_eq!(got, sent);
        }
    }

    #[test]
    fn one_that_is_given_up_is_skipped_and_the_next_is_whole() {
        let stream = [&[0, 9][..], b"forgotten", &[0, 3], b"two"].concat();
        for size in 1..9 {
            let (mut reader, mut got, mut given_up) = (Reader::default(), Vec::new(), false);
            for mut piece in stream.chunks(size) {
                while let Some(datagram) = reader.receive(&mut piece) {
                    got.push(datagram.into_owned());
                }
                given_up = given_up || reader.give_up();
            }
            assert!(given_up && !reader.skips());
            assert_eq!(got, [b"two"], "pieces of {size}");
        }
    }

    #[test]
    fn one_that_is_too_long_has_no_head() {
        assert_eq!(head(DATAGRAM_MAX), Some([0xff, 0xff]));
        assert_eq!(head(DATAGRAM_MAX + 1), None);
    }
}
