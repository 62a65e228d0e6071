//! HTTP/1.1: connections of clients and to backends.

mod status;

pub use status::reason;
