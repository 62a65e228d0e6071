//! Leases: rights that end by themselves, granted by a majority of a fixed list of voters, so that an address never has
//! two holders (docs/internals/leases.md has the argument).
//!
//! A voter promises each right to one node for the term. A node's leases ask for the rights that it wants, hold
//! those that a majority has promised, and give them back once the address is gone. Time is each node's own
//! CLOCK_BOOTTIME; no machine compares its clock with another's.

mod change;
mod claim;
mod effect;
pub mod external;
mod hear;
mod input;
mod lasting;
mod leases;
mod list;
mod message;
mod peer;
mod right;
mod seek;
mod send;
mod show;
mod tend;
mod terms;
#[cfg(test)]
mod tests;
mod view;
mod voter;

pub use change::Refused;
pub use claim::{Claim, Counted, Phase, Promised};
pub use effect::{Effect, Ending, Notice};
pub use input::{Input, Stance};
pub use lasting::NotTaken;
pub use leases::{Leases, Setup};
pub use list::{LIST_EPOCH_MAX, MEMBERS_MAX, Mark, Member, VoterList};
pub use message::{
    Answered, Asked, Beat, Freed, Letter, Message, Outcome, Reply, Request, Sight, Sights, Standing,
};
pub use terms::Terms;
pub use view::{Counters, HolderView, RightView, Said, Saying, VoterView};
pub use voter::{Asker, Asking, Granted, NAME_MAX, Promise, RIGHTS_MAX, Verdict, Voter};
