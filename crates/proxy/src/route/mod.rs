//! Which route takes a request, and what it makes of it.
//!
//! [`decide()`] finds the client, the route and what acts; [`request_fields`], [`request_target`] and [`request_method`] write what a
//! backend gets, [`verdict`], [`response_fields`] and [`shown_status`] what the client gets of its answer; [`failed`] is for errors on
//! the way; [`render`] writes variables.

mod aim;
mod answer;
mod certificate;
mod client;
mod conditions;
pub mod date;
mod decide;
pub mod explain;
mod fields;
mod host;
mod maps;
mod memory;
mod names;
mod paths;
mod pattern;
mod reply;
#[cfg(test)]
mod rig;
mod steps;
mod table;
mod target;
#[cfg(test)]
mod tests;
mod used;
mod vars;

pub use aim::{Aim, aim};
pub use answer::reason;
pub(crate) use decide::comes_in;
pub use decide::{decide, failed, verdict};
pub use explain::{Candidate, Explanation, Question, Stage, Way, explain};
pub use fields::request_fields;
pub(crate) use host::of as host_of;
pub use memory::Memory;
pub use reply::{rate_bytes, response_fields, shown_status};
pub use table::{Error, Table};
pub use target::{request_method, request_target};
pub use vars::render;
