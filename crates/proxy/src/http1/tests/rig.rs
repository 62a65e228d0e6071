//! A thread of the edge with one listener, and peers for it that say exact bytes.

use std::cell::RefCell;
use std::future::Future;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use mainstay_config::plan::edge::{
    Action, Backend, BackendHttp, Balance, Edge, Forward, HttpLimits, Listener, Outlier, PathMatch, Place,
    Pool, Protocol, ProxyHeader, Queue, Retry, RetryOn, Route, Target, Template, Uri,
};
use mainstay_core::name::PoolId;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{LocalSet, spawn_local};

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
        counters.adopt(&snapshot);
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
    Listener {
        name: "web".into(),
        places: vec![Place::Inet(addr)],
        protocol: Protocol::Http,
        tls: None,
        proxy_from: Vec::new(),
        real_ip: None,
        http: HttpLimits {
            http2: false,
            head_max: 16 << 10,
            fields_max: 100,
            head_timeout: Duration::from_secs(10),
            body_timeout: Duration::from_secs(10),
            send_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(10),
            requests_max: 0,
            streams_max: 100,
            underscores: false,
            bare_lf: false,
            says_keep: false,
            keep_hint: 0,
            half_close: true,
        },
        max_connections: 1000,
        access: Vec::new(),
        pool: None,
        sni: Vec::new(),
        connect_timeout: Duration::from_secs(5),
        idle_timeout: Duration::from_secs(60),
        udp_responses: None,
        logs: Vec::new(),
        answer: None,
    }
}

fn pool(backends: &[SocketAddr]) -> Pool {
    Pool {
        name: "pool".into(),
        balance: Balance::RoundRobin,
        backends: backends.iter().map(backend).collect(),
        tls: None,
        http: BackendHttp::Http1,
        proxy: ProxyHeader::Off,
        sticky: None,
        outlier: Outlier {
            failures: 0,
            window: Duration::from_secs(10),
            aside: Duration::from_secs(10),
            share_max: 100,
        },
        queue: Queue { max: 0, timeout: Duration::ZERO },
        slow_start: Duration::ZERO,
        keep: 8,
        keep_timeout: Duration::from_secs(60),
        bare_lf: false,
        keep_requests: 0,
        retry_budget: 100,
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
    Route {
        name: "all".into(),
        listeners: vec![0],
        hosts: Vec::new(),
        path: PathMatch::Prefix { path: "/".into(), last: false },
        methods: Vec::new(),
        headers: Vec::new(),
        queries: Vec::new(),
        from: Vec::new(),
        internal: false,
        real_ip: None,
        steps: Vec::new(),
        access: Vec::new(),
        satisfy_any: false,
        auth: None,
        rates: Vec::new(),
        concurrency: Vec::new(),
        body_max: None,
        response_headers: Vec::new(),
        action: Action::Forward(Box::new(Forward {
            pool: PoolId(0),
            uri: Uri::Same,
            to: None,
            method: None,
            host: Template::known(mainstay_config::plan::edge::Known::Host),
            forwarded: false,
            headers: Vec::new(),
            pass_headers: true,
            pass_body: true,
            buffer_request: false,
            upgrade: true,
            connect_timeout: Duration::from_secs(5),
            send_timeout: Duration::from_secs(10),
            read_timeout: Duration::from_secs(10),
            retry: Retry {
                on: vec![RetryOn::Error, RetryOn::Timeout],
                tries: 0,
                within: Duration::ZERO,
                non_idempotent: false,
            },
            hide: Vec::new(),
            redirects: Vec::new(),
            cookie_domains: Vec::new(),
            cookie_paths: Vec::new(),
            intercept_errors: false,
            accel: false,
        })),
        errors: Vec::new(),
        gzip: None,
        rate_bytes: 0,
        logs: Vec::new(),
        expires: None,
        default_type: "text/plain".into(),
        relative_redirects: false,
    }
}
