//! What a lease costs, in nanoseconds of processor time: `cargo bench -p mainstay-proxy --bench pool`.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use mainstay_config::plan::edge::{
    Backend, BackendHttp, Balance, Edge, Outlier, Pool, ProxyHeader, Queue, Target, Template,
};
use mainstay_core::name::PoolId;
use mainstay_proxy::metrics::Names;
use mainstay_proxy::pool::{Ask, Outcome, Pools};
use mainstay_proxy::shared::Cells;
use mainstay_proxy::snapshot::Snapshot;
use mainstay_proxy::tls::Tickets;

/// Leases of one measurement; a test run only sees that it works.
fn rounds() -> u32 {
    if std::env::args().any(|arg| arg == "--bench") { 2_000_000 } else { 1000 }
}

fn main() {
    let kinds = [
        ("round-robin", Balance::RoundRobin),
        ("least", Balance::Least),
        ("two-choices", Balance::TwoChoices),
        ("source", Balance::Source),
        ("hash", Balance::Hash(Template::default())),
        ("random", Balance::Random),
    ];
    for (name, balance) in kinds {
        for backends in [3, 20] {
            let plain = measure(&pool(balance.clone(), backends, 0));
            let bounded = measure(&pool(balance.clone(), backends, 1000));
            println!("{name:12} of {backends:2}: {plain:6.1} ns, with max_connections {bounded:6.1} ns");
        }
    }
}

/// Nanoseconds for a lease, its answer and its end; the best of five.
fn measure(pool: &Pool) -> f64 {
    let names = pool.backends.iter().map(|one| format!("{}/{}", pool.name, one.name));
    let slots = names.zip(0..).collect();
    let edge = Edge { pools: vec![pool.clone()], ..Edge::default() };
    let snapshot = Snapshot::compile(edge, slots, &mut Names::default(), &Tickets::new(), None)
        .expect("nothing to go wrong");
    let snapshot = Arc::new(snapshot);
    let pools = Pools::new(Cells::private());
    pools.adopt(&snapshot);
    let key = *b"a-session-of-36-bytes-as-uuids-are-1";
    let rounds = rounds();
    let round = || {
        let start = spent();
        for number in 0..rounds {
            let client = Some(number.to_be_bytes().into());
            let ask = Ask { client, key: Some(&key), ..Ask::default() };
            let lease = now(pools.lease(&snapshot, PoolId(0), &ask)).expect("all are up");
            lease.ended(Outcome::Answered(200), Duration::from_micros(u64::from(number & 1023)));
        }
        (spent() - start).as_secs_f64() * 1e9 / f64::from(rounds)
    };
    (0..5).map(|_| round()).fold(f64::INFINITY, f64::min)
}

/// The time that this thread has had a processor: the neighbours don't count.
fn spent() -> Duration {
    let spent = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(spent.tv_sec.unsigned_abs(), u32::try_from(spent.tv_nsec).expect("less than a second"))
}

fn now<T>(future: impl Future<Output = T>) -> T {
    let mut context = Context::from_waker(Waker::noop());
    match pin!(future).poll(&mut context) {
        Poll::Ready(output) => output,
        Poll::Pending => panic!("nothing to wait for"),
    }
}

fn pool(balance: Balance, backends: u16, max_connections: u32) -> Pool {
    let backend = |n: u16| Backend {
        name: format!("b{n}"),
        target: Target::Inet(([10, 0, 0, 1], n).into()),
        weight: 1,
        backup: false,
        down: false,
        max_connections,
        probe: None,
        outlier: None,
    };
    Pool {
        name: "shop".into(),
        balance,
        backends: (0..backends).map(backend).collect(),
        tls: None,
        http: BackendHttp::Http1,
        proxy: ProxyHeader::Off,
        sticky: None,
        outlier: Outlier {
            failures: 5,
            window: Duration::from_secs(10),
            aside: Duration::from_secs(10),
            share_max: 50,
        },
        queue: Queue { max: 0, timeout: Duration::ZERO },
        slow_start: Duration::ZERO,
        keep: 0,
        keep_timeout: Duration::ZERO,
        keep_requests: 0,
        bare_lf: false,
        retry_budget: 20,
    }
}
