//! A hub's endpoint, a dialer, and a road between them that loses what it is told to.

use std::cell::{Cell, RefCell};
use std::net::{Ipv4Addr, SocketAddr};
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::time::Duration;

use mainstay_core::tunnel::address::Address;
use mainstay_link::tunnel::carrier::{Connected, Dialing, Error, connect, trusting};
use mainstay_link::tunnel::quic::{
    Arriving, Door, Endpoint, Host, Quic, Secrets, ServerConfig, server_config,
};
use mainstay_link::tunnel::{Incoming, Limits, Session, Side};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UdpSocket;
use tokio::sync::mpsc;
use tokio::task::spawn_local;

/// Longer than anything here takes on a busy machine.
pub(crate) const LIMIT: Duration = Duration::from_secs(60);

pub(crate) fn run<T>(future: impl Future<Output = T>) -> T {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.enable_all().build_local(tokio::runtime::LocalOptions::default()).unwrap();
    runtime.block_on(async { tokio::time::timeout(LIMIT, future).await.expect("it ends in time") })
}

/// Who is let in.
pub(crate) struct Gate {
    config: RefCell<Option<Arc<ServerConfig>>>,
    pub(crate) open: Cell<bool>,
    came: mpsc::UnboundedSender<Arriving>,
}

impl Host for Gate {
    fn config(&self, _: u32, _: SocketAddr) -> Option<Arc<ServerConfig>> {
        self.config.borrow().clone().filter(|_| self.open.get())
    }

    fn arrived(&self, _: u32, arriving: Arriving) {
        let _ = self.came.send(arriving);
    }
}

/// A thread of a hub.
pub(crate) struct Hub {
    pub(crate) gate: Rc<Gate>,
    pub(crate) endpoint: Endpoint,
    pub(crate) door: Option<Door>,
    pub(crate) at: SocketAddr,
    pub(crate) came: mpsc::UnboundedReceiver<Arriving>,
}

/// A certificate for localhost and 127.0.0.1, as PEM, and the hub's TLS with it.
pub(crate) fn certified() -> (String, Arc<rustls::ServerConfig>) {
    let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
    let made = rcgen::generate_simple_self_signed(names).unwrap();
    let key = rustls::pki_types::PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider);
    let config = config.with_safe_default_protocol_versions().unwrap().with_no_client_auth();
    let mut config = config.with_single_cert(vec![made.cert.der().clone()], key).unwrap();
    config.alpn_protocols = vec![b"mainstay-tunnel/1".to_vec()];
    (made.cert.pem(), Arc::new(config))
}

impl Hub {
    pub(crate) async fn new(tls: &Arc<rustls::ServerConfig>) -> Self {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        Self::at(socket.into_std().unwrap(), tls)
    }

    /// On a socket that others may hold too.
    pub(crate) fn at(socket: std::net::UdpSocket, tls: &Arc<rustls::ServerConfig>) -> Self {
        let at = socket.local_addr().unwrap();
        let secrets = Secrets::new(b"a node's secret");
        let config = server_config(tls, &secrets).unwrap();
        let (tell, came) = mpsc::unbounded_channel();
        let config = RefCell::new(Some(config));
        let gate = Rc::new(Gate { config, open: Cell::new(true), came: tell });
        let host = Rc::downgrade(&gate) as Weak<dyn Host>;
        let endpoint = Endpoint::new(0, &secrets, host).unwrap();
        let first = gate.config.borrow().clone().unwrap();
        let door = endpoint.listen(socket.into(), Rc::default(), first).unwrap();
        Self { gate, endpoint, door: Some(door), at, came }
    }

    /// The next one that comes in.
    pub(crate) async fn accept(&mut self) -> Quic {
        self.came.recv().await.unwrap().ready().await.unwrap()
    }
}

