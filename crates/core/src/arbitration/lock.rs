//! A record in a shared place that one node of two owns while they can't hear each other: taken only then, renewed,
//! broken only after it has stood still, given back when a peer is heard.
//!
//! Nothing is asked of the place but that a block is read and written whole: no compare-and-swap, no lock that a dead host
//! leaves behind. A contender that finds nothing reads, writes, waits for two deadlines and reads again. Another who found
//! nothing as well has written by then: its read lay before our write and its write within two deadlines of that read. So
//! both read the same in the end, and the last writer owns it. Whoever breaks a record waits for a renewal more, in
//! which an owner that lives after all sees the break and lets go. A write that comes to pass after its deadline was given
//! up by its writer: it costs the owner the lock at its next renewal, and gives it to nobody.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::arbitration::record::{Block, Owner, Record};
use crate::time::Boot;

/// The times of a lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LockTerms {
    /// A record that has stood still for so long is broken.
    pub stale: Duration,
    /// A read or a write that takes longer has failed.
    pub timeout: Duration,
}

impl LockTerms {
    /// Between writing a record and counting on it.
    #[must_use]
    pub fn settle(&self) -> Duration {
        self.timeout * 2
    }

    /// Between two renewals.
    #[must_use]
    pub fn renew(&self) -> Duration {
        self.stale / 5
    }

    /// For how long the owner may count on a record that it wrote: well before anybody breaks it.
    #[must_use]
    pub fn hold(&self) -> Duration {
        self.stale * 3 / 5
    }

    /// A holder that has no lock so long after it heard the last of its peers gives up: two reads, a write, the time
    /// between them, and one deadline to spare.
    #[must_use]
    pub fn grace(&self) -> Duration {
        self.timeout * 6
    }

    /// A node that holds nothing begins so much later, so that it has no lock before a holder without one has given up.
    #[must_use]
    pub fn head_start(&self, beat: Duration) -> Duration {
        self.timeout * 4 + beat * 2
    }

    fn pace(&self) -> Duration {
        (self.stale / 10).max(self.timeout)
    }
}

/// What is done with the place of the lock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DiskOp {
    /// Read the block.
    Read,
    /// Write this text, and zeros after it.
    Write(String),
}

/// Who wants the lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Want {
    /// Nobody here.
    No,
    /// A node that could take a vip.
    Backup,
    /// A node that has one.
    Holder,
}

/// Something to tell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Told {
    Owned,
    Lost,
    Busy(String),
    Trouble(String),
    Released,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Idle,
    /// Reads again then.
    Waiting(Boot),
    Reading,
    /// Writes over nothing, or over somebody's record.
    Writing {
        breaks: bool,
    },
    Settling(Boot),
    Confirming,
    /// Renews then.
    Owned(Boot),
    RenewReading,
    RenewWriting,
    /// Gives up giving back then.
    ReleaseReading(Boot),
    ReleaseWriting(Boot),
}

#[derive(Clone, Copy, Debug)]
struct Flight {
    number: u64,
    issued: Boot,
    /// Its deadline has passed: what becomes of it is nothing to us, but nothing else is asked before it has ended.
    late: bool,
}

/// This node's part in it.
#[derive(Clone, Debug)]
pub(super) struct Lock {
    pub(super) terms: LockTerms,
    beat: Duration,
    me: Owner,
    step: Step,
    want: Want,
    number: u64,
    flight: Option<Flight>,
    flights: u64,
    /// The last record seen, and since when it stands still.
    watched: Option<(Block, Boot)>,
    /// When the record that we count on was asked to be written.
    written: Boot,
    /// Until when we may count on it.
    until: Boot,
    /// A holder's time to get it.
    grace: Boot,
    /// Somebody else was seen to own it since we want it.
    denied: bool,
    pub(super) trouble: Option<String>,
    ops: Vec<(u64, DiskOp)>,
    told: Vec<Told>,
}

