//! HTTP/2 on both sides, with the `h2` crate as the other end, and with frames of our own where that one is too polite.

mod hostile;

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use h2::client::SendRequest;
use h2::{Reason, RecvStream};
use http::{HeaderMap, Request, Response};
use mainstay_config::plan::edge::{BackendHttp, Edge};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::spawn_local;

use crate::http1::tests::rig::{Rig, Scripted, forward, run};

/// The rig's listener speaks HTTP/2.
fn http2(edge: &mut Edge) {
    edge.listeners[0].http.http2 = true;
}

/// The rig's pool as well.
fn both(edge: &mut Edge) {
    http2(edge);
    edge.pools[0].http = BackendHttp::Http2;
}

async fn client(rig: &Rig) -> SendRequest<Bytes> {
    client_with(rig, h2::client::Builder::new()).await
}

async fn client_with(rig: &Rig, builder: h2::client::Builder) -> SendRequest<Bytes> {
    let stream = TcpStream::connect(rig.addr).await.unwrap();
    let (send, connection) = builder.handshake(stream).await.unwrap();
    spawn_local(async move {
        let _ = connection.await;
    });
    send.ready().await.unwrap()
}

fn get(path: &str) -> Request<()> {
    Request::builder().uri(format!("http://a.test{path}")).body(()).unwrap()
}

fn post(path: &str) -> Request<()> {
    Request::builder().method("POST").uri(format!("http://a.test{path}")).body(()).unwrap()
}

/// A body and its trailers.
async fn whole(mut body: RecvStream) -> Result<(Vec<u8>, Option<HeaderMap>), h2::Error> {
    let mut all = Vec::new();
    while let Some(piece) = body.data().await {
        let piece = piece?;
        body.flow_control().release_capacity(piece.len()).unwrap();
        all.extend_from_slice(&piece);
    }
    Ok((all, body.trailers().await?))
}

async fn ask(client: &mut SendRequest<Bytes>, request: Request<()>) -> (Response<()>, Vec<u8>) {
    let (response, _) = client.send_request(request, true).unwrap();
    let (head, body) = response.await.unwrap().into_parts();
    (Response::from_parts(head, ()), whole(body).await.unwrap().0)
}

/// Sends all of a body, as the windows allow.
async fn pour(mut to: h2::SendStream<Bytes>, body: &[u8], trailers: Option<HeaderMap>) {
    let mut rest = Bytes::copy_from_slice(body);
    while !rest.is_empty() {
        to.reserve_capacity(rest.len());
        let Some(Ok(room)) = std::future::poll_fn(|cx| to.poll_capacity(cx)).await else { return };
        let piece = rest.split_to(room.min(rest.len()));
        let last = rest.is_empty() && trailers.is_none();
        if to.send_data(piece, last).is_err() {
            return;
        }
    }
    if let Some(trailers) = trailers {
        let _ = to.send_trailers(trailers);
    }
}

/// An HTTP/2 backend that answers each request with its own body, path and trailers.
struct Echo {
    addr: std::net::SocketAddr,
    connections: Rc<Cell<usize>>,
}

impl Echo {
    async fn new() -> Self {
        Self::with(h2::server::Builder::new(), usize::MAX).await
    }

    /// Each connection takes its leave after so many requests.
    async fn with(builder: h2::server::Builder, most: usize) -> Self {
        let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = socket.local_addr().unwrap();
        let connections = Rc::new(Cell::new(0));
        let count = Rc::clone(&connections);
        spawn_local(async move {
            while let Ok((stream, _)) = socket.accept().await {
                count.set(count.get() + 1);
                spawn_local(echo(builder.clone(), stream, most));
            }
        });
        Self { addr, connections }
    }
}

async fn echo(builder: h2::server::Builder, stream: TcpStream, most: usize) {
    let Ok(mut connection) = builder.handshake::<_, Bytes>(stream).await else { return };
    let mut requests = 0;
    while let Some(Ok((request, mut respond))) = connection.accept().await {
        requests += 1;
        if requests == most {
            connection.graceful_shutdown();
        }
        spawn_local(async move {
            let path = request.uri().path().to_owned();
            let te = request.headers().get("te").is_some_and(|te| te == "trailers");
            let (head, body) = request.into_parts();
            let authority = head.uri.authority().map(ToString::to_string).unwrap_or_default();
            let early = Response::builder().header("x-path", path).header("x-authority", authority);
            let response = early.header("x-te", te.to_string()).body(()).unwrap();
            let Ok((body, trailers)) = whole(body).await else { return };
            let send = respond.send_response(response, false).unwrap();
            let mut trailers = trailers.unwrap_or_default();
            trailers.insert("grpc-status", "0".parse().unwrap());
            pour(send, &body, Some(trailers)).await;
        });
    }
}

