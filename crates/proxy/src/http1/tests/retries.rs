//! When another backend is asked, and when not.

use std::time::Duration;

use mainstay_config::plan::edge::RetryOn;

use super::rig::{Rig, Scripted, forward, run};

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi";
const GET: &str = "GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
const POST: &str = "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nConnection: close\r\n\r\nabc";

/// Closes each connection once it has a head.
async fn drops() -> Scripted {
    Scripted::new(|mut peer| async move {
        peer.head().await;
    })
    .await
}

/// An address that nobody listens on.
async fn nobody() -> std::net::SocketAddr {
    tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap()
}

#[test]
fn a_backend_that_refuses_is_passed_over_for_any_method() {
    run(async {
        let good = Scripted::new(|mut peer| async move {
            let head = peer.head().await;
            if head.starts_with("POST") {
                assert_eq!(peer.bytes(3).await, "abc");
            }
            peer.send(OK).await;
        })
        .await;
        let rig = Rig::new(&[nobody().await, good.addr]).await;
        for request in [GET, POST, GET, POST] {
            let got = rig.says(request).await;
            assert!(got.starts_with("HTTP/1.1 200 OK"), "{got}");
        }
    });
}

#[test]
fn connects_that_are_refused_cost_the_budget_nothing_and_lost_requests_do() {
    run(async {
        let good = Scripted::new(|mut peer| async move {
            peer.head().await;
            peer.send(OK).await;
        })
        .await;
        let unbounded = |edge: &mut mainstay_config::plan::edge::Edge| {
            edge.pools[0].retry_budget = 0;
            edge.pools[0].outlier.failures = 0;
        };
        let rig = Rig::with(&[nobody().await, good.addr], unbounded).await;
        // Twice what a pool's budget has to begin with meets the backend that refuses.
        for _ in 0..400 {
            let got = rig.says(GET).await;
            assert!(got.starts_with("HTTP/1.1 200 OK"), "{got}");
        }
        let bad = drops().await;
        let rig = Rig::with(&[bad.addr, good.addr], unbounded).await;
        let mut failed = 0;
        for _ in 0..400 {
            failed += usize::from(rig.says(GET).await.starts_with("HTTP/1.1 502 "));
        }
        assert!(failed > 20, "{failed}");
    });
}

#[test]
fn what_is_idempotent_is_sent_again_and_what_is_not_is_not() {
    run(async {
        let good = Scripted::new(|mut peer| async move {
            peer.head().await;
            peer.send(OK).await;
        })
        .await;
        let bad = drops().await;
        let rig = Rig::new(&[bad.addr, good.addr]).await;
        assert!(rig.says(GET).await.starts_with("HTTP/1.1 200 OK"));
        let rig = Rig::new(&[bad.addr, good.addr]).await;
        assert!(rig.says(POST).await.starts_with("HTTP/1.1 502 "));
        let rig = Rig::with(&[bad.addr, good.addr], |edge| forward(edge).retry.non_idempotent = true).await;
        assert!(rig.says(POST).await.starts_with("HTTP/1.1 200 OK"));
        let rig = Rig::with(&[bad.addr, good.addr], |edge| forward(edge).retry.tries = 1).await;
        assert!(rig.says(GET).await.starts_with("HTTP/1.1 502 "));
    });
}

#[test]
fn a_put_that_is_sent_again_has_its_whole_body() {
    run(async {
        let bad = Scripted::new(|mut peer| async move {
            peer.until("abc").await;
        })
        .await;
        let good = Scripted::new(|mut peer| async move {
            peer.head().await;
            assert_eq!(peer.bytes(3).await, "abc");
            peer.send(OK).await;
        })
        .await;
        let rig = Rig::new(&[bad.addr, good.addr]).await;
        let got = rig.says(&POST.replace("POST", "PUT")).await;
        assert!(got.starts_with("HTTP/1.1 200 OK"), "{got}");
        assert_eq!((bad.connections(), good.connections()), (1, 1));
    });
}

#[test]
fn a_kept_connection_that_was_closed_meanwhile_costs_nobody_a_request() {
    run(async {
        let backend = Scripted::new(|mut peer| async move {
            peer.head().await;
            peer.send(OK).await;
            // The next request finds the connection closed when it is already on its way.
            peer.head().await;
        })
        .await;
        let rig = Rig::with(&[backend.addr], |edge| forward(edge).retry.tries = 1).await;
        let mut client = rig.client().await;
        for _ in 0..3 {
            client.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n").await;
            assert!(client.head().await.starts_with("HTTP/1.1 200 OK"));
            client.bytes(2).await;
        }
        assert_eq!(backend.connections(), 3);
    });
}

#[test]
fn a_backend_that_says_nothing_gets_504() {
    run(async {
        let silent = Scripted::new(|mut peer| async move {
            peer.rest().await;
        })
        .await;
        let rig = Rig::with(&[silent.addr], |edge| {
            forward(edge).read_timeout = Duration::from_millis(50);
        })
        .await;
        assert!(rig.says(GET).await.starts_with("HTTP/1.1 504 "));
    });
}

#[test]
fn a_status_is_retried_only_where_the_route_says_so() {
    run(async {
        let ill = Scripted::new(|mut peer| async move {
            peer.head().await;
            peer.send("HTTP/1.1 503 Ill\r\nContent-Length: 3\r\n\r\nill").await;
        })
        .await;
        let good = Scripted::new(|mut peer| async move {
            peer.head().await;
            peer.send(OK).await;
        })
        .await;
        let rig = Rig::new(&[ill.addr, good.addr]).await;
        let got = rig.says(GET).await;
        assert!(got.starts_with("HTTP/1.1 503 Ill\r\n") && got.ends_with("ill"), "{got}");
        let rig = Rig::with(&[ill.addr, good.addr], |edge| {
            forward(edge).retry.on.push(RetryOn::Status(503));
        })
        .await;
        assert!(rig.says(GET).await.starts_with("HTTP/1.1 200 OK"));
        let rig = Rig::with(&[ill.addr], |edge| {
            forward(edge).retry.on.push(RetryOn::Status(503));
            forward(edge).retry.tries = 1;
        })
        .await;
        let got = rig.says(GET).await;
        assert!(got.ends_with("ill"), "the last one's answer is passed on: {got}");
    });
}
