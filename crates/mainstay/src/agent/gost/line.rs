//! One connection to a gost server, up to its answer.

use mainstay_core::gost::ask::{Bind, Connect, Grant};
use mainstay_core::gost::relay::{Addr, Status};
use mainstay_core::gost::step;
use mainstay_link::tunnel::carrier::{self, connect, connect_at};
use mainstay_link::tunnel::gost::{self, Failed};
use mainstay_link::tunnel::{Carrier, Kind};
use thiserror::Error;

use super::{Servers, Spot};
use crate::agent::Agent;

/// Why nothing came of it.
#[derive(Debug, Error)]
pub(super) enum Nothing {
    /// There is no way to it.
    #[error("{0}")]
    Carrier(#[from] carrier::Error),
    /// Who is there does not answer as gost does.
    #[error("{0}")]
    Answer(Failed),
    /// It does not want us.
    #[error("{0}")]
    Refused(Status),
}

impl From<Failed> for Nothing {
    fn from(failed: Failed) -> Self {
        match failed {
            Failed::Step(step::Failed::Told(status)) => Self::Refused(status),
            Failed::Step(_) | Failed::Broken(_) => Self::Answer(failed),
        }
    }
}

impl Agent {
    /// A carrier to one address of a server.
    async fn carrier(&self, servers: &Servers, (server, to): Spot) -> Result<Box<dyn Carrier>, Nothing> {
        self.counts.dials.set(self.counts.dials.get() + 1);
        let address = &servers.all[server];
        let connected = match to {
            Some(to) => connect_at(address, to, &self.dialing).await?,
            None => connect(address, 0, &self.dialing).await?,
        };
        Ok(connected.carrier)
    }

    /// Asks to serve an offer's tunnel.
    pub(super) async fn bind(
        &self,
        servers: &Servers,
        spot: Spot,
        offer: usize,
    ) -> Result<(Box<dyn Carrier>, Kind, Grant), Nothing> {
        let mut carrier = self.carrier(servers, spot).await?;
        let service = self.offered.borrow()[offer].service.clone();
        let mut tunnel = super::id(&service.tunnel).expect("ids are read before they are offered");
        tunnel.weight = u8::try_from(service.weight).unwrap_or(u8::MAX);
        let kind = if service.udp { Kind::Datagrams } else { Kind::Bytes };
        let wanted = service.host.as_deref().map_or(Addr::NONE, |host| Addr::new(host, 0));
        let bind = Bind { tunnel, kind, source: None, wanted, login: servers.login.clone() };
        let grant = gost::bind(&mut carrier, bind).await?;
        Ok((carrier, kind, grant))
    }

    /// Asks for a stream through a tunnel.
    pub(super) async fn connect(
        &self,
        servers: &Servers,
        spot: Spot,
        connect: Connect,
    ) -> Result<Box<dyn Carrier>, Nothing> {
        let mut carrier = self.carrier(servers, spot).await?;
        gost::connect(&mut carrier, connect).await?;
        Ok(carrier)
    }

    /// A server was reached: what was said of its addresses is over.
    pub(super) fn reached_at(&self, servers: &Servers, spot: Spot) {
        self.said.borrow_mut().remove(&servers.name(spot));
        let mut heard = self.heard.borrow_mut();
        let its = servers.spots().into_iter().filter(|other| other.0 == spot.0);
        its.for_each(|spot| heard.reached(&servers.name(spot)));
    }

    /// A server was not reached, or does not want us.
    pub(super) fn came_to_nothing(&self, servers: &Servers, spot: Spot, why: &Nothing) {
        let name = &servers.name(spot);
        match why {
            // One of its addresses leads to it: of the others some may never have, as of IPv6 where there is none.
            Nothing::Carrier(why) if servers.has_session(spot.0) => {
                self.counts.failures.set(self.counts.failures.get() + 1);
                tracing::debug!(hub = name, "{why}");
            }
            Nothing::Carrier(why) => self.failed_at(name, why),
            Nothing::Answer(why) => self.failed_at(name, why),
            Nothing::Refused(status) => self.refused_at(name, status),
        }
    }
}
