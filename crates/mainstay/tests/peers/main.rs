//! Mainstay beside what it replaces and what it serves: keepalived, nginx, tshark, operators and their files.

mod bed;
mod mixed;
