//! A message as bytes, and the bytes that are signed.

use thiserror::Error;

use crate::tunnel::hello::cursor::fits;
use crate::tunnel::hello::{
    Answer, Caller, Cause, Challenge, Claims, Grant, HEAD, HEALTHY, Hello, Kind, LIST_MAX, MAGIC,
    MESSAGE_MAX, Message, NAME_MAX, OFFERS_MAX, Offer, Refused, TEXT_MAX, Welcome, field, kind,
};

/// Why something cannot be said.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Error)]
pub enum Unfit {
    /// A name that is empty, too long, or cannot be shown.
    #[error("a name is empty, longer than 128 bytes or has control characters")]
    Name,
    /// A text that is too long, or cannot be shown.
    #[error("a text is longer than 255 bytes or has control characters")]
    Text,
    /// A list that is too long.
    #[error("a list is too long")]
    List,
    /// All of it together is too long.
    #[error("it is longer than 8 KiB")]
    Long,
}

/// What a signature begins with: no other protocol signs these bytes.
const LABEL: &[u8] = b"mainstay tunnel 1";

/// The bytes that a dialer signs and a hub verifies.
///
/// `hello` and `challenge` are whole messages as they went over the wire, `binding` what ties the signature to the
/// carrier (the exporter of its TLS, or nothing), `claims` those of the [`super::Proof`].
#[must_use]
pub fn transcript(hello: &[u8], challenge: &[u8], binding: &[u8], claims: &[u8]) -> Vec<u8> {
    let parts = [LABEL, hello, challenge, binding, claims];
    let mut bytes = Vec::with_capacity(parts.iter().map(|part| part.len() + 4).sum());
    for part in parts {
        // Four bytes of length: parts can't be moved over the border between them.
        bytes.extend_from_slice(&u32::try_from(part.len()).unwrap_or(u32::MAX).to_be_bytes());
        bytes.extend_from_slice(part);
    }
    bytes
}

/// A message as bytes.
///
/// # Errors
/// When something in it is too long, or is no text that can be shown.
pub fn encode(message: &Message) -> Result<Vec<u8>, Unfit> {
    let mut out = Writer(Vec::with_capacity(256));
    out.0.extend_from_slice(&MAGIC);
    let kind = match message {
        Message::Hello(_) => kind::HELLO,
        Message::Challenge(_) => kind::CHALLENGE,
        Message::Proof(_) => kind::PROOF,
        Message::Welcome(_) => kind::WELCOME,
        Message::Refused(_) => kind::REFUSED,
    };
    out.0.extend_from_slice(&[kind, 0, 0, 0]);
    match message {
        Message::Hello(hello) => out.hello(hello)?,
        Message::Challenge(challenge) => out.challenge(challenge)?,
        Message::Proof(proof) => {
            out.field(field::PROOF_CLAIMS, &proof.claims)?;
            out.field(field::PROOF_SIGNATURE, &proof.signature)?;
        }
        Message::Welcome(welcome) => out.welcome(welcome)?,
        Message::Refused(refused) => out.refused(refused)?,
    }
    if out.0.len() > MESSAGE_MAX {
        return Err(Unfit::Long);
    }
    let length = u16::try_from(out.0.len() - HEAD).map_err(|_| Unfit::Long)?;
    out.0[6..HEAD].copy_from_slice(&length.to_be_bytes());
    Ok(out.0)
}

/// Claims as the bytes that a [`super::Proof`] has.
///
/// # Errors
/// When something in them is too long, or is no text that can be shown.
pub fn encode_claims(claims: &Claims) -> Result<Vec<u8>, Unfit> {
    let mut out = Writer(Vec::with_capacity(128));
    out.field(field::CLAIM_KEY, &claims.key)?;
    if claims.offers.len() > OFFERS_MAX {
        return Err(Unfit::List);
    }
    for offer in &claims.offers {
        out.offer(offer)?;
    }
    // What is left of a message for its head, the signature and the heads of two fields.
    if out.0.len() > MESSAGE_MAX - HEAD - 64 - 6 {
        return Err(Unfit::Long);
    }
    Ok(out.0)
}

struct Writer(Vec<u8>);

impl Writer {
    fn field(&mut self, kind: u8, value: &[u8]) -> Result<(), Unfit> {
        let length = u16::try_from(value.len()).map_err(|_| Unfit::Long)?;
        self.0.push(kind);
        self.0.extend_from_slice(&length.to_be_bytes());
        self.0.extend_from_slice(value);
        Ok(())
    }

