//! Faults: what can go wrong with a node, each undoable.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use rustix::process::{Signal, kill_process};

use crate::Host;
use crate::peer::Keeper;
use crate::segment::{Cut, Port, Way};

/// How long a daemon that was asked to stop may take before it is killed on healing.
const STOPPING: Duration = Duration::from_secs(10);

/// A service that can die and come back.
pub trait Service: Send + Sync {
    /// Ends it without warning.
    fn kill(&self) -> Result<()>;
    /// Starts it again.
    fn revive(&self) -> Result<()>;
}

/// What a fault hits: a host with the daemon that keeps its vips, and perhaps a service behind them.
#[derive(Clone)]
pub struct Node {
    /// The host.
    pub host: Host,
    /// The interface of its vips.
    pub interface: String,
    /// Keepalived or Mainstay.
    pub keeper: Arc<dyn Keeper>,
    /// What clients want of it.
    pub service: Option<Arc<dyn Service>>,
}

/// Something that goes wrong with one node.
#[derive(Clone, Debug)]
pub enum Fault {
    /// kill -9 of one worker.
    KillWorker(String),
    /// kill -9 of all the daemon's processes at one moment.
    KillAll,
    /// A graceful stop (TERM).
    Stop,
    /// SIGSTOP of all the daemon's processes.
    Freeze,
    /// The interface is set down by its own host.
    LinkDown,
    /// The carrier goes away, as when the cable is pulled.
    CarrierLoss,
    /// Frames to and from the host vanish, its carrier stays.
    Isolation,
    /// Frames vanish in one direction.
    OneWay(Way),
    /// VRRP vanishes and nothing else.
    CutVrrp(Way),
    /// Some percent of all frames vanish.
    Loss(u8),
    /// Frames between the node and these plugs vanish; everybody else sees all.
    Partition(Vec<Port>),
    /// The service dies.
    ServiceDeath,
    /// The daemon reads its configuration again.
    Reload,
    /// Somebody else deletes an address (`10.0.4.99/32`) from the interface.
    AddressDeleted(String),
    /// Somebody else flushes the whole nft ruleset.
    RulesetFlushed,
}

/// What a fault did, to be healed. A worker that was killed, a reload, a deleted address and a flushed ruleset are the
/// daemon's own to mend.
#[must_use = "a fault lasts until it is healed"]
pub struct Damage {
    node: Node,
    undo: Undo,
}

enum Undo {
    Nothing,
    Start,
    Restart,
    Resume,
    LinkUp,
    Carrier(Port),
    Cut(Cut),
    Revive(Arc<dyn Service>),
}

impl Fault {
    /// Lets it happen to `node`.
    pub fn strike(&self, node: &Node) -> Result<Damage> {
        let undo = self.hit(node).with_context(|| format!("{self} of {}", node.host.name()))?;
        Ok(Damage { node: node.clone(), undo })
    }

    fn hit(&self, node: &Node) -> Result<Undo> {
        let daemon = node.keeper.daemon();
        let port = || node.host.port(&node.interface);
        Ok(match self {
            Self::KillWorker(role) => {
                kill_process(node.keeper.worker(role)?, Signal::KILL)?;
                Undo::Nothing
            }
            Self::KillAll => {
                daemon.kill_all()?;
                Undo::Start
            }
            Self::Stop => {
                daemon.stop()?;
                Undo::Restart
            }
            Self::Freeze => {
                daemon.freeze()?;
                Undo::Resume
            }
            Self::LinkDown => {
                node.host.ip(&format!("link set {} down", node.interface))?;
                Undo::LinkUp
            }
            Self::CarrierLoss => {
                port()?.set_carrier(false)?;
                Undo::Carrier(port()?)
            }
            Self::Isolation => Undo::Cut(port()?.isolate(Way::Both)?),
            Self::OneWay(way) => Undo::Cut(port()?.isolate(*way)?),
            Self::CutVrrp(way) => Undo::Cut(port()?.cut_vrrp(*way)?),
            Self::Loss(percent) => Undo::Cut(port()?.lose(*percent, Way::Both)?),
            Self::Partition(others) => Undo::Cut(port()?.part_from(others)?),
            Self::ServiceDeath => {
                let service = node.service.clone().context("the node has no service")?;
                service.kill()?;
                Undo::Revive(service)
            }
            Self::Reload => {
                node.keeper.reload()?;
                Undo::Nothing
            }
            Self::AddressDeleted(addr) => {
                node.host.ip(&format!("addr del {addr} dev {}", node.interface))?;
                Undo::Nothing
            }
            Self::RulesetFlushed => {
                node.host.nft("flush ruleset")?;
                Undo::Nothing
            }
        })
    }
}

impl Damage {
    /// Puts right what the fault did: links forward, frozen processes run on, dead daemons and services start again.
    pub fn heal(self) -> Result<()> {
        let Self { node, undo } = self;
        let daemon = node.keeper.daemon();
        match undo {
            Undo::Nothing => Ok(()),
            Undo::Start => daemon.start(),
            Undo::Restart => {
                if daemon.wait_ended(STOPPING).is_err() {
                    daemon.kill_all()?;
                }
                daemon.start()
            }
            Undo::Resume => daemon.resume(),
            Undo::LinkUp => node.host.ip(&format!("link set {} up", node.interface)),
            Undo::Carrier(port) => port.set_carrier(true),
            Undo::Cut(cut) => cut.heal(),
            Undo::Revive(service) => service.revive(),
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::KillWorker(role) => write!(out, "kill -9 of worker {role}"),
            Self::KillAll => write!(out, "kill -9 of all"),
            Self::Stop => write!(out, "graceful stop"),
            Self::Freeze => write!(out, "freeze"),
            Self::LinkDown => write!(out, "link down"),
            Self::CarrierLoss => write!(out, "carrier loss"),
            Self::Isolation => write!(out, "silent isolation"),
            Self::OneWay(way) => write!(out, "one-way loss ({way})"),
            Self::CutVrrp(way) => write!(out, "cut of VRRP ({way})"),
            Self::Loss(percent) => write!(out, "loss of {percent} %"),
            Self::Partition(_) => write!(out, "partition"),
            Self::ServiceDeath => write!(out, "service killed"),
            Self::Reload => write!(out, "reload"),
            Self::AddressDeleted(addr) => write!(out, "address {addr} deleted"),
            Self::RulesetFlushed => write!(out, "ruleset flushed"),
        }
    }
}

impl fmt::Display for Way {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Out => "out",
            Self::In => "in",
            Self::Both => "both ways",
        })
    }
}