impl Lock {
    pub(super) fn new(terms: LockTerms, beat: Duration, me: Owner) -> Self {
        Self {
            terms,
            beat,
            me,
            step: Step::Idle,
            want: Want::No,
            number: 0,
            flight: None,
            flights: 0,
            watched: None,
            written: Boot::ZERO,
            until: Boot::ZERO,
            grace: Boot::ZERO,
            denied: false,
            trouble: None,
            ops: Vec::new(),
            told: Vec::new(),
        }
    }

    /// Whether this node may count on it.
    pub(super) fn is_owned(&self, now: Boot) -> bool {
        self.is_ours() && now < self.until
    }

    /// Whether a holder may go on: it has the lock, or time is left to get it.
    pub(super) fn lets_hold(&self, now: Boot) -> bool {
        self.is_owned(now) || (self.want == Want::Holder && !self.denied && now < self.grace)
    }

    pub(super) fn is_wanted(&self) -> bool {
        self.want != Want::No
    }

    /// The other node whose record was seen last, and since when it stands still.
    pub(super) fn other(&self) -> Option<(&str, Boot)> {
        match &self.watched {
            Some((Block::Owned(record), since)) if record.owner != self.me => {
                Some((&record.owner.node, *since))
            }
            Some(_) | None => None,
        }
    }

    /// Who wants it has changed.
    pub(super) fn want(&mut self, want: Want, now: Boot) {
        let before = std::mem::replace(&mut self.want, want);
        if before == want {
            return;
        }
        match want {
            Want::No => self.give_back(now),
            Want::Backup | Want::Holder => {
                let head_start = self.terms.head_start(self.beat);
                let from = if want == Want::Holder { now } else { now + head_start };
                if want == Want::Holder {
                    self.grace = now + self.terms.grace();
                    self.denied &= before != Want::No;
                }
                match self.step {
                    Step::Idle | Step::ReleaseReading(_) | Step::ReleaseWriting(_) => {
                        self.step = Step::Waiting(from);
                        self.denied = false;
                    }
                    Step::Waiting(at) => self.step = Step::Waiting(at.min(from)),
                    Step::Reading
                    | Step::Writing { .. }
                    | Step::Settling(_)
                    | Step::Confirming
                    | Step::Owned(_)
                    | Step::RenewReading
                    | Step::RenewWriting => {}
                }
            }
        }
    }

    fn give_back(&mut self, now: Boot) {
        self.trouble = None;
        self.watched = None;
        self.denied = false;
        let began = match self.step {
            Step::Idle | Step::Waiting(_) | Step::Reading => false,
            Step::Writing { .. }
            | Step::Settling(_)
            | Step::Confirming
            | Step::Owned(_)
            | Step::RenewReading
            | Step::RenewWriting
            | Step::ReleaseReading(_)
            | Step::ReleaseWriting(_) => true,
        };
        // What is on its way is awaited first: nothing overtakes it.
        self.step = if began { Step::ReleaseReading(now + self.terms.stale) } else { Step::Idle };
        if let Some(flight) = &mut self.flight {
            flight.late = true;
        }
        self.until = Boot::ZERO;
    }

    /// Whether another is the same lock of the same process.
    pub(super) fn is_like(&self, other: &Self) -> bool {
        (self.terms, &self.me, self.beat) == (other.terms, &other.me, other.beat)
    }

    /// Gives it back without looking, which its owner may; nothing is done afterwards.
    pub(super) fn last_word(&mut self, now: Boot) -> Option<(u64, DiskOp)> {
        let owned = self.is_owned(now) && self.flight.is_none();
        self.step = Step::Idle;
        self.want = Want::No;
        self.flights += 1;
        owned.then(|| (self.flights, DiskOp::Write(Block::Free.text())))
    }

    /// What has become of an operation.
    pub(super) fn answer(&mut self, number: u64, outcome: Result<Block, String>, now: Boot) {
        let Some(flight) = self.flight.take_if(|flight| flight.number == number) else { return };
        if !flight.late {
            match outcome {
                Ok(block) => self.advance(flight.issued, block, now),
                Err(why) => self.stumble(why, now),
            }
        }
        self.tick(now);
    }