    fn hello(&mut self, hello: &Hello) -> Result<(), Unfit> {
        let caller = match hello.caller {
            Caller::Agent => 1,
            Caller::Visitor => 2,
            Caller::Hub => 3,
        };
        self.field(field::HELLO_VERSIONS, &[hello.low, hello.high])?;
        self.field(field::HELLO_CALLER, &[caller])?;
        self.field(field::HELLO_NAME, name(&hello.name)?)?;
        self.field(field::HELLO_INSTANCE, &hello.instance.to_be_bytes())?;
        self.field(field::HELLO_NONCE, &hello.nonce)
    }

    fn challenge(&mut self, challenge: &Challenge) -> Result<(), Unfit> {
        let place = challenge.place;
        let place = [place.process, place.processes, place.thread, place.threads].map(u16::to_be_bytes);
        self.field(field::CHALLENGE_VERSION, &[challenge.version])?;
        self.field(field::CHALLENGE_HUB, name(&challenge.hub)?)?;
        self.field(field::CHALLENGE_INSTANCE, &challenge.instance.to_be_bytes())?;
        self.field(field::CHALLENGE_PLACE, place.as_flattened())?;
        self.field(field::CHALLENGE_NONCE, &challenge.nonce)
    }

    fn offer(&mut self, offer: &Offer) -> Result<(), Unfit> {
        let carried = match offer.kind {
            Kind::Tcp => 1,
            Kind::Udp => 2,
            Kind::Http => 3,
        };
        let mut value = Writer(Vec::with_capacity(64));
        value.0.extend_from_slice(&offer.index.to_be_bytes());
        value.0.extend_from_slice(&[carried, if offer.healthy { HEALTHY } else { 0 }]);
        value.0.extend_from_slice(&offer.weight.to_be_bytes());
        name(&offer.tunnel)?;
        value.text(&offer.tunnel)?;
        value.text(offer.host.as_deref().unwrap_or_default())?;
        self.field(field::CLAIM_OFFER, &value.0)
    }

    fn welcome(&mut self, welcome: &Welcome) -> Result<(), Unfit> {
        if welcome.grants.len() > OFFERS_MAX || welcome.hubs.len().max(welcome.names.len()) > LIST_MAX {
            return Err(Unfit::List);
        }
        for grant in &welcome.grants {
            self.grant(grant)?;
        }
        for hub in &welcome.hubs {
            self.field(field::WELCOME_HUB, text(hub)?)?;
        }
        for hub in &welcome.names {
            self.field(field::WELCOME_NAME, name(hub)?)?;
        }
        if welcome.streams > 0 {
            self.field(field::WELCOME_STREAMS, &welcome.streams.to_be_bytes())?;
        }
        Ok(())
    }

    fn grant(&mut self, grant: &Grant) -> Result<(), Unfit> {
        let mut value = Writer(Vec::with_capacity(64));
        value.0.extend_from_slice(&grant.index.to_be_bytes());
        match &grant.answer {
            Answer::Served(hosts) if hosts.len() > LIST_MAX => return Err(Unfit::List),
            Answer::Served(hosts) => {
                value.0.push(1);
                for host in hosts {
                    value.text(host)?;
                }
            }
            Answer::Refused(sentence) => {
                value.0.push(0);
                value.text(sentence)?;
            }
        }
        self.field(field::WELCOME_GRANT, &value.0)
    }

    fn refused(&mut self, refused: &Refused) -> Result<(), Unfit> {
        let cause: u16 = match refused.cause {
            Cause::Version => 1,
            Cause::Key => 2,
            Cause::Signature => 3,
            Cause::Forbidden => 4,
            Cause::Full => 5,
            Cause::Leaving => 6,
            Cause::Garbled => 7,
            Cause::Other(other) => other,
        };
        self.field(field::REFUSED_CAUSE, &cause.to_be_bytes())?;
        self.field(field::REFUSED_SENTENCE, text(&refused.sentence)?)
    }

    /// A text behind a byte that says how long it is.
    fn text(&mut self, value: &str) -> Result<(), Unfit> {
        let bytes = text(value)?;
        self.0.push(u8::try_from(bytes.len()).map_err(|_| Unfit::Text)?);
        self.0.extend_from_slice(bytes);
        Ok(())
    }
}

fn text(value: &str) -> Result<&[u8], Unfit> {
    if fits(value, TEXT_MAX) { Ok(value.as_bytes()) } else { Err(Unfit::Text) }
}

fn name(value: &str) -> Result<&[u8], Unfit> {
    if !value.is_empty() && fits(value, NAME_MAX) { Ok(value.as_bytes()) } else { Err(Unfit::Name) }
}
