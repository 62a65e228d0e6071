//! What two threads of one node say to each other before a session, over a unix socket: each shows that it knows the secret of
//! this run of the node, without saying it (docs/internals/tunnel.md).

use std::io;
use std::time::Duration;

use aws_lc_rs::hmac;
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::timeout;

use crate::noise::{SystemEntropy, draw};
use crate::tunnel::Side;

/// How long all of it may take: nothing of it leaves the machine.
pub const DEADLINE: Duration = Duration::from_secs(5);

/// Bytes of the secret.
pub const SECRET: usize = 32;

/// What each says first.
const MAGIC: [u8; 7] = *b"MSTSIB\0";
const VERSION: u8 = 1;

/// The magic, the version, where it is, bytes nobody has used before.
const HELLO: usize = MAGIC.len() + 1 + SPOT + NONCE;
const SPOT: usize = 4;
const NONCE: usize = 32;
const TAG: usize = 32;

/// A thread of a node among those that run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Spot {
    /// Its process's column in the memory that all of them share: no two that run have the same.
    pub column: u16,
    /// Its number in the process.
    pub thread: u16,
}

/// Why there is no session.
#[derive(Debug, Error)]
pub enum Stranger {
    /// The socket broke.
    #[error("{0}")]
    Broken(#[from] io::Error),
    /// It says nothing.
    #[error("no answer within {} s", DEADLINE.as_secs())]
    Late,
    /// It speaks something else.
    #[error("it does not speak as threads of this node do")]
    Garbled,
    /// It has not the secret.
    #[error("it does not know the secret of this run of the node")]
    Secret,
}

/// What only the threads of one run of a node know.
pub struct Secret(hmac::Key);

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret(***)")
    }
}

impl Secret {
    /// A secret of these bytes.
    #[must_use]
    pub fn new(bytes: &[u8]) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, bytes))
    }

    /// The abstract name that a thread of a process listens at, which was started at `born`: nobody can take it beforehand, not even
    /// who has seen the one of the process before it, and no two nodes on a machine have the same.
    #[must_use]
    pub fn name(&self, spot: Spot, born: u64) -> String {
        let mut text = b"name".to_vec();
        text.extend(spot_bytes(spot));
        text.extend(born.to_be_bytes());
        let tag = hmac::sign(&self.0, &text);
        let hex: String = tag.as_ref()[..16].iter().map(|byte| format!("{byte:02x}")).collect();
        format!("mainstay-edge-{hex}")
    }

    /// Shows that we know it, and has the other side do the same. Who is at the other end.
    ///
    /// # Errors
    /// When it is not a thread of this node, or says nothing.
    pub async fn greet<S>(&self, stream: &mut S, side: Side, own: Spot) -> Result<Spot, Stranger>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        timeout(DEADLINE, self.exchange(stream, side, own)).await.map_err(|_| Stranger::Late)?
    }

    async fn exchange<S>(&self, stream: &mut S, side: Side, own: Spot) -> Result<Spot, Stranger>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let mut hello = [0; HELLO];
        hello[..MAGIC.len()].copy_from_slice(&MAGIC);
        hello[MAGIC.len()] = VERSION;
        let (place, nonce) = hello[MAGIC.len() + 1..].split_at_mut(SPOT);
        place.copy_from_slice(&spot_bytes(own));
        nonce.copy_from_slice(&draw::<NONCE>(&mut SystemEntropy));
        stream.write_all(&hello).await?;
        stream.flush().await?;
        let mut theirs = [0; HELLO];
        stream.read_exact(&mut theirs).await?;
        if !theirs.starts_with(&MAGIC) || theirs[MAGIC.len()] != VERSION {
            return Err(Stranger::Garbled);
        }
        // Each side's proof is over both hellos and its own role, so that none can be sent back to where it came from.
        let (ours, other) = match side {
            Side::Agent => ([b'd'], [b'l']),
            Side::Hub => ([b'l'], [b'd']),
        };
        let tag = hmac::sign(&self.0, &[&ours[..], &hello, &theirs].concat());
        stream.write_all(tag.as_ref()).await?;
        stream.flush().await?;
        let mut shown = [0; TAG];
        stream.read_exact(&mut shown).await?;
        hmac::verify(&self.0, &[&other[..], &theirs, &hello].concat(), &shown)
            .map_err(|_| Stranger::Secret)?;
        let at = &theirs[MAGIC.len() + 1..];
        let number = |at: &[u8]| u16::from_be_bytes([at[0], at[1]]);
        Ok(Spot { column: number(at), thread: number(&at[2..]) })
    }
}

