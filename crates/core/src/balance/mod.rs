//! Which backend of a pool gets the next request: turns, load, latency, hashes, chance; and who is out of use, and why.
//!
//! [`Roster`] is the machine of one pool. It hears verdicts of probes, how requests ended, and the operator, and says who
//! is next. Chance and time are inputs. Each thread has one of its own; they agree where it matters because loads are shared, and
//! hashes do not depend on the order of anything.

mod budget;
pub mod hash;
mod latency;
mod maglev;
mod outlier;
mod pick;
mod roster;
mod view;

pub use budget::RetryBudget;
pub use latency::Latency;
pub use maglev::{Maglev, Seat};
pub use outlier::{OutlierSpec, Standing};
pub use pick::{Admits, Nobody, Ticket, View};
pub use roster::{Effect, Input, MemberSpec, Order, Policy, Roster, Spec};
pub use view::{MemberView, State};
