//! What is claimed of the leases of several nodes.

mod faults;
mod found;
mod lists;
mod moves;
mod rig;
