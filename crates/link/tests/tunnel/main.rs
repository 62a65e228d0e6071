//! Sessions on real sockets and in memory: streams, ends, drains, cuts.

mod ends;
mod rig;
mod streams;
