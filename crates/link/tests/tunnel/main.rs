//! Sessions on real sockets and in memory: streams, ends, drains, cuts.

mod ends;
mod gost;
mod rig;
mod streams;
