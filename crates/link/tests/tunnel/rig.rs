//! A hub and an agent on one thread.

use std::future::Future;
use std::time::Duration;

use mainstay_link::tunnel::{Incoming, Limits, Session, Side};
use tokio::io::DuplexStream;
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::{Builder, LocalOptions};

/// How long a test may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// Runs a test on a thread as the driver wants it.
pub(crate) fn run(test: impl Future<Output = ()>) {
    let runtime = Builder::new_current_thread()
        .enable_all()
        .build_local(LocalOptions::default())
        .expect("loopback works");
    runtime.block_on(async { tokio::time::timeout(PATIENCE, test).await.expect("the test takes too long") });
}

/// One side of a session.
pub(crate) struct End {
    pub(crate) session: Session,
    pub(crate) incoming: Incoming,
}

/// Both sides over a carrier in memory.
pub(crate) fn pair(limits: Limits) -> (End, End) {
    let (one, two) = tokio::io::duplex(64 << 10);
    (end(one, Side::Hub, limits), end(two, Side::Agent, limits))
}

pub(crate) fn end(carrier: DuplexStream, side: Side, limits: Limits) -> End {
    let (session, incoming) = Session::start(carrier, side, limits);
    End { session, incoming }
}

/// Both sides over TCP.
pub(crate) async fn tcp_pair(limits: Limits) -> (End, End) {
    let (one, two) = connection().await;
    let (session, incoming) = Session::start(one, Side::Hub, limits);
    let hub = End { session, incoming };
    let (session, incoming) = Session::start(two, Side::Agent, limits);
    (hub, End { session, incoming })
}

/// The two ends of a TCP connection.
pub(crate) async fn connection() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback works");
    let dialed =
        TcpStream::connect(listener.local_addr().expect("loopback works")).await.expect("loopback works");
    let (accepted, _) = listener.accept().await.expect("loopback works");
    dialed.set_nodelay(true).expect("loopback works");
    accepted.set_nodelay(true).expect("loopback works");
    (dialed, accepted)
}
