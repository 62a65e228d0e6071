//! The machine that decides who is active (RFC 9568 6.4), for every vip of this node at once.

mod effect;
mod input;
mod spec;

pub use effect::{Effect, Reason, State};
pub use input::{Input, Operator, Packet, Verdict};
pub use spec::{Announce, GroupSpec, VipSpec, Weight};