/// Dials as an agent does.
pub(crate) async fn dial(pem: &str, to: SocketAddr) -> Result<Connected, Error> {
    let dialing = Dialing { tls: trusting(Some(pem.as_bytes())).unwrap(), proxy: None };
    let address: Address = format!("quic://{to}").parse().unwrap();
    connect(&address, 0, &dialing).await
}

/// A connection whose ends have said hello: the dialer's, and the hub's.
pub(crate) async fn meet(hub: &mut Hub, pem: &str, to: SocketAddr) -> (Connected, Quic) {
    let dials = async {
        let mut dialed = dial(pem, to).await.unwrap();
        dialed.carrier.write_all(b"MSTN").await.unwrap();
        dialed
    };
    let accepts = async {
        let mut accepted = hub.accept().await;
        let mut hello = [0; 4];
        accepted.read_exact(&mut hello).await.unwrap();
        assert_eq!(&hello, b"MSTN");
        accepted
    };
    tokio::join!(dials, accepts)
}

/// A session: the dialer's end, and the hub's.
pub(crate) async fn session(
    hub: &mut Hub,
    pem: &str,
    to: SocketAddr,
) -> ((Session, Incoming), (Session, Incoming)) {
    let (dialed, accepted) = meet(hub, pem, to).await;
    assert_eq!(dialed.binding, accepted.binding(), "both are at the ends of one connection");
    let near = Session::start(dialed.carrier, Side::Agent, Limits::default());
    (near, Session::start(accepted, Side::Hub, Limits::default()))
}

/// What becomes of a datagram, by its number.
pub(crate) type Fate = Rc<dyn Fn(u64) -> bool>;

/// A road to somewhere that passes on what `fate` says; its end there can be made another.
pub(crate) struct Road {
    pub(crate) at: SocketAddr,
    far: Rc<RefCell<Rc<UdpSocket>>>,
    to: SocketAddr,
    near: Rc<UdpSocket>,
    caller: Rc<Cell<Option<SocketAddr>>>,
    fate: Fate,
}

impl Road {
    pub(crate) async fn new(to: SocketAddr, fate: Fate) -> Self {
        let near = Rc::new(UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap());
        let far = Rc::new(UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap());
        let road = Self {
            at: near.local_addr().unwrap(),
            far: Rc::new(RefCell::new(Rc::clone(&far))),
            to,
            near,
            caller: Rc::default(),
            fate,
        };
        road.back(far);
        let (near, end, caller) = (Rc::clone(&road.near), Rc::clone(&road.far), Rc::clone(&road.caller));
        let fate = Rc::clone(&road.fate);
        spawn_local(async move {
            let (mut buffer, mut number) = (vec![0; 65_536], 0);
            while let Ok((length, from)) = near.recv_from(&mut buffer).await {
                caller.set(Some(from));
                number += 1;
                if fate(number) {
                    let end = Rc::clone(&end.borrow());
                    let _ = end.send_to(&buffer[..length], to).await;
                }
            }
        });
        road
    }

    fn back(&self, far: Rc<UdpSocket>) {
        let (near, caller, fate) = (Rc::clone(&self.near), Rc::clone(&self.caller), Rc::clone(&self.fate));
        spawn_local(async move {
            let (mut buffer, mut number) = (vec![0; 65_536], 0);
            while let Ok((length, _)) = far.recv_from(&mut buffer).await {
                number += 1;
                if let Some(caller) = caller.get().filter(|_| fate(number)) {
                    let _ = near.send_to(&buffer[..length], caller).await;
                }
            }
        });
    }

    /// From now on the other end sees another address, as when a NAT has forgotten.
    pub(crate) async fn rebind(&self) -> SocketAddr {
        let far = Rc::new(UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap());
        let at = far.local_addr().unwrap();
        let _ = far.send_to(&[], self.to).await;
        self.back(Rc::clone(&far));
        self.far.replace(far);
        at
    }
}

/// All arrives.
pub(crate) fn whole() -> Fate {
    Rc::new(|_| true)
}
