//! Which connections stay, on both sides.

use super::rig::{Rig, Scripted, forward, plain, run};

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX-One: 1\r\n\r\nhi";

#[test]
fn a_client_and_a_backend_keep_their_connections() {
    run(async {
        let backend = Scripted::answers(OK).await;
        let rig = Rig::new(&[backend.addr]).await;
        let mut client = rig.client().await;
        for _ in 0..3 {
            client.send("GET /a?b=c HTTP/1.1\r\nHost: x\r\n\r\n").await;
            assert_eq!(client.head().await, "HTTP/1.1 200 OK\r\nX-One: 1\r\nContent-Length: 2\r\n\r\n");
            assert_eq!(client.bytes(2).await, "hi");
        }
        assert_eq!(backend.connections(), 1);
    });
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    run(async {
        let backend = Scripted::new(|mut peer| async move {
            loop {
                let head = peer.head().await;
                let Some(path) = head.split(' ').nth(1) else { return };
                peer.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{path}", path.len())).await;
            }
        })
        .await;
        let rig = Rig::new(&[backend.addr]).await;
        let one = |path: &str| format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n");
        let mut client = rig.client().await;
        client.send(format!("{}{}{}", one("/1"), one("/2"), one("/3"))).await;
        for path in ["/1", "/2", "/3"] {
            client.head().await;
            assert_eq!(client.bytes(2).await, path);
        }
    });
}

