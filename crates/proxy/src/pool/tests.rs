//! Pools as their callers meet them.

use super::*;
use mainstay_config::plan::edge::{
    Backend, Balance, Edge, Outlier, Place, Pool, ProxyHeader, Queue, Sticky, Target, UpstreamHttp,
};

#[tokio::test(flavor = "current_thread")]
async fn backends_are_asked_in_turn_and_loads_are_counted_until_leases_end() {
    let rig = Rig::new(pool(Balance::RoundRobin, 3));
    let mut leases = Vec::new();
    for wanted in ["b0", "b1", "b2", "b0"] {
        let lease = rig.lease().await.unwrap();
        assert_eq!(&**lease.name(), wanted);
        leases.push(lease);
    }
    assert_eq!([0, 1, 2].map(|slot| rig.cells.load(slot)), [2, 1, 1]);
    let gone = leases.pop().unwrap();
    gone.ended(Outcome::Answered(200), Duration::from_millis(3));
    leases.clear();
    assert_eq!([0, 1, 2].map(|slot| rig.cells.load(slot)), [0, 0, 0]);
}

#[tokio::test(flavor = "current_thread")]
async fn an_empty_pool_and_one_that_is_all_down_refuse_at_once() {
    let rig = Rig::new(pool(Balance::Least, 0));
    assert_eq!(rig.lease().await.unwrap_err().reason, Reason::Empty);
    let rig = Rig::new(pool(Balance::Least, 2));
    for slot in 0..2 {
        rig.pools.health(slot, Verdict::Down, "refused");
    }
    assert_eq!(rig.lease().await.unwrap_err().reason, Reason::Down);
    rig.pools.health(1, Verdict::Up, "");
    assert_eq!(&**rig.lease().await.unwrap().name(), "b1");
    rig.pools.health(1, Verdict::Unknown, "");
    assert_eq!(&**rig.lease().await.unwrap().name(), "b1", "what was said last is kept");
}

struct Rig {
    cells: Cells,
    pools: Pools,
    snapshot: Arc<Snapshot>,
}

impl Rig {
    fn new(pool: Pool) -> Self {
        let cells = Cells::private();
        let rig = Self { cells, pools: Pools::new(cells), snapshot: snapshot(1, vec![pool]) };
        rig.pools.adopt(&rig.snapshot);
        rig
    }

    async fn lease(&self) -> Result<Lease, Refused> {
        self.ask(&Ask::default()).await
    }

    async fn ask(&self, ask: &Ask<'_>) -> Result<Lease, Refused> {
        self.pools.lease(&self.snapshot, PoolId(0), ask).await
    }
}

fn snapshot(generation: u64, pools: Vec<Pool>) -> Arc<Snapshot> {
    let names =
        pools.iter().flat_map(|pool| pool.backends.iter().map(|one| format!("{}/{}", pool.name, one.name)));
    let slots = names.zip(0..).collect();
    let edge = Edge { pools, ..Edge::default() };
    Arc::new(Snapshot { generation, edge, slots, tls: Vec::new(), table: crate::route::Table::default() })
}

fn pool(balance: Balance, backends: u16) -> Pool {
    let backends =
        (0..backends).map(|n| backend(&format!("b{n}"), Target::Inet(([127, 0, 0, 1], 8000 + n).into())));
    Pool {
        name: "shop".into(),
        balance,
        backends: backends.collect(),
        tls: None,
        http: UpstreamHttp::Http1,
        proxy: ProxyHeader::Off,
        sticky: None,
        outlier: Outlier {
            failures: 2,
            window: Duration::from_secs(10),
            aside: Duration::from_secs(10),
            share_max: 50,
        },
        queue: Queue { max: 100, timeout: Duration::from_secs(30) },
        slow_start: Duration::ZERO,
        keep: 8,
        keep_timeout: Duration::from_secs(60),
        keep_requests: 0,
        retry_budget: 20,
    }
}

fn backend(name: &str, target: Target) -> Backend {
    Backend {
        name: name.into(),
        target,
        weight: 1,
        backup: false,
        down: false,
        max_connections: 0,
        probe: Some(mainstay_core::name::ProbeId(0)),
        outlier: None,
    }
}
