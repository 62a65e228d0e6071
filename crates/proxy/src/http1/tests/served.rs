//! What routes do beside forwarding: files, compression, credentials, bounds.

use std::io::Read as _;

use mainstay_config::plan::edge::{
    Action, Auth, ConcurrencyUse, Edge, Files, Gzip, Known, Piece, RateUse, Template, Var, Zone,
};
use mainstay_core::name::ZoneId;
use tokio::io::AsyncReadExt as _;

use super::rig::{Rig, Scripted, forward, run};

fn gzip(edge: &mut Edge) {
    let types = vec!["text/plain".to_owned(), "text/event-stream".to_owned()];
    edge.routes[0].gzip =
        Some(Gzip { types, min_length: 20, level: 1, vary: true, proxied: true, http10: true });
}

fn files(edge: &mut Edge, dir: &tempfile::TempDir) {
    edge.routes[0].action = Action::Files(Box::new(Files {
        root: Template::text(dir.path().to_str().unwrap()),
        alias: false,
        index: vec![Template::text("index.html")],
        tries: Vec::new(),
        fallback: None,
        listing: false,
        etag: true,
        precompressed: false,
        ranges_max: 64,
        later_dates: false,
    }));
}

fn plain(packed: &[u8]) -> String {
    let mut plain = Vec::new();
    let _ = flate2::read::GzDecoder::new(packed).read_to_end(&mut plain);
    String::from_utf8(plain).unwrap()
}

/// Takes chunks out of what came, as far as they are there.
fn chunks(mut raw: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    while let Some(at) = raw.windows(2).position(|two| two == b"\r\n") {
        let size = usize::from_str_radix(std::str::from_utf8(&raw[..at]).unwrap(), 16).unwrap();
        let Some(chunk) = raw.get(at + 2..at + 2 + size) else { break };
        body.extend_from_slice(chunk);
        raw = raw.get(at + 2 + size + 2..).unwrap_or_default();
    }
    body
}

/// Head and raw body of what the client gets until its connection is closed.
async fn raw(rig: &Rig, request: &str) -> (String, Vec<u8>) {
    let mut client = rig.client().await;
    client.send(request).await;
    let mut all = Vec::new();
    client.stream.read_to_end(&mut all).await.unwrap();
    let end = all.windows(4).position(|four| four == b"\r\n\r\n").unwrap() + 4;
    (String::from_utf8(all[..end].to_vec()).unwrap(), all[end..].to_vec())
}

#[test]
fn a_backends_response_is_compressed_for_who_takes_it() {
    run(async {
        let body = "a line of text\n";
        let backend = Scripted::answers(
            "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nETag: \"e\"\r\nContent-Length: 30\r\n\r\n\
             a line of text\na line of text\n",
        );
        let rig = Rig::with(&[backend.await.addr], gzip).await;
        let ask = "GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n";
        let (head, packed) = raw(&rig, &format!("{ask}Accept-Encoding: gzip\r\n\r\n")).await;
        assert!(head.contains("Content-Encoding: gzip\r\n") && head.contains("ETag: W/\"e\"\r\n"), "{head}");
        assert!(head.contains("Vary: Accept-Encoding\r\n") && !head.contains("Content-Length"), "{head}");
        assert_eq!(plain(&chunks(&packed)), body.repeat(2));
        let (head, whole) = raw(&rig, &format!("{ask}\r\n")).await;
        assert!(
            head.contains("Vary: Accept-Encoding\r\n") && head.contains("Content-Length: 30\r\n"),
            "{head}"
        );
        assert_eq!(whole, body.repeat(2).as_bytes());
    });
}

#[test]
fn an_event_reaches_the_client_before_the_next_one() {
    run(async {
        let backend = Scripted::new(|mut peer| async move {
            peer.head().await;
            peer.send("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: one\n\n").await;
            // The next event comes when the client has seen the first one.
            peer.until("never").await;
        })
        .await;
        let rig = Rig::with(&[backend.addr], gzip).await;
        let mut client = rig.client().await;
        client.send("GET / HTTP/1.1\r\nHost: x\r\nAccept-Encoding: gzip\r\n\r\n").await;
        let mut all = Vec::new();
        loop {
            let end = all.windows(4).position(|four: &[u8]| four == b"\r\n\r\n");
            if end.is_some_and(|end| plain(&chunks(&all[end + 4..])) == "data: one\n\n") {
                break;
            }
            assert!(client.stream.read_buf(&mut all).await.unwrap() > 0, "it ends too soon");
        }
    });
}

