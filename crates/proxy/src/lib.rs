//! A connection's way: listener, route, pool, dial.
//!
//! Everything here runs on one thread at a time (`tokio` current_thread); what threads and processes share is the
//! [`snapshot::Snapshot`], swapped as a whole, and the [`shared::Cells`], counters in memory that the supervisor owns.
//!
//! The way of a request: `http1` or `http2` reads a head and makes a [`request::Request`] of it; [`exchange::Exchange`] is
//! all that is known of it from there on; `route` decides ([`exchange::Decision`]); `pool` leases a backend; `forward`
//! passes the bodies; `route` writes the headers of both directions through a [`exchange::FieldSink`]; `log` and
//! `metrics` account for it.

pub mod buffers;
pub mod clock;
pub mod deadline;
pub mod dial;
pub mod exchange;
pub mod files;
#[cfg(test)]
mod fixture;
pub mod forward;
pub mod gzip;
pub mod http1;
pub mod http2;
pub mod lead;
pub mod log;
pub mod metrics;
pub mod policy;
pub mod pool;
mod proxied;
pub mod quic;
pub mod request;
pub mod response;
pub mod road;
pub mod route;
pub mod serve;
pub mod shared;
pub mod snapshot;
pub mod stream;
pub mod thread;
pub mod tls;
pub mod transport;
pub mod worker;
