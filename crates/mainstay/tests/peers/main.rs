//! Mainstay beside what it replaces and what it serves: keepalived, nginx, tshark, operators and their files.

mod bed;
mod boxed;
mod cli;
mod frames;
mod hostile;

mod imported;
mod mixed;
mod refused;
mod seeds;
mod wire;
