//! Handshakes and transfers between our own two sides, over pipes in memory.

use std::io::IoSlice;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use mainstay_config::plan::edge::{BackendTls, ClientAuth, TlsMaterial, TlsServer};
use rcgen::{CertificateParams, CertifiedIssuer, DnType, KeyPair};
use rustls::ClientConfig;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream, ReadBuf, duplex};

use super::*;
use crate::exchange::TlsInfo;

const PATIENCE: Duration = Duration::from_secs(10);

/// A CA and what it has signed.
struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    fn new(name: &str) -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    fn pem(&self) -> (PathBuf, String) {
        ("ca.pem".into(), self.0.pem())
    }

    fn material(&self, names: &[&str]) -> TlsMaterial {
        let names: Vec<String> = names.iter().map(|&n| n.to_owned()).collect();
        let mut params = CertificateParams::new(names.clone()).unwrap();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(DnType::OrganizationName, "Shop, Inc.");
        params.distinguished_name.push(DnType::CommonName, names.first().cloned().unwrap_or_default());
        let key = KeyPair::generate().unwrap();
        let cert = params.signed_by(&key, &self.0).unwrap();
        TlsMaterial {
            cert_file: "cert.pem".into(),
            key_file: "key.pem".into(),
            cert: cert.pem(),
            key: key.serialize_pem(),
        }
    }
}

fn plan(certificates: Vec<TlsMaterial>) -> TlsServer {
    TlsServer {
        certificates,
        tls12: true,
        client: ClientAuth::Off,
        client_ca: None,
        tickets: true,
        timeout: PATIENCE,
    }
}

fn backend(authority: &Authority) -> BackendTls {
    BackendTls { name: None, verify: true, ca: Some(authority.pem()), cert: None }
}

type Pair<S> = (TlsStream<S>, TlsInfo);

async fn shake(
    server: &Server,
    client: &Arc<ClientConfig>,
    name: &str,
) -> (Result<Pair<DuplexStream>, HandshakeError>, Result<Pair<DuplexStream>, HandshakeError>) {
    let (near, far) = duplex(4096);
    tokio::join!(accept(near, server), async {
        let (mut stream, info) = connect(far, client, true, name, PATIENCE).await?;
        stream.flush().await?;
        Ok((stream, info))
    })
}

async fn established(
    server: &Server,
    client: &Arc<ClientConfig>,
    name: &str,
) -> (Pair<DuplexStream>, Pair<DuplexStream>) {
    let (server, client) = shake(server, client, name).await;
    (server.unwrap(), client.unwrap())
}

#[tokio::test]
async fn both_versions_carry_bytes_both_ways() {
    let ca = Authority::new("ca");
    for tls12_only in [false, true] {
        let server = server_config(&plan(vec![ca.material(&["a.test"])]), true, &Tickets::private()).unwrap();
        let mut client = client_config(&backend(&ca), true).unwrap();
        if tls12_only {
            let mut old = ClientConfig::builder_with_provider(Arc::clone(provider()))
                .with_protocol_versions(&[&rustls::version::TLS12])
                .unwrap()
                .with_root_certificates(certificate::roots(&ca.pem().0, &ca.pem().1).unwrap())
                .with_no_client_auth();
            old.alpn_protocols = vec![b"http/1.1".to_vec()];
            client = Arc::new(old);
        }
        let ((mut near, info), (mut far, seen)) = established(&server, &client, "a.test").await;
        assert_eq!(info.protocol, if tls12_only { "TLSv1.2" } else { "TLSv1.3" });
        assert_eq!((info.h2, seen.h2), (!tls12_only, !tls12_only));
        assert_eq!(info.server_name.as_deref(), Some("a.test"));
        assert!(info.cipher.starts_with(if tls12_only { "TLS_ECDHE" } else { "TLS_AES" }), "{}", info.cipher);
        let mut buf = [0; 5];
        far.write_all(b"hello").await.unwrap();
        near.read_exact(&mut buf).await.unwrap();
        assert_eq!(&buf, b"hello");
        near.write_all(b"world").await.unwrap();
        near.flush().await.unwrap();
        far.read_exact(&mut buf).await.unwrap();
        assert_eq!(&buf, b"world");
        near.shutdown().await.unwrap();
        assert_eq!(far.read(&mut buf).await.unwrap(), 0);
    }
}

