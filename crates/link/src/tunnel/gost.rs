//! The beginning of a connection in gost's protocol, over a carrier and within its time (docs/internals/gost.md).
//!
//! Who was dialled asks [`meet`] what is wanted. A client that serves a tunnel is granted it by the greeting of
//! [`Session::start_gost`](super::Session::start_gost), a visitor by [`admit`], and who is to go is told by [`refuse`]. Who dials
//! calls [`bind`] or [`connect`]. Nothing behind a message is taken from the carrier.

use std::io;
use std::time::Duration;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest::{Context, SHA256};
use mainstay_core::gost::ask::{Ask, Bind, Connect, Grant};
use mainstay_core::gost::relay::{Login, Status};
use mainstay_core::gost::step::{self, Call, Door, PATIENCE};
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::timeout;

use super::clock::boot_now;

pub use mainstay_core::gost::smux::Limits;

/// How long who is sent away may take to hear it.
const PARTING: Duration = Duration::from_secs(1);

/// Why nothing comes of a connection.
#[derive(Debug, Error)]
pub enum Failed {
    /// The carrier broke.
    #[error("{0}")]
    Broken(#[from] io::Error),
    /// What the other side said, or that it said nothing.
    #[error("{0}")]
    Step(#[from] step::Failed),
}

/// What who has dialled us wants, and how many features of its request nobody knows. Who cannot be served has been told why.
///
/// # Errors
/// When it is late, broken, or no request that is served.
pub async fn meet<C>(carrier: &mut C) -> Result<(Ask, usize), Failed>
where
    C: AsyncRead + AsyncWrite + Unpin,
{
    let mut door = Door::new(boot_now());
    let heard = async {
        loop {
            let bytes = read(carrier, door.wants()).await?;
            if let Some(met) = door.receive(&mut bytes.as_slice())? {
                return Ok(met);
            }
        }
    };
    let met = timeout(PATIENCE, heard).await.unwrap_or(Err(Failed::Step(step::Failed::Late)));
    if let Err(Failed::Step(why)) = &met
        && let Some(answer) = step::answer(*why)
    {
        part(carrier, &answer).await;
    }
    met
}

/// Lets a visitor in: what follows on the carrier is its stream.
///
/// # Errors
/// When the carrier breaks or does not take it in time.
pub async fn admit<C: AsyncWrite + Unpin>(carrier: &mut C) -> Result<(), Failed> {
    let said = async {
        carrier.write_all(&step::yes()).await?;
        carrier.flush().await
    };
    Ok(timeout(PATIENCE, said).await.unwrap_or(Err(io::ErrorKind::TimedOut.into()))?)
}

/// Sends away who has asked, and ends the carrier.
pub async fn refuse<C: AsyncWrite + Unpin>(carrier: &mut C, status: Status) {
    part(carrier, &step::no(status)).await;
}

/// Asks to serve a tunnel. Once it is granted, the carrier is a session's.
///
/// # Errors
/// When nothing is granted in time.
pub async fn bind<C>(carrier: &mut C, bind: Bind) -> Result<Grant, Failed>
where
    C: AsyncRead + AsyncWrite + Unpin,
{
    call(carrier, Call::bind(bind, boot_now())).await
}

/// Asks for a stream through a tunnel. Once it is granted, the carrier is that stream, or carries its datagrams.
///
/// # Errors
/// When nothing is granted in time.
pub async fn connect<C>(carrier: &mut C, connect: Connect) -> Result<(), Failed>
where
    C: AsyncRead + AsyncWrite + Unpin,
{
    call(carrier, Call::connect(connect, boot_now())).await.map(drop)
}

async fn call<C>(carrier: &mut C, mut call: Call) -> Result<Grant, Failed>
where
    C: AsyncRead + AsyncWrite + Unpin,
{
    let all = async {
        carrier.write_all(call.output()).await?;
        carrier.flush().await?;
        call.sent(call.output().len());
        loop {
            let bytes = read(carrier, call.wants()).await?;
            if let Some(grant) = call.receive(&mut bytes.as_slice())? {
                return Ok(grant);
            }
        }
    };
    timeout(PATIENCE, all).await.unwrap_or(Err(Failed::Step(step::Failed::Late)))
}

/// Up to so many bytes, and at least one.
async fn read<C: AsyncRead + Unpin>(carrier: &mut C, count: usize) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; count];
    let count = carrier.read(&mut bytes).await?;
    if count == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    bytes.truncate(count);
    Ok(bytes)
}

/// Says it, if it is taken soon, and ends.
async fn part<C: AsyncWrite + Unpin>(carrier: &mut C, said: &[u8]) {
    let all = async {
        carrier.write_all(said).await?;
        carrier.shutdown().await
    };
    // Whoever has gone already needs no answer.
    let _ = timeout(PARTING, all).await;
}

/// Whether a login is this user's, in a time that does not tell how much of it is right.
#[must_use]
pub fn is_login(login: &Login, user: &str, password: &str) -> bool {
    let code = |user: &str, password: &str| {
        let mut context = Context::new(&SHA256);
        context.update(&(user.len() as u64).to_be_bytes());
        context.update(user.as_bytes());
        context.update(password.as_bytes());
        context.finish()
    };
    let (theirs, ours) = (code(&login.user, &login.password), code(user, password));
    verify_slices_are_equal(theirs.as_ref(), ours.as_ref()).is_ok()
}

/// A number that nobody else has: a random UUID (RFC 9562 section 5.4).
#[must_use]
pub fn connector() -> [u8; 16] {
    let mut uuid = [0; 16];
    aws_lc_rs::rand::fill(&mut uuid).expect("the library aborts before it fails to give random bytes");
    uuid[6] = uuid[6] & 0x0f | 0x40;
    uuid[8] = uuid[8] & 0x3f | 0x80;
    uuid
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_login_is_a_users_when_both_its_parts_are() {
        let login = Login { user: "alice".into(), password: "wonder".into() };
        assert!(is_login(&login, "alice", "wonder"));
        for (user, password) in [("alice", "wonde"), ("alic", "ewonder"), ("bob", "wonder"), ("", "")] {
            assert!(!is_login(&login, user, password), "{user} {password}");
        }
    }

    #[test]
    fn clients_are_numbered_by_random_uuids() {
        let (one, other) = (connector(), connector());
        assert_ne!(one, other);
        assert_eq!((one[6] >> 4, one[8] >> 6), (4, 2));
    }
}
