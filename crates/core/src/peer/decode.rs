//! A letter read from bytes that anybody may have written.

use thiserror::Error;

use crate::lease::{
    Answered, Asked, Beat, Freed, Letter, Mark, Member, Message, Outcome, Reply, Request, Sight, Sights,
    Standing, VoterList,
};
use crate::peer::cursor::Cursor;
use crate::peer::{LETTER_MAX, MEMBERS_MAX, VERSION, flag, outcome, record};

/// Why bytes are no letter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Error)]
pub enum Wrong {
    /// Another layout.
    #[error("version {0} is not spoken here")]
    Version(u8),
    /// A length that leads past the end.
    #[error("it ends too early")]
    Short,
    /// Longer than any letter.
    #[error("it is too long")]
    Long,
    /// No head, or two.
    #[error("it has not exactly one head")]
    Head,
    /// A name that is empty, too long, or no text.
    #[error("a name is empty, longer than 128 bytes or no text")]
    Name,
    /// A list of more members than any.
    #[error("a voter list has more than 64 members")]
    Members,
}

/// Reads one letter. Records, outcomes and trailing fields that are not known are skipped.
///
/// # Errors
/// When the bytes contradict themselves; nothing is taken from such a letter.
pub fn parse(bytes: &[u8]) -> Result<Letter, Wrong> {
    if bytes.len() > LETTER_MAX {
        return Err(Wrong::Long);
    }
    let mut all = Cursor(bytes);
    match all.byte()? {
        VERSION => {}
        other => return Err(Wrong::Version(other)),
    }
    let mut head = None;
    let mut heir_of = None;
    let mut messages = Vec::new();
    while !all.is_empty() {
        let kind = all.byte()?;
        let mut body = all.block()?;
        match kind {
            record::HEAD if head.is_some() => return Err(Wrong::Head),
            record::HEAD => head = Some((body.u64()?, mark(&mut body)?)),
            record::HEIR => heir_of = Some(body.u64()?),
            record::BEAT => messages.push(Message::Beat(beat(body)?)),
            record::REQUEST => messages.push(Message::Request(request(body)?)),
            record::REPLY => messages.push(Message::Reply(reply(body)?)),
            record::FREE => messages.push(Message::Free(items(body, freed)?)),
            record::SIGHTS => messages.push(Message::Sights(sights(body)?)),
            record::LIST => messages.push(Message::List(list(body)?)),
            _ => {}
        }
    }
    let (instance, mark) = head.ok_or(Wrong::Head)?;
    Ok(Letter { instance, heir_of, mark, messages })
}

fn mark(body: &mut Cursor<'_>) -> Result<Mark, Wrong> {
    Ok(Mark { epoch: body.u32()?, hash: body.u64()? })
}

fn beat(mut body: Cursor<'_>) -> Result<Beat, Wrong> {
    Ok(Beat { number: body.u64()?, rights: items(body, standing)? })
}

fn request(mut body: Cursor<'_>) -> Result<Request, Wrong> {
    Ok(Request { number: body.u64()?, term: body.duration()?, rights: items(body, asked)? })
}

fn reply(mut body: Cursor<'_>) -> Result<Reply, Wrong> {
    Ok(Reply { number: body.u64()?, rights: items(body, answered)? })
}

/// Every item to the end of the record, each in a block of its own so that its unknown tail can be skipped.
fn items<T>(
    mut body: Cursor<'_>,
    read: impl Fn(&mut Cursor<'_>) -> Result<Option<T>, Wrong>,
) -> Result<Vec<T>, Wrong> {
    let mut all = Vec::new();
    while !body.is_empty() {
        all.extend(read(&mut body.block()?)?);
    }
    Ok(all)
}

fn standing(item: &mut Cursor<'_>) -> Result<Option<Standing>, Wrong> {
    let (right, epoch, flags) = (item.name()?, item.u64()?, item.byte()?);
    let (ready, preempts) = (flags & flag::READY != 0, flags & flag::PREEMPTS != 0);
    Ok(Some(Standing { right, epoch, ready, preempts, priority: item.byte()? }))
}

fn asked(item: &mut Cursor<'_>) -> Result<Option<Asked>, Wrong> {
    let (right, epoch) = (item.name()?, item.u64()?);
    Ok(Some(Asked { right, epoch, renewal: item.byte()? & flag::RENEWAL != 0 }))
}

fn answered(item: &mut Cursor<'_>) -> Result<Option<Answered>, Wrong> {
    let right = item.name()?;
    let outcome = match item.byte()? {
        outcome::GRANTED => Outcome::Granted { epoch: item.u64()? },
        outcome::HELD => Outcome::Held { by: item.name()?, epoch: item.u64()?, left: item.duration()? },
        outcome::STALE => Outcome::Stale { epoch: item.u64()? },
        outcome::MUTE => Outcome::Mute { left: item.duration()? },
        outcome::MISMATCH => Outcome::Mismatch { mark: mark(item)?, term_max: item.duration()? },
        outcome::FULL => Outcome::Full,
        _ => return Ok(None),
    };
    Ok(Some(Answered { right, outcome }))
}

fn freed(item: &mut Cursor<'_>) -> Result<Option<Freed>, Wrong> {
    let (right, epoch) = (item.name()?, item.u64()?);
    let next = if item.byte()? & flag::NEXT != 0 { Some(item.name()?) } else { None };
    Ok(Some(Freed { right, epoch, next }))
}

fn sights(mut body: Cursor<'_>) -> Result<Sights, Wrong> {
    let lock = body.byte()?;
    let vips = items(body, |item| {
        let (vip, flags) = (item.name()?, item.byte()?);
        let known = flags & flag::REFERENCE_KNOWN != 0;
        let reference = known.then_some(flags & flag::REFERENCE_HEARD != 0);
        Ok(Some(Sight { vip, active: flags & flag::ACTIVE != 0, reference }))
    })?;
    Ok(Sights { lock_wanted: lock & flag::LOCK_WANTED != 0, lock_owned: lock & flag::LOCK_OWNED != 0, vips })
}

fn list(mut body: Cursor<'_>) -> Result<VoterList, Wrong> {
    let epoch = body.u32()?;
    let members = items(body, |item| {
        let (id, flags) = (item.name()?, item.byte()?);
        Ok(Some(Member { id, votes: flags & flag::VOTES != 0, holds: flags & flag::HOLDS != 0 }))
    })?;
    if members.len() > MEMBERS_MAX { Err(Wrong::Members) } else { Ok(VoterList { epoch, members }) }
}
