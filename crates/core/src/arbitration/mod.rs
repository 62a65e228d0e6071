//! Who may hold a vip when nodes that vote on nothing can't hear each other: reference addresses, a lock that is taken only
//! then, and what follows when this node is alone. All of it is best effort (docs/operating/arbitration.md): each aid makes
//! two holders rarer or shorter, none of them proves that there is one.

mod arbiter;
mod input;
mod isolation;
mod lock;
mod record;
mod reference;
mod rule;
mod view;

pub use arbiter::Arbiter;
pub use input::{Effect, Input, Notice, PeerAid, ReferenceAid, Setup, VipAids};
pub use lock::{DiskOp, LockTerms};
pub use record::{BLOCK, Block, Owner, Record};
pub use reference::ReferenceTerms;
pub use view::{LockState, LockView, View};
