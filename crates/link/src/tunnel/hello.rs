//! What is said over a carrier before the streams, with its signatures and its deadline (docs/internals/tunnel.md).
//!
//! The dialer's side is one call, [`dial`]. A hub goes step by step, because it has to choose in between: [`Asked::read`]
//! tells who calls, [`Asked::challenge`] has it prove that, [`welcome`] or [`refuse`] ends it.

use std::io;
use std::time::Duration;

use mainstay_core::tunnel::hello::{
    self, Caller, Cause, Challenge, Claims, HEAD, Hello, Message, Offer, Proof, Refused, Unfit, Welcome,
};
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::timeout;

use crate::noise::{SystemEntropy, draw};
use crate::tunnel::keys::{PublicKey, SigningKey};

/// How long a dialer waits for all of it, and a hub for each step.
pub const DEADLINE: Duration = Duration::from_secs(5);

/// Why there is no session.
#[derive(Debug, Error)]
pub enum Failed {
    /// The carrier broke.
    #[error("{0}")]
    Broken(#[from] io::Error),
    /// The other side said nothing for too long.
    #[error("no answer within {} s", DEADLINE.as_secs())]
    Late,
    /// What it said is no message.
    #[error("{0}")]
    Garbled(#[from] hello::Wrong),
    /// It said something else than what was its turn to say.
    #[error("it spoke out of turn")]
    Turn,
    /// What was to be said cannot be.
    #[error("{0}")]
    Unfit(#[from] Unfit),
    /// The hub speaks a version that was not offered to it.
    #[error("the hub answers in version {0}, which is not spoken here")]
    Version(u8),
    /// The dialer has not the key that it shows.
    #[error("the signature is not that of {0}")]
    Signature(PublicKey),
    /// The hub sends the dialer away.
    #[error("{}", .0.sentence)]
    Refused(Refused),
}

impl Failed {
    /// What a hub answers; nothing to one that has gone or sent it away.
    #[must_use]
    pub fn answer(&self) -> Option<Refused> {
        let cause = match self {
            Self::Broken(_) | Self::Late | Self::Refused(_) | Self::Unfit(_) => return None,
            Self::Garbled(_) | Self::Turn => Cause::Garbled,
            Self::Version(_) => Cause::Version,
            Self::Signature(_) => Cause::Signature,
        };
        Some(Refused { cause, sentence: self.to_string() })
    }
}

/// A dialer, as it shows itself.
#[derive(Clone, Copy, Debug)]
pub struct Dialer<'a> {
    /// What it is.
    pub caller: Caller,
    /// What it calls itself.
    pub name: &'a str,
    /// Drawn once by its process.
    pub instance: u64,
    /// The key that it proves to have.
    pub key: &'a SigningKey,
    /// What it offers.
    pub offers: &'a [Offer],
    /// What ties the signature to this carrier: the exporter of its TLS, or nothing.
    pub binding: &'a [u8],
}

/// Who answered a dialer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Met {
    /// The hub, and where in it the session ends.
    pub hub: Challenge,
    /// What it grants.
    pub welcome: Welcome,
}

/// The dialer's side, from the first byte to the hub's welcome.
///
/// `look` sees the hub's answer before anything is proven: what it returns as an error ends the call, which is how an agent leaves a place that it
/// has a session to.
///
/// # Errors
/// When the hub refuses, is late, is no hub, or `look` does not want it.
pub async fn dial<C, E>(
    carrier: &mut C,
    dialer: Dialer<'_>,
    look: impl FnOnce(&Challenge) -> Result<(), E>,
) -> Result<Met, E>
where
    C: AsyncRead + AsyncWrite + Unpin,
    E: From<Failed>,
{
    let all = async {
        let (said, hello) = introduce(carrier, &dialer).await?;
        let (heard, hub) = match read(carrier).await? {
            (bytes, Message::Challenge(challenge)) => (bytes, challenge),
            (_, Message::Refused(refused)) => return Err(Failed::Refused(refused).into()),
            (_, Message::Hello(_) | Message::Proof(_) | Message::Welcome(_)) => {
                return Err(Failed::Turn.into());
            }
        };
        if !(hello.low..=hello.high).contains(&hub.version) {
            return Err(Failed::Version(hub.version).into());
        }
        look(&hub)?;
        let welcome = prove(carrier, &dialer, &said, &heard).await?;
        Ok(Met { hub, welcome })
    };
    timeout(DEADLINE, all).await.unwrap_or_else(|_| Err(Failed::Late.into()))
}

async fn introduce<C>(carrier: &mut C, dialer: &Dialer<'_>) -> Result<(Vec<u8>, Hello), Failed>
where
    C: AsyncWrite + Unpin,
{
    let hello = Hello {
        low: hello::OLDEST,
        high: hello::VERSION,
        caller: dialer.caller,
        name: dialer.name.to_owned(),
        instance: dialer.instance,
        nonce: draw(&mut SystemEntropy),
    };
    let said = write(carrier, &Message::Hello(hello.clone())).await?;
    Ok((said, hello))
}

async fn prove<C>(carrier: &mut C, dialer: &Dialer<'_>, said: &[u8], heard: &[u8]) -> Result<Welcome, Failed>
where
    C: AsyncRead + AsyncWrite + Unpin,
{
    let claims = Claims { key: dialer.key.public().0, offers: dialer.offers.to_vec() };
    let claims = hello::encode_claims(&claims)?;
    let signature = dialer.key.sign(&hello::transcript(said, heard, dialer.binding, &claims));
    write(carrier, &Message::Proof(Proof { claims, signature })).await?;
    match read(carrier).await?.1 {
        Message::Welcome(welcome) => Ok(welcome),
        Message::Refused(refused) => Err(Failed::Refused(refused)),
        Message::Hello(_) | Message::Challenge(_) | Message::Proof(_) => Err(Failed::Turn),
    }
}

/// A dialer that has said who it is, which is not proven yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    /// Who.
    pub hello: Hello,
    /// The message as it came: it is part of what is signed.
    raw: Vec<u8>,
}

impl Asked {
    /// Reads who calls. Nothing behind the message is taken from the carrier.
    ///
    /// # Errors
    /// When it is late, broken, or no such message.
    pub async fn read<C: AsyncRead + Unpin>(carrier: &mut C) -> Result<Self, Failed> {
        match timeout(DEADLINE, read(carrier)).await.map_err(|_| Failed::Late)?? {
            (raw, Message::Hello(hello)) => Ok(Self { hello, raw }),
            (_, Message::Challenge(_) | Message::Proof(_) | Message::Welcome(_) | Message::Refused(_)) => {
                Err(Failed::Turn)
            }
        }
    }

    /// The hub's challenge to it, at this place of the hub.
    ///
    /// # Errors
    /// When there is no version that both speak.
    pub fn challenge(&self, hub: &str, instance: u64, place: hello::Place) -> Result<Challenge, Failed> {
        let version = self.hello.version().ok_or(Failed::Version(self.hello.high))?;
        Ok(Challenge { version, hub: hub.to_owned(), instance, place, nonce: draw(&mut SystemEntropy) })
    }

    /// Challenges it, and gives what it claims under a key that it has shown to have. Whether that key may do so is for the caller to say.
    ///
    /// # Errors
    /// When it is late, broken, or signs with another key than it shows.
    pub async fn prove<C>(
        &self,
        carrier: &mut C,
        challenge: Challenge,
        binding: &[u8],
    ) -> Result<Claims, Failed>
    where
        C: AsyncRead + AsyncWrite + Unpin,
    {
        let (said, proof) = timeout(DEADLINE, async {
            let said = write(carrier, &Message::Challenge(challenge)).await?;
            match read(carrier).await?.1 {
                Message::Proof(proof) => Ok((said, proof)),
                Message::Refused(refused) => Err(Failed::Refused(refused)),
                Message::Hello(_) | Message::Challenge(_) | Message::Welcome(_) => Err(Failed::Turn),
            }
        })
        .await
        .map_err(|_| Failed::Late)??;
        let claims = hello::parse_claims(&proof.claims)?;
        let key = PublicKey(claims.key);
        let signed = hello::transcript(&self.raw, &said, binding, &proof.claims);
        if key.signed(&signed, &proof.signature) { Ok(claims) } else { Err(Failed::Signature(key)) }
    }
}

/// Lets a dialer in; the streams follow.
///
/// # Errors
/// When the carrier breaks or takes nothing, or the welcome is too long.
pub async fn welcome<C: AsyncWrite + Unpin>(carrier: &mut C, welcome: Welcome) -> Result<(), Failed> {
    end(carrier, Message::Welcome(welcome)).await
}

/// Sends a dialer away. The carrier is to be closed then.
///
/// # Errors
/// When the carrier breaks or takes nothing, or the sentence is too long.
pub async fn refuse<C: AsyncWrite + Unpin>(carrier: &mut C, refused: Refused) -> Result<(), Failed> {
    end(carrier, Message::Refused(refused)).await
}

async fn end<C: AsyncWrite + Unpin>(carrier: &mut C, message: Message) -> Result<(), Failed> {
    let written = timeout(DEADLINE, write(carrier, &message)).await;
    written.map_err(|_| Failed::Late)?.map(|_| ())
}

/// Reads one message and nothing behind it.
async fn read<C: AsyncRead + Unpin>(carrier: &mut C) -> Result<(Vec<u8>, Message), Failed> {
    let mut bytes = vec![0; HEAD];
    let mut there = 0;
    while there < HEAD {
        let came = carrier.read(&mut bytes[there..]).await?;
        if came == 0 {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
        }
        there += came;
        // What is no hub is known at its first byte, however little it says.
        hello::size(&bytes[..there])?;
    }
    let size = hello::size(&bytes)?.expect("the head is there as a whole");
    bytes.resize(size, 0);
    carrier.read_exact(&mut bytes[HEAD..]).await?;
    let message = hello::parse(&bytes)?;
    Ok((bytes, message))
}

async fn write<C: AsyncWrite + Unpin>(carrier: &mut C, message: &Message) -> Result<Vec<u8>, Failed> {
    let bytes = hello::encode(message)?;
    carrier.write_all(&bytes).await?;
    carrier.flush().await?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use mainstay_core::tunnel::hello::{Answer, Grant, Kind, Place};
    use tokio::io::{DuplexStream, duplex};

    use super::*;

    const PLACE: Place = Place { process: 0, processes: 2, thread: 1, threads: 2 };

    fn offer() -> Offer {
        let tunnel = "381433e1".to_owned();
        Offer { index: 0, tunnel, kind: Kind::Tcp, weight: 1, host: None, healthy: true }
    }

    fn dialer<'a>(key: &'a SigningKey, offers: &'a [Offer], binding: &'a [u8]) -> Dialer<'a> {
        Dialer { caller: Caller::Agent, name: "a", instance: 5, key, offers, binding }
    }

