//! The beginning of a connection: one request, one answer, within a time.
//!
//! [`Door`] is the side that was dialled, [`Call`] the one that dials. Neither takes a byte behind the message that it waits for.

use std::time::Duration;

use thiserror::Error;

use super::ask::{Ask, Bind, Connect, Grant, granted};
use super::relay::{Broken, Message, Reader, Status};
use crate::time::Boot;

/// How long either side waits for the other.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// How a beginning fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Failed {
    /// It cannot be read.
    #[error("what the other side sent cannot be read: {0}")]
    Broken(#[from] Broken),
    /// It means nothing here; the status was staged.
    #[error("refused: {0}")]
    Refused(Status),
    /// The other side refuses.
    #[error("the server refuses: {0}")]
    Told(Status),
    /// It took too long.
    #[error("it said nothing for {} s", PATIENCE.as_secs())]
    Late,
}

/// The side that was dialled, until it has heard what is wanted. What it answers is the caller's to judge: a [`Grant`]'s message
/// before the session's first bytes, [`yes`] before a visitor's, or [`no`].
#[derive(Debug)]
pub struct Door {
    reader: Reader,
    until: Boot,
}

impl Door {
    /// Somebody has come.
    #[must_use]
    pub fn new(now: Boot) -> Self {
        Self { reader: Reader::default(), until: now + PATIENCE }
    }

    /// Takes bytes off `input`; what is wanted, once it is there, and how many of its features nobody knows.
    ///
    /// # Errors
    /// When it cannot be served: answer what [`answer`] says and close.
    pub fn receive(&mut self, input: &mut &[u8]) -> Result<Option<(Ask, usize)>, Failed> {
        match self.reader.receive(input)? {
            Some(message) => {
                let ask = Ask::read(&message).map_err(Failed::Refused)?;
                Ok(Some((ask, message.skipped)))
            }
            None => Ok(None),
        }
    }

    /// How many bytes it takes before it can say more; never one behind the message.
    #[must_use]
    pub fn wants(&self) -> usize {
        self.reader.wants()
    }

    /// When [`Self::tick`] is to be called.
    #[must_use]
    pub const fn poll_timeout(&self) -> Boot {
        self.until
    }

    /// Time has passed.
    ///
    /// # Errors
    /// When it is over.
    pub fn tick(&self, now: Boot) -> Result<(), Failed> {
        if now >= self.until { Err(Failed::Late) } else { Ok(()) }
    }
}

/// What who failed at a [`Door`] is told, if anything.
#[must_use]
pub fn answer(failed: Failed) -> Option<Vec<u8>> {
    match failed {
        // Whoever speaks something else is told nothing.
        Failed::Broken(Broken::Version(_)) => None,
        Failed::Broken(_) => Some(no(Status::BadRequest)),
        Failed::Refused(status) => Some(no(status)),
        Failed::Told(_) => None,
        Failed::Late => Some(no(Status::Timeout)),
    }
}

/// The answer to a visitor who is let through: what follows is the stream.
#[must_use]
pub fn yes() -> Vec<u8> {
    Message::answer(Status::Ok, Vec::new()).bytes()
}

/// The answer to who is refused.
#[must_use]
pub fn no(status: Status) -> Vec<u8> {
    Message::answer(status, Vec::new()).bytes()
}

/// The side that dials, until it has its answer. What it says is there at once.
#[derive(Debug)]
pub struct Call {
    reader: Reader,
    request: Vec<u8>,
    until: Boot,
}

impl Call {
    /// Asks to serve a tunnel.
    #[must_use]
    pub fn bind(bind: Bind, now: Boot) -> Self {
        Self::new(&Ask::Bind(bind), now)
    }

    /// Asks for a stream through one.
    #[must_use]
    pub fn connect(connect: Connect, now: Boot) -> Self {
        Self::new(&Ask::Connect(connect), now)
    }

    fn new(ask: &Ask, now: Boot) -> Self {
        Self { reader: Reader::default(), request: ask.message().bytes(), until: now + PATIENCE }
    }

    /// Bytes to send.
    #[must_use]
    pub fn output(&self) -> &[u8] {
        &self.request
    }

    /// So many of them were sent.
    pub fn sent(&mut self, count: usize) {
        self.request.drain(..count.min(self.request.len()));
    }

    /// Takes bytes off `input`; what was granted, once it is there. A visitor's grant says nothing more.
    ///
    /// # Errors
    /// When nothing was.
    pub fn receive(&mut self, input: &mut &[u8]) -> Result<Option<Grant>, Failed> {
        let Some(message) = self.reader.receive(input)? else { return Ok(None) };
        granted(&message).map_err(Failed::Told)?;
        Grant::read(&message).map(Some).map_err(Failed::Told)
    }

    /// How many bytes it takes before it can say more; never one behind the message.
    #[must_use]
    pub fn wants(&self) -> usize {
        self.reader.wants()
    }

    /// When [`Self::tick`] is to be called.
    #[must_use]
    pub const fn poll_timeout(&self) -> Boot {
        self.until
    }

    /// Time has passed.
    ///
    /// # Errors
    /// When it is over.
    pub fn tick(&self, now: Boot) -> Result<(), Failed> {
        if now >= self.until { Err(Failed::Late) } else { Ok(()) }
    }
}
