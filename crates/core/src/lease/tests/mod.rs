//! What is claimed of the leases of several nodes.

mod chaos;
mod faults;
mod found;
mod lasting;
mod lists;
mod moves;
mod rig;