    /// Time has passed.
    pub(super) fn tick(&mut self, now: Boot) {
        if self.is_ours() && now >= self.until {
            self.told.push(Told::Lost);
            self.step = Step::Waiting(now);
        }
        let timeout = self.terms.timeout;
        let overdue = |flight: &&mut Flight| !flight.late && now >= flight.issued + timeout;
        if let Some(flight) = self.flight.as_mut().filter(overdue) {
            flight.late = true;
            self.stumble(format!("no answer in {} ms", timeout.as_millis()), now);
        }
        match self.step {
            Step::Waiting(at) if at <= now => self.step = Step::Reading,
            Step::Settling(until) if until <= now => self.step = Step::Confirming,
            Step::Owned(at) if at <= now => self.step = Step::RenewReading,
            Step::ReleaseReading(until) | Step::ReleaseWriting(until) if until <= now => {
                self.step = Step::Idle;
            }
            Step::Idle
            | Step::Waiting(_)
            | Step::Settling(_)
            | Step::Owned(_)
            | Step::Reading
            | Step::Writing { .. }
            | Step::Confirming
            | Step::RenewReading
            | Step::RenewWriting
            | Step::ReleaseReading(_)
            | Step::ReleaseWriting(_) => {}
        }
        self.issue(now);
    }

    /// When something is due.
    pub(super) fn due(&self, now: Boot) -> Boot {
        let mut due = match self.step {
            Step::Waiting(at) | Step::Settling(at) | Step::Owned(at) => at,
            Step::ReleaseReading(at) | Step::ReleaseWriting(at) => at,
            Step::Idle
            | Step::Reading
            | Step::Writing { .. }
            | Step::Confirming
            | Step::RenewReading
            | Step::RenewWriting => Boot::NEVER,
        };
        if let Some(flight) = self.flight {
            // Nothing is asked before it has ended: a moment that has come does not spin.
            let waits = matches!(self.step, Step::Waiting(_) | Step::Settling(_));
            due = if waits && flight.late { Boot::NEVER } else { due };
            if !flight.late {
                due = due.min(flight.issued + self.terms.timeout);
            }
        }
        if self.is_ours() {
            due = due.min(self.until);
        }
        if self.want == Want::Holder && !self.is_ours() && !self.denied && self.grace > now {
            due = due.min(self.grace);
        }
        due
    }

    pub(super) fn poll_op(&mut self) -> Option<(u64, DiskOp)> {
        (!self.ops.is_empty()).then(|| self.ops.remove(0))
    }

    pub(super) fn poll_told(&mut self) -> Option<Told> {
        (!self.told.is_empty()).then(|| self.told.remove(0))
    }

    fn is_ours(&self) -> bool {
        matches!(self.step, Step::Owned(_) | Step::RenewReading | Step::RenewWriting)
    }

    /// Asks for what the step needs, unless something is under way.
    fn issue(&mut self, now: Boot) {
        if let Some(flight) = self.flight {
            if flight.late && matches!(self.step, Step::Reading | Step::Confirming) {
                self.complain("what was asked of it before has not come to an end".into());
            }
            return;
        }
        let op = match self.step {
            Step::Idle | Step::Waiting(_) | Step::Settling(_) | Step::Owned(_) => return,
            Step::Reading | Step::Confirming | Step::RenewReading | Step::ReleaseReading(_) => DiskOp::Read,
            Step::Writing { .. } | Step::RenewWriting => {
                self.number = self.number.wrapping_add(1);
                DiskOp::Write(self.own().text())
            }
            Step::ReleaseWriting(_) => DiskOp::Write(Block::Free.text()),
        };
        self.flights += 1;
        self.flight = Some(Flight { number: self.flights, issued: now, late: false });
        self.ops.push((self.flights, op));
    }

    fn own(&self) -> Block {
        Block::Owned(Record { owner: self.me.clone(), number: self.number })
    }

