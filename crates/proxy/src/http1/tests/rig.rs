//! A thread of the edge with one listener, and peers for it that say exact bytes.

use std::cell::RefCell;
use std::future::Future;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use mainstay_config::plan::edge::{
    Action, Backend, Edge, Forward, HttpLimits, Listener, Place, Pool, Retry, RetryOn, Route, Target,
};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{LocalSet, spawn_local};

use crate::fixture;
use crate::metrics::{Counters, Names};
use crate::serve::{self, Accepted};
use crate::shared::Cells;
use crate::snapshot::Snapshot;
use crate::thread::Thread;

/// Longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(20);

/// A thread with one listener.
pub(crate) struct Rig {
    pub(crate) thread: Rc<Thread>,
    pub(crate) addr: SocketAddr,
}

/// A backend that says what its script says.
pub(crate) struct Scripted {
    pub(crate) addr: SocketAddr,
    /// The connections that it got.
    pub(crate) connections: Rc<RefCell<usize>>,
}

/// One end of a connection.
pub(crate) struct Peer {
    pub(crate) stream: TcpStream,
    unread: Vec<u8>,
}

/// Runs a test on a thread of its own runtime.
pub(crate) fn run(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let test = async { tokio::time::timeout(PATIENCE, test).await.expect("in time") };
    LocalSet::new().block_on(&runtime, test);
}

impl Rig {
    /// One that forwards everything to these backends.
    pub(crate) async fn new(backends: &[SocketAddr]) -> Self {
        Self::with(backends, |_| {}).await
    }

    /// The same with changes.
    pub(crate) async fn with(backends: &[SocketAddr], change: impl FnOnce(&mut Edge)) -> Self {
        let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = socket.local_addr().unwrap();
        let mut edge = edge(addr, backends);
        change(&mut edge);
        let slots = (0..).zip(backends).map(|(slot, addr)| (format!("pool/{addr}"), slot)).collect();
        let snapshot = Arc::new(
            Snapshot::compile(edge, slots, &mut Names::default(), &crate::tls::Tickets::new(), None).unwrap(),
        );
        let counters = Arc::new(Counters::default());
        let thread = Rc::new(Thread::new(snapshot, Cells::private(), counters));
        let accepting = Rc::clone(&thread);
        spawn_local(async move {
            while let Ok((stream, peer)) = socket.accept().await {
                let thread = Rc::clone(&accepting);
                let snapshot = thread.snapshot();
                spawn_local(serve::connection(thread, snapshot, 0, Accepted::Tcp(stream, peer)));
            }
        });
        Self { thread, addr }
    }

    pub(crate) async fn client(&self) -> Peer {
        Peer::new(TcpStream::connect(self.addr).await.unwrap())
    }

    /// What the client gets for these bytes, until its connection is closed.
    pub(crate) async fn says(&self, bytes: &str) -> String {
        let mut client = self.client().await;
        client.send(bytes).await;
        client.rest().await
    }
}

impl Scripted {
    /// Each connection is played by `script`.
    pub(crate) async fn new<F: Future<Output = ()> + 'static>(script: impl Fn(Peer) -> F + 'static) -> Self {
        let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = socket.local_addr().unwrap();
        let connections = Rc::new(RefCell::new(0));
        let count = Rc::clone(&connections);
        spawn_local(async move {
            while let Ok((stream, _)) = socket.accept().await {
                *count.borrow_mut() += 1;
                spawn_local(script(Peer::new(stream)));
            }
        });
        Self { addr, connections }
    }

    /// Each request without body gets this answer.
    pub(crate) async fn answers(answer: &'static str) -> Self {
        Self::new(move |mut peer| async move {
            while !peer.head().await.is_empty() {
                peer.send(answer).await;
            }
        })
        .await
    }

    pub(crate) fn connections(&self) -> usize {
        *self.connections.borrow()
    }
}

impl Peer {
    fn new(stream: TcpStream) -> Self {
        stream.set_nodelay(true).unwrap();
        Self { stream, unread: Vec::new() }
    }

    pub(crate) async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        // Whoever closes while we still send is right to.
        let _ = self.stream.write_all(bytes.as_ref()).await;
    }

    async fn more(&mut self) -> bool {
        self.stream.read_buf(&mut self.unread).await.is_ok_and(|count| count > 0)
    }

    fn take(&mut self, count: usize) -> String {
        let taken: Vec<u8> = self.unread.drain(..count).collect();
        String::from_utf8(taken).unwrap()
    }

    /// The next head, or what came before the end.
    pub(crate) async fn head(&mut self) -> String {
        self.until("\r\n\r\n").await
    }

    /// Everything until this text, or the end.
    pub(crate) async fn until(&mut self, text: &str) -> String {
        loop {
            let found = self.unread.windows(text.len()).position(|window| window == text.as_bytes());
            if let Some(at) = found {
                return self.take(at + text.len());
            }
            if !self.more().await {
                return self.take(self.unread.len());
            }
        }
    }

    pub(crate) async fn bytes(&mut self, count: usize) -> String {
        while self.unread.len() < count && self.more().await {}
        self.take(count.min(self.unread.len()))
    }

    /// Everything until the end.
    pub(crate) async fn rest(&mut self) -> String {
        while self.more().await {}
        self.take(self.unread.len())
    }

    pub(crate) async fn finish(&mut self) {
        let _ = self.stream.shutdown().await;
    }
}

/// A response without the fields that differ each time.
pub(crate) fn plain(response: &str) -> String {
    let fickle = |line: &&str| !line.starts_with("Date: ") && !line.starts_with("Server: ");
    response.split_inclusive("\r\n").filter(fickle).collect()
}

fn edge(addr: SocketAddr, backends: &[SocketAddr]) -> Edge {
    Edge {
        instances: 1,
        threads: 1,
        drain: Duration::from_secs(10),
        resolve: Duration::from_secs(10),
        listeners: vec![listener(addr)],
        routes: vec![route()],
        pools: vec![pool(backends)],
        ..Edge::default()
    }
}

fn listener(addr: SocketAddr) -> Listener {
    let plain = fixture::listener();
    let soon = Duration::from_secs(10);
    let http = HttpLimits {
        http2: false,
        head_timeout: soon,
        body_timeout: soon,
        send_timeout: soon,
        idle_timeout: soon,
        ..plain.http
    };
    Listener { places: vec![Place::Inet(addr)], http, ..plain }
}

fn pool(backends: &[SocketAddr]) -> Pool {
    Pool {
        backends: backends.iter().map(backend).collect(),
        keep: 8,
        keep_timeout: Duration::from_secs(60),
        retry_budget: 100,
        ..fixture::pool("pool")
    }
}

fn backend(addr: &SocketAddr) -> Backend {
    Backend {
        name: addr.to_string(),
        target: Target::Inet(*addr),
        weight: 1,
        backup: false,
        down: false,
        max_connections: 0,
        probe: None,
        outlier: None,
    }
}

/// The action of the rig's one route.
pub(crate) fn forward(edge: &mut Edge) -> &mut Forward {
    match &mut edge.routes[0].action {
        Action::Forward(forward) => forward,
        Action::Files(_) | Action::Answer(_) => panic!("the rig forwards"),
    }
}

fn route() -> Route {
    let forward = Forward {
        upgrade: true,
        send_timeout: Duration::from_secs(10),
        read_timeout: Duration::from_secs(10),
        retry: Retry { on: vec![RetryOn::Error, RetryOn::Timeout], tries: 0, ..fixture::forward().retry },
        ..fixture::forward()
    };
    Route { listeners: vec![0], action: Action::Forward(Box::new(forward)), ..fixture::route() }
}
