//! A thread's endpoint: its sockets, its connections, who may come in.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::OwnedFd;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::{hkdf, hmac};
use bytes::BytesMut;
use quinn_proto::{
    Connection, ConnectionHandle, DatagramEvent, EndpointConfig, Incoming, RandomConnectionIdGenerator,
    ServerConfig,
};
use tokio::sync::Notify;
use tokio::task::spawn_local;
use tokio::time::{sleep, timeout};
use zeroize::Zeroizing;

use super::carrier::Quic;
use super::connection::{Held, Shared, State};
use super::drive::Drive;
use super::place::{self, Names, Tag};
use super::relay::Relay;
use super::socket::{Came, Socket};
use super::{Error, HANDSHAKE, now};
use crate::noise::{SystemEntropy, draw};

/// Handshakes under way after which who calls has to show first that its address is its own (RFC 9000 8.1.2).
const UNSHOWN_MAX: usize = 64;

/// Handshakes under way after which nobody is heard.
const HANDSHAKES_MAX: usize = 1024;

/// Batches in a row before others get their turn.
const BATCHES: usize = 8;

/// On a socket that others may take from: what is left for so long is ours.
const LEFT: Duration = Duration::from_millis(5);

/// Whether anybody still needs such a socket is looked at this often.
const LOOK: Duration = Duration::from_secs(1);

/// Tags that are tried: by chance one is taken.
const TRIES: usize = 8;

/// What all endpoints of a node share: from it are made the answers to connections of those that are gone, and the tokens of addresses.
#[derive(Clone)]
pub struct Secrets(Zeroizing<[u8; 32]>);

impl std::fmt::Debug for Secrets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secrets")
    }
}

/// From the node's secret to ours.
const SALT: &[u8] = b"mainstay quic 1";

impl Secrets {
    /// Those that this secret gives.
    #[must_use]
    pub fn new(secret: &[u8]) -> Self {
        let prk = hkdf::Salt::new(hkdf::HKDF_SHA256, SALT).extract(secret);
        let mut seed = Zeroizing::new([0; 32]);
        let okm = prk.expand(&[b"endpoints"], hkdf::HKDF_SHA256).expect("32 bytes are within HKDF's bound");
        okm.fill(&mut seed[..]).expect("32 bytes were asked for");
        Self(seed)
    }

    fn reset(&self) -> Arc<hmac::Key> {
        Arc::new(hmac::Key::new(hmac::HMAC_SHA256, &self.0[..]))
    }

    pub(super) fn token(&self) -> Arc<hkdf::Prk> {
        Arc::new(hkdf::Salt::new(hkdf::HKDF_SHA256, b"tokens").extract(&self.0[..]))
    }
}

/// Whose the connections are.
pub trait Host {
    /// The TLS for one that calls at this door; none, and it is told that nobody is there.
    fn config(&self, door: u32, from: SocketAddr) -> Option<Arc<ServerConfig>>;

    /// One has begun its handshake.
    fn arrived(&self, door: u32, arriving: Arriving);
}

/// What an endpoint counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Datagrams that came.
    pub datagrams: u64,
    /// Those that belonged to another thread or process, and were handed over.
    pub handed_over: u64,
    /// Those that others handed over.
    pub taken_over: u64,
    /// Callers that had to show their address first.
    pub retried: u64,
    /// Callers that were turned away: too many handshakes, or nobody wants them.
    pub refused: u64,
    /// Handshakes that came to nothing.
    pub failed: u64,
    /// Connections that were begun.
    pub accepted: u64,
}

/// A hub's endpoint on one thread.
#[derive(Clone)]
pub struct Endpoint(Rc<Core>);

/// A socket that it listens on. Dropped, the socket is left to others who hold it too.
pub struct Door(Rc<DoorState>);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    Open,
    /// Others take what comes.
    Left,
    /// Perhaps nobody does.
    Lingering,
}

struct DoorState {
    /// Position of its listener in the configuration in force.
    listener: Rc<Cell<u32>>,
    mode: Cell<Mode>,
    changed: Notify,
}

