//! What is claimed of the leases of several nodes.

mod faults;
mod moves;
mod rig;
