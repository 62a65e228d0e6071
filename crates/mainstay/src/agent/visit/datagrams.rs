//! Datagrams of local programs: a stream of datagrams for each of their addresses.

use std::cell::RefCell;
use std::collections::HashMap;
use std::future::poll_fn;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use mainstay_link::tunnel::{DATAGRAM_MAX, Kind, Open, Stream};
use tokio::net::UdpSocket;
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio::task::spawn_local;
use tokio::time::timeout;

use super::{Bound, Door};
use crate::agent::{Agent, gost};

/// Datagrams that wait for a hub; more are lost.
const WAITING: usize = 64;

/// An address is forgotten after this silence.
const SILENCE: Duration = Duration::from_secs(60);

/// The addresses that speak.
type Callers = RefCell<HashMap<SocketAddr, Sender<Vec<u8>>>>;

/// How a stream came to its end.
enum End {
    /// Nobody says anything any more.
    Silent,
    /// It broke; whether anything had come back.
    Broken(bool),
}

/// Takes datagrams until the task is aborted.
pub(super) async fn serve(agent: Rc<Agent>, door: Rc<Door>, bound: Rc<Bound>) {
    let Bound::Udp(socket) = &*bound else { return };
    let callers = Rc::new(Callers::default());
    let mut buffer = vec![0; DATAGRAM_MAX + 1];
    loop {
        let Ok((count, peer)) = socket.recv_from(&mut buffer).await else {
            // An answer could not be delivered: that is no fault of the socket.
            tokio::task::yield_now().await;
            continue;
        };
        if count > DATAGRAM_MAX || count == 0 {
            continue;
        }
        let datagram = buffer[..count].to_vec();
        let known = callers.borrow().get(&peer).cloned();
        if let Some(caller) = known {
            // One that finds no room is lost, as datagrams are.
            let _ = caller.try_send(datagram);
            continue;
        }
        let Some(counted) = door.count() else { continue };
        let (sender, receiver) = channel(WAITING);
        let _ = sender.try_send(datagram);
        callers.borrow_mut().insert(peer, sender);
        let (agent, door, callers) = (Rc::clone(&agent), Rc::clone(&door), Rc::clone(&callers));
        let bound = Rc::clone(&bound);
        spawn_local(async move {
            carry(&agent, &door, &bound, peer, receiver).await;
            callers.borrow_mut().remove(&peer);
            drop(counted);
        });
    }
}

/// Carries the datagrams of one address, by one hub after the other.
async fn carry(agent: &Agent, door: &Rc<Door>, bound: &Bound, peer: SocketAddr, mut said: Receiver<Vec<u8>>) {
    if agent.servers.is_some() {
        return gost::datagrams(agent, door, bound, peer, said).await;
    }
    let Bound::Udp(socket) = bound else { return };
    let open =
        Open { kind: Kind::Datagrams, target: door.wish().route(), visitor: Some(peer), ..Open::default() };
    let (mut tried, mut last) = (Vec::new(), Vec::new());
    loop {
        let Some((number, session)) = agent.way(door.index, &tried).await else {
            door.lost.set(door.lost.get() + 1);
            return agent.no_way(door);
        };
        let Ok(stream) = session.open(&open, &[]) else {
            tried.push(number);
            continue;
        };
        match pass(socket, peer, stream, &mut said, &mut last).await {
            End::Silent => return,
            // A hub that has served it may serve it again.
            End::Broken(true) => tried.clear(),
            End::Broken(false) => tried.push(number),
        }
    }
}

async fn pass(
    socket: &UdpSocket,
    peer: SocketAddr,
    mut stream: Stream,
    said: &mut Receiver<Vec<u8>>,
    last: &mut Vec<u8>,
) -> End {
    // What the one before has not answered.
    if !last.is_empty() {
        stream.send_datagram(last);
    }
    let mut answered = false;
    loop {
        let turn = timeout(SILENCE, async {
            tokio::select! {
                came = poll_fn(|cx| stream.poll_datagram(cx)) => Err(came),
                datagram = said.recv() => Ok(datagram),
            }
        });
        match turn.await {
            Ok(Ok(Some(datagram))) => {
                stream.send_datagram(&datagram);
                *last = datagram;
            }
            Ok(Err(Ok(Some(datagram)))) => {
                (answered, *last) = (true, Vec::new());
                let _ = socket.send_to(&datagram, peer).await;
            }
            Ok(Err(Err(_))) => return End::Broken(answered),
            // The hub has forgotten it, or nobody speaks.
            Ok(Err(Ok(None)) | Ok(None)) | Err(_) => {
                stream.finish();
                return End::Silent;
            }
        }
    }
}
