//! The checks that pools ask for: gRPC health, and how many backends are usable.

use std::net::TcpListener;
use std::path::PathBuf;
use std::time::Duration;

use mainstay_config::plan::edge::{
    Backend, BackendHttp, Balance, Edge, Outlier, Pool, ProxyHeader, Queue, Target,
};
use mainstay_config::plan::{Check, GrpcCheck, Plan, Probe};
use mainstay_core::election::Verdict;
use mainstay_core::name::{PoolId, ProbeId};

use super::servers::{grpc, h2_config, http};
use super::{Role, plan, probe, slow};
use crate::exec::tests::Temp;

#[test]
fn grpc_services_are_up_when_they_serve() {
    let temp = Temp::new();
    let (config, ca) = h2_config();
    let ca = PathBuf::from(temp.file("ca.pem", &ca));
    let (plain, tls) = (grpc(None), grpc(Some(config)));
    let check = |port: u16, service: &str| GrpcCheck {
        target: format!("localhost:{port}"),
        service: service.into(),
        tls: port == tls,
        server_name: None,
        ca: Some(ca.clone()),
        insecure: false,
    };
    let stranger = GrpcCheck { ca: None, ..check(tls, "") };
    let addressed = GrpcCheck { target: format!("127.0.0.1:{tls}"), ..check(tls, "up") };
    let named = GrpcCheck { server_name: Some("localhost".into()), ..addressed.clone() };
    let all = [
        ("server", check(plain, ""), Verdict::Up),
        ("up", check(plain, "up"), Verdict::Up),
        ("down", check(plain, "down"), Verdict::Down),
        ("unknown", check(plain, "nobody"), Verdict::Down),
        ("tls", check(tls, "up"), Verdict::Up),
        ("stranger", stranger, Verdict::Down),
        ("addressed", addressed, Verdict::Down),
        ("named", named, Verdict::Up),
        ("not-grpc", check(http().port(), ""), Verdict::Down),
    ];
    let probes = all.iter().map(|(name, check, _)| slow(probe(name, Check::Grpc(check.clone())))).collect();
    let wanted: Vec<_> = all.iter().map(|(name, _, verdict)| (*name, *verdict)).collect();
    Role::with(probes).verdicts(&wanted);
    let role = Role::with(vec![probe("down", Check::Grpc(check(plain, "down")))]);
    assert_eq!(role.verdict("down", Verdict::Down).detail, "down: NOT_SERVING");
}

#[test]
fn a_pool_is_down_as_soon_as_too_few_of_its_backends_are_up() {
    let listeners = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
    let [first, second] = &listeners;
    let tcp = |name: &str, listener: &TcpListener| {
        probe(name, Check::Tcp { target: listener.local_addr().unwrap().to_string() })
    };
    let hour = Duration::from_secs(3600);
    let check = |min| Check::Pool { pool: PoolId(0), min };
    let probes = vec![
        tcp("a", first),
        tcp("b", second),
        Probe { interval: hour, ..probe("both", check(2)) },
        Probe { interval: hour, ..probe("one", check(1)) },
    ];
    let pools = vec![pool(vec![
        backend("a", Some(0)),
        backend("b", Some(1)),
        Backend { down: true, ..backend("c", None) },
    ])];
    let role = Role::start(Plan { probes, edge: Edge { pools, ..Edge::default() }, ..plan() });
    role.verdicts(&[("both", Verdict::Up), ("one", Verdict::Up)]);
    let [first, second] = listeners;
    drop(first);
    let status = role.verdict("both", Verdict::Down);
    assert_eq!(status.detail, "1 of 3 backends are usable, 2 needed");
    drop(second);
    role.verdict("one", Verdict::Down);
}

fn pool(backends: Vec<Backend>) -> Pool {
    Pool {
        name: "shop".into(),
        balance: Balance::RoundRobin,
        backends,
        tls: None,
        http: BackendHttp::Http1,
        proxy: ProxyHeader::Off,
        sticky: None,
        outlier: Outlier { failures: 0, window: Duration::ZERO, aside: Duration::ZERO, share_max: 0 },
        queue: Queue { max: 0, timeout: Duration::ZERO },
        slow_start: Duration::ZERO,
        keep: 0,
        keep_timeout: Duration::ZERO,
        bare_lf: false,
        keep_requests: 0,
        retry_budget: 0,
    }
}

fn backend(name: &str, probe: Option<u32>) -> Backend {
    Backend {
        name: name.into(),
        target: Target::Inet(([127, 0, 0, 1], 1).into()),
        weight: 1,
        backup: false,
        down: false,
        max_connections: 0,
        probe: probe.map(ProbeId),
        outlier: None,
    }
}
