//! Many nodes, one thread, one seed: the machines of core under a simulated kernel and network.
//!
//! A seed draws a cluster (`scenario`), its wires, clocks and faults; `run` plays it with the real machine and real
//! packets and looks at the whole world after every step (`check`). What is promised is listed there, with its bound.
//! `mutant` breaks the machine on purpose: a checker that no mutant trips is not a checker.

mod act;
pub mod arbitration;
mod check;
mod fault;
mod kernel;
pub mod lease;
mod mutant;
mod node;
mod rng;
mod scenario;
mod world;

pub use mutant::Mutant;
pub use world::{Outcome, run};

/// Seeds that once failed: tried first, and kept.
pub const REGRESSIONS: &str = include_str!("../seeds.txt");

/// The seeds of a list: one in each line, `#` begins a remark.
pub fn seeds(list: &str) -> impl Iterator<Item = u64> + '_ {
    list.lines().filter_map(|line| line.split('#').next()?.trim().parse().ok())
}