    fn is_own(&self, block: &Block) -> bool {
        matches!(block, Block::Owned(record) if record.owner == self.me)
    }

    /// An operation has succeeded.
    fn advance(&mut self, issued: Boot, block: Block, now: Boot) {
        self.trouble = None;
        match self.step {
            Step::Reading => self.look(issued, block, now),
            Step::Writing { breaks } => {
                self.written = issued;
                let more = if breaks { self.terms.renew() } else { Duration::ZERO };
                self.step = Step::Settling(now + self.terms.settle() + more);
            }
            Step::Confirming if block == self.own() => {
                self.until = self.written + self.terms.hold();
                self.watched = None;
                if now < self.until {
                    self.denied = false;
                    self.step = Step::Owned(self.written + self.terms.renew());
                    self.told.push(Told::Owned);
                } else {
                    self.step = Step::Waiting(now);
                }
            }
            Step::Confirming => self.look(issued, block, now),
            Step::RenewReading if self.is_own(&block) => self.step = Step::RenewWriting,
            Step::RenewReading => {
                self.told.push(Told::Lost);
                self.until = Boot::ZERO;
                self.look(issued, block, now);
            }
            Step::RenewWriting => {
                self.until = issued + self.terms.hold();
                self.step = Step::Owned(issued + self.terms.renew());
            }
            Step::ReleaseReading(until) if self.is_own(&block) => self.step = Step::ReleaseWriting(until),
            Step::ReleaseWriting(_) => {
                self.told.push(Told::Released);
                self.step = Step::Idle;
            }
            Step::ReleaseReading(_) => self.step = Step::Idle,
            Step::Idle | Step::Waiting(_) | Step::Settling(_) | Step::Owned(_) => {}
        }
    }

    /// What a contender found.
    fn look(&mut self, issued: Boot, block: Block, now: Boot) {
        match &block {
            Block::Free => {
                self.step = Step::Writing { breaks: false };
                return;
            }
            // The process before this one, which is dead.
            Block::Owned(record) if record.owner.node == self.me.node && record.owner != self.me => {
                self.step = Step::Writing { breaks: true };
                return;
            }
            Block::Foreign => {
                self.step = Step::Waiting(now + self.terms.pace());
                return self.complain("something else lies there, which is not written over".into());
            }
            Block::Owned(_) | Block::Torn(_) => {}
        }
        let owner = match &block {
            Block::Owned(record) if record.owner != self.me => Some(record.owner.node.clone()),
            Block::Owned(_) | Block::Torn(_) | Block::Free | Block::Foreign => None,
        };
        if owner.is_some() && !std::mem::replace(&mut self.denied, true) {
            self.told.extend(owner.map(Told::Busy));
        }
        match &self.watched {
            Some((seen, since)) if *seen == block => {
                if issued.since(*since) >= self.terms.stale {
                    self.step = Step::Writing { breaks: true };
                    return;
                }
            }
            Some(_) | None => self.watched = Some((block, now)),
        }
        self.step = Step::Waiting(now + self.terms.pace());
    }

    /// An operation has failed, or is not waited for any more.
    fn stumble(&mut self, why: String, now: Boot) {
        let again = now + self.terms.pace();
        self.step = match self.step {
            Step::Reading | Step::Writing { .. } | Step::Confirming => Step::Waiting(again),
            Step::RenewReading | Step::RenewWriting => Step::Owned(again),
            // Left behind it stands still, and is broken for that.
            Step::ReleaseReading(_) | Step::ReleaseWriting(_) => Step::Idle,
            Step::Idle | Step::Waiting(_) | Step::Settling(_) | Step::Owned(_) => self.step,
        };
        self.complain(why);
    }

    fn complain(&mut self, why: String) {
        if self.trouble.as_ref() != Some(&why) {
            self.told.push(Told::Trouble(why.clone()));
            self.trouble = Some(why);
        }
    }
}

#[cfg(test)]
#[path = "lock_tests.rs"]
mod tests;