impl DoorState {
    fn turn(&self, mode: Mode) {
        self.mode.set(mode);
        self.changed.notify_one();
    }
}

impl Drop for Door {
    fn drop(&mut self) {
        if self.0.mode.get() == Mode::Open {
            self.0.turn(Mode::Left);
        }
    }
}

impl Door {
    /// Nobody new comes in here. Perhaps nobody else takes from the socket, so what is left there for a moment is taken for as long as there
    /// are connections by it.
    pub fn finish(self) {
        self.0.turn(Mode::Lingering);
    }
}

/// The endpoint.
pub(super) struct Core {
    pub(super) machine: RefCell<quinn_proto::Endpoint>,
    connections: RefCell<HashMap<ConnectionHandle, Shared>>,
    /// There at a hub.
    tag: Option<Tag>,
    relay: Option<Relay>,
    host: Option<Weak<dyn Host>>,
    handshakes: Cell<usize>,
    counts: Cell<Counts>,
    /// The last connection is gone.
    empty: Notify,
}

impl Endpoint {
    /// One of a hub's thread; `socket` is the number of the socket that is its own.
    ///
    /// # Errors
    /// When the kernel gives no socket to take over what comes in elsewhere.
    pub fn new(socket: u16, secrets: &Secrets, host: Weak<dyn Host>) -> io::Result<Self> {
        let (tag, relay) = claim()?;
        let names = Names { socket: socket.to_be_bytes()[1], tag };
        let mut config = EndpointConfig::new(secrets.reset());
        config.cid_generator(move || Box::new(names));
        let machine = quinn_proto::Endpoint::new(Arc::new(config), None, true, None);
        let core = Core::new(machine, Some((tag, relay, host)));
        spawn_local(Rc::clone(&core).take_over());
        Ok(Self(core))
    }

    /// Listens on a bound UDP socket for a listener.
    ///
    /// # Errors
    /// When the socket cannot be used.
    pub fn listen(
        &self,
        socket: OwnedFd,
        listener: Rc<Cell<u32>>,
        first: Arc<ServerConfig>,
    ) -> io::Result<Door> {
        let socket = Rc::new(Socket::new(socket)?);
        let door = Rc::new(DoorState { listener, mode: Cell::new(Mode::Open), changed: Notify::new() });
        // What the machine needs of it before anybody is let in is the same for all listeners.
        self.0.machine.borrow_mut().set_server_config(Some(first));
        spawn_local(Rc::clone(&self.0).serve(socket, Rc::clone(&door)));
        Ok(Door(door))
    }

    /// What it counts.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.0.counts.get()
    }

    /// Connections that there are, those that are ending included.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.0.connections.borrow().len()
    }
}

/// A tag that nobody else has.
fn claim() -> io::Result<(Tag, Relay)> {
    let mut last = io::Error::from(io::ErrorKind::AddrInUse);
    for _ in 0..TRIES {
        let tag = draw(&mut SystemEntropy);
        match Relay::new(tag) {
            Ok(relay) => return Ok((tag, relay)),
            Err(error) => last = error,
        }
    }
    Err(last)
}

impl Core {
    fn new(machine: quinn_proto::Endpoint, hub: Option<(Tag, Relay, Weak<dyn Host>)>) -> Rc<Self> {
        let (tag, relay, host) = match hub {
            Some((tag, relay, host)) => (Some(tag), Some(relay), Some(host)),
            None => (None, None, None),
        };
        Rc::new(Self {
            machine: RefCell::new(machine),
            connections: RefCell::default(),
            tag,
            relay,
            host,
            handshakes: Cell::new(0),
            counts: Cell::default(),
            empty: Notify::new(),
        })
    }

    /// An endpoint of one who dials.
    pub(super) fn dialer(socket: &Socket) -> Rc<Self> {
        let key = Zeroizing::new(draw::<32>(&mut SystemEntropy));
        let mut config = EndpointConfig::new(Arc::new(hmac::Key::new(hmac::HMAC_SHA256, &key[..])));
        config.cid_generator(|| Box::new(RandomConnectionIdGenerator::new(8)));
        Self::new(quinn_proto::Endpoint::new(Arc::new(config), None, socket.finds_mtu(), None), None)
    }

