//! A visitor's side: connections that are taken here and brought to private tunnels, through whichever hub is there.

mod bytes;
mod datagrams;
mod stdio;
mod way;

use std::cell::Cell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use anyhow::Context as _;
use mainstay_core::tunnel::hello::{Kind, Offer};
use tokio::net::{TcpListener, UdpSocket};
use tokio::task::{JoinHandle, spawn_local};
use tokio::time::sleep;

use super::Agent;
use super::settings::{Listen, Wish};
pub(super) use way::Ways;

/// Connections of one door at once; a hub takes no more of a visitor either.
const OPEN_MAX: u32 = 1024;

/// How long nothing is accepted when no descriptor is left.
const PAUSE: Duration = Duration::from_millis(100);

/// A socket that a predecessor may have taken connections from.
pub(super) enum Bound {
    Tcp(TcpListener),
    Udp(UdpSocket),
    /// The standard streams of this process.
    Stdio,
}

/// One tunnel, and where it is reached here.
pub(super) struct Door {
    /// How hubs name it in their answers.
    pub(super) index: u16,
    pub(super) tunnel: String,
    pub(super) udp: bool,
    pub(super) listen: Listen,
    pub(super) bound: Rc<Bound>,
    pub(super) open: Cell<u32>,
    pub(super) opened: Cell<u64>,
    /// Those that found no way.
    pub(super) lost: Cell<u64>,
}

/// A connection that is counted as open.
struct Counted(Rc<Door>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.open.set(self.0.open.get() - 1);
    }
}

impl Door {
    /// A door that is open from here on; `bound` is its socket when somebody has that already.
    pub(super) fn new(index: u16, wish: &Wish) -> anyhow::Result<Self> {
        let bound = match (&wish.bound, wish.listen) {
            (Some(bound), _) => Rc::clone(bound),
            (None, Listen::Stdio) => Rc::new(Bound::Stdio),
            (None, Listen::At(addr)) => {
                Rc::new(bind(addr, wish.udp).with_context(|| format!("listen at {addr}"))?)
            }
        };
        Ok(Self {
            index,
            tunnel: wish.tunnel.clone(),
            udp: wish.udp,
            listen: wish.listen,
            bound,
            open: Cell::new(0),
            opened: Cell::new(0),
            lost: Cell::new(0),
        })
    }

    /// What hubs are asked for.
    pub(super) fn wish(&self) -> Offer {
        Offer {
            index: self.index,
            tunnel: self.tunnel.clone(),
            kind: if self.udp { Kind::Udp } else { Kind::Tcp },
            weight: 1,
            host: None,
            healthy: true,
        }
    }

    /// Takes connections until the task is aborted; those that it took go on.
    pub(super) fn keep(self: &Rc<Self>, agent: &Rc<Agent>) -> JoinHandle<()> {
        let (door, agent) = (Rc::clone(self), Rc::clone(agent));
        spawn_local(async move {
            match &*Rc::clone(&door.bound) {
                Bound::Tcp(listener) => door.accept(&agent, listener).await,
                Bound::Udp(_) => datagrams::serve(agent, door).await,
                Bound::Stdio => stdio::serve(agent, door).await,
            }
        })
    }

    async fn accept(self: &Rc<Self>, agent: &Rc<Agent>, listener: &TcpListener) {
        loop {
            match listener.accept().await {
                Ok((tcp, peer)) => match self.count() {
                    Some(counted) => {
                        let _ = tcp.set_nodelay(true);
                        let (agent, door) = (Rc::clone(agent), Rc::clone(self));
                        spawn_local(async move {
                            bytes::tcp(&agent, &door, tcp, Some(peer)).await;
                            drop(counted);
                        });
                    }
                    None => tracing::debug!(tunnel = self.tunnel, "too many connections: one is turned away"),
                },
                Err(error) => {
                    tracing::debug!(tunnel = self.tunnel, "accept: {error}");
                    sleep(PAUSE).await;
                }
            }
        }
    }

    fn count(self: &Rc<Self>) -> Option<Counted> {
        if self.open.get() >= OPEN_MAX {
            self.lost.set(self.lost.get() + 1);
            return None;
        }
        self.open.set(self.open.get() + 1);
        self.opened.set(self.opened.get() + 1);
        Some(Counted(Rc::clone(self)))
    }
}

fn bind(addr: SocketAddr, udp: bool) -> std::io::Result<Bound> {
    if udp {
        let socket = std::net::UdpSocket::bind(addr)?;
        socket.set_nonblocking(true)?;
        return UdpSocket::from_std(socket).map(Bound::Udp);
    }
    let listener = std::net::TcpListener::bind(addr)?;
    listener.set_nonblocking(true)?;
    TcpListener::from_std(listener).map(Bound::Tcp)
}
