//! What is counted. Each thread has its own counters, read by one who sums them up.

use crate::exchange::Exchange;

/// The counters of one thread.
#[derive(Debug, Default)]
pub struct Counters {}

impl Counters {
    /// A connection was accepted.
    pub fn accepted(&self, _listener: u32) {}

    /// A connection ended.
    pub fn closed(&self, _listener: u32) {}

    /// A request was refused before it had a route: `framing:two-lengths`, `head-too-large`, `timeout` ...
    pub fn refused(&self, _listener: u32, _why: &'static str) {}

    /// A handshake failed: TLS or PROXY.
    pub fn handshake_failed(&self, _listener: u32, _why: &'static str) {}

    /// A request has had its response, or its connection broke.
    pub fn done(&self, _exchange: &Exchange) {}

    /// A stream connection ended, with the bytes from and to its client.
    pub fn stream_done(&self, _listener: u32, _received: u64, _sent: u64) {}
}
