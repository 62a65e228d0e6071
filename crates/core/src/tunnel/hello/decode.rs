//! A message read from bytes that anybody may have written.

use thiserror::Error;

use crate::tunnel::hello::cursor::{self, Cursor};
use crate::tunnel::hello::{
    Answer, Caller, Cause, Challenge, Claims, Grant, HEAD, HEALTHY, Hello, Kind, LIST_MAX, MAGIC,
    MESSAGE_MAX, Message, OFFERS_MAX, Offer, Place, Proof, Refused, Welcome, field, kind,
};

/// Why bytes are no message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Error)]
pub enum Wrong {
    /// It does not begin as a message does.
    #[error("it is not the beginning of a tunnel session")]
    Magic,
    /// A length that leads past the end.
    #[error("it ends too early")]
    Short,
    /// Longer than any message, or than it says of itself.
    #[error("it is too long")]
    Long,
    /// A type of message that is not known.
    #[error("{0} is no type of message")]
    Type(u8),
    /// A field that has to be there is not.
    #[error("field {0} is missing")]
    Missing(u8),
    /// A field that stands once stands twice.
    #[error("field {0} stands there twice")]
    Twice(u8),
    /// A text that is too long, or cannot be shown.
    #[error("a text is too long, or no text")]
    Text,
    /// A name that is empty or too long.
    #[error("a name is empty or longer than 128 bytes")]
    Name,
    /// A dialer of a kind that is not known.
    #[error("{0} is no kind of dialer")]
    Caller(u8),
    /// A place outside of its hub.
    #[error("thread {thread} of {threads} in process {process} of {processes} is no place")]
    Place {
        /// From 0.
        process: u16,
        /// How many.
        processes: u16,
        /// From 0.
        thread: u16,
        /// How many.
        threads: u16,
    },
    /// More offers, hosts or hubs than there may be.
    #[error("a list is too long")]
    List,
    /// Two offers under one number.
    #[error("two offers have the number {0}")]
    Index(u16),
}

/// How long the message is that begins so, its head included; `None` as long as the head is not there as a whole.
///
/// # Errors
/// When no message begins so.
pub fn size(bytes: &[u8]) -> Result<Option<usize>, Wrong> {
    let shared = bytes.len().min(MAGIC.len());
    if bytes[..shared] != MAGIC[..shared] {
        return Err(Wrong::Magic);
    }
    let Some(head) = bytes.first_chunk::<HEAD>() else { return Ok(None) };
    let size = HEAD + usize::from(u16::from_be_bytes([head[6], head[7]]));
    if size > MESSAGE_MAX { Err(Wrong::Long) } else { Ok(Some(size)) }
}

/// Reads one message, exactly. Fields and trailing bytes of lists' items that are not known are skipped.
///
/// # Errors
/// When the bytes contradict themselves.
pub fn parse(bytes: &[u8]) -> Result<Message, Wrong> {
    let size = size(bytes)?.ok_or(Wrong::Short)?;
    if bytes.len() != size {
        return Err(if bytes.len() < size { Wrong::Short } else { Wrong::Long });
    }
    let body = Cursor(&bytes[HEAD..]);
    match bytes[4] {
        kind::HELLO => hello(body).map(Message::Hello),
        kind::CHALLENGE => challenge(body).map(Message::Challenge),
        kind::PROOF => proof(body).map(Message::Proof),
        kind::WELCOME => welcome(body).map(Message::Welcome),
        kind::REFUSED => refused(body).map(Message::Refused),
        other => Err(Wrong::Type(other)),
    }
}

/// Reads what a [`Proof`] claims.
///
/// # Errors
/// When the bytes contradict themselves.
pub fn parse_claims(bytes: &[u8]) -> Result<Claims, Wrong> {
    let mut body = Cursor(bytes);
    let (mut key, mut offers) = (None, Vec::<Offer>::new());
    while let Some((kind, mut value)) = body.field()? {
        match kind {
            field::CLAIM_KEY => once(&mut key, kind, value.array()?)?,
            field::CLAIM_OFFER => {
                let Some(offer) = offer(value)? else { continue };
                if offers.iter().any(|other| other.index == offer.index) {
                    return Err(Wrong::Index(offer.index));
                }
                push(&mut offers, offer, OFFERS_MAX)?;
            }
            _ => {}
        }
    }
    Ok(Claims { key: there(key, field::CLAIM_KEY)?, offers })
}

fn hello(mut body: Cursor<'_>) -> Result<Hello, Wrong> {
    let (mut versions, mut caller, mut name, mut instance, mut nonce) = (None, None, None, None, None);
    while let Some((kind, mut value)) = body.field()? {
        match kind {
            field::HELLO_VERSIONS => once(&mut versions, kind, (value.byte()?, value.byte()?))?,
            field::HELLO_CALLER => once(&mut caller, kind, value.byte()?)?,
            field::HELLO_NAME => once(&mut name, kind, value.name()?)?,
            field::HELLO_INSTANCE => once(&mut instance, kind, value.u64()?)?,
            field::HELLO_NONCE => once(&mut nonce, kind, value.array()?)?,
            _ => {}
        }
    }
    let (low, high) = there(versions, field::HELLO_VERSIONS)?;
    let caller = match there(caller, field::HELLO_CALLER)? {
        1 => Caller::Agent,
        2 => Caller::Visitor,
        3 => Caller::Hub,
        other => return Err(Wrong::Caller(other)),
    };
    Ok(Hello {
        low,
        high,
        caller,
        name: there(name, field::HELLO_NAME)?,
        instance: there(instance, field::HELLO_INSTANCE)?,
        nonce: there(nonce, field::HELLO_NONCE)?,
    })
}

