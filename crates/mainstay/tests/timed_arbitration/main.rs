//! Two nodes that vote on nothing: what a reference, a lock and a watchdog make of cuts, deaths and hung disks.
#![expect(clippy::disallowed_methods, reason = "what clients see is measured by the clock that they use")]

mod alone;
mod lock;
mod ping;
mod reference;
mod rig;
