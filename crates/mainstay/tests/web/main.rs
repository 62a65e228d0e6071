//! The edge in the lab: files that people have for nginx, imported as they stand, and requests that must not be lost.

mod bed;
mod bytes;
mod chain;
mod loss;
mod seeds;
