//! Upgrades: bytes both ways, from the first one on.

use std::time::Duration;

use super::rig::{Rig, Scripted, forward, run};

const ASK: &str = "GET /ws HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: abc\r\n\r\n";
const SWITCH: &str = "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: def\r\n\r\n";

#[test]
fn after_a_101_bytes_pass_both_ways_those_that_came_early_too() {
    run(async {
        let backend = Scripted::new(|mut peer| async move {
            let head = peer.head().await;
            assert!(
                head.contains("Upgrade: websocket\r\n") && head.contains("Connection: upgrade\r\n"),
                "{head}"
            );
            peer.send(format!("{SWITCH}early")).await;
            assert_eq!(peer.bytes(5).await, "first");
            peer.send("one").await;
            assert_eq!(peer.bytes(3).await, "two");
            peer.finish().await;
            assert_eq!(peer.rest().await, "three");
        })
        .await;
        let rig = Rig::new(&[backend.addr]).await;
        let mut client = rig.client().await;
        client.send(format!("{ASK}first")).await;
        let head = client.head().await;
        assert!(head.starts_with("HTTP/1.1 101 Switching Protocols\r\n"), "{head}");
        assert_eq!(head.to_lowercase().matches("connection: upgrade\r\n").count(), 1);
        assert_eq!(head.matches("Upgrade: websocket\r\n").count(), 1);
        assert!(head.contains("Sec-WebSocket-Accept: def\r\n"));
        assert_eq!(client.bytes(8).await, "earlyone");
        client.send("two").await;
        // The backend has closed its direction; ours still goes.
        assert_eq!(client.rest().await, "");
        client.send("three").await;
        client.finish().await;
    });
}

#[test]
fn a_101_before_the_request_is_whole_switches_nothing() {
    run(async {
        let backend = Scripted::new(|mut peer| async move {
            peer.head().await;
            peer.send(SWITCH).await;
            peer.rest().await;
        })
        .await;
        let rig = Rig::new(&[backend.addr]).await;
        for framing in ["Content-Length: 10\r\n\r\nhello", "Transfer-Encoding: chunked\r\n\r\na\r\nhello"] {
            let mut client = rig.client().await;
            let ask = ASK.replace("GET", "POST");
            client.send(format!("{}{framing}", &ask[..ask.len() - 2])).await;
            let head = client.head().await;
            assert!(head.starts_with("HTTP/1.1 502 "), "{head}");
        }
    });
}

#[test]
fn a_backend_may_decline_an_upgrade() {
    run(async {
        let backend = Scripted::answers("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nno").await;
        let rig = Rig::new(&[backend.addr]).await;
        let mut client = rig.client().await;
        for _ in 0..2 {
            client.send(ASK).await;
            assert_eq!(client.head().await, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n");
            assert_eq!(client.bytes(2).await, "no");
        }
    });
}

#[test]
fn where_upgrades_may_not_pass_the_backend_is_not_asked_for_one() {
    run(async {
        let backend = Scripted::new(|mut peer| async move {
            let head = peer.head().await;
            assert!(!head.to_lowercase().contains("upgrade"), "{head}");
            peer.send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await;
        })
        .await;
        let rig = Rig::with(&[backend.addr], |edge| forward(edge).upgrade = false).await;
        let mut client = rig.client().await;
        client.send(ASK).await;
        assert!(client.head().await.starts_with("HTTP/1.1 200 OK"));
    });
}

#[test]
fn a_tunnel_over_which_nothing_goes_is_closed() {
    run(async {
        let backend = Scripted::new(|mut peer| async move {
            peer.head().await;
            peer.send(SWITCH).await;
            peer.rest().await;
        })
        .await;
        let rig = Rig::with(&[backend.addr], |edge| {
            forward(edge).read_timeout = Duration::from_millis(50);
        })
        .await;
        let mut client = rig.client().await;
        client.send(ASK).await;
        client.head().await;
        assert_eq!(client.rest().await, "");
    });
}