    fn count(&self, what: impl FnOnce(&mut Counts)) {
        let mut counts = self.counts.get();
        what(&mut counts);
        self.counts.set(counts);
    }

    /// Drives a connection from here on.
    pub(super) fn drive(
        self: &Rc<Self>,
        handle: ConnectionHandle,
        machine: Connection,
        socket: &Rc<Socket>,
    ) -> Shared {
        let connection = Rc::new(RefCell::new(State::new(machine, handle, Rc::clone(socket))));
        self.connections.borrow_mut().insert(handle, Rc::clone(&connection));
        spawn_local(Drive::new(Rc::clone(&connection), Rc::clone(self)));
        connection
    }

    /// A connection is over for good.
    pub(super) fn forget(&self, handle: ConnectionHandle) {
        self.connections.borrow_mut().remove(&handle);
        if self.connections.borrow().is_empty() {
            self.empty.notify_waiters();
        }
    }

    /// Takes what comes for the connections of one who dials, until there are none.
    pub(super) async fn listen(self: Rc<Self>, socket: Rc<Socket>) {
        while !self.connections.borrow().is_empty() {
            tokio::select! {
                () = self.empty.notified() => {}
                taken = self.batches(&socket, None) => if taken.is_err() { return },
            }
            tokio::task::yield_now().await;
        }
    }

    /// Takes what comes to a hub's socket.
    async fn serve(self: Rc<Self>, socket: Rc<Socket>, door: Rc<DoorState>) {
        loop {
            match door.mode.get() {
                Mode::Open => {}
                Mode::Left => return,
                Mode::Lingering if !self.uses(&socket) => return,
                Mode::Lingering => {
                    tokio::select! {
                        ready = socket.readable() => if ready.is_err() { return },
                        () = sleep(LOOK) => continue,
                    }
                    sleep(LEFT).await;
                }
            }
            tokio::select! {
                () = door.changed.notified() => {}
                taken = self.batches(&socket, Some(&door)) => if taken.is_err() { return },
                () = sleep(LOOK), if door.mode.get() == Mode::Lingering => {}
            }
            tokio::task::yield_now().await;
        }
    }

    async fn batches(self: &Rc<Self>, socket: &Rc<Socket>, door: Option<&DoorState>) -> io::Result<()> {
        for _ in 0..BATCHES {
            if !socket.receive(|came, bytes| self.take(came, bytes, Some((socket, door)))).await? {
                break;
            }
        }
        Ok(())
    }

    fn uses(&self, socket: &Rc<Socket>) -> bool {
        self.connections.borrow().values().any(|one| Rc::ptr_eq(&one.borrow().socket, socket))
    }

    /// Takes what others hand over.
    async fn take_over(self: Rc<Self>) {
        let mut room = Vec::new();
        let Some(relay) = &self.relay else { return };
        loop {
            match relay.receive(&mut room).await {
                Ok(Some(came)) if place::of(&room).is_some_and(|(tag, _)| Some(tag) == self.tag) => {
                    self.count(|counts| counts.taken_over += 1);
                    self.take(came, &room, None);
                }
                // Nobody of ours hands such over.
                Ok(_) => {}
                Err(_) => return,
            }
        }
    }

