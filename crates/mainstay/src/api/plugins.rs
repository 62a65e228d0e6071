//! gost's plugins that the node is itself: sockets from the supervisor, what they keep in the redis of the registry.
//!
//! They are this role's, which speaks to strangers anyway and whose end costs nobody a packet; the registry role has a voter to
//! speak for, whose answers must not wait behind calls.

use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::time::Duration;

use anyhow::Context as _;
use mainstay_config::plan::Plan;
use mainstay_config::plan::registry::Store;
use tokio::sync::watch;

use crate::plugin::{Desk, Kind, Settings, serve};

/// What gost-plugins have unless they are told otherwise.
const CLIENTS: Duration = Duration::from_secs(60);
const HOSTS: Duration = Duration::from_secs(3600);

/// Those that run.
#[derive(Default)]
pub(super) struct Plugins {
    running: Vec<Running>,
}

struct Running {
    settings: Settings,
    /// Kept for when it is set otherwise.
    listener: TcpListener,
    stop: watch::Sender<bool>,
}

impl Plugins {
    /// Puts a Plan in force. With listeners, those of its plugins in order; else each keeps the one that it has.
    pub(super) fn adopt(&mut self, plan: &Plan, listeners: Option<Vec<OwnedFd>>) -> anyhow::Result<()> {
        let wanted = wanted(plan);
        let before = std::mem::take(&mut self.running);
        let changed = listeners.is_some();
        let listeners = match listeners {
            Some(fds) => fds.into_iter().map(TcpListener::from).collect(),
            None => before.iter().map(|one| one.listener.try_clone()).collect::<Result<Vec<_>, _>>()?,
        };
        if !changed && before.iter().map(|one| &one.settings).eq(&wanted) {
            self.running = before;
            return Ok(());
        }
        before.iter().for_each(Running::leave);
        for (settings, listener) in wanted.into_iter().zip(listeners) {
            self.running.push(Running::start(settings, listener)?);
        }
        Ok(())
    }

    /// They take no further calls.
    pub(super) fn leave(&mut self) {
        self.running.drain(..).for_each(|one| one.leave());
    }
}

impl Running {
    fn start(settings: Settings, listener: TcpListener) -> anyhow::Result<Self> {
        listener.set_nonblocking(true).context("a plugin's listener")?;
        let served = listener.try_clone().context("a plugin's listener")?;
        let served = tokio::net::TcpListener::from_std(served).context("a plugin's listener")?;
        let desk = Desk::open(&settings).with_context(|| format!("the {} plugin", settings.kind.name()))?;
        let (stop, stopped) = watch::channel(false);
        tokio::task::spawn_local(serve(desk, served, stopped));
        Ok(Self { settings, listener, stop })
    }

    fn leave(&self) {
        let _ = self.stop.send(true);
    }
}

/// The plugins of a Plan, in the order of their sockets.
fn wanted(plan: &Plan) -> Vec<Settings> {
    let Some(gost) = &plan.edge.gost else { return Vec::new() };
    let redis = plan.registry.as_ref().and_then(|registry| match &registry.store {
        Store::Redis(places) => Some((places.clone(), registry.access.clone())),
        Store::Etcd(_) => None,
    });
    let settings = |kind, expiration| Settings {
        kind,
        redis: redis.clone(),
        expiration,
        domains: plan.edge.hub.domain.iter().cloned().collect(),
        token: gost.token.as_ref().map(|token| token.text.clone()),
    };
    let sd = gost.serves.sd.map(|_| settings(Kind::Sd, CLIENTS));
    sd.into_iter().chain(gost.serves.ingress.map(|_| settings(Kind::Ingress, HOSTS))).collect()
}
