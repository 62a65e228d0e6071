//! One service as it is offered: what hubs are told of it, and its targets.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;

use mainstay_core::tunnel::hello::{Kind, Offer};
use mainstay_proxy::thread::Thread;
use tokio::sync::Notify;
use tokio::task::{JoinHandle, spawn_local};

use super::settings::Service;
use super::streams::Streams;
use super::target::Targets;
use super::{Agent, files};

/// What streams are joined to.
pub(super) enum To {
    /// Other servers, over TCP.
    Tcp(Rc<Targets>),
    /// The same over UDP.
    Udp(Rc<Targets>),
    /// Files, served by ourselves.
    Files(Rc<Thread>, Arc<mainstay_proxy::snapshot::Snapshot>),
}

/// A service that is offered.
pub(super) struct Offered {
    pub(super) index: u16,
    pub(super) service: Service,
    pub(super) to: To,
    /// Those that are open.
    pub(super) streams: Rc<Streams>,
    changed: Rc<Notify>,
}

impl To {
    fn new(service: &Service, known: Option<&Targets>) -> anyhow::Result<Self> {
        if let Some(folder) = &service.files {
            let (thread, snapshot) = files::site(folder)?;
            return Ok(Self::Files(thread, snapshot));
        }
        let targets = Rc::new(Targets::new(&service.targets, service.look.as_ref(), known)?);
        Ok(if service.udp { Self::Udp(targets) } else { Self::Tcp(targets) })
    }
}

impl Offered {
    pub(super) fn new(
        index: u16,
        service: &Service,
        changed: &Rc<Notify>,
        load: &Rc<Cell<u32>>,
    ) -> anyhow::Result<Self> {
        let to = To::new(service, None)?;
        let streams = Rc::new(Streams::new(load));
        Ok(Self { index, service: service.clone(), to, streams, changed: Rc::clone(changed) })
    }

    /// The same offer with other targets; of those that stay it is known how they are.
    pub(super) fn again(&self, service: &Service) -> anyhow::Result<Self> {
        let known = match &self.to {
            To::Tcp(targets) | To::Udp(targets) => Some(&**targets),
            To::Files(..) => None,
        };
        let to = To::new(service, known)?;
        let (streams, changed) = (Rc::clone(&self.streams), Rc::clone(&self.changed));
        Ok(Self { index: self.index, service: service.clone(), to, streams, changed })
    }

    /// What hubs are told.
    pub(super) fn offer(&self) -> Offer {
        let kind = match &self.to {
            To::Tcp(_) => Kind::Tcp,
            To::Udp(_) => Kind::Udp,
            To::Files(..) => Kind::Http,
        };
        Offer {
            index: self.index,
            tunnel: self.service.tunnel.clone(),
            kind,
            weight: self.service.weight,
            host: self.service.host.clone(),
            healthy: self.healthy(),
        }
    }

    /// Whether any of its targets is well.
    pub(super) fn healthy(&self) -> bool {
        match &self.to {
            To::Tcp(targets) => targets.any_well(),
            // Nothing can be known of one that nobody has to answer.
            To::Udp(_) | To::Files(..) => true,
        }
    }

    /// What is shown of its targets.
    pub(super) fn targets(&self) -> Vec<(String, bool)> {
        match &self.to {
            // Nobody looks at those of UDP.
            To::Tcp(targets) | To::Udp(targets) => targets.shown(),
            To::Files(..) => {
                let folder = self.service.files.iter();
                folder.map(|folder| (format!("files {}", folder.display()), true)).collect()
            }
        }
    }

    /// Has its targets looked at from time to time, until the task is aborted.
    pub(super) fn watch(self: &Rc<Self>, agent: &Rc<Agent>) -> Option<JoinHandle<()>> {
        let To::Tcp(targets) = &self.to else { return None };
        let every = self.service.look.as_ref()?.interval;
        let (targets, changed) = (Rc::clone(targets), Rc::clone(&self.changed));
        let (tunnel, agent) = (self.service.tunnel.clone(), Rc::clone(agent));
        let told = move |well: bool, message: String| {
            let message = format!("tunnel {tunnel}: {message}");
            if well {
                agent.voice.inform(&agent.name, message);
            } else {
                agent.voice.warn(&agent.name, message);
            }
        };
        Some(spawn_local(targets.watch(every, changed, told)))
    }

    /// A target did not answer: when it is looked at, it is out until it answers again.
    pub(super) fn failed(&self, at: usize, addr: &str, why: &str) {
        let To::Tcp(targets) = &self.to else { return };
        if self.service.look.is_none() {
            return;
        }
        if targets.is_well(at) {
            tracing::warn!("tunnel {}: target {addr} is out: {why}", self.service.tunnel);
        }
        if targets.set(at, false) {
            self.changed.notify_one();
        }
    }
}
