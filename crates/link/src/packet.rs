//! The datagrams between nodes (docs/internals/peers.md): a kind, indices, what Noise made, a code.

use std::net::SocketAddr;
use std::time::Duration;

use mainstay_core::peer::{LETTER_MAX, NAME_MAX};

use crate::noise::{CODE, TAG};

/// First bytes. None of them begins any other protocol that is likely to lose its way to our port.
mod kind {
    pub(super) const HELLO: u8 = 0xd1;
    pub(super) const ANSWER: u8 = 0xd2;
    pub(super) const DATA: u8 = 0xd3;
    pub(super) const JOIN: u8 = 0xd4;
    pub(super) const REPLY: u8 = 0xd5;
    pub(super) const PROOF: u8 = 0xd6;
    pub(super) const VERDICT: u8 = 0xd7;
}

/// What a sealed letter has before it: kind, the receiver's index, the number.
pub(crate) const DATA_HEAD: usize = 1 + 4 + 8;

/// What sealing adds to a letter: head, the byte that says what is inside, tag.
pub(crate) const OVERHEAD: usize = DATA_HEAD + 1 + TAG;

/// The longest datagram that is sent, save one with a voter list of many long names.
pub const DATAGRAM: usize = 1_400;

/// The longest datagram that is read; a buffer to receive into should have one byte more.
pub const DATAGRAM_MAX: usize = LETTER_MAX + OVERHEAD;

/// The longest handshake.
const HANDSHAKE_MAX: usize = 600;

/// A request to join is so long that no reply to it is longer.
pub(crate) const JOIN_PAYLOAD: usize = 224;

/// Numbers of wills.
pub(crate) const WILL: u64 = 1 << 63;

/// One datagram, cut up. `mine` is the receiver's index, `theirs` the sender's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Packet<'a> {
    Hello { theirs: u32, noise: &'a [u8], code: Code<'a> },
    Answer { mine: u32, theirs: u32, noise: &'a [u8], code: Code<'a> },
    Data { mine: u32, number: u64, sealed: &'a [u8] },
    Join { theirs: u32, noise: &'a [u8], code: Code<'a> },
    Reply { mine: u32, theirs: u32, noise: &'a [u8], code: Code<'a> },
    Proof { mine: u32, noise: &'a [u8], code: Code<'a> },
    Verdict { mine: u32, sealed: &'a [u8] },
}

/// A datagram's code, and what it is the code of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Code<'a> {
    pub(crate) covered: &'a [u8],
    pub(crate) code: &'a [u8],
}

/// Cuts a datagram up; `None` when it can be none of ours.
pub(crate) fn parse(datagram: &[u8]) -> Option<Packet<'_>> {
    let (&first, rest) = datagram.split_first()?;
    if datagram.len() > DATAGRAM_MAX || (first != kind::DATA && datagram.len() > HANDSHAKE_MAX) {
        return None;
    }
    let coded = || {
        let (covered, code) = datagram.split_at_checked(datagram.len().checked_sub(CODE)?)?;
        Some(Code { covered, code })
    };
    let (index, rest) = index(rest)?;
    // Of a handshake message the ephemeral key at least, or the sealed static one.
    let noise = |rest: &'_ [u8]| rest.len().checked_sub(CODE).filter(|len| *len >= 32 + TAG);
    Some(match first {
        kind::HELLO => Packet::Hello { theirs: index, noise: &rest[..noise(rest)?], code: coded()? },
        kind::JOIN => Packet::Join { theirs: index, noise: &rest[..noise(rest)?], code: coded()? },
        kind::PROOF => Packet::Proof { mine: index, noise: &rest[..noise(rest)?], code: coded()? },
        kind::ANSWER | kind::REPLY => {
            let (theirs, rest) = self::index(rest)?;
            let (mine, noise, code) = (index, &rest[..noise(rest)?], coded()?);
            if first == kind::ANSWER {
                Packet::Answer { mine, theirs, noise, code }
            } else {
                Packet::Reply { mine, theirs, noise, code }
            }
        }
        kind::DATA => {
            let (number, sealed) = rest.split_first_chunk()?;
            let number = u64::from_be_bytes(*number);
            if sealed.len() <= TAG {
                return None;
            }
            Packet::Data { mine: index, number, sealed }
        }
        kind::VERDICT if rest.len() > TAG => Packet::Verdict { mine: index, sealed: rest },
        _ => return None,
    })
}

