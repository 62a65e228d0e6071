//! A visitor at gost's servers: each of its connections is one of its own to a server, which joins it to the tunnel.

mod join;

use std::cell::Cell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use mainstay_core::gost::ask::Connect;
use mainstay_core::tunnel::hello::Answer;
use mainstay_link::tunnel::{Carrier, DATAGRAM_MAX, Kind};
use mainstay_sys::clock::boot_now;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpStream, UdpSocket};
use tokio::sync::mpsc::Receiver;
use tokio::time::{Instant, sleep_until, timeout, timeout_at};

use super::line::Nothing;
use super::{Servers, Spot, id, target};
use crate::agent::Agent;
use crate::agent::visit::{Bound, Door};
use join::Patient;

/// How long a connection waits for a server that lets it in.
const PATIENCE: Duration = Duration::from_secs(10);

/// How long it waits when all servers were tried, before it tries them again.
const AGAIN: Duration = Duration::from_millis(500);

/// For so long others are tried before a server that was not reached.
const POOR: Duration = Duration::from_secs(10);

/// An address is forgotten after this silence.
const SILENCE: Duration = Duration::from_secs(60);

impl Servers {
    /// The spots in the order in which a visitor tries them: those first that were reached, and each in turn.
    fn order(&self) -> Vec<Spot> {
        let mut spots = self.spots();
        if spots.is_empty() {
            return spots;
        }
        let turn = self.turn.get();
        self.turn.set(turn.wrapping_add(1));
        let first = turn % spots.len();
        spots.rotate_left(first);
        let mut poor = self.poor.borrow_mut();
        let now = boot_now();
        poor.retain(|_, until| *until > now);
        spots.sort_by_key(|spot| poor.contains_key(spot));
        spots
    }
}

impl Agent {
    /// A carrier that a server has joined to a door's tunnel.
    async fn visit(&self, door: &Door, peer: Option<SocketAddr>) -> Option<Patient> {
        let servers = self.servers.as_ref()?;
        let connect = Connect {
            tunnel: id(&door.tunnel).expect("ids are read before they are reached"),
            kind: if door.udp { Kind::Datagrams } else { Kind::Bytes },
            source: peer.map(Into::into),
            target: target(door.host.as_ref()).expect("hosts are read before they are reached"),
            login: servers.login.clone(),
        };
        let until = Instant::now() + PATIENCE;
        while !self.leaving.get() {
            let changed = servers.found.notified();
            let spots = servers.order();
            let mut refused = !spots.is_empty() && servers.is_complete();
            for spot in spots {
                let address = servers.all[spot.0].to_string();
                let Ok(reached) = timeout_at(until, self.connect(servers, spot, connect.clone())).await
                else {
                    break;
                };
                match reached {
                    Ok(carrier) => {
                        servers.poor.borrow_mut().remove(&spot);
                        self.reached_at(servers, spot);
                        self.heard.borrow_mut().granted(&address, door.index, Answer::Served(Vec::new()));
                        return Some(Patient::new(carrier));
                    }
                    Err(why) => {
                        match &why {
                            Nothing::Refused(status) => {
                                let answer = Answer::Refused(status.to_string());
                                self.heard.borrow_mut().granted(&address, door.index, answer);
                            }
                            Nothing::Carrier(_) | Nothing::Answer(_) => refused = false,
                        }
                        servers.poor.borrow_mut().insert(spot, boot_now() + POOR);
                        self.came_to_nothing(servers, spot, &why);
                    }
                }
            }
            // Who was heard and refused hears nothing else a moment later.
            if refused || Instant::now() >= until {
                break;
            }
            tokio::select! {
                () = changed => {}
                () = sleep_until(until.min(Instant::now() + AGAIN)) => {}
            }
        }
        door.lost.set(door.lost.get() + 1);
        self.no_way(door);
        None
    }
}

/// Brings a TCP connection to the tunnel, and stays with it to its end. False when there is no way.
pub(in crate::agent) async fn bytes(
    agent: &Agent,
    door: &Rc<Door>,
    tcp: &mut TcpStream,
    peer: Option<SocketAddr>,
) -> bool {
    let Some(far) = agent.visit(door, peer).await else { return false };
    if let Err(error) = join::both(tcp, far).await {
        tracing::debug!(tunnel = door.tunnel, "a connection has ended: {error}");
    }
    true
}

/// A stream to the tunnel for the one connection of standard input and output.
pub(in crate::agent) async fn stream(agent: &Agent, door: &Rc<Door>) -> Option<Box<dyn Carrier>> {
    Some(Box::new(agent.visit(door, None).await?))
}

/// Carries the datagrams of one address, for as long as there are any.
pub(in crate::agent) async fn datagrams(
    agent: &Agent,
    door: &Rc<Door>,
    bound: &Bound,
    peer: SocketAddr,
    mut said: Receiver<Vec<u8>>,
) {
    let Bound::Udp(socket) = bound else { return };
    // Only something to say is worth another connection, when one broke.
    while let Ok(Some(first)) = timeout(SILENCE, said.recv()).await {
        let Some(far) = agent.visit(door, Some(peer)).await else { return };
        if pass(socket, peer, far, first, &mut said).await {
            return;
        }
    }
}

/// Passes datagrams both ways; true when nobody says anything any more, and false when the carrier broke.
async fn pass(
    socket: &UdpSocket,
    peer: SocketAddr,
    far: Patient,
    first: Vec<u8>,
    said: &mut Receiver<Vec<u8>>,
) -> bool {
    let (mut from, mut to) = tokio::io::split(far);
    // Whoever only listens is not silent.
    let heard = Cell::new(false);
    let up = async {
        let mut next = first;
        loop {
            let head = u16::try_from(next.len()).unwrap_or(u16::MAX).to_be_bytes();
            let whole = [&head[..], &next].concat();
            if to.write_all(&whole).await.is_err() || to.flush().await.is_err() {
                return false;
            }
            next = loop {
                match timeout(SILENCE, said.recv()).await {
                    Ok(Some(datagram)) => break datagram,
                    Err(_) if heard.take() => {}
                    Ok(None) | Err(_) => return true,
                }
            };
        }
    };
    let down = async {
        let mut buffer = vec![0; DATAGRAM_MAX];
        loop {
            let Ok(len) = from.read_u16().await else { return };
            let room = &mut buffer[..usize::from(len)];
            if from.read_exact(room).await.is_err() {
                return;
            }
            heard.set(true);
            // What finds no room is lost, as datagrams are.
            let _ = socket.try_send_to(room, peer);
        }
    };
    let over = tokio::select! {
        over = up => over,
        () = down => false,
    };
    from.unsplit(to).end().await;
    over
}
