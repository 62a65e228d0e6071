//! Servers just good enough to be checked and told: HTTP, HTTPS with a certificate of its own making, SMTP.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};

use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

/// A server that knows the pages of `answer`.
pub(super) fn http() -> SocketAddr {
    each(|stream| {
        // A client that leaves early is its own affair.
        let _ = serve(stream);
    })
}

/// An HTTPS server for `localhost`, and the certificate that signs for it.
pub(super) struct Https {
    pub(super) port: u16,
    pub(super) ca: String,
}

pub(super) fn https() -> Https {
    let (config, ca) = tls_config();
    let config = Arc::new(config);
    let address = each(move |stream| {
        let tls = ServerConnection::new(Arc::clone(&config)).unwrap();
        // A client that does not trust us leaves early.
        let _ = serve(StreamOwned::new(tls, stream));
    });
    Https { port: address.port(), ca }
}

fn tls_config() -> (ServerConfig, String) {
    let signed = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(signed.signing_key.serialize_der()));
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![signed.cert.der().clone()], key)
        .unwrap();
    (config, signed.cert.pem())
}

/// A gRPC server that knows the service `up` and the whole server as serving, and `down` as not; over TLS with this configuration.
pub(super) fn grpc(tls: Option<Arc<ServerConfig>>) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    listener.set_nonblocking(true).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    std::thread::spawn(move || {
        runtime.block_on(async {
            let listener = tokio::net::TcpListener::from_std(listener).unwrap();
            while let Ok((stream, _)) = listener.accept().await {
                match &tls {
                    None => drop(tokio::spawn(serve_grpc(stream))),
                    Some(config) => {
                        let acceptor = tokio_rustls::TlsAcceptor::from(Arc::clone(config));
                        tokio::spawn(async move {
                            // A client that does not trust us leaves early.
                            if let Ok(stream) = acceptor.accept(stream).await {
                                serve_grpc(stream).await;
                            }
                        });
                    }
                }
            }
        });
    });
    port
}

/// A TLS configuration for `localhost` that offers HTTP/2, and the certificate that signs for it.
pub(super) fn h2_config() -> (Arc<ServerConfig>, String) {
    let (mut config, ca) = tls_config();
    config.alpn_protocols = vec![b"h2".to_vec()];
    (Arc::new(config), ca)
}

async fn serve_grpc(stream: impl tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin) {
    let Ok(mut connection) = h2::server::handshake(stream).await else { return };
    while let Some(Ok((request, mut respond))) = connection.accept().await {
        assert_eq!(request.uri().path(), "/grpc.health.v1.Health/Check");
        assert_eq!(
            (&request.headers()["content-type"], &request.headers()["te"]),
            (&"application/grpc".parse().unwrap(), &"trailers".parse().unwrap())
        );
        tokio::spawn(async move {
            let question = request.into_body().data().await.unwrap().unwrap();
            let service = question.get(7..).unwrap_or_default();
            let answer = hyper::Response::builder().header("content-type", "application/grpc");
            let status = match service {
                b"up" | b"" => 1,
                b"down" => 2,
                _ => {
                    let answer = answer.header("grpc-status", "5").body(()).unwrap();
                    respond.send_response(answer, true).unwrap();
                    return;
                }
            };
            let mut body = respond.send_response(answer.body(()).unwrap(), false).unwrap();
            body.send_data(hyper::body::Bytes::from(vec![0, 0, 0, 0, 2, 8, status]), false).unwrap();
            let trailers = [("grpc-status", "0")];
            let trailers = trailers.map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()));
            body.send_trailers(trailers.into_iter().collect()).unwrap();
        });
    }
}

/// A server that answers 500 so many times and 200 from then on; it passes on what was POSTed.
pub(super) fn flaky(failures: usize) -> (SocketAddr, Receiver<(u16, String)>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (tell, told) = channel();
    std::thread::spawn(move || {
        for (number, stream) in listener.incoming().enumerate() {
            let status = if number < failures { 500 } else { 200 };
            let _ = take_post(stream.unwrap(), status, &tell);
        }
    });
    (address, told)
}