#[tokio::test]
async fn megabytes_pass_a_narrow_pipe_unchanged() {
    let ca = Authority::new("ca");
    let server = server_config(&plan(vec![ca.material(&["a.test"])]), true, &Tickets::private()).unwrap();
    let client = client_config(&backend(&ca), true).unwrap();
    let ((near, _), (far, _)) = established(&server, &client, "a.test").await;
    let body: Vec<u8> = (0..3_000_000u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let (mut near_read, mut near_write) = tokio::io::split(near);
    let (mut far_read, mut far_write) = tokio::io::split(far);
    let (mut one, mut two) = (Vec::new(), Vec::new());
    let (a, b, c, d) = tokio::join!(
        async {
            near_write.write_all(&body).await?;
            near_write.shutdown().await
        },
        async {
            far_write.write_all(&body).await?;
            far_write.shutdown().await
        },
        near_read.read_to_end(&mut one),
        far_read.read_to_end(&mut two),
    );
    assert!(a.is_ok() && b.is_ok() && c.is_ok() && d.is_ok());
    assert!(one == body && two == body);
}

#[tokio::test]
async fn a_certificate_is_chosen_by_name_and_the_first_is_the_default() {
    let ca = Authority::new("ca");
    let certificates = ["default.test", "a.test", "*.wild.test"].map(|name| ca.material(&[name]));
    let server = server_config(&plan(certificates.to_vec()), true, &Tickets::new()).unwrap();
    let client = client_config(&backend(&ca), true).unwrap();
    for name in ["default.test", "a.test", "A.TEST", "x.wild.test"] {
        let (accepted, connected) = shake(&server, &client, name).await;
        connected.unwrap_or_else(|e| panic!("{name}: {e}"));
        assert_eq!(accepted.unwrap().1.server_name, Some(name.to_ascii_lowercase()));
    }
    for name in ["other.test", "x.y.wild.test", "wild.test", "127.0.0.1"] {
        let (_, connected) = shake(&server, &client, name).await;
        let error = connected.unwrap_err();
        assert_eq!(error.why(), "tls:bad-certificate", "{name}: {error}");
        assert!(name.starts_with("127") || error.to_string().contains("default.test"), "{error}");
    }
}

#[tokio::test]
async fn a_session_is_resumed_by_any_instance_that_has_the_key() {
    let ca = Authority::new("ca");
    let (mine, theirs) = (Tickets::new(), Tickets::new());
    let material = ca.material(&["a.test"]);
    let one = server_config(&plan(vec![material.clone()]), true, &mine).unwrap();
    let other = server_config(&plan(vec![material]), true, &theirs).unwrap();
    let client = client_config(&backend(&ca), true).unwrap();
    mine.rotate(&[[1; TICKET_KEY]]);
    theirs.rotate(&[[2; TICKET_KEY], [1; TICKET_KEY]]);
    let mut resumed = Vec::new();
    for server in [&one, &other, &one] {
        let ((mut near, info), (mut far, _)) = established(server, &client, "a.test").await;
        resumed.push(info.resumed);
        // The ticket comes with the first bytes.
        near.write_all(b"x").await.unwrap();
        far.read_exact(&mut [0]).await.unwrap();
    }
    assert_eq!(resumed, [false, true, false], "the last ticket is of a key that `one` does not have");
}

#[tokio::test]
async fn client_certificates_get_a_verdict_after_the_handshake() {
    let (ca, stranger) = (Authority::new("ca"), Authority::new("stranger"));
    let cert = |authority: &Authority| Some(authority.material(&["client"]));
    for (auth, shown, refused) in [
        (ClientAuth::Off, cert(&stranger), None),
        (ClientAuth::Optional, None, None),
        (ClientAuth::Optional, cert(&ca), None),
        (ClientAuth::Optional, cert(&stranger), Some("unable to verify the first certificate")),
        (ClientAuth::Required, cert(&ca), None),
        (ClientAuth::Required, cert(&stranger), Some("unable to verify the first certificate")),
        (ClientAuth::Required, None, Some("")),
    ] {
        let mut tls = plan(vec![ca.material(&["a.test"])]);
        (tls.client, tls.client_ca) = (auth, Some(ca.pem()));
        let server = server_config(&tls, false, &Tickets::private()).unwrap();
        let client = client_config(&BackendTls { cert: shown, ..backend(&ca) }, false).unwrap();
        // The verdict is the same for the resumed session.
        for resumed in [false, true] {
            let ((mut near, info), (mut far, _)) = established(&server, &client, "a.test").await;
            assert_eq!(info.resumed, resumed);
            assert_eq!(server.client_auth(), auth);
            let expected = refused.map(|why| match why {
                "" => Refusal::Missing,
                why => Refusal::Invalid(why.to_owned()),
            });
            assert_eq!(refusal(auth, &info), expected, "{auth:?}");
            near.write_all(b"x").await.unwrap();
            far.read_exact(&mut [0]).await.unwrap();
        }
    }
}

#[test]
fn what_variables_show_of_a_certificate() {
    let ca = Authority::new("My CA");
    let material = ca.material(&["client.test"]);
    let chain = certificate::certificates(&material.cert_file, &material.cert).unwrap();
    let names = client_names(&chain[0]).unwrap();
    assert_eq!(names.subject, "CN=client.test,O=Shop\\, Inc.");
    assert_eq!(names.issuer, "CN=My CA");
    assert_eq!(names.fingerprint.len(), 40);
    assert!(names.serial.len() > 10 && !names.serial.starts_with("00"), "{}", names.serial);
    assert_eq!(client_names(b"nothing"), None);
}

#[test]
fn files_that_cannot_be_used_are_named() {
    let ca = Authority::new("ca");
    let good = ca.material(&["a.test", "*.b.test"]);
    assert_eq!(verify_material(&good).unwrap().names, ["a.test", "*.b.test"]);
    let fails = |change: &dyn Fn(&mut TlsMaterial)| {
        let mut material = good.clone();
        change(&mut material);
        verify_material(&material).unwrap_err().to_string()
    };
    assert_eq!(
        fails(&|m| m.key = ca.material(&["a.test"]).key),
        "cert.pem: the key in key.pem is not the key of this certificate"
    );
    assert_eq!(fails(&|m| m.key = "nothing".into()), "key.pem: no private key in it");
    assert_eq!(fails(&|m| m.cert = "nothing".into()), "cert.pem: no certificate in it");
    let encrypted = "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n";
    assert_eq!(
        fails(&|m| m.key = encrypted.into()),
        "key.pem: the key is encrypted; store it without a passphrase"
    );
    let broken = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    assert!(fails(&|m| m.cert = broken.into()).starts_with("cert.pem: certificate"));
}

#[test]
fn a_listener_without_what_it_needs_is_refused() {
    let mut tls = plan(Vec::new());
    assert!(matches!(server_config(&tls, true, &Tickets::new()), Err(Error::NoCertificate)));
    tls.certificates.push(Authority::new("ca").material(&["a.test"]));
    tls.client = ClientAuth::Required;
    assert!(matches!(server_config(&tls, true, &Tickets::new()), Err(Error::NoClientCa)));
}

#[tokio::test]
async fn a_backend_is_verified_unless_told_otherwise() {
    let (ca, stranger) = (Authority::new("ca"), Authority::new("stranger"));
    let server = server_config(&plan(vec![ca.material(&["a.test"])]), true, &Tickets::new()).unwrap();
    let client = client_config(&backend(&stranger), true).unwrap();
    let (accepted, connected) = shake(&server, &client, "a.test").await;
    assert_eq!(connected.unwrap_err().why(), "tls:bad-certificate");
    assert_eq!(accepted.unwrap_err().why(), "tls:alert");
    let careless = client_config(&BackendTls { verify: false, ..backend(&stranger) }, true).unwrap();
    let (near, far) = duplex(4096);
    let (accepted, connected) = tokio::join!(accept(near, &server), async {
        let mut pair = connect(far, &careless, false, "no_name_!", PATIENCE).await.unwrap();
        pair.0.flush().await.unwrap();
        pair
    });
    assert_eq!(accepted.unwrap().1.server_name, None);
    drop(connected);
    let (_, far) = duplex(4096);
    let refused = connect(far, &client, true, "no name", PATIENCE).await.unwrap_err();
    assert_eq!(refused.to_string(), "\"no name\" is no name that a certificate can be verified for");
}

#[tokio::test]
async fn what_is_no_tls_gets_an_alert() {
    let ca = Authority::new("ca");
    let server = server_config(&plan(vec![ca.material(&["a.test"])]), true, &Tickets::new()).unwrap();
    let (near, mut far) = duplex(4096);
    far.write_all(b"GET / HTTP/1.1\r\nHost: a.test\r\n\r\n").await.unwrap();
    let error = accept(near, &server).await.unwrap_err();
    assert_eq!(error.why(), "tls:no-tls");
    let mut answer = Vec::new();
    far.read_to_end(&mut answer).await.unwrap();
    assert_eq!((answer[0], answer.len()), (21, 7), "an alert");
}

#[tokio::test(start_paused = true)]
async fn a_silent_client_is_given_up() {
    let ca = Authority::new("ca");
    let server = server_config(&plan(vec![ca.material(&["a.test"])]), true, &Tickets::new()).unwrap();
    let (near, _far) = duplex(4096);
    let error = accept(near, &server).await.unwrap_err();
    assert_eq!(error.to_string(), "the handshake took longer than 10000 ms");
}

#[tokio::test]
async fn a_cut_answer_of_a_backend_is_no_end() {
    let ca = Authority::new("ca");
    let server = server_config(&plan(vec![ca.material(&["a.test"])]), true, &Tickets::new()).unwrap();
    let client = client_config(&backend(&ca), true).unwrap();
    let ((mut near, _), (mut far, _)) = established(&server, &client, "a.test").await;
    near.write_all(b"half").await.unwrap();
    drop(near);
    let mut got = Vec::new();
    assert_eq!(far.read_to_end(&mut got).await.unwrap_err().kind(), std::io::ErrorKind::UnexpectedEof);
    assert_eq!(got, b"half");
}

#[tokio::test]
async fn plaintext_is_kept_for_a_reader_with_a_small_buffer() {
    let ca = Authority::new("ca");
    let server = server_config(&plan(vec![ca.material(&["a.test"])]), true, &Tickets::new()).unwrap();
    let client = client_config(&backend(&ca), true).unwrap();
    let ((mut near, _), (mut far, _)) = established(&server, &client, "a.test").await;
    for byte in 0..100u8 {
        far.write_all(&[byte; 3]).await.unwrap();
    }
    std::future::poll_fn(|cx| near.poll_readable(cx)).await.unwrap();
    assert!(near.pending());
    for byte in 0..100u8 {
        let mut three = [0; 3];
        near.read_exact(&mut three).await.unwrap();
        assert_eq!(three, [byte; 3]);
    }
    assert!(!near.pending());
}

/// Counts what is written at once.
struct Counted<S>(S, usize);

impl<S: AsyncRead + Unpin> AsyncRead for Counted<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buf)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Counted<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        self.1 += 1;
        Pin::new(&mut self.0).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

