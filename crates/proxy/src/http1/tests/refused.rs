//! What is refused, on both sides, and that nothing of it goes further.

use super::rig::{Rig, Scripted, run};

#[test]
fn a_refused_request_never_reaches_a_backend() {
    run(async {
        let backend = Scripted::answers("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await;
        let rig = Rig::new(&[backend.addr]).await;
        let cases = [
            ("GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
            ("GET / HTTP/1.1\nHost: x\n\n", 400),
            ("GET / HTTP/1.1\r\n\r\n", 400),
            ("GET / HTTP/2.0\r\nHost: x\r\n\r\n", 505),
            ("CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n\r\n", 405),
            ("POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip\r\n\r\n", 501),
        ];
        for (request, status) in cases {
            let got = rig.says(&format!("{request}GET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n")).await;
            assert!(got.starts_with(&format!("HTTP/1.1 {status} ")), "{request:?}: {got}");
            assert!(got.contains("Connection: close\r\n"));
            assert_eq!(got.matches("HTTP/1.1 ").count(), 1, "{got}");
        }
        assert_eq!(backend.connections(), 0);
    });
}

#[test]
fn heads_beyond_their_bounds_are_refused() {
    run(async {
        let rig = Rig::with(&[], |edge| {
            edge.listeners[0].http.head_max = 1000;
            edge.listeners[0].http.fields_max = 5;
        })
        .await;
        let long = "a".repeat(1000);
        let got = rig.says(&format!("GET /{long} HTTP/1.1\r\nHost: x\r\n\r\n")).await;
        assert!(got.starts_with("HTTP/1.1 414 "), "{got}");
        let got = rig.says(&format!("GET / HTTP/1.1\r\nHost: x\r\nA: {long}\r\n\r\n")).await;
        assert!(got.starts_with("HTTP/1.1 431 "), "{got}");
        let got = rig.says(&format!("GET / HTTP/1.1\r\nHost: x\r\n{}\r\n", "A: b\r\n".repeat(5))).await;
        assert!(got.starts_with("HTTP/1.1 431 "), "{got}");
    });
}

#[test]
fn a_response_that_could_be_read_in_two_ways_gets_502() {
    run(async {
        for answer in [
            "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
            "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: +1\r\n\r\na",
            "HTTP/1.1 200 OK\nContent-Length: 1\n\na",
            "HTTP/1.1 200 OK\r\nA: b\r\n c\r\nContent-Length: 0\r\n\r\n",
            "HTTP/1.1 200 OK\r\nA : b\r\nContent-Length: 0\r\n\r\n",
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n",
            "nothing like it\r\n\r\n",
        ] {
            let backend = Scripted::answers(answer).await;
            let rig = Rig::new(&[backend.addr]).await;
            let got = rig.says("GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await;
            assert!(got.starts_with("HTTP/1.1 502 "), "{answer:?}: {got}");
        }
    });
}

#[test]
fn a_head_that_comes_byte_by_byte_is_a_head() {
    run(async {
        let backend = Scripted::answers("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi").await;
        let rig = Rig::new(&[backend.addr]).await;
        let mut client = rig.client().await;
        for byte in b"\r\nGET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n" {
            client.send([*byte]).await;
            tokio::task::yield_now().await;
        }
        assert!(client.rest().await.starts_with("HTTP/1.1 200 OK"));
    });
}