#[test]
fn files_are_sent_whole_in_part_and_compressed() {
    run(async {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("small.txt"), "0123456789\n".repeat(10)).unwrap();
        let large = "0123456789\n".repeat(20_000);
        std::fs::write(dir.path().join("large.txt"), &large).unwrap();
        let rig = Rig::with(&[], |edge| {
            files(edge, &dir);
            gzip(edge);
        })
        .await;
        let ask = |path: &str, fields: &str| {
            format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{fields}\r\n")
        };
        let (head, body) = raw(&rig, &ask("/large.txt", "")).await;
        assert!(head.starts_with("HTTP/1.1 200 ") && head.contains("Content-Length: 220000\r\n"), "{head}");
        assert_eq!(body, large.as_bytes());
        let (head, body) = raw(&rig, &ask("/large.txt", "Accept-Encoding: gzip\r\n")).await;
        assert!(head.contains("Transfer-Encoding: chunked\r\n"), "{head}");
        assert_eq!(plain(&chunks(&body)), large);
        let (head, body) = raw(&rig, &ask("/small.txt", "Accept-Encoding: gzip\r\n")).await;
        assert!(head.contains(&format!("Content-Length: {}\r\n", body.len())), "{head}");
        assert_eq!(plain(&body), "0123456789\n".repeat(10));
        let (head, body) = raw(&rig, &ask("/large.txt", "Range: bytes=219998-\r\n")).await;
        assert!(
            head.starts_with("HTTP/1.1 206 ") && head.contains("Content-Range: bytes 219998-219999/220000")
        );
        assert_eq!(body, b"9\n");
        // A range of what is compressed anew each time is a range of nothing.
        for range in ["219998-", "220000-"] {
            let both = format!("Accept-Encoding: gzip\r\nRange: bytes={range}\r\n");
            let (head, body) = raw(&rig, &ask("/large.txt", &both)).await;
            assert!(head.starts_with("HTTP/1.1 200 ") && !head.contains("Content-Range"), "{head}");
            assert_eq!(plain(&chunks(&body)), large);
        }
        let (head, _) = raw(&rig, &ask("/large.txt", "Range: bytes=220000-\r\n")).await;
        assert!(
            head.starts_with("HTTP/1.1 416 ") && head.contains("Content-Range: bytes */220000\r\n"),
            "{head}"
        );
        let (head, _) = raw(&rig, &ask("/none", "")).await;
        assert!(head.starts_with("HTTP/1.1 404 "), "{head}");
        let old = "GET /large.txt HTTP/1.0\r\nAccept-Encoding: gzip\r\n\r\n";
        let (head, body) = raw(&rig, old).await;
        assert!(!head.contains("Transfer-Encoding"), "{head}");
        assert_eq!(plain(&body), large);
    });
}

#[test]
fn a_password_opens_the_way_to_the_backend() {
    run(async {
        let backend = Scripted::answers("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi").await;
        let rig = Rig::with(&[backend.addr], |edge| {
            let users = vec![("ann".to_owned(), "{PLAIN}one".to_owned())];
            edge.routes[0].auth = Some(Auth::Basic { realm: Template::text("shop"), file: None, users });
        })
        .await;
        let ask = "GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n";
        let said = rig.says(&format!("{ask}\r\n")).await;
        assert!(said.starts_with("HTTP/1.1 401 "), "{said}");
        assert!(said.contains("WWW-Authenticate: Basic realm=\"shop\"\r\n"), "{said}");
        assert_eq!(backend.connections(), 0);
        let said = rig.says(&format!("{ask}Authorization: Basic YW5uOm9uZQ==\r\n\r\n")).await;
        assert!(said.starts_with("HTTP/1.1 200 ") && said.ends_with("hi"), "{said}");
    });
}

#[test]
fn requests_beyond_a_rate_or_at_once_are_refused_with_when_to_come_again() {
    run(async {
        let backend = Scripted::new(|mut peer| async move {
            peer.head().await;
            peer.until("never").await;
        })
        .await;
        let rig = Rig::with(&[backend.addr], |edge| {
            let key = Template::known(Known::RemoteAddr);
            let zone =
                |name: &str, rate_millis| Zone { name: name.to_owned(), key: key.clone(), rate_millis };
            edge.zones = vec![zone("rate", 10), zone("at once", 0)];
            edge.routes[0].rates = vec![RateUse { zone: ZoneId(0), burst: 1, undelayed: 1, status: 429 }];
            edge.routes[0].concurrency = vec![ConcurrencyUse { zone: ZoneId(1), max: 1, status: 503 }];
        })
        .await;
        let ask = "GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
        let mut first = rig.client().await;
        first.send(ask).await;
        while backend.connections() == 0 {
            tokio::task::yield_now().await;
        }
        let said = rig.says(ask).await;
        assert!(said.starts_with("HTTP/1.1 503 ") && said.contains("Retry-After: 1\r\n"), "{said}");
        let said = rig.says(ask).await;
        assert!(said.starts_with("HTTP/1.1 429 ") && said.contains("Retry-After: 100\r\n"), "{said}");
    });
}

#[test]
fn the_backend_gets_the_host_that_the_route_was_found_by() {
    run(async {
        let backend = Scripted::new(|mut peer| async move {
            let head = peer.head().await;
            assert!(head.starts_with("GET /x HTTP/1.1\r\nHost: a\r\n"), "{head}");
            assert!(!head.contains("Host: b"), "{head}");
            peer.send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await;
        })
        .await;
        let host = Template(vec![Piece::Var(Var::Header("host".to_owned()))]);
        let rig = Rig::with(&[backend.addr], |edge| forward(edge).host = host).await;
        let mut client = rig.client().await;
        client.send("GET http://a/x HTTP/1.1\r\nHost: b\r\n\r\n").await;
        assert!(client.head().await.starts_with("HTTP/1.1 200 OK"));
    });
}
