//! A visitor's side: connections that are taken here and brought to private tunnels, through whichever hub is there.

mod bytes;
mod datagrams;
mod stdio;
#[cfg(test)]
mod tests;
mod way;

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use mainstay_core::tunnel::hello::{Kind, Offer};
use tokio::net::{TcpListener, UdpSocket};
use tokio::task::{JoinHandle, spawn_local};
use tokio::time::sleep;

use super::Agent;
use super::settings::{Listen, Wish};
pub(super) use way::Ways;

/// Connections of one door at once; a hub takes no more of a visitor either.
const OPEN_MAX: u32 = 1024;

/// How often a place that can't be listened at is tried again: after an upgrade its predecessor may have it for a moment.
const AGAIN: Duration = Duration::from_millis(100);

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
    /// The host that is wanted behind it, of gost's servers.
    pub(super) host: Option<String>,
    /// The socket, while it is there.
    bound: RefCell<Option<Rc<Bound>>>,
    /// Why there is none.
    trouble: RefCell<Option<String>>,
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
    /// A door that is open from here on, or as soon as it can be.
    pub(super) fn new(index: u16, wish: &Wish) -> Self {
        let door = Self {
            index,
            tunnel: wish.tunnel.clone(),
            udp: wish.udp,
            listen: wish.listen,
            host: wish.host.clone(),
            bound: RefCell::new(wish.bound.clone()),
            trouble: RefCell::default(),
            open: Cell::new(0),
            opened: Cell::new(0),
            lost: Cell::new(0),
        };
        door.bind();
        door
    }

    /// Binds its socket, unless it has one.
    fn bind(&self) -> Option<Rc<Bound>> {
        let mut bound = self.bound.borrow_mut();
        if bound.is_none() {
            match bind(self.listen, self.udp) {
                Ok(socket) => *bound = Some(Rc::new(socket)),
                Err(error) => {
                    let why =
                        format!("tunnel {}: {} can't be listened at: {error}", self.tunnel, self.listen);
                    self.trouble.replace(Some(why));
                    return None;
                }
            }
        }
        self.trouble.replace(None);
        bound.clone()
    }

    /// Its socket, for a successor.
    pub(super) fn socket(&self) -> Option<Rc<Bound>> {
        self.bound.borrow().clone()
    }

    /// Why it takes nothing.
    pub(super) fn trouble(&self) -> Option<String> {
        self.trouble.borrow().clone()
    }

    /// Takes nothing any more. What it took goes on.
    pub(super) fn close(&self) {
        self.bound.replace(None);
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
            let bound = loop {
                if let Some(bound) = door.bind() {
                    break bound;
                }
                if let Some(why) = door.trouble()
                    && agent.once(&why)
                {
                    agent.voice.warn(&agent.name, why);
                }
                sleep(AGAIN).await;
            };
            match &*bound {
                Bound::Tcp(listener) => door.accept(&agent, listener).await,
                Bound::Udp(_) => datagrams::serve(agent, door, bound).await,
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

fn bind(listen: Listen, udp: bool) -> std::io::Result<Bound> {
    let Listen::At(addr) = listen else { return Ok(Bound::Stdio) };
    if udp {
        let socket = std::net::UdpSocket::bind(addr)?;
        socket.set_nonblocking(true)?;
        return UdpSocket::from_std(socket).map(Bound::Udp);
    }
    let listener = std::net::TcpListener::bind(addr)?;
    listener.set_nonblocking(true)?;
    TcpListener::from_std(listener).map(Bound::Tcp)
}
