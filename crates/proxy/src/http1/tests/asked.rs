//! Backends that requests name themselves.

use mainstay_config::plan::edge::{Edge, Piece, Target, Template, Var};

use super::rig::{Rig, Scripted, forward, run};

/// Says what it was asked for, and by which name.
async fn echo() -> Scripted {
    Scripted::new(|mut peer| async move {
        let head = peer.head().await;
        let line = head.lines().next().unwrap_or_default();
        let host = head.lines().find(|line| line.starts_with("Host: ")).unwrap_or_default();
        let said = format!("{line} {host}");
        let length = said.len();
        peer.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{said}"))
            .await;
    })
    .await
}

/// The route goes where its query says.
fn by_query(edge: &mut Edge) {
    let mut asked = edge.pools[0].clone();
    asked.name = "asked".to_owned();
    asked.backends.truncate(1);
    asked.backends[0].name = "*".to_owned();
    asked.backends[0].target = Target::Asked;
    edge.pools.push(asked);
    let forward = forward(edge);
    forward.pool = mainstay_core::name::PoolId(1);
    forward.to = Some(Template(vec![Piece::Var(Var::Arg("to".to_owned()))]));
    forward.host = Template(vec![Piece::Var(Var::Known(mainstay_config::plan::edge::Known::ProxyHost))]);
}

#[test]
fn a_request_names_an_address_or_a_pool_and_a_target() {
    run(async {
        let backend = echo().await;
        let rig = Rig::with(&[backend.addr], by_query).await;
        let addr = backend.addr;
        let pool = "pool";
        for (to, says) in [
            (format!("{addr}"), format!("GET /a?to={addr} HTTP/1.1 Host: {addr}")),
            (format!("{addr}/x/y"), format!("GET /x/y HTTP/1.1 Host: {addr}")),
            (
                format!("localhost:{}", addr.port()),
                format!("GET /a?to=localhost:{0} HTTP/1.1 Host: localhost:{0}", addr.port()),
            ),
            (format!("{pool}?z"), format!("GET /?z HTTP/1.1 Host: {pool}")),
        ] {
            let got =
                rig.says(&format!("GET /a?to={to} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")).await;
            assert!(got.ends_with(&format!("\r\n\r\n{says}")), "{to}: {got}");
        }
        assert_eq!(backend.connections(), 4);
    });
}

#[test]
fn a_request_that_names_nothing_gets_502() {
    run(async {
        let backend = echo().await;
        let rig = Rig::with(&[backend.addr], by_query).await;
        for to in ["", ":80", "unix:relative", "no.such.host.invalid", "0.0.0.0:0", "a%00b"] {
            let got =
                rig.says(&format!("GET /a?to={to} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")).await;
            assert!(got.starts_with("HTTP/1.1 502 "), "{to}: {got}");
        }
        assert_eq!(backend.connections(), 0);
    });
}