#[test]
fn many_requests_at_once_go_over_one_connection_each_way() {
    run(async {
        let backend = Echo::new().await;
        let rig = Rig::with(&[backend.addr], both).await;
        let client = client(&rig).await;
        let asked = (0..90).map(|n| {
            let mut client = client.clone();
            spawn_local(async move { ask(&mut client, get(&format!("/{n}?q"))).await })
        });
        for (n, asked) in asked.collect::<Vec<_>>().into_iter().enumerate() {
            let (head, body) = asked.await.unwrap();
            assert_eq!((head.status().as_u16(), body.len()), (200, 0));
            assert_eq!(head.headers()["x-path"], format!("/{n}"));
            assert_eq!(head.headers()["x-authority"], "a.test");
        }
        assert_eq!(backend.connections.get(), 1);
    });
}

#[test]
fn bodies_and_trailers_pass_both_ways_as_grpc_needs_it() {
    run(async {
        let backend = Echo::new().await;
        let rig = Rig::with(&[backend.addr], both).await;
        let mut client = client(&rig).await;
        let body: Vec<u8> = (0..2_000_000_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
        for size in [1, 70_000, body.len()] {
            let mut trailers = HeaderMap::new();
            trailers.insert("x-sum", "7".parse().unwrap());
            let (response, send) = client.send_request(post("/rpc"), false).unwrap();
            let poured = pour(send, &body[..size], Some(trailers));
            let answered = async { whole(response.await.unwrap().into_body()).await.unwrap() };
            let ((), (got, trailers)) = tokio::join!(poured, answered);
            assert!(got == body[..size], "{size}: {} bytes", got.len());
            let trailers = trailers.unwrap();
            assert_eq!(
                (&trailers["x-sum"], &trailers["grpc-status"]),
                (&"7".parse().unwrap(), &"0".parse().unwrap())
            );
        }
    });
}

#[test]
fn te_trailers_reaches_the_backend() {
    run(async {
        let backend = Echo::new().await;
        let rig = Rig::with(&[backend.addr], both).await;
        let mut request = get("/");
        request.headers_mut().insert("te", "trailers".parse().unwrap());
        let (head, _) = ask(&mut client(&rig).await, request).await;
        assert_eq!(head.headers()["x-te"], "true");
    });
}

#[test]
fn http2_clients_reach_http1_backends() {
    run(async {
        let backend = Scripted::new(|mut peer| async move {
            let head = peer.head().await;
            assert!(head.starts_with("POST /x?y HTTP/1.1\r\n"), "{head}");
            assert!(head.to_lowercase().contains("host: a.test\r\n"), "{head}");
            assert!(head.contains("cookie: a=1; b=2\r\n"), "{head}");
            assert_eq!(peer.bytes(14).await, "4\r\nbody\r\n0\r\n\r\n");
            peer.send("HTTP/1.1 201 Created\r\nX-Thing: 1\r\nConnection: x-hop\r\nX-Hop: 1\r\nTransfer-Encoding: chunked\r\n\r\n").await;
            peer.send("3\r\nyes\r\n0\r\nx-late: 1\r\n\r\n").await;
            peer.rest().await;
        })
        .await;
        let rig = Rig::with(&[backend.addr], http2).await;
        let mut request = post("/x?y");
        request.headers_mut().append("cookie", "a=1".parse().unwrap());
        request.headers_mut().append("cookie", "b=2".parse().unwrap());
        let (response, mut send) = client(&rig).await.send_request(request, false).unwrap();
        send.send_data("body".into(), true).unwrap();
        let (head, body) = response.await.unwrap().into_parts();
        assert_eq!(head.status, 201);
        assert_eq!(head.headers["x-thing"], "1");
        assert!(!head.headers.contains_key("x-hop") && !head.headers.contains_key("transfer-encoding"));
        let (body, trailers) = whole(body).await.unwrap();
        assert_eq!((&body[..], &trailers.unwrap()["x-late"]), (&b"yes"[..], &"1".parse().unwrap()));
    });
}

#[test]
fn a_response_of_known_length_ends_with_its_last_frame() {
    run(async {
        let backend = Scripted::answers("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello").await;
        let rig = Rig::with(&[backend.addr], http2).await;
        let mut client = client(&rig).await;
        for _ in 0..3 {
            let (response, _) = client.send_request(get("/"), true).unwrap();
            let (head, mut body) = response.await.unwrap().into_parts();
            assert_eq!(head.headers["content-length"], "5");
            assert_eq!(body.data().await.unwrap().unwrap(), "hello");
            assert!(body.is_end_stream());
        }
        assert_eq!(backend.connections(), 1);
        let head = Request::builder().method("HEAD").uri("http://a.test/").body(()).unwrap();
        let (response, _) = client.send_request(head, true).unwrap();
        let response = response.await.unwrap();
        assert!(response.body().is_end_stream());
    });
}

#[test]
fn a_backend_that_takes_its_leave_loses_no_request() {
    run(async {
        let backend = Echo::with(h2::server::Builder::new(), 5).await;
        let rig = Rig::with(&[backend.addr], both).await;
        let mut client = client(&rig).await;
        for n in 0..50 {
            let (head, _) = ask(&mut client, get(&format!("/{n}"))).await;
            assert_eq!(head.status(), 200, "request {n}");
        }
        assert!(backend.connections.get() >= 5, "{}", backend.connections.get());
    });
}

#[test]
fn a_backend_with_few_streams_gets_more_connections() {
    run(async {
        let mut builder = h2::server::Builder::new();
        builder.max_concurrent_streams(2);
        let backend = Echo::with(builder, usize::MAX).await;
        let rig = Rig::with(&[backend.addr], both).await;
        let client = client(&rig).await;
        // The first tells how many streams there may be.
        ask(&mut client.clone(), get("/")).await;
        let waiting: Vec<_> =
            (0..6).map(|_| client.clone().send_request(post("/"), false).unwrap()).collect();
        let mut done = Vec::new();
        for (response, mut send) in waiting {
            send.send_data("x".into(), true).unwrap();
            done.push(response);
        }
        for response in done {
            assert_eq!(response.await.unwrap().status(), 200);
        }
    });
}

#[test]
fn a_request_that_is_cancelled_is_cancelled_at_the_backend() {
    run(async {
        let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let rig = Rig::with(&[socket.local_addr().unwrap()], both).await;
        let mut client = client(&rig).await;
        let (response, mut send) = client.send_request(post("/"), false).unwrap();
        let (stream, _) = socket.accept().await.unwrap();
        let mut connection = h2::server::handshake(stream).await.unwrap();
        let (request, respond) = connection.accept().await.unwrap().unwrap();
        send.send_reset(Reason::CANCEL);
        drop(response);
        spawn_local(async move { while connection.accept().await.is_some() {} });
        assert!(whole(request.into_body()).await.unwrap_err().is_reset());
        drop(respond);
    });
}

#[test]
fn a_thread_that_drains_says_goodbye_and_serves_what_is_under_way() {
    run(async {
        let backend = Echo::new().await;
        let rig = Rig::with(&[backend.addr], both).await;
        let stream = TcpStream::connect(rig.addr).await.unwrap();
        let (mut send, connection) = h2::client::handshake(stream).await.unwrap();
        let closed = spawn_local(connection);
        let (response, mut body) = send.send_request(post("/"), false).unwrap();
        ask(&mut send, get("/other")).await;
        rig.thread.drain();
        // No further stream is opened once the goodbye is heard.
        while send.clone().ready().await.is_ok() {
            tokio::task::yield_now().await;
        }
        body.send_data("late".into(), true).unwrap();
        let response = response.await.unwrap();
        assert_eq!(whole(response.into_body()).await.unwrap().0, b"late");
        closed.await.unwrap().unwrap();
    });
}

#[test]
fn an_idle_connection_is_closed_in_good_order() {
    run(async {
        let backend = Echo::new().await;
        let rig = Rig::with(&[backend.addr], |edge| {
            both(edge);
            edge.listeners[0].http.idle_timeout = Duration::from_millis(60);
        })
        .await;
        let stream = TcpStream::connect(rig.addr).await.unwrap();
        let (mut send, connection) = h2::client::handshake(stream).await.unwrap();
        let closed = spawn_local(connection);
        ask(&mut send, get("/")).await;
        closed.await.unwrap().unwrap();
    });
}

#[test]
fn a_body_that_is_too_large_is_refused_while_it_comes() {
    run(async {
        let backend = Echo::new().await;
        let rig = Rig::with(&[backend.addr], |edge| {
            both(edge);
            edge.routes[0].body_max = Some(1000);
            forward(edge).buffer_request = true;
        })
        .await;
        let (response, send) = client(&rig).await.send_request(post("/"), false).unwrap();
        spawn_local(async move { pour(send, &[7; 100_000], None).await });
        let response = response.await.unwrap();
        assert_eq!(response.status(), 413);
        whole(response.into_body()).await.unwrap();
    });
}

/// What curl says of a request over HTTP/2 with prior knowledge.
async fn curl(rig: &Rig, body: &'static [u8]) -> String {
    let url = format!("http://{}/", rig.addr);
    let said = tokio::task::spawn_blocking(move || {
        use std::io::Write as _;
        let mut curl = std::process::Command::new("curl")
            .args([
                "-s",
                "--http2-prior-knowledge",
                "--max-time",
                "15",
                "--data-binary",
                "@-",
                "-o",
                "/dev/null",
            ])
            .args(["-w", "%{http_version} %{http_code} %{size_download}", &url])
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .spawn()
            .expect("curl is installed");
        // Who has its answer may not read all of it.
        let _ = curl.stdin.take().unwrap().write_all(body);
        curl.wait_with_output().unwrap()
    });
    String::from_utf8(said.await.unwrap().stdout).unwrap()
}

#[test]
fn who_still_sends_when_it_is_answered_is_reset_after_a_while() {
    run(async {
        let backend = Scripted::answers("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await;
        let rig = Rig::with(&[backend.addr], http2).await;
        let (response, mut send) = client(&rig).await.send_request(post("/"), false).unwrap();
        let response = response.await.unwrap();
        assert_eq!(whole(response.into_body()).await.unwrap().0, b"ok");
        // All that the window allows.
        send.send_data(vec![7; 300_000].into(), false).unwrap();
        let reset = std::future::poll_fn(|cx| send.poll_reset(cx)).await;
        assert_eq!(reset.unwrap(), Reason::NO_ERROR);
    });
}

#[test]
fn curl_sees_the_answer_to_a_body_that_nobody_reads() {
    static BODY: [u8; 3_000_000] = [7; 3_000_000];
    run(async {
        let backend = Scripted::new(|mut peer| async move {
            peer.head().await;
            peer.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await;
            peer.finish().await;
        })
        .await;
        let rig = Rig::with(&[backend.addr], http2).await;
        for _ in 0..3 {
            // As much as the window allows: curl 7.88 hears of no further room once it has its response.
            assert_eq!(curl(&rig, &BODY[..200_000]).await, "2 200 2");
        }
        let refusing = Rig::with(&[backend.addr], |edge| {
            http2(edge);
            edge.routes[0].body_max = Some(1000);
        })
        .await;
        assert!(curl(&refusing, &BODY).await.starts_with("2 413 "));
    });
}

#[test]
fn curl_posts_a_body_and_gets_it_back() {
    static BODY: [u8; 3_000_000] = [7; 3_000_000];
    run(async {
        let backend = Echo::new().await;
        let rig = Rig::with(&[backend.addr], both).await;
        assert_eq!(curl(&rig, &BODY).await, "2 200 3000000");
    });
}

#[test]
fn a_backend_that_is_gone_is_told() {
    run(async {
        let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = socket.local_addr().unwrap();
        drop(socket);
        let rig = Rig::with(&[addr], both).await;
        let client = client(&rig).await;
        let asked: Vec<_> = (0..5)
            .map(|_| {
                let mut client = client.clone();
                spawn_local(async move { ask(&mut client, get("/")).await.0.status() })
            })
            .collect();
        for status in asked {
            assert_eq!(status.await.unwrap(), 502);
        }
    });
}

#[test]
fn a_head_that_is_not_served_is_answered() {
    run(async {
        let backend = Echo::new().await;
        let rig = Rig::with(&[backend.addr], both).await;
        let mut client = client(&rig).await;
        let trace = Request::builder().method("TRACE").uri("http://a.test/").body(()).unwrap();
        assert_eq!(ask(&mut client, trace).await.0.status(), 405);
        let mut large = get("/");
        large.headers_mut().insert("x", "v".repeat(15_000).parse().unwrap());
        large.headers_mut().insert("y", "v".repeat(15_000).parse().unwrap());
        assert_eq!(ask(&mut client, large).await.0.status(), 431);
        assert_eq!(ask(&mut client, get("/")).await.0.status(), 200);
    });
}

/// Takes TLS connections and serves them as ALPN says.
async fn serve_tls(rig: &Rig, server: Arc<crate::tls::Server>) -> std::net::SocketAddr {
    let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = socket.local_addr().unwrap();
    let thread = Rc::clone(&rig.thread);
    spawn_local(async move {
        while let Ok((stream, _)) = socket.accept().await {
            let (thread, server) = (Rc::clone(&thread), Arc::clone(&server));
            spawn_local(async move {
                let Ok((stream, info)) = crate::tls::accept(stream.into(), &server).await else { return };
                let (h2, tls) = (info.h2, Some(info));
                let (number, listener) = (1, 0);
                let connection = crate::exchange::Connection {
                    number,
                    listener,
                    counts: 0,
                    peer: None,
                    local: None,
                    proxy: None,
                    tls,
                };
                let io = crate::transport::Io::Tls(Box::new(stream));
                let (connection, name) = (Rc::new(connection), thread.listener_name("web"));
                if h2 {
                    super::serve(thread, io, connection, name, Vec::new()).await;
                } else {
                    crate::http1::serve(thread, io, connection, name).await;
                }
            });
        }
    });
    addr
}

#[test]
fn over_tls_alpn_chooses() {
    use mainstay_config::plan::edge::{BackendTls, ClientAuth, TlsMaterial, TlsServer};
    run(async {
        let backend = Echo::new().await;
        let key = rcgen::KeyPair::generate().unwrap();
        let cert = rcgen::CertificateParams::new(vec!["a.test".into()]).unwrap().self_signed(&key).unwrap();
        let material = TlsMaterial {
            cert_file: "cert.pem".into(),
            key_file: "key.pem".into(),
            cert: cert.pem(),
            key: key.serialize_pem(),
        };
        let plan = TlsServer {
            certificates: vec![material],
            tls12: true,
            client: ClientAuth::Off,
            client_ca: None,
            tickets: true,
            timeout: Duration::from_secs(10),
        };
        let rig = Rig::with(&[backend.addr], both).await;
        let server = crate::tls::server_config(&plan, true, &crate::tls::Tickets::private()).unwrap();
        let ask_over = |http2| {
            let trust =
                BackendTls { name: None, verify: true, ca: Some(("ca".into(), cert.pem())), cert: None };
            crate::tls::client_config(&trust, http2).unwrap()
        };
        let addr = serve_tls(&rig, server).await;
        let stream = TcpStream::connect(addr).await.unwrap();
        let config = ask_over(true);
        let (stream, info) =
            crate::tls::connect(stream, &config, true, "a.test", Duration::from_secs(5)).await.unwrap();
        assert!(info.h2);
        let (mut send, connection) = h2::client::handshake(stream).await.unwrap();
        spawn_local(async move {
            let _ = connection.await;
        });
        for _ in 0..3 {
            assert_eq!(ask(&mut send, get("/")).await.0.status(), 200);
        }
        let stream = TcpStream::connect(addr).await.unwrap();
        let config = ask_over(false);
        let (mut stream, info) =
            crate::tls::connect(stream, &config, true, "a.test", Duration::from_secs(5)).await.unwrap();
        assert!(!info.h2);
        use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
        stream.write_all(b"GET / HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n").await.unwrap();
        let mut got = Vec::new();
        stream.read_to_end(&mut got).await.unwrap();
        assert!(got.starts_with(b"HTTP/1.1 200 "), "{}", String::from_utf8_lossy(&got));
    });
}

#[test]
fn bodies_that_nobody_reads_do_not_narrow_the_connection() {
    run(async {
        let backend = Echo::new().await;
        let rig = Rig::with(&[backend.addr], |edge| {
            both(edge);
            edge.routes[0].body_max = Some(1000);
        })
        .await;
        let mut client = client(&rig).await;
        for _ in 0..30 {
            let (response, send) = client.send_request(post("/"), false).unwrap();
            let poured = spawn_local(async move { pour(send, &[7; 200_000], None).await });
            let response = response.await.unwrap();
            assert_eq!(response.status(), 413);
            whole(response.into_body()).await.unwrap();
            poured.await.unwrap();
        }
        // What is allowed still passes.
        let (response, send) = client.send_request(post("/"), false).unwrap();
        pour(send, &[7; 900], None).await;
        assert_eq!(whole(response.await.unwrap().into_body()).await.unwrap().0.len(), 900);
    });
}
