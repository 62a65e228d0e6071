//! A configuration as the threads use it: compiled once in a process, swapped as a whole.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use mainstay_config::plan::edge::{Edge, Listener, Place, Pool, Protocol, Target};
use mainstay_config::plan::tunnel::{OPEN, made_name};
use mainstay_core::name::PoolId;

use crate::metrics::{Names, Places};
use crate::tls::{self, Tickets};

/// A configuration in force.
#[derive(Debug)]
pub struct Snapshot {
    /// Counts up with each.
    pub generation: u64,
    /// What the operator wants.
    pub edge: Edge,
    /// The slot in [`crate::shared::Cells`] of each backend, by `pool/backend`; the supervisor gives them out.
    pub slots: HashMap<String, u32>,
    /// TLS of each listener, by position.
    pub tls: Vec<Option<Arc<crate::tls::Server>>>,
    /// Who may come in.
    pub guards: crate::policy::Compiled,
    /// Which route takes a request.
    pub table: crate::route::Table,
    /// Where listeners and routes are counted.
    pub places: Places,
    /// The listener of each place.
    sockets: HashMap<(Place, bool), u32>,
    /// The pools that are made for the file's tunnels.
    tunnels: HashMap<String, PoolId>,
    /// The tunnels that pools of the file have agents of.
    behind: HashSet<String>,
    /// What the pools of other tunnels are made of.
    template: Option<PoolId>,
}

/// A configuration that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// TLS of a listener.
    #[error("listener \"{listener}\": {why}")]
    Tls {
        /// Its name.
        listener: String,
        /// What is wrong with it.
        why: String,
    },
    /// Credentials of a route.
    #[error(transparent)]
    Credentials(#[from] crate::policy::Error),
    /// The routes.
    #[error(transparent)]
    Routes(#[from] crate::route::Error),
}

impl Snapshot {
    /// Compiles a configuration. What did not change since `before` is taken from there.
    ///
    /// # Errors
    /// When a part of it cannot be used, which the configuration's checks should have found.
    pub fn compile(
        edge: Edge,
        slots: HashMap<String, u32>,
        names: &mut Names,
        tickets: &Tickets,
        before: Option<&Self>,
    ) -> Result<Self, Error> {
        let tls = edge.listeners.iter().map(|listener| tls_of(listener, tickets, before));
        let tls = tls.collect::<Result<_, _>>()?;
        let places = names.place(
            edge.listeners.iter().map(|l| l.name.as_str()),
            edge.routes.iter().map(|r| r.name.as_str()),
        );
        let mut sockets = HashMap::new();
        for (listener, position) in edge.listeners.iter().zip(0..) {
            sockets.extend(listener.sockets().map(|(place, udp)| ((place.clone(), udp), position)));
        }
        let pools: HashMap<&str, PoolId> = names_of(&edge.pools);
        let made = |id: &str| pools.get(made_name(id).as_str()).copied();
        let tunnels =
            edge.tunnels.iter().filter_map(|tunnel| Some((tunnel.id.clone(), made(&tunnel.id)?))).collect();
        let behind = edge.pools.iter().flat_map(|pool| &pool.backends);
        let behind = behind.filter_map(|backend| match &backend.target {
            Target::Tunnel(id) => Some(id.clone()),
            Target::Inet(_) | Target::Name { .. } | Target::Unix(_) | Target::Asked => None,
        });
        let behind = behind.collect();
        let template = made(OPEN);
        Ok(Self {
            tunnels,
            behind,
            template,
            generation: before.map_or(1, |before| before.generation + 1),
            guards: crate::policy::Compiled::new(&edge)?,
            tls,
            table: crate::route::Table::new(&edge)?,
            slots,
            places,
            sockets,
            edge,
        })
    }

    /// What a pool is like; those of tunnels that no file names are all alike.
    #[must_use]
    pub fn pool(&self, id: PoolId) -> Option<&Pool> {
        self.edge.pools.get(self.place_of(id)?.index())
    }

    /// Where a pool stands in the file; for those of tunnels that no file names, what they are made of.
    #[must_use]
    pub fn place_of(&self, id: PoolId) -> Option<PoolId> {
        if crate::pool::is_open(id) { self.template } else { Some(id) }
    }

    /// Whether a pool is only what others are made of: which one takes a request, its host says.
    #[must_use]
    pub fn is_template(&self, id: PoolId) -> bool {
        self.template == Some(id)
    }

    /// What the pools of tunnels are made of that no file names.
    pub(crate) fn template(&self) -> Option<&Pool> {
        self.edge.pools.get(self.template?.index())
    }

    /// The pool that is made for a tunnel of the file.
    pub(crate) fn pool_of_tunnel(&self, tunnel: &str) -> Option<PoolId> {
        self.tunnels.get(tunnel).copied()
    }

    /// Whether a pool of the file has the agents of a tunnel.
    pub(crate) fn has_behind(&self, tunnel: &str) -> bool {
        self.behind.contains(tunnel)
    }

    /// The position of the listener that has this place.
    #[must_use]
    pub fn listener_at(&self, place: &Place, udp: bool) -> Option<u32> {
        self.sockets.get(&(place.clone(), udp)).copied()
    }

    /// The position here of a listener of another snapshot; `None` when it is gone.
    #[must_use]
    pub fn listener_of(&self, other: &Self, listener: u32) -> Option<u32> {
        if self.generation == other.generation {
            return Some(listener);
        }
        let name = &other.edge.listeners.get(listener as usize)?.name;
        let same = self.edge.listeners.get(listener as usize).is_some_and(|l| l.name == *name);
        if same {
            return Some(listener);
        }
        self.edge.listeners.iter().zip(0..).find_map(|(l, position)| (l.name == *name).then_some(position))
    }
}

/// The pools by their names.
fn names_of(pools: &[Pool]) -> HashMap<&str, PoolId> {
    pools.iter().zip(0..).map(|(pool, at)| (pool.name.as_str(), PoolId(at))).collect()
}

/// TLS of a listener, the same as before when nothing of it has changed.
fn tls_of(
    listener: &Listener,
    tickets: &Tickets,
    before: Option<&Snapshot>,
) -> Result<Option<Arc<tls::Server>>, Error> {
    let Some(settings) = &listener.tls else { return Ok(None) };
    let same = |old: &Listener| {
        old.tls.as_ref() == Some(settings)
            && old.http.http2 == listener.http.http2
            && old.protocol == listener.protocol
    };
    let known = before.and_then(|before| {
        let at = before.edge.listeners.iter().position(same)?;
        before.tls.get(at)?.clone()
    });
    if known.is_some() {
        return Ok(known);
    }
    // HTTP/2 is offered where HTTP is spoken.
    let http2 = listener.http.http2 && listener.protocol == Protocol::Http;
    let server = match listener.protocol {
        Protocol::Hub => tls::server_for_agents(settings, tickets),
        Protocol::Http | Protocol::Tcp | Protocol::Udp | Protocol::Passthrough => {
            tls::server_config(settings, http2, tickets)
        }
    };
    let wrong = |error: tls::Error| Error::Tls { listener: listener.name.clone(), why: error.to_string() };
    server.map(Some).map_err(wrong)
}
