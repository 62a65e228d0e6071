//! Two nodes and a witness, two wires between them, and one address that never has two holders.

mod cuts;
mod moves;
mod rig;
