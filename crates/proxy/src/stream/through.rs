//! TLS that is passed through where other things are spoken as well: the name in the ClientHello says where to.

use std::rc::Rc;
use std::sync::Arc;

use tokio::time::timeout;

use super::prepare::{FIRST_WORDS, chosen, read_hello};
use super::slow;
use crate::clock::boot_now;
use crate::exchange::Connection;
use crate::snapshot::Snapshot;
use crate::thread::Thread;
use crate::transport::{Io, Socket};

/// The port that TLS is asked for at, as far as names go.
const HTTPS: u16 = 443;

/// Takes a connection that was accepted and counted, and whose next byte begins a ClientHello: to the pool of the listener's rule
/// for its name, or to the tunnel that the name leads to. One that names nobody is closed.
pub async fn pass_through(
    thread: Rc<Thread>,
    snapshot: Arc<Snapshot>,
    mut socket: Socket,
    connection: Connection,
) {
    let started = boot_now();
    let listener = &snapshot.edge.listeners[connection.listener as usize];
    let counts = connection.counts;
    let failed = |why: &'static str| {
        thread.counters.handshake_failed(counts, why);
        thread.counters.closed(counts);
    };
    let mut first = Vec::new();
    let name = match timeout(FIRST_WORDS, read_hello(&mut socket, &mut first)).await {
        Ok(Ok(name)) => name,
        Ok(Err(why)) => return failed(why),
        Err(_) => return failed("hello:timeout"),
    };
    let pool = match (chosen(listener, name.as_deref()), &name) {
        (Some(pool), _) => Some(pool),
        (None, Some(name)) => crate::lead::lead(&thread, &snapshot, name, HTTPS).await.ok(),
        (None, None) => None,
    };
    let Some(pool) = pool else { return failed("hello:no-pool") };
    let client = slow::Client { io: Io::Plain(socket), early: first, tried: Vec::new(), lease: None };
    Box::pin(slow::relay(&thread, &snapshot, connection, client, pool, started)).await;
}
