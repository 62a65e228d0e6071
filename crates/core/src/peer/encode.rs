//! A letter written, over as many datagrams as it takes.

use std::time::Duration;

use thiserror::Error;

use crate::lease::{
    Answered, Asked, Beat, Freed, Letter, Mark, Member, Message, Outcome, Reply, Request, Sight, Sights,
    Standing, VoterList,
};
use crate::peer::cursor::fits;
use crate::peer::{LETTER_MAX, MEMBERS_MAX, NAME_MAX, VERSION, flag, outcome, record};

/// Why a letter cannot be written.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Unfit {
    /// A name that no peer would read.
    #[error("the name {0:?} is empty, longer than {NAME_MAX} bytes or has control characters")]
    Name(String),
    /// More members than any peer would read.
    #[error("a voter list of {0} members, at most {MEMBERS_MAX} are possible")]
    Members(usize),
}

/// Writes a letter so that no piece is longer than `max` bytes, each piece a letter by itself: a list of rights goes
/// on in the next piece, under the same number. Only a voter list, which is never cut, may make a piece longer,
/// and no piece is longer than [`LETTER_MAX`]; a `max` below 600 counts as 600, which any one right fits into.
///
/// # Errors
/// When a name or a voter list is beyond what a peer reads; nothing is written then.
pub fn encode(letter: &Letter, max: usize) -> Result<Vec<Vec<u8>>, Unfit> {
    let mut pages = Pages::new(letter, max);
    for message in &letter.messages {
        match message {
            Message::Beat(Beat { number, rights }) => {
                pages.rights(record::BEAT, &number.to_be_bytes(), rights, standing)?;
            }
            Message::Request(Request { number, term, rights }) => {
                let head = [number.to_be_bytes(), nanos(*term)].concat();
                pages.rights(record::REQUEST, &head, rights, asked)?;
            }
            Message::Reply(Reply { number, rights }) => {
                pages.rights(record::REPLY, &number.to_be_bytes(), rights, answered)?;
            }
            Message::Free(rights) => pages.rights(record::FREE, &[], rights, freed)?,
            Message::List(list) => pages.list(list)?,
            Message::Sights(Sights { lock_wanted, lock_owned, vips }) => {
                let lock = bits(&[(*lock_wanted, flag::LOCK_WANTED), (*lock_owned, flag::LOCK_OWNED)]);
                pages.rights(record::SIGHTS, &[lock], vips, sight)?;
            }
        }
    }
    Ok(pages.done)
}

/// The pieces, the last of which is being written.
struct Pages {
    /// What each piece begins with.
    head: Vec<u8>,
    max: usize,
    done: Vec<Vec<u8>>,
}

impl Pages {
    fn new(letter: &Letter, max: usize) -> Self {
        let mut head = vec![VERSION];
        block(&mut head, Some(record::HEAD), |out| {
            out.extend(letter.instance.to_be_bytes());
            mark(out, letter.mark);
        });
        if let Some(heir) = letter.heir_of {
            block(&mut head, Some(record::HEIR), |out| out.extend(heir.to_be_bytes()));
        }
        Self { done: vec![head.clone()], head, max: max.clamp(600, LETTER_MAX) }
    }

    fn page(&mut self) -> &mut Vec<u8> {
        self.done.last_mut().expect("a page is made in new() and none is taken away")
    }

    /// The page to write `len` more bytes on.
    fn page_for(&mut self, len: usize) -> &mut Vec<u8> {
        let (max, empty) = (self.max, self.head.len());
        let used = self.page().len();
        if used > empty && used + len > max {
            self.done.push(self.head.clone());
        }
        self.page()
    }

    /// A record whose items may go on in further pieces, each under the same `fixed` fields.
    fn rights<T>(
        &mut self,
        kind: u8,
        fixed: &[u8],
        items: &[T],
        write: impl Fn(&mut Vec<u8>, &T) -> Result<(), Unfit>,
    ) -> Result<(), Unfit> {
        let mut body = fixed.to_vec();
        for item in items {
            let mut one = Vec::new();
            write(&mut one, item)?;
            // The record's type and length, the item's length.
            let room = self.max.saturating_sub(self.page().len());
            let begun = body.len() > fixed.len();
            if 3 + body.len() + 2 + one.len() > room && (begun || self.page().len() > self.head.len()) {
                if begun {
                    self.record(kind, &std::mem::replace(&mut body, fixed.to_vec()));
                }
                self.done.push(self.head.clone());
            }
            block(&mut body, None, |out| out.extend(one));
        }
        // A beat without rights is a beat; a list of nothing that is given back says nothing, and does not hurt.
        self.record(kind, &body);
        Ok(())
    }

