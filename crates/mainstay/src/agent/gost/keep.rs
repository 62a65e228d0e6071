//! A session for one offer with one address of a server, for as long as both are there.

use std::rc::Rc;
use std::time::Duration;

use mainstay_core::gost::ask::Grant;
use mainstay_core::tunnel::hello::Answer;
use mainstay_link::tunnel::gost::Limits;
use mainstay_link::tunnel::{Closed, Incoming, Session, Side};
use mainstay_sys::clock::boot_now;
use tokio::task::spawn_local;
use tokio::time::sleep;

use super::wait::Waits;
use super::{Place, Servers};
use crate::agent::{Agent, serve};

/// How long streams may go on when no target is well any more: until then a server that has others sends us its visitors.
const UNWELL: Duration = Duration::from_secs(5);

impl Agent {
    /// Keeps sessions with all addresses of a server that nobody keeps yet.
    pub(super) fn keep_all(self: &Rc<Self>, server: usize) {
        let Some(servers) = &self.servers else { return };
        for spot in servers.spots().into_iter().filter(|spot| spot.0 == server) {
            for offer in 0..self.offered.borrow().len() {
                let place = (spot, offer);
                if servers.kept.borrow_mut().insert(place) {
                    spawn_local(Rc::clone(self).keep(place));
                }
            }
        }
    }

    async fn keep(self: Rc<Self>, place: Place) {
        let Some(servers) = &self.servers else { return };
        let mut waits = Waits::default();
        while servers.is_known(place.0) {
            self.until_well(servers, place.1).await;
            if self.is_going() {
                break;
            }
            match self.bind(servers, place.0, place.1).await {
                Ok((carrier, kind, grant)) => {
                    self.reached_at(servers, place.0);
                    if self.is_going() {
                        break;
                    }
                    let begun = boot_now();
                    let (session, incoming) =
                        Session::start_gost(carrier, Side::Agent, kind, &[], Limits::default());
                    self.granted(servers, place, &grant);
                    self.stay(servers, place, session, incoming).await;
                    waits.lasted(boot_now().since(begun));
                }
                Err(why) => self.came_to_nothing(servers, place.0, &why),
            }
            if !self.is_going() {
                sleep(waits.next(crate::agent::chance())).await;
            }
        }
        servers.kept.borrow_mut().remove(&place);
    }

    /// Waits until a target of an offer is well.
    async fn until_well(&self, servers: &Servers, offer: usize) {
        loop {
            let changed = servers.health.notified();
            if self.is_well(offer) || self.is_going() {
                return;
            }
            changed.await;
        }
    }

    fn is_well(&self, offer: usize) -> bool {
        self.offered.borrow()[offer].healthy()
    }

    /// Stays with a session to its end.
    async fn stay(self: &Rc<Self>, servers: &Servers, place: Place, session: Session, incoming: Incoming) {
        let number = servers.begun(place);
        self.sessions.borrow_mut().insert(number, session.clone());
        spawn_local(Rc::clone(self).take(place.1, incoming));
        let name = servers.name(place.0);
        tracing::debug!(hub = name, "a session has begun");
        let why = self.watch(servers, place.1, &session).await;
        self.sessions.borrow_mut().remove(&number);
        self.counts.add(&session.counters().counts);
        servers.sessions.borrow_mut().remove(&place);
        tracing::info!(hub = name, "a session has ended: {why}");
    }

    async fn watch(&self, servers: &Servers, offer: usize, session: &Session) -> Closed {
        loop {
            let changed = servers.health.notified();
            if !self.is_well(offer) {
                // There is no word for it: visitors go to others once we have gone.
                session.drain(UNWELL);
                return session.closed().await;
            }
            tokio::select! {
                why = session.closed() => return why,
                () = changed => {}
            }
        }
    }

    /// Serves the streams of a session until it has none.
    async fn take(self: Rc<Self>, offer: usize, mut incoming: Incoming) {
        while let Some((open, stream)) = incoming.next().await {
            let offered = Rc::clone(&self.offered.borrow()[offer]);
            spawn_local(serve::carry(offered, open, stream));
        }
    }

    /// Says under which host a server serves an offer.
    fn granted(&self, servers: &Servers, (spot, offer): Place, grant: &Grant) {
        let (service, index) = {
            let offered = self.offered.borrow();
            (offered[offer].service.clone(), offered[offer].index)
        };
        let address = &servers.all[spot.0];
        let tunnel = &service.tunnel;
        let name = grant.at.name().filter(|_| !service.udp);
        let url = url(&address.host, name);
        let served = url.iter().cloned().collect();
        let changed = self.heard.borrow_mut().granted(&address.to_string(), index, Answer::Served(served));
        let message = match (&url, name) {
            (Some(url), _) => format!("tunnel {tunnel} is served as {url}"),
            (None, Some(name)) => format!("tunnel {tunnel} is served by {address} as host {name}"),
            (None, None) => format!("tunnel {tunnel} is served by {address}"),
        };
        // A server that goes and comes back says the same again.
        if changed {
            self.voice.inform(&self.name, message);
            let wanted = service.host.as_deref().filter(|wanted| name.is_some_and(|name| name != *wanted));
            if let Some(wanted) = wanted {
                let message = format!("{address} does not serve tunnel {tunnel} as {wanted}");
                self.voice.warn(&self.name, message);
            }
        }
    }
}

/// Where what a server serves is reached, as far as can be known from here: a name without a dot is one under the server's own.
pub(super) fn url(server: &str, granted: Option<&str>) -> Option<String> {
    let granted = granted?;
    if granted.contains('.') {
        return Some(format!("http://{granted}"));
    }
    let named = server.parse::<std::net::IpAddr>().is_err();
    named.then(|| format!("http://{granted}.{server}"))
}