fn index(bytes: &[u8]) -> Option<(u32, &[u8])> {
    let (index, rest) = bytes.split_first_chunk()?;
    Some((u32::from_be_bytes(*index), rest))
}

/// The beginnings of datagrams; what follows is appended, then a code for handshakes.
pub(crate) fn hello(mine: u32) -> Vec<u8> {
    begin(kind::HELLO, &[mine])
}

pub(crate) fn answer(theirs: u32, mine: u32) -> Vec<u8> {
    begin(kind::ANSWER, &[theirs, mine])
}

pub(crate) fn join(mine: u32) -> Vec<u8> {
    begin(kind::JOIN, &[mine])
}

pub(crate) fn reply(theirs: u32, mine: u32) -> Vec<u8> {
    begin(kind::REPLY, &[theirs, mine])
}

pub(crate) fn proof(theirs: u32) -> Vec<u8> {
    begin(kind::PROOF, &[theirs])
}

pub(crate) fn verdict(theirs: u32) -> Vec<u8> {
    begin(kind::VERDICT, &[theirs])
}

pub(crate) fn data(theirs: u32, number: u64) -> Vec<u8> {
    let mut out = begin(kind::DATA, &[theirs]);
    out.extend(number.to_be_bytes());
    out
}

fn begin(kind: u8, indices: &[u32]) -> Vec<u8> {
    let mut out = Vec::with_capacity(256);
    out.push(kind);
    out.extend(indices.iter().flat_map(|index| index.to_be_bytes()));
    out
}

/// What a node says of itself, sealed in its handshake: fields of type, length, bytes; unknown ones are skipped.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Greeting {
    /// The highest version of the sessions' insides that it speaks.
    pub(crate) version: u8,
    /// Drawn when its process started.
    pub(crate) instance: u64,
    /// Rises with each hello of the instance.
    pub(crate) number: u64,
    /// Its `node.id`; not in an answer.
    pub(crate) id: String,
    /// How often it says something; nothing when it did not say.
    pub(crate) beat: Duration,
    /// Why there is no session.
    pub(crate) refused: Option<No>,
    /// Who has the id, when it is in use.
    pub(crate) holder: Option<SocketAddr>,
}

/// Why a peer is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum No {
    UnknownKey,
    InUse,
    NotMember,
}

mod field {
    pub(super) const VERSION: u8 = 1;
    pub(super) const INSTANCE: u8 = 2;
    pub(super) const NUMBER: u8 = 3;
    pub(super) const ID: u8 = 4;
    pub(super) const REFUSED: u8 = 5;
    pub(super) const HOLDER: u8 = 6;
    pub(super) const PAD: u8 = 7;
    pub(super) const BEAT: u8 = 8;
}

impl Greeting {
    /// Its bytes, filled up to `len` when they are fewer.
    pub(crate) fn write(&self, len: usize) -> Vec<u8> {
        let mut out = Vec::new();
        let mut put = |kind: u8, bytes: &[u8]| {
            let len = u8::try_from(bytes.len()).expect("names are bounded by NAME_MAX, addresses are short");
            out.extend([kind, len]);
            out.extend_from_slice(bytes);
        };
        put(field::VERSION, &[self.version]);
        put(field::INSTANCE, &self.instance.to_be_bytes());
        put(field::NUMBER, &self.number.to_be_bytes());
        let beat = u64::try_from(self.beat.as_nanos()).unwrap_or(u64::MAX);
        put(field::BEAT, &beat.to_be_bytes());
        // A longer id is in nobody's list.
        if (1..=NAME_MAX).contains(&self.id.len()) {
            put(field::ID, self.id.as_bytes());
        }
        if let Some(no) = self.refused {
            put(field::REFUSED, &[no.number()]);
        }
        if let Some(holder) = self.holder {
            put(field::HOLDER, holder.to_string().as_bytes());
        }
        while out.len() + 2 <= len {
            let pad = (len - out.len() - 2).min(255);
            out.extend([field::PAD, u8::try_from(pad).unwrap_or(u8::MAX)]);
            out.resize(out.len() + pad, 0);
        }
        out
    }

