//! What a node promises of its address, each promise as a test in network namespaces with the real program.
#![expect(clippy::disallowed_methods, reason = "what clients see is measured by the clock that they use")]
#![allow(dead_code, reason = "two test programs share the rig")]

mod interfaces;
mod operator;
mod owner;
mod owns;
mod reload;
mod rig;
mod source;
mod start;
mod tell;
