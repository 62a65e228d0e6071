//! Pools as their callers meet them.

mod agents;
mod health;
mod names;
mod waiting;

use super::*;
use mainstay_config::plan::edge::{
    Backend, BackendHttp, Balance, Edge, Outlier, Pool, ProxyHeader, Queue, SharedKey, Sticky, Target,
    Template,
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
async fn the_least_loaded_is_asked_and_others_requests_count() {
    let rig = Rig::new(pool(Balance::Least, 3));
    let _elsewhere = [rig.cells.take(0), rig.cells.take(0), rig.cells.take(2)];
    let first = rig.lease().await.unwrap();
    assert_eq!(&**first.name(), "b1");
    let second = rig.lease().await.unwrap();
    let third = rig.lease().await.unwrap();
    let mut names = [&**second.name(), &**third.name()];
    names.sort_unstable();
    assert_eq!(names, ["b1", "b2"], "both had one");
}

#[tokio::test(flavor = "current_thread")]
async fn a_retry_goes_elsewhere_and_to_backups_when_all_were_asked() {
    let mut two = pool(Balance::RoundRobin, 3);
    two.backends[2].backup = true;
    let rig = Rig::new(two);
    let first = rig.lease().await.unwrap();
    let mut tried = vec![first.backend()];
    for wanted in ["b1", "b2"] {
        let next = rig.ask(&Ask { tried: &tried, ..Ask::default() }).await.unwrap();
        assert_eq!(&**next.name(), wanted);
        tried.push(next.backend());
    }
    let refused = rig.ask(&Ask { tried: &tried, ..Ask::default() }).await.unwrap_err();
    assert_eq!(refused.reason, Reason::Spent);
    let retries: u64 = rig.pools.status().iter().map(|one| one.retries).sum();
    assert_eq!(retries, 2);
}

#[tokio::test(flavor = "current_thread")]
async fn a_retry_budget_runs_out() {
    let rig = Rig::new(pool(Balance::RoundRobin, 1));
    let may = (0..1000).filter(|_| rig.pools.may_retry(&rig.snapshot, PoolId(0))).count();
    assert!((100..110).contains(&may), "{may}");
}

#[tokio::test(flavor = "current_thread")]
async fn a_cookie_binds_a_client_to_its_backend_as_long_as_that_can_serve() {
    let mut sticky = pool(Balance::RoundRobin, 3);
    sticky.sticky = Some(cookie());
    let rig = Rig::new(sticky);
    let first = rig.lease().await.unwrap();
    let home = first.name().clone();
    let line = first.set_cookie().unwrap();
    let value = line.strip_prefix("b=").unwrap().split(';').next().unwrap().to_owned();
    let bound = Ask { cookie: Some(value.as_bytes()), ..Ask::default() };
    for _ in 0..5 {
        let lease = rig.ask(&bound).await.unwrap();
        assert_eq!((lease.name(), lease.set_cookie()), (&home, None));
    }
    let retried = rig.ask(&Ask { tried: &[first.backend()], ..bound }).await.unwrap();
    assert_ne!(retried.name(), &home);
    assert_eq!(retried.set_cookie(), None, "only this request goes elsewhere");
    assert!(rig.pools.operator("shop", &home, Order::Drain));
    assert_eq!(rig.ask(&bound).await.unwrap().name(), &home, "a drained backend keeps its own");
    for _ in 0..6 {
        assert_ne!(rig.lease().await.unwrap().name(), &home);
    }
    rig.pools.health(first.slot().unwrap(), Verdict::Down, "gone");
    let moved = rig.ask(&bound).await.unwrap();
    assert_ne!(moved.name(), &home);
    assert!(moved.set_cookie().is_some_and(|new| new != line));
}

/// The cookie of the first backend of a pool in a process that was given this key.
async fn cookie_under(process: [u8; 16], own: Option<&str>) -> String {
    let mut sticky = pool(Balance::RoundRobin, 1);
    let key = own.map(|text| SharedKey { file: None, text: text.into() });
    sticky.sticky = Some(Sticky { key, ..cookie() });
    let pools = Pools::new(Cells::private());
    pools.set_key(process);
    let snapshot = snapshot(1, vec![sticky]);
    pools.adopt(&snapshot);
    pools.lease(&snapshot, PoolId(0), &Ask::default()).await.unwrap().set_cookie().unwrap().to_string()
}

#[tokio::test(flavor = "current_thread")]
async fn a_cookie_is_made_with_the_nodes_key_unless_the_pool_has_one() {
    let (one, other) = ([1; 16], [2; 16]);
    assert_eq!(cookie_under(one, None).await, cookie_under(one, None).await, "all processes of a node agree");
    assert_ne!(cookie_under(one, None).await, cookie_under(other, None).await);
    let shared = cookie_under(one, Some("the same on all nodes")).await;
    assert_eq!(shared, cookie_under(other, Some("the same on all nodes")).await);
    assert_ne!(shared, cookie_under(one, Some("that of other nodes")).await);
    assert_ne!(shared, cookie_under(one, None).await);
}

#[tokio::test(flavor = "current_thread")]
async fn every_instance_sends_a_key_and_a_client_to_the_same_backend() {
    for balance in [Balance::Source, Balance::Hash(Template::default())] {
        let mut turned = pool(balance.clone(), 5);
        let one = Rig::new(turned.clone());
        turned.backends.reverse();
        let other = Rig::new(turned);
        let mut seen = std::collections::BTreeSet::new();
        for n in 0..100_u8 {
            let key = format!("user-{n}");
            let ask = Ask { client: Some([10, 0, 0, n].into()), key: Some(key.as_bytes()), ..Ask::default() };
            let name = one.ask(&ask).await.unwrap().name().clone();
            assert_eq!(other.ask(&ask).await.unwrap().name(), &name);
            assert_eq!(one.ask(&ask).await.unwrap().name(), &name);
            let mapped = Ask { client: Some(format!("::ffff:10.0.0.{n}").parse().unwrap()), ..ask };
            assert_eq!(one.ask(&mapped).await.unwrap().name(), &name, "the same client by IPv6");
            seen.insert(name);
        }
        assert_eq!(seen.len(), 5);
    }
}

#[tokio::test(flavor = "current_thread")]
async fn a_reload_keeps_what_stays_and_old_requests_find_their_own_pool() {
    let rig = Rig::new(pool(Balance::RoundRobin, 2));
    let before = rig.lease().await.unwrap();
    let number = before.backend();
    rig.pools.health(1, Verdict::Down, "refused");
    let other = Pool { name: "other".into(), ..pool(Balance::Least, 1) };
    let mut shop = pool(Balance::RoundRobin, 3);
    shop.backends.remove(0);
    let next = snapshot(2, vec![other, shop]);
    rig.pools.adopt(&next);
    let old = rig.lease().await.unwrap();
    assert_eq!(&**old.name(), "b2", "pool 0 of the old snapshot is the shop, b0 is gone and b1 is down");
    assert_eq!(rig.pools.lease(&next, PoolId(1), &Ask::default()).await.unwrap().backend(), old.backend());
    before.ended(Outcome::Broken, Duration::ZERO);
    assert_eq!(rig.cells.load(0), 0);
    rig.pools.adopt(&snapshot(3, vec![pool(Balance::RoundRobin, 2)]));
    assert_ne!(rig.lease().await.unwrap().backend(), number, "who comes again is another");
}

#[tokio::test(flavor = "current_thread")]
async fn an_explanation_names_the_choice_and_what_speaks_against_the_others() {
    let mut shop = pool(Balance::RoundRobin, 5);
    shop.backends[1].down = true;
    shop.backends[2].backup = true;
    shop.backends[3].max_connections = 1;
    let rig = Rig::new(shop);
    rig.pools.health(4, Verdict::Down, "503 Service Unavailable");
    let _one = rig.cells.take(3);
    let explained = rig.pools.explain(&rig.snapshot, PoolId(0), &Ask::default()).unwrap();
    let why: Vec<_> = explained.backends.iter().map(|one| (one.chosen, one.why.as_str())).collect();
    assert_eq!(
        why,
        [
            (true, "it is its turn"),
            (false, "down: its configuration says so"),
            (false, "a backup: only asked when no other is usable"),
            (false, "full: it has 1 of 1 connections"),
            (false, "down: its probe says so: 503 Service Unavailable"),
        ]
    );
    assert_eq!(&**rig.lease().await.unwrap().name(), "b0", "a question changes nothing");
    let states: Vec<_> = rig.pools.status().iter().map(|one| one.state).collect();
    use Standing::{Down, Full, Up};
    assert_eq!(states, [Up, Down, Up, Full, Down]);
}

pub(super) struct Rig {
    cells: Cells,
    pools: Pools,
    snapshot: Arc<Snapshot>,
}

impl Rig {
    fn new(pool: Pool) -> Self {
        Self::with(Cells::private(), Names::default(), pool)
    }

    fn with(cells: Cells, names: Names, pool: Pool) -> Self {
        let rig = Self { cells, pools: Pools::sharing(cells, names), snapshot: snapshot(1, vec![pool]) };
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
    // As the supervisor does: a backend keeps its row, whatever its place.
    let slots = names
        .map(|name| {
            let slot = name.bytes().last().unwrap() - b'0';
            (name, u32::from(slot))
        })
        .collect();
    let edge = Edge { pools, resolve: Duration::from_millis(100), ..Edge::default() };
    let mut names = crate::metrics::Names::default();
    let mut snapshot = Snapshot::compile(edge, slots, &mut names, &crate::tls::Tickets::new(), None).unwrap();
    snapshot.generation = generation;
    Arc::new(snapshot)
}

fn pool(balance: Balance, backends: u16) -> Pool {
    let backends =
        (0..backends).map(|n| backend(&format!("b{n}"), Target::Inet(([127, 0, 0, 1], 8000 + n).into())));
    Pool {
        name: "shop".into(),
        balance,
        backends: backends.collect(),
        tls: None,
        http: BackendHttp::Http1,
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
        bare_lf: false,
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

fn cookie() -> Sticky {
    Sticky {
        cookie: "b".into(),
        max_age: Duration::ZERO,
        path: "/".into(),
        domain: None,
        http_only: true,
        secure: false,
        same_site: None,
        key: None,
    }
}