    fn list(&mut self, list: &VoterList) -> Result<(), Unfit> {
        if list.members.len() > MEMBERS_MAX {
            return Err(Unfit::Members(list.members.len()));
        }
        let mut body = list.epoch.to_be_bytes().to_vec();
        for Member { id, votes, holds } in &list.members {
            let mut item = Vec::new();
            name(&mut item, id)?;
            item.push(bits(&[(*votes, flag::VOTES), (*holds, flag::HOLDS)]));
            block(&mut body, None, |out| out.extend(item));
        }
        self.record(record::LIST, &body);
        Ok(())
    }

    fn record(&mut self, kind: u8, body: &[u8]) {
        block(self.page_for(3 + body.len()), Some(kind), |out| out.extend_from_slice(body));
    }
}

/// Something with its length before it, and a type before that.
fn block(out: &mut Vec<u8>, kind: Option<u8>, write: impl FnOnce(&mut Vec<u8>)) {
    out.extend(kind);
    let at = out.len();
    out.extend([0, 0]);
    write(out);
    let len = u16::try_from(out.len() - at - 2).expect("a page is shorter than LETTER_MAX");
    out[at..at + 2].copy_from_slice(&len.to_be_bytes());
}

fn name(out: &mut Vec<u8>, text: &str) -> Result<(), Unfit> {
    let Some(len) = u8::try_from(text.len()).ok().filter(|_| fits(text)) else {
        return Err(Unfit::Name(text.to_owned()));
    };
    out.push(len);
    out.extend_from_slice(text.as_bytes());
    Ok(())
}

/// A byte of those flags that are so.
fn bits(flags: &[(bool, u8)]) -> u8 {
    flags.iter().filter(|(so, _)| *so).fold(0, |all, (_, bit)| all | bit)
}

fn nanos(time: Duration) -> [u8; 8] {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX).to_be_bytes()
}

fn mark(out: &mut Vec<u8>, mark: Mark) {
    out.extend(mark.epoch.to_be_bytes());
    out.extend(mark.hash.to_be_bytes());
}

fn standing(out: &mut Vec<u8>, standing: &Standing) -> Result<(), Unfit> {
    let Standing { right, epoch, ready, preempts, priority } = standing;
    name(out, right)?;
    out.extend(epoch.to_be_bytes());
    out.push(bits(&[(*ready, flag::READY), (*preempts, flag::PREEMPTS)]));
    out.push(*priority);
    Ok(())
}

fn asked(out: &mut Vec<u8>, asked: &Asked) -> Result<(), Unfit> {
    name(out, &asked.right)?;
    out.extend(asked.epoch.to_be_bytes());
    out.push(bits(&[(asked.renewal, flag::RENEWAL)]));
    Ok(())
}

fn answered(out: &mut Vec<u8>, answered: &Answered) -> Result<(), Unfit> {
    name(out, &answered.right)?;
    match &answered.outcome {
        Outcome::Granted { epoch } => {
            out.push(outcome::GRANTED);
            out.extend(epoch.to_be_bytes());
        }
        Outcome::Held { by, epoch, left } => {
            out.push(outcome::HELD);
            name(out, by)?;
            out.extend(epoch.to_be_bytes());
            out.extend(nanos(*left));
        }
        Outcome::Stale { epoch } => {
            out.push(outcome::STALE);
            out.extend(epoch.to_be_bytes());
        }
        Outcome::Mute { left } => {
            out.push(outcome::MUTE);
            out.extend(nanos(*left));
        }
        Outcome::Mismatch { mark: theirs, term_max } => {
            out.push(outcome::MISMATCH);
            mark(out, *theirs);
            out.extend(nanos(*term_max));
        }
        Outcome::Full => out.push(outcome::FULL),
    }
    Ok(())
}

fn freed(out: &mut Vec<u8>, freed: &Freed) -> Result<(), Unfit> {
    name(out, &freed.right)?;
    out.extend(freed.epoch.to_be_bytes());
    out.push(bits(&[(freed.next.is_some(), flag::NEXT)]));
    match &freed.next {
        Some(next) => name(out, next),
        None => Ok(()),
    }
}

fn sight(out: &mut Vec<u8>, sight: &Sight) -> Result<(), Unfit> {
    name(out, &sight.vip)?;
    let known = sight.reference.is_some();
    let heard = sight.reference == Some(true);
    out.push(bits(&[
        (sight.active, flag::ACTIVE),
        (known, flag::REFERENCE_KNOWN),
        (heard, flag::REFERENCE_HEARD),
    ]));
    Ok(())
}
