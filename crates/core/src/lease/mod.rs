//! Leases: rights that end by themselves, granted by a majority of a fixed list of voters, so that an address never has
//! two holders (docs/internals/leases.md has the argument).
//!
//! A voter promises each right to one node for the term. A node's leases ask for the rights that it wants, hold
//! those that a majority has promised, and give them back once the address is gone. Time is each node's own
//! CLOCK_BOOTTIME; no machine compares its clock with another's.

mod effect;
mod input;
mod list;
mod message;
mod terms;
mod view;

pub use effect::{Effect, Ending, Notice};
pub use input::{Input, Stance};
pub use list::{Mark, Member, VoterList};
pub use message::{Answered, Asked, Beat, Freed, Letter, Message, Outcome, Reply, Request, Standing};
pub use terms::Terms;
pub use view::{HolderView, RightView, Said, Saying, VoterView};