fn spot_bytes(spot: Spot) -> [u8; SPOT] {
    let ([a, b], [c, d]) = (spot.column.to_be_bytes(), spot.thread.to_be_bytes());
    [a, b, c, d]
}

#[cfg(test)]
mod tests {
    use tokio::io::duplex;

    use super::*;

    const ONE: Spot = Spot { column: 1, thread: 7 };
    const TWO: Spot = Spot { column: 300, thread: 0 };

    #[tokio::test]
    async fn two_that_know_the_secret_tell_each_other_where_they_are() {
        let secret = Secret::new(&[7; SECRET]);
        let (mut a, mut b) = duplex(1024);
        let (met, came) =
            tokio::join!(secret.greet(&mut a, Side::Agent, ONE), secret.greet(&mut b, Side::Hub, TWO));
        assert_eq!((met.unwrap(), came.unwrap()), (TWO, ONE));
    }

    #[tokio::test]
    async fn who_does_not_know_it_is_not_let_in_nor_believed() {
        let (secret, other) = (Secret::new(&[7; SECRET]), Secret::new(&[8; SECRET]));
        assert_ne!(secret.name(ONE, 5), other.name(ONE, 5));
        assert_ne!(secret.name(ONE, 5), secret.name(TWO, 5));
        assert_ne!(secret.name(ONE, 5), secret.name(ONE, 6));
        let (mut a, mut b) = duplex(1024);
        let (met, came) =
            tokio::join!(secret.greet(&mut a, Side::Agent, ONE), other.greet(&mut b, Side::Hub, TWO));
        assert!(matches!(met, Err(Stranger::Secret)) && matches!(came, Err(Stranger::Secret)));
    }

    #[tokio::test]
    async fn what_is_said_is_worth_nothing_when_it_is_sent_back() {
        let secret = Secret::new(&[7; SECRET]);
        let (mut a, mut b) = duplex(1024);
        let echo = async {
            let mut bytes = [0; HELLO + TAG];
            b.read_exact(&mut bytes[..HELLO]).await?;
            b.write_all(&bytes[..HELLO]).await?;
            b.read_exact(&mut bytes[HELLO..]).await?;
            b.write_all(&bytes[HELLO..]).await
        };
        let (met, echoed) = tokio::join!(secret.greet(&mut a, Side::Hub, ONE), echo);
        assert!(matches!(met, Err(Stranger::Secret)) && echoed.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn who_says_nothing_or_something_else_is_given_up() {
        let secret = Secret::new(&[7; SECRET]);
        let (mut a, _silent) = duplex(1024);
        assert!(matches!(secret.greet(&mut a, Side::Hub, ONE).await, Err(Stranger::Late)));
        let (mut a, mut b) = duplex(1024);
        b.write_all(&[b'G'; HELLO]).await.unwrap();
        assert!(matches!(secret.greet(&mut a, Side::Hub, ONE).await, Err(Stranger::Garbled)));
        let (mut a, mut b) = duplex(1024);
        b.write_all(b"short").await.unwrap();
        drop(b);
        assert!(matches!(secret.greet(&mut a, Side::Hub, ONE).await, Err(Stranger::Broken(_))));
    }
}
