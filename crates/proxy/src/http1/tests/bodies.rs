//! Bodies of requests and responses, however they are delimited.

use std::time::Duration;

use super::rig::{Peer, Rig, Scripted, forward, plain, run};

/// A backend that reads a body of a Content-Length and answers with it.
async fn echo(mut peer: Peer) {
    loop {
        let head = peer.head().await;
        let Some(length) = head.split("Content-Length: ").nth(1).and_then(|rest| rest.split('\r').next())
        else {
            return;
        };
        let body = peer.bytes(length.parse().unwrap()).await;
        peer.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len())).await;
    }
}

#[test]
fn a_body_of_a_known_length_passes_both_ways() {
    run(async {
        let backend = Scripted::new(echo).await;
        let rig = Rig::new(&[backend.addr]).await;
        let mut client = rig.client().await;
        let long = "0123456789abcdef".repeat(200_000);
        for body in ["x", "hello world", &long, "again"] {
            let request =
                format!("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n{body}", body.len());
            let (mut reader, mut writer) = client.stream.split();
            let send =
                async { tokio::io::AsyncWriteExt::write_all(&mut writer, request.as_bytes()).await.unwrap() };
            let mut got = Vec::new();
            let receive = async {
                while got.len() < body.len() || !got.ends_with(body.as_bytes()) {
                    let count = tokio::io::AsyncReadExt::read_buf(&mut reader, &mut got).await.unwrap();
                    assert!(count > 0);
                }
            };
            tokio::join!(send, receive);
            assert!(got.starts_with(b"HTTP/1.1 200 OK\r\n"));
        }
        assert_eq!(backend.connections(), 1);
    });
}