    /// A datagram has come: by a socket, or from another endpoint of this host.
    fn take(self: &Rc<Self>, came: Came, bytes: &[u8], by: Option<(&Rc<Socket>, Option<&DoorState>)>) {
        self.count(|counts| counts.datagrams += 1);
        if let (Some(relay), Some((tag, _)), true) = (&self.relay, place::of(bytes), by.is_some())
            && Some(tag) != self.tag
            && relay.hand_over(tag, came, bytes)
        {
            return self.count(|counts| counts.handed_over += 1);
        }
        let mut answer = Vec::new();
        let (data, now) = (BytesMut::from(bytes), now());
        let event = self.machine.borrow_mut().handle(now, came.from, came.to, came.ecn, data, &mut answer);
        match event {
            None => {}
            Some(DatagramEvent::ConnectionEvent(handle, event)) => {
                let connection = self.connections.borrow().get(&handle).map(Rc::clone);
                if let Some(connection) = connection {
                    connection.borrow_mut().hear(event, by.map(|(socket, _)| socket));
                }
            }
            Some(DatagramEvent::NewConnection(incoming)) => match by {
                Some((socket, Some(door))) => self.begin(incoming, socket, door),
                Some((_, None)) | None => self.machine.borrow_mut().ignore(incoming),
            },
            Some(DatagramEvent::Response(transmit)) => {
                if let Some((socket, _)) = by {
                    socket.send(&transmit, &answer);
                }
            }
        }
    }

    /// Somebody new calls.
    fn begin(self: &Rc<Self>, incoming: Incoming, socket: &Rc<Socket>, door: &DoorState) {
        let mut answer = Vec::new();
        let under_way = self.handshakes.get();
        if door.mode.get() != Mode::Open || under_way >= HANDSHAKES_MAX {
            // On a socket that others take from, whoever calls asks again and meets them.
            self.count(|counts| counts.refused += 1);
            return self.machine.borrow_mut().ignore(incoming);
        }
        if under_way >= UNSHOWN_MAX && !incoming.remote_address_validated() && incoming.may_retry() {
            self.count(|counts| counts.retried += 1);
            if let Ok(transmit) = self.machine.borrow_mut().retry(incoming, &mut answer) {
                socket.send(&transmit, &answer);
            }
            return;
        }
        let (from, to) = (incoming.remote_address(), incoming.local_ip());
        let host = self.host.as_ref().and_then(Weak::upgrade);
        let config = host.as_ref().and_then(|host| host.config(door.listener.get(), from));
        let (Some(host), Some(config)) = (host, config) else {
            self.count(|counts| counts.refused += 1);
            let transmit = self.machine.borrow_mut().refuse(incoming, &mut answer);
            return socket.send(&transmit, &answer);
        };
        let accepted = self.machine.borrow_mut().accept(incoming, now(), &mut answer, Some(config));
        match accepted {
            Ok((handle, machine)) => {
                self.count(|counts| counts.accepted += 1);
                self.handshakes.set(under_way + 1);
                let held = Held(self.drive(handle, machine, socket));
                let arriving = Arriving { held: Some(held), core: Rc::clone(self), from, to };
                host.arrived(door.listener.get(), arriving);
            }
            Err(error) => {
                self.count(|counts| counts.failed += 1);
                if let Some(transmit) = error.response {
                    socket.send(&transmit, &answer);
                }
            }
        }
    }
}

/// A connection whose handshake is under way; dropped, it is given up.
pub struct Arriving {
    held: Option<Held>,
    core: Rc<Core>,
    from: SocketAddr,
    to: Option<IpAddr>,
}

impl Arriving {
    /// Where it comes from.
    #[must_use]
    pub const fn from(&self) -> SocketAddr {
        self.from
    }

    /// Our address that it came to, as far as the kernel tells.
    #[must_use]
    pub const fn to(&self) -> Option<IpAddr> {
        self.to
    }

    /// Waits for the end of the handshake and the first byte of the stream.
    ///
    /// # Errors
    /// When it fails, or takes longer than five seconds.
    pub async fn ready(mut self) -> Result<Quic, Error> {
        let held = self.held.take().expect("it is there until it is ready");
        let waits = std::future::poll_fn(|cx| held.0.borrow_mut().poll_stream(cx));
        let stream = timeout(HANDSHAKE, waits).await.unwrap_or(Err(Error::Late(HANDSHAKE)));
        match stream {
            Ok(stream) => Ok(Quic::new(held, stream)),
            Err(why) => {
                self.core.count(|counts| counts.failed += 1);
                Err(why)
            }
        }
    }
}

impl Drop for Arriving {
    fn drop(&mut self) {
        self.core.handshakes.set(self.core.handshakes.get().saturating_sub(1));
    }
}