#[tokio::test]
async fn a_handshake_and_a_response_are_two_writes_of_the_server() {
    let ca = Authority::new("ca");
    let server = server_config(&plan(vec![ca.material(&["a.test"])]), false, &Tickets::private()).unwrap();
    let client = client_config(&backend(&ca), false).unwrap();
    let (near, far) = duplex(64 * 1024);
    let (accepted, connected) = tokio::join!(accept(Counted(near, 0), &server), async {
        let (mut far, info) = connect(far, &client, true, "a.test", PATIENCE).await.unwrap();
        far.write_all(b"GET").await.unwrap();
        (far, info)
    });
    let ((mut near, _), (mut far, _)) = (accepted.unwrap(), connected);
    near.read_exact(&mut [0; 3]).await.unwrap();
    let written = near
        .write_vectored(&[IoSlice::new(b"head"), IoSlice::new(b""), IoSlice::new(b"body")])
        .await
        .unwrap();
    assert_eq!((written, near.get_ref().1), (8, 2), "flight, then ticket and response");
    let mut got = [0; 8];
    assert_eq!(far.read(&mut got).await.unwrap(), 8, "one record");
    assert_eq!(&got, b"headbody");
}

/// Drops, doubles and changes some of what passes, and passes it in pieces of any length.
struct Mangled(DuplexStream, u64);

