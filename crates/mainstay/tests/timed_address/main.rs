//! What a node promises in milliseconds: each test alone on the machine, with bounds that a busy one still keeps.
#![expect(clippy::disallowed_methods, reason = "what clients see is measured by the clock that they use")]
#![allow(dead_code, reason = "two test programs share the rig")]

mod conflicts;
mod death;
mod frozen;
mod mending;
#[path = "../address/rig.rs"]
mod rig;
mod service;
