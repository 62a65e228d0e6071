//! One service as it is offered: what hubs are told of it, and its targets.

use std::rc::Rc;
use std::sync::Arc;

use mainstay_core::tunnel::hello::{Kind, Offer};
use mainstay_proxy::thread::Thread;
use tokio::sync::Notify;
use tokio::task::spawn_local;

use super::files;
use super::settings::Service;
use super::target::Targets;

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
    index: u16,
    pub(super) service: Service,
    pub(super) to: To,
    changed: Rc<Notify>,
}

impl Offered {
    pub(super) fn new(index: u16, service: &Service, changed: &Rc<Notify>) -> anyhow::Result<Self> {
        let targets = || Rc::new(Targets::new(&service.targets));
        let to = match &service.files {
            Some(folder) => {
                let (thread, snapshot) = files::site(folder)?;
                To::Files(thread, snapshot)
            }
            None if service.udp => To::Udp(targets()),
            None => To::Tcp(targets()),
        };
        Ok(Self { index, service: service.clone(), to, changed: Rc::clone(changed) })
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

    /// How busy it is.
    pub(super) fn load(&self) -> u32 {
        match &self.to {
            To::Tcp(targets) | To::Udp(targets) => targets.load(),
            To::Files(..) => 0,
        }
    }

    /// Has its targets looked at from time to time.
    pub(super) fn watch(&self) {
        let To::Tcp(targets) = &self.to else { return };
        if !self.service.interval.is_zero() {
            let (targets, changed) = (Rc::clone(targets), Rc::clone(&self.changed));
            spawn_local(targets.watch(self.service.tunnel.clone(), self.service.interval, changed));
        }
    }

    /// A target did not answer: when it is looked at, it is out until it answers again.
    pub(super) fn failed(&self, at: usize) {
        let To::Tcp(targets) = &self.to else { return };
        if !self.service.interval.is_zero() && targets.set(at, false) {
            self.changed.notify_one();
        }
    }
}