fn challenge(mut body: Cursor<'_>) -> Result<Challenge, Wrong> {
    let (mut version, mut hub, mut instance, mut place, mut nonce) = (None, None, None, None, None);
    while let Some((kind, mut value)) = body.field()? {
        match kind {
            field::CHALLENGE_VERSION => once(&mut version, kind, value.byte()?)?,
            field::CHALLENGE_HUB => once(&mut hub, kind, value.name()?)?,
            field::CHALLENGE_INSTANCE => once(&mut instance, kind, value.u64()?)?,
            field::CHALLENGE_PLACE => once(&mut place, kind, self::place(value)?)?,
            field::CHALLENGE_NONCE => once(&mut nonce, kind, value.array()?)?,
            _ => {}
        }
    }
    Ok(Challenge {
        version: there(version, field::CHALLENGE_VERSION)?,
        hub: there(hub, field::CHALLENGE_HUB)?,
        instance: there(instance, field::CHALLENGE_INSTANCE)?,
        place: there(place, field::CHALLENGE_PLACE)?,
        nonce: there(nonce, field::CHALLENGE_NONCE)?,
    })
}

fn place(mut value: Cursor<'_>) -> Result<Place, Wrong> {
    let (process, processes, thread, threads) = (value.u16()?, value.u16()?, value.u16()?, value.u16()?);
    if process < processes && thread < threads {
        Ok(Place { process, processes, thread, threads })
    } else {
        Err(Wrong::Place { process, processes, thread, threads })
    }
}

fn proof(mut body: Cursor<'_>) -> Result<Proof, Wrong> {
    let (mut claims, mut signature) = (None, None);
    while let Some((kind, mut value)) = body.field()? {
        match kind {
            field::PROOF_CLAIMS => once(&mut claims, kind, value.0.to_vec())?,
            field::PROOF_SIGNATURE => once(&mut signature, kind, value.array()?)?,
            _ => {}
        }
    }
    Ok(Proof {
        claims: there(claims, field::PROOF_CLAIMS)?,
        signature: there(signature, field::PROOF_SIGNATURE)?,
    })
}

/// `None` for an offer of a kind that is not known.
fn offer(mut value: Cursor<'_>) -> Result<Option<Offer>, Wrong> {
    let (index, carried, flags, weight) = (value.u16()?, value.byte()?, value.byte()?, value.u16()?);
    let tunnel = cursor::name(value.text()?)?;
    let host = Some(value.text()?).filter(|host| !host.is_empty());
    let kind = match carried {
        1 => Kind::Tcp,
        2 => Kind::Udp,
        3 => Kind::Http,
        _ => return Ok(None),
    };
    Ok(Some(Offer { index, tunnel, kind, weight, host, healthy: flags & HEALTHY != 0 }))
}

fn welcome(mut body: Cursor<'_>) -> Result<Welcome, Wrong> {
    let mut welcome = Welcome::default();
    while let Some((kind, mut value)) = body.field()? {
        match kind {
            field::WELCOME_GRANT => push(&mut welcome.grants, grant(value)?, OFFERS_MAX)?,
            field::WELCOME_HUB => push(&mut welcome.hubs, value.rest()?, LIST_MAX)?,
            field::WELCOME_NAME => push(&mut welcome.names, value.name()?, LIST_MAX)?,
            field::WELCOME_STREAMS => welcome.streams = value.u32()?,
            _ => {}
        }
    }
    Ok(welcome)
}

fn grant(mut value: Cursor<'_>) -> Result<Grant, Wrong> {
    let (index, served) = (value.u16()?, value.byte()?);
    if served == 0 {
        return Ok(Grant { index, answer: Answer::Refused(value.text()?) });
    }
    let mut hosts = Vec::new();
    while !value.is_empty() {
        push(&mut hosts, value.text()?, LIST_MAX)?;
    }
    Ok(Grant { index, answer: Answer::Served(hosts) })
}

fn refused(mut body: Cursor<'_>) -> Result<Refused, Wrong> {
    let (mut cause, mut sentence) = (None, None);
    while let Some((kind, mut value)) = body.field()? {
        match kind {
            field::REFUSED_CAUSE => once(&mut cause, kind, value.u16()?)?,
            field::REFUSED_SENTENCE => once(&mut sentence, kind, value.rest()?)?,
            _ => {}
        }
    }
    let cause = match there(cause, field::REFUSED_CAUSE)? {
        1 => Cause::Version,
        2 => Cause::Key,
        3 => Cause::Signature,
        4 => Cause::Forbidden,
        5 => Cause::Full,
        6 => Cause::Leaving,
        7 => Cause::Garbled,
        other => Cause::Other(other),
    };
    Ok(Refused { cause, sentence: sentence.unwrap_or_default() })
}

fn once<T>(slot: &mut Option<T>, kind: u8, value: T) -> Result<(), Wrong> {
    match slot.replace(value) {
        None => Ok(()),
        Some(_) => Err(Wrong::Twice(kind)),
    }
}

fn there<T>(slot: Option<T>, kind: u8) -> Result<T, Wrong> {
    slot.ok_or(Wrong::Missing(kind))
}

fn push<T>(list: &mut Vec<T>, item: T, most: usize) -> Result<(), Wrong> {
    if list.len() == most {
        return Err(Wrong::List);
    }
    list.push(item);
    Ok(())
}