impl Mangled {
    fn draw(&mut self) -> u64 {
        self.1 ^= self.1 << 13;
        self.1 ^= self.1 >> 7;
        self.1 ^= self.1 << 17;
        self.1
    }
}

impl AsyncRead for Mangled {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        let size = 1 + (self.draw() % 900) as usize;
        let mut piece = vec![0; size.min(buf.remaining())];
        let mut some = ReadBuf::new(&mut piece);
        std::task::ready!(Pin::new(&mut self.0).poll_read(cx, &mut some))?;
        let len = some.filled().len();
        if len > 0 && self.draw().is_multiple_of(3) {
            let at = (self.draw() % len as u64) as usize;
            piece[at] ^= 1 << (self.draw() % 8);
        }
        buf.put_slice(&piece[..len]);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Mangled {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, buf)
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

#[tokio::test(start_paused = true)]
async fn bytes_that_were_touched_end_a_session_and_nothing_else() {
    let ca = Authority::new("ca");
    let mut tls = plan(vec![ca.material(&["a.test"])]);
    (tls.client, tls.client_ca) = (ClientAuth::Optional, Some(ca.pem()));
    let server = server_config(&tls, true, &Tickets::private()).unwrap();
    let shown = BackendTls { cert: Some(ca.material(&["client"])), ..backend(&ca) };
    let client = client_config(&shown, true).unwrap();
    let mut whole = 0;
    for seed in 1..400 {
        let (near, far) = duplex(8192);
        let serve = async {
            let (mut stream, _) = accept(Mangled(near, seed * 7919), &server).await.ok()?;
            let mut got = Vec::new();
            let read = stream.read_to_end(&mut got).await;
            let _ = stream.shutdown().await;
            read.is_ok().then_some(got.len())
        };
        let ask = async {
            let (mut stream, _) = connect(far, &client, true, "a.test", PATIENCE).await.ok()?;
            stream.write_all(&[7; 3000]).await.ok()?;
            stream.shutdown().await.ok()
        };
        let (served, _) = tokio::join!(serve, ask);
        whole += usize::from(served == Some(3000));
    }
    assert!(whole < 400, "every one was left alone");
}
