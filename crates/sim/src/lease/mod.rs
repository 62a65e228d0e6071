//! The leases of many nodes under a simulated kernel, network and operator.
//!
//! A seed draws a cluster, its voters, terms, wires and clocks, and what happens to it (`scenario`, `fault`); the real
//! `Leases` run under a dull driver (`drive`). True time is the simulator's alone: each node has a clock of its own
//! whose rate is within the bound that the terms name, and changes. What is promised (`check`, `bound`):
//!
//! 1. No two nodes answer for one right at one true moment. A node answers while the address is there and its gate,
//!    by its own clock, is open; a gate may close late by the terms' `gate_error`. The exception that is written beside
//!    the claim: a guest that was paused had its clocks stand still. When it goes on it may answer until it hears
//!    of a higher epoch: two beats and two round trips when everything else is well, never more than a term.
//! 2. A right is never believed for longer than H after the last request, nor once it has ended.
//! 3. Nobody says that it has let go while the address is there.
//! 4. The epochs of the acquisitions of a right rise, for as long as no wall clock is set.
//! 5. When somebody could answer, somebody does: after a dead, frozen or isolated holder within T and a grace (four beats,
//!    three round trips; two terms more when some hear others and are not heard by them), after a wished change within two round trips, after any other fault that is over within T, half
//!    of it and the grace. (A restarted voter is mute for a while: not before a majority can speak.)
//! 6. A holder that keeps a majority keeps its right.
//! 8. Nobody floods, nobody spins.
//! 9. A task that runs leaves when its right has ended, before it says anything more of it.
//!
//! Of two nodes whose promises last (`run_strict`) promise 1 has no exception, promise 5 asks for both nodes, and in place of 6 and 9:
//!
//! 10. A node that runs and has the right answers, however long it is alone, and gives it up when it is wished for alone. An
//!     operator fences only hosts that are down.
//!
//! `mutant` breaks the rules on purpose: a checker that no mutant trips is not a checker.

mod bound;
mod check;
mod drive;
mod fault;
mod mutant;
mod node;
mod scenario;
mod store;
mod strict;
mod suffer;
mod tell;
mod wire;
mod world;

use std::fmt;

use crate::kernel::Time;

pub use mutant::Mutant;

/// Seeds that once failed: tried first, and kept.
pub const REGRESSIONS: &str = include_str!("../../lease-seeds.txt");

/// How a seed went.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// The first promise that was broken, and when.
    pub failure: Option<String>,
    /// What happened, when asked for.
    pub trace: String,
    /// Acquisitions of a right.
    pub claims: u64,
    /// Of these, those that brought a right to another node.
    pub changes: u64,
    /// Wished changes, and takeovers from silent holders, that had a bound and kept it.
    pub hand_overs: u64,
    /// See `hand_overs`.
    pub takeovers: u64,
    /// Changes of the list of voters.
    pub lists: u64,
    /// Rights that were taken on an operator's word.
    pub fenced: u64,
    /// Writes that a store which votes has taken at the end.
    pub writes: u64,
    /// Letters sent.
    pub letters: u64,
    /// Events played.
    pub events: u64,
    /// Simulated nanoseconds.
    pub simulated: Time,
    /// The worst that was seen.
    pub worst: Worst,
}

/// The worst of one seed or of many.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Worst {
    /// A wished change, in thousandths of the longest delay of a letter.
    pub hand_over: u64,
    /// A takeover from a silent holder, in thousandths of the term.
    pub takeover: u64,
    /// Nobody answered although somebody could, in thousandths of the bound.
    pub nobody: u64,
    /// Messages of one node to one peer in a term.
    pub messages: u64,
    /// Two answered after a paused guest had gone on, in nanoseconds.
    pub paused_guest: Time,
}

impl Outcome {
    /// Adds another seed's.
    pub fn add(&mut self, other: &Self) {
        self.claims += other.claims;
        self.changes += other.changes;
        self.hand_overs += other.hand_overs;
        self.takeovers += other.takeovers;
        self.lists += other.lists;
        self.fenced += other.fenced;
        self.writes += other.writes;
        self.letters += other.letters;
        self.events += other.events;
        self.simulated += other.simulated;
        let (worst, seen) = (&mut self.worst, other.worst);
        worst.hand_over = worst.hand_over.max(seen.hand_over);
        worst.takeover = worst.takeover.max(seen.takeover);
        worst.nobody = worst.nobody.max(seen.nobody);
        worst.messages = worst.messages.max(seen.messages);
        worst.paused_guest = worst.paused_guest.max(seen.paused_guest);
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Worst { hand_over, takeover, nobody, messages, paused_guest } = self.worst;
        let part = |thousandths: u64| thousandths as f64 / 1_000.0;
        write!(
            f,
            "{} simulated hours, {} events, {} letters, {} acquisitions, {} of them changes, {} changes of the list\n\
             bounded: {} hand-overs, the worst {:.2} one-way delays; {} takeovers, the worst {:.3} terms; \
             nobody answered for {:.2} of the bound; {messages} messages to a peer in a term; \
             {:.1} ms of two holders after a paused guest went on",
            self.simulated / 3_600_000_000_000,
            self.events,
            self.letters,
            self.claims,
            self.changes,
            self.lists,
            self.hand_overs,
            part(hand_over),
            self.takeovers,
            part(takeover),
            part(nobody),
            paused_guest as f64 / 1e6,
        )
    }
}

/// Plays one seed.
#[must_use]
pub fn run(seed: u64, mutant: Mutant, traced: bool) -> Outcome {
    world::World::play(seed, false, mutant, traced)
}

/// Plays one seed of two nodes whose promises last (guard `strict`).
#[must_use]
pub fn run_strict(seed: u64, mutant: Mutant, traced: bool) -> Outcome {
    world::World::play(seed, true, mutant, traced)
}

/// Plays one seed with a store that votes in the place of a third node; `forgetful`: when it stops it loses its
/// promises, and does not know.
#[must_use]
pub fn run_store(seed: u64, forgetful: bool) -> Outcome {
    world::World::play_store(seed, forgetful)
}