    async fn hub(mut carrier: DuplexStream, binding: &[u8]) -> Result<(Asked, Claims), Failed> {
        let asked = Asked::read(&mut carrier).await?;
        let challenge = asked.challenge("edge-1", 9, PLACE)?;
        match asked.prove(&mut carrier, challenge, binding).await {
            Ok(claims) => {
                let served = Answer::Served(vec!["http://b7de.gost.local".into()]);
                let grants = vec![Grant { index: 0, answer: served }];
                welcome(&mut carrier, Welcome { grants, ..Welcome::default() }).await?;
                Ok((asked, claims))
            }
            Err(failed) => {
                if let Some(answer) = failed.answer() {
                    refuse(&mut carrier, answer).await?;
                }
                Err(failed)
            }
        }
    }

    fn run<T>(future: impl Future<Output = T>) -> T {
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        runtime.enable_all().start_paused(true).build().unwrap().block_on(future)
    }

    #[test]
    fn an_agent_and_a_hub_know_each_other_afterwards() {
        run(async {
            let key = SigningKey::generate(&mut SystemEntropy);
            let (mut near, far) = duplex(64);
            let offers = [offer()];
            let dialed = dial::<_, Failed>(&mut near, dialer(&key, &offers, b"tls"), |_| Ok(()));
            let (met, asked) = tokio::join!(dialed, hub(far, b"tls"));
            let (met, (asked, claims)) = (met.unwrap(), asked.unwrap());
            assert_eq!((met.hub.hub.as_str(), met.hub.instance, met.hub.place), ("edge-1", 9, PLACE));
            assert_eq!(met.welcome.grants.len(), 1);
            assert_eq!((asked.hello.name.as_str(), asked.hello.instance), ("a", 5));
            assert_eq!((PublicKey(claims.key), claims.offers), (key.public(), offers.to_vec()));
        });
    }