    pub(crate) fn read(mut bytes: &[u8]) -> Option<Self> {
        let mut greeting = Self::default();
        while let Some((&[kind, len], rest)) = bytes.split_first_chunk() {
            let (value, rest) = rest.split_at_checked(len.into())?;
            bytes = rest;
            match kind {
                field::VERSION => greeting.version = *value.first()?,
                field::INSTANCE => greeting.instance = word(value)?,
                field::NUMBER => greeting.number = word(value)?,
                field::ID if value.len() <= NAME_MAX => greeting.id = str::from_utf8(value).ok()?.to_owned(),
                field::ID => return None,
                field::BEAT => greeting.beat = Duration::from_nanos(word(value)?),
                field::REFUSED => greeting.refused = Some(No::of(*value.first()?)),
                field::HOLDER => greeting.holder = str::from_utf8(value).ok()?.parse().ok(),
                _ => {}
            }
        }
        (bytes.is_empty() && greeting.version > 0).then_some(greeting)
    }
}

fn word(value: &[u8]) -> Option<u64> {
    value.first_chunk().map(|bytes| u64::from_be_bytes(*bytes))
}

impl No {
    fn number(self) -> u8 {
        match self {
            Self::UnknownKey => 1,
            Self::InUse => 2,
            Self::NotMember => 3,
        }
    }

    /// A reason of a later version is a refusal like any other.
    fn of(number: u8) -> Self {
        match number {
            2 => Self::InUse,
            3 => Self::NotMember,
            _ => Self::UnknownKey,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_greeting_is_read_as_it_was_written_however_long() {
        let greeting = Greeting {
            version: 1,
            instance: 2,
            number: 3,
            id: "x".repeat(NAME_MAX),
            beat: Duration::from_millis(150),
            refused: Some(No::InUse),
            holder: Some("[2001:db8::1]:7474".parse().unwrap()),
        };
        for len in [0, 300, 301, 302, 700] {
            let bytes = greeting.write(len);
            assert!(bytes.len() + 1 >= len);
            assert_eq!(Greeting::read(&bytes), Some(greeting.clone()));
        }
        let mut later = greeting.write(0);
        later.extend([99, 2, 0, 0]);
        assert_eq!(Greeting::read(&later), Some(greeting));
        assert_eq!(Greeting::read(&later[..later.len() - 1]), None);
        assert_eq!(Greeting::read(&[]), None);
    }

    #[test]
    fn a_datagram_is_what_its_head_says_or_nothing() {
        let mut bytes = data(7, WILL | 3);
        bytes.extend([0; TAG]);
        assert_eq!(parse(&bytes), None, "nothing is inside");
        bytes.push(0);
        let sealed = &[0; TAG + 1][..];
        assert_eq!(parse(&bytes), Some(Packet::Data { mine: 7, number: WILL | 3, sealed }));
        let mut bytes = hello(9);
        bytes.extend([1; 96]);
        let all = [&bytes[..], &[2; CODE]].concat();
        let code = Code { covered: &bytes, code: &[2; CODE] };
        assert_eq!(parse(&all), Some(Packet::Hello { theirs: 9, noise: &[1; 96], code }));
        assert_eq!(parse(&[hello(9), vec![0; HANDSHAKE_MAX]].concat()), None);
        for len in 0..all.len() {
            let _ = parse(&all[..len]);
        }
    }
}