#[test]
fn a_client_that_says_close_is_closed() {
    run(async {
        let backend = Scripted::answers(OK).await;
        let rig = Rig::new(&[backend.addr]).await;
        let got = rig.says("GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await;
        assert_eq!(got, "HTTP/1.1 200 OK\r\nX-One: 1\r\nContent-Length: 2\r\nConnection: close\r\n\r\nhi");
    });
}

#[test]
fn http_1_0_stays_only_when_it_asks_to() {
    run(async {
        let backend = Scripted::answers(OK).await;
        let rig = Rig::new(&[backend.addr]).await;
        let got = rig.says("GET / HTTP/1.0\r\n\r\n").await;
        assert!(got.ends_with("Connection: close\r\n\r\nhi"), "{got}");
        let mut client = rig.client().await;
        for _ in 0..2 {
            client.send("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n").await;
            assert!(client.head().await.contains("Connection: keep-alive\r\n"));
            assert_eq!(client.bytes(2).await, "hi");
        }
    });
}

#[test]
fn a_backend_that_closes_is_not_asked_again_over_that_connection() {
    run(async {
        let backend =
            Scripted::answers("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nhi").await;
        let rig = Rig::new(&[backend.addr]).await;
        let mut client = rig.client().await;
        for _ in 0..2 {
            client.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n").await;
            assert_eq!(client.head().await, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n");
            client.bytes(2).await;
        }
        assert_eq!(backend.connections(), 2);
    });
}

#[test]
fn what_a_backend_says_unasked_never_reaches_the_next_client() {
    run(async {
        let backend = Scripted::new(|mut peer| async move {
            while !peer.head().await.is_empty() {
                peer.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhiHTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil").await;
            }
        })
        .await;
        let rig = Rig::new(&[backend.addr]).await;
        let mut client = rig.client().await;
        for _ in 0..3 {
            client.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n").await;
            client.head().await;
            assert_eq!(client.bytes(2).await, "hi");
        }
    });
}

#[test]
fn a_connection_that_waits_too_long_is_closed_without_a_word() {
    run(async {
        let backend = Scripted::answers(OK).await;
        let rig = Rig::with(&[backend.addr], |edge| {
            edge.listeners[0].http.idle_timeout = std::time::Duration::from_millis(50);
            edge.listeners[0].http.head_timeout = std::time::Duration::from_millis(50);
        })
        .await;
        assert_eq!(rig.client().await.rest().await, "");
        let mut client = rig.client().await;
        client.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n").await;
        client.head().await;
        assert_eq!(client.rest().await, "hi");
    });
}

#[test]
fn a_head_that_takes_too_long_gets_408() {
    run(async {
        let rig = Rig::with(&[], |edge| {
            edge.listeners[0].http.head_timeout = std::time::Duration::from_millis(50);
        })
        .await;
        assert!(rig.says("GET / HTTP/1.1\r\nHost:").await.starts_with("HTTP/1.1 408 "));
    });
}

#[test]
fn a_client_that_half_closes_gets_its_answer() {
    run(async {
        let backend = Scripted::answers(OK).await;
        let rig = Rig::new(&[backend.addr]).await;
        let mut client = rig.client().await;
        client.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n").await;
        client.finish().await;
        assert!(client.rest().await.ends_with("hi"));
    });
}

#[test]
fn a_thread_that_drains_closes_after_the_next_answer() {
    run(async {
        let backend = Scripted::answers(OK).await;
        let rig = Rig::new(&[backend.addr]).await;
        let mut client = rig.client().await;
        client.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n").await;
        client.head().await;
        client.bytes(2).await;
        rig.thread.drain();
        client.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n").await;
        assert!(client.rest().await.contains("Connection: close\r\n"));
    });
}

#[test]
fn a_pool_without_backends_gets_503_at_once() {
    run(async {
        let rig = Rig::new(&[]).await;
        let mut client = rig.client().await;
        client.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n").await;
        assert!(plain(&client.head().await).starts_with("HTTP/1.1 503 Service Temporarily Unavailable\r\n"));
    });
}

#[test]
fn without_kept_connections_each_request_has_its_own() {
    run(async {
        let backend = Scripted::new(|mut peer| async move {
            assert!(peer.head().await.contains("Connection: close\r\n"));
            peer.send(OK).await;
        })
        .await;
        let rig = Rig::with(&[backend.addr], |edge| {
            edge.pools[0].keep = 0;
            forward(edge).retry.tries = 1;
        })
        .await;
        let mut client = rig.client().await;
        for _ in 0..2 {
            client.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n").await;
            assert!(client.head().await.starts_with("HTTP/1.1 200 OK"));
            client.bytes(2).await;
        }
        assert_eq!(backend.connections(), 2);
    });
}

#[test]
fn a_client_that_says_nothing_for_a_while_is_parked_and_comes_back() {
    run(async {
        let backend = Scripted::answers(OK).await;
        let rig = Rig::new(&[backend.addr]).await;
        let mut client = rig.client().await;
        let mut silent = rig.client().await;
        for _ in 0..2 {
            client.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n").await;
            assert!(client.head().await.starts_with("HTTP/1.1 200 OK"));
            assert_eq!(client.bytes(2).await, "hi");
            until(|| rig.thread.parked_clients() == 2).await;
        }
        // Who never said anything is parked too; and who leaves is forgotten.
        silent.finish().await;
        assert_eq!(silent.rest().await, "");
        until(|| rig.thread.parked_clients() == 1).await;
        client.send("GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await;
        assert!(client.rest().await.starts_with("HTTP/1.1 200 OK"));
        assert_eq!(rig.thread.parked_clients(), 0);
    });
}

#[test]
fn a_parked_client_is_closed_when_its_time_is_over() {
    run(async {
        let rig = Rig::with(&[], |edge| {
            edge.listeners[0].http.idle_timeout = std::time::Duration::from_millis(600);
            edge.listeners[0].http.head_timeout = std::time::Duration::from_millis(600);
        })
        .await;
        let mut client = rig.client().await;
        until(|| rig.thread.parked_clients() == 1).await;
        assert_eq!(client.rest().await, "");
        assert_eq!(rig.thread.parked_clients(), 0);
    });
}

async fn until(condition: impl Fn() -> bool) {
    while !condition() {
        tokio::task::yield_now().await;
    }
}

#[test]
fn lf_alone_passes_and_staying_is_said_where_the_listener_says_so() {
    run(async {
        let backend = Scripted::answers("HTTP/1.1 200 OK\nContent-Length: 2\n\nhi").await;
        let strict = Rig::new(&[backend.addr]).await;
        assert!(strict.says("GET / HTTP/1.1\nHost: x\n\n").await.starts_with("HTTP/1.1 400 "));
        assert!(strict.says("GET / HTTP/1.0\r\n\r\n").await.starts_with("HTTP/1.1 502 "));
        let lax = Rig::with(&[backend.addr], |edge| {
            edge.listeners[0].http.bare_lf = true;
            edge.listeners[0].http.says_keep = true;
            edge.listeners[0].http.keep_hint = 9;
            edge.pools[0].bare_lf = true;
        })
        .await;
        let mut client = lax.client().await;
        client.send("GET / HTTP/1.1\nHost: x\n\n").await;
        assert_eq!(
            client.head().await,
            "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: keep-alive\r\nKeep-Alive: timeout=9\r\n\r\n"
        );
    });
}

#[test]
fn a_client_that_sends_no_more_is_answered_or_given_up_as_the_listener_says() {
    run(async {
        for half_close in [true, false] {
            let go = std::rc::Rc::new(tokio::sync::Notify::new());
            let wait = std::rc::Rc::clone(&go);
            let backend = Scripted::new(move |mut peer| {
                let go = std::rc::Rc::clone(&wait);
                async move {
                    peer.head().await;
                    peer.send("HTTP/1.1 103 Early Hints\r\n\r\n").await;
                    if half_close {
                        go.notified().await;
                        peer.send("HTTP/1.1 204 No Content\r\n\r\n").await;
                    }
                    peer.rest().await;
                }
            })
            .await;
            let rig = Rig::with(&[backend.addr], |edge| edge.listeners[0].http.half_close = half_close).await;
            let mut client = rig.client().await;
            client.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n").await;
            assert!(client.head().await.contains(" 103 "));
            client.finish().await;
            go.notify_one();
            // Without an answer of the backend only giving up ends this.
            assert_eq!(client.rest().await.contains(" 204 "), half_close);
        }
    });
}