    #[test]
    fn a_signature_is_worth_nothing_on_another_carrier() {
        run(async {
            let key = SigningKey::generate(&mut SystemEntropy);
            let (mut near, far) = duplex(4096);
            let dialed = dial::<_, Failed>(&mut near, dialer(&key, &[], b"one"), |_| Ok(()));
            let (met, asked) = tokio::join!(dialed, hub(far, b"other"));
            assert!(matches!(asked, Err(Failed::Signature(shown)) if shown == key.public()));
            let Err(Failed::Refused(refused)) = met else { panic!("it is told why") };
            assert_eq!(refused.cause, Cause::Signature);
        });
    }

    #[derive(Debug)]
    enum Left {
        Known,
        Failed,
    }

    impl From<Failed> for Left {
        fn from(_: Failed) -> Self {
            Self::Failed
        }
    }

    #[test]
    fn a_dialer_that_does_not_want_the_place_proves_nothing() {
        run(async {
            let key = SigningKey::generate(&mut SystemEntropy);
            let (mut near, far) = duplex(4096);
            let left = async {
                let left = dial(&mut near, dialer(&key, &[], b""), |_| Err(Left::Known)).await;
                drop(near);
                left
            };
            let (left, asked) = tokio::join!(left, hub(far, b""));
            assert!(matches!(left, Err(Left::Known)));
            assert!(matches!(asked, Err(Failed::Broken(_))));
        });
    }

    #[test]
    fn silence_and_other_protocols_end_it() {
        run(async {
            let key = SigningKey::generate(&mut SystemEntropy);
            let (mut near, _far) = duplex(4096);
            let dialed = dial::<_, Failed>(&mut near, dialer(&key, &[], b""), |_| Ok(())).await;
            assert!(matches!(dialed, Err(Failed::Late)));
            let (mut near, mut far) = duplex(4096);
            near.write_all(b"G").await.unwrap();
            let wrong = Asked::read(&mut far).await;
            assert!(matches!(wrong, Err(Failed::Garbled(hello::Wrong::Magic))), "{wrong:?}");
            let (mut near, mut far) = duplex(4096);
            near.write_all(&hello::MAGIC).await.unwrap();
            assert!(matches!(Asked::read(&mut far).await, Err(Failed::Late)));
        });
    }
}
