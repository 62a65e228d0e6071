//! What a request wants of a pool, and how it is told no.

use std::net::IpAddr;

use mainstay_core::balance::hash::hash;

/// Hashes of keys and addresses are made with this: equal on all instances, in all versions.
const KEY: [u64; 2] = [0x6d61_696e_7374_6179, 0x0062_616c_616e_6365];

/// What a request is bound by.
#[derive(Clone, Copy, Debug, Default)]
pub struct Ask<'a> {
    /// The client, for `balance = "source"`; unix sockets have none and share a backend.
    pub client: Option<IpAddr>,
    /// The rendered key of `balance = "hash"`.
    pub key: Option<&'a [u8]>,
    /// The value of the pool's sticky cookie.
    pub cookie: Option<&'a [u8]>,
    /// Backends that were asked before, as [`super::Lease::backend`] numbers them. A request with some is a retry.
    pub tried: &'a [u32],
}

/// Why there is no backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// The pool has none.
    Empty,
    /// None is in use.
    Down,
    /// None has an address.
    Unresolved,
    /// No agent offers the tunnel.
    NoAgent,
    /// All are full and the queue is, too.
    QueueFull,
    /// All have been full for too long.
    QueueTimeout,
    /// All in use were asked.
    Spent,
}

/// There is no backend for a request: 503.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{why}")]
pub struct Refused {
    /// A sentence for logs and for the error page.
    pub why: &'static str,
    /// The same for code.
    pub reason: Reason,
}

impl From<Reason> for Refused {
    fn from(reason: Reason) -> Self {
        let why = match reason {
            Reason::Empty => "the pool has no backend",
            Reason::Down => "no backend of the pool is in use: all are down, drained or set aside",
            Reason::Unresolved => "no backend of the pool has an address: their names are not found",
            Reason::NoAgent => "no agent offers the tunnel",
            Reason::QueueFull => "every backend of the pool is full, and so is the queue",
            Reason::QueueTimeout => "every backend of the pool has been full for too long",
            Reason::Spent => "every backend of the pool that is in use was asked",
        };
        Self { why, reason }
    }
}

impl Ask<'_> {
    /// The hash of the client's address.
    pub(super) fn by_client(&self) -> u64 {
        match self.client.map(|client| client.to_canonical()) {
            Some(IpAddr::V4(ip)) => hash(KEY, &ip.octets()),
            Some(IpAddr::V6(ip)) => hash(KEY, &ip.octets()),
            None => hash(KEY, &[]),
        }
    }

    /// The hash of the key.
    pub(super) fn by_key(&self) -> u64 {
        hash(KEY, self.key.unwrap_or_default())
    }
}

/// The hash that a backend goes by.
pub(super) fn name_hash(name: &str, address: &str) -> u64 {
    let mut text = String::with_capacity(name.len() + address.len() + 1);
    text.push_str(name);
    text.push('\n');
    text.push_str(address);
    hash(KEY, text.as_bytes())
}
