//! The machine of a pool as its callers meet it: who gets how much, who moves, who is out, over many seeds.

mod outliers;
mod rig;
mod shares;
mod stays;
