//! The machine that decides who is active (RFC 9568 6.4), for every vip of this node at once.

mod announce;
mod deadlines;
mod due;
mod effect;
mod eligible;
mod group;
mod hear;
mod hold;
mod input;
mod leased;
mod reload;
mod spec;
mod stranger;
mod view;
mod vip;
mod vips;
mod wire;
mod world;

pub use effect::{Effect, Reason, State};
pub use input::{Doubt, Input, Operator, Packet, Ruling, Verdict};
pub use reload::Next;
pub use spec::{Announce, GroupSpec, Guard, VipSpec, Weight};
pub use stranger::Stranger;
pub use view::{Counters, Holding, Peer, View};
pub use vips::Vips;
pub use wire::{Rejects, judge};
