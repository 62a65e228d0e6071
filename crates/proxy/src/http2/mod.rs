//! HTTP/2: connections of clients and to backends, around [`mainstay_core::http2::Connection`].
//!
//! A client's connection is one task: it reads frames, polls the requests that have something to do, and writes what all of them
//! have said in one go. A connection to a backend is a task that the requests of many clients share.

mod backend;
mod client;
mod links;
mod mux;
mod serve;

#[cfg(test)]
mod tests;

pub use backend::Exchange as BackendExchange;
pub use links::{Link, Links, Turn};
pub use serve::serve;