#[test]
fn a_chunked_request_is_chunked_anew_without_extensions_and_with_its_trailers() {
    run(async {
        let backend = Scripted::new(|mut peer| async move {
            let head = peer.head().await;
            assert!(head.contains("Transfer-Encoding: chunked\r\n"), "{head}");
            assert_eq!(
                peer.until("0\r\nX-Sum: 7\r\n\r\n").await,
                "5\r\nhello\r\n6\r\n world\r\n0\r\nX-Sum: 7\r\n\r\n"
            );
            peer.send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await;
        })
        .await;
        let rig = Rig::new(&[backend.addr]).await;
        let mut client = rig.client().await;
        client
            .send(
                "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n\
                 5;ext=1\r\nhello\r\n06\r\n world\r\n0\r\nX-Sum: 7\r\n\r\n",
            )
            .await;
        assert_eq!(client.head().await, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    });
}

#[test]
fn a_chunked_response_passes_with_its_trailers() {
    run(async {
        let backend = Scripted::answers(
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nX-End: 1\r\n\r\n",
        )
        .await;
        let rig = Rig::new(&[backend.addr]).await;
        let mut client = rig.client().await;
        for _ in 0..2 {
            client.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n").await;
            assert_eq!(client.head().await, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
            assert_eq!(client.until("0\r\nX-End: 1\r\n\r\n").await, "3\r\nabc\r\n0\r\nX-End: 1\r\n\r\n");
        }
        assert_eq!(backend.connections(), 1);
        let got = rig.says("GET / HTTP/1.0\r\n\r\n").await;
        assert_eq!(got, "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nabc");
    });
}

#[test]
fn a_response_until_the_end_is_chunked_for_http_1_1() {
    run(async {
        let backend = Scripted::new(|mut peer| async move {
            peer.head().await;
            peer.send("HTTP/1.1 200 OK\r\n\r\nall of it").await;
        })
        .await;
        let rig = Rig::new(&[backend.addr]).await;
        let mut client = rig.client().await;
        client.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n").await;
        assert_eq!(client.head().await, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
        assert_eq!(client.until("0\r\n\r\n").await, "9\r\nall of it\r\n0\r\n\r\n");
    });
}

#[test]
fn head_1xx_204_and_304_have_no_body() {
    run(async {
        let backend = Scripted::new(|mut peer| async move {
            loop {
                let head = peer.head().await;
                let answer = match head.split(' ').nth(1) {
                    Some("/head") => "HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\n",
                    Some("/204") => "HTTP/1.1 204 No Content\r\n\r\n",
                    Some("/304") => "HTTP/1.1 304 Not Modified\r\nContent-Length: 70\r\n\r\n",
                    Some("/103") => {
                        "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx"
                    }
                    _ => return,
                };
                peer.send(answer).await;
            }
        })
        .await;
        let rig = Rig::new(&[backend.addr]).await;
        let mut client = rig.client().await;
        let cases = [
            ("HEAD /head", "HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\n"),
            ("GET /204", "HTTP/1.1 204 No Content\r\n\r\n"),
            ("GET /304", "HTTP/1.1 304 Not Modified\r\nContent-Length: 70\r\n\r\n"),
            ("GET /103", "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"),
        ];
        for (line, head) in cases {
            client.send(format!("{line} HTTP/1.1\r\nHost: x\r\n\r\n")).await;
            assert_eq!(client.head().await, head, "{line}");
        }
        assert_eq!(client.head().await, "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n");
        assert_eq!(client.bytes(1).await, "x");
        assert_eq!(backend.connections(), 1);
        let got = rig.says("GET /103 HTTP/1.0\r\n\r\n").await;
        assert!(got.starts_with("HTTP/1.1 200 OK\r\n"), "HTTP/1.0 knows no 1xx: {got}");
    });
}

#[test]
fn who_waits_for_100_is_told_to_go_on() {
    run(async {
        let backend = Scripted::new(echo).await;
        let rig = Rig::new(&[backend.addr]).await;
        let mut client = rig.client().await;
        client.send("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n").await;
        assert_eq!(client.head().await, "HTTP/1.1 100 Continue\r\n\r\n");
        client.send("abc").await;
        assert_eq!(client.head().await, "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n");
        assert_eq!(client.bytes(3).await, "abc");
        // Who sends the body at once needs no 100.
        client
            .send("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\nabc")
            .await;
        assert!(client.head().await.starts_with("HTTP/1.1 200 OK"));
    });
}

#[test]
fn an_answer_before_the_body_is_passed_on_and_the_connection_ends() {
    run(async {
        let backend = Scripted::new(|mut peer| async move {
            peer.head().await;
            peer.send("HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\nConnection: close\r\n\r\nno").await;
            peer.finish().await;
            peer.rest().await;
        })
        .await;
        let rig = Rig::new(&[backend.addr]).await;
        let mut client = rig.client().await;
        client.send("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\nbegin").await;
        let head = client.head().await;
        assert_eq!(head, "HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\nConnection: close\r\n\r\n");
        assert_eq!(client.rest().await, "no");
    });
}

#[test]
fn a_body_that_is_too_large_gets_413() {
    run(async {
        let backend = Scripted::new(|mut peer| async move {
            peer.rest().await;
        })
        .await;
        let rig = Rig::with(&[backend.addr], |edge| edge.routes[0].body_max = Some(10)).await;
        let chunked = "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n8\r\n12345678\r\n8\r\n12345678\r\n0\r\n\r\n";
        let got = rig.says(chunked).await;
        assert!(got.starts_with("HTTP/1.1 413 "), "{got}");
        assert!(got.contains("Connection: close\r\n"));
    });
}

#[test]
fn a_buffered_request_reaches_the_backend_whole_and_with_its_length() {
    run(async {
        let backend = Scripted::new(echo).await;
        let rig = Rig::with(&[backend.addr], |edge| forward(edge).buffer_request = true).await;
        let mut client = rig.client().await;
        // More than memory holds: the rest goes through a file.
        let body = "0123456789abcdef".repeat(10_000);
        client
            .send(format!(
                "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n{:x}\r\n",
                body.len()
            ))
            .await;
        client.send(&body).await;
        assert_eq!(backend.connections(), 0);
        client.send("\r\n0\r\n\r\n").await;
        assert!(client.head().await.contains("Content-Length: 160000\r\n"));
        assert_eq!(client.bytes(160_000).await, body);
    });
}

#[test]
fn a_body_that_breaks_the_rules_gets_400_and_the_backend_no_end_of_it() {
    run(async {
        let backend = Scripted::new(|mut peer| async move {
            let got = peer.rest().await;
            assert!(!got.contains("0\r\n\r\n"), "{got}");
        })
        .await;
        let rig = Rig::new(&[backend.addr]).await;
        let got = rig
            .says("POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n-1\r\nGET / HTTP/1.1\r\n\r\n")
            .await;
        assert!(got.starts_with("HTTP/1.1 400 "), "{got}");
        assert_eq!(got.matches("HTTP/1.1").count(), 1);
    });
}

#[test]
fn a_response_that_is_cut_is_cut_for_the_client_too() {
    run(async {
        let backend = Scripted::new(|mut peer| async move {
            let head = peer.head().await;
            let answer = match head.split(' ').nth(1) {
                Some("/length") => "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf",
                _ => "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n",
            };
            peer.send(answer).await;
        })
        .await;
        let rig = Rig::new(&[backend.addr]).await;
        let got = rig.says("GET /length HTTP/1.1\r\nHost: x\r\n\r\n").await;
        assert_eq!(got, "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf");
        let got = rig.says("GET /chunked HTTP/1.1\r\nHost: x\r\n\r\n").await;
        assert_eq!(got, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n");
    });
}

#[test]
fn a_client_that_sends_its_body_too_slowly_gets_408() {
    run(async {
        let backend = Scripted::new(|mut peer| async move {
            peer.rest().await;
        })
        .await;
        let rig = Rig::with(&[backend.addr], |edge| {
            edge.listeners[0].http.body_timeout = Duration::from_millis(50);
        })
        .await;
        let got = rig.says("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nhalf").await;
        assert!(plain(&got).starts_with("HTTP/1.1 408 "), "{got}");
    });
}

#[test]
fn a_large_response_comes_whole_whoever_is_slower() {
    run(async {
        let body = "x".repeat(3 << 20);
        let expected = body.len();
        let backend = Scripted::new(move |mut peer| {
            let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len());
            async move {
                while !peer.head().await.is_empty() {
                    peer.send(&answer).await;
                }
            }
        })
        .await;
        let rig = Rig::new(&[backend.addr]).await;
        let mut client = rig.client().await;
        for _ in 0..2 {
            client.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n").await;
            client.head().await;
            assert_eq!(client.bytes(expected).await.len(), expected);
        }
        assert_eq!(backend.connections(), 1);
    });
}

#[test]
fn both_bodies_flow_at_once() {
    run(async {
        let backend = Scripted::new(|mut peer| async move {
            while !peer.head().await.is_empty() {
                peer.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n").await;
                for _ in 0..3 {
                    let chunk = peer.until("ping\r\n").await;
                    peer.send(chunk.replace("ping", "pong")).await;
                }
                assert_eq!(peer.until("0\r\n\r\n").await, "0\r\n\r\n");
                peer.send("0\r\n\r\n").await;
            }
        })
        .await;
        let rig = Rig::new(&[backend.addr]).await;
        let mut client = rig.client().await;
        for _ in 0..2 {
            client.send("POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n").await;
            assert!(client.head().await.starts_with("HTTP/1.1 200 OK"));
            for _ in 0..3 {
                client.send("4\r\nping\r\n").await;
                assert_eq!(client.until("pong\r\n").await, "4\r\npong\r\n");
            }
            client.send("0\r\n\r\n").await;
            assert_eq!(client.until("0\r\n\r\n").await, "0\r\n\r\n");
        }
    });
}

#[test]
fn a_rate_holds_a_response_back() {
    run(async {
        let backend = Scripted::new(|mut peer| async move {
            while !peer.head().await.is_empty() {
                peer.send(format!("HTTP/1.1 200 OK\r\nContent-Length: 1500\r\n\r\n{}", "x".repeat(1500)))
                    .await;
            }
        })
        .await;
        let rig = Rig::with(&[backend.addr], |edge| edge.routes[0].rate_bytes = 1000).await;
        let mut client = rig.client().await;
        let began = crate::clock::boot_now();
        client.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n").await;
        client.head().await;
        assert_eq!(client.bytes(1500).await.len(), 1500);
        // The first second's bytes go at once.
        let took = crate::clock::boot_now().since(began);
        assert!(took >= Duration::from_millis(400), "{took:?}");
    });
}
