//! Agents that come in by QUIC: the thread's endpoint, under the TLS of the listeners in force.

use std::cell::{Cell, OnceCell, RefCell};
use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::rc::{Rc, Weak};
use std::sync::Arc;

use mainstay_link::tunnel::quic::{self, Arriving, Endpoint, Secrets, ServerConfig, server_config};
use mainstay_proxy::quic::{Counts, called, failed, may_call};
use mainstay_proxy::road;
use mainstay_proxy::tls::Server;
use tokio::task::spawn_local;

use super::Desk;
use super::carrier::Carrier;
use super::hello;
use super::visitor::Came;

/// One thread's QUIC; there from its first socket on.
#[derive(Default)]
pub(super) struct Calls {
    endpoint: OnceCell<(Endpoint, Secrets)>,
    /// By the position of its listener: the TLS that it has, and the same as QUIC wants it.
    configs: RefCell<HashMap<u32, (Arc<Server>, Arc<ServerConfig>)>>,
}

impl std::fmt::Debug for Calls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Calls").field("counts", &self.counts()).finish_non_exhaustive()
    }
}

impl Calls {
    /// What its endpoint counts.
    pub(super) fn counts(&self) -> Counts {
        let Some((endpoint, _)) = self.endpoint.get() else { return Counts::default() };
        let quic::Counts { datagrams, handed_over, taken_over, retried, refused, failed, accepted } =
            endpoint.counts();
        Counts { datagrams, handed_over, taken_over, accepted, retried, refused, failed }
    }

    /// A listener's TLS as QUIC wants it: made once, and again when a reload has made it another.
    fn config(&self, listener: u32, tls: &Arc<Server>) -> Result<Arc<ServerConfig>, String> {
        if let Some((of, config)) = self.configs.borrow().get(&listener)
            && Arc::ptr_eq(of, tls)
        {
            return Ok(Arc::clone(config));
        }
        let Some((_, secrets)) = self.endpoint.get() else { return Err("there is no socket".to_owned()) };
        let config = server_config(tls.config(), secrets)?;
        self.configs.borrow_mut().insert(listener, (Arc::clone(tls), Arc::clone(&config)));
        Ok(config)
    }
}

/// A socket of the thread's endpoint.
struct Door(quic::Door);

impl road::Door for Door {
    fn finish(self: Box<Self>) {
        self.0.finish();
    }
}

/// Listens on a socket for a listener.
pub(super) fn listen(
    desk: &Rc<Desk>,
    socket: OwnedFd,
    number: u16,
    listener: Rc<Cell<u32>>,
) -> io::Result<Box<dyn road::Door>> {
    let thread = desk.thread.upgrade().ok_or(io::ErrorKind::NotConnected)?;
    let calls = &desk.quic;
    if calls.endpoint.get().is_none() {
        let secrets = Secrets::new(&thread.pools.key());
        let host = desk.own.clone() as Weak<dyn quic::Host>;
        let _ = calls.endpoint.set((Endpoint::new(number, &secrets, host)?, secrets));
    }
    let (endpoint, _) = calls.endpoint.get().ok_or(io::ErrorKind::NotConnected)?;
    let snapshot = thread.snapshot();
    let tls = snapshot.tls.get(listener.get() as usize).and_then(Option::as_ref);
    let tls = tls.ok_or_else(|| io::Error::other("its listener has no TLS"))?;
    let first = calls.config(listener.get(), tls).map_err(io::Error::other)?;
    Ok(Box::new(Door(endpoint.listen(socket, listener, first)?)))
}

impl quic::Host for Desk {
    fn config(&self, door: u32, from: SocketAddr) -> Option<Arc<ServerConfig>> {
        let thread = self.thread.upgrade().filter(|_| !self.draining.get())?;
        let tls = may_call(&thread, door, from)?;
        let config = self.quic.config(door, &tls);
        config.inspect_err(|why| tracing::error!("a listener's TLS is none for QUIC: {why}")).ok()
    }

    fn arrived(&self, door: u32, arriving: Arriving) {
        if let Some(desk) = self.own.upgrade() {
            spawn_local(greet(desk, door, arriving));
        }
    }
}

/// Lets an agent in, or not; then keeps its session.
async fn greet(desk: Rc<Desk>, door: u32, arriving: Arriving) {
    let Some(thread) = desk.thread.upgrade() else { return };
    let from = SocketAddr::new(arriving.from().ip().to_canonical(), arriving.from().port());
    let Some(call) = called(&thread, door, arriving.to()) else { return };
    let shows = async {
        let carrier = arriving.ready().await?;
        let binding = carrier.binding();
        let mut carrier: Carrier = Box::new(carrier);
        let admitted = hello::admit(&desk, &mut carrier, &binding).await;
        Ok::<_, quic::Error>((carrier, admitted))
    };
    match desk.greeted.wait(Box::pin(shows)).await {
        None => desk.news.refused(&from.to_string(), &desk.greeted.full()),
        Some(Err(why)) => {
            tracing::debug!(%from, "a handshake by QUIC has failed: {why}");
            failed(&thread, door);
        }
        Some(Ok((carrier, admitted))) => {
            let came = Came { from: Some(from), ours: call.local, carrier: "quic", open: call.open };
            Box::pin(hello::receive(Rc::clone(&desk), carrier, came, admitted)).await;
        }
    }
}
