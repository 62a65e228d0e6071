//! Two nodes and a witness, two wires between them, and one address that never has two holders.
#![expect(clippy::disallowed_methods, reason = "what clients see is measured by the clock that they use")]

mod attacks;
mod conflicts;
mod cuts;
mod demo;
mod enrol;
mod etcd;
mod hostile;
mod hostile_disk;
mod identity;
mod members;
mod moves;
mod rig;
mod six;
mod strict;
mod through;