/// A mail server: recipients and text of each mail.
pub(super) fn smtp() -> (String, Receiver<(Vec<String>, String)>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let (tell, told) = channel();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let _ = take_mail(stream.unwrap(), &tell);
        }
    });
    (address, told)
}

fn each(serve: impl Fn(TcpStream) + Send + Sync + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let serve = Arc::new(serve);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let serve = Arc::clone(&serve);
            std::thread::spawn(move || serve(stream.unwrap()));
        }
    });
    address
}

fn serve(stream: impl Read + Write) -> std::io::Result<()> {
    let mut stream = BufReader::new(stream);
    let head = head(&mut stream)?;
    let path = head.split(' ').nth(1).unwrap_or_default();
    let host = head.lines().find_map(|line| line.strip_prefix("host: ")).unwrap_or_default();
    if path == "/hang" {
        // Until the client leaves.
        stream.read_exact(&mut [0])?;
    }
    let (status, body) = match path {
        "/ok" => ("200 OK", "fine".to_owned()),
        "/503" => ("503 Service Unavailable", String::new()),
        "/302" => ("302 Found\r\nlocation: /503", String::new()),
        "/body" => ("200 OK", format!("{}\nstate: ready\n", "filler ".repeat(5000))),
        "/host" => ("200 OK", format!("host={host}")),
        "/cut" => ("200 OK\r\ncontent-length: 1000", "cut".to_owned()),
        _ => ("404 Not Found", String::new()),
    };
    let body = if head.starts_with("HEAD") { String::new() } else { body };
    let length = if path == "/cut" { String::new() } else { format!("content-length: {}\r\n", body.len()) };
    write!(stream.get_mut(), "HTTP/1.1 {status}\r\n{length}connection: close\r\n\r\n{body}")?;
    stream.get_mut().flush()
}

fn take_post(stream: TcpStream, status: u16, tell: &Sender<(u16, String)>) -> std::io::Result<()> {
    let mut stream = BufReader::new(stream);
    let head = head(&mut stream)?;
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap_or("0");
    let mut body = vec![0; length.trim().parse().unwrap()];
    stream.read_exact(&mut body)?;
    write!(stream.get_mut(), "HTTP/1.1 {status} x\r\ncontent-length: 0\r\n\r\n")?;
    let _ = tell.send((status, String::from_utf8(body).unwrap()));
    Ok(())
}

fn take_mail(stream: TcpStream, tell: &Sender<(Vec<String>, String)>) -> std::io::Result<()> {
    let mut stream = BufReader::new(stream);
    stream.get_mut().write_all(b"220 test\r\n")?;
    let (mut to, mut text) = (Vec::new(), String::new());
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line)? == 0 {
            return Ok(());
        }
        if let Some(address) = line.strip_prefix("RCPT TO:") {
            to.push(address.trim().to_owned());
        }
        let answer = match line.trim() {
            "DATA" => {
                stream.get_mut().write_all(b"354 go on\r\n")?;
                while !text.ends_with("\r\n.\r\n") {
                    stream.read_line(&mut text)?;
                }
                let _ = tell.send((to.clone(), text.clone()));
                "250 taken\r\n"
            }
            "QUIT" => "221 bye\r\n",
            _ => "250 fine\r\n",
        };
        stream.get_mut().write_all(answer.as_bytes())?;
    }
}

/// Request line and headers, names in lower case.
fn head(stream: &mut impl BufRead) -> std::io::Result<String> {
    let mut head = String::new();
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line)? <= 2 {
            return Ok(head);
        }
        let line = match line.split_once(": ") {
            Some((name, value)) => format!("{}: {value}", name.to_lowercase()),
            None => line,
        };
        head.push_str(&line);
    }
}
