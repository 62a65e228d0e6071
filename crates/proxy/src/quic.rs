//! What a listener says of agents that come in by QUIC: who may, under which TLS, and that they count as others do. The protocol
//! itself is the hub's.

use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;

use mainstay_config::plan::edge::{Place, Protocol};
use serde::{Deserialize, Serialize};

use crate::road::Counted;
use crate::stream;
use crate::thread::Thread;
use crate::tls::Server;

/// What is counted of QUIC.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Datagrams that came.
    pub datagrams: u64,
    /// Those that belonged to another thread or process, and were handed over.
    pub handed_over: u64,
    /// Those that others handed over.
    pub taken_over: u64,
    /// Connections that were begun.
    pub accepted: u64,
    /// Callers that had to show their address first.
    pub retried: u64,
    /// Callers that were turned away.
    pub refused: u64,
    /// Handshakes that came to nothing.
    pub failed: u64,
}

impl Counts {
    /// Adds what another thread or process has counted.
    pub const fn add(&mut self, other: &Self) {
        self.datagrams += other.datagrams;
        self.handed_over += other.handed_over;
        self.taken_over += other.taken_over;
        self.accepted += other.accepted;
        self.retried += other.retried;
        self.refused += other.refused;
        self.failed += other.failed;
    }
}

/// One that has come in.
#[derive(Debug)]
pub struct Call {
    /// Our end.
    pub local: Option<SocketAddr>,
    /// Its listener's name.
    pub listener: Rc<str>,
    /// Counts as open until this is dropped.
    pub open: Counted,
}

/// The TLS for somebody who calls at a listener; nothing when it may not come in, which is counted.
#[must_use]
pub fn may_call(thread: &Thread, listener: u32, from: SocketAddr) -> Option<Arc<Server>> {
    let snapshot = thread.snapshot();
    let settings = snapshot.edge.listeners.get(listener as usize)?;
    if settings.protocol != Protocol::Hub || !settings.quic || thread.draining() {
        return None;
    }
    let counts = snapshot.places.listener(listener);
    let from = SocketAddr::new(from.ip().to_canonical(), from.port());
    if !stream::admits(&settings.access, Some(from)) {
        thread.counters.refused(counts, "access");
        return None;
    }
    if thread.counters.open(counts) >= u64::from(settings.max_connections) {
        thread.counters.refused(counts, "sessions");
        return None;
    }
    snapshot.tls.get(listener as usize)?.as_ref().map(Arc::clone)
}

/// Counts somebody who has come in, by a socket of this listener's.
#[must_use]
pub fn called(thread: &Thread, listener: u32, to: Option<IpAddr>) -> Option<Call> {
    let snapshot = thread.snapshot();
    let settings = snapshot.edge.listeners.get(listener as usize)?;
    let counts = snapshot.places.listener(listener);
    thread.counters.accepted(counts);
    let bound = settings.places.iter().find_map(|place| match place {
        Place::Inet(addr) => Some(*addr),
        Place::Unix(_) => None,
    });
    let local = bound.map(|bound| SocketAddr::new(to.unwrap_or(bound.ip()), bound.port()));
    let open = Counted::new(Arc::clone(&thread.counters), counts);
    Some(Call { local, listener: thread.listener_name(&settings.name), open })
}

/// A handshake that came to nothing.
pub fn failed(thread: &Thread, listener: u32) {
    let snapshot = thread.snapshot();
    if snapshot.edge.listeners.get(listener as usize).is_some() {
        thread.counters.handshake_failed(snapshot.places.listener(listener), "quic:error");
    }
}
