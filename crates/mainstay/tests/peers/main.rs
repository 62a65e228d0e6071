//! Mainstay beside what it replaces and what it serves: keepalived, nginx, tshark, operators and their files.

mod bed;
mod boxed;
mod frames;
mod hostile;
mod mixed;
mod seeds;
mod wire;
